//! What all operations and schemas of the document have in common.

#![expect(
    clippy::indexing_slicing,
    reason = "runs in tests only, on a document that this code made"
)]

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::flatten::{flattened, name_of};
use super::{links, rules};
use crate::routes::V1;

/// What a response says that has no words of its own.
const DESCRIPTIONS: [(&str, &str); 7] = [
    ("200", "The request was handled."),
    ("201", "It was created."),
    ("202", "The request was accepted."),
    ("204", "Done."),
    (
        "304",
        "Nothing has changed since the response with this `ETag`.",
    ),
    (
        "500",
        "A defect, a record that cannot be read, or a response that cannot be delivered.",
    ),
    ("503", "A dependency does not respond or throttles."),
];

const HEADERS: [(&str, &str); 7] = [
    (
        "ETag",
        "The tag of this version, for `If-Match` and `If-None-Match`.",
    ),
    ("Location", "The path of what was created."),
    (
        "RateLimit",
        "What is left of each limit: `r` requests, for `t` seconds. Absent without a limit.",
    ),
    (
        "RateLimit-Policy",
        "The limits: `q` requests in `w` seconds. Absent without a limit.",
    ),
    ("Retry-After", "After how many seconds to ask again."),
    (
        "WWW-Authenticate",
        "The scheme, and the scope that is missing.",
    ),
    (
        "X-Request-ID",
        "The platform's id of the request, which its logs have.",
    ),
];

/// Completes the document.
pub(super) fn finish(mut document: Value) -> Value {
    let schemas = document.pointer_mut("/components/schemas");
    let mut schemas = schemas.map(name_entries).unwrap_or_default();
    let unknown = schemas.clone();
    for schema in schemas.values_mut() {
        *schema = flattened(schema, &unknown);
    }
    rules::add(&mut schemas);
    for (path, item) in members_of(&mut document["paths"]) {
        for (_, operation) in members_of(item) {
            complete(path, operation);
        }
    }
    document["components"]["schemas"] = Value::Object(schemas);
    let requests = reachable(&document, &["parameters", "requestBody"]);
    let used = reachable(&document, &["parameters", "requestBody", "responses"]);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
        schemas.sort_keys();
        for (_, schema) in schemas
            .iter_mut()
            .filter(|(name, _)| !requests.contains(*name))
        {
            require_nullable(schema);
        }
    }
    document["components"]["headers"] = headers();
    share_refusals(&mut document);
    document
}

