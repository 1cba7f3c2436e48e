use std::collections::BTreeSet;
use std::time::Duration;

use shared::app::{RunError, RunOutcome};
use shared::domain::{
    FailureCode, ModelAnswer, Origin, Spend, TaskId, TaskState, TaskStatus, Timestamp, Wait,
    WaitReason,
};
use shared::ports::{ModelErrorKind, Recovery, TaskMessage};
use shared::testing::{Call, Faults, Reply, ScriptedModel, When, samples};

use crate::world::{INVOCATION, World};

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

fn park(after: u64, reason: WaitReason) -> Reply {
    let wait = Wait {
        until: samples::after(after),
        reason,
    };
    let kind = match reason {
        WaitReason::RetryAfter
        | WaitReason::Concurrency
        | WaitReason::AgentDisabled
        | WaitReason::NotBefore
        | WaitReason::TenantSuspended => UNAVAILABLE,
        WaitReason::Breaker => ModelErrorKind::CircuitOpen,
        WaitReason::RateLimit => ModelErrorKind::RateLimited,
        WaitReason::SingleFlight => ModelErrorKind::InFlight,
        WaitReason::OutOfTime => ModelErrorKind::OutOfTime,
        WaitReason::Budget => ModelErrorKind::BudgetReserved,
    };
    Reply::FailUntil(kind, Recovery::at(wait))
}

async fn wait_of(world: &World, task: TaskId) -> (Timestamp, WaitReason) {
    let task = world.task(task).await;
    let TaskState::Waiting { wait, .. } = task.state() else {
        panic!("{task:?}")
    };
    (wait.until, wait.reason)
}

#[tokio::test]
async fn a_wait_parks_the_task_and_its_delayed_message_brings_it_back() {
    let reasons = [
        WaitReason::RateLimit,
        WaitReason::RetryAfter,
        WaitReason::SingleFlight,
        WaitReason::Budget,
    ];
    for reason in reasons {
        let world = World::with_model(ScriptedModel::new([park(90, reason)])).await;
        let task = world.submit("hello").await.unwrap();
        let wait = Wait {
            until: samples::after(90),
            reason,
        };
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Parked(wait)
        );
        assert_eq!(
            world.queue.delays(),
            [Duration::ZERO, Duration::from_secs(90)]
        );
        let early = world.run(task.id()).await;
        assert!(
            matches!(early, Err(RunError::Waiting { until }) if until == wait.until),
            "{early:?}"
        );
        world.pass(90);
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
        let task = world.task(task.id()).await;
        assert_eq!(
            (task.attempts(), task.fence(), task.progress().parkings.all),
            (1, 2, 0)
        );
    }
}

#[tokio::test]
async fn tasks_that_one_breaker_parked_come_back_one_by_one() {
    let wait = Wait {
        until: samples::after(80),
        reason: WaitReason::Breaker,
    };
    let open = Reply::FailUntil(ModelErrorKind::CircuitOpen, Recovery::at(wait));
    let world = World::with_model(ScriptedModel::new(vec![open; 50])).await;
    let mut moments = BTreeSet::new();
    for number in 0..50 {
        let task = world.submit(&format!("hello {number}")).await.unwrap();
        let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() else {
            panic!("{task:?}")
        };
        assert_eq!(wait.reason, WaitReason::Breaker);
        moments.insert(wait.until.since(samples::after(80)));
    }
    assert!(moments.len() > 30, "{moments:?}");
    let (first, last) = (moments.first().unwrap(), moments.last().unwrap());
    assert!(
        *first < Duration::from_secs(5) && (15..=20).contains(&last.as_secs()),
        "{moments:?}"
    );
}

#[tokio::test]
async fn an_outage_is_waited_for_ever_longer_and_without_end_but_the_tasks() {
    let world = World::with_model(ScriptedModel::new(
        (0..100).map(|_| Reply::Fail(UNAVAILABLE)),
    ))
    .await;
    let task = world.submit("hello").await.unwrap();
    let mut pauses = Vec::new();
    while let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() {
        assert_eq!(wait.reason, WaitReason::RetryAfter);
        let pause = wait.until.since(world.now());
        pauses.push(pause.as_secs());
        world.clock.set(wait.until);
    }
    let (last, earlier) = pauses.split_last().unwrap();
    assert!(
        earlier.is_sorted() && earlier.len() > 8 && *last > 0,
        "{pauses:?}"
    );
    assert!(
        (3..=5).contains(&pauses[0]) && pauses.iter().all(|seconds| *seconds <= 300),
        "{pauses:?}"
    );
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(
        (failure.code, failure.attempts.len()),
        (FailureCode::ModelUnavailable, 1)
    );
    assert_eq!(
        task.spend().attempts as usize,
        world.model.requests().len(),
        "each attempt is accounted for"
    );
}

