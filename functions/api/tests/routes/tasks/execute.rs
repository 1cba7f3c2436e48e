//! `POST /v1/agents/{id}/execute`: a submission that waits.

use shared::testing::{Faults, When};

use super::*;
use crate::platform::Answer;

async fn execute(platform: &Platform, agent: &str, prefer: Option<&str>) -> Answer {
    let path = format!("/v1/agents/{agent}/execute");
    let mut request = request("POST", &path)
        .header("content-type", "application/json")
        .header("idempotency-key", "k1");
    if let Some(prefer) = prefer {
        request = request.header("prefer", prefer);
    }
    let body = json!({ "input": "hello" }).to_string();
    platform.send(request.body(body.into()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_in_time_is_the_response() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let work = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        platform.drain(ScriptedModel::default()).await;
    };
    let (answer, ()) = futures::join!(execute(&platform, &agent, None), work);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["output"], "hello");
    let location = answer.headers["location"].to_str().unwrap();
    assert_eq!(
        location,
        format!("/v1/tasks/{}", answer.body["id"].as_str().unwrap())
    );
    assert!(!answer.headers.contains_key("preference-applied"));
    let again = execute(&platform, &agent, None).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, answer.body));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_as_long_as_the_client_prefers_up_to_25_seconds() {
    for (prefer, applied, seconds) in [
        (None, None, 25),
        (Some("wait=10"), Some("wait=10"), 10),
        (Some("wait=100"), Some("wait=25"), 25),
        (Some("respond-async"), Some("respond-async"), 0),
        (Some("wait=0"), Some("wait=0"), 0),
    ] {
        let platform = Platform::new();
        let agent = platform.create_agent().await;
        let began = tokio::time::Instant::now();
        let answer = execute(&platform, &agent, prefer).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{prefer:?}");
        assert_eq!(answer.body["status"], "queued");
        assert_eq!(began.elapsed().as_secs(), seconds, "{prefer:?}");
        let header = answer.headers.get("preference-applied");
        assert_eq!(header.map(|value| value.to_str().unwrap()), applied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_can_not_be_read_after_its_submission_is_accepted() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    let agent = platform.create_agent().await;
    let work = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        faults.fail_next(When::Before);
    };
    let (answer, ()) = futures::join!(execute(&platform, &agent, None), work);
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_eq!(answer.body["status"], "queued");
}

#[tokio::test]
async fn the_path_names_the_agent_and_the_body_does_not() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let path = format!("/v1/agents/{agent}/execute");
    let body = json!({ "agent_id": agent, "input": "hello" });
    let refused = platform.post(&path, body.to_string()).await;
    check_refused(&refused, &[("/agent_id", "unknown field")], "agent_id");
    assert_eq!(platform.queue.sent(), []);
}

#[tokio::test]
async fn an_unknown_agent_in_the_path_is_not_found() {
    let platform = Platform::new();
    platform.create_agent().await;
    let executed = execute(&platform, UNKNOWN_AGENT, None).await;
    let read = platform.get(&format!("/v1/agents/{UNKNOWN_AGENT}")).await;
    assert_eq!(executed.status, StatusCode::NOT_FOUND, "{}", executed.body);
    assert_eq!(redacted(executed.body), redacted(read.body));
    assert_eq!(platform.queue.sent(), []);
}
