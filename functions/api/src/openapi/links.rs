//! What a client can do next with what a response names.

#![expect(
    clippy::indexing_slicing,
    reason = "runs in tests only, on a document that this code made"
)]

use serde_json::{Map, Value, json};

/// A response of an operation, and the operations that take a value of it.
struct Links {
    from: (&'static str, &'static str),
    /// The parameters of the targets, and where their values are.
    values: &'static [(&'static str, &'static str)],
    to: &'static [&'static str],
}

const NEW_ID: (&str, &str) = ("id", "$response.body#/id");
const SAME_ID: (&str, &str) = ("id", "$request.path.id");

const LINKS: [Links; 13] = [
    Links {
        from: ("create_agent", "201"),
        values: &[NEW_ID],
        to: &[
            "find_agent",
            "patch_agent",
            "archive_agent",
            "list_versions",
            "list_aliases",
            "set_alias",
        ],
    },
    Links {
        from: ("create_agent", "201"),
        values: &[NEW_ID, ("number", "$response.body#/version")],
        to: &["find_version"],
    },
    Links {
        from: ("create_agent", "201"),
        values: &[("body.agent_id", "$response.body#/id")],
        to: &["submit_task"],
    },
    Links {
        from: ("set_alias", "201"),
        values: &[SAME_ID, ("name", "$request.path.name")],
        to: &["find_alias", "set_alias", "remove_alias"],
    },
    Links {
        from: ("create_agent", "201"),
        values: &[NEW_ID],
        to: &["execute_agent"],
    },
    Links {
        from: ("execute_agent", "202"),
        values: &[NEW_ID],
        to: &["find_task", "cancel_task"],
    },
    Links {
        from: ("execute_task", "202"),
        values: &[NEW_ID],
        to: &["find_task", "cancel_task"],
    },
    Links {
        from: ("submit_task", "202"),
        values: &[NEW_ID],
        to: &[
            "find_task",
            "cancel_task",
            "answer_task",
            "resume_task",
            "retry_task",
            "delete_task",
            "list_history",
            "list_steps",
            "read_output",
        ],
    },
    Links {
        from: ("list_steps", "200"),
        values: &[SAME_ID, ("number", "$response.body#/data/0/number")],
        to: &[
            "find_step",
            "read_step_json",
            "read_step_text",
            "read_call_arguments",
        ],
    },
    Links {
        from: ("list_dead_letters", "200"),
        values: &[("id", "$response.body#/data/0/id")],
        to: &["redrive"],
    },
    Links {
        from: ("create_key", "201"),
        values: &[NEW_ID],
        to: &[
            "find_key",
            "change_key",
            "rotate_key",
            "read_key_usage",
            "revoke_key",
        ],
    },
    Links {
        from: ("create_tenant", "201"),
        values: &[NEW_ID],
        to: &[
            "find_tenant",
            "change_tenant",
            "create_tenant_key",
            "read_tenant_usage",
        ],
    },
    Links {
        from: ("create_tenant_key", "201"),
        values: &[NEW_ID],
        to: &[],
    },
];

/// The links of this response, by the operations to which they lead.
pub(super) fn of(operation: &str, status: &str) -> Map<String, Value> {
    let own = LINKS
        .iter()
        .filter(|links| links.from == (operation, status));
    let links = own.flat_map(|links| links.to.iter().map(|target| (*target, links.values)));
    links
        .map(|(target, values)| {
            let mut link = json!({ "operationId": target });
            for (name, place) in values {
                match name.strip_prefix("body.") {
                    Some(member) => link["requestBody"][member] = json!(place),
                    None => link["parameters"][name] = json!(place),
                }
            }
            (target.to_owned(), link)
        })
        .collect()
}
