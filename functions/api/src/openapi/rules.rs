//! What no attribute of a field can say: rules on several members of an object, and the names of
//! the variants of a choice.

#![expect(
    clippy::indexing_slicing,
    reason = "runs in tests only, on a document that this code made"
)]

use serde_json::{Map, Value, json};

/// The variants of the choices. Generated clients name the types of variants by these titles.
const TITLES: [(&str, &[&str]); 6] = [
    (
        "BuiltinTool",
        &["PlainBuiltinTool", "HttpRequestBuiltinTool"],
    ),
    ("Tool", &["ClientTool", "PlainTool", "HttpRequestTool"]),
    ("Cache", &["CacheOn", "CacheOff"]),
    ("Step", &["ModelCallStep", "ToolCallStep"]),
    ("Submitted", &["AcceptedSubmission", "RefusedSubmission"]),
    ("ToolResult", &["ResultOfCall", "ResultOfStep"]),
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
    if let Some(tool) = schemas.get("Tool") {
        let variants =
            json!({ "oneOf": [of_client(tool), without_settings(tool), with_hosts(tool)] });
        let builtin = [without_settings(tool), with_hosts(tool)].map(of_builtin_list);
        let builtin = json!({ "oneOf": builtin });
        schemas.insert("Tool".to_owned(), variants);
        schemas.insert("BuiltinTool".to_owned(), builtin);
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

/// A tool of the client's.
fn of_client(tool: &Value) -> Value {
    let mut client = having(tool, &["description", "input_schema"]);
    client["properties"]["kind"] = json!({ "type": ["string", "null"], "enum": ["client", null] });
    client["properties"]["input_schema"] = json!({ "$ref": "#/components/schemas/JsonSchema" });
    client["required"] = json!(["name", "input_schema"]);
    client
}

/// A tool of the platform's that has no settings of its own.
fn without_settings(tool: &Value) -> Value {
    let mut plain = having(tool, &["max_result_bytes"]);
    plain["properties"]["kind"] = json!({ "type": "string", "enum": ["builtin"] });
    plain["properties"]["name"] =
        json!({ "type": "string", "enum": ["current_time", "calculator"] });
    plain["required"] = json!(["kind", "name"]);
    plain
}

/// The tool `http_request`, whose hosts are required.
fn with_hosts(tool: &Value) -> Value {
    let lists = ["hosts", "methods", "paths", "credentials"];
    let others = [
        "allow_http",
        "max_response_bytes",
        "max_result_bytes",
        "timeout_seconds",
    ];
    let mut http = having(tool, &[lists.as_slice(), &others].concat());
    let properties = &mut http["properties"];
    properties["kind"] = json!({ "type": "string", "enum": ["builtin"] });
    properties["name"] = json!({ "type": "string", "enum": ["http_request"] });
    properties["hosts"]["type"] = json!("array");
    for name in lists {
        properties[name]["uniqueItems"] = json!(true);
    }
    http["required"] = json!(["kind", "name", "hosts"]);
    http
}

/// The same tool in the list where no tool needs a kind.
fn of_builtin_list(mut tool: Value) -> Value {
    tool["properties"]["kind"] = json!({ "type": ["string", "null"], "enum": ["builtin", null] });
    if let Some(required) = tool["required"].as_array_mut() {
        required.retain(|name| name != "kind");
    }
    tool
}

/// The tool with these members, and those that every tool has. All others must be null.
fn having(tool: &Value, members: &[&str]) -> Value {
    const OF_ALL: [&str; 3] = ["kind", "name", "max_calls"];
    let mut kind = tool.clone();
    for (name, property) in kind["properties"].as_object_mut().into_iter().flatten() {
        if !members.contains(&name.as_str()) && !OF_ALL.contains(&name.as_str()) {
            *property = json!({ "type": "null" });
        }
    }
    kind
}
