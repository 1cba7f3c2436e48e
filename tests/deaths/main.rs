//! Workers of the deployed platform that die in the middle of their work. A program of its own, because whatever else the
//! executor works on dies with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may panic like the test itself")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use fastrand::Rng;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use shared::config::Environment;
use shared::domain::{Event, Step, StepKind, Task, Timestamp};
use tokio::sync::Mutex;

use tests::Platform;
use tests::platform::{tell, unique};

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
    let changes = ended["history"].as_array().unwrap();
    assert_eq!(changes.iter().filter(|change| change["lost"] == true).count(), 1, "{ended}");
    assert_eq!(platform.steps(&task).await, [(1, 2)], "the one step is of the second attempt");
    assert!(platform.model_requests(&prompt).await.len() <= 2, "only the call that was cut off is repeated");
}

const TASKS: usize = 200;

/// How many are submitted in a second. So whatever the machine's speed, there is work in each of these 25 seconds, and in them
/// no task can lose the five attempts after which it is given up, as each time its lease has to run out first.
const TASKS_A_SECOND: usize = 8;

/// In every second, at any moment of it, any of the executors is killed, while there come new tasks. What the stand-in was
/// asked and the traces then tell whether a step was ever done again that was recorded.
///
/// The stand-in takes its time over these questions before the first token, not before it looks at them (`latencyMs`): of a
/// request that is cut off there it keeps no record.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tasks_complete_although_an_executor_is_killed_in_every_second() {
    let _alone = ALONE.lock().await;
    let platform = Platform::deployed().await;
    let seed =
        Environment::process().optional("KILL_SEED").map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    tell(&format!("KILL_SEED={seed} chooses again whom this test kills and when"));
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let tools = json!([{ "name": "calculator" }, { "name": "current_time" }]);
    let agent = platform.agent_of(json!({ "models": models, "builtin_tools": tools })).await;
    let mark = unique("[five-steps]");
    let prompts: Vec<String> = (0..TASKS).map(|number| format!("{mark} no. {number}.")).collect();

    let (mut random, mut killed, mut tasks) = (Rng::with_seed(seed), 0, Vec::new());
    for prompts in prompts.chunks(TASKS_A_SECOND) {
        let submitted = stream::iter(prompts).map(|prompt| platform.submit(&agent, prompt)).buffered(TASKS_A_SECOND);
        let kill = kill_one(&platform, &mut random, &mut killed);
        tasks.extend(tokio::join!(submitted.collect::<Vec<String>>(), kill).0);
    }
    let all_ended = stream::iter(&tasks).map(|task| platform.ended(task)).buffered(4).collect::<Vec<Value>>();
    let ended = tokio::select! {
        ended = all_ended => ended,
        never = watch(&platform) => never,
    };

    let unfinished: Vec<&Value> = ended.iter().filter(|task| task["status"] != "completed").collect();
    assert!(unfinished.is_empty() && killed >= 10, "{killed} killed; {unfinished:?}");
    let requests = platform.model_requests(&mark).await;
    let tool_runs = tool_runs(&platform);
    let (mut leases_lost, mut asked_again, mut run_once, mut run_again) = (0, 0, 0, 0);
    for (prompt, task) in prompts.iter().zip(&tasks) {
        let steps = platform.journal(task).await;
        let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "{task}");
        let history = platform.history(task).await;
        let task = platform.task(task).await;
        leases_lost += task.fence() - 1;
        let claims: Vec<Timestamp> = history
            .iter()
            .filter(|change| matches!(change.event, Event::Claimed { .. }))
            .map(|change| change.at)
            .collect();
        assert_eq!(claims.len() as u64, task.fence(), "the history has every lease");
        let asked = questions(&steps, requests.iter().filter(|request| request.to_string().contains(prompt)));
        for step in &steps {
            match &step.kind {
                StepKind::ModelCall { answer, .. } => {
                    let (own, lost) = check_step(step, &claims, &asked[&step.number]);
                    assert_eq!(own, answer.spend.attempts as usize, "{step:?}");
                    asked_again += lost;
                }
                StepKind::ToolCall { .. } => {
                    let (own, lost) = check_step(step, &claims, runs_of(step, &task, &tool_runs));
                    assert!(own <= 1, "{step:?}");
                    run_once += own;
                    run_again += lost;
                }
            }
        }
    }
    check_rescues(&platform, &tasks).await;
    assert!(leases_lost > 0, "only idle executors were killed");
    assert!(run_once > TASKS, "hardly any span of a tool arrived: {run_once}");
    tell(&format!(
        "{killed} executors killed, which had {leases_lost} leases; {TASKS} tasks of 5 steps completed; recorded steps that were \
         done again: 0; unrecorded ones that were: {asked_again} model calls besides {}, {run_again} tool runs besides {run_once}",
        TASKS * 3
    ));
}

