//! One broken rule of a request, and how the log names it.

use std::borrow::Cow;

use serde::Serialize;
use shared::domain::Invalid;
use utoipa::ToSchema;

use super::cut;

/// The names of fields and parameters that the log may have. Any other name may be a client's own
/// word, such as a key of `metadata`.
const NAMES: &[&str] = &[
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "agent",
    "agent_id",
    "agent_version",
    "alias",
    "allow_http",
    "allow_unlisted",
    "api_version",
    "builtin_tools",
    "cache",
    "call_id",
    "created_before",
    "created_from",
    "credentials",
    "cursor",
    "description",
    "dry_run",
    "enabled",
    "expires_at",
    "filter",
    "from",
    "grace_seconds",
    "group_by",
    "hosts",
    "id",
    "idempotency_key",
    "ids",
    "input",
    "input_schema",
    "input_timeout_seconds",
    "instructions",
    "is_error",
    "kind",
    "limit",
    "limits",
    "max_age_seconds",
    "max_agents",
    "max_attempts",
    "max_blocked_calls",
    "max_calls",
    "max_cost_micro_usd",
    "max_cost_micro_usd_per_day",
    "max_cost_micro_usd_per_month",
    "max_keys",
    "max_output_tokens",
    "max_response_bytes",
    "max_result_bytes",
    "max_running_tasks",
    "max_seconds",
    "max_steps",
    "max_tokens",
    "max_tool_calls",
    "metadata",
    "methods",
    "mode",
    "model",
    "models",
    "name",
    "not_before",
    "offset",
    "on_limit",
    "order",
    "outage",
    "output_limit_field",
    "output_schema",
    "paths",
    "provider",
    "reasoning_effort",
    "requests_per_minute",
    "results",
    "retry",
    "schema",
    "scopes",
    "stale_seconds",
    "status",
    "step",
    "stream",
    "suspended_tasks",
    "tasks",
    "temperature",
    "text",
    "timeout_seconds",
    "to",
    "tools",
    "top_p",
    "ttl_seconds",
    "type",
    "version",
    "wait",
];

/// One broken rule: of the body, at a JSON pointer (RFC 6901), or of a query parameter or header.
/// All texts may quote the request, so they are cut to keep the response small.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BrokenRule {
    /// The place in the body (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// The query parameter or the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    detail: String,
    /// The detail, if it is a constant text.
    #[serde(skip)]
    constant: Option<&'static str>,
}

impl BrokenRule {
    /// A rule that the body breaks at `pointer`.
    pub(crate) fn in_body(pointer: &str, detail: &str) -> Self {
        Self {
            pointer: Some(cut(pointer)),
            parameter: None,
            detail: cut(detail),
            constant: None,
        }
    }

    /// A rule that the body breaks at `pointer`, in words that quote nothing of the request.
    pub(crate) fn in_body_in_full(pointer: &str, detail: String) -> Self {
        Self {
            detail,
            ..Self::in_body(pointer, "")
        }
    }

    /// A rule that the query parameter or header called `name` breaks.
    pub(crate) fn in_parameter(name: &str, detail: &str) -> Self {
        Self {
            pointer: None,
            parameter: Some(cut(name)),
            detail: cut(detail),
            constant: None,
        }
    }

    /// The rule for the log: its place up to the first name that may be a client's own, and its
    /// text if that is constant. `None` if nothing is left.
    pub(super) fn for_log(&self) -> Option<String> {
        let place = match (&self.pointer, &self.parameter) {
            (Some(pointer), _) => known_part(pointer),
            (None, Some(name)) if NAMES.contains(&name.as_str()) => name.clone(),
            (None, _) => String::new(),
        };
        match (place.is_empty(), self.constant) {
            (true, text) => text.map(str::to_owned),
            (false, Some(text)) => Some(format!("{place} {text}")),
            (false, None) => Some(place),
        }
    }
}

