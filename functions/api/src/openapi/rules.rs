//! What no attribute of a field can say: rules on several members of an object, and the names of
//! the variants of a choice.

#![expect(
    clippy::indexing_slicing,
    reason = "runs in tests only, on a document that this code made"
)]

use serde_json::{Map, Value, json};

/// The variants of the choices. Generated clients name the types of variants by these titles.
const TITLES: [(&str, [&str; 2]); 5] = [
    ("BuiltinTool", ["PlainTool", "HttpRequestTool"]),
    ("Cache", ["CacheOn", "CacheOff"]),
    ("Step", ["ModelCallStep", "ToolCallStep"]),
    ("Submitted", ["AcceptedSubmission", "RefusedSubmission"]),
    ("ToolResult", ["ResultOfCall", "ResultOfStep"]),
];

/// The schemas of submissions.
const SUBMISSIONS: [&str; 3] = ["SubmitTaskRequest", "ExecuteAgentRequest", "BatchEntry"];

/// The submission whose agent may be inline.
const INLINE_SUBMISSION: &str = "ExecuteTaskRequest";

/// Adds the rules and the names to the schemas.
pub(super) fn add(schemas: &mut Map<String, Value>) {
    let version = given("agent_version", "integer");
    let alias = given("alias", "string");
    let one_of_them = json!({ "not": { "allOf": [version, alias] } });
    for name in SUBMISSIONS {
        join(schemas, name, one_of_them.clone());
    }
    join(schemas, INLINE_SUBMISSION, one_agent());
    if let Some(result) = schemas.get("ToolResult") {
        let variants = json!({ "anyOf": [naming_call(result), naming_step(result)] });
        schemas.insert("ToolResult".to_owned(), variants);
    }
    if let Some(tool) = schemas.get("BuiltinTool") {
        let variants = json!({ "oneOf": [without_settings(tool), with_hosts(tool)] });
        schemas.insert("BuiltinTool".to_owned(), variants);
    }
    for (name, titles) in TITLES {
        for (variant, title) in variants_of(schemas, name).zip(titles) {
            variant["title"] = json!(title);
        }
    }
}

fn variants_of<'a>(
    schemas: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Value> {
    let schema = schemas.get_mut(name).and_then(Value::as_object_mut);
    let choices = schema
        .into_iter()
        .flatten()
        .filter(|(key, _)| matches!(key.as_str(), "anyOf" | "oneOf"));
    choices.flat_map(|(_, variants)| variants.as_array_mut().into_iter().flatten())
}

fn join(schemas: &mut Map<String, Value>, name: &str, rule: Value) {
    let members = schemas.get_mut(name).and_then(Value::as_object_mut);
    if let (Some(members), Value::Object(mut rule)) = (members, rule) {
        members.append(&mut rule);
    }
}

/// An agent by its id and perhaps one of its versions, or else inline.
fn one_agent() -> Value {
    let id = given("agent_id", "string");
    let inline = given("agent", "object");
    let version = given("agent_version", "integer");
    let alias = given("alias", "string");
    let refused = [
        (&id, &inline),
        (&version, &inline),
        (&alias, &inline),
        (&version, &alias),
    ];
    let mut refused: Vec<Value> = refused
        .map(|(one, other)| json!({ "allOf": [one, other] }))
        .into();
    refused.push(json!({ "not": { "anyOf": [id, inline] } }));
    json!({ "not": { "anyOf": refused } })
}

/// The member is there, and not null.
fn given(name: &str, kind: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": kind } } })
}

/// A result that names its call. Each variant has all members, because generated clients do not
/// combine `anyOf` with the members beside it.
fn naming_call(result: &Value) -> Value {
    let mut named = result.clone();
    named["properties"]["call_id"]["type"] = json!("string");
    named["required"] = json!(["call_id", "text"]);
    named
}

/// A result that names the step of its call.
fn naming_step(result: &Value) -> Value {
    let mut named = result.clone();
    named["properties"]["step"] = json!({ "$ref": "#/components/schemas/Number" });
    named["required"] = json!(["step", "text"]);
    named
}

/// A built-in tool that has no settings.
fn without_settings(tool: &Value) -> Value {
    let mut plain = tool.clone();
    for (name, property) in plain["properties"].as_object_mut().into_iter().flatten() {
        *property = match name.as_str() {
            "name" => json!({ "type": "string", "enum": ["current_time", "calculator"] }),
            _ => json!({ "type": "null" }),
        };
    }
    plain
}

/// The tool `http_request`, whose hosts are required.
fn with_hosts(tool: &Value) -> Value {
    let mut http = tool.clone();
    let properties = &mut http["properties"];
    properties["name"] = json!({ "type": "string", "enum": ["http_request"] });
    properties["hosts"]["type"] = json!("array");
    for name in ["hosts", "methods"] {
        properties[name]["uniqueItems"] = json!(true);
    }
    http["required"] = json!(["name", "hosts"]);
    http
}
