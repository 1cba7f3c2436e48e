use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shared::app::{DeadLetterHandler, DeadLetterOutcome, RunOutcome, SweepSummary, Sweeper};
use shared::domain::{FailureCode, TaskState, TaskStatus, Timestamp};
use shared::ports::{Clock, TaskMessage, TaskStore};
use shared::testing::{Call, Faults, ManualClock, When, samples};

use crate::lines::{hear, lines};
use crate::world::{INVOCATION, World};

const DEAD: u64 = INVOCATION.as_secs() + 2;

/// Checks what was done; how much was found and since when is another test's.
#[track_caller]
fn check(swept: &SweepSummary, done: SweepSummary) {
    let SweepSummary {
        overdue,
        oldest_overdue,
        unclaimed,
        ..
    } = *swept;
    assert_eq!(
        *swept,
        SweepSummary {
            overdue,
            oldest_overdue,
            unclaimed,
            ..done
        }
    );
}

#[tokio::test]
async fn a_sweep_tells_how_much_was_overdue_and_since_when() {
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    world.pass(10);
    world.submit("hello").await.unwrap();
    world.pass(65);
    let swept = world.sweep().await.unwrap();
    assert_eq!(
        (swept.overdue, swept.oldest_overdue),
        (2, Duration::from_secs(15))
    );
}

/// Such as when the event source mapping is off. Two minutes at most pass from the submission of
/// the first task to the sweep.
#[tokio::test]
async fn tasks_are_unclaimed_if_their_messages_wait_and_nobody_receives_any() {
    let unclaimed = async |world: &World| world.sweep().await.unwrap().unclaimed;
    let world = World::new().await;
    for _ in 0..2 {
        world.submit("hello").await.unwrap();
    }
    world.pass(60);
    assert_eq!(unclaimed(&world).await, 2);
    assert_eq!(
        unclaimed(&world).await,
        0,
        "each is counted when it comes due"
    );
    world.pass(300);
    assert_eq!(
        unclaimed(&world).await,
        2,
        "including the tasks that wait for their messages"
    );

    // Workers are busy with other messages.
    world.queue.receive().unwrap();
    world.pass(300);
    assert_eq!(unclaimed(&world).await, 0);

    // The message is lost, and no other one waits. That may happen once.
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    for expected in [0, 1, 1] {
        let lost = world.queue.receive().unwrap();
        world.queue.acknowledge(&lost.receipt);
        world.pass(300);
        assert_eq!(unclaimed(&world).await, expected);
    }
}

/// Has a worker claim the task and die.
async fn claim_and_die(world: &World, task: shared::domain::TaskId) {
    let faults = Faults::default();
    faults.die_at_nth(Call::ReadAgent, 1, When::Before);
    world.run_failing(task, &faults).await.unwrap_err();
}

#[tokio::test]
async fn nothing_is_done_about_tasks_that_are_not_due() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(59);
    assert_eq!(world.sweep().await.unwrap(), SweepSummary::default());
    world.run(task.id()).await.unwrap();
    world.pass(100_000);
    assert_eq!(world.sweep().await.unwrap(), SweepSummary::default());
}

#[tokio::test]
async fn a_dead_workers_task_is_queued_again_and_completes() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    claim_and_die(&world, task.id()).await;
    world.pass(DEAD);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            requeued: 1,
            ..SweepSummary::default()
        },
    );
    assert_eq!(world.queue.sent().len(), 2);
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

#[tokio::test]
async fn a_task_that_lost_two_workers_in_a_row_is_worked_on_alone() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    for _ in 0..3 {
        claim_and_die(&world, task.id()).await;
        world.pass(DEAD);
        check(
            &world.sweep().await.unwrap(),
            SweepSummary {
                requeued: 1,
                ..SweepSummary::default()
            },
        );
    }
    world.pass(600);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            resent: 1,
            ..SweepSummary::default()
        },
    );
    let alone: Vec<bool> = world
        .queue
        .sent()
        .iter()
        .map(|message| message.alone)
        .collect();
    assert_eq!(alone, [false, false, true, true, true]);
}

#[tokio::test]
async fn a_task_that_kills_five_workers_is_given_up() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    for _ in 0..5 {
        claim_and_die(&world, task.id()).await;
        world.pass(DEAD);
    }
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            given_up: 1,
            ..SweepSummary::default()
        },
    );
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
    assert!(failure.code.is_dead_letter());
}

#[tokio::test]
async fn a_task_past_its_deadline_times_out() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(1_800);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            timed_out: 1,
            ..SweepSummary::default()
        },
    );
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
    assert_eq!(world.model.requests().len(), 1);
}

#[tokio::test]
async fn a_message_that_can_not_be_sent_comes_due_again() {
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    world.queue.receive().unwrap();
    world.pass(60);
    let faults = Faults::default();
    faults.fail_at_nth(Call::Send, 1, When::Before);
    check(
        &world.sweep_failing(&faults).await.unwrap(),
        SweepSummary {
            resent: 1,
            ..SweepSummary::default()
        },
    );
    world.pass(120);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            resent: 1,
            ..SweepSummary::default()
        },
    );
}

