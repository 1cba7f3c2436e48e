//! What a request leaves in the trace.

use std::io;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use lambda_http::Context;
use serde_json::{Value, json};
use shared::ports::Clock;
use shared::ports::clock::SystemClock;
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs, traces};
use shared::testing::{XrayDaemon, listen, samples};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::platform::{Platform, request};

/// A request in a trace that began just now and is recorded.
fn traced(request: axum::http::request::Builder, body: impl Into<Body>) -> Request<Body> {
    let mut context = Context::default();
    context.xray_trace_id = Some(samples::trace_of(SystemClock.now()).to_string());
    request
        .header("content-type", "application/json")
        .extension(context)
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn a_requests_span_can_be_found_by_whom_and_what_it_is_about() {
    let daemon = XrayDaemon::start().unwrap();
    let layer = traces::to_daemon(Service::new("api", "v1"), &daemon.address().unwrap()).unwrap();
    // The log has spans of its own within those of the trace, as where it is deployed.
    let log = logs::layer(
        Service::new("api", "v1"),
        LevelFilter::INFO,
        HeldLines::default(),
        io::sink,
    );
    let _listening = listen(tracing_subscriber::registry().with(layer).with(log));
    let annotations = || {
        let [span] = &daemon.spans()[..] else {
            panic!("one request is one span")
        };
        span["annotations"].clone()
    };
    let (platform, ours) = (
        Platform::new(),
        json!({ "tenant_id": "default", "function_request_id": "" }),
    );
    let about = |more: Value| {
        let mut all = ours.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };

    let agent = platform.create_agent().await;
    let body = json!({ "agent_id": agent, "input": "hello" }).to_string();
    let accepted = platform
        .send(traced(request("POST", "/v1/tasks"), body))
        .await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let task = accepted.body["id"].clone();
    assert_eq!(
        annotations(),
        about(json!({ "task_id": task, "agent_id": agent }))
    );

    let path = format!("/v1/tasks/{}/cancel", task.as_str().unwrap());
    platform.send(traced(request("POST", &path), "")).await;
    assert_eq!(
        annotations(),
        about(json!({ "task_id": task, "agent_id": agent }))
    );

    platform
        .send(traced(request("GET", &format!("/v1/agents/{agent}")), ""))
        .await;
    assert_eq!(annotations(), about(json!({ "agent_id": agent })));

    platform
        .send(traced(Request::get(format!("/v1/agents/{agent}")), ""))
        .await;
    assert_eq!(
        annotations(),
        json!({ "function_request_id": "" }),
        "a stranger's request says nothing of a tenant"
    );
}
