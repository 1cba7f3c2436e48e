mod failures;

use std::time::Duration;

use futures::future::join_all;
use shared::app::{NewTask, RunError, RunOutcome, WorkTimes};
use shared::domain::BudgetScope;
use shared::domain::{
    Caller, Deadline, FailureCode, ModelAnswer, ModelRequest, Output, StepKind, StopReason, TaskId,
    TaskState, TaskStatus,
};
use shared::ports::{ModelErrorKind, TaskMessage, TaskStore};
use shared::testing::{Faults, Reply, ScriptedModel, When, samples};

use crate::world::{INVOCATION, World};

#[tokio::test]
async fn a_task_is_answered_journaled_and_completed() {
    let world = World::new().await;
    let task = world.submit("What is 2 + 2?").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let request = ModelRequest {
        caller: Caller {
            tenant: world.tenant().clone(),
            task: task.id(),
            key: None,
        },
        deadline: Deadline::at(world.now().plus(INVOCATION)).less(Duration::from_secs(10)),
        ..samples::model_request("What is 2 + 2?")
    };
    assert_eq!(world.model.requests(), [request]);
    let steps = world.steps(task.id()).await;
    assert_eq!(
        steps
            .iter()
            .map(|step| (step.number, step.fence))
            .collect::<Vec<_>>(),
        [(1, 1)]
    );
    let StepKind::ModelCall { answer, .. } = &steps[0].kind else {
        panic!("{steps:?}")
    };
    assert_eq!(*answer, samples::answer("What is 2 + 2?"));
    assert_eq!(
        *world.task(task.id()).await.state(),
        TaskState::Completed(samples::output("What is 2 + 2?"))
    );
}

#[tokio::test]
async fn a_second_delivery_of_an_ended_task_does_nothing() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let ended = world.task(task.id()).await;
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::EndedBefore(TaskStatus::Completed)
    );
    assert_eq!(world.task(task.id()).await, ended);
    assert_eq!(world.model.requests().len(), 1);
}

