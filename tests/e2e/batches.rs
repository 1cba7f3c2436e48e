//! What a batch costs that is worked on as a whole.

use std::time::Duration;

use serde_json::json;
use tests::Deployment;
use tests::platform::{now, tell, unique};

/// The stand-in takes a second for each of these.
const PROMPT: &str = "[second]";

#[tokio::test]
async fn ten_tasks_of_one_batch_are_billed_as_little_more_than_one() {
    let deployment = Deployment::with(&[]).await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let agent = deployment.agent_of(&json!({ "models": models })).await;
    let write = async || deployment.write_task_of(&agent, &unique(PROMPT), now()).await.id();
    let one = deployment.run_batch(&[write().await]).await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(write().await);
    }
    let ten = deployment.run_batch(&tasks).await;
    for task in tasks {
        deployment.until_status(task, "completed").await;
    }
    tell(&format!(
        "one task with a model of 1 s was billed {one:?}, with its cold start; ten in a batch were billed {ten:?}"
    ));
    // The benchmark has the target of 1.25 s: here other tests take the processor, too.
    assert!(ten >= Duration::from_secs(1) && ten < Duration::from_secs(5), "{ten:?}");
}