/// Each attempt may have been billed, and so counts.
#[tokio::test]
async fn a_task_without_attempts_left_says_what_all_of_them_met() {
    let spend = Spend {
        attempts: 1,
        usage: samples::usage(),
        ..Spend::default()
    };
    let paid = |kind, status| Reply::FailWith {
        kind,
        status,
        should_retry: None,
        retry_after: None,
        spend,
    };
    let down = || paid(UNAVAILABLE, Some(503));
    let slow = || paid(ModelErrorKind::Timeout, None);
    let world =
        World::with_model(ScriptedModel::new([down(), slow(), down(), slow(), down()])).await;
    let task = world.submit("hello").await.unwrap();
    while let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() {
        world.clock.set(wait.until);
    }
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
    let met = "in a row failed: 3 times anthropic model_unavailable with HTTP status 503, 2 times anthropic model_timeout; the last one: ";
    assert!(failure.message.contains(met), "{}", failure.message);
}

#[tokio::test]
async fn the_first_outage_after_many_other_waits_is_a_short_one() {
    let limited = (0..6).map(|_| park(0, WaitReason::RateLimit));
    let world = World::with_model(ScriptedModel::new(
        limited.chain([Reply::Fail(UNAVAILABLE)]),
    ))
    .await;
    let task = world.submit("hello").await.unwrap();
    for _ in 0..6 {
        world.run(task.id()).await.unwrap();
    }
    let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() else {
        panic!("not parked")
    };
    assert_eq!(wait.reason, WaitReason::RetryAfter);
    assert!(wait.until.since(world.now()).as_secs() <= 5, "{wait:?}");
}

#[tokio::test]
async fn outage_fail_applies_only_to_waits_of_providers() {
    let table = [
        (park(90, WaitReason::RateLimit), TaskStatus::Failed),
        (park(90, WaitReason::Breaker), TaskStatus::Failed),
        (Reply::Fail(UNAVAILABLE), TaskStatus::Failed),
        (park(90, WaitReason::SingleFlight), TaskStatus::Waiting),
        (park(0, WaitReason::OutOfTime), TaskStatus::Waiting),
        (park(9, WaitReason::Budget), TaskStatus::Waiting),
    ];
    for (reply, status) in table {
        let model = ScriptedModel::new([reply.clone()]);
        let world = World::with_model(model)
            .await
            .whose_tasks_fail_in_outages()
            .await;
        let task = world.submit("hello").await.unwrap();
        world.run(task.id()).await.unwrap();
        assert_eq!(world.status(task.id()).await, status, "{reply:?}");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_tasks_deadline_ends_with_a_last_try_before_it() {
    for (reply, status) in [
        (None, TaskStatus::Completed),
        (
            Some(park(86_400, WaitReason::RateLimit)),
            TaskStatus::Failed,
        ),
    ] {
        let limited = park(86_400, WaitReason::RateLimit);
        let world = World::with_model(ScriptedModel::new(
            [Some(limited), reply].into_iter().flatten(),
        ))
        .await;
        let task = world.submit("hello").await.unwrap();
        let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() else {
            panic!("not parked")
        };
        assert_eq!(task.deadline().since(wait.until), Duration::from_secs(10));
        world.clock.set(wait.until);
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(status)
        );
    }
}

#[tokio::test]
async fn a_wait_for_budget_beyond_the_tasks_deadline_fails_by_its_name() {
    let world = World::with_model(ScriptedModel::new([park(1_800, WaitReason::Budget)])).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::BudgetExhausted);
}

