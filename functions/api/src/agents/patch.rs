//! What a JSON merge patch makes of an agent.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::app::AgentDraft;
use shared::domain::AgentHead;
use utoipa::openapi::schema::{AdditionalProperties, Object, OneOfBuilder, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::request::{AgentRequest, CacheEntry, OutputSchemaEntry, RetryEntry, switch};
use super::response::AgentResponse;
use crate::json::{merge, parse};
use crate::problem::Problem;

const ENABLED: &str = "enabled";

/// The list of the platform's tools in bodies of earlier versions.
const BUILTIN_TOOLS: &str = "builtin_tools";

/// The members of a response that no body has.
const READ_ONLY: [&str; 3] = ["id", "version", "created_at"];

/// A member of an agent that is merged, and the name of its patch's schema.
struct Part {
    member: &'static str,
    name: &'static str,
    schema: fn() -> Object,
}

const PARTS: [Part; 3] = [
    Part {
        member: "output_schema",
        name: "OutputSchemaPatch",
        schema: output_schema_patch,
    },
    Part {
        member: "retry",
        name: "RetryPatch",
        schema: patch_of::<RetryEntry>,
    },
    Part {
        member: "cache",
        name: "CachePatch",
        schema: patch_of::<CacheEntry>,
    },
];

/// A merge patch of an agent: everything may be left out, and most may be null.
pub(crate) enum AgentPatch {}

impl PartialSchema for AgentPatch {
    fn schema() -> RefOr<Schema> {
        let mut agent = patch_of::<AgentRequest>();
        agent.description =
            Some("A merge patch: an absent member stays as it is, null gives the default.".into());
        for Part { member, name, .. } in PARTS {
            let nullable = OneOfBuilder::new()
                .item(Ref::from_schema_name(name))
                .item(ObjectBuilder::new().schema_type(Type::Null));
            agent.properties.insert(member.to_owned(), nullable.into());
        }
        agent.examples = vec![json!({
            "instructions": "Answer in two sentences.",
            "retry": { "max_attempts": 5 },
            "max_tokens": null,
        })];
        agent.into()
    }
}

impl ToSchema for AgentPatch {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AgentRequest::schemas(schemas);
        schemas.extend(PARTS.map(|part| (part.name.to_owned(), (part.schema)().into())));
    }
}

/// A patch of a schema is no schema.
fn output_schema_patch() -> Object {
    let mut output = patch_of::<OutputSchemaEntry>();
    let schema = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    output.properties.insert("schema".to_owned(), schema.into());
    output
}

/// The schema of the struct `T`, in which nothing is required and nothing has a default: generated
/// clients send defaults, and so would change what the caller did not name.
fn patch_of<T: PartialSchema>() -> Object {
    let mut object = match T::schema() {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(_) | RefOr::Ref(_) => Object::new(),
    };
    object.required.clear();
    for property in object.properties.values_mut() {
        if let RefOr::T(Schema::Object(property)) = property {
            property.default = None;
        }
    }
    object
}

/// The agent after the patch. What the patch does not name stays. A patch that sets only the switch
/// is not checked by today's rules for agents: every agent can be stopped.
pub(super) fn patched(agent: &AgentHead, patch: Value) -> Result<AgentDraft, Problem> {
    let mut members = patch.as_object().into_iter().flatten();
    if members.all(|(name, _)| name == ENABLED) {
        return Ok(AgentDraft {
            config: agent.newest.config.clone(),
            unlisted: Vec::new(),
            switch: match patch.get(ENABLED) {
                Some(enabled) => switch(enabled.as_bool()),
                None => agent.switch,
            },
        });
    }
    let mut merged = body_of(agent);
    if patch.get(BUILTIN_TOOLS).is_some() {
        in_two_lists(&mut merged);
    }
    let members = patch.as_object().into_iter().flatten();
    let named: BTreeSet<String> = members.map(|(name, _)| name.clone()).collect();
    merge(&mut merged, patch);
    parse::<AgentRequest>(merged.to_string().as_bytes())?.draft(|member| named.contains(member))
}

/// A body that describes the agent as it is. Its models were admitted before, so models that are
/// not in the price table need no new permission.
fn body_of(agent: &AgentHead) -> Value {
    let mut body = json!(AgentResponse::from(agent));
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    }
    let models = body.get_mut("models").and_then(Value::as_array_mut);
    for model in models.into_iter().flatten() {
        merge(model, json!({ "allow_unlisted": true }));
    }
    body
}

/// Puts the platform's tools into the list that a patch of an earlier version replaces.
fn in_two_lists(body: &mut Value) {
    let tools = body.get_mut("tools").and_then(Value::as_array_mut);
    let is_builtin = |tool: &mut Value| tool.get("kind").is_some_and(|kind| kind == "builtin");
    let builtin: Vec<Value> = tools
        .into_iter()
        .flat_map(|tools| tools.extract_if(.., is_builtin))
        .collect();
    merge(body, json!({ BUILTIN_TOOLS: builtin }));
}
