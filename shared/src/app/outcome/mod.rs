//! Decides what follows from a model's last answer or failure: the task completes, fails or is
//! parked. The messages of failures say what the task's owner can do.

use std::time::Duration;

use super::model_failure::failure_of;
use crate::domain::task::MAX_ATTEMPTS;
use crate::domain::{
    FailedAttempt, Failure, FailureCode, MAX_CONVERSATION_BYTES, ModelAnswer, Outage, Output,
    Spent, StopReason, Task, Timestamp, Usage, Wait, WaitReason,
};
use crate::ports::{ModelError, ModelErrorKind, Recovery};

/// The task's output or failure after the model's last answer, which came after `tool_calls` tool
/// calls. An empty answer after tool calls completes the task with an empty output: the work is
/// done and recorded, and models do end such a turn without a text.
pub(super) fn outcome_of(answer: ModelAnswer, tool_calls: u32) -> Result<Output, Failure> {
    let model = answer.model.name();
    let text = answer.text();
    let (code, message) = match answer.stop_reason {
        StopReason::Refusal => (
            FailureCode::ModelRefused,
            format!("{model} declined to answer"),
        ),
        _ if tool_calls > 0 => return Ok(output(text, &answer)),
        StopReason::MaxTokens if answer.tool_calls().next().is_some() => (
            FailureCode::ModelBadAnswer,
            format!(
                "{model} used up all its tokens inside a tool call, which can't be trusted: raise max_output_tokens"
            ),
        ),
        StopReason::MaxTokens if text.is_empty() => (
            FailureCode::ModelBadAnswer,
            format!(
                "{model} used up all its tokens before it said anything: raise max_output_tokens"
            ),
        ),
        _ if text.is_empty() => (
            FailureCode::ModelBadAnswer,
            format!("{model} gave an empty answer"),
        ),
        StopReason::EndTurn
        | StopReason::ToolUse
        | StopReason::Paused
        | StopReason::MaxTokens
        | StopReason::ContextWindow
        | StopReason::Other => return Ok(output(text, &answer)),
    };
    let earlier = answer.failed.clone();
    let message = match earlier.last() {
        Some(failed) => format!(
            "{message}; before or after it, {} failed as {}",
            failed.model,
            failed.code.as_str()
        ),
        None => message,
    };
    Err(Failure {
        code,
        message,
        attempts: earlier.into_iter().chain([attempt(code, answer)]).collect(),
    })
}

fn output(text: String, answer: &ModelAnswer) -> Output {
    Output {
        text,
        stop_reason: answer.stop_reason,
        model: answer.model.clone(),
        usage: answer.usage,
        origin: answer.origin,
    }
}

/// The answer, recorded as a failed attempt.
fn attempt(code: FailureCode, answer: ModelAnswer) -> FailedAttempt {
    FailedAttempt {
        model: answer.model,
        code,
        status: None,
        request_id: answer.request_id,
        said: None,
    }
}

/// The failure of a task whose answer doesn't fit into the store.
pub(super) fn too_large() -> Failure {
    let message = "the answer is too large to be recorded; lower max_output_tokens";
    Failure::of_its_own(FailureCode::OutputTooLarge, message)
}

/// The failure of a task whose conversation is larger than the platform sends to any model.
pub(super) fn conversation_too_long() -> Failure {
    let most = MAX_CONVERSATION_BYTES / (1_024 * 1_024);
    let message = format!(
        "the conversation has more than {most} MiB, and no model takes so much; retry it from its start"
    );
    Failure::of_its_own(FailureCode::ContextTooLong, message)
}

/// What happens to a task whose model call failed.
pub(super) enum FailureDisposition {
    /// The task is parked. The failed call used this much.
    Park(Wait, Spent),
    /// The task fails.
    Fail(Failure),
}

/// How long before its deadline a task makes its last model call in an outage.
const LAST_TRY: Duration = Duration::from_secs(10);

/// How long before its deadline the task calls once more, if the last call reached no provider.
const VERY_LAST_TRY: Duration = Duration::from_secs(1);

/// Whether this is the last call that the task has time for, after a wait: it was parked until
/// shortly before its deadline.
pub(super) fn is_last_try(task: &Task, now: Timestamp) -> bool {
    task.progress().parkings.all > 0 && task.deadline().since(now) <= LAST_TRY
}

/// Whether a task whose model call failed is parked or fails. It is parked in an outage and at a
/// rate limit, unless the agent's tasks are to fail then. A wait beyond the task's deadline ends
/// shortly before it: the provider may recover sooner than it said, and a response to another task
/// must not end this task early.
pub(super) fn disposition(
    task: &Task,
    agent_wants: Outage,
    error: &ModelError,
    now: Timestamp,
) -> FailureDisposition {
    let Some(wait) = wait_of(task, error, now) else {
        return FailureDisposition::Fail(failure_of(error));
    };
    let spent = if may_be_billed(error, wait.reason) {
        Spent::Attempt
    } else {
        Spent::Nothing
    };
    let wait = Wait {
        until: until_for(task, wait, (error, spent), now),
        ..wait
    };
    let waits = wait.reason.is_platforms_own()
        || agent_wants == Outage::Wait
        || is_limit_of_others(error, wait.reason);
    if !waits || wait.until >= task.deadline() {
        return FailureDisposition::Fail(failure_of(error));
    }
    if spent == Spent::Nothing || task.attempts() < MAX_ATTEMPTS {
        return FailureDisposition::Park(wait, spent);
    }
    let Failure {
        message, attempts, ..
    } = failure_of(error);
    let met = &task.progress().setbacks;
    let message =
        format!("{MAX_ATTEMPTS} attempts in a row failed: {met}; the last one: {message}");
    FailureDisposition::Fail(Failure {
        code: FailureCode::AttemptsExhausted,
        message,
        attempts,
    })
}

