//! What a worker has while it works on a task: the task under its lease, the conversation that is
//! recorded so far, and the conversation's room in memory.

use super::exit::Exit;
use super::lease::HeldTask;
use super::room::Place;
use crate::app::outcome::conversation_too_long;
use crate::domain::{
    Conversation, Failure, FailureCode, LimitKind, MAX_CONVERSATION_BYTES, OnLimit, WaitReason,
    whole_millis,
};
use crate::metric;

/// One worker's work on one task under one lease.
pub(super) struct Work<'a> {
    pub(super) held: HeldTask<'a>,
    pub(super) conversation: Conversation,
    place: Place<'a>,
}

impl<'a> Work<'a> {
    /// Work whose conversation is not read yet and has this place in memory.
    pub(super) fn new(held: HeldTask<'a>, place: Place<'a>) -> Self {
        let conversation = Conversation::new(held.task.progress().base, []);
        Self {
            held,
            conversation,
            place,
        }
    }

    /// Takes room for the conversation's present size; ends the work if there is not enough.
    pub(super) fn take_room(&self) -> Result<(), Exit> {
        let bytes = self.conversation.outline().bytes();
        if self.place.grow(bytes) {
            Ok(())
        } else {
            Err(crowded_out(&self.held, bytes))
        }
    }

    /// Ends the work if the step with this number is beyond the task's limit.
    pub(super) fn limit_steps(&self, number: u32) -> Result<(), Exit> {
        let steps = number.saturating_sub(self.held.task.progress().base);
        if steps > self.held.task.limits().max_steps() {
            Err(self.limit(LimitKind::MaxSteps))
        } else {
            Ok(())
        }
    }

    /// Fails a task whose conversation is too long. No model takes so much, and the request alone
    /// would use the memory that concurrent tasks need.
    pub(super) fn limit_conversation(&self) -> Result<(), Exit> {
        let bytes = self.conversation.outline().bytes();
        if bytes > MAX_CONVERSATION_BYTES {
            Err(Exit::Failed(conversation_too_long()))
        } else {
            Ok(())
        }
    }

    /// Fails a task whose model keeps calling tools in ways that their rules forbid. A page that the
    /// model read may have instructed it to.
    pub(super) fn limit_blocked_calls(&self) -> Result<(), Exit> {
        let (blocked, most) = (
            self.conversation.blocked_calls(),
            self.held.task.limits().max_blocked_calls(),
        );
        if blocked < most as usize {
            return Ok(());
        }
        let message = format!(
            "the rules of its tools forbade {blocked} calls of the model, and max_blocked_calls is {most}; the steps with \
             is_blocked show each. A page or an input that the model read may have told it to make them. Only a retry from the \
             start may succeed"
        );
        let code = FailureCode::BlockedToolCalls;
        Err(Exit::Failed(Failure::of_its_own(code, message)))
    }

    /// Ends the work if the task has used its limit of tokens.
    pub(super) fn limit_tokens(&self) -> Result<(), Exit> {
        let usage = self.held.task.spend().usage;
        let used = usage.input_tokens.saturating_add(usage.output_tokens);
        let over = self
            .held
            .task
            .limits()
            .max_tokens()
            .is_some_and(|most| used >= most);
        if over {
            Err(self.limit(LimitKind::MaxTokens))
        } else {
            Ok(())
        }
    }

    /// How the work ends at a limit.
    pub(super) fn limit(&self, limit: LimitKind) -> Exit {
        match self.held.task.limits().on_limit {
            OnLimit::Pause => Exit::Paused(limit),
            OnLimit::Fail => Exit::Failed(Failure::limit_reached(limit)),
        }
    }
}

/// How the work ends if there is no room for the conversation: the task waits, and tries again
/// after a backoff.
pub(super) fn crowded_out(held: &HeldTask<'_>, bytes: u64) -> Exit {
    let (backoff, exit) = held.back_off(WaitReason::Concurrency);
    tracing::info!(
        bytes,
        after_ms = whole_millis(backoff),
        "conversation does not fit into memory beside the others"
    );
    metric::TASKS_CROWDED_OUT.add([], 1);
    exit
}
