//! Workers of the deployed platform that die in the middle of their work. A program of its own, because whatever else the
//! executor works on dies with it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers may panic like the test itself"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use shared::domain::{Step, StepKind};
use tokio::sync::Mutex;

use tests::Platform;
use tests::platform::unique;

/// Whoever kills executors kills those of the other tests as well.
static ALONE: Mutex<()> = Mutex::const_new(());

fn kill(process: u32) {
    // It may have ended by itself meanwhile.
    Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
}

#[tokio::test]
async fn an_executor_of_another_stack_is_left_alone() {
    let _alone = ALONE.lock().await;
    let platform = Platform::deployed().await;
    let start = |aws_url: &str| {
        let function = ("AWS_LAMBDA_FUNCTION_NAME", &*platform.executor_function);
        Command::new("sleep").arg("60").envs([function, ("AWS_ENDPOINT_URL", aws_url)]).spawn().unwrap()
    };
    let [mut ours, mut stranger] = [platform.aws_url(), "http://127.0.0.1:1"].map(start);
    let found = platform.executor_processes();
    let are_found = [&ours, &stranger].map(|process| found.contains(&process.id()));
    for process in [&mut ours, &mut stranger] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(are_found, [true, false]);
}

#[tokio::test]
async fn a_task_whose_executor_is_killed_in_a_model_call_completes_with_one_step() {
    let _alone = ALONE.lock().await;
    let platform = Platform::deployed().await;
    let prompt = unique("[slow]");
    let task = platform.submit(&platform.claude().await, &prompt).await;
    platform.until_status(&task, "running").await;
    platform.until_model_is_asked().await;
    let killed = platform.executor_processes();
    assert!(!killed.is_empty(), "no process of the executor was found");
    killed.into_iter().for_each(kill);
    let ended = platform.ended(&task).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(platform.steps(&task).await, [(1, 2)], "the one step is of the second attempt");
    assert!(platform.model_requests(&prompt).await.len() <= 2, "only the call that was cut off is repeated");
}

const TASKS: usize = 200;

/// Executors are killed every second, whatever they are at, until all tasks have ended. The stand-in's own record of what it
/// was asked then tells whether a step was ever done again that was recorded.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tasks_complete_although_executors_are_killed_every_second() {
    let _alone = ALONE.lock().await;
    let platform = Platform::deployed().await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let tools = json!([{ "name": "calculator" }, { "name": "current_time" }]);
    let agent = platform.agent_of(json!({ "models": models, "builtin_tools": tools })).await;
    let mark = unique("[five-steps]");
    let prompts: Vec<String> = (0..TASKS).map(|number| format!("{mark} no. {number}.")).collect();
    let submitted = stream::iter(&prompts).map(|prompt| platform.submit(&agent, prompt)).buffered(10);
    let tasks: Vec<String> = submitted.collect().await;

    let mut killed = 0;
    let killing = async {
        for second in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let processes = platform.executor_processes();
            if let Some(process) = processes.get(killed % processes.len().max(1)) {
                kill(*process);
                killed += 1;
            }
            // Each minute by its schedule; here there is no time to wait for it.
            if second % 3 == 0 {
                platform.invoke_cleanup().await;
            }
        }
    };
    let all_ended = stream::iter(&tasks).map(|task| platform.ended(task)).buffered(4).collect::<Vec<Value>>();
    let ended = tokio::select! {
        ended = all_ended => ended,
        () = killing => Vec::new(),
    };

    let unfinished: Vec<&Value> = ended.iter().filter(|task| task["status"] != "completed").collect();
    assert!(unfinished.is_empty() && killed > 5, "{killed} killed; {unfinished:?}");
    let requests = platform.model_requests(&mark).await;
    let mut repeated = 0;
    for (prompt, task) in prompts.iter().zip(&tasks) {
        let steps = platform.journal(task).await;
        let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "{task}");
        repeated += check_requests(&steps, requests.iter().filter(|request| request.to_string().contains(prompt)));
    }
    println!(
        "{killed} executors killed; {repeated} model calls of {} were repeated, none of a recorded step",
        TASKS * 3
    );
}

/// Checks that no question was asked again once its answer was recorded; returns how many were asked again before.
fn check_requests<'a>(steps: &[Step], requests: impl Iterator<Item = &'a Value>) -> usize {
    let mut asked: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for request in requests {
        let messages = request["body"]["messages"].as_array().unwrap();
        let turn = messages.iter().filter(|message| message["role"] == "assistant").count();
        asked.entry(turn).or_default().push(request["timestamp"].as_u64().unwrap());
    }
    let is_answer = |step: &&Step| matches!(step.kind, StepKind::ModelCall { .. });
    for (turn, step) in steps.iter().filter(is_answer).enumerate() {
        let times = &asked[&turn];
        let recorded_at = step.finished_at.as_millis() + 1_000;
        assert!(times.iter().all(|time| *time <= recorded_at), "step {} was done again: {times:?}", step.number);
    }
    asked.values().map(|times| times.len() - 1).sum()
}
