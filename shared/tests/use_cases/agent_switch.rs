//! The kill switch: an agent that its client disabled accepts no tasks, and its tasks wait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::app::{AppError, RetryFrom, RunOutcome, Runner, ToolAnswer, WorkTimes};
use shared::domain::{
    Event, LimitChanges, ModelAnswer, ModelRequest, Switch, TaskId, TaskState, TaskStatus, Wait,
    WaitReason,
};
use shared::ports::{Model, ModelError};
use shared::testing::{Faults, ScriptedModel, TokioClock, samples};

use crate::steps::{ask_human, calculate, calling, world};
use crate::world::{STEP_RESERVE, World};

/// A model that takes so long to answer.
pub(crate) struct Slow(pub(crate) Arc<ScriptedModel>, pub(crate) Duration);

#[async_trait]
impl Model for Slow {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        tokio::time::sleep(self.1).await;
        self.0.call(request).await
    }
}

#[track_caller]
fn check_parked(outcome: RunOutcome) -> Wait {
    match outcome {
        RunOutcome::Parked(wait) if wait.reason == WaitReason::AgentDisabled => wait,
        other => panic!("{other:?}"),
    }
}

async fn parked_events(world: &World, task: TaskId) -> usize {
    let task = world.task(task).await;
    let changes = task.progress().history.recent().iter();
    let is_parked = |event: &Event| {
        matches!(
            event,
            Event::Parked {
                reason: WaitReason::AgentDisabled,
                ..
            }
        )
    };
    changes.filter(|change| is_parked(&change.event)).count()
}

#[tokio::test]
async fn a_disabled_agent_accepts_no_task() {
    let world = World::new().await;
    world.switch(Switch::Disabled).await;
    let refused = world.submit("hello").await;
    assert!(
        matches!(refused, Err(AppError::AgentDisabled(id)) if id == world.agent.id),
        "{refused:?}"
    );
    assert_eq!(world.queue.sent(), []);
    world.switch(Switch::Enabled).await;
    world.submit("hello").await.unwrap();
}

#[tokio::test]
async fn its_task_waits_without_a_model_call_and_goes_on_when_it_is_enabled() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap().id();
    world.switch(Switch::Disabled).await;
    for round in 1..=12 {
        let wait = check_parked(world.run(task).await.unwrap());
        let waits = wait.until.since(world.now());
        assert!(waits <= Duration::from_mins(1), "{round}: {waits:?}");
        let TaskState::Waiting { wait: stored, .. } = world.task(task).await.state().clone() else {
            panic!("it does not wait")
        };
        assert_eq!(stored, wait);
        world.clock.set(wait.until);
    }
    assert!(parked_events(&world, task).await > 1);
    assert_eq!(world.task(task).await.attempts(), 0, "none counts");
    assert_eq!(world.model.requests().len(), 0);
    world.switch(Switch::Enabled).await;
    let ended = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(task).await.unwrap(), ended);
}

#[tokio::test]
async fn its_task_ends_at_its_deadline() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.switch(Switch::Disabled).await;
    while world.now() < task.deadline() {
        let wait = check_parked(world.run(task.id()).await.unwrap());
        world.clock.set(wait.until);
    }
    world.sweep().await.unwrap();
    assert_eq!(world.status(task.id()).await, TaskStatus::TimedOut);
}

#[tokio::test]
async fn a_client_may_cancel_answer_and_retry_its_tasks_meanwhile() {
    let world = world([calling([ask_human("a")])]).await;
    let task = world.submit("hello").await.unwrap().id();
    world.run(task).await.unwrap();
    assert_eq!(world.status(task).await, TaskStatus::InputRequired);
    world.switch(Switch::Disabled).await;
    let answer = ToolAnswer {
        call_id: Some("a".to_owned()),
        step: None,
        text: "yes".to_owned(),
        is_error: false,
    };
    let (tasks, tenant) = (world.tasks(), world.tenant());
    tasks.answer_task(tenant, task, vec![answer]).await.unwrap();
    check_parked(world.run(task).await.unwrap());
    tasks.cancel_task(tenant, task).await.unwrap();
    let (from, limits) = (RetryFrom::Checkpoint, LimitChanges::default());
    tasks.retry_task(tenant, task, from, limits).await.unwrap();
    check_parked(world.run(task).await.unwrap());
    assert_eq!(world.model.requests().len(), 1);
}

/// The worker reads the switch with each renewal of its lease, here every few seconds.
#[tokio::test(start_paused = true)]
async fn a_running_task_parks_after_the_step_that_is_under_way() {
    let script = (0..20).map(|number| calling([calculate(&number.to_string(), "1+1")]));
    let world = world(script).await;
    let task = world.submit("hello").await.unwrap().id();
    let runner = Runner {
        model: Arc::new(Slow(Arc::clone(&world.model), Duration::from_secs(2))),
        clock: Arc::new(TokioClock::default()),
        times: WorkTimes {
            lease: Duration::from_secs(9),
            step_reserve: STEP_RESERVE,
        },
        ..world.worker_failing(&Faults::default())
    };
    let disable = async {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        world.switch(Switch::Disabled).await;
    };
    let (outcome, ()) = tokio::join!(world.run_by(&runner, task), disable);
    check_parked(outcome.unwrap());
    let asked = world.model.requests().len();
    assert!((3..=6).contains(&asked), "{asked}");
    let stored = world.task(task).await;
    let attempts = usize::try_from(stored.spend().attempts).unwrap();
    assert_eq!(attempts, asked, "no call is dropped");
    let steps = world.steps(task).await.len();
    assert!([2 * asked, 2 * asked - 1].contains(&steps), "{steps}");
    world.switch(Switch::Enabled).await;
    world.clock.set(samples::after(60));
    let ended = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(task).await.unwrap(), ended);
    assert_eq!(world.model.requests().len(), 21);
}
