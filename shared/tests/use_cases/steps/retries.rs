//! A client retries an ended task.

use super::*;
use crate::lines::{hear, lines};

#[tokio::test]
async fn the_log_tells_answers_resumptions_and_retries_apart() {
    let low = LimitChanges {
        max_steps: Some(2),
        ..LimitChanges::default()
    };
    let high = LimitChanges {
        max_steps: Some(9),
        ..low
    };
    let world = world([
        calling([ask_human("a")]),
        Reply::Fail(ModelErrorKind::Rejected),
    ])
    .await;
    let (tasks, tenant) = (world.tasks(), world.tenant());
    let new = NewTask {
        limits: low,
        ..world.new_task("hello")
    };
    let task = tasks.submit_task(tenant, new).await.unwrap().id();
    let (heard, _guard) = hear();
    world.run(task).await.unwrap();
    let answers = vec![answer("a", "yes")];
    tasks.answer_task(tenant, task, answers).await.unwrap();
    world.run(task).await.unwrap();
    tasks.resume_task(tenant, task, high).await.unwrap();
    world.run(task).await.unwrap();
    tasks
        .retry_task(tenant, task, RetryFrom::Start, low)
        .await
        .unwrap();
    let told: Vec<_> = lines(&heard)
        .into_iter()
        .filter(|line| {
            let text = line["message"].as_str().unwrap();
            ["task answered", "task resumed", "task retried"].contains(&text)
        })
        .map(|line| ["message", "from", "base"].map(|field| line[field].clone()))
        .collect();
    let null = serde_json::Value::Null;
    assert_eq!(
        told,
        [
            ["task answered".into(), null.clone(), null.clone()],
            ["task resumed".into(), null.clone(), null],
            ["task retried".into(), "start".into(), 2.into()],
        ]
    );
}

#[tokio::test]
async fn a_retry_goes_on_after_the_last_recorded_step_or_afresh() {
    for (from, requests, base) in [(RetryFrom::Checkpoint, 3, 0), (RetryFrom::Start, 4, 2)] {
        let script = [
            calling([calculate("a", "1+1")]),
            Reply::Fail(ModelErrorKind::Rejected),
        ];
        let world = world(script).await;
        let task = world.submit("hello").await.unwrap();
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Failed)
        );
        if from == RetryFrom::Start {
            world.model.then(calling([calculate("a", "1+1")]));
        }
        let none = LimitChanges::default();
        let reopened = world
            .tasks()
            .retry_task(world.tenant(), task.id(), from, none)
            .await
            .unwrap();
        assert_eq!(
            (reopened.status(), reopened.progress().base),
            (TaskStatus::Queued, base)
        );
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
        assert_eq!(world.model.requests().len(), requests);
        let running = world
            .tasks()
            .retry_task(world.tenant(), task.id(), from, none)
            .await;
        assert!(
            matches!(running, Err(AppError::WrongState(TaskStatus::Completed))),
            "{running:?}"
        );
    }
}

/// A retry from such a checkpoint would fail again at once.
#[tokio::test]
async fn a_task_that_its_last_answer_failed_is_retried_afresh() {
    let refusal = ModelAnswer {
        stop_reason: StopReason::Refusal,
        ..samples::answer("")
    };
    let world = world([Reply::Answer(refusal)]).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let (from, none) = (RetryFrom::Checkpoint, LimitChanges::default());
    world
        .tasks()
        .retry_task(world.tenant(), task.id(), from, none)
        .await
        .unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

#[tokio::test]
async fn tasks_of_others_can_not_be_touched() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap();
    let (tasks, other, id) = (world.tasks(), samples::tenant("other"), task.id());
    let none = LimitChanges::default();
    let refused = [
        tasks.cancel_task(&other, id).await,
        tasks.retry_task(&other, id, RetryFrom::Start, none).await,
        tasks.resume_task(&other, id, none).await,
        tasks.answer_task(&other, id, Vec::new()).await,
        tasks
            .list_steps(&other, id, 0, 100)
            .await
            .map(|_| task.clone()),
    ];
    assert!(
        refused
            .iter()
            .all(|refused| matches!(refused, Err(AppError::NotFound(_)))),
        "{refused:?}"
    );
    assert_eq!(world.task(id).await, task);
}
