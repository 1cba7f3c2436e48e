//! The loop over an agent's steps: each next action is derived from the recorded steps alone.

use futures::future::try_join;

use super::exit::Exit;
use super::lease::HeldTask;
use super::runner::{RESERVE, RunError, RunOutcome};
use super::tools::{Plan, ToolContext};
use super::work::Work;
use crate::app::outcome::outcome_of;
use crate::domain::task::MAX_OPEN_CALLS;
use crate::domain::{
    Agent, Failure, FailureCode, LimitKind, Next, PendingCall, WaitReason, whole_millis,
};

/// How many calls of one task may name a missing tool or have wrong arguments.
const MAX_BAD_CALLS: usize = 20;

/// Works on a task until it ends or waits, or the invocation's time is over, and stores the result.
pub(super) async fn run(mut work: Work<'_>) -> Result<RunOutcome, RunError> {
    let (Ok(exit) | Err(exit)) = work.steps().await;
    // Past the deadline the task times out, even if its last step failed or has to wait.
    let exit = match exit {
        Exit::Failed(_) | Exit::Parked(..) | Exit::Paused(_) | Exit::InputRequired(_)
            if work.held.is_late() =>
        {
            Exit::TimedOut
        }
        exit => exit,
    };
    work.held.finish(exit).await
}

impl Work<'_> {
    /// Executes one step after the other. Returns how the work ends; an error also ends it.
    async fn steps(&mut self) -> Result<Exit, Exit> {
        if self.held.task.fence() > 1 {
            self.read_journal().await?;
        }
        let mut loaded = None;
        let mut done = 0_u32;
        loop {
            let next = match self.conversation.next() {
                Next::Finish(answer) => {
                    let outcome = outcome_of(*answer, self.conversation.outline().tool_calls());
                    return Ok(outcome.map_or_else(Exit::Failed, Exit::Completed));
                }
                next @ (Next::CallModel { .. } | Next::Tools(_)) => next,
            };
            if self.held.is_late() {
                return Ok(Exit::TimedOut);
            }
            self.take_room()?;
            self.held.stop_if_held()?;
            self.limit_blocked_calls()?;
            if done > 0 && self.held.is_short_of_time() {
                return Ok(Exit::HandedOver);
            }
            if self.held.has_no_time() {
                return Ok(without_time(&self.held));
            }
            let (found, input) = match &loaded {
                Some(loaded) => loaded,
                None => loaded.insert(try_join(self.read_agent(), self.read_input()).await?),
            };
            // Another worker may have claimed the task. Renew the lease before the step begins.
            if self.held.lease_has_ended() {
                self.held.renew().await?;
            }
            match next {
                Next::CallModel { number } => {
                    self.limit_steps(number)?;
                    self.limit_tokens()?;
                    self.limit_conversation()?;
                    self.call_model(found, input, number).await?;
                }
                Next::Tools(calls) => self.answer_calls(&found.agent, calls).await?,
                Next::Finish(_) => {}
            }
            done += 1;
        }
    }

    /// Runs the calls of built-in tools, and rejects bad calls. If only calls of client tools are
    /// left, the work ends, because the client must answer them.
    async fn answer_calls(&mut self, agent: &Agent, calls: Vec<PendingCall>) -> Result<(), Exit> {
        let last = calls.last().map_or(0, |call| call.number);
        self.limit_steps(last)?;
        let calls_so_far = u64::from(self.conversation.outline().tool_calls());
        if calls_so_far + calls.len() as u64 > u64::from(self.held.task.limits().max_tool_calls()) {
            return Err(self.limit(LimitKind::MaxToolCalls));
        }
        if self.conversation.bad_calls() > MAX_BAD_CALLS {
            let message = if self.conversation.is_full() {
                "the model kept calling tools when the conversation could take no more results"
            } else {
                "the model kept calling tools that it doesn't have, with arguments that they don't take, or more often than they may be called; its steps show each call"
            };
            return Err(Exit::Failed(Failure::of_its_own(
                FailureCode::BadToolCalls,
                message,
            )));
        }
        let mut context = ToolContext {
            task: self.held.task.id(),
            base: self.held.task.progress().base,
            deadline: self.held.step_deadline(),
            wraps_up: self.held.wraps_up(),
            is_full: self.conversation.is_full(),
            made: self.conversation.made_calls(),
        };
        let (mut planned, mut for_client) = (Vec::new(), Vec::new());
        for call in calls {
            match context.plan(agent, call) {
                Plan::Platform(call) => planned.push(call),
                Plan::Client(call) => for_client.push(call),
            }
        }
        if planned.is_empty() {
            // The client gets the calls beyond this bound after it has answered the first ones.
            for_client.truncate(MAX_OPEN_CALLS);
            return Err(Exit::InputRequired(for_client));
        }
        self.run_tools(planned).await
    }
}

/// How the work ends if the invocation has no time for any step. The function's timeout is too
/// short then, so the next invocation has no time either. The task is parked first, so that its
/// messages do not loop without a delay.
fn without_time(held: &HeldTask<'_>) -> Exit {
    let (backoff, exit) = held.back_off(WaitReason::OutOfTime);
    tracing::error!(
        left_ms = whole_millis(held.until.since(held.runner.clock.now())),
        reserve_ms = whole_millis(RESERVE),
        after_ms = whole_millis(backoff),
        "invocation has no time for a step"
    );
    exit
}
