//! Workers of the deployed platform that die in the middle of their work, and what else can be
//! taken from it at any moment: all its functions, the queue's messages, the whole AWS. A program
//! of its own, because everything that runs at the same time suffers. After each, every accepted
//! task has ended, and no recorded step was done again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::time::Duration;

use fastrand::Rng;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use shared::config::Environment;
use shared::domain::{Task, TaskId, TaskStatus};
use tokio::sync::{Mutex, RwLock};

use evidence::{Done, Evidence, Prompts, five_steps};
use tests::platform::{tell, unique};
use tests::processes::kill;
use tests::{Deployment, Platform};

mod evidence;
mod functions;
mod services;
mod watchdog;

/// A test that kills executors of the one platform kills those of the other tests as well.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A test that stops the AWS stops it for all tests.
static AWS: RwLock<()> = RwLock::const_new(());

/// A deployment whose tasks are soon taken over from a worker that is gone.
async fn deployment(changes: &[(&str, &str)]) -> Deployment {
    Deployment::with(&[&[("LEASE_SECONDS", "5")], changes].concat()).await
}

/// A model of the unreliable provider that no other test uses.
fn own_model() -> String {
    unique("model").replace(' ', "-")
}

/// The fields of an agent on a model of the unreliable provider.
fn agent_on(model: &str) -> Value {
    json!({ "models": [{ "provider": "openai_compatible", "model": model }] })
}

/// The tasks, in the order of their prompts. Few are submitted at once: the local AWS is one
/// process.
async fn submit_all(deployment: &Deployment, agent: &str, prompts: &[String]) -> Vec<TaskId> {
    stream::iter(prompts)
        .map(|prompt| deployment.submit_surely(agent, prompt))
        .buffered(6)
        .collect()
        .await
}

/// What comes of `work`, while the watchdog looks every second.
async fn watched<T>(deployment: &Deployment, work: impl Future<Output = T>) -> T {
    let sweeps = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            deployment.sweep().await;
        }
    };
    tokio::select! {
        done = work => done,
        never = sweeps => never,
    }
}

/// The tasks once all have ended.
async fn all_ended(deployment: &Deployment, tasks: &[TaskId]) -> Vec<Task> {
    let is_over = |task: &Task| task.status().is_terminal();
    let ended =
        stream::iter(tasks).map(|task| deployment.until_task(*task, is_over, "the task ends"));
    ended.buffered(4).collect().await
}

/// Waits until the model was asked for each of these tasks.
async fn until_called(deployment: &Deployment, model: &str, prompts: &[String]) {
    let provider = deployment.platform().unreliable();
    let are_called = async || {
        let requests = provider.requests_by_prompt(model);
        prompts.iter().all(|prompt| requests.contains_key(prompt))
    };
    deployment
        .platform()
        .until(are_called, "the model is requests for all tasks")
        .await;
}

/// Checks that tasks of five steps complete with nothing done again that was recorded; returns what
/// was done.
async fn check_completed(deployment: &Deployment, prompts: &Prompts, tasks: &[TaskId]) -> Done {
    let ended = watched(deployment, all_ended(deployment, tasks)).await;
    let evidence = Evidence::of(deployment.platform(), &prompts.mark).await;
    let mut done = Vec::new();
    for (prompt, task) in prompts.all.iter().zip(&ended) {
        assert_eq!(task.status(), TaskStatus::Completed, "{task:?}");
        let (history, steps) = (
            deployment.history(task).await,
            deployment.journal(task.id()).await,
        );
        done.push(evidence.check(prompt, task, &history, &steps));
    }
    done.into_iter().sum()
}

#[tokio::test]
async fn task_completes_with_one_step_after_a_kill_in_a_model_call() {
    let (_running, _alone) = (AWS.read().await, ALONE.lock().await);
    let platform = Platform::deployed().await;
    let prompt = unique("[slow]");
    let task = platform.submit(&platform.claude().await, &prompt).await;
    platform.until_status(&task, "running").await;
    platform.until_model_is_called().await;
    let killed = platform.executor_processes();
    assert!(!killed.is_empty(), "no process of the executor was found");
    killed.into_iter().for_each(kill);
    let ended = tokio::select! {
        ended = platform.ended(&task) => ended,
        never = watch(&platform) => never,
    };
    assert_eq!(ended["status"], "completed", "{ended}");
    let changes = ended["history"].as_array().unwrap();
    assert_eq!(
        changes
            .iter()
            .filter(|change| change["lost"] == true)
            .count(),
        1,
        "{ended}"
    );
    assert_eq!(
        platform.steps(&task).await,
        [(1, 2)],
        "the one step is of the second attempt"
    );
    assert!(
        platform.model_requests(&prompt).await.len() <= 2,
        "only the call that was cut off is repeated"
    );
}

