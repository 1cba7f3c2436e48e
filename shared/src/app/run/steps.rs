//! One step: a question to a model, or the calls of an answer, and their place in the journal.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tracing::{Instrument, Span, field};

use super::leave::End;
use super::work::Work;
use super::{RESERVE, Runner};
use crate::app::outcome::{Aftermath, aftermath, is_last_try, too_large};
use crate::domain::{
    Agent, BuiltinTool, Caller, Causes, Cost, Deadline, FailedAttempt, FailureCode, JsonSchema,
    LimitKind, Message, ModelAnswer, ModelRequest, PendingCall, Prompt, ProviderError, Spend,
    Spent, Step, StepKind, TaskId, TaskInput, Timestamp, ToolCall, ToolDefinition, ToolRunner,
    ToolUse, Usage, UserPart, check_arguments, whole_millis,
};
use crate::metric;
use crate::ports::{ModelError, ModelErrorKind, StoreError, ToolOutput, ToolRequest};
use crate::runtime::computed;

/// How many tools of one answer run at once.
const AT_ONCE: usize = 8;

/// What is known of a call that was dropped in the middle: that its provider may bill it.
const UNKNOWN: Spend = Spend {
    attempts: 1,
    usage: Usage::NONE,
    cost: Cost {
        micro_usd: 0,
        unpriced_calls: 1,
    },
};

/// What a model is told when its task's time is nearly over.
const WRAP_UP: &str =
    "The time for this task is nearly over. Give your final answer now, with what you have.";

/// What a model is told when its tools have said as much as a conversation takes.
const FULL: &str = "not run: the results of this conversation's tools have reached 4 MiB; answer with what you have";

/// A call that is answered here: by a tool of the platform's own, or by the words why it can't be
/// made.
pub(super) struct Job {
    call: PendingCall,
    way: Way,
}

impl Job {
    /// Has the call answered by the words why it is not made, which the log calls `reason`.
    fn refused(call: PendingCall, reason: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            call,
            way: Way::Refuse { reason, why },
        }
    }

    /// The same call, refused if the conversation takes no more results.
    fn unless(self, is_full: bool) -> Self {
        if is_full {
            Self::refused(self.call, "conversation_full", FULL)
        } else {
            self
        }
    }
}

enum Way {
    Run(Box<ToolRequest>),
    Refuse { reason: &'static str, why: String },
}

impl Way {
    /// The tool's name for logs. A name that no tool has is the model's own words, which stay out
    /// of logs.
    fn tool_name(&self) -> Option<&'static str> {
        match self {
            Self::Run(request) => Some(request.tool.name()),
            Self::Refuse { .. } => None,
        }
    }

    /// Why the call is not made, for logs.
    const fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) => None,
            Self::Refuse { reason, .. } => Some(*reason),
        }
    }
}

/// When and for which task tools are called.
pub(super) struct Occasion {
    pub(super) task: TaskId,
    /// The run that the calls are of.
    pub(super) base: u32,
    /// By when they must have answered.
    pub(super) deadline: Deadline,
    /// Whether the task is to come to an end instead.
    pub(super) wraps_up: bool,
    /// Whether the conversation takes no more results.
    pub(super) is_full: bool,
}

impl Occasion {
    /// The job of answering the call, or the call itself if it is its client's to answer.
    pub(super) fn job(&self, agent: &Agent, call: PendingCall) -> Result<Job, PendingCall> {
        if self.wraps_up {
            return Ok(Job::refused(
                call,
                "wraps_up",
                "not run: the time for this task is nearly over",
            ));
        }
        if self.is_full {
            return Ok(Job::refused(call, "conversation_full", FULL));
        }
        let ToolCall {
            name, arguments, ..
        } = &call.call;
        let builtin = agent
            .config
            .builtin_tools
            .iter()
            .find(|tool| tool.name() == name);
        let client = agent
            .config
            .tools
            .iter()
            .find(|tool| tool.name.as_str() == name);
        let check =
            |schema: &JsonSchema| computed(arguments.len(), || check_arguments(schema, arguments));
        match (builtin, client) {
            (Some(tool), _) => match check(&tool.definition().input_schema) {
                Ok(arguments) => {
                    let idempotency_key = self.idempotency_key(call.number);
                    let request = ToolRequest {
                        tool: tool.clone(),
                        arguments,
                        idempotency_key,
                        deadline: self.deadline,
                    };
                    Ok(Job {
                        call,
                        way: Way::Run(Box::new(request)),
                    })
                }
                Err(why) => Ok(Job::refused(call, "arguments", why)),
            },
            (None, Some(tool)) => match check(&tool.input_schema) {
                Ok(_) => Err(call),
                Err(why) => Ok(Job::refused(call, "arguments", why)),
            },
            (None, None) => {
                let names: Vec<String> = definitions(agent).map(|tool| tool.name.into()).collect();
                Ok(Job::refused(
                    call,
                    "unknown_tool",
                    format!("there is no such tool; there are: {}", names.join(", ")),
                ))
            }
        }
    }

