//! API keys over HTTP.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use serde_json::{Value, json};
use shared::domain::{Scope, Scopes};
use shared::ports::KeyStore;
use shared::testing::samples;

use crate::platform::{
    AGENT, Answer, Platform, check_refused, redacted, send, send_as, with_token,
};

#[tokio::test]
async fn a_key_lives_from_its_creation_to_its_revocation() {
    let platform = Platform::new();
    let body = json!({ "name": "ci", "scopes": ["agents:read", "keys"] });
    let created = send(&platform, "POST", "/v1/keys", body).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let id = created.body["id"].as_str().unwrap().to_owned();
    let token = created.body["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/keys/{id}");
    assert_eq!(created.headers["location"], path);
    let mut expected = json!({
        "id": "[id]", "name": "ci", "scopes": ["agents:read", "keys"], "limits": {
            "requests_per_minute": null, "max_running_tasks": null,
            "max_cost_micro_usd_per_day": null, "max_cost_micro_usd_per_month": null,
        }, "created_at": "[time]",
        "expires_at": "[time]", "revoked_at": "[time]", "last_used_on": null, "token": token,
    });
    assert_eq!(redacted(created.body), expected);
    assert_eq!(with_token(&platform, &token).await.status, StatusCode::OK);

    expected.as_object_mut().unwrap().remove("token");
    expected["last_used_on"] = "2026-11-18".into();
    let found = platform.get(&path).await;
    assert_eq!(redacted(found.body.clone()), expected);
    let listed = platform.get("/v1/keys").await;
    assert_eq!(listed.body["data"], json!([found.body]));

    let change = json!({ "name": "cd", "expires_at": "2027-01-01T00:00:00Z" });
    let changed = send(&platform, "PATCH", &path, change).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.body["name"], "cd");
    assert_eq!(changed.body["expires_at"], "2027-01-01T00:00:00.000Z");
    let change = json!({ "expires_at": null });
    let changed = send(&platform, "PATCH", &path, change).await;
    assert_eq!(changed.body["expires_at"], Value::Null);
    assert_eq!(with_token(&platform, &token).await.status, StatusCode::OK);

    let rotation = json!({ "grace_seconds": 60 });
    let rotated = send(&platform, "POST", &format!("{path}/rotate"), rotation).await;
    let new = rotated.body["token"].as_str().unwrap().to_owned();
    for token in [&token, &new] {
        assert_eq!(with_token(&platform, token).await.status, StatusCode::OK);
    }
    for _ in 0..2 {
        let revoked = send(&platform, "DELETE", &path, json!({})).await;
        assert_eq!(revoked.status, StatusCode::OK);
        assert!(revoked.body["revoked_at"].is_string());
    }
    platform.clock.advance(std::time::Duration::from_secs(30));
    let refused = with_token(&platform, &new).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let conflict = platform.post(&format!("{path}/rotate"), "").await;
    assert_eq!(
        (conflict.status, &conflict.body["code"]),
        (StatusCode::CONFLICT, &json!("conflict"))
    );
}

