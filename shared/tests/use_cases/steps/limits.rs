//! Limits on a task: steps, cost, its time, and the time of an invocation.

use shared::domain::CallRules;
use shared::testing::samples;

use super::*;

/// Each limit, a value at which the task stops, and one with which it completes.
fn limits() -> [(LimitKind, LimitChanges, LimitChanges); 3] {
    let none = LimitChanges::default();
    [
        (
            LimitKind::MaxSteps,
            LimitChanges {
                max_steps: Some(2),
                ..none
            },
            LimitChanges {
                max_steps: Some(9),
                ..none
            },
        ),
        (
            LimitKind::MaxToolCalls,
            LimitChanges {
                max_tool_calls: Some(1),
                ..none
            },
            LimitChanges {
                max_tool_calls: Some(2),
                ..none
            },
        ),
        (
            LimitKind::MaxTokens,
            LimitChanges {
                max_tokens: Some(18),
                ..none
            },
            LimitChanges {
                max_tokens: Some(99),
                ..none
            },
        ),
    ]
}

/// A retry that would stop at the same limit is refused. A new run counts all but tokens anew.
async fn check_retries(world: &World, task: TaskId, kind: LimitKind, high: LimitChanges) {
    let bound = world.task(task).await.limits().bound(kind).unwrap();
    let none = LimitChanges::default();
    let (tasks, tenant) = (world.tasks(), world.tenant());
    for from in [RetryFrom::Checkpoint, RetryFrom::Start] {
        if from == RetryFrom::Start && kind != LimitKind::MaxTokens {
            continue;
        }
        let refused = tasks.retry_task(tenant, task, from, none).await;
        assert!(
            matches!(refused, Err(AppError::LimitNotRaised { limit, bound: at }) if (limit, at) == (kind, bound)),
            "{kind} {from:?}: {refused:?}"
        );
    }
    let raised = tasks.retry_task(tenant, task, RetryFrom::Checkpoint, high);
    raised.await.unwrap();
    let ended = world.run(task).await.unwrap();
    assert_eq!(ended, RunOutcome::Ended(TaskStatus::Completed), "{kind}");
}

#[tokio::test]
async fn a_new_run_counts_steps_anew_and_may_succeed_at_the_same_limit() {
    let world = world([calling([calculate("a", "1")])]).await;
    let world = world
        .with_agent(|config| {
            config.tools = vec![BuiltinTool::Calculator.into()];
            config.limits = config.limits.with_max_steps(1).unwrap();
            config.limits.on_limit = OnLimit::Fail;
        })
        .await;
    let task = world.submit("hello").await.unwrap().id();
    let ended = world.run(task).await.unwrap();
    assert_eq!(ended, RunOutcome::Ended(TaskStatus::Failed));
    let none = LimitChanges::default();
    let retried = world
        .tasks()
        .retry_task(world.tenant(), task, RetryFrom::Start, none)
        .await;
    assert_eq!(retried.unwrap().progress().base, 1);
    let ended = world.run(task).await.unwrap();
    assert_eq!(ended, RunOutcome::Ended(TaskStatus::Completed));
}

