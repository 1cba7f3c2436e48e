//! What a batch costs that is worked on as a whole.

use std::time::Duration;

use serde_json::json;
use shared::domain::{Step, StepKind, TaskId, ToolRunner};
use shared::testing::memory::peak_mebibytes;
use shared::testing::samples;
use tests::Deployment;
use tests::platform::{now, tell, unique};

/// The stand-in takes a second for each of these.
const PROMPT: &str = "[second]";

#[tokio::test]
async fn ten_tasks_of_one_batch_are_billed_as_little_more_than_one() {
    let deployment = Deployment::with(&[]).await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let agent = deployment.agent_of(&json!({ "models": models })).await;
    let write = async || {
        deployment
            .write_task_of(&agent, &unique(PROMPT), now())
            .await
            .id()
    };
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
    assert!(
        ten >= Duration::from_secs(1) && ten < Duration::from_secs(5),
        "{ten:?}"
    );
}

/// Four turns of a task, each an answer and the result of its tool, of about so many bytes
/// together.
fn turns(task: TaskId, bytes: usize) -> impl Iterator<Item = Step> {
    let call = samples::tool_call("call_1", "calculator", r#"{"expression":"1+1"}"#);
    let mut answer = samples::answer_calling([call]);
    answer.content.push(samples::said(&"a".repeat(bytes / 4)));
    [1, 3, 5, 7].into_iter().flat_map(move |number| {
        let kind = StepKind::ModelCall {
            requested: samples::model(),
            answer: answer.clone(),
        };
        let result = samples::tool_step(task, number + 1, ToolRunner::Platform, "2");
        [
            Step {
                kind,
                ..samples::step(task, number, "")
            },
            result,
        ]
    })
}

/// The kernel counts the most memory that the function's processes ever had (`VmHWM` of proc(5));
/// the function has 512 MB.
#[tokio::test]
async fn a_batch_of_large_conversations_leaves_the_executor_under_400_mib() {
    let deployment = Deployment::with(&[]).await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let fields = json!({ "models": models, "builtin_tools": [{ "name": "calculator" }] });
    let agent = deployment.agent_of(&fields).await;
    let mut tasks = Vec::new();
    // More than an executor has room for. The stand-in takes 10 MiB at most; `shared/tests/memory`
    // has larger ones.
    for mebibytes in [9, 9, 9, 9, 3, 3, 3, 3, 3, 3] {
        let task = deployment.write_task(&agent, now()).await.id();
        for step in turns(task, mebibytes * 1_024 * 1_024) {
            deployment.record_step(&step).await;
        }
        tasks.push(task);
    }
    deployment.run_batch(&tasks).await;
    for task in tasks {
        deployment.until_status(task, "completed").await;
    }
    let executors = deployment.processes("executor").into_iter();
    let peaks: Vec<u64> = executors
        .map(|process| peak_mebibytes(&process.to_string()).unwrap())
        .collect();
    tell(&format!(
        "the most memory that executors had for large conversations, in MiB: {peaks:?}"
    ));
    assert!(
        !peaks.is_empty() && peaks.iter().all(|peak| *peak < 400),
        "{peaks:?}"
    );
}
