//! Workers of the deployed platform that die in the middle of their work. A program of its own, because whatever else the
//! executor works on dies with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may panic like the test itself")]

use std::fs;
use std::process::Command;

use serde_json::json;

use tests::Platform;
use tests::platform::unique;

/// The processes of the deployed executor.
fn executor_processes(platform: &Platform) -> Vec<u32> {
    let name = format!("AWS_LAMBDA_FUNCTION_NAME={}", platform.executor_function);
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_executor = |process: &u32| {
        let variables = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    processes.filter(is_executor).collect()
}

#[tokio::test]
async fn a_task_whose_executor_is_killed_in_a_model_call_completes_with_one_step() {
    let platform = Platform::deployed().await;
    let prompt = unique("[slow]");
    let task = platform.submit(&platform.claude().await, &prompt).await;
    platform.until_status(&task, "running").await;
    platform.until_model_is_asked().await;
    let killed = executor_processes(&platform);
    assert!(!killed.is_empty(), "no process of the executor was found");
    for process in &killed {
        let status = Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
        assert!(status.success());
    }
    let ended = platform.ended(&task).await;
    assert_eq!((&ended["status"], &ended["attempts"]), (&json!("completed"), &json!(2)), "{ended}");
    assert_eq!(platform.steps(&task).await, [(1, 2)], "the one step is of the second attempt");
    assert!(platform.model_requests(&prompt).await.len() <= 2, "only the call that was cut off is repeated");
}