#[tokio::test]
async fn a_backlog_of_many_pages_is_worked_off_in_one_sweep() {
    let world = World::new().await;
    for _ in 0..250 {
        world.submit("hello").await.unwrap();
    }
    world.pass(60);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            resent: 250,
            ..SweepSummary::default()
        },
    );
    assert_eq!(world.queue.sent().len(), 500);
}

/// Workers claim nothing for an hour, such as in an outage of their function.
#[tokio::test]
async fn a_backlog_is_not_fed_with_messages_of_its_own_tasks() {
    let world = World::new().await;
    let agent = world
        .with_agent(|config| config.limits = config.limits.with_timeout_seconds(7_200).unwrap());
    let world = agent.await;
    for _ in 0..100 {
        world.submit("hello").await.unwrap();
    }
    for _ in 0..60 {
        world.pass(60);
        world.sweep().await.unwrap();
    }
    assert_eq!(
        world.queue.sent().len(),
        200,
        "one message more for each task"
    );

    // One whose messages are lost, while no other message waits, is sent another one.
    while world.queue.receive().is_some() {}
    world.pass(300);
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            resent: 100,
            ..SweepSummary::default()
        },
    );
}

/// A clock that is a millisecond later at each look.
pub(crate) struct Ticking(pub(crate) ManualClock);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_millis(1));
        self.0.now()
    }
}

/// A sweeper that reads journals by `faults`, with time passing.
fn ticking(world: &World, faults: &Faults) -> Sweeper {
    Sweeper {
        tasks: Arc::new(world.store.clone()),
        journal: Arc::new(world.store.with_faults(faults.clone())),
        queue: Arc::new(world.queue.clone()),
        clock: Arc::new(Ticking(world.clock.clone())),
    }
}

#[tokio::test]
async fn a_sweep_whose_time_is_over_leaves_the_rest_to_the_next() {
    let world = World::new().await;
    for _ in 0..250 {
        world.submit("hello").await.unwrap();
    }
    world.pass(60);
    // It looks at the clock twice for each task, and a few times for each page of a hundred.
    let until = world.now().plus(Duration::from_millis(300));
    let swept = ticking(&world, &Faults::default())
        .sweep(until)
        .await
        .unwrap();
    check(
        &swept,
        SweepSummary {
            resent: 200,
            unfinished: true,
            ..SweepSummary::default()
        },
    );
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            resent: 50,
            ..SweepSummary::default()
        },
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_gets_nowhere_ends_before_its_time() {
    let world = World::new().await;
    for _ in 0..150 {
        let task = world.submit("hello").await.unwrap();
        let lease = samples::lease_until(world.now().plus(INVOCATION));
        TaskStore::claim(&world.store, world.tenant(), task.id(), lease, world.now())
            .await
            .unwrap();
    }
    world.pass(DEAD);
    // The journal of a task whose worker is gone is read before anything is done about it.
    let faults = Faults::default();
    faults.die_now();
    let sweeper = ticking(&world, &faults);
    let swept = tokio::time::timeout(INVOCATION, sweeper.sweep(world.now().plus(INVOCATION * 60)))
        .await
        .unwrap()
        .unwrap();
    assert!(swept.unfinished && swept.failed >= 100, "{swept:?}");
    check(
        &world.sweep().await.unwrap(),
        SweepSummary {
            requeued: 150,
            ..SweepSummary::default()
        },
    );
}

/// The message of an accepted task that was sent to the dead-letter queue, and one that the task
/// queue delivered before.
#[tokio::test]
async fn a_message_that_only_the_dead_letter_queue_delivered_warns() {
    let world = World::new().await;
    let undelivered = DeadLetterHandler {
        tasks: Arc::new(world.store.clone()),
        clock: Arc::new(world.clock.clone()),
    };
    let task = world.submit("hello").await.unwrap();
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task: task.id(),
        alone: false,
    };
    let (heard, _guard) = hear();
    for receives in [1, 6] {
        let handled = undelivered.handle(&message.to_body(), receives).await;
        assert_eq!(handled.unwrap(), DeadLetterOutcome::LeftAlone);
    }
    claim_and_die(&world, task.id()).await;
    let handled = undelivered.handle(&message.to_body(), 1).await;
    assert_eq!(handled.unwrap(), DeadLetterOutcome::LeftAlone);
    let said: Vec<_> = lines(&heard)
        .into_iter()
        .map(|line| ["level", "message", "status"].map(|field| line[field].clone()))
        .collect();
    let warned = "message reached the dead-letter queue without a delivery from the task queue";
    let ignored = "dead letter ignored; the task continues";
    assert_eq!(
        json!(said[..2]),
        json!([["WARN", warned, "queued"], ["INFO", ignored, "queued"]])
    );
    assert_eq!(
        said.last().unwrap()[1],
        ignored,
        "a worker has had the task"
    );
}