const TASKS: usize = 200;

/// How many are submitted in a second. So on a machine of any speed there is work in each of these
/// 25 seconds. In them no task can lose the five attempts after which it is dead-lettered, as each
/// time its lease has to run out first.
const TASKS_A_SECOND: usize = 8;

/// In every second, at any moment of it, any of the executors is killed, while there come new
/// tasks. What the stand-in was asked and the traces then tell whether a step was ever done again
/// that was recorded.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tasks_complete_with_an_executor_killed_each_second() {
    let (_running, _alone) = (AWS.read().await, ALONE.lock().await);
    let platform = Platform::deployed().await;
    let seed = Environment::process()
        .optional("KILL_SEED")
        .map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    tell(&format!(
        "KILL_SEED={seed} chooses again whom this test kills and when"
    ));
    let agent = platform.agent_of(five_steps()).await;
    let prompts = Prompts::new(TASKS);

    let (mut random, mut killed, mut tasks) = (Rng::with_seed(seed), 0, Vec::new());
    for prompts in prompts.all.chunks(TASKS_A_SECOND) {
        let submitted = stream::iter(prompts)
            .map(|prompt| platform.submit(&agent, prompt))
            .buffered(TASKS_A_SECOND);
        let kill = kill_one(&platform, &mut random, &mut killed);
        tasks.extend(tokio::join!(submitted.collect::<Vec<String>>(), kill).0);
    }
    let all_ended = stream::iter(&tasks)
        .map(|task| platform.ended(task))
        .buffered(4)
        .collect::<Vec<Value>>();
    let ended = tokio::select! {
        ended = all_ended => ended,
        never = watch(&platform) => never,
    };

    let unfinished: Vec<&Value> = ended
        .iter()
        .filter(|task| task["status"] != "completed")
        .collect();
    assert!(
        unfinished.is_empty() && killed >= 10,
        "{killed} killed; {unfinished:?}"
    );
    let evidence = Evidence::of(&platform, &prompts.mark).await;
    let mut done = Vec::new();
    for (prompt, id) in prompts.all.iter().zip(&tasks) {
        let (history, steps) = (platform.history(id).await, platform.journal(id).await);
        done.push(evidence.check(prompt, &platform.task(id).await, &history, &steps));
    }
    let Done {
        leases_lost,
        called_again,
        run_once,
        run_again,
    } = done.into_iter().sum();
    check_rescues(&platform, &tasks).await;
    assert!(leases_lost > 0, "only idle executors were killed");
    assert!(
        run_once > TASKS,
        "hardly any span of a tool arrived: {run_once}"
    );
    tell(&format!(
        "{killed} executors killed, which had {leases_lost} leases; {TASKS} tasks of 5 steps completed; recorded steps that were \
         done again: 0; unrecorded ones that were: {called_again} model calls besides {}, {run_again} tool runs besides {run_once}",
        TASKS * 3
    ));
}

/// Checks that what the watchdog did for lost workers' tasks is in the traces of these.
async fn check_rescues(platform: &Platform, tasks: &[String]) {
    let traces = platform.traces();
    let spans = traces
        .lines()
        .filter(|line| line.contains("settle overdue"));
    let mut rescues = 0;
    for span in spans.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let Some(task) = tasks
            .iter()
            .find(|task| span["annotations"]["task_id"] == task.as_str())
        else {
            continue;
        };
        let task = platform.task(task).await;
        assert_eq!(
            span["trace_id"],
            task.spec().trace.as_ref().unwrap().trace_id(),
            "{span}"
        );
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

/// Has the watchdog look every three seconds. By its schedule it does so each minute, for which
/// there is no time here.
async fn watch(platform: &Platform) -> ! {
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        platform.invoke_cleanup().await;
    }
}