#[tokio::test]
async fn a_wait_longer_than_a_messages_delay_is_ended_by_the_watchdog() {
    let world = World::with_model(ScriptedModel::new([park(1_000, WaitReason::RateLimit)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    assert_eq!(
        world.queue.delays(),
        [Duration::ZERO],
        "no message can wait so long"
    );
    world.pass(999);
    assert_eq!(world.sweep().await.unwrap().awakened, 0);
    world.pass(1);
    assert_eq!(world.sweep().await.unwrap().awakened, 1);
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

#[tokio::test]
async fn a_call_that_ran_out_of_time_is_made_again_at_once_but_not_for_ever() {
    let cut = || park(0, WaitReason::OutOfTime);
    let world = World::with_model(ScriptedModel::new((0..20).map(|_| cut()))).await;
    let task = world.submit("hello").await.unwrap();
    for attempt in 1..5 {
        assert!(
            matches!(world.run(task.id()).await.unwrap(), RunOutcome::Parked(_)),
            "{attempt}"
        );
        assert_eq!(
            wait_of(&world, task.id()).await,
            (samples::after(0), WaitReason::OutOfTime)
        );
    }
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    assert_eq!(world.model.requests().len(), 5);
}

#[tokio::test]
async fn wherever_a_parking_breaks_the_task_comes_back_and_completes() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let model = ScriptedModel::new([park(30, WaitReason::RateLimit)]);
            let world = World::with_model(model).await;
            let task = world.submit("hello").await.unwrap();
            let faults = Faults::default();
            faults.die_at(call, when);
            let first = world.run_failing(task.id(), &faults).await;
            if !faults.struck() {
                assert!(call > 4, "claim, agent, update, send");
                break;
            }
            let case = format!("call {call} {when:?}: {first:?}");
            while !world.status(task.id()).await.is_terminal() {
                world.pass(INVOCATION.as_secs());
                world.sweep().await.unwrap();
                drop(world.run(task.id()).await);
            }
            assert_eq!(
                world.status(task.id()).await,
                TaskStatus::Completed,
                "{case}"
            );
            assert_eq!(world.model.requests().len(), 2, "{case}");
        }
    }
}

#[tokio::test]
async fn spend_adds_up_over_parkings_and_is_read_from_the_journal() {
    let world = World::with_model(ScriptedModel::new([park(1, WaitReason::RateLimit)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    world.pass(1);
    // The worker that records the answer dies before it ends the task.
    let faults = Faults::default();
    faults.die_at_nth(Call::Update, 1, When::Before);
    drop(world.run_failing(task.id(), &faults).await);
    assert_eq!(world.steps(task.id()).await.len(), 1);
    world.pass(INVOCATION.as_secs() + 2);
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let spend = world.task(task.id()).await.spend();
    let failed = Spend {
        attempts: 1,
        ..Spend::default()
    };
    assert_eq!(spend, samples::answer("hello").spend.plus(failed));
}

#[tokio::test]
async fn a_stale_answer_completes_the_task_and_says_so() {
    let stale = ModelAnswer {
        origin: Origin::Stale { age_seconds: 9_000 },
        ..samples::answer("old")
    };
    let world = World::with_model(ScriptedModel::new([Reply::Answer(stale)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let task = world.task(task.id()).await;
    let TaskState::Completed(output) = task.state() else {
        panic!("{task:?}")
    };
    assert!(output.origin.is_degraded());
}

#[tokio::test]
async fn a_duplicate_message_of_a_parked_task_waits_too() {
    let world = World::with_model(ScriptedModel::new([park(30, WaitReason::RateLimit)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let met = world.run(task.id()).await;
    assert!(matches!(met, Err(RunError::Waiting { .. })), "{met:?}");
    assert_eq!(world.model.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_each_time_is_not_paid_for_ever() {
    let cut = || Reply::FailWith {
        kind: ModelErrorKind::Timeout,
        status: Some(200),
        should_retry: None,
        retry_after: None,
        spend: samples::answer("").spend,
    };
    let world = World::with_model(ScriptedModel::new((0..100).map(|_| cut()))).await;
    let task = world.submit("hello").await.unwrap();
    while let RunOutcome::Parked(wait) = world.run(task.id()).await.unwrap() {
        world.clock.set(wait.until);
    }
    assert_eq!(world.model.requests().len(), 5);
    assert_eq!(world.task(task.id()).await.spend().attempts, 5);
}

#[tokio::test]
async fn a_provider_that_forbids_another_try_is_not_waited_for() {
    let spend = Spend {
        attempts: 1,
        ..Spend::default()
    };
    let final_word = Reply::FailWith {
        kind: UNAVAILABLE,
        status: Some(503),
        should_retry: Some(false),
        retry_after: None,
        spend,
    };
    let world = World::with_model(ScriptedModel::new([final_word])).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
}

/// Each store call fails once in turn, before or after its effect: the paid answer is in the task's
/// account, and only once.
#[tokio::test]
async fn what_a_recorded_answer_came_to_counts_once() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let world = World::new().await;
            let task = world.submit("hello").await.unwrap();
            let faults = Faults::default();
            faults.fail_at(call, when);
            drop(world.run_failing(task.id(), &faults).await);
            if !faults.struck() {
                break;
            }
            world.pass(INVOCATION.as_secs() + 2);
            drop(world.run(task.id()).await);
            let calls = u32::try_from(world.model.requests().len()).unwrap();
            let counted = world.task(task.id()).await.spend().attempts;
            // The result of an append whose response got lost is unknown: its cost counts once too
            // often.
            let doubtful = call == 3 && when == When::After;
            assert_eq!(counted, calls + u32::from(doubtful), "call {call} {when:?}");
        }
    }
}

#[tokio::test]
async fn an_invocation_without_time_for_a_step_parks_its_task() {
    let world = World::with_model(ScriptedModel::new([])).await;
    let task = world.submit("hello").await.unwrap().id();
    let worker = world.worker_failing(&Faults::default());
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task,
        alone: false,
    };
    for _ in 0..3 {
        let killed_at = world.now().plus(Duration::from_secs(10));
        let ran = worker.run(&message, killed_at).await.unwrap();
        let (until, reason) = wait_of(&world, task).await;
        assert_eq!(reason, WaitReason::OutOfTime);
        assert_eq!(ran, RunOutcome::Parked(Wait { until, reason }));
        let pause = until.since(world.now());
        assert!((2..=60).contains(&pause.as_secs()), "{pause:?}");
        world.pass(60);
    }
    assert!(world.model.requests().is_empty());
    assert_eq!(world.task(task).await.attempts(), 0);
}
