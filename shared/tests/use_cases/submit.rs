use std::time::Duration;

use futures::future::join_all;
use shared::app::{AppError, NewTask, RunError, RunOutcome};
use shared::domain::{AgentId, Invalid, LimitChanges, Task, TaskId, TaskStatus};
use shared::ports::TaskStore;
use shared::testing::{Call, Faults, When, samples};

use crate::lines::{hear, lines, of_line};
use crate::world::World;

/// Submits a task that is accepted.
async fn accepted(world: &World, new: NewTask) -> Task {
    let task = world.tasks().submit_task(world.tenant(), new).await;
    task.unwrap()
}

/// A task that begins so many seconds after its submission.
fn later(world: &World, seconds: u64) -> NewTask {
    NewTask {
        not_before: Some(samples::after(seconds)),
        ..world.new_task("hello")
    }
}

fn keyed(new: NewTask, key: &str) -> NewTask {
    NewTask {
        idempotency_key: Some(key.parse().unwrap()),
        ..new
    }
}

#[tokio::test]
async fn a_task_whose_message_can_not_be_sent_is_accepted_and_comes_due() {
    let world = World::new().await;
    let faults = Faults::default();
    faults.fail_next(When::Before);
    let task = world
        .tasks_failing(&faults)
        .submit_task(world.tenant(), world.new_task("hello"))
        .await
        .unwrap();
    assert_eq!(world.status(task.id()).await, TaskStatus::Queued);
    assert_eq!(world.queue.sent(), []);
    world.pass(60);
    assert_eq!(world.sweep().await.unwrap().resent, 1);
    assert_eq!(world.queue.sent().len(), 1);
}

#[tokio::test]
async fn one_key_makes_one_task_however_many_and_concurrent_the_submissions() {
    let world = World::new().await;
    let tasks = world.tasks();
    let submissions =
        (0..20).map(|_| tasks.submit_task(world.tenant(), keyed(world.new_task("hello"), "k1")));
    let accepted: Vec<_> = join_all(submissions)
        .await
        .into_iter()
        .map(|task| task.unwrap().id())
        .collect();
    assert!(accepted.iter().all(|id| *id == accepted[0]));
    for _message in world.queue.sent() {
        world.run(accepted[0]).await.unwrap();
    }
    assert_eq!(world.model.requests().len(), 1);
    let late = tasks
        .submit_task(world.tenant(), keyed(world.new_task("hello"), "k1"))
        .await
        .unwrap();
    assert_eq!(
        (late.id(), late.status()),
        (accepted[0], TaskStatus::Completed)
    );
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() {
    let world = World::new().await;
    world
        .tasks()
        .submit_task(world.tenant(), keyed(world.new_task("hello"), "k1"))
        .await
        .unwrap();
    let reused = world
        .tasks()
        .submit_task(world.tenant(), keyed(world.new_task("good bye"), "k1"))
        .await;
    assert!(matches!(reused, Err(AppError::IdempotencyKeyReused)));
    let other_key = world
        .tasks()
        .submit_task(world.tenant(), keyed(world.new_task("good bye"), "k2"))
        .await;
    assert!(other_key.is_ok());
}

#[tokio::test]
async fn another_tenants_agent_looks_like_no_agent() {
    let world = World::new().await;
    for (tenant, agent) in [
        ("other", world.agent.id),
        ("acme", AgentId::new(world.now())),
    ] {
        let new = NewTask {
            agent,
            ..world.new_task("hello")
        };
        let refused = world
            .tasks()
            .submit_task(&samples::tenant(tenant), new)
            .await;
        let Err(AppError::Invalid(rules)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            rules,
            [Invalid::new(
                "/agent_id",
                format!("agent {agent} not found")
            )]
        );
    }
    let stored = world
        .store
        .overdue(samples::after(86_400), 10)
        .await
        .unwrap();
    assert!(stored.is_empty(), "{stored:?}");
}

#[tokio::test]
async fn another_tenants_task_looks_like_no_task() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let found = world
        .tasks()
        .find_task(&samples::tenant("other"), task.id())
        .await;
    assert!(matches!(found, Err(AppError::NotFound(_))), "{found:?}");
}

#[tokio::test]
async fn the_line_of_a_submission_says_whether_it_had_a_key() {
    let world = World::new().await;
    let new = || world.new_task("hello");
    for (new, has_key) in [(new(), false), (keyed(new(), "k1"), true)] {
        let (heard, _guard) = hear();
        accepted(&world, new).await;
        let flag = of_line(&lines(&heard), "task accepted", ["idempotency_key"]);
        assert_eq!(flag, [has_key]);
    }
}

