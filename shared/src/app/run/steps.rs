//! Executes a step, a model call or tool calls, and records it in the journal.

use futures::stream::{FuturesUnordered, StreamExt};
use tracing::Instrument;

use super::exit::Exit;
use super::step_log::{
    cache_decision, chat, is_logged_elsewhere, log_answer, log_failure, note_answer,
};
use super::tools::{PlannedCall, StepOrigin};
use super::work::Work;
use crate::app::outcome::{FailureDisposition, disposition, too_large};
use crate::domain::{
    Agent, BudgetScope, Causes, Cost, LimitKind, Spend, Spent, Step, StepKind, TaskInput, Usage,
    whole_millis,
};
use crate::metric;
use crate::ports::{AgentOfTask, ModelError, ModelErrorKind, StoreError};

/// How many tool calls of one answer run at once.
const AT_ONCE: usize = 8;

/// What counts as spent on a model call that was dropped before it ended: its provider may bill it,
/// for an unknown cost.
const DROPPED_CALL: Spend = Spend {
    attempts: 1,
    usage: Usage::NONE,
    cost: Cost {
        micro_usd: 0,
        unpriced_calls: 1,
    },
};

impl Work<'_> {
    /// Calls a model and records its answer as the step with this number.
    pub(super) async fn call_model(
        &mut self,
        found: &AgentOfTask,
        input: &TaskInput,
        number: u32,
    ) -> Result<(), Exit> {
        let runner = self.held.runner;
        let started_at = runner.clock.now();
        let request = self.request(found, input);
        let span = chat(number, &request);
        let call = runner.model.call(&request).instrument(span.clone());
        let result = self.held.while_holding_lease(call).await.inspect_err(|_| {
            self.held.task.add_spend(DROPPED_CALL);
            self.held.ledger.note(request.model(), DROPPED_CALL);
        })?;
        let finished_at = runner.clock.now();
        let took = finished_at.since(started_at);
        let duration_ms = whole_millis(took);
        metric::STEP_DURATION.note([], took);
        if let Some(cache) = cache_decision(&request, &result) {
            span.record("cache", cache);
        }
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.held.ledger.note(&error.model, error.spend);
                let exit = self.unanswered(&found.agent, &error);
                if is_logged_elsewhere(&error, &exit) {
                    tracing::debug!(step = number, error = %Causes(&error), "model call postponed");
                } else {
                    span.record("otel.status_code", "error");
                    span.record("error_type", error.kind.code().as_str());
                    log_failure(number, &error, duration_ms);
                }
                return Err(exit);
            }
        };
        self.held.ledger.note(&answer.model, answer.spend);
        note_answer(&span, &answer);
        drop(span);
        log_answer(number, &request, &answer, duration_ms);
        let kind = StepKind::ModelCall {
            requested: request.model().clone(),
            answer,
        };
        let step = self.origin().step(number, kind, (started_at, finished_at));
        let appended = runner.journal.append(&step).await;
        self.recorded(step, appended).await
    }

    /// Executes these calls, several at once, and records each result when it arrives. If the work
    /// has to end, it starts no further call and waits for the calls that it has started.
    pub(super) async fn run_tools(&mut self, calls: Vec<PlannedCall>) -> Result<(), Exit> {
        let (runner, origin) = (self.held.runner, self.origin());
        let mut calls = calls.into_iter();
        let mut running = FuturesUnordered::new();
        let mut ended = Ok(());
        loop {
            while ended.is_ok()
                && running.len() < AT_ONCE
                && let Some(call) = calls.next()
            {
                running
                    .push(runner.run_tool(origin, call.unless_full(self.conversation.is_full())));
            }
            let Some((step, appended)) = self.held.while_holding_lease(running.next()).await?
            else {
                return ended;
            };
            let recorded = self.recorded(step, appended).await;
            ended = ended
                .and(recorded)
                .and_then(|()| self.take_room())
                .and_then(|()| self.held.stop_if_held())
                .and_then(|()| self.limit_blocked_calls());
        }
    }

    fn origin(&self) -> StepOrigin {
        StepOrigin {
            task: self.held.task.id(),
            base: self.held.task.progress().base,
            fence: self.held.task.fence(),
        }
    }

    /// Adds a step to the conversation after its append to the journal. If the append failed, the
    /// step's cost is counted anyway. It may be counted twice, if the write took effect.
    async fn recorded(&mut self, step: Step, appended: Result<(), StoreError>) -> Result<(), Exit> {
        let spend = step.kind.spend();
        let Err(error) = appended else {
            self.conversation.push(step);
            self.held
                .task
                .note_steps(self.conversation.outline().step_summaries());
            return Ok(());
        };
        self.held.task.add_spend(spend);
        match error {
            // A worker whose lease had ended has recorded a step with this number. The recorded
            // step counts: it belongs to the same run, so it answers the same request.
            StoreError::Conflict => {
                self.held.refresh().await?;
                self.read_journal().await
            }
            StoreError::TooLarge => Err(Exit::Failed(too_large())),
            error => Err(Exit::GivenBack(error, Spent::Attempt)),
        }
    }

    /// How the work ends when no model answered.
    fn unanswered(&mut self, agent: &Agent, error: &ModelError) -> Exit {
        self.held.task.add_spend(error.spend);
        let cap = match error.kind {
            // Earlier versions know no cap of a key.
            ModelErrorKind::BudgetExhausted(BudgetScope::Key) => Some(BudgetScope::Tenant),
            ModelErrorKind::BudgetExhausted(scope) => Some(scope),
            _ => None,
        };
        self.held.task.note_setbacks(&error.attempts(), cap);
        let limit = self.limit(LimitKind::Budget);
        match (&error.kind, limit) {
            (ModelErrorKind::BudgetExhausted(_), paused @ Exit::Paused(_)) => paused,
            _ => match disposition(
                &self.held.task,
                agent.config.retry.outage,
                error,
                self.held.runner.clock.now(),
            ) {
                FailureDisposition::Park(wait, spent) => {
                    Exit::Parked(wait, spent, error.circuit.clone())
                }
                FailureDisposition::Fail(failure) => Exit::Failed(failure),
            },
        }
    }
}
