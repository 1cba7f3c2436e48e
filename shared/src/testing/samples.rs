//! Valid values to start a test from, all at one moment ([`START`]) unless they say otherwise.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "values of tests, which the domain accepts or else"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{
    Agent, AgentConfig, AgentName, AgentTool, ApiToken, AssistantContent, AssistantPart,
    BuiltinTool, CacheRules, CacheUse, CallRules, Caller, CapKind, Caps, Cost, Credential,
    Deadline, FailedAttempt, Failure, FailureCode, Grace, Instructions, Invalid, KeyId, KeyName,
    KeyTerms, Lease, Limits, Message, ModelAnswer, ModelChain, ModelRef, ModelRequest, Origin,
    Output, Pepper, Prompt, Provider, RequestRate, RetryRules, Scope, Spend, Step, StepKind,
    StopReason, Task, TaskId, TaskInput, TaskState, TenantId, Timestamp, ToolCall, ToolRunner,
    ToolUse, TraceHeader, Usage, WorkerId,
};
use crate::ports::{SealedCredential, TaskMessage, TaskSummary};

/// The moment at which samples begin: 18 November 2026.
pub const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// The calculator, with these rules for its calls.
pub fn calculator(rules: Result<CallRules, Invalid>) -> AgentTool {
    AgentTool {
        rules: rules.expect("valid rules"),
        ..BuiltinTool::Calculator.into()
    }
}

/// A trace that begins at this moment.
pub fn trace_of(begun: Timestamp) -> TraceHeader {
    let header = format!(
        "Root=1-{:08x}-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        begun.as_millis() / 1_000
    );
    header.parse().expect("a valid header")
}

/// The moment `seconds` after [`START`].
pub fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// The tenant with this id.
pub fn tenant(id: &str) -> TenantId {
    id.parse().expect("a valid tenant id")
}

/// A tenant that no one else uses, for tests that share a store.
pub fn fresh_tenant() -> TenantId {
    tenant(&WorkerId::new(START).to_string().replace('_', "-"))
}

/// The model `claude-sonnet-5-5`.
pub fn model() -> ModelRef {
    ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5").expect("a valid model name")
}

/// The chain of that one model.
pub fn chain() -> ModelChain {
    ModelChain::only(model().into())
}

/// A text of a model.
pub fn said(text: &str) -> AssistantPart {
    AssistantPart {
        content: AssistantContent::Text(text.to_owned()),
        original: None,
    }
}

/// A configuration with default limits.
pub fn agent_config(name: &str, instructions: &str) -> AgentConfig {
    AgentConfig {
        name: AgentName::new(name.to_owned()).expect("a valid name"),
        instructions: Instructions::new(instructions.to_owned()).expect("valid instructions"),
        models: chain(),
        tools: Vec::new(),
        output_schema: None,
        retry: RetryRules::default(),
        cache: None,
        limits: Limits::default(),
    }
}

/// A new agent of `tenant`; its tasks time out after 1,800 s.
pub fn agent(tenant: &TenantId) -> Agent {
    Agent::create(
        tenant.clone(),
        agent_config("clerk", "Answer in one sentence."),
        START,
    )
}

/// A new task for `agent`, submitted at `now`.
pub fn task(agent: &Agent, now: Timestamp) -> Task {
    task_with_input(agent, "What is the capital of France?", now)
}

/// A new task for `agent` with this input, submitted at `now`.
pub fn task_with_input(agent: &Agent, input: &str, now: Timestamp) -> Task {
    Task::submit(
        TaskId::new(now),
        agent,
        self::input(input),
        CacheUse::default(),
        now,
    )
}

/// This text as an input.
pub fn input(text: &str) -> TaskInput {
    TaskInput::new(text.to_owned()).expect("a valid input")
}

/// A text of so many bytes, which is the same for the same `seed` and hardly compresses.
pub fn noise(bytes: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(bytes)
        .collect()
}

/// What a list shows of the task.
pub fn summary(task: &Task) -> TaskSummary {
    TaskSummary {
        id: task.id(),
        agent: task.spec().agent,
        status: task.status(),
        failure: match task.state() {
            TaskState::Failed(failure) => Some(failure.code),
            _ => None,
        },
        attempts: task.attempts(),
        spend: task.spend(),
        metadata: task.spec().metadata.clone(),
        submitted_by: task.spec().submitted_by,
        created_at: task.spec().created_at,
        updated_at: task.progress().updated_at,
    }
}

/// A lease of a new worker until the moment.
pub fn lease_until(expires_at: Timestamp) -> Lease {
    Lease {
        worker: WorkerId::new(START),
        expires_at,
    }
}

/// The prompt of [`model_request`].
pub fn prompt(input: &str) -> Prompt {
    Prompt {
        instructions: "Answer in one sentence.".to_owned(),
        messages: vec![Message::user(input)],
        tools: Vec::new(),
        tool_use: ToolUse::Allowed,
        output_schema: None,
        max_output_tokens: 4_096,
    }
}

