//! `DELETE /v1/cache`.

use super::*;
use crate::platform::UNKNOWN_AGENT;

#[tokio::test]
async fn clearing_the_cache_changes_nothing_that_a_client_sees() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let path = format!("/v1/agents/{agent}");
    let before = platform.get(&path).await;
    let stored = platform.store.content();
    let cleared = platform
        .delete(&format!("/v1/cache?agent_id={agent}"))
        .await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    assert_ne!(platform.store.content(), stored);
    let after = platform.get(&path).await;
    assert_eq!(after.body, before.body);
    assert_eq!(after.headers["etag"], before.headers["etag"]);
}

#[tokio::test]
async fn the_agent_is_named_by_an_id_that_exists() {
    let platform = Platform::new();
    platform.create_agent().await;
    let before = platform.store.content();
    for (query, status, parameter) in [
        ("", 422, json!("agent_id")),
        ("?agent_id=", 422, json!("agent_id")),
        ("?agent_id=agt_1", 422, json!("agent_id")),
        ("?agent=x", 422, json!("agent")),
        (&format!("?agent_id={UNKNOWN_AGENT}"), 404, Value::Null),
    ] {
        let refused = platform.delete(&format!("/v1/cache{query}")).await;
        let named = &refused.body["errors"][0]["parameter"];
        assert_eq!(
            (refused.status.as_u16(), named),
            (status, &parameter),
            "{query}"
        );
    }
    assert_eq!(platform.store.content(), before);
}
