//! Many tasks, lost messages and malformed messages in the queue.

use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;
use shared::domain::{AgentId, CacheUse, TaskInput};
use shared::ports::{AgentStore, TaskStore};
use shared::store::{DynamoAgentStore, DynamoTaskStore};

use tests::Platform;
use tests::platform::{id, now, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_at_once_complete_once_each() {
    let platform = Platform::deployed().await;
    let agent = platform.claude().await;
    let prompt = unique("[ok]");
    // The local AWS is one process; more requests at once than this only make it time out.
    let submitted = stream::iter(0..100)
        .map(|_| platform.submit(&agent, &prompt))
        .buffered(25);
    let tasks: Vec<String> = submitted.collect().await;
    let ended: Vec<_> = stream::iter(&tasks)
        .map(|task| platform.ended(task))
        .buffered(10)
        .collect()
        .await;
    for task in &ended {
        assert_eq!(
            (&task["status"], &task["attempts"]),
            (&json!("completed"), &json!(1)),
            "{task}"
        );
    }
    assert_eq!(platform.model_requests(&prompt).await.len(), 100);
    let steps = join_all(tasks.iter().map(|task| platform.steps(task))).await;
    assert!(steps.iter().all(|steps| *steps == [(1, 1)]), "{steps:?}");
    let (status, page) = platform
        .call(Method::GET, "/v1/tasks?status=completed&limit=50", None)
        .await;
    assert_eq!(
        (status, page["data"].as_array().map(Vec::len)),
        (StatusCode::OK, Some(50)),
        "{page}"
    );
    assert!(
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|task| task["attempts"].is_u64()),
        "{page}"
    );
    let (status, page) = platform.call(Method::GET, "/v1/dead-letters", None).await;
    assert_eq!(
        (status, page["data"].as_array().map(Vec::len)),
        (StatusCode::OK, Some(0)),
        "{page}"
    );
}

#[tokio::test]
async fn a_second_tenant_works_with_a_key_of_its_own() {
    let platform = Platform::deployed().await;
    let tenant = unique("team").replace([' ', '_'], "-").to_lowercase();
    let create = async |path: &str, body| {
        let (status, made) = platform.call(Method::POST, path, Some(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {made}");
        made
    };
    create("/v1/tenants", json!({ "id": tenant })).await;
    let scopes = ["agents:read", "agents:write", "tasks:read", "tasks:submit"];
    let body = json!({ "name": "first", "scopes": scopes });
    let key = create(&format!("/v1/tenants/{tenant}/keys"), body).await;
    let token = key["token"].as_str().unwrap();
    let call = async |method, path: &str, body: Option<_>| {
        platform
            .call_with_key(method, path, body.as_ref(), token)
            .await
    };
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let agent = json!({ "name": "clerk", "models": models });
    let (_, agent) = call(Method::POST, "/v1/agents", Some(agent)).await;
    let task = json!({ "agent_id": agent["id"], "input": unique("[ok]") });
    let (status, task) = call(Method::POST, "/v1/tasks", Some(task)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let mut ended = task;
    for _ in 0..10 {
        (_, ended) = call(Method::GET, &format!("{path}?wait=25"), None).await;
        if ended["status"] == "completed" {
            break;
        }
    }
    assert_eq!(ended["status"], "completed", "{ended}");
    let foreign = platform.call(Method::GET, &path, None).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND, "{}", foreign.1);
    let (status, refused) = call(Method::GET, "/v1/keys", None).await;
    assert_eq!(
        (status, &refused["code"]),
        (StatusCode::FORBIDDEN, &json!("missing_scope"))
    );
    let other = token.replacen(token.get(20..21).unwrap(), "-", 1);
    let refused = platform
        .call_with_key(Method::GET, &path, None, &other)
        .await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_task_whose_message_was_never_sent_is_found_by_the_watchdog() {
    let platform = Platform::deployed().await;
    let agent: AgentId = platform.claude().await.parse().unwrap();
    let agents = DynamoAgentStore::new(platform.aws.dynamodb(), platform.state_table.as_str());
    let agent = agents
        .newest(&"default".parse().unwrap(), agent)
        .await
        .unwrap()
        .unwrap();
    // As if the api had died between its write and its send, a minute ago.
    let minute_ago = shared::domain::Timestamp::from_millis(now().as_millis() - 60_000);
    let task_id = shared::domain::TaskId::new(now());
    let input = TaskInput::new(unique("[ok]")).unwrap();
    let task =
        shared::domain::Task::submit(task_id, &agent, input, CacheUse::default(), minute_ago);
    let tasks = DynamoTaskStore::new(platform.aws.dynamodb(), platform.state_table.as_str());
    tasks.create(&task).await.unwrap();
    let ended = platform.ended(&task_id.to_string()).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    let line = platform
        .logged("cleanup", "task was overdue", &task_id.to_string())
        .await;
    assert_eq!(line["settled"], "Resent", "{line}");
}

#[tokio::test]
async fn a_malformed_message_is_dead_lettered_and_harms_nobody() {
    let platform = Platform::deployed().await;
    let malformed = unique("not ours");
    let queue = platform.aws.sqs();
    queue
        .send_message()
        .queue_url(&platform.task_queue_url)
        .message_body(&malformed)
        .send()
        .await
        .unwrap();
    let task = platform
        .submit(&platform.claude().await, &unique("[ok]"))
        .await;
    assert_eq!(platform.ended(&task).await["status"], "completed");
    let dropped = async || {
        platform
            .log_lines("cleanup", "malformed dead letter dropped")
            .await
    };
    platform
        .until(
            async || !dropped().await.is_empty(),
            "SQS dead-letters the malformed message",
        )
        .await;
    assert_eq!(dropped().await[0]["bytes"], malformed.len());
    assert!(!platform.log("cleanup").await.contains(&malformed));
    let logged = platform.log_lines("executor", "poison message").await;
    assert!(!logged.is_empty());
    assert!(
        logged.iter().all(|line| line["receives"] == 1),
        "logged on its first receive only: {logged:?}"
    );
}

#[tokio::test]
async fn a_message_that_comes_twice_is_one_task() {
    let platform = Platform::deployed().await;
    let prompt = unique("[ok]");
    let task = platform.submit(&platform.claude().await, &prompt).await;
    let body = json!({ "version": 1, "tenant_id": "default", "task_id": task }).to_string();
    let queue = platform.aws.sqs();
    for _ in 0..3 {
        queue
            .send_message()
            .queue_url(&platform.task_queue_url)
            .message_body(&body)
            .send()
            .await
            .unwrap();
    }
    assert_eq!(platform.ended(&task).await["status"], "completed");
    platform
        .logged("executor", "duplicate message of an ended task", &task)
        .await;
    assert_eq!(platform.model_requests(&prompt).await.len(), 1);
    assert_eq!(platform.steps(&task).await, [(1, 1)]);
    assert_eq!(id(&task).to_string(), task);
}