    /// What tells the call whose result is the step `number` from all others, whoever makes it and
    /// however often.
    fn idempotency_key(&self, number: u32) -> String {
        match self.base {
            0 => format!("{}/{number}", self.task),
            base => format!("{}/{base}/{number}", self.task),
        }
    }
}

/// All tools of an agent, as its models get to know them.
fn definitions(agent: &Agent) -> impl Iterator<Item = ToolDefinition> {
    let builtin = agent
        .config
        .builtin_tools
        .iter()
        .map(BuiltinTool::definition);
    agent.config.tools.iter().cloned().chain(builtin)
}

impl Work<'_> {
    /// Asks a model and records its answer as the step of this number.
    pub(super) async fn ask(
        &mut self,
        agent: &Agent,
        input: &TaskInput,
        number: u32,
    ) -> Result<(), End> {
        let runner = self.runner;
        let started_at = runner.clock.now();
        let request = self.request(agent, input);
        let log = tracing::info_span!("step", step = number);
        let trace = log.in_scope(|| chat(number, &request));
        let asking = runner
            .model
            .ask(&request)
            .instrument(trace.clone())
            .instrument(log);
        let asked = self
            .attended(asking)
            .await
            .inspect_err(|_| self.task.add_spend(UNKNOWN))?;
        let finished_at = runner.clock.now();
        let took = finished_at.since(started_at);
        let duration_ms = whole_millis(took);
        metric::STEP_DURATION.note([], took);
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                let end = self.unanswered(agent, &error);
                if is_said_elsewhere(&error, &end) {
                    tracing::debug!(step = number, error = %Causes(&error), "model call is put off");
                } else {
                    trace.record("otel.status_code", "error");
                    trace.record("error_type", error.trouble().kind.code().as_str());
                    log_failure(number, &error, duration_ms);
                }
                return Err(end);
            }
        };
        note_answer(&trace, &answer);
        drop(trace);
        log_answer(number, &request, &answer, duration_ms);
        let kind = StepKind::ModelCall {
            requested: request.model().clone(),
            answer,
        };
        let step = self.origin().step(number, kind, (started_at, finished_at));
        let appended = runner.journal.append(&step).await;
        self.recorded(step, appended).await
    }

    /// Runs these calls, several at once, and records and takes into account each result as soon as
    /// it is there. If something stands against going on, no more calls are begun, and those that
    /// were begun come to their end.
    pub(super) async fn run_tools(&mut self, jobs: Vec<Job>) -> Result<(), End> {
        let (runner, origin) = (self.runner, self.origin());
        let mut jobs = jobs.into_iter();
        let mut running = FuturesUnordered::new();
        let mut ended = Ok(());
        loop {
            while ended.is_ok()
                && running.len() < AT_ONCE
                && let Some(job) = jobs.next()
            {
                running.push(runner.run_tool(origin, job.unless(self.conversation.is_full())));
            }
            let Some((step, appended)) = self.attended(running.next()).await? else {
                return ended;
            };
            let recorded = self.recorded(step, appended).await;
            ended = ended.and(recorded).and_then(|()| self.take_room());
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            task: self.task.id(),
            base: self.task.progress().base,
            fence: self.task.fence(),
        }
    }

    /// Takes a step into account that should be in the journal now. If it can't be told whether it
    /// is, what it cost counts rather once too often than not at all.
    async fn recorded(&mut self, step: Step, appended: Result<(), StoreError>) -> Result<(), End> {
        let spend = step.kind.spend();
        let Err(error) = appended else {
            self.conversation.push(step);
            self.task.note_steps(self.conversation.outline().heads());
            return Ok(());
        };
        self.task.add_spend(spend);
        match error {
            // A worker whose lease had ended recorded its own after all. The journal decides,
            // whoever wrote it: it is of the same run, and so an answer to the same question.
            StoreError::Conflict => {
                self.look().await?;
                self.read_journal().await
            }
            StoreError::TooLarge => Err(End::Failed(too_large())),
            error => Err(End::GivenBack(error, Spent::Attempt)),
        }
    }

    /// How the work ends when no model answered.
    fn unanswered(&mut self, agent: &Agent, error: &ModelError) -> End {
        self.task.add_spend(error.spend);
        let cap = match error.kind {
            ModelErrorKind::BudgetExhausted(scope) => Some(scope),
            _ => None,
        };
        self.task.note_setbacks(&error.attempts(), cap);
        let limit = self.limit(LimitKind::Budget);
        match (&error.kind, limit) {
            (ModelErrorKind::BudgetExhausted(_), paused @ End::Paused(_)) => paused,
            _ => match aftermath(
                &self.task,
                agent.config.retry.outage,
                error,
                self.runner.clock.now(),
            ) {
                Aftermath::Park(wait, spent) => End::Parked(wait, spent),
                Aftermath::Fail(failure) => End::Failed(failure),
            },
        }
    }

    fn request(&self, agent: &Agent, input: &TaskInput) -> ModelRequest {
        let (config, spec, limits) = (&agent.config, self.task.spec(), self.task.limits());
        let mut messages = self.conversation.messages(input);
        let tool_use = if self.wraps_up() {
            ToolUse::Forbidden
        } else {
            ToolUse::Allowed
        };
        if tool_use == ToolUse::Forbidden {
            say(&mut messages, WRAP_UP);
        }
        let prompt = Prompt {
            instructions: config.instructions.as_str().to_owned(),
            messages,
            tools: definitions(agent).collect(),
            tool_use,
            output_schema: config.output_schema.clone(),
            max_output_tokens: limits.max_output_tokens(),
        };
        ModelRequest {
            chain: config.models.clone(),
            prompt: Arc::new(prompt),
            caller: Caller {
                tenant: spec.tenant.clone(),
                task: spec.id,
            },
            retry: config.retry,
            cache: config.cache.unwrap_or(self.runner.cache),
            cache_use: spec.cache_use,
            task_cap: limits.max_cost_micro_usd(),
            task_spent: self.task.spend().cost.micro_usd,
            deadline: self.step_deadline(),
            is_last_try: is_last_try(&self.task, self.runner.clock.now()),
        }
    }

    /// When a step must have ended, so that there is time to record it.
    pub(super) fn step_deadline(&self) -> Deadline {
        Deadline::at(self.until)
            .less(RESERVE)
            .or_earlier(Deadline::at(self.task.deadline()))
    }
}

