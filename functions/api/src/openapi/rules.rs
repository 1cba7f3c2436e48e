//! Rules on several members of an object, which no attribute of a field can say.

#![expect(
    clippy::indexing_slicing,
    reason = "runs in tests only, on a document that this code made"
)]

use serde_json::{Map, Value, json};

/// Adds the rules to the schemas.
pub(super) fn add(schemas: &mut Map<String, Value>) {
    let version = given("agent_version", "integer");
    let alias = given("alias", "string");
    join(
        schemas,
        "SubmitTaskRequest",
        json!({ "not": { "allOf": [version, alias] } }),
    );
    let call = given("call_id", "string");
    let step = given("step", "integer");
    join(schemas, "ToolResult", json!({ "anyOf": [call, step] }));
    if let Some(tool) = schemas.get("BuiltinTool") {
        let variants = json!({ "oneOf": [without_settings(tool), with_hosts(tool)] });
        schemas.insert("BuiltinTool".to_owned(), variants);
    }
}

fn join(schemas: &mut Map<String, Value>, name: &str, rule: Value) {
    let members = schemas.get_mut(name).and_then(Value::as_object_mut);
    if let (Some(members), Value::Object(mut rule)) = (members, rule) {
        members.append(&mut rule);
    }
}

/// The member is there, and not null.
fn given(name: &str, kind: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": kind } } })
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