/// A request to [`model`], to be answered within a minute from [`START`];
/// its answer is not cached.
pub fn model_request(input: &str) -> ModelRequest {
    ModelRequest {
        chain: chain(),
        prompt: Arc::new(prompt(input)),
        caller: Caller {
            tenant: tenant("acme"),
            task: TaskId::new(START),
            key: None,
        },
        retry: RetryRules::default(),
        cache: CacheRules::Off,
        cache_use: CacheUse::default(),
        cache_generation: 0,
        task_cap: None,
        task_spent: 0,
        deadline: Deadline::at(after(60)),
        is_last_try: false,
    }
}

/// Some tokens of each class.
pub const fn usage() -> Usage {
    Usage {
        input_tokens: 11,
        output_tokens: 7,
        cache_read_tokens: 5,
        cache_write_tokens: 3,
        reasoning_tokens: 2,
    }
}

/// A whole answer of [`model`].
pub fn answer(text: &str) -> ModelAnswer {
    ModelAnswer {
        content: vec![said(text)],
        stop_reason: StopReason::EndTurn,
        usage: usage(),
        model: model(),
        origin: Origin::Provider,
        spend: Spend {
            attempts: 1,
            usage: usage(),
            cost: Cost::default(),
        },
        failed: Vec::new(),
        cache_key: None,
        served_model: "claude-sonnet-5-5-20260915".to_owned(),
        request_id: Some("req_011CT".to_owned()),
    }
}

/// The output that [`answer`] leads to.
pub fn output(text: &str) -> Output {
    Output {
        text: text.to_owned(),
        stop_reason: StopReason::EndTurn,
        model: model(),
        usage: usage(),
        origin: Origin::Provider,
    }
}

/// A failure in which the provider had a part.
pub fn failure() -> Failure {
    Failure {
        code: FailureCode::ModelRateLimited,
        message: "anthropic asks to slow down".to_owned(),
        attempts: vec![FailedAttempt {
            model: model(),
            code: FailureCode::ModelRateLimited,
            status: Some(429),
            request_id: Some("req_011CT".to_owned()),
            said: None,
        }],
    }
}

/// A recorded model call of the task.
pub fn step(task: TaskId, number: u32, text: &str) -> Step {
    Step {
        task,
        base: 0,
        number,
        fence: 1,
        kind: StepKind::ModelCall {
            requested: model(),
            answer: answer(text),
        },
        started_at: after(1),
        finished_at: after(2),
    }
}

/// A recorded tool call of the task.
pub fn tool_step(task: TaskId, number: u32, by: ToolRunner, text: &str) -> Step {
    let call = tool_call("call_1", "calculator", r#"{"expression":"1+1"}"#);
    let kind = StepKind::ToolCall {
        call,
        by,
        text: text.to_owned(),
        is_error: by == ToolRunner::Nobody,
        is_blocked: false,
        source: None,
    };
    Step {
        kind,
        ..step(task, number, "")
    }
}

/// A model's wish to have a tool run.
pub fn tool_call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

/// An answer that wants these tools to be run.
pub fn answer_calling(calls: impl IntoIterator<Item = ToolCall>) -> ModelAnswer {
    let content = calls.into_iter().map(|call| AssistantPart {
        content: AssistantContent::ToolCall(call),
        original: None,
    });
    ModelAnswer {
        content: content.collect(),
        stop_reason: StopReason::ToolUse,
        ..answer("")
    }
}

/// A message about a new task of a fresh tenant.
pub fn message() -> TaskMessage {
    TaskMessage {
        tenant: fresh_tenant(),
        task: TaskId::new(START),
        alone: false,
    }
}

/// A token that no one else has.
pub fn token() -> ApiToken {
    let id = std::array::from_fn(|_| fastrand::u8(..));
    ApiToken::from_random(KeyId::from_random(id), [7; 32])
}

/// The credential, sealed with the pepper `pepper`.
pub fn sealed(credential: Credential) -> SealedCredential {
    let seal = Pepper::new("pepper").seal(&credential);
    SealedCredential { credential, seal }
}

/// A new key of the tenant that may read and submit.
pub fn sealed_key(tenant: &str) -> SealedCredential {
    sealed(Credential::create(
        self::tenant(tenant),
        key_terms(),
        &token(),
        START,
    ))
}

/// A key with everything that one can have.
pub fn rotated_key(tenant: &str) -> SealedCredential {
    let terms = KeyTerms {
        expires_at: Some(after(3_600)),
        rate: RequestRate::per_minute(60).ok(),
        caps: all_caps(),
        ..key_terms()
    };
    let key = Credential::create(self::tenant(tenant), terms, &token(), START);
    sealed(key.rotated(&token(), Grace::default(), START))
}

/// The terms of a key that may read and submit.
pub fn key_terms() -> KeyTerms {
    KeyTerms {
        name: KeyName::new("ci".to_owned()).expect("a valid name"),
        scopes: [Scope::AgentsRead, Scope::TasksRead, Scope::TasksSubmit]
            .into_iter()
            .collect(),
        expires_at: None,
        rate: None,
        caps: Caps::NONE,
    }
}

/// Every cap: 10 running tasks, 2 USD a day and 3 USD a month.
pub fn all_caps() -> Caps {
    let caps = [
        (CapKind::RunningTasks, 10),
        (CapKind::CostOfDay, 2_000_000),
        (CapKind::CostOfMonth, 3_000_000),
    ];
    caps.into_iter().fold(Caps::NONE, |caps, (kind, most)| {
        caps.with(kind, most).expect("valid caps")
    })
}
