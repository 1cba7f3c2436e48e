//! Tasks over the layers around a model, as the function puts them together; everything else is in
//! memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers may panic like the test itself"
)]

use std::sync::Arc;
use std::time::Duration;

use executor::config::Config;
use shared::app::{Room, Runner, WorkTimes};
use shared::config::Environment;
use shared::domain::{
    Agent, AgentConfig, AssistantContent, BuiltinTool, CacheRules, CacheTerms, Message, ModelChain,
    ModelRef, Provider, Step, StepKind, Task, TaskStatus, TenantId,
};
use shared::policy::{Backoff, CacheSettings, Cached, Fallback, Retry, RetryBudget};
use shared::ports::{AgentStore, Clock, Journal, Model, ModelErrorKind, TaskMessage, TaskStore};
use shared::testing::{
    ManualClock, MemoryAnswers, MemoryQueue, MemoryStore, MemoryUsage, Reply, ScriptedModel,
    ScriptedTools, samples,
};

/// The layers around a model that answers by a script, and the stores of its tasks.
struct Platform {
    store: MemoryStore,
    model: Arc<ScriptedModel>,
    runner: Runner,
}

impl Platform {
    /// Keeps answers as `cache` says for agents that don't.
    fn new(script: impl IntoIterator<Item = Reply>, cache: CacheRules) -> Self {
        let (store, clock) = (MemoryStore::default(), ManualClock::at(samples::START));
        let clock = || Arc::new(clock.clone()) as Arc<dyn Clock>;
        let model = Arc::new(ScriptedModel::new(script));
        let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
        let retry = Arc::new(Retry::new(
            inner,
            RetryBudget::default(),
            Backoff::Steady,
            clock(),
        ));
        let fallback = Arc::new(Fallback::new(retry));
        let cached = Cached::new(
            fallback,
            Arc::new(MemoryAnswers::default()),
            CacheSettings::default(),
            clock(),
        );
        let runner = Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::new(store.clone()),
            queue: Arc::new(MemoryQueue::default()),
            model: Arc::new(cached),
            tools: Arc::new(ScriptedTools::default()),
            clock: clock(),
            cache,
            times: WorkTimes {
                step_reserve: Duration::ZERO,
                ..WorkTimes::default()
            },
            slots: None,
            room: Room::default(),
        };
        Self {
            store,
            model,
            runner,
        }
    }

    async fn agent(&self, set: impl FnOnce(&mut AgentConfig)) -> Agent {
        let mut agent = samples::agent(&samples::tenant("acme"));
        set(&mut agent.config);
        AgentStore::create(&self.store, &agent).await.unwrap();
        agent
    }

    /// Runs a new task of the agent to its end.
    async fn run(&self, agent: &Agent) -> Task {
        let task = samples::task(agent, samples::START);
        TaskStore::create(&self.store, &task).await.unwrap();
        let tenant: &TenantId = &agent.tenant;
        let message = TaskMessage {
            tenant: tenant.clone(),
            task: task.id(),
            alone: false,
        };
        self.runner.run(&message, samples::after(60)).await.unwrap();
        TaskStore::task(&self.store, tenant, task.id())
            .await
            .unwrap()
            .unwrap()
    }
}

/// What the deployment says about cached answers, if it sets `MODEL_CACHE_SECONDS`.
fn deployed(seconds: &str) -> CacheRules {
    let environment = Environment::of([
        ("STATE_TABLE", "state"),
        ("EPHEMERAL_TABLE", "ephemeral"),
        ("TASK_QUEUE_URL", "https://queue"),
        ("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
        ("OPENAI_BASE_URL", "https://api.openai.com"),
        ("MODEL_TIMEOUT_SECONDS", "120"),
        ("MODEL_FIRST_BYTE_SECONDS", "60"),
        ("MODEL_IDLE_SECONDS", "60"),
        ("MODEL_CACHE_SECONDS", seconds),
        ("BREAKER_FAILURES", "5"),
        ("BREAKER_OPEN_SECONDS", "30"),
        ("LEASE_SECONDS", "60"),
        ("STEP_RESERVE_SECONDS", "60"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("TENANT_DAILY_BUDGET_MICRO_USD", "0"),
        ("DEPLOYMENT_DAILY_BUDGET_MICRO_USD", "0"),
        ("TENANT_MAX_RUNNING_TASKS", "0"),
        ("EXECUTOR_MAX_CONCURRENCY", "50"),
    ]);
    Config::read(&environment).unwrap().cache
}

#[tokio::test(start_paused = true)]
async fn the_deployment_says_whether_answers_are_cached_unless_the_agent_does() {
    let hour = CacheRules::On(CacheTerms::default());
    let cases = [
        ("3600", None, 1),
        ("0", None, 2),
        ("3600", Some(CacheRules::Off), 2),
        ("0", Some(hour), 1),
    ];
    for (seconds, of_agent, requests) in cases {
        let platform = Platform::new([], deployed(seconds));
        let agent = platform.agent(|config| config.cache = of_agent).await;
        for _ in 0..2 {
            assert_eq!(platform.run(&agent).await.status(), TaskStatus::Completed);
        }
        assert_eq!(
            platform.model.requests().len(),
            requests,
            "{seconds} {of_agent:?}"
        );
    }
    assert_eq!(deployed("3600"), hour);
    assert_eq!(
        deployed("60"),
        CacheRules::On(CacheTerms::default().with_ttl_seconds(60).unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_continues_with_another_providers_model_in_the_middle() {
    let call = samples::tool_call("call_1", "calculator", r#"{"expression":"1+1"}"#);
    let away = Reply::FailWith {
        kind: ModelErrorKind::Unavailable,
        status: Some(529),
        should_retry: Some(false),
        retry_after: None,
        spend: samples::answer("").spend,
    };
    let platform = Platform::new(
        [Reply::Answer(samples::answer_calling([call.clone()])), away],
        CacheRules::Off,
    );
    let (first, second) = (
        samples::model(),
        ModelRef::new(Provider::OpenAi, "gpt-6-luna").unwrap(),
    );
    let agent = platform.agent(|config| {
        config.models = ModelChain::new(vec![first.clone().into(), second.clone().into()]).unwrap();
        config.tools = vec![BuiltinTool::Calculator.into()];
    });
    let task = platform.run(&agent.await).await;
    assert_eq!(task.status(), TaskStatus::Completed);

    let requests = platform.model.requests();
    let order: Vec<_> = requests
        .iter()
        .map(|request| request.model().clone())
        .collect();
    assert_eq!(order, [first.clone(), first.clone(), second.clone()]);
    let messages = &requests.last().unwrap().prompt.messages;
    let [
        Message::User(_),
        Message::Assistant(said),
        Message::ToolResults(results),
    ] = &messages[..]
    else {
        panic!("{messages:?}");
    };
    assert_eq!(
        said.iter().map(|part| &part.content).collect::<Vec<_>>(),
        [&AssistantContent::ToolCall(call)]
    );
    assert_eq!(
        results
            .iter()
            .map(|result| result.call_id.as_str())
            .collect::<Vec<_>>(),
        ["call_1"]
    );

    let steps: Vec<Step> = platform.store.steps(task.id()).await.unwrap();
    let calls = steps.iter().filter_map(|step| match &step.kind {
        StepKind::ModelCall { requested, answer } => {
            Some((requested, &answer.model, answer.failed.len()))
        }
        StepKind::ToolCall { .. } => None,
    });
    assert_eq!(
        calls.collect::<Vec<_>>(),
        [(&first, &first, 0), (&first, &second, 1)]
    );
    assert_eq!(task.spend().attempts, 3);
}
