//! How often a task was parked, and why.

use crate::domain::wait::WaitReason;

/// How often a task was parked since its journal last grew.
///
/// Each reason whose wait grows has a count of its own. With one count, a task with many short
/// waits that a provider named would wait longest at its first outage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parkings {
    /// How often for any reason.
    pub all: u32,
    /// Because all its models were out of service, and no model named a wait.
    pub outages: u32,
    /// Because a provider limits the rate.
    pub rate_limits: u32,
    /// Because it had to wait for other tasks to finish, for its agent to be enabled, or
    /// for its tenant to be active.
    pub turns: u32,
}

impl Parkings {
    pub(super) const fn count(&mut self, reason: WaitReason) {
        self.all = self.all.saturating_add(1);
        match reason {
            WaitReason::RetryAfter => self.outages = self.outages.saturating_add(1),
            WaitReason::RateLimit => self.rate_limits = self.rate_limits.saturating_add(1),
            WaitReason::Concurrency | WaitReason::AgentDisabled | WaitReason::TenantSuspended => {
                self.turns = self.turns.saturating_add(1);
            }
            // These waits do not grow. For example, an open circuit names the end of the wait.
            WaitReason::Breaker
            | WaitReason::SingleFlight
            | WaitReason::OutOfTime
            | WaitReason::Budget
            | WaitReason::NotBefore => {}
        }
    }
}
