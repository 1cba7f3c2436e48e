//! Services that forget or stand still: the queue loses its messages, the whole AWS answers nobody.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Url;
use shared::domain::{TaskId, TaskStatus};

use tests::platform::{tell, unique};
use tests::processes::{Stopped, listening_on};
use tests::unreliable::Fate;

use crate::evidence::{Prompts, five_steps};
use crate::{
    AWS, agent_on, all_ended, check_completed, deployment, own_model, submit_all, until_called,
    watched,
};

/// A wait over which a task is parked, with a delayed message.
const PARKED_SECONDS: u64 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_complete_although_the_queue_is_purged() {
    let _running = AWS.read().await;
    let deployment = deployment(&[("MODEL_TIMEOUT_SECONDS", "19")]).await;
    let (provider, held_model, limited_model) =
        (deployment.platform().unreliable(), own_model(), own_model());
    let agent = deployment.agent_of(&five_steps()).await;
    let held_agent = deployment.agent_of(&agent_on(&held_model)).await;
    let limited_agent = deployment.agent_of(&agent_on(&limited_model)).await;

    // One task's message is delayed, those of others are being worked on, and those of the rest
    // wait.
    provider.fail_next(&limited_model, Fate::RateLimited(PARKED_SECONDS));
    let parked_prompt = unique("[ok]");
    let parked = deployment
        .submit_surely(&limited_agent, &parked_prompt)
        .await;
    deployment.until_status(parked, "waiting").await;
    provider.hold(&held_model);
    deployment.hold_messages().await;
    let held_prompts: Vec<String> = (0..8).map(|_| unique("[ok]")).collect();
    let held = submit_all(&deployment, &held_agent, &held_prompts).await;
    deployment.deliver_messages().await;
    until_called(&deployment, &held_model, &held_prompts).await;
    deployment.hold_messages().await;
    let prompts = Prompts::new(20);
    let waiting = submit_all(&deployment, &agent, &prompts.all).await;
    assert!(deployment.messages().await >= 20);
    deployment.purge_messages().await;
    assert_eq!(deployment.messages().await, 0);
    deployment.deliver_messages().await;
    provider.release(&held_model);

    check_completed(&deployment, &prompts, &waiting).await;
    let others: Vec<TaskId> = held.into_iter().chain([parked]).collect();
    for task in watched(&deployment, all_ended(&deployment, &others)).await {
        assert_eq!(
            (task.status(), task.progress().steps),
            (TaskStatus::Completed, 1),
            "{task:?}"
        );
    }
    let requests = held_prompts
        .iter()
        .chain([&parked_prompt])
        .map(|prompt| deployment.platform().model_requests(prompt));
    assert!(
        join_all(requests)
            .await
            .iter()
            .all(|requests| requests.len() == 1),
        "an answer was paid twice"
    );
}

/// For how long the AWS stands still: four times as long as a lease lasts, and far longer than any
/// call to it may take.
const FROZEN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn tasks_complete_although_the_aws_stands_still() {
    let _alone = AWS.write().await;
    let deployment = deployment(&[]).await;
    let agent = deployment.agent_of(&five_steps()).await;
    let prompts = Prompts::new(40);
    let (before, meanwhile) = prompts.all.split_at(30);
    let mut tasks = submit_all(&deployment, &agent, before).await;
    for task in &tasks[25..] {
        deployment
            .until_task(*task, |task| task.fence() > 0, "a worker has the task")
            .await;
    }
    let port = Url::parse(deployment.platform().aws_url())
        .unwrap()
        .port()
        .unwrap();
    let frozen = Stopped::all(vec![listening_on(port)]);
    let thawed = async {
        tokio::time::sleep(FROZEN).await;
        drop(frozen);
    };
    tasks.extend(tokio::join!(submit_all(&deployment, &agent, meanwhile), thawed).0);
    let done = check_completed(&deployment, &prompts, &tasks).await;
    tell(&format!("the AWS stood still for {FROZEN:?}: {done:?}"));
}