#[tokio::test]
async fn concurrent_deliveries_make_one_model_call() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let results = join_all((0..10).map(|_| world.run(task.id()))).await;
    let ended = results
        .iter()
        .filter(|ran| matches!(ran, Ok(RunOutcome::Ended(TaskStatus::Completed))))
        .count();
    assert_eq!(ended, 1, "{results:?}");
    assert_eq!(world.model.requests().len(), 1);
    assert_eq!(world.steps(task.id()).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_meets_a_lease_learns_when_it_ends() {
    let world = World::new().await;
    world.model.hold();
    let task = world.submit("hello").await.unwrap();
    let holder = world.run(task.id());
    let other = async {
        world.model.until_called(1).await;
        let met = world.run(task.id()).await;
        world.model.release();
        met
    };
    let (held, met) = tokio::join!(holder, other);
    assert_eq!(held.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    let Err(RunError::Leased { until }) = met else {
        panic!("{met:?}")
    };
    assert_eq!(until, samples::START.plus(WorkTimes::default().lease));
}

#[tokio::test]
async fn messages_of_unknown_and_of_foreign_tasks_are_done_with() {
    let world = World::new().await;
    assert_eq!(
        world.run(TaskId::new(world.now())).await.unwrap(),
        RunOutcome::Unknown
    );
    let task = world.submit("hello").await.unwrap();
    let foreign = TaskMessage {
        tenant: samples::tenant("other"),
        task: task.id(),
        alone: false,
    };
    let worker = world.worker_failing(&Faults::default());
    assert_eq!(
        worker
            .run(&foreign, world.now().plus(INVOCATION))
            .await
            .unwrap(),
        RunOutcome::Unknown
    );
    assert_eq!(world.status(task.id()).await, TaskStatus::Queued);
}

#[tokio::test]
async fn each_model_failure_becomes_a_typed_failure_of_the_task() {
    let table = [
        (ModelErrorKind::Unavailable, FailureCode::ModelUnavailable),
        (ModelErrorKind::Timeout, FailureCode::ModelTimeout),
        (ModelErrorKind::RateLimited, FailureCode::ModelRateLimited),
        (
            ModelErrorKind::KeyUnavailable,
            FailureCode::ModelKeyUnavailable,
        ),
        (ModelErrorKind::CircuitOpen, FailureCode::ModelCircuitOpen),
        (
            ModelErrorKind::QuotaExhausted,
            FailureCode::ModelQuotaExhausted,
        ),
        (
            ModelErrorKind::Authentication,
            FailureCode::ModelAuthentication,
        ),
        (ModelErrorKind::KeyMissing, FailureCode::ModelKeyUnavailable),
        (ModelErrorKind::Rejected, FailureCode::ModelRejected),
        (ModelErrorKind::Refused, FailureCode::ModelRefused),
        (ModelErrorKind::ContextTooLong, FailureCode::ContextTooLong),
        (ModelErrorKind::BadAnswer, FailureCode::ModelBadAnswer),
        (
            ModelErrorKind::BudgetExhausted(BudgetScope::Task),
            FailureCode::BudgetExhausted,
        ),
        (
            ModelErrorKind::BudgetExhausted(BudgetScope::Tenant),
            FailureCode::BudgetExhausted,
        ),
        (ModelErrorKind::Unpriced, FailureCode::ModelUnpriced),
    ];
    for (kind, code) in table {
        let world = World::with_model(ScriptedModel::new([Reply::Fail(kind)]))
            .await
            .whose_tasks_fail_in_outages()
            .await;
        let task = world.submit("hello").await.unwrap();
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Failed)
        );
        let task = world.task(task.id()).await;
        let TaskState::Failed(failure) = task.state() else {
            panic!("{task:?}")
        };
        assert_eq!(failure.code, code);
        assert!(
            failure.message.starts_with("anthropic "),
            "{}",
            failure.message
        );
        assert_eq!(failure.attempts.len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_fails_the_task_and_is_journaled_because_it_was_paid() {
    let refusal = ModelAnswer {
        stop_reason: StopReason::Refusal,
        ..samples::answer("")
    };
    let world = World::with_model(ScriptedModel::new([Reply::Answer(refusal)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let steps = world.steps(task.id()).await.len();
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!((failure.code, steps), (FailureCode::ModelRefused, 1));
    assert_eq!(
        failure.attempts[0].request_id,
        samples::answer("").request_id
    );
}

#[tokio::test]
async fn an_empty_answer_fails_the_task() {
    for stop_reason in [
        StopReason::EndTurn,
        StopReason::MaxTokens,
        StopReason::Other,
    ] {
        let empty = ModelAnswer {
            stop_reason,
            ..samples::answer("")
        };
        let world = World::with_model(ScriptedModel::new([Reply::Answer(empty)])).await;
        let task = world.submit("hello").await.unwrap();
        world.run(task.id()).await.unwrap();
        let task = world.task(task.id()).await;
        let TaskState::Failed(failure) = task.state() else {
            panic!("{task:?}")
        };
        assert_eq!(failure.code, FailureCode::ModelBadAnswer);
    }
}

#[tokio::test]
async fn empty_answer_after_tools_completes_with_an_empty_output() {
    let call = samples::tool_call("call_1", "calculator", "{\"expression\":\"1+1\"}");
    let script = [
        Reply::Answer(samples::answer_calling([call])),
        Reply::Answer(samples::answer("")),
    ];
    let world = World::with_model(ScriptedModel::new(script)).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let task = world.task(task.id()).await;
    assert_eq!(task.state(), &TaskState::Completed(samples::output("")));
    assert_eq!(task.progress().steps, 3);
}

#[tokio::test]
async fn a_cut_answer_completes_the_task_and_says_so() {
    let cut = ModelAnswer {
        stop_reason: StopReason::MaxTokens,
        ..samples::answer("It begins")
    };
    let world = World::with_model(ScriptedModel::new([Reply::Answer(cut)])).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let expected = Output {
        stop_reason: StopReason::MaxTokens,
        ..samples::output("It begins")
    };
    assert_eq!(
        *world.task(task.id()).await.state(),
        TaskState::Completed(expected)
    );
}

#[tokio::test]
async fn an_answer_too_large_for_the_store_fails_the_task() {
    let huge = samples::answer(&"x".repeat(17_000_000));
    let world = World::with_model(ScriptedModel::new([Reply::Answer(huge)])).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::OutputTooLarge);
}

#[tokio::test]
async fn a_task_of_a_missing_agent_fails() {
    let world = World::new().await;
    let stranger = samples::agent(world.tenant());
    let task = samples::task(&stranger, world.now());
    TaskStore::create(&world.store, &task).await.unwrap();
    world.run(task.id()).await.unwrap();
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::AgentMissing);
}

#[tokio::test]
async fn a_model_call_never_outlives_its_invocation_or_the_task() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task: task.id(),
        alone: false,
    };
    let worker = world.worker_failing(&Faults::default());
    worker
        .run(&message, world.now().plus(Duration::from_secs(25)))
        .await
        .unwrap();
    let late = world.submit("hello").await.unwrap();
    world.pass(1_790);
    world.run(late.id()).await.unwrap();
    let deadlines: Vec<_> = world
        .model
        .requests()
        .iter()
        .map(|requests| requests.deadline)
        .collect();
    let expected = [samples::after(15), samples::after(1_800)].map(Deadline::at);
    assert_eq!(
        deadlines, expected,
        "25 s less the reserve; the task's deadline"
    );
}

#[tokio::test]
async fn a_task_past_its_deadline_times_out_when_its_message_comes() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(1_800);
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::TimedOut)
    );
    assert_eq!(world.model.requests(), []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_back_from_the_dead_changes_nothing() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.model.hold();
    let zombie = world.run(task.id());
    let successor = async {
        world.model.until_called(1).await;
        world.pass(INVOCATION.as_secs() + 2);
        let second = world.run(task.id());
        let release = async {
            world.model.until_called(2).await;
            world.model.release();
        };
        tokio::join!(second, release).0
    };
    let (zombie, successor) = tokio::join!(zombie, successor);
    let results = [zombie.unwrap(), successor.unwrap()];
    assert!(results.contains(&RunOutcome::LeaseLost), "{results:?}");
    assert!(
        results.contains(&RunOutcome::Ended(TaskStatus::Completed)),
        "{results:?}"
    );
    let task = world.task(task.id()).await;
    assert_eq!((task.status(), task.fence()), (TaskStatus::Completed, 2));
    assert_eq!(world.steps(task.id()).await.len(), 1);
}

#[tokio::test]
async fn a_duplicate_at_the_deadline_leaves_the_living_worker_alone() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(1_790);
    world.model.hold();
    let duplicate = async {
        world.model.until_called(1).await;
        world.pass(10);
        let met = world.run(task.id()).await;
        world.model.release();
        met
    };
    let (held, met) = tokio::join!(world.run(task.id()), duplicate);
    assert!(matches!(met, Err(RunError::Leased { .. })), "{met:?}");
    assert_eq!(held.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
}