#[tokio::test]
async fn every_refused_key_gets_the_same_response() {
    let platform = Platform::new();
    let body = json!({ "name": "k", "scopes": ["agents:read"] });
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let created = send(&platform, "POST", "/v1/keys", body.clone()).await;
        let text = |name: &str| created.body[name].as_str().unwrap().to_owned();
        tokens.push((text("id"), text("token")));
    }
    let [revoked, expired, edited] = tokens.try_into().unwrap();
    let path = |(id, _): &(String, String)| format!("/v1/keys/{id}");
    send(&platform, "DELETE", &path(&revoked), json!({})).await;
    let soon = json!({ "expires_at": "2026-11-18T11:07:00Z" });
    send(&platform, "PATCH", &path(&expired), soon).await;
    platform.clock.advance(std::time::Duration::from_mins(1));
    let id = edited.0.parse().unwrap();
    let mut record = platform.keys.credential(id).await.unwrap().unwrap();
    record.credential.key.terms.scopes = Scopes::all();
    platform.keys.put(id, record);
    let unknown = samples::token().expose();
    let refused = [revoked.1, expired.1, edited.1, unknown, "wrong".to_owned()];
    let mut bodies = std::collections::BTreeSet::new();
    for token in refused {
        let mut refused = with_token(&platform, &token).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        refused.headers.remove("x-request-id");
        refused.body.as_object_mut().unwrap().remove("request_id");
        bodies.insert(format!("{:?} {}", refused.headers, refused.body));
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn ten_thousand_made_up_keys_get_one_response_and_cause_no_read() {
    let platform = Platform::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut character = |alphabet: &[u8]| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let place = usize::try_from(random >> 33).unwrap() % alphabet.len();
        char::from(alphabet[place])
    };
    let mut bodies = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let mut part = |alphabet: &[u8], length: usize| -> String {
            (0..length).map(|_| character(alphabet)).collect()
        };
        let base62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let id = part(b"abcdefghijklmnopqrstuvwxyz234567", 12);
        let token = format!("agk_{id}_{}_{}", part(base62, 43), part(base62, 6));
        let mut refused = with_token(&platform, &token).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        refused.body.as_object_mut().unwrap().remove("request_id");
        bodies.insert(refused.body.to_string());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(platform.keys.reads(), 0);
}

#[tokio::test]
async fn an_authorization_that_is_not_one_key_is_refused() {
    let platform = Platform::new();
    let body = json!({ "name": "k", "scopes": ["agents:read"] });
    let created = send(&platform, "POST", "/v1/keys", body).await;
    let token = created.body["token"].as_str().unwrap();
    let values = [
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        format!("Bearer {}", token.to_uppercase()),
        format!("Basic {token}"),
        format!("Bearer {token}é"),
        format!("Bearer agk_{}", "ｋ".repeat(12)),
        "Bearer agk_".to_owned(),
        "Bearer ".to_owned(),
    ];
    let send = async |values: &[HeaderValue]| {
        let mut request = Request::get("/v1/agents").body(Body::empty()).unwrap();
        for value in values {
            let headers = request.headers_mut();
            headers.append(header::AUTHORIZATION, value.clone());
        }
        platform.send(request).await.status
    };
    let good = HeaderValue::from_str(&format!("bearer {token}")).unwrap();
    assert_eq!(send(std::slice::from_ref(&good)).await, StatusCode::OK);
    for value in values {
        let header = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        assert_eq!(send(&[header]).await, StatusCode::UNAUTHORIZED, "{value}");
    }
    assert_eq!(send(&[good.clone(), good]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "tables of cases")]
async fn a_request_on_a_key_that_breaks_rules_is_refused_by_its_places() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let create = async |body: Value| send(&platform, "POST", "/v1/keys", body).await;
    let good = json!({ "name": "k", "scopes": ["keys"] });
    let created = create(good.clone()).await;
    let path = format!("/v1/keys/{}", created.body["id"].as_str().unwrap());
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, place, detail) in [
        (json!({}), "/name", "required"),
        (with("name", json!("")), "/name", "1 to 64"),
        (with("scopes", json!([])), "/scopes", "1 to 8 entries"),
        (
            with("scopes", json!(["keys", "admin"])),
            "/scopes/1",
            "one of",
        ),
        (
            with("expires_at", json!("soon")),
            "/expires_at",
            "must be a time such as",
        ),
        (
            with("expires_at", json!("2026-11-18T11:06:40Z")),
            "/expires_at",
            "future",
        ),
    ] {
        let refused = create(body.clone()).await;
        let first = &refused.body["errors"][0];
        assert_eq!(
            (refused.status.as_u16(), &first["pointer"]),
            (422, &json!(place)),
            "{body}"
        );
        assert!(
            first["detail"].as_str().unwrap().contains(detail),
            "{first}"
        );
    }
    for (body, place) in [
        (json!({ "name": null }), "/name"),
        (json!({ "scopes": null }), "/scopes"),
        (json!({ "scopes": ["x"] }), "/scopes/0"),
        (json!({ "tenant": "acme" }), "/tenant"),
        (json!({ "expires_at": 7 }), "/expires_at"),
    ] {
        let refused = send(&platform, "PATCH", &path, body.clone()).await;
        check_refused(&refused, &[(place, "")], &body.to_string());
    }
    let rotate = format!("{path}/rotate");
    for seconds in [json!(-1), json!(604_801), json!("1"), json!(1.5)] {
        let body = json!({ "grace_seconds": seconds });
        let refused = send(&platform, "POST", &rotate, body).await;
        check_refused(&refused, &[("/grace_seconds", "")], &seconds.to_string());
    }
    platform.clock.advance(std::time::Duration::from_secs(1));
    for (id, status) in [("acme", 409), ("default", 409), ("Acme", 422), ("", 422)] {
        let refused = send(&platform, "POST", "/v1/tenants", json!({ "id": id })).await;
        assert_eq!(refused.status.as_u16(), status, "{id}: {}", refused.body);
    }
    for status in [json!("deleted"), json!(null)] {
        let body = json!({ "status": status });
        let refused = send(&platform, "PATCH", "/v1/tenants/acme", body).await;
        check_refused(&refused, &[("/status", "")], &status.to_string());
    }
    let body = json!({ "status": "suspended" });
    let own = send(&platform, "PATCH", "/v1/tenants/default", body).await;
    assert_eq!(own.status.as_u16(), 404);
    let detail = own.body["detail"].as_str().unwrap();
    assert!(detail.contains("the deployment's own"), "{detail}");
    for id in ["acme", "nobody"] {
        let body = json!({ "name": "k", "scopes": ["operator"] });
        let refused = send(&platform, "POST", &format!("/v1/tenants/{id}/keys"), body).await;
        check_refused(&refused, &[("/scopes", "operator")], id);
    }
    assert_eq!(
        platform.get("/v1/keys").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_suspended_tenant_gets_a_403_that_says_so() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let (_, token) = platform.create_key("acme", &[Scope::AgentsRead]).await;
    let suspended = json!({ "status": "suspended" });
    let changed = send(&platform, "PATCH", "/v1/tenants/acme", suspended).await;
    assert_eq!(changed.body["status"], "suspended");
    let refused = with_token(&platform, &token).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (StatusCode::FORBIDDEN, &json!("tenant_suspended"))
    );
    let active = json!({ "status": "active" });
    send(&platform, "PATCH", "/v1/tenants/acme", active).await;
    platform.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(with_token(&platform, &token).await.status, StatusCode::OK);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scenario")]
