use shared::app::{Ran, Swept};
use shared::domain::{FailureCode, TaskState, TaskStatus};
use shared::testing::{Faults, When};

use crate::world::{INVOCATION, World};

const DEAD: u64 = INVOCATION.as_secs() + 2;

/// Checks what was done; how much was found and since when is another test's.
#[track_caller]
fn check(swept: &Swept, done: Swept) {
    let (overdue, oldest_overdue) = (swept.overdue, swept.oldest_overdue);
    assert_eq!(*swept, Swept { overdue, oldest_overdue, ..done });
}

#[tokio::test]
async fn a_sweep_tells_how_much_was_overdue_and_since_when() {
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    world.pass(10);
    world.submit("hello").await.unwrap();
    world.pass(65);
    let swept = world.sweep().await.unwrap();
    assert_eq!((swept.overdue, swept.oldest_overdue), (2, std::time::Duration::from_secs(15)));
}

/// Has a worker claim the task and die.
async fn claim_and_die(world: &World, task: shared::domain::TaskId) {
    let faults = Faults::default();
    faults.die_at(2, When::Before);
    world.run_failing(task, &faults).await.unwrap_err();
}

#[tokio::test]
async fn nothing_is_done_about_tasks_that_are_not_due() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(59);
    assert_eq!(world.sweep().await.unwrap(), Swept::default());
    world.run(task.id()).await.unwrap();
    world.pass(100_000);
    assert_eq!(world.sweep().await.unwrap(), Swept::default());
}

#[tokio::test]
async fn a_dead_workers_task_is_queued_again_and_completes() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    claim_and_die(&world, task.id()).await;
    world.pass(DEAD);
    check(&world.sweep().await.unwrap(), Swept { requeued: 1, ..Swept::default() });
    assert_eq!(world.queue.sent().len(), 2);
    assert_eq!(world.run(task.id()).await.unwrap(), Ran::Ended(TaskStatus::Completed));
}

#[tokio::test]
async fn a_task_that_kills_five_workers_is_given_up() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    for _ in 0..5 {
        claim_and_die(&world, task.id()).await;
        world.pass(DEAD);
    }
    check(&world.sweep().await.unwrap(), Swept { given_up: 1, ..Swept::default() });
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else { panic!("{task:?}") };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
    assert!(failure.code.is_dead_letter());
}

#[tokio::test]
async fn a_task_past_its_deadline_times_out() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(1_800);
    check(&world.sweep().await.unwrap(), Swept { timed_out: 1, ..Swept::default() });
    assert_eq!(world.status(task.id()).await, TaskStatus::TimedOut);
    assert_eq!(world.queue.sent().len(), 1);
}

#[tokio::test]
async fn two_watchdogs_at_once_make_one_change() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(60);
    let (one, two) = tokio::join!(world.sweep(), world.sweep());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.failed, two.failed), (0, 0));
    let revision = world.task(task.id()).await.progress().revision;
    assert_eq!(revision, task.progress().revision + 1);
    for _message in world.queue.sent() {
        world.run(task.id()).await.unwrap();
    }
    assert_eq!(world.model.asked().len(), 1);
}

#[tokio::test]
async fn a_message_that_can_not_be_sent_comes_due_again() {
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    world.pass(60);
    let faults = Faults::default();
    faults.fail_at(1, When::Before);
    check(&world.sweep_failing(&faults).await.unwrap(), Swept { failed: 1, ..Swept::default() });
    world.pass(120);
    check(&world.sweep().await.unwrap(), Swept { resent: 1, ..Swept::default() });
}

#[tokio::test]
async fn a_backlog_of_many_pages_is_worked_off_in_one_sweep() {
    let world = World::new().await;
    for _ in 0..250 {
        world.submit("hello").await.unwrap();
    }
    world.pass(60);
    check(&world.sweep().await.unwrap(), Swept { resent: 250, ..Swept::default() });
    assert_eq!(world.queue.sent().len(), 500);
}
