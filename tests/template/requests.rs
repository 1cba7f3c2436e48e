//! Routes and limits of the HTTP API.

use super::*;

/// The gateway's routes, by their ids in the template.
fn routes<'a>(resources: &'a Yaml<'a>) -> Vec<(&'a str, &'a str)> {
    let all = resources.as_mapping().unwrap().iter();
    let routes =
        all.filter(|(_, resource)| resource["Type"].as_str() == Some("AWS::ApiGatewayV2::Route"));
    routes
        .map(|(id, route)| {
            (
                id.as_str().unwrap(),
                route["Properties"]["RouteKey"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn requests_without_a_key_have_limits_of_their_own() {
    let template = template();
    let resources = &template["Resources"];
    let stage = &resources["HttpApiStage"];
    let settings = stage["Properties"]["RouteSettings"].as_mapping().unwrap();
    let named: BTreeSet<&str> = settings.keys().filter_map(Yaml::as_str).collect();
    let routes = routes(resources);
    let keys: BTreeSet<&str> = routes.iter().map(|(_, key)| *key).collect();
    assert_eq!(
        keys,
        BTreeSet::from([
            "$default",
            "ANY /v1/{proxy+}",
            "GET /healthz",
            "GET /openapi.json",
            "GET /readyz"
        ])
    );
    // What needs a key has what the stage has by default.
    assert_eq!(
        named,
        keys.iter()
            .copied()
            .filter(|key| !key.contains("/v1/"))
            .collect()
    );
    let most = template["Parameters"]["ApiRateLimit"]["Default"]
        .as_integer()
        .unwrap();
    for limits in settings.values() {
        assert!(
            limits["ThrottlingRateLimit"].as_integer().unwrap() * 10 <= most,
            "{limits:?}"
        );
        assert!(
            limits["ThrottlingBurstLimit"].as_integer().unwrap() * 10 <= most,
            "{limits:?}"
        );
    }
}

/// AWS refuses settings for a route that is not there yet.
#[test]
fn the_stage_is_made_after_every_route() {
    let template = template();
    let resources = &template["Resources"];
    let before: BTreeSet<&str> = resources["HttpApiStage"]["DependsOn"]
        .as_sequence()
        .unwrap()
        .iter()
        .filter_map(Yaml::as_str)
        .collect();
    assert_eq!(
        before,
        routes(resources).into_iter().map(|(id, _)| id).collect()
    );
}

#[test]
fn access_log_holds_no_client_text_but_the_user_agent_at_its_end() {
    let template = template();
    let stage = &template["Resources"]["HttpApiStage"]["Properties"];
    let format = stage["AccessLogSettings"]["Format"].as_str().unwrap();
    let ours = [
        "requestTime",
        "requestId",
        "integration.requestId",
        // One of HTTP's own, or refused before the log.
        "httpMethod",
        "routeKey",
        "status",
        "responseLatency",
        "integrationErrorMessage",
        "error.message",
        "identity.sourceIp",
        // A client's own word, and so the last one.
        "identity.userAgent",
    ];
    let used: Vec<&str> = format
        .split("$context.")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        used.iter().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from(ours)
    );
    assert_eq!(used.last(), Some(&"identity.userAgent"));
}
