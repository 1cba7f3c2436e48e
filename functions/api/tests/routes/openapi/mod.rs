//! The OpenAPI document `docs/openapi.json`, and what it must say.

mod conformance;
mod examples;

use std::collections::BTreeSet;
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use crate::access::ROUTES;
use crate::platform::Platform;
pub(crate) use conformance::check;
use conformance::{DOCUMENT, operations};

const COMMITTED: &str = include_str!("../../../../../docs/openapi.json");

/// `make openapi` copies what this test writes.
#[test]
fn the_committed_document_is_that_of_the_code() {
    let text = format!("{:#}\n", *DOCUMENT);
    let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
    std::fs::write(written, &text).unwrap();
    assert!(
        text == COMMITTED,
        "docs/openapi.json is not the OpenAPI document of this code. Write it anew: make openapi"
    );
}

#[tokio::test]
async fn the_document_is_served_without_a_key() {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let answer = Platform::new().send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let committed: Value = serde_json::from_str(COMMITTED).unwrap();
    assert_eq!(answer.body, committed);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(
        answer.headers["content-length"].to_str().unwrap(),
        committed.to_string().len().to_string()
    );
}

/// The lines of the table in `docs/api.md` that name a route, without the parameters.
fn documented() -> BTreeSet<String> {
    let lines = include_str!("../../../../../docs/api.md").lines();
    let routes = lines.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let routes = routes.map(|(route, _)| route.split('?').next().unwrap().to_owned());
    routes.filter(|route| route.contains(" /")).collect()
}

#[test]
fn the_document_has_the_documented_routes() {
    let routes = operations()
        .map(|operation| format!("{} {}", operation.method.to_uppercase(), operation.path));
    assert_eq!(routes.collect::<BTreeSet<_>>(), documented());
}

#[test]
fn the_document_names_each_query_parameter() {
    let lines = include_str!("../../../../../docs/api.md").lines();
    let routes = lines.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented = routes.filter(|(route, _)| route.contains(" /"));
    let documented: BTreeSet<String> = documented.map(|(route, _)| route.to_owned()).collect();
    let described = operations().map(|operation| {
        let parameters = operation.value["parameters"]
            .as_array()
            .into_iter()
            .flatten();
        let names = parameters.filter(|parameter| parameter["in"] == "query");
        let names: Vec<String> = names
            .map(|parameter| format!("{}=", parameter["name"].as_str().unwrap()))
            .collect();
        let mark = if names.is_empty() { "" } else { "?" };
        format!(
            "{} {}{mark}{}",
            operation.method.to_uppercase(),
            operation.path,
            names.join("&")
        )
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), documented);
}

/// `access.rs` checks that a route needs this scope and no other.
#[test]
fn each_operation_has_the_scope_that_its_handler_checks() {
    let mut scopes: BTreeSet<(String, &str)> = BTreeSet::new();
    for route in &ROUTES {
        scopes.insert((route.documented(), route.3.as_str()));
    }
    let described = operations().filter_map(|operation| {
        let scope = operation.value["security"][0]["api_key"][0].as_str()?;
        let route = format!("{} {}", operation.method.to_uppercase(), operation.path);
        Some((route, scope))
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), scopes);
}

#[test]
fn operations_have_ids_of_their_own_and_links_lead_to_them() {
    let ids: Vec<&str> = operations()
        .map(|operation| operation.value["operationId"].as_str().unwrap())
        .collect();
    let different: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len());
    let mut links = 0;
    for operation in operations() {
        let responses = operation.value["responses"].as_object().unwrap().values();
        for (name, link) in responses
            .filter_map(|response| response["links"].as_object())
            .flatten()
        {
            links += 1;
            let target = operations().find(|target| target.value["operationId"] == *name);
            let target = target.unwrap_or_else(|| panic!("{name}"));
            let parameters = link["parameters"].as_object().into_iter().flatten();
            for (parameter, _) in parameters {
                let known = target.value["parameters"].as_array().unwrap();
                assert!(
                    known.iter().any(|known| known["name"] == *parameter),
                    "{name}: {parameter}"
                );
            }
        }
    }
    assert!(links > 20, "{links}");
}

/// Generated clients send defaults. A patch would change what its client did not name.
#[test]
fn a_merge_patch_has_no_defaults() {
    for name in [
        "AgentPatch",
        "CachePatch",
        "OutputSchemaPatch",
        "RetryPatch",
    ] {
        let properties = DOCUMENT["components"]["schemas"][name]["properties"].as_object();
        for (member, schema) in properties.unwrap() {
            assert_eq!(schema.get("default"), None, "{name}: {member}");
        }
    }
}

/// Generated clients do not combine them.
#[test]
fn no_schema_has_properties_beside_a_choice() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        let is_choice = ["anyOf", "oneOf", "allOf"]
            .iter()
            .any(|choice| schema.get(choice).is_some());
        assert!(
            !(is_choice && schema.get("properties").is_some()),
            "{name}: {schema:#}"
        );
    }
}

/// Generated clients name the types of the variants by their titles.
#[test]
fn each_variant_of_a_choice_has_a_title_of_its_own() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let mut titles: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    let components = titles.len();
    for (name, schema) in schemas {
        let choices = [&schema["anyOf"], &schema["oneOf"]];
        for variant in choices
            .iter()
            .filter_map(|choice| choice.as_array())
            .flatten()
        {
            let title = variant["title"]
                .as_str()
                .unwrap_or_else(|| panic!("{name}"));
            assert!(titles.insert(title), "{name}: {title}");
        }
    }
    assert!(titles.len() >= components + 10, "{titles:?}");
}
