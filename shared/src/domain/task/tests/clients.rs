//! What clients change: cancel, answer, resume, reopen.

use super::*;

#[test]
fn a_canceled_task_is_canceled_at_once_unless_a_worker_has_it() {
    let mut idle = queued();
    assert_eq!(idle.cancel(after(1)), Ok(Some(Cancellation::Done)));
    assert_eq!(idle.cancel(after(2)), Ok(None));
    for leave in [
        |task: &mut Task| task.park(1, wait(30), Spent::Nothing, after(2)),
        |task: &mut Task| task.release(1, Spent::Attempt, after(2)),
        |task: &mut Task| task.hand_over(1, after(2)),
        |task: &mut Task| task.pause(1, LimitKind::MaxSteps, after(2)),
        |task: &mut Task| task.require_input(1, vec![call()], after(2)),
        |task: &mut Task| task.end_canceled(1, after(2)),
    ] {
        let mut task = running();
        assert_eq!(task.cancel(after(1)), Ok(Some(Cancellation::Requested)));
        assert_eq!(task.cancel(after(1)), Ok(None));
        assert_eq!(
            task.claim(lease(120), after(60)),
            Err(ClaimRefused::Overdue)
        );
        leave(&mut task).unwrap();
        assert_eq!(
            (task.status(), task.progress.cancel_requested),
            (TaskStatus::Canceled, false)
        );
    }
    let mut abandoned = running();
    abandoned.cancel(after(1)).unwrap();
    assert_eq!(abandoned.settle_overdue(after(60)), Some(Overdue::Canceled));
    let mut gone = running();
    gone.cancel(after(1)).unwrap();
    assert_eq!(
        gone.cancel(after(60)),
        Ok(Some(Cancellation::Done)),
        "and nobody has to wait for the watchdog"
    );
    let mut dead = running();
    assert_eq!(
        dead.cancel(after(60)),
        Ok(Some(Cancellation::Done)),
        "its worker is gone"
    );
    let mut completed = running();
    completed.complete(1, output(), after(1)).unwrap();
    assert_eq!(
        completed.cancel(after(2)),
        Err(WrongState(TaskStatus::Completed))
    );
}

#[test]
fn the_time_that_a_task_waits_for_its_client_is_not_its_own() {
    let mut asking = running();
    asking.require_input(1, vec![call()], after(100)).unwrap();
    assert_eq!(
        asking.claim(lease(60), after(101)),
        Err(ClaimRefused::AwaitsClient(TaskStatus::InputRequired))
    );
    assert_eq!(asking.settle_overdue(after(80_000)), None);
    asking.answered(0, after(80_100)).unwrap();
    assert_eq!(asking.deadline(), after(81_800));
    assert_eq!(
        asking.answered(0, after(80_101)),
        Err(WrongState(TaskStatus::Queued))
    );

    let mut paused = running();
    paused.pause(1, LimitKind::MaxSteps, after(100)).unwrap();
    assert_eq!(paused.due_at(), Some(after(86_500)));
    let mut resumed = paused.clone();
    resumed
        .resume(Limits::default().with_max_steps(107).unwrap(), after(200))
        .unwrap();
    assert_eq!(
        (resumed.deadline(), resumed.limits().max_steps()),
        (after(1_900), 107)
    );
    for (timeout, deadline) in [(3_600, 3_700), (60, 160)] {
        let mut resumed = paused.clone();
        let limits = Limits::default()
            .with_max_steps(101)
            .unwrap()
            .with_timeout_seconds(timeout)
            .unwrap();
        resumed.resume(limits, after(200)).unwrap();
        assert_eq!(
            resumed.deadline(),
            after(deadline),
            "what the task has used of its time stays used"
        );
    }
    for max_steps in [100, 7] {
        let refused = paused.clone().resume(
            Limits::default().with_max_steps(max_steps).unwrap(),
            after(200),
        );
        assert_eq!(
            refused,
            Err(ResumeRefused::NotRaised {
                limit: LimitKind::MaxSteps,
                bound: 100
            })
        );
    }
    assert_eq!(paused.settle_overdue(after(86_500)), Some(Overdue::Expired));
    let TaskState::Failed(failure) = paused.state() else {
        panic!("{paused:?}")
    };
    assert_eq!(failure.code, FailureCode::LimitReached);
}