impl From<&Invalid> for BrokenRule {
    /// The domain names a place in a body by a pointer, and anything else by its name.
    fn from(broken: &Invalid) -> Self {
        let Invalid { field, reason } = broken;
        let rule = if field.starts_with('/') {
            Self::in_body(field, reason)
        } else {
            Self::in_parameter(field, reason)
        };
        let constant = match reason {
            Cow::Borrowed(text) => Some(*text),
            Cow::Owned(_) => None,
        };
        Self { constant, ..rule }
    }
}

/// The pointer up to its first part that is neither a known name nor a place in a list.
fn known_part(pointer: &str) -> String {
    let is_known = |part: &&str| {
        let is_place =
            (1..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_place || NAMES.contains(part)
    };
    let mut known = String::new();
    for part in pointer.split('/').skip(1).take_while(is_known) {
        known.push('/');
        known.push_str(part);
        // Its keys are the client's, also those that look like a place.
        if part == "metadata" {
            break;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::openapi;

    /// Adds the names of the members of a schema, and of all schemas to which it refers.
    fn add_members<'a>(
        schema: &'a Value,
        document: &'a Value,
        names: &mut BTreeSet<&'a str>,
        seen: &mut BTreeSet<&'a str>,
    ) {
        if let Some(reference) = schema["$ref"].as_str().filter(|it| seen.insert(it)) {
            let pointer = reference.trim_start_matches('#');
            add_members(document.pointer(pointer).unwrap(), document, names, seen);
        }
        let members = schema["properties"].as_object().into_iter().flatten();
        names.extend(members.map(|(name, _)| name.as_str()));
        let parts = schema
            .as_object()
            .into_iter()
            .flat_map(|parts| parts.iter())
            .filter(|(name, _)| *name != "examples")
            .map(|(_, part)| part);
        let entries = schema.as_array().into_iter().flatten();
        for part in parts.chain(entries) {
            add_members(part, document, names, seen);
        }
    }

    #[test]
    fn the_log_may_have_the_names_of_all_fields_and_parameters_and_no_other() {
        let document = openapi::document();
        let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let operations = document["paths"].as_object().unwrap().values();
        for operation in operations.flat_map(|path| path.as_object().unwrap().values()) {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            // A wrong part of the path is no broken rule, but an unknown object.
            for parameter in parameters.filter(|parameter| parameter["in"] != "path") {
                names.insert(parameter["name"].as_str().unwrap());
            }
            let content = &operation["requestBody"]["content"];
            for body in content
                .as_object()
                .into_iter()
                .flat_map(|types| types.values())
            {
                add_members(&body["schema"], &document, &mut names, &mut seen);
            }
        }
        let known: BTreeSet<&str> = NAMES.iter().copied().collect();
        assert_eq!(known.len(), NAMES.len());
        let missing: Vec<_> = names.difference(&known).collect();
        let unused: Vec<_> = known.difference(&names).collect();
        assert!(
            missing.is_empty() && unused.is_empty(),
            "missing: {missing:?}, unused: {unused:?}"
        );
    }

    #[track_caller]
    fn check(rule: &BrokenRule, expected: Option<&str>) {
        assert_eq!(rule.for_log().as_deref(), expected, "{rule:?}");
    }

    #[test]
    fn the_log_names_a_rule_without_the_clients_words() {
        let constant = "must be the id of a call that the task waits for, each once";
        let call = BrokenRule::from(&Invalid::new("/results/0/call_id", constant));
        check(&call, Some(&format!("/results/0/call_id {constant}")));

        let quoting = BrokenRule::from(&Invalid::new(
            "/limits/max_steps",
            "must be 1, is canary".to_owned(),
        ));
        check(&quoting, Some("/limits/max_steps"));
        for key in ["canary", "17"] {
            let place = format!("/metadata/{key}");
            let key = BrokenRule::from(&Invalid::new(place, "must be a text"));
            check(&key, Some("/metadata must be a text"));
        }
        let unknown = BrokenRule::in_body("/canary", "unknown field; known fields: input");
        check(&unknown, None);
        let parameter = BrokenRule::in_parameter("limit", "must be a number from 1 to 100");
        check(&parameter, Some("limit"));
        let unknown = BrokenRule::in_parameter("canary", "is not a parameter of this route");
        check(&unknown, None);
    }
}