fn members_of(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// The schemas, in which the entries of the list `List_X` are the component `X`. `utoipa` describes
/// the argument of a generic type in place.
fn name_entries(schemas: &mut Value) -> Map<String, Value> {
    let mut named = Map::new();
    for (list, schema) in members_of(schemas) {
        let Some(name) = list.strip_prefix("List_") else {
            continue;
        };
        if let Some(entry) = schema.pointer_mut("/properties/data/items") {
            let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
            named.insert(name.to_owned(), std::mem::replace(entry, reference));
        }
    }
    let mut schemas = schemas
        .as_object_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    schemas.append(&mut named);
    schemas
}

/// Completes an operation: its tag, its refusals, and the headers and links of its responses.
fn complete(path: &str, operation: &mut Value) {
    let parts = path.strip_prefix(V1).unwrap_or(path).split('/');
    let tag = match parts.clone().nth(1) {
        Some("healthz" | "readyz") => "health",
        Some("openapi.json") | None => "openapi",
        Some(name) => name,
    };
    operation["tags"] = json!([tag]);
    let id = operation["operationId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let responses = &mut operation["responses"];
    responses["500"] = json!({});
    let is_counted = responses.get("429").is_some();
    for (status, response) in members_of(responses) {
        let known = DESCRIPTIONS.iter().find(|(known, _)| known == status);
        if let Some((_, description)) = known
            && response["description"].as_str().is_none_or(str::is_empty)
        {
            response["description"] = json!(description);
        }
        let mut names: BTreeSet<&str> = ["X-Request-ID"].into();
        match status.as_str() {
            "401" | "403" => drop(names.insert("WWW-Authenticate")),
            "429" | "503" => drop(names.insert("Retry-After")),
            _ => {}
        }
        if is_counted && (status.starts_with('2') || status == "429") {
            names.extend(["RateLimit", "RateLimit-Policy"]);
        }
        let own = response["headers"].as_object().into_iter().flatten();
        names.extend(own.filter_map(|(name, _)| {
            HEADERS
                .iter()
                .find(|known| known.0 == name)
                .map(|known| known.0)
        }));
        response["headers"] = names.into_iter().map(header).collect();
        if status.starts_with(['4', '5']) {
            let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
            response["content"] = json!({ "application/problem+json": problem });
        }
        let links = links::of(&id, status);
        if !links.is_empty() {
            response["links"] = Value::Object(links);
        }
    }
    if let Some(responses) = responses.as_object_mut() {
        responses.sort_keys();
    }
}

fn header(name: &str) -> (String, Value) {
    let reference = json!({ "$ref": format!("#/components/headers/{name}") });
    (name.to_owned(), reference)
}

fn headers() -> Value {
    let headers = HEADERS.iter().map(|(name, description)| {
        let kind = match *name {
            "Retry-After" => "integer",
            _ => "string",
        };
        let header = json!({ "description": description, "schema": { "type": kind } });
        ((*name).to_owned(), header)
    });
    headers.collect()
}

/// The names of the schemas to which these parts of operations lead.
fn reachable(document: &Value, parts: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let items = document["paths"].as_object().into_iter().flatten();
    for operation in items.filter_map(|(_, item)| item.as_object()).flatten() {
        for part in parts {
            collect(&operation.1[part], document, &mut names);
        }
    }
    names
}

fn collect(value: &Value, document: &Value, names: &mut BTreeSet<String>) {
    if let Some(name) = name_of(value)
        && names.insert(name.to_owned())
    {
        collect(&document["components"]["schemas"][name], document, names);
    }
    match value {
        Value::Array(entries) => entries
            .iter()
            .for_each(|entry| collect(entry, document, names)),
        Value::Object(members) => members
            .values()
            .for_each(|member| collect(member, document, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A response has every member that may be null; `utoipa` takes it for one that may be absent.
fn require_nullable(schema: &mut Value) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let nullable = properties.filter(|(_, property)| is_nullable(property));
    let nullable: Vec<Value> = nullable.map(|(name, _)| json!(name)).collect();
    if !nullable.is_empty() {
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        required.extend(
            nullable
                .into_iter()
                .filter(|name| !required.contains(name))
                .collect::<Vec<_>>(),
        );
        schema["required"] = json!(required);
    }
    match schema {
        Value::Array(entries) => entries.iter_mut().for_each(require_nullable),
        Value::Object(members) => members.values_mut().for_each(require_nullable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_nullable(schema: &Value) -> bool {
    let types = schema["type"].as_array();
    let variants = schema["oneOf"].as_array();
    types.is_some_and(|types| types.contains(&json!("null")))
        || variants.is_some_and(|variants| variants.contains(&json!({ "type": "null" })))
}

/// Puts the refusals that most operations have into the components.
fn share_refusals(document: &mut Value) {
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    each_refusal(document, |status, response| {
        *counts
            .entry((status.to_owned(), response.to_string()))
            .or_default() += 1;
    });
    let mut shared: BTreeMap<String, (u32, Value)> = BTreeMap::new();
    for ((status, response), count) in counts {
        let (most, common) = shared.entry(status).or_default();
        if count > *most && count > 2 {
            *most = count;
            *common = serde_json::from_str(&response).unwrap_or_default();
        }
    }
    shared.retain(|_, (most, _)| *most > 0);
    each_refusal(document, |status, response| {
        if shared
            .get(status)
            .is_some_and(|(_, common)| common == response)
        {
            *response =
                json!({ "$ref": format!("#/components/responses/{}", name_of_status(status)) });
        }
    });
    let shared = shared.into_iter();
    document["components"]["responses"] = shared
        .map(|(status, (_, response))| (name_of_status(&status), response))
        .collect();
}

fn each_refusal(document: &mut Value, mut visit: impl FnMut(&str, &mut Value)) {
    for (_, item) in members_of(&mut document["paths"]) {
        for (_, operation) in members_of(item) {
            let responses = members_of(&mut operation["responses"]);
            for (status, response) in responses.filter(|(status, _)| status.starts_with(['4', '5']))
            {
                visit(status, response);
            }
        }
    }
}

/// The reason phrase in one word.
fn name_of_status(status: &str) -> String {
    let status = StatusCode::from_bytes(status.as_bytes()).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    reason.unwrap_or_default().replace(' ', "")
}