#[tokio::test]
async fn a_task_begins_at_its_moment_by_its_own_message() {
    let world = World::new().await;
    let new = later(&world, 600);
    let task = accepted(&world, new).await;
    assert_eq!(world.queue.delays(), [Duration::from_mins(10)]);
    let whole_time = Duration::from_mins(10 + 30);
    assert_eq!(task.deadline().since(task.spec().created_at), whole_time);
    let early = world.run(task.id()).await;
    let until = samples::after(600);
    assert!(
        matches!(early, Err(RunError::Waiting { until: at }) if at == until),
        "{early:?}"
    );
    world.pass(600);
    let done = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(task.id()).await.unwrap(), done);
}

#[tokio::test]
async fn a_task_that_begins_in_days_gets_its_message_from_the_watchdog() {
    let world = World::new().await;
    let day = 24 * 60 * 60;
    let new = later(&world, 30 * day);
    let task = accepted(&world, new).await;
    assert_eq!(world.queue.sent(), []);
    world.pass(30 * day - 1);
    assert_eq!(world.sweep().await.unwrap().resent, 0);
    assert_eq!(world.status(task.id()).await, TaskStatus::Waiting);
    world.pass(1);
    world.sweep().await.unwrap();
    assert_eq!(world.queue.sent().len(), 1);
    let done = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(task.id()).await.unwrap(), done);
}

#[tokio::test]
async fn a_task_that_begins_later_can_be_canceled() {
    let world = World::new().await;
    let new = later(&world, 600);
    let task = accepted(&world, new).await;
    world
        .tasks()
        .cancel_task(world.tenant(), task.id())
        .await
        .unwrap();
    world.pass(600);
    assert!(world.run(task.id()).await.is_ok());
    assert_eq!(world.status(task.id()).await, TaskStatus::Canceled);
}

#[tokio::test]
async fn a_task_begins_within_30_days_and_not_in_the_past() {
    let world = World::new().await;
    world.pass(100);
    for (second, reason) in [
        (39, "must not be in the past"),
        (100 + 30 * 86_400 + 1, "must be at most 30 days from now"),
    ] {
        let new = later(&world, second);
        let refused = world.tasks().submit_task(world.tenant(), new).await;
        let Err(AppError::Invalid(broken)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(broken, [Invalid::new("/not_before", reason)]);
    }
    let new = later(&world, 40);
    let task = accepted(&world, new).await;
    assert_eq!(task.status(), TaskStatus::Queued);
}

/// The client's second try comes when the moment has passed.
#[tokio::test]
async fn the_same_submission_after_its_moment_is_the_same_task() {
    let world = World::new().await;
    let new = || keyed(later(&world, 60), "k1");
    let task = accepted(&world, new()).await;
    world.pass(7_200);
    let again = accepted(&world, new()).await;
    assert_eq!(again.id(), task.id());
}

#[tokio::test]
async fn a_batch_is_accepted_although_a_message_can_not_be_sent() {
    let world = World::new().await;
    let faults = Faults::default();
    faults.fail_at_nth(Call::Send, 2, When::Before);
    let new = ["k1", "k2", "k3"].map(|key| keyed(world.new_task("hello"), key));
    let tasks = world.tasks_failing(&faults);
    let outcomes = tasks.submit_tasks(world.tenant(), new.to_vec()).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Some(Ok(_))))
    );
    assert_eq!(world.queue.sent().len(), 2);
    world.pass(1);
    let again = world
        .tasks()
        .submit_tasks(world.tenant(), new.to_vec())
        .await;
    let ids = |outcomes: Vec<Option<Result<Task, AppError>>>| -> Vec<TaskId> {
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap().unwrap().id())
            .collect()
    };
    assert_eq!(ids(again), ids(outcomes));
    assert_eq!(world.queue.sent().len(), 2);
    world.pass(59);
    assert_eq!(world.sweep().await.unwrap().resent, 3);
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused_even_with_a_used_key() {
    let world = World::new().await;
    let submit = async |limits| {
        let new = NewTask {
            limits,
            ..keyed(world.new_task("hello"), "k1")
        };
        world.tasks().submit_task(world.tenant(), new).await
    };
    submit(LimitChanges::default()).await.unwrap();
    let limits = LimitChanges {
        max_tokens: Some(0),
        ..LimitChanges::default()
    };
    let refused = submit(limits).await;
    let Err(AppError::Invalid(broken)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(broken[0].field, "/limits/max_tokens");
}