#[test]
fn task_resumes_under_its_own_cap_only_if_another_cap_stopped_it() {
    let capped = Limits::default().with_max_cost_micro_usd(50).unwrap();
    let raised = Limits::default().with_max_cost_micro_usd(51).unwrap();
    for (cap, goes_on) in [
        (Some(BudgetScope::Task), false),
        (Some(BudgetScope::Tenant), true),
        (None, true),
    ] {
        let mut task = queued().within(capped);
        task.claim(lease(60), after(0)).unwrap();
        task.note_setbacks(&[], cap);
        task.pause(1, LimitKind::Budget, after(1)).unwrap();
        assert_eq!(
            task.clone().resume(capped, after(2)).is_ok(),
            goes_on,
            "{cap:?}"
        );
        assert_eq!(task.resume(raised, after(2)), Ok(()), "{cap:?}");
    }
}

#[test]
fn a_retry_needs_a_higher_cap_only_if_the_task_s_own_stopped_it() {
    let capped = Limits::default().with_max_cost_micro_usd(50).unwrap();
    let raised = Limits::default().with_max_cost_micro_usd(51).unwrap();
    let stopped = Err(ResumeRefused::NotRaised {
        limit: LimitKind::Budget,
        bound: 50,
    });
    for (cap, code, expected) in [
        (
            Some(BudgetScope::Task),
            FailureCode::BudgetExhausted,
            stopped,
        ),
        (
            Some(BudgetScope::Tenant),
            FailureCode::BudgetExhausted,
            Ok(()),
        ),
        (
            Some(BudgetScope::Deployment),
            FailureCode::BudgetExhausted,
            Ok(()),
        ),
        (None, FailureCode::BudgetExhausted, Ok(())),
        (Some(BudgetScope::Task), FailureCode::ModelRejected, Ok(())),
    ] {
        let mut task = queued().within(capped);
        task.claim(lease(60), after(0)).unwrap();
        task.note_setbacks(&[], cap);
        task.fail(1, Failure::of_its_own(code, "why"), after(1))
            .unwrap();
        let reopened = |from, limits| task.clone().reopen(from, limits, after(2));
        let start = ReopenFrom::Start { last_step: 0 };
        assert_eq!(
            reopened(ReopenFrom::Checkpoint, capped),
            expected,
            "{cap:?} {code:?}"
        );
        assert_eq!(
            reopened(ReopenFrom::Checkpoint, raised),
            Ok(()),
            "{cap:?} {code:?}"
        );
        assert_eq!(reopened(start, capped), Ok(()), "{cap:?} {code:?}");
    }
}

#[test]
fn an_ended_task_is_opened_again_with_all_its_time() {
    let limits = Limits::default().with_timeout_seconds(60).unwrap();
    for (from, base) in [
        (ReopenFrom::Checkpoint, 0),
        (ReopenFrom::Start { last_step: 4 }, 4),
    ] {
        let mut task = running();
        task.note_steps(recorded(3));
        assert_eq!(
            task.reopen(from, limits, after(1)),
            Err(WrongState(TaskStatus::Running).into())
        );
        task.fail(
            1,
            Failure::attempts_exhausted(MAX_ATTEMPTS, 0, &Setbacks::default()),
            after(1),
        )
        .unwrap();
        task.reopen(from, limits, after(5_000)).unwrap();
        assert_eq!(
            (task.status(), task.deadline(), task.progress.base),
            (TaskStatus::Queued, after(5_060), base)
        );
        assert_eq!((task.attempts(), task.progress.steps), (0, 3.max(base)));
        task.claim(lease(5_050), after(5_001)).unwrap();
        assert_eq!(task.fence(), 2, "fences only grow");
    }
}
