//! Valid values to start a test from, all at one moment ([`START`]) unless they say otherwise.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "values of tests, which the domain accepts or else"
)]

use std::time::Duration;

use crate::domain::{
    Agent, AgentConfig, AgentName, Failure, FailureCode, Instructions, Lease, Limits, ModelAnswer, ModelRef,
    ModelRequest, Output, Provider, Step, StepKind, StopReason, Task, TaskId, TaskInput, TenantId, Timestamp, Upstream,
    Usage, WorkerId,
};
use crate::ports::{TaskMessage, TaskSummary};

/// The moment at which samples begin: 18 November 2026.
pub const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

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

/// A configuration with default limits.
pub fn agent_config(name: &str, instructions: &str) -> AgentConfig {
    AgentConfig {
        name: AgentName::new(name.to_owned()).expect("a valid name"),
        instructions: Instructions::new(instructions.to_owned()).expect("valid instructions"),
        model: model(),
        limits: Limits::default(),
    }
}

/// A new agent of `tenant`; its tasks time out after 1,800 s.
pub fn agent(tenant: &TenantId) -> Agent {
    Agent::create(tenant.clone(), agent_config("clerk", "Answer in one sentence."), START)
}

/// A new task for `agent`, submitted at `now`.
pub fn task(agent: &Agent, now: Timestamp) -> Task {
    task_with_input(agent, "What is the capital of France?", now)
}

/// A new task for `agent` with this input, submitted at `now`.
pub fn task_with_input(agent: &Agent, input: &str, now: Timestamp) -> Task {
    Task::submit(TaskId::new(now), agent, TaskInput::new(input.to_owned()).expect("a valid input"), now)
}

/// What a list shows of the task.
pub fn summary(task: &Task) -> TaskSummary {
    TaskSummary {
        id: task.id(),
        agent: task.spec().agent,
        status: task.status(),
        attempts: task.attempts(),
        created_at: task.spec().created_at,
        updated_at: task.progress().updated_at,
    }
}

/// A lease of a new worker until the moment.
pub fn lease_until(expires_at: Timestamp) -> Lease {
    Lease { worker: WorkerId::new(START), expires_at }
}

/// A question to [`model`].
pub fn question(input: &str) -> ModelRequest {
    ModelRequest {
        model: model(),
        instructions: "Answer in one sentence.".to_owned(),
        input: input.to_owned(),
        max_output_tokens: 4_096,
    }
}

/// Some tokens of each class.
pub const fn usage() -> Usage {
    Usage { input_tokens: 11, output_tokens: 7, cache_read_tokens: 5, cache_write_tokens: 3, reasoning_tokens: 2 }
}

/// A whole answer of [`model`].
pub fn answer(text: &str) -> ModelAnswer {
    ModelAnswer {
        text: text.to_owned(),
        stop_reason: StopReason::EndTurn,
        usage: usage(),
        served_model: "claude-sonnet-5-5-20260915".to_owned(),
        request_id: Some("req_011CT".to_owned()),
    }
}

/// The output that [`answer`] leads to.
pub fn output(text: &str) -> Output {
    Output { text: text.to_owned(), stop_reason: StopReason::EndTurn, usage: usage() }
}

/// A failure in which the provider had a part.
pub fn failure() -> Failure {
    Failure {
        code: FailureCode::ModelRateLimited,
        message: "anthropic asks to slow down".to_owned(),
        upstream: Some(Upstream {
            provider: Provider::Anthropic,
            status: Some(429),
            request_id: Some("req_011CT".to_owned()),
        }),
    }
}

/// A recorded model call of the task.
pub fn step(task: TaskId, number: u32, text: &str) -> Step {
    Step {
        task,
        number,
        fence: 1,
        kind: StepKind::ModelCall { requested: model(), answer: answer(text) },
        started_at: after(1),
        finished_at: after(2),
    }
}

/// A message about a new task of a fresh tenant.
pub fn message() -> TaskMessage {
    TaskMessage { tenant: fresh_tenant(), task: TaskId::new(START) }
}
