//! What a secret may be.

use serde_json::{Value, json};

use super::form;

/// Why the secret is refused.
fn refused(secret: &str) -> Option<&'static str> {
    form::read(secret).err()
}

#[test]
fn a_secret_of_each_kind_is_read() {
    for secret in [
        json!({ "value": "canary-key" }),
        json!({ "kind": "header", "value": "canary-key", "header": "X-Key", "format": "v1 {}" }),
        json!({ "value": "canary-key", "methods": ["GET", "POST"], "paths": ["/v1"] }),
        json!({ "kind": "query", "value": "canary-key", "parameter": "key" }),
        json!({ "kind": "basic", "user": "", "password": "canary-key" }),
        json!({
            "kind": "oauth2_client_credentials", "token_url": "https://login.example.com/token", "client_id": "c",
            "client_secret": "canary-key", "scope": "a b", "audience": "orders",
        }),
    ] {
        assert_eq!(refused(&with_hosts(secret.clone())), None, "{secret}");
    }
}

fn with_hosts(mut secret: Value) -> String {
    let members = secret.as_object_mut().unwrap();
    members.insert("hosts".to_owned(), json!(["api.example.com"]));
    secret.to_string()
}

#[test]
fn a_malformed_secret_is_refused_without_its_text() {
    let many: Vec<String> = (0..9)
        .map(|number| format!("h{number}.example.com"))
        .collect();
    let hosts = [
        json!({ "value": "canary-key" }),
        json!({ "value": "canary-key", "hosts": "api.example.com" }),
        json!({ "value": "canary-key", "hosts": [] }),
        json!({ "value": "canary-key", "hosts": many }),
        json!({ "value": "canary-key", "hosts": ["*.example.com"] }),
        json!({ "value": "canary-key", "hosts": ["127.0.0.1"] }),
        json!({ "value": "canary-key", "hosts": ["api.example.com"], "methods": ["canary"] }),
        json!({ "value": "canary-key", "hosts": ["api.example.com"], "methods": [] }),
        json!({ "value": "canary-key", "hosts": ["api.example.com"], "methods": null }),
        json!({ "value": "canary-key", "hosts": ["api.example.com"], "paths": [] }),
        json!({ "value": "canary-key", "hosts": ["api.example.com"], "paths": ["canary"] }),
    ];
    let others = [
        json!({}),
        json!({ "kind": "canary", "value": "canary-key" }),
        json!({ "value": "canary-key", "canary": 1 }),
        json!({ "value": 42 }),
        json!({ "value": "canary" }),
        json!({ "value": "canary-key\n" }),
        json!({ "value": "canary key" }),
        json!({ "value": "canary-kéy" }),
        json!({ "value": "x".repeat(8_193) }),
        json!({ "value": "canary-key", "header": "a b" }),
        json!({ "value": "canary-key", "format": "Bearer" }),
        json!({ "value": "canary-key", "format": "{} {}" }),
        json!({ "value": "canary-key", "format": "{}\n" }),
        json!({ "kind": "query", "value": "canary-key" }),
        json!({ "kind": "query", "value": "canary-key", "parameter": "" }),
        json!({ "kind": "basic", "user": "a:b", "password": "canary-key" }),
        json!({ "kind": "basic", "user": "a", "password": "short" }),
        json!({ "kind": "oauth2_client_credentials", "client_id": "c", "client_secret": "canary-key" }),
        json!({
            "kind": "oauth2_client_credentials", "token_url": "https://a:b@login.example.com/token", "client_id": "c",
            "client_secret": "canary-key",
        }),
        json!({
            "kind": "oauth2_client_credentials", "token_url": "http://login.example.com/token", "client_id": "c",
            "client_secret": "canary-key",
        }),
    ];
    let malformed = ["", "canary-key", "[]", "\"canary\""].map(str::to_owned);
    let secrets = malformed
        .into_iter()
        .chain(hosts.map(|secret| secret.to_string()))
        .chain(others.map(with_hosts));
    for secret in secrets {
        let why = refused(&secret).unwrap_or_else(|| panic!("{secret}"));
        assert!(!why.contains("canary"), "{why}");
    }
}