/// Checks that what the watchdog did for lost workers' tasks is in the traces of these.
async fn check_rescues(platform: &Platform, tasks: &[String]) {
    let traces = platform.traces();
    let spans = traces.lines().filter(|line| line.contains("settle overdue"));
    let mut rescues = 0;
    for span in spans.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let Some(task) = tasks.iter().find(|task| span["annotations"]["task_id"] == task.as_str()) else { continue };
        let task = platform.task(task).await;
        assert_eq!(span["trace_id"], task.spec().trace.as_ref().unwrap().trace_id(), "{span}");
        rescues += 1;
    }
    assert!(rescues > 0, "the watchdog is in no trace");
}

/// Kills any executor at any moment of a second, and counts it.
async fn kill_one(platform: &Platform, random: &mut Rng, killed: &mut usize) {
    let moment = random.u64(..1_000);
    tokio::time::sleep(Duration::from_millis(moment)).await;
    if let Some(process) = random.choice(platform.executor_processes()) {
        kill(process);
        *killed += 1;
    }
    tokio::time::sleep(Duration::from_millis(1_000 - moment)).await;
}

/// Has the watchdog look every three seconds. By its schedule it does so each minute, for which there is no time here.
async fn watch(platform: &Platform) -> ! {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        platform.invoke_cleanup().await;
    }
}

/// When each step's question was asked, by the step's number. Every question has the results of tools that are recorded.
fn questions<'a>(steps: &[Step], requests: impl Iterator<Item = &'a Value>) -> BTreeMap<u32, Vec<Timestamp>> {
    let recorded = steps.iter().filter_map(|step| match &step.kind {
        StepKind::ToolCall { text, .. } => Some(text.as_str()),
        StepKind::ModelCall { .. } => None,
    });
    let recorded: Vec<&str> = recorded.collect();
    let mut asked: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for request in requests {
        let messages = request["body"]["messages"].as_array().unwrap().iter();
        let results: Vec<&str> = messages
            .filter(|message| message["role"] == "tool")
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        assert_eq!(results, recorded[..results.len()]);
        // After the question, a result for each answer before.
        let number = u32::try_from(2 * results.len() + 1).unwrap();
        asked.entry(number).or_default().push(Timestamp::from_millis(request["timestamp"].as_u64().unwrap()));
    }
    asked
}

/// When tools were run, by trace and number of the step. A worker sends the span of each run before it records the step.
fn tool_runs(platform: &Platform) -> BTreeMap<(String, u32), Vec<Timestamp>> {
    let mut runs: BTreeMap<(String, u32), Vec<Timestamp>> = BTreeMap::new();
    for line in platform.traces().lines().filter(|line| line.contains("execute_tool")) {
        let span: Value = serde_json::from_str(line).unwrap();
        let trace = span["trace_id"].as_str().unwrap().to_owned();
        let key = (trace, u32::try_from(span["metadata"]["step"].as_u64().unwrap()).unwrap());
        let begun = Duration::from_secs_f64(span["start_time"].as_f64().unwrap());
        runs.entry(key).or_default().push(Timestamp::from_millis(0).plus(begun));
    }
    runs
}

/// When the tool of this step was run, as far as the spans arrived: they are sent by UDP.
fn runs_of<'a>(step: &Step, task: &Task, runs: &'a BTreeMap<(String, u32), Vec<Timestamp>>) -> &'a [Timestamp] {
    let trace = task.spec().trace.as_ref().unwrap().trace_id().to_owned();
    runs.get(&(trace, step.number)).map_or(&[], Vec::as_slice)
}

/// Checks that a step was never done again once it was recorded; returns how often it was done under the lease that
/// recorded it, and how often before, by workers that were killed over it.
///
/// A worker reads the journal after it has got its lease, and its lease's number is in the steps that it records. So whatever
/// was done at `moments` was done by a worker that could know of the step if it had a later lease than the one that recorded
/// the step, and by one that could not if it had that or an earlier one. The task's history has their `claims`, in order.
/// The clocks are one, and the leases don't overlap: the one of a killed worker lasts for 6 s more at least, far longer than
/// the stand-in takes to write down what it was asked.
fn check_step(step: &Step, claims: &[Timestamp], moments: &[Timestamp]) -> (usize, usize) {
    let fences = moments.iter().map(|moment| claims.iter().filter(|claim| *claim <= moment).count() as u64);
    let fences: Vec<u64> = fences.collect();
    assert!(fences.iter().all(|fence| *fence <= step.fence), "done again, under {fences:?}: {step:?}");
    let own = fences.iter().filter(|fence| **fence == step.fence).count();
    (own, fences.len() - own)
}
