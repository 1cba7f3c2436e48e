//! The calls of tools that a model made: who answers each of them, and the answers of the platform.

use std::collections::BTreeMap;

use tracing::Instrument;

use super::runner::Runner;
use super::step_log::{count_tool, execute_tool};
use crate::domain::{
    Agent, AgentTool, Deadline, MAX_TOOL_TEXT_BYTES, PendingCall, Step, StepKind, TaskId,
    Timestamp, ToolCall, ToolDefinition, ToolKind, ToolRunner, check_arguments, whole_millis,
};
use crate::ports::{StoreError, ToolOutput, ToolRequest};
use crate::runtime::computed;

/// The result of a tool call when the conversation can take no more text of tools.
const FULL: &str = "not run: the results of this conversation's tools have reached 4 MiB; answer with what you have";

/// A call that the platform answers.
pub(super) struct PlannedCall {
    pub(super) call: PendingCall,
    pub(super) action: Action,
}

/// How the platform answers a call.
pub(super) enum Action {
    /// It runs one of its own tools.
    Run(Box<ToolRequest>),
    /// It tells the model why the call is not made. Logs name the `reason`.
    Reject { reason: &'static str, why: String },
}

/// Who answers a call.
pub(super) enum Plan {
    Platform(PlannedCall),
    Client(PendingCall),
}

impl Plan {
    fn reject(call: PendingCall, reason: &'static str, why: impl Into<String>) -> Self {
        Self::Platform(PlannedCall::rejected(call, reason, why))
    }
}

impl PlannedCall {
    fn rejected(call: PendingCall, reason: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            call,
            action: Action::Reject { reason, why },
        }
    }

    /// The same call, rejected if the conversation takes no more results.
    pub(super) fn unless_full(self, is_full: bool) -> Self {
        if is_full {
            Self::rejected(self.call, "conversation_full", FULL)
        } else {
            self
        }
    }

    /// The tool's name for logs. A name that no tool has is the model's own text, which stays out
    /// of logs.
    pub(super) fn tool_name(&self) -> Option<&'static str> {
        match &self.action {
            Action::Run(request) => Some(request.tool.name()),
            Action::Reject { .. } => None,
        }
    }

    /// Why the call is not made, for logs.
    const fn rejection(&self) -> Option<&'static str> {
        match &self.action {
            Action::Run(_) => None,
            Action::Reject { reason, .. } => Some(*reason),
        }
    }
}

/// For which task, and when, tools are called.
pub(super) struct ToolContext {
    pub(super) task: TaskId,
    /// The run that the calls belong to.
    pub(super) base: u32,
    /// When they must have answered.
    pub(super) deadline: Deadline,
    /// Whether the task should come to an end instead.
    pub(super) wraps_up: bool,
    /// Whether the conversation takes no more results.
    pub(super) is_full: bool,
    /// How many calls of each tool were made or are planned, by its name.
    pub(super) made: BTreeMap<String, usize>,
}

impl ToolContext {
    /// Decides who answers the call, after its arguments were checked.
    pub(super) fn plan(&mut self, agent: &Agent, call: PendingCall) -> Plan {
        if self.wraps_up {
            let why = "not run: the time for this task is nearly over";
            return Plan::reject(call, "wraps_up", why);
        }
        if self.is_full {
            return Plan::reject(call, "conversation_full", FULL);
        }
        let ToolCall {
            name, arguments, ..
        } = &call.call;
        let tools = &agent.config.tools;
        let Some(tool) = tools.iter().find(|tool| tool.name() == name) else {
            let names: Vec<&str> = tools.iter().map(AgentTool::name).collect();
            let why = format!("there is no such tool; there are: {}", names.join(", "));
            return Plan::reject(call, "unknown_tool", why);
        };
        if let Some(most) = tool.rules.max_calls()
            && self
                .made
                .get(name)
                .is_some_and(|made| *made >= most as usize)
        {
            let why = format!("not run: {name} may be called {most} times, and was");
            return Plan::reject(call, "max_calls", why);
        }
        let schema = &tool.definition().input_schema;
        let arguments = match computed(arguments.len(), || check_arguments(schema, arguments)) {
            Ok(arguments) => arguments,
            Err(why) => return Plan::reject(call, "arguments", why),
        };
        *self.made.entry(name.clone()).or_default() += 1;
        match &tool.kind {
            ToolKind::Client(_) => Plan::Client(call),
            ToolKind::Builtin(builtin) => {
                let request = ToolRequest {
                    tenant: agent.tenant.clone(),
                    tool: builtin.clone(),
                    arguments,
                    idempotency_key: self.idempotency_key(call.number),
                    max_result_bytes: tool.rules.result_bytes(),
                    deadline: self.deadline,
                };
                let action = Action::Run(Box::new(request));
                Plan::Platform(PlannedCall { call, action })
            }
        }
    }

    /// The key of the call whose result is the step `number`: the same for each worker that makes
    /// the call, and different from all other calls' keys.
    fn idempotency_key(&self, number: u32) -> String {
        match self.base {
            0 => format!("{}/{number}", self.task),
            base => format!("{}/{base}/{number}", self.task),
        }
    }
}

/// All tools of an agent, as its models see them.
pub(super) fn definitions(agent: &Agent) -> impl Iterator<Item = ToolDefinition> {
    let tools = agent.config.tools.iter();
    tools.map(|tool| tool.definition().into_owned())
}

/// The lease under which a step is done.
#[derive(Clone, Copy)]
pub(super) struct StepOrigin {
    pub(super) task: TaskId,
    pub(super) base: u32,
    pub(super) fence: u64,
}

impl StepOrigin {
    /// The step of this number, with its start and its end.
    pub(super) fn step(
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
    pub(super) async fn run_tool(
        &self,
        origin: StepOrigin,
        planned: PlannedCall,
    ) -> (Step, Result<(), StoreError>) {
        let started_at = self.clock.now();
        let (tool, reason) = (planned.tool_name(), planned.rejection());
        let span = execute_tool(&planned.call, tool);
        let PlannedCall { call, action } = planned;
        let answering = async {
            match action {
                Action::Run(request) => {
                    let output = self.tools.run(&request).await;
                    (
                        ToolRunner::Platform,
                        output.bounded(request.max_result_bytes),
                    )
                }
                Action::Reject { why, .. } => {
                    let output = ToolOutput::error(why).bounded(MAX_TOOL_TEXT_BYTES);
                    (ToolRunner::Nobody, output)
                }
            }
        };
        let (by, output) = answering.instrument(span.clone()).await;
        let ToolOutput {
            text,
            is_error,
            is_blocked,
            source,
        } = output;
        let finished_at = self.clock.now();
        span.record("is_error", is_error);
        drop(span);
        let duration = finished_at.since(started_at);
        count_tool(tool, is_error, duration);
        let duration_ms = whole_millis(duration);
        let (step, bytes) = (call.number, text.len());
        tracing::info!(
            step,
            tool,
            is_error,
            reason,
            bytes,
            duration_ms,
            "tool answered"
        );
        let kind = StepKind::ToolCall {
            call: call.call,
            by,
            text,
            is_error,
            is_blocked,
            source,
        };
        let step = origin.step(call.number, kind, (started_at, finished_at));
        let appended = self.journal.append(&step).await;
        (step, appended)
    }
}
