//! What happens to a message: the one place that decides, and logs, whether it is done with or
//! comes back.

use std::time::Duration;

use shared::app::{RunError, RunOutcome};
use shared::domain::{Causes, Timestamp};
use shared::metric;
use shared::ports::MessageError;

/// How soon a message comes back after a failure that may pass; doubles with each delivery.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// How long after the end of another worker's lease a message returns.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);

/// How long after an invocation's end the leases that it granted have ended.
const LEASE_MARGIN: Duration = Duration::from_secs(3);

/// How soon a message of a newer version comes back: a deployment is replacing this code just now.
const UPGRADE_WAIT: Duration = Duration::from_mins(1);

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done with: the queue deletes it.
    Done,
    /// It comes back `after` a while, or goes to the dead-letter queue if it came too often.
    ComeBack {
        /// The while.
        after: Duration,
    },
}

/// The verdict on a message whose task was run.
pub(crate) fn of_run(ran: Result<RunOutcome, RunError>, receives: u32, now: Timestamp) -> Verdict {
    match ran {
        // For a task that continues later, the run sent another message, or the watchdog will send
        // one.
        Ok(RunOutcome::Ended(_) | RunOutcome::Parked(_) | RunOutcome::HandedOver) => Verdict::Done,
        Ok(RunOutcome::EndedBefore(status)) => {
            tracing::info!(
                status = status.as_str(),
                "duplicate message of an ended task"
            );
            metric::DUPLICATE_MESSAGES.add([], 1);
            Verdict::Done
        }
        Ok(RunOutcome::AwaitsClient(status)) => {
            tracing::debug!(status = status.as_str(), "task waits for its client");
            Verdict::Done
        }
        Ok(RunOutcome::LeaseLost) => {
            tracing::warn!("another worker has the lease; result dropped");
            metric::LEASES_LOST.add([], 1);
            Verdict::Done
        }
        Ok(RunOutcome::Unknown) => {
            tracing::warn!("message of an unknown task");
            Verdict::Done
        }
        Err(RunError::Leased { until }) => {
            let after = until.since(now).saturating_add(CLOCK_MARGIN);
            tracing::info!(
                after_seconds = after.as_secs(),
                "another worker holds the task"
            );
            Verdict::ComeBack { after }
        }
        Err(RunError::Waiting { until }) => {
            let after = until.since(now);
            tracing::info!(
                after_seconds = after.as_secs(),
                "message of a parked task is early"
            );
            Verdict::ComeBack { after }
        }
        Err(error @ RunError::Store(_)) => {
            tracing::error!(error = %Causes(&error), "task run aborted: store error");
            metric::STORE_FAILURES.add([], 1);
            Verdict::ComeBack {
                after: backoff(receives),
            }
        }
    }
}

/// The verdict on a message that can't be read.
pub(crate) fn of_bad_message(error: &MessageError, receives: u32) -> Verdict {
    match error {
        // A malformed message never becomes valid: return it at once, so that SQS dead-letters it;
        // log only the first receive.
        MessageError::Malformed(_) => {
            if receives <= 1 {
                tracing::error!(error = %Causes(error), "poison message; SQS will dead-letter it");
                metric::POISON_MESSAGES.add([], 1);
            }
            Verdict::ComeBack {
                after: Duration::ZERO,
            }
        }
        MessageError::Newer(_) => {
            if receives <= 1 {
                tracing::warn!(%error, "message needs a newer worker; returned to the queue");
            }
            Verdict::ComeBack {
                after: UPGRADE_WAIT,
            }
        }
    }
}

/// The verdict on a message whose handling panicked. The panic hook has logged it, because it knows
/// where it happened. Its task may be left under a lease that ends with the invocation, at `until`.
pub(crate) fn of_panic(until: Timestamp, now: Timestamp) -> Verdict {
    metric::PANICS.add([], 1);
    Verdict::ComeBack {
        after: until.since(now).saturating_add(LEASE_MARGIN),
    }
}

fn backoff(receives: u32) -> Duration {
    let doublings = receives.saturating_sub(1).min(10);
    FIRST_BACKOFF
        .saturating_mul(1 << doublings)
        .min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 7, 8, u32::MAX]
            .map(|receives| backoff(receives).as_secs())
            .to_vec();
        assert_eq!(seconds, [5, 5, 10, 20, 300, 300, 300]);
    }
}