async fn writes_above_a_limit_are_refused_until_the_next_minute() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let limits = |requests: Value| json!({ "limits": { "requests_per_minute": requests } });
    let changed = send(&platform, "PATCH", "/v1/tenants/acme", limits(json!(3))).await;
    assert_eq!(changed.body["limits"]["requests_per_minute"], 3);
    let key = |requests: u32| {
        let scopes = ["agents:read", "agents:write"];
        let limits = json!({ "requests_per_minute": requests });
        json!({ "name": "k", "scopes": scopes, "limits": limits })
    };
    let create = async |body| send(&platform, "POST", "/v1/tenants/acme/keys", body).await;
    check_refused(
        &create(key(4)).await,
        &[("/limits/requests_per_minute", "the limit of the tenant, 3")],
        "above the tenant's",
    );
    let mut tokens = Vec::new();
    for requests in [2, 3] {
        let created = create(key(requests)).await;
        tokens.push(created.body["token"].as_str().unwrap().to_owned());
    }
    let write = async |token: &str| {
        let request = Request::post("/v1/agents")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        platform.send(request.body(AGENT.into()).unwrap()).await
    };
    let said = |answer: &Answer, name: &str| -> Vec<String> {
        let values = answer.headers.get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    };
    let first = write(&tokens[0]).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(
        said(&first, "ratelimit-policy"),
        ["\"key\";q=2;w=60", "\"tenant\";q=3;w=60"]
    );
    // The clock stands at 40 seconds of its minute.
    assert_eq!(
        said(&first, "ratelimit"),
        ["\"key\";r=1;t=20", "\"tenant\";r=2;t=20"]
    );
    assert_eq!(write(&tokens[0]).await.status, StatusCode::CREATED);
    let refused = write(&tokens[0]).await;
    assert_eq!(
        (
            refused.status,
            &refused.body["code"],
            &refused.body["retryable"]
        ),
        (
            StatusCode::TOO_MANY_REQUESTS,
            &json!("rate_limited"),
            &json!(true)
        )
    );
    assert_eq!(said(&refused, "retry-after"), ["20"]);
    assert_eq!(said(&refused, "ratelimit"), ["\"key\";r=0;t=20"]);
    assert_eq!(write(&tokens[1]).await.status, StatusCode::CREATED);
    let refused = write(&tokens[1]).await;
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the tenant may make 3 requests"),
        "{detail}"
    );
    let read = with_token(&platform, &tokens[0]).await;
    assert_eq!(read.status, StatusCode::OK);
    assert!(!read.headers.contains_key("ratelimit"));
    platform.clock.advance(std::time::Duration::from_secs(20));
    assert_eq!(write(&tokens[0]).await.status, StatusCode::CREATED);
    for requests in [json!(0), json!(-1), json!(1.5), json!("1"), json!(100_001)] {
        let refused = send(
            &platform,
            "PATCH",
            "/v1/tenants/acme",
            limits(requests.clone()),
        )
        .await;
        check_refused(
            &refused,
            &[("/limits/requests_per_minute", "")],
            &requests.to_string(),
        );
    }
    let none = send(&platform, "PATCH", "/v1/tenants/acme", limits(Value::Null)).await;
    assert_eq!(none.body["limits"]["requests_per_minute"], Value::Null);
}

