//! Compares every response of these tests with the OpenAPI document. A request that is accepted must be
//! valid by the document too.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::platform::Answer;

/// The headers that a response has only if the OpenAPI document lists them.
const HEADERS: [&str; 7] = [
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
];

pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(api::openapi::document);

/// An operation of the OpenAPI document, as tests use it.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) value: &'static Value,
}

/// All operations.
pub(crate) fn operations() -> impl Iterator<Item = Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let item = item.as_object().unwrap().iter();
        item.map(move |(method, value)| Operation {
            method,
            path,
            value,
        })
    })
}

/// The operation that this request calls. A path without parameters wins.
fn operation_of(method: &str, path: &str) -> Option<Operation> {
    let fits = |operation: &Operation| {
        let (pattern, path) = (operation.path.split('/'), path.split('/'));
        pattern.clone().count() == path.clone().count()
            && pattern
                .zip(path)
                .all(|(part, text)| part == text || part.starts_with('{'))
    };
    let mut candidates: Vec<Operation> = operations().filter(fits).collect();
    candidates.sort_by_key(|operation| operation.path.matches('{').count());
    let path = candidates.first()?.path;
    candidates
        .into_iter()
        .filter(|operation| operation.path == path)
        .find(|operation| operation.method.eq_ignore_ascii_case(method))
}

/// What the object refers to.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Panics if the OpenAPI document does not allow this response, or forbids a request that was accepted.
#[track_caller]
pub(crate) fn check(request: &Parts, body: &[u8], answer: &Answer) {
    let (method, path) = (request.method.as_str(), request.uri.path());
    let Some(operation) = operation_of(method, path) else {
        return;
    };
    let what = format!("{method} {path}: {}", answer.status);
    let response = &operation.value["responses"][answer.status.as_str()];
    assert!(
        response.is_object(),
        "{what} is not in the OpenAPI document"
    );
    let response = resolved(response);
    check_headers(response, &answer.headers, &what);
    match response["content"].as_object() {
        None => assert_eq!(answer.body, json!(""), "{what}"),
        Some(content) => {
            let content_type = answer.headers["content-type"].to_str().unwrap();
            assert!(content.contains_key(content_type), "{what}: {content_type}");
            check_value(&content[content_type]["schema"], &answer.body, &what);
        }
    }
    if answer.status.is_success() {
        check_request(operation, request, body, &what);
    }
}

#[track_caller]
fn check_headers(response: &Value, headers: &HeaderMap, what: &str) {
    for name in HEADERS {
        let is_listed = response["headers"].get(name).is_some();
        assert!(is_listed || !headers.contains_key(name), "{what}: {name}");
    }
    assert!(headers.contains_key("x-request-id"), "{what}");
    let has_location = response["headers"].get("Location").is_some();
    assert_eq!(has_location, headers.contains_key("location"), "{what}");
}

#[track_caller]
fn check_request(operation: Operation, request: &Parts, body: &[u8], what: &str) {
    let text = std::str::from_utf8(body)
        .unwrap()
        .trim_start_matches('\u{feff}');
    let content = &operation.value["requestBody"]["content"];
    match (content.as_object(), text) {
        (Some(content), "") => {
            let is_required = operation.value["requestBody"]["required"] == true;
            assert!(!is_required, "{what}: {content:?}");
        }
        (None, _) => {}
        (Some(content), text) => {
            let content_type = request.headers["content-type"].to_str().unwrap();
            let content_type = content_type.split(';').next().unwrap().to_lowercase();
            let schema = &content[&content_type]["schema"];
            check_value(schema, &serde_json::from_str(text).unwrap(), what);
        }
    }
    for pair in request.uri.query().unwrap_or_default().split('&') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let parameters = operation.value["parameters"].as_array();
        let parameter = parameters.and_then(|all| all.iter().find(|one| one["name"] == name));
        assert!(parameter.is_some(), "{what}: {name}");
        let number = value.parse().map(|number: u64| json!(number));
        let value = number.unwrap_or_else(|_| json!(value));
        if name != "cursor" {
            check_value(&parameter.unwrap()["schema"], &value, what);
        }
    }
}

#[track_caller]
fn check_value(schema: &Value, value: &Value, what: &str) {
    let validator = validator(schema);
    let errors = validator.iter_errors(value).take(5);
    let errors: Vec<String> = errors
        .map(|error| format!("{} {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

/// The validator of this schema of the OpenAPI document, in which no object has unknown members.
fn validator(schema: &Value) -> Arc<Validator> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = known.entry(schema.to_string()).or_insert_with(|| {
        let mut whole = closed(schema);
        let mut schemas = Map::new();
        add_referenced(schema, &mut schemas);
        whole["components"] = json!({ "schemas": schemas });
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&whole).unwrap())
    });
    Arc::clone(validator)
}

/// Adds the schemas to which this one leads.
fn add_referenced(schema: &Value, schemas: &mut Map<String, Value>) {
    match schema {
        Value::Array(entries) => entries
            .iter()
            .for_each(|entry| add_referenced(entry, schemas)),
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|place| place.rsplit('/').next())
                && !schemas.contains_key(name)
            {
                let referenced = &DOCUMENT["components"]["schemas"][name];
                schemas.insert(name.to_owned(), closed(referenced));
                add_referenced(referenced, schemas);
            }
            members
                .values()
                .for_each(|member| add_referenced(member, schemas));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema, in which each object has only the members that are described.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Array(entries) => entries.iter().map(closed).collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> = members
                .iter()
                .map(|(name, member)| match name.as_str() {
                    // These are rules on some of the members.
                    "anyOf" | "not" => (name.clone(), member.clone()),
                    _ => (name.clone(), closed(member)),
                })
                .collect();
            let is_object = members
                .get("properties")
                .is_some_and(|value| value.get("type").is_none_or(Value::is_object));
            if is_object && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(members)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}