/// Whether the call was not made because of a rate limit that other calls met. That fails no task,
/// whatever its agent says about outages.
fn is_limit_of_others(error: &ModelError, reason: WaitReason) -> bool {
    reason == WaitReason::RateLimit && error.recovery.is_some() && error.spend.attempts == 0
}

/// Whether the failed call was probably billed. A truncated answer is billed, so it counts as an
/// attempt: an answer that is truncated each time must not be paid for without end. A call that ran
/// out of time may have been truncated, unless the provider refused it.
fn may_be_billed(error: &ModelError, reason: WaitReason) -> bool {
    let is_refusal = |failed: &FailedAttempt| {
        failed
            .status
            .is_some_and(|status| !(200..300).contains(&status))
    };
    let refused = error
        .attempts()
        .iter()
        .filter(|failed| is_refusal(failed))
        .count();
    let was_cut = reason == WaitReason::OutOfTime && error.spend.attempts as usize > refused;
    error.spend.usage != Usage::default() || was_cut
}

/// The end of this task's wait.
///
/// An open circuit names the same moment to all tasks, so their ends are spread here. The source of
/// every other wait spreads it. After a failed call that was billed, the wait is longer: a task has
/// only a few such calls, which must last for the time of an outage. A wait beyond the deadline
/// ends at the last try.
fn until_for(
    task: &Task,
    wait: Wait,
    (error, spent): (&ModelError, Spent),
    now: Timestamp,
) -> Timestamp {
    let until = match wait.reason {
        WaitReason::SingleFlight
        | WaitReason::OutOfTime
        | WaitReason::Budget
        | WaitReason::Concurrency
        | WaitReason::AgentDisabled
        | WaitReason::NotBefore
        | WaitReason::TenantSuspended => {
            return wait.until;
        }
        WaitReason::Breaker => task.staggered(wait.until, now),
        // The circuit is open because of a rate limit: no provider was called.
        WaitReason::RateLimit
            if is_limit_of_others(error, wait.reason)
                && error
                    .recovery
                    .is_some_and(|recovery| !recovery.maybe_sooner) =>
        {
            task.staggered(wait.until, now)
        }
        WaitReason::RateLimit | WaitReason::RetryAfter => wait.until,
    };
    let until = if spent == Spent::Attempt {
        until.max(now.plus(task.paid_backoff()))
    } else {
        until
    };
    let [last_try, very_last_try] =
        [LAST_TRY, VERY_LAST_TRY].map(|left| task.deadline().minus(left));
    match until {
        _ if until < task.deadline() => until,
        _ if now < last_try => last_try,
        _ if now < very_last_try && error.spend.attempts == 0 => very_last_try,
        _ => until,
    }
}

/// The wait after which a call may succeed; `None` if no call will.
fn wait_of(task: &Task, error: &ModelError, now: Timestamp) -> Option<Wait> {
    // The wait if the failure names none.
    let is_limited = match error.recovery {
        Some(recovery) => recovery.wait.reason == WaitReason::RateLimit,
        None => error.kind == ModelErrorKind::RateLimited,
    };
    let backoff = if is_limited {
        Wait {
            until: now.plus(task.rate_limit_backoff()),
            reason: WaitReason::RateLimit,
        }
    } else {
        Wait {
            until: now.plus(task.outage_backoff()),
            reason: WaitReason::RetryAfter,
        }
    };
    if let Some(Recovery { wait, maybe_sooner }) = error.recovery {
        return Some(if maybe_sooner {
            wait.or_sooner(backoff)
        } else {
            wait
        });
    }
    match &error.kind {
        ModelErrorKind::Unavailable
        | ModelErrorKind::Timeout
        | ModelErrorKind::RateLimited
        | ModelErrorKind::BadAnswer
        | ModelErrorKind::KeyUnavailable
        | ModelErrorKind::CircuitOpen
        | ModelErrorKind::OutOfTime
        | ModelErrorKind::InFlight
        | ModelErrorKind::BudgetReserved => (error.should_retry != Some(false)).then_some(backoff),
        ModelErrorKind::QuotaExhausted
        | ModelErrorKind::Authentication
        | ModelErrorKind::KeyMissing
        | ModelErrorKind::Rejected
        | ModelErrorKind::ContextTooLong
        | ModelErrorKind::Refused
        | ModelErrorKind::BudgetExhausted(_)
        | ModelErrorKind::Unpriced => None,
    }
}

#[cfg(test)]
mod tests;
