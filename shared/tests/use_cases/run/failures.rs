//! Workers that die, and stores that fail, at every call.

use shared::testing::Call;

use super::*;

/// Dies at every store call, before and after its effect, and lets another worker take over once
/// the lease has ended.
#[tokio::test]
async fn wherever_a_worker_dies_the_next_one_completes_the_task() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let world = World::new().await;
            let task = world.submit("hello").await.unwrap();
            let faults = Faults::default();
            faults.die_at(call, when);
            let first = world.run_failing(task.id(), &faults).await;
            if !faults.struck() {
                assert!(call > 4, "a run has at least four store calls");
                break;
            }
            // Usage is added after the task has ended.
            let has_ended = world.status(task.id()).await == TaskStatus::Completed;
            assert!(
                matches!(first, Err(RunError::Store(_))) || has_ended,
                "call {call} {when:?}: {first:?}"
            );
            let recorded = world.steps(task.id()).await.len();
            let calls_before = world.model.requests().len();
            world.pass(INVOCATION.as_secs() + 2);
            world.run(task.id()).await.unwrap();
            let case = format!("call {call} {when:?}");
            assert_eq!(
                world.status(task.id()).await,
                TaskStatus::Completed,
                "{case}"
            );
            assert_eq!(world.steps(task.id()).await.len(), 1, "{case}");
            let paid_again = world.model.requests().len() - calls_before;
            assert!(
                paid_again + recorded <= 1,
                "{case}: a recorded step was done again"
            );
        }
    }
}

/// Fails one store call, before or after its effect; the worker lives on, and so the task waits for
/// no lease.
#[tokio::test]
async fn next_delivery_completes_the_task_after_one_store_failure() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let world = World::new().await;
            let task = world.submit("hello").await.unwrap();
            let faults = Faults::default();
            faults.fail_at(call, when);
            let first = world.run_failing(task.id(), &faults).await;
            if !faults.struck() {
                break;
            }
            let case = format!("call {call} {when:?}: {first:?}");
            let claim_got_lost = call == 1 && when == When::After;
            if claim_got_lost {
                world.pass(INVOCATION.as_secs() + 2);
            }
            let recorded = world.steps(task.id()).await.len();
            let requests = world.model.requests().len();
            world.run(task.id()).await.unwrap();
            assert_eq!(
                world.status(task.id()).await,
                TaskStatus::Completed,
                "{case}"
            );
            assert!(
                world.model.requests().len() - requests + recorded <= 1,
                "{case}: a recorded step was done again"
            );
        }
    }
}

/// A store that is down for long, but not when the model was asked, costs the task nothing but
/// time.
#[tokio::test]
async fn an_attempt_that_spent_nothing_does_not_count() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    for _ in 0..20 {
        let faults = Faults::default();
        faults.fail_at_nth(Call::ReadAgent, 1, When::Before);
        assert!(matches!(
            world.run_failing(task.id(), &faults).await,
            Err(RunError::Store(_))
        ));
    }
    assert_eq!(
        (
            world.task(task.id()).await.attempts(),
            world.model.requests().len()
        ),
        (0, 0)
    );
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

/// Each call whose answer can't be recorded is paid for nothing, so there must not be many.
#[tokio::test]
async fn a_store_that_never_takes_the_step_costs_five_model_calls_at_most() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    for _ in 1..20 {
        let faults = Faults::default();
        faults.fail_at_nth(Call::Append, 1, When::Before);
        drop(world.run_failing(task.id(), &faults).await);
        world.pass(60);
        world.sweep().await.unwrap();
    }
    assert_eq!(world.model.requests().len(), 5);
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
}

#[tokio::test]
async fn a_panic_in_the_model_leaves_the_task_to_the_next_worker() {
    let world = World::with_model(ScriptedModel::new([Reply::Panic])).await;
    let new = NewTask {
        idempotency_key: None,
        ..world.new_task("hello")
    };
    let task = world
        .tasks()
        .submit_task(world.tenant(), new)
        .await
        .unwrap();
    let worker = world.worker_failing(&Faults::default());
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task: task.id(),
        alone: false,
    };
    let until = world.now().plus(INVOCATION);
    let panicked = tokio::spawn(async move { worker.run(&message, until).await }).await;
    assert!(panicked.is_err_and(|error| error.is_panic()));
    world.pass(INVOCATION.as_secs() + 2);
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}