/// The caps, and the largest value of each.
const CAPS: [(&str, u64); 3] = [
    ("max_running_tasks", 2_000),
    ("max_cost_micro_usd_per_day", 1_000_000_000_000_000),
    ("max_cost_micro_usd_per_month", 1_000_000_000_000_000),
];

#[tokio::test]
async fn tenants_and_keys_have_caps_on_their_tasks() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let key = |limits: Value| json!({ "name": "k", "scopes": ["keys"], "limits": limits });
    let new_key = async |body| send(&platform, "POST", "/v1/tenants/acme/keys", body).await;
    let first = new_key(key(json!({}))).await.body;
    let token = first["token"].as_str().unwrap();
    for (cap, largest) in CAPS {
        // What is known of a key and its tenant is used for 30 s.
        platform.clock.advance(std::time::Duration::from_secs(30));
        let limits = |most: Value| json!({ "limits": { cap: most } });
        let set = async |body| send(&platform, "PATCH", "/v1/tenants/acme", body).await;
        let changed = set(limits(json!(largest))).await;
        assert_eq!(changed.body["limits"][cap], largest);
        set(limits(json!(5))).await;
        let pointer = format!("/limits/{cap}");
        let above = [(pointer.as_str(), "the limit of the tenant, 5")];
        check_refused(&new_key(key(json!({ cap: 6 }))).await, &above, cap);
        let created = new_key(key(json!({ cap: 5 }))).await;
        assert_eq!(created.body["limits"][cap], 5);

        let path = format!("/v1/keys/{}", created.body["id"].as_str().unwrap());
        let own = async |body| send_as(&platform, token, "PATCH", &path, body).await;
        check_refused(&own(limits(json!(6))).await, &above, cap);
        assert_eq!(own(limits(json!(4))).await.body["limits"][cap], 4);
        assert_eq!(own(json!({ "name": "n" })).await.body["limits"][cap], 4);
        assert_eq!(
            own(limits(Value::Null)).await.body["limits"][cap],
            Value::Null
        );

        let bad = [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("1"),
            json!(largest + 1),
        ];
        for most in bad {
            let case = format!("{cap} {most}");
            check_refused(&set(limits(most)).await, &[(&pointer, "")], &case);
        }
        let found = send(&platform, "GET", "/v1/tenants/acme", json!({})).await;
        assert_eq!(found.body["limits"][cap], 5);
    }
}