/// Under which lease a step is done.
#[derive(Clone, Copy)]
struct Origin {
    task: TaskId,
    base: u32,
    fence: u64,
}

impl Origin {
    fn step(
        self,
        number: u32,
        kind: StepKind,
        (started_at, finished_at): (Timestamp, Timestamp),
    ) -> Step {
        let Self { task, base, fence } = self;
        Step {
            task,
            base,
            number,
            fence,
            kind,
            started_at,
            finished_at,
        }
    }
}

impl Runner {
    /// Answers a call and records the result.
    async fn run_tool(&self, origin: Origin, job: Job) -> (Step, Result<(), StoreError>) {
        let started_at = self.clock.now();
        let (number, tool, reason) = (job.call.number, job.way.tool_name(), job.way.refusal());
        let log = tracing::info_span!("step", step = number);
        let trace = log.in_scope(|| execute_tool(&job));
        let (by, output) = self
            .do_job(job.way)
            .instrument(trace.clone())
            .instrument(log)
            .await;
        let ToolOutput { text, is_error } = output.bounded();
        let finished_at = self.clock.now();
        trace.record("is_error", is_error);
        drop(trace);
        let duration = finished_at.since(started_at);
        count_tool(tool, is_error, duration);
        tracing::info!(
            step = number,
            tool,
            is_error,
            reason,
            bytes = text.len(),
            duration_ms = whole_millis(duration),
            "tool answered"
        );
        let kind = StepKind::ToolCall {
            call: job.call.call,
            by,
            text,
            is_error,
        };
        let step = origin.step(number, kind, (started_at, finished_at));
        let appended = self.journal.append(&step).await;
        (step, appended)
    }

    async fn do_job(&self, way: Way) -> (ToolRunner, ToolOutput) {
        match way {
            Way::Run(request) => (ToolRunner::Platform, self.tools.run(&request).await),
            Way::Refuse { why, .. } => (ToolRunner::Nobody, ToolOutput::error(why)),
        }
    }
}

/// The trace's span of a step that answers a call.
fn execute_tool(Job { call, way }: &Job) -> Span {
    let (step, tool, tool_call_id) = (call.number, way.tool_name(), call.call.id.as_str());
    tracing::info_span!(target: "trace", "execute_tool", step, tool, tool_call_id, is_error = field::Empty)
}

