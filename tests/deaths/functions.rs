//! Functions that die all at once, that come back from the dead, and that one task kills again and
//! again.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::domain::{FailureCode, Task, TaskState, TaskStatus};

use tests::Deployment;
use tests::platform::{tell, unique};
use tests::processes::{Stopped, kill};
use tests::unreliable::Fate;

use crate::evidence::{Prompts, five_steps};
use crate::{
    AWS, agent_on, all_ended, check_completed, deployment, own_model, submit_all, until_called,
    watched,
};

/// How often all functions are killed: less often than a task has attempts.
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_complete_although_all_functions_are_killed_at_once() {
    let _running = AWS.read().await;
    let deployment = deployment(&[]).await;
    let (platform, model) = (deployment.platform(), own_model());
    let (agent, held_agent) = (
        deployment.agent_of(&five_steps()).await,
        deployment.agent_of(&agent_on(&model)).await,
    );
    let prompts = Prompts::new(KILLS * 10);
    let (mut tasks, mut held, mut held_prompts) = (Vec::new(), Vec::new(), Vec::new());
    platform.unreliable().hold(&model);
    for prompts in prompts.all.chunks(10) {
        // A worker is in the middle of a model call, tasks are on their way to the API, and the
        // watchdog looks.
        held_prompts.push(unique("[ok]"));
        held.extend(submit_all(&deployment, &held_agent, &held_prompts[held.len()..]).await);
        until_called(&deployment, &model, &held_prompts).await;
        let submitted = submit_all(&deployment, &agent, prompts);
        tasks.extend(
            tokio::join!(
                submitted,
                deployment.sweep(),
                kill_all_functions(&deployment)
            )
            .0,
        );
    }
    platform.unreliable().release(&model);
    check_completed(&deployment, &prompts, &tasks).await;
    let ended = watched(&deployment, all_ended(&deployment, &held)).await;
    for (task, prompt) in ended.iter().zip(&held_prompts) {
        assert_eq!(task.status(), TaskStatus::Completed, "{task:?}");
        assert!(task.fence() > 1, "its worker was not killed: {task:?}");
        // Calls whose caller was killed while they were held have never reached it.
        assert_eq!(platform.model_requests(prompt).await.len(), 1, "{task:?}");
    }
}

/// Kills every process of every function, once each has one.
async fn kill_all_functions(deployment: &Deployment) {
    let processes = async || {
        let all = ["api", "executor", "cleanup"].map(|kind| deployment.processes(kind));
        all.iter()
            .all(|processes| !processes.is_empty())
            .then(|| all.concat())
    };
    let all = deployment
        .platform()
        .until_some(processes, "all functions run")
        .await;
    all.into_iter().for_each(kill);
}

/// When workers come back whose tasks others have taken over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    /// While the others ask the model.
    Early,
    /// When the others have ended the tasks.
    Late,
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_back_while_others_are_at_their_tasks_change_nothing() {
    check_zombies(Back::Early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_return_after_their_tasks_ended_change_nothing() {
    check_zombies(Back::Late).await;
}

/// Stops workers in the middle of model calls for longer than their leases last, and continues them
/// later.
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn check_zombies(back: Back) {
    let _running = AWS.read().await;
    // Nobody but this test ends a worker, or a call that is held.
    let patient =
        ["MODEL_TIMEOUT_SECONDS", "MODEL_FIRST_BYTE_SECONDS"].map(|variable| (variable, "250"));
    let deployment = deployment(&patient).await;
    deployment.set_timeout("executor", 300).await;
    let (provider, model) = (deployment.platform().unreliable(), own_model());
    let agent = deployment.agent_of(&agent_on(&model)).await;
    let prompts: Vec<String> = (0..12).map(|_| unique("[ok]")).collect();
    provider.hold(&model);
    deployment.hold_messages().await;
    let tasks = submit_all(&deployment, &agent, &prompts).await;
    deployment.deliver_messages().await;
    until_called(&deployment, &model, &prompts).await;

    let zombies = Stopped::all(deployment.processes("executor"));
    deployment.hold_messages().await;
    let is_queued = |task: &Task| task.status() == TaskStatus::Queued;
    let queued = tasks
        .iter()
        .map(|task| deployment.until_task(*task, is_queued, "the watchdog queues the task"));
    watched(&deployment, join_all(queued)).await;
    if back == Back::Late {
        provider.release(&model);
    }
    deployment.deliver_messages().await;
    let called_twice = async || provider.requests_to(&model).len() == 2 * prompts.len();
    deployment
        .platform()
        .until(called_twice, "others ask")
        .await;
    if back == Back::Late {
        all_ended(&deployment, &tasks).await;
    }
    drop(zombies);
    // The queue deletes the messages of those who come back when they are done with them.
    let left = if back == Back::Late { 0 } else { 12 };
    let are_done = async || deployment.messages().await == left;
    deployment
        .platform()
        .until(are_done, "those who came back are done")
        .await;
    provider.release(&model);
    for task in all_ended(&deployment, &tasks).await {
        assert_eq!(
            (task.status(), task.fence()),
            (TaskStatus::Completed, 2),
            "{task:?}"
        );
        let steps = deployment.journal(task.id()).await;
        assert_eq!(
            steps
                .iter()
                .map(|step| (step.number, step.fence))
                .collect::<Vec<_>>(),
            [(1, 2)]
        );
    }
    assert!(
        provider
            .requests_by_prompt(&model)
            .values()
            .all(|requests| requests.len() == 2),
        "who came back requests again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn task_that_kills_its_worker_fails_and_its_nine_neighbours_complete() {
    let _running = AWS.read().await;
    let deployment = deployment(&[]).await;
    let (provider, model) = (deployment.platform().unreliable(), own_model());
    let (agent, deadly) = (
        deployment.agent_of(&five_steps()).await,
        deployment.agent_of(&agent_on(&model)).await,
    );
    provider.fail(&model, Fate::Deadly);
    deployment.hold_messages().await;
    let fatal = deployment.submit_surely(&deadly, &unique("[ok]")).await;
    let prompts = Prompts::new(9);
    let tasks = submit_all(&deployment, &agent, &prompts.all).await;
    deployment
        .platform()
        .until(
            async || deployment.messages().await == 10,
            "all messages wait",
        )
        .await;
    deployment.deliver_messages().await;
    let done = check_completed(&deployment, &prompts, &tasks).await;
    tell(&format!(
        "nine tasks beside one that kills its worker: {done:?}"
    ));

    let given_up = watched(&deployment, all_ended(&deployment, &[fatal]))
        .await
        .remove(0);
    let TaskState::Failed(failure) = given_up.state() else {
        panic!("{given_up:?}")
    };
    assert_eq!(
        (failure.code, given_up.attempts()),
        (FailureCode::AttemptsExhausted, 5),
        "{given_up:?}"
    );
    assert_eq!(
        provider.requests_to(&model).len(),
        5,
        "one call for each attempt"
    );
    let (_, listed) = deployment.call(Method::GET, "/v1/dead-letters", None).await;
    let listed: Vec<&Value> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| &task["id"])
        .collect();
    assert_eq!(
        listed,
        [&json!(fatal.to_string())],
        "the nine others are none"
    );
}
