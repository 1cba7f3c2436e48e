//! Each request example of the OpenAPI document is accepted.

use serde_json::{Value, json};
use shared::ports::ModelErrorKind;
use shared::testing::{Reply, samples};

use super::conformance::{Operation, operations};
use crate::lifecycle::{ask_human, calling, task};
use crate::platform::Platform;

/// The id that the example of a submission has.
const EXAMPLE_AGENT: &str = "agt_01a20340-4163-7960-b3c7-2b064fae521b";

/// A task in the state in which this operation acts on it.
async fn task_for(platform: &Platform, operation: &str) -> String {
    let steps = (0..20)
        .map(|id| samples::tool_call(&id.to_string(), "calculator", r#"{"expression":"1"}"#));
    let script = match operation {
        "answer_task" => [calling([ask_human("a")])],
        "resume_task" => [calling(steps)],
        _ => [Reply::Fail(ModelErrorKind::Rejected)],
    };
    task(platform, script).await
}

/// The path of the operation with the ids of what is there, and the id of an agent.
async fn furnished(platform: &Platform, operation: Operation) -> (String, String) {
    let agent = platform.create_agent().await;
    let id = operation.value["operationId"].as_str().unwrap();
    let created = match operation.value["tags"][0].as_str().unwrap() {
        "keys" => {
            let key = json!({ "name": "k", "scopes": ["keys"] }).to_string();
            platform.post("/v1/keys", key).await.body["id"].take()
        }
        "tenants" if operation.path.contains('{') => {
            platform.create_tenant("acme").await;
            json!("acme")
        }
        "tasks" => {
            let path = task_for(platform, id).await;
            json!(path.rsplit('/').next().unwrap())
        }
        _ => json!(agent),
    };
    let path = operation.path.replace("{name}", "prod");
    (path.replace("{id}", created.as_str().unwrap()), agent)
}

#[tokio::test(start_paused = true)]
async fn each_request_example_is_accepted() {
    let mut sent = 0;
    for operation in operations() {
        let content = operation.value["requestBody"]["content"].as_object();
        for (content_type, content) in content.into_iter().flatten() {
            let platform = Platform::new();
            let (path, agent) = furnished(&platform, operation).await;
            let example = &content["example"];
            assert_ne!(*example, Value::Null, "{path}");
            let body = example.to_string().replace(EXAMPLE_AGENT, &agent);
            let method = operation.method.to_uppercase();
            let headers = [("content-type", content_type.as_str())];
            let answer = platform.send_typed((&method, &path), &headers, body).await;
            assert!(
                answer.status.is_success(),
                "{method} {path}: {}",
                answer.body
            );
            sent += 1;
        }
    }
    assert_eq!(sent, 20);
}
