//! What the log says of a task: each failure once, where it is decided, and each end once.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::app::{DeadLetterHandler, NewTask, RunError, RunOutcome, Runner};
use shared::domain::{
    BudgetScope, LimitChanges, ModelAnswer, ModelChain, ModelRef, ModelRequest, Outage, Provider,
    ProviderError, TaskStatus, Wait, WaitReason,
};
use shared::policy::{
    Backoff, CostCaps, DailyCaps, Fallback, Metered, PriceTable, Retry, RetryBudget,
};
use shared::ports::{
    Model, ModelError, ModelErrorKind, Recovery, StoreError, TaskMessage, TaskStore,
};
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs};
use shared::testing::{
    Call, Captured, Faults, MemoryBudgets, Reply, SameCaps, ScriptedModel, When, listen_to, samples,
};
use tracing::Instrument;
use tracing::field::Empty;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

use crate::world::{INVOCATION, World};

/// Hears this thread's log until the guard is dropped.
pub(crate) fn hear() -> (Captured, DefaultGuard) {
    listen_to(|log| {
        logs::layer(
            Service::new("use_cases", "v1"),
            LevelFilter::INFO,
            HeldLines::default(),
            log,
        )
    })
}

pub(crate) fn lines(captured: &Captured) -> Vec<Value> {
    captured
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The messages of the lines that tell of trouble.
fn troubles(captured: &Captured) -> Vec<String> {
    let lines = lines(captured).into_iter();
    let troubles = lines.filter(|line| matches!(line["level"].as_str(), Some("WARN" | "ERROR")));
    troubles
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect()
}

/// The status, agent and task of each line that tells of an end.
fn ends(captured: &Captured) -> Vec<[Value; 3]> {
    let ends = lines(captured)
        .into_iter()
        .filter(|line| line["message"] == "task ended");
    ends.map(|line| ["status", "agent_id", "task_id"].map(|field| line[field].clone()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_ends_a_task_says_so_once_and_by_its_ids() {
    let world =
        World::with_model(ScriptedModel::new([Reply::Answer(samples::answer("done"))])).await;
    let (heard, _guard) = hear();
    // The spans of requests and messages have these fields.
    let span = || tracing::info_span!(target: "api", "request", task_id = Empty, agent_id = Empty, tenant_id = Empty, hop = Empty);
    let mut expected = Vec::new();

    let by_worker = world.submit("hello").await.unwrap().id();
    let worker_span = tracing::info_span!(target: "executor", "tasks process", task_id = %by_worker, agent_id = Empty, hop = Empty);
    world.run(by_worker).instrument(worker_span).await.unwrap();
    expected.push(("completed", by_worker));

    let by_client = world.submit("hello").await.unwrap().id();
    let path = span();
    path.record("task_id", by_client.to_string());
    world
        .tasks()
        .cancel_task(world.tenant(), by_client)
        .instrument(path)
        .await
        .unwrap();
    expected.push(("canceled", by_client));

    let by_dead_letter = world.submit("hello").await.unwrap();
    let mut stranded = by_dead_letter.clone();
    for moment in [60, 180, 420, 900] {
        stranded.settle_overdue(samples::after(moment)).unwrap();
        world.store.update(&stranded).await.unwrap();
    }
    let undelivered = DeadLetterHandler {
        tasks: Arc::new(world.store.clone()),
        clock: Arc::new(world.clock.clone()),
    };
    let body = TaskMessage {
        tenant: world.tenant().clone(),
        task: stranded.id(),
        alone: false,
    }
    .to_body();
    undelivered
        .handle(&body, 6)
        .instrument(span())
        .await
        .unwrap();
    expected.push(("failed", stranded.id()));

    let by_watchdog = world.submit("hello").await.unwrap();
    world.pass(by_watchdog.deadline().since(world.now()).as_secs() + 1);
    assert_eq!(world.sweep().await.unwrap().timed_out, 1);
    expected.push(("timed_out", by_watchdog.id()));

    let by_late_worker = world.submit("hello").await.unwrap();
    world.pass(by_late_worker.deadline().since(world.now()).as_secs() + 1);
    let late_span = tracing::info_span!(target: "executor", "tasks process", task_id = %by_late_worker.id(), agent_id = Empty, hop = Empty);
    world
        .run(by_late_worker.id())
        .instrument(late_span)
        .await
        .unwrap();
    expected.push(("timed_out", by_late_worker.id()));

    let agent = world.agent.id.to_string();
    let expected: Vec<[Value; 3]> = expected
        .into_iter()
        .map(|(status, task)| [status.into(), agent.clone().into(), task.to_string().into()])
        .collect();
    assert_eq!(ends(&heard), expected);
}

#[tokio::test]
async fn an_overdue_tasks_message_that_can_not_be_sent_is_one_line() {
    let world = World::new().await;
    world.submit("hello").await.unwrap();
    world.pass(120);
    let (heard, _guard) = hear();
    let faults = Faults::default();
    faults.die_at_nth(Call::Send, 1, When::Before);
    assert_eq!(world.sweep_failing(&faults).await.unwrap().resent, 1);
    assert_eq!(troubles(&heard), ["overdue task's message can't be sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_loses_its_lease_to_a_store_that_is_down_tells_the_cause() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.model.hold();
    let (heard, _guard) = hear();
    let faults = Faults::default();
    let outage = async {
        world.model.until_called(1).await;
        faults.die_now();
        world.pass(INVOCATION.as_secs());
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let (ran, ()) = tokio::join!(world.run_failing(task.id(), &faults), outage);
    assert!(
        matches!(ran, Err(RunError::Store(StoreError::Unavailable(_)))),
        "{ran:?}"
    );
    assert_eq!(
        troubles(&heard),
        Vec::<String>::new(),
        "the executor logs it when it handles the message"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_can_not_see_who_changed_its_task_tells_the_cause() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.model.hold();
    let faults = Faults::default();
    let meanwhile = async {
        world.model.until_called(1).await;
        world
            .tasks()
            .cancel_task(world.tenant(), task.id())
            .await
            .unwrap();
        world.pass(INVOCATION.as_secs());
        // The update that ends the task meets the client's cancellation.
        faults.die_at_nth(Call::Update, 1, When::After);
        world.model.release();
    };
    let (ran, ()) = tokio::join!(world.run_failing(task.id(), &faults), meanwhile);
    assert!(
        matches!(ran, Err(RunError::Store(StoreError::Unavailable(_)))),
        "{ran:?}"
    );
}

#[tokio::test]
async fn of_two_workers_that_settle_an_overdue_task_none_has_lost_a_lease() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.pass(task.deadline().since(world.now()).as_secs() + 1);
    let (heard, _guard) = hear();
    let moment = async {
        tokio::task::yield_now().await;
        world.pass(1);
    };
    let (one, (), two) = tokio::join!(biased; world.run(task.id()), moment, world.run(task.id()));
    assert!(
        matches!(one, Ok(RunOutcome::Ended(TaskStatus::TimedOut))),
        "{one:?}"
    );
    assert!(matches!(two, Err(RunError::Waiting { .. })), "{two:?}");
    assert_eq!((ends(&heard).len(), troubles(&heard)), (1, vec![]));
}

/// Checks the logged failure of a task with this cap on its cost and so much time left. Its models
/// answer by `script`, and its budgets fail by `faults`.
async fn check_model_troubles(
    script: Vec<Reply>,
    cap: Option<u64>,
    seconds: u64,
    faults: &Faults,
    expected: &str,
) {
    let world = World::new().await;
    let limits = LimitChanges {
        max_cost_micro_usd: cap,
        ..LimitChanges::default()
    };
    let new = NewTask {
        limits,
        ..world.new_task("hello")
    };
    let task = world
        .tasks()
        .submit_task(world.tenant(), new)
        .await
        .unwrap();
    world.pass(task.deadline().since(world.now()).as_secs() - seconds);
    let budgets = Arc::new(MemoryBudgets::default().with_faults(faults.clone()));
    let clock = || Arc::new(world.clock.clone());
    let model = Arc::new(ScriptedModel::new(script));
    let metered = Arc::new(Metered::new(
        model,
        PriceTable::current(),
        CostCaps {
            budgets,
            daily: DailyCaps::default(),
            own: Arc::new(SameCaps::default()),
        },
        clock(),
    ));
    let retry = Retry::new(
        metered,
        RetryBudget::new(1, 1).unwrap(),
        Backoff::Steady,
        clock(),
    );
    let worker = Runner {
        model: Arc::new(retry),
        ..world.worker_failing(&Faults::default())
    };
    let (heard, _guard) = hear();
    world.run_by(&worker, task.id()).await.unwrap();
    assert_eq!(troubles(&heard), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_model_call_that_comes_to_nothing_is_one_line_whatever_layer_ends_it() {
    let healthy = Faults::default();
    let failing = || vec![Reply::Fail(ModelErrorKind::Unavailable); 3];
    check_model_troubles(failing(), None, 600, &healthy, "model call failed").await;
    check_model_troubles(
        vec![],
        Some(1),
        600,
        &healthy,
        "model call is refused by a cap on cost",
    )
    .await;
    // Once it is waited for, and once the time is too short for that.
    for seconds in [600, 3] {
        let down = Faults::default();
        down.die_now();
        check_model_troubles(
            vec![],
            Some(1_000_000),
            seconds,
            &down,
            "cap on cost can't be checked",
        )
        .await;
    }
}

fn named(name: &str) -> ModelRef {
    ModelRef::new(Provider::Anthropic, name).unwrap()
}

/// The log lines of a task that fails rather than waits, and whose two models answer by `script`.
async fn told_of(script: Vec<Reply>) -> Vec<Value> {
    told_by(Arc::new(ScriptedModel::new(script))).await
}

/// The log lines of a task that fails rather than waits, and whose two models are called through
/// `model`.
async fn told_by(model: Arc<dyn Model>) -> Vec<Value> {
    let chain = ModelChain::new(vec![named("first").into(), named("second").into()]).unwrap();
    let world = World::new().await.with_agent(|config| {
        config.models = chain;
        config.retry.outage = Outage::Fail;
    });
    let world = world.await;
    let task = world.submit("hello").await.unwrap();
    let clock = Arc::new(world.clock.clone());
    let retry = Retry::new(model, RetryBudget::default(), Backoff::Steady, clock);
    let worker = Runner {
        model: Arc::new(Fallback::new(Arc::new(retry))),
        ..world.worker_failing(&Faults::default())
    };
    let (heard, _guard) = hear();
    world.run_by(&worker, task.id()).await.unwrap();
    lines(&heard)
}

/// These fields of the one line with this message.
pub(crate) fn of_line<const N: usize>(
    lines: &[Value],
    message: &str,
    fields: [&str; N],
) -> [Value; N] {
    let mut found = lines.iter().filter(|line| line["message"] == message);
    let (Some(line), None) = (found.next(), found.next()) else {
        panic!("{message}: {lines:?}")
    };
    fields.map(|field| line[field].clone())
}

#[tokio::test(start_paused = true)]
async fn task_failed_without_a_model_call_logs_the_earlier_failure() {
    let overloaded = Reply::FailWith {
        kind: ModelErrorKind::Unavailable,
        status: Some(529),
        should_retry: None,
        retry_after: None,
        spend: samples::answer("").spend,
    };
    let wait = Wait {
        until: samples::after(3_600),
        reason: WaitReason::Breaker,
    };
    let open = Reply::FailUntil(ModelErrorKind::CircuitOpen, Recovery::at(wait));
    let lines = told_of(vec![open.clone(), overloaded, open]).await;
    let fallback = of_line(&lines, "model call falls back", ["model", "error", "to"]);
    assert_eq!(
        fallback,
        [
            "first",
            "anthropic is not called before it recovers",
            "anthropic/second"
        ]
    );
    let failed = of_line(
        &lines,
        "model call failed",
        ["model", "provider_status", "error"],
    );
    let causes = "anthropic is not called before it recovers";
    assert_eq!(failed, [json!("second"), json!(529), json!(causes)]);
    let ended = of_line(&lines, "task ended", ["failure", "reason"]);
    let reason = "anthropic second is not called before it recovers: retry the task later, or add a model to the agent's \
                  models; the last attempt before that failed as model_unavailable with HTTP status 529";
    assert_eq!(ended, ["model_circuit_open", reason]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_told_of_the_model_that_gave_it() {
    let answer = ModelAnswer {
        model: named("second"),
        ..samples::answer("Paris")
    };
    let mut script = vec![Reply::Fail(ModelErrorKind::RateLimited); 3];
    script.push(Reply::Answer(answer));
    let lines = told_of(script).await;
    let answered = of_line(&lines, "model answered", ["model", "requested"]);
    assert_eq!(answered, ["second", "anthropic/first"]);
    let claimed = of_line(&lines, "task claimed", ["attempt"]);
    assert_eq!(claimed, [json!(1)]);
}

/// The first model is overloaded, the second refuses a tool.
struct Refusing;

#[async_trait]
impl Model for Refusing {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let text = |text: &str| Some(text.to_owned());
        let is_first = *request.model() == named("first");
        let (kind, said) = if is_first {
            let said = ProviderError {
                code: text("overloaded_error"),
                ..ProviderError::default()
            };
            (ModelErrorKind::Unavailable, said)
        } else {
            let said = ProviderError {
                code: text("invalid_request_error"),
                param: text("tools.3.custom.input_schema"),
                tool: text("look_up"),
                message: text("input_schema does not support anyOf"),
            };
            (ModelErrorKind::Rejected, said)
        };
        Err(ModelError {
            said: Some(Box::new(said)),
            ..ModelError::new(request.model().clone(), kind)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn each_line_of_a_failed_model_call_has_what_the_provider_said() {
    let lines = told_by(Arc::new(Refusing)).await;
    let retries: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "model call retried")
        .collect();
    assert!(
        !retries.is_empty()
            && retries
                .iter()
                .all(|line| line["provider_code"] == "overloaded_error"),
        "{lines:?}"
    );
    assert_eq!(
        of_line(&lines, "model call falls back", ["provider_code"]),
        ["overloaded_error"]
    );
    let fields = ["provider_code", "provider_param", "provider_message"];
    let failed = of_line(&lines, "model call failed", fields);
    assert_eq!(
        failed,
        [
            "invalid_request_error",
            "tools.3.custom.input_schema",
            "input_schema does not support anyOf"
        ]
    );
    let [reason] = of_line(&lines, "task ended", ["reason"]);
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("anthropic second refuses tool `look_up` (tools.3."),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_failed_model_call_has_the_wait_that_the_provider_named() {
    let limited = Reply::FailWith {
        kind: ModelErrorKind::RateLimited,
        status: Some(429),
        should_retry: None,
        retry_after: Some(Duration::from_hours(24)),
        spend: samples::answer("").spend,
    };
    let lines = told_of(vec![limited.clone(), limited]).await;
    let failed = of_line(&lines, "model call failed", ["retry_after_ms"]);
    assert_eq!(failed, [json!(86_400_000)]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_model_and_a_cap_of_a_tenant_are_named() {
    let answer = ModelAnswer {
        served_model: "claude-haiku-3-5-20241022".to_owned(),
        ..samples::answer("Paris")
    };
    let lines = told_of(vec![Reply::Answer(answer)]).await;
    let other = of_line(&lines, "another model answered", ["model", "served_model"]);
    assert_eq!(other, ["claude-sonnet-5-5", "claude-haiku-3-5-20241022"]);

    let refused = ModelErrorKind::BudgetExhausted(BudgetScope::Tenant);
    let lines = told_of(vec![Reply::Fail(refused)]).await;
    let paused = of_line(&lines, "task paused at a limit", ["limit", "scope"]);
    assert_eq!(paused, ["budget", "tenant"]);
}