fn count_tool(tool: Option<&str>, is_error: bool, duration: Duration) {
    metric::STEP_DURATION.note([], duration);
    let Some(tool) = tool else {
        return metric::BAD_TOOL_CALLS.add([], 1);
    };
    metric::TOOL_CALLS.add([tool], 1);
    metric::TOOL_ERRORS.add([tool], u64::from(is_error));
    metric::TOOL_LATENCY.note([tool], duration);
}

/// Adds words to the user's part of the conversation, in the turn that is the user's already if the
/// last one is.
fn say(messages: &mut Vec<Message>, text: &str) {
    match messages.last_mut() {
        Some(Message::User(parts)) => parts.push(UserPart::Text(text.to_owned())),
        Some(Message::Assistant(_) | Message::ToolResults(_)) | None => {
            messages.push(Message::user(text));
        }
    }
}

/// The trace's span of a step that asks a model.
fn chat(step: u32, request: &ModelRequest) -> Span {
    tracing::info_span!(
        target: "trace",
        "chat",
        step,
        provider = request.model().provider().as_str(),
        model = request.model().name(),
        max_output_tokens = request.prompt.max_output_tokens,
        served_model = field::Empty,
        stop_reason = field::Empty,
        input_tokens = field::Empty,
        output_tokens = field::Empty,
        cache_read_tokens = field::Empty,
        cache_write_tokens = field::Empty,
        cost_micro_usd = field::Empty,
        model_attempts = field::Empty,
        origin = field::Empty,
        cache = field::Empty,
        error_type = field::Empty,
        otel.status_code = field::Empty,
    )
}

fn note_answer(trace: &Span, answer: &ModelAnswer) {
    trace
        .record("served_model", answer.served_model.as_str())
        .record("stop_reason", answer.stop_reason.as_str())
        .record("input_tokens", answer.usage.input_tokens)
        .record("output_tokens", answer.usage.output_tokens)
        .record("cache_read_tokens", answer.usage.cache_read_tokens)
        .record("cache_write_tokens", answer.usage.cache_write_tokens)
        .record("cost_micro_usd", answer.spend.cost.micro_usd)
        .record("model_attempts", answer.spend.attempts)
        .record("origin", answer.origin.as_str());
}

fn log_answer(step: u32, request: &ModelRequest, answer: &ModelAnswer, duration_ms: u64) {
    let requested = Some(request.model()).filter(|requested| **requested != answer.model);
    tracing::info!(
        step,
        provider = answer.model.provider().as_str(),
        model = answer.model.name(),
        requested = requested.map(ToString::to_string),
        served_model = answer.served_model,
        provider_request_id = answer.request_id,
        stop_reason = answer.stop_reason.as_str(),
        tool_calls = answer.tool_calls().count(),
        input_tokens = answer.usage.input_tokens,
        output_tokens = answer.usage.output_tokens,
        cost_micro_usd = answer.spend.cost.micro_usd,
        unpriced_calls = answer.spend.cost.unpriced_calls,
        model_attempts = answer.spend.attempts,
        origin = answer.origin.as_str(),
        duration_ms,
        "model answered"
    );
}

/// Whether what came of a call for which nobody was asked has a line of its own already, or is
/// about to: a wait has that of the parked task, and a cap on cost says itself that it refused.
/// Whoever was asked was perhaps paid, which a line must say.
fn is_said_elsewhere(error: &ModelError, end: &End) -> bool {
    let is_wait = error.kind.is_advice() && matches!(end, End::Parked(..));
    let is_capped = error.kind.code() == FailureCode::BudgetExhausted;
    error.spend.attempts == 0 && (is_wait || is_capped)
}

/// What was paid for a call that failed is in no step, so the line has it.
fn log_failure(step: u32, error: &ModelError, duration_ms: u64) {
    // Of a model that was not asked again because its circuit is open, the last that it said.
    let is_refused = matches!(error.trouble().kind, ModelErrorKind::CircuitOpen { .. });
    let said = |attempt: &&FailedAttempt| attempt.model == error.model && attempt.status.is_some();
    let last = error.earlier.iter().rfind(said).filter(|_| is_refused);
    let (status, request_id) = last.map_or((error.status, &error.request_id), |last| {
        (last.status, &last.request_id)
    });
    let said = ProviderError::or_nothing(last.map_or(&error.said, |last| &last.said).as_deref());
    tracing::warn!(
        step,
        provider = error.model.provider().as_str(),
        model = error.model.name(),
        provider_status = status,
        provider_request_id = request_id,
        provider_code = said.code,
        provider_param = said.param,
        provider_message = said.message,
        model_attempts = error.spend.attempts,
        cost_micro_usd = error.spend.cost.micro_usd,
        unpriced_calls = error.spend.cost.unpriced_calls,
        duration_ms,
        error = %Causes(error),
        "model call failed"
    );
}
