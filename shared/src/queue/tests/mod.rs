//! Tests of `queue`.

use std::sync::{Arc, Mutex};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use super::*;
use crate::testing::samples;

/// The requests that a server got.
type Received = Arc<Mutex<Vec<Value>>>;

/// An SQS that gives each request to `answer`, and the adapter before it.
async fn queue(
    answer: impl Fn(&Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (SqsTaskQueue, Received) {
    let received = Received::default();
    let noted = Arc::clone(&received);
    let respond = move |headers: HeaderMap, body: String| async move {
        assert_eq!(headers["x-amz-target"], "AmazonSQS.SendMessageBatch");
        let body = serde_json::from_str(&body).unwrap();
        let (status, answer) = answer(&body);
        noted.lock().unwrap().push(body);
        (StatusCode::from_u16(status).unwrap(), Json(answer))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(respond))).await });
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(&endpoint);
    let client = Client::from_conf(config.build());
    (
        SqsTaskQueue::new(client, format!("{endpoint}/1/tasks")),
        received,
    )
}

fn messages(count: usize) -> Vec<Outgoing> {
    let outgoing = |_| Outgoing {
        message: samples::message(),
        trace: None,
        delay: Duration::ZERO,
    };
    (0..count).map(outgoing).collect()
}

fn taken(id: &str) -> Value {
    json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "5" })
}

/// What happened to each message, in their order: nothing, or the words of its failure.
async fn outcomes(queue: &SqsTaskQueue, messages: &[Outgoing]) -> Vec<Option<String>> {
    let sent = queue.send_all(messages).await;
    sent.into_iter()
        .map(|sent| sent.err().map(|error| Causes(&error).to_string()))
        .collect()
}

#[tokio::test]
async fn each_message_of_a_batch_fails_for_its_own_reason() {
    let answer = |_: &Value| {
        let failed = json!([
            { "Id": "3", "SenderFault": false, "Code": "InternalError", "Message": "try again" },
            { "Id": "1", "SenderFault": true, "Code": "InvalidMessageContents" },
        ]);
        (
            200,
            json!({ "Successful": [taken("4"), taken("0")], "Failed": failed }),
        )
    };
    let (queue, received) = queue(answer).await;
    let outcomes = outcomes(&queue, &messages(5)).await;
    assert_eq!(
        received.lock().unwrap().len(),
        1,
        "no message is sent twice"
    );
    let words = [
        None,
        Some("InvalidMessageContents"),
        Some("SQS does not mention the message"),
        Some("InternalError: try again"),
        None,
    ];
    assert_eq!(outcomes.len(), words.len());
    for (outcome, words) in outcomes.iter().zip(words) {
        assert_eq!(outcome.is_some(), words.is_some(), "{outcomes:?}");
        let said = outcome.as_deref().unwrap_or_default();
        assert!(said.contains(words.unwrap_or_default()), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_fails_no_other() {
    let answer = |body: &Value| {
        let entries = body["Entries"].as_array().unwrap();
        if entries.len() < MOST_IN_BATCH {
            let refusal =
                json!({ "__type": "com.amazonaws.sqs#RequestThrottled", "message": "slowly" });
            return (400, refusal);
        }
        let all = entries
            .iter()
            .map(|entry| taken(entry["Id"].as_str().unwrap()));
        (
            200,
            json!({ "Successful": all.collect::<Vec<_>>(), "Failed": [] }),
        )
    };
    let (queue, received) = queue(answer).await;
    let outcomes = outcomes(&queue, &messages(23)).await;
    let mut sizes: Vec<usize> = received
        .lock()
        .unwrap()
        .iter()
        .map(|body| body["Entries"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 10, 10]);
    assert_eq!(outcomes.len(), 23);
    assert!(outcomes[..20].iter().all(Option::is_none), "{outcomes:?}");
    for outcome in &outcomes[20..] {
        let said = outcome.as_deref().unwrap_or_default();
        assert!(said.contains("slowly"), "{outcomes:?}");
    }
}

#[test]
fn a_delay_is_rounded_up() {
    let table = [
        (Duration::ZERO, 0),
        (Duration::from_nanos(1), 1),
        (Duration::from_secs(1), 1),
        (Duration::from_millis(1_001), 2),
        (Duration::from_millis(43_199_001), 43_200),
        (LONGEST_VISIBILITY, 43_200),
        (Duration::MAX, i32::MAX),
    ];
    for (delay, seconds) in table {
        assert_eq!(whole_seconds(delay), seconds, "{delay:?}");
    }
}

/// The local AWS drops the trace of a message in a batch, so the suite of the port can't check
/// it.
#[test]
fn an_entry_of_a_batch_has_its_tasks_trace_and_delay() {
    let trace: TraceHeader =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
            .parse()
            .unwrap();
    let outgoing = Outgoing {
        message: samples::message(),
        trace: Some(trace.clone()),
        delay: Duration::from_mins(10),
    };
    let entry = entry(7, &outgoing, &Span::none()).unwrap();
    assert_eq!((entry.id(), entry.delay_seconds()), ("7", Some(600)));
    let tenant = outgoing.message.tenant.as_str();
    assert_eq!(entry.message_group_id(), Some(tenant));
    let attributes = entry.message_system_attributes().unwrap();
    let header = &attributes[&MessageSystemAttributeNameForSends::AwsTraceHeader];
    assert_eq!(header.string_value(), Some(trace.as_str()));
}