#[tokio::test]
async fn each_limit_pauses_a_task_until_it_is_resumed_with_a_higher_one() {
    for (kind, low, high) in limits() {
        for on_limit in [OnLimit::Pause, OnLimit::Fail] {
            let world = world([calling([calculate("a", "1"), calculate("b", "2")])]).await;
            let world = world.with_agent(|config| {
                config.tools = vec![BuiltinTool::Calculator.into()];
                config.limits.on_limit = on_limit;
            });
            let world = world.await;
            let new = NewTask {
                limits: low,
                ..world.new_task("hello")
            };
            let task = world
                .tasks()
                .submit_task(world.tenant(), new)
                .await
                .unwrap();
            let ran = world.run(task.id()).await.unwrap();
            let stopped = world.task(task.id()).await;
            match (on_limit, stopped.state()) {
                (OnLimit::Pause, TaskState::Paused { limit, .. }) => {
                    assert_eq!(
                        (ran, *limit),
                        (RunOutcome::AwaitsClient(TaskStatus::Paused), kind)
                    );
                    let requests = world.model.requests().len();
                    world
                        .tasks()
                        .resume_task(world.tenant(), task.id(), high)
                        .await
                        .unwrap();
                    assert_eq!(
                        world.run(task.id()).await.unwrap(),
                        RunOutcome::Ended(TaskStatus::Completed),
                        "{kind}"
                    );
                    assert_eq!(
                        world.model.requests().len(),
                        requests + 1,
                        "{kind}: no recorded step is done again"
                    );
                }
                (OnLimit::Fail, TaskState::Failed(failure)) => {
                    assert_eq!(failure.limit(), Some(kind));
                    check_retries(&world, task.id(), kind, high).await;
                }
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_budget_that_is_used_up_pauses_the_task() {
    let used_up = Reply::Fail(ModelErrorKind::BudgetExhausted(BudgetScope::Task));
    let world = world([used_up]).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::AwaitsClient(TaskStatus::Paused)
    );
    let none = LimitChanges::default();
    let capped = LimitChanges {
        max_cost_micro_usd: Some(7),
        ..none
    };
    world
        .tasks()
        .resume_task(world.tenant(), task.id(), capped)
        .await
        .unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(world.model.requests()[1].task_cap, Some(7));
}

/// Takes its time for each answer.
struct Slow {
    model: Arc<ScriptedModel>,
    clock: ManualClock,
    latency: Duration,
}

#[async_trait]
impl Model for Slow {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.clock.advance(self.latency);
        assert!(
            self.clock.now() <= request.deadline.moment(),
            "a call that is begun has the time that it takes"
        );
        self.model.call(request).await
    }
}

impl World {
    /// Runs the task in a new invocation with a model that takes so long for each answer.
    async fn run_slowly(&self, task: TaskId, latency: Duration) -> RunOutcome {
        let model = Slow {
            model: Arc::clone(&self.model),
            clock: self.clock.clone(),
            latency,
        };
        let runner = Runner {
            model: Arc::new(model),
            ..self.worker_failing(&Faults::default())
        };
        self.run_by(&runner, task).await.unwrap()
    }
}

/// Forty minutes of a model's time in invocations of one minute. No invocation begins a step that
/// it can't end.
#[tokio::test]
async fn a_task_longer_than_any_invocation_crosses_many() {
    let steps = 120_u32;
    let world =
        world((1..steps).map(|number| calling([calculate(&number.to_string(), "1+1")]))).await;
    let world = world.with_agent(|config| {
        config.tools = vec![BuiltinTool::Calculator.into()];
        config.limits = config
            .limits
            .with_max_steps(1_000)
            .unwrap()
            .with_timeout_seconds(7_200)
            .unwrap();
    });
    let world = world.await;
    let task = world.submit("hello").await.unwrap();
    let mut invocations = 1;
    while world.run_slowly(task.id(), Duration::from_secs(20)).await == RunOutcome::HandedOver {
        invocations += 1;
        assert_eq!(
            world.queue.sent().len(),
            invocations,
            "the next one is called at once"
        );
    }
    let done = world.task(task.id()).await;
    assert_eq!(
        (done.status(), done.progress().hops),
        (TaskStatus::Completed, 59)
    );
    assert_eq!(world.now().since(samples::START), Duration::from_mins(40));
    assert_eq!(world.model.requests().len(), 120);
    assert_eq!(done.attempts(), 1);
    let numbers: Vec<u32> = world
        .steps(task.id())
        .await
        .iter()
        .map(|step| step.number)
        .collect();
    assert_eq!(numbers, (1..=239).collect::<Vec<_>>());
}

#[tokio::test]
async fn model_is_asked_to_finish_after_five_sixths_of_the_time() {
    let world = world([
        calling([calculate("a", "1+1")]),
        calling([calculate("b", "2+2")]),
    ])
    .await;
    let task = world.submit("hello").await.unwrap();
    world.pass(1_450);
    // The first answer comes before 25 minutes have passed, the second after it.
    assert_eq!(
        world.run_slowly(task.id(), Duration::from_secs(25)).await,
        RunOutcome::HandedOver
    );
    assert_eq!(
        world.run_slowly(task.id(), Duration::from_secs(25)).await,
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let requests = world.model.requests();
    let told: Vec<ToolUse> = requests
        .iter()
        .map(|request| request.prompt.tool_use)
        .collect();
    assert_eq!(
        told,
        [ToolUse::Allowed, ToolUse::Allowed, ToolUse::Forbidden]
    );
    let Some(Message::User(_)) = requests[2].prompt.messages.last() else {
        panic!("{:?}", requests[2])
    };
    assert_eq!(
        world.tools.requests().len(),
        1,
        "a call that comes too late is not made"
    );
}

#[tokio::test]
async fn a_tool_is_called_as_often_as_its_rules_allow() {
    let world = world([
        calling([
            calculate("a", "1"),
            calculate("b", "2"),
            calculate("c", "3"),
        ]),
        calling([calculate("d", "4")]),
    ])
    .await;
    let world = world
        .with_agent(|config| {
            config.tools = vec![samples::calculator(CallRules::default().with_max_calls(2))];
        })
        .await;
    let task = world.submit("hello").await.unwrap().id();
    let ended = world.run(task).await.unwrap();
    assert_eq!(ended, RunOutcome::Ended(TaskStatus::Completed));
    assert_eq!(world.tools.requests().len(), 2);
    let results: Vec<String> = world
        .steps(task)
        .await
        .into_iter()
        .filter_map(|step| match step.kind {
            StepKind::ToolCall { by, text, .. } => (by == ToolRunner::Nobody).then_some(text),
            StepKind::ModelCall { .. } => None,
        })
        .collect();
    let refused = "not run: calculator may be called 2 times, and was";
    assert_eq!(results, [refused, refused]);
}

#[tokio::test]
async fn a_result_is_cut_where_the_tools_rules_say() {
    let world = world([calling([calculate("a", "1")])]).await;
    let world = world
        .with_agent(|config| {
            let rules = CallRules::default().with_max_result_bytes(2_048);
            config.tools = vec![samples::calculator(rules)];
        })
        .await;
    world
        .tools
        .then(ToolReply::Output(ToolOutput::new("x".repeat(3_000))));
    let task = world.submit("hello").await.unwrap().id();
    world.run(task).await.unwrap();
    let steps = world.steps(task).await;
    let StepKind::ToolCall { text, .. } = &steps[1].kind else {
        panic!("{steps:?}")
    };
    assert!(
        text.len() == 2_048 && text.ends_with("longer than 2048 bytes]"),
        "{text}"
    );
}
