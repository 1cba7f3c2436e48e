//! How often a task was parked, and why.

use crate::domain::wait::WaitReason;

/// How often a task was parked since its journal last grew.
///
/// What is waited for ever longer is counted by itself, or else a task that kept many short waits
/// of a provider would meet its first outage with the longest pause of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parkings {
    /// For any reason.
    pub all: u32,
    /// Because none of its models was in service, and none named a moment to come back at.
    pub outages: u32,
    /// Because a provider limits the rate.
    pub rate_limits: u32,
    /// Because it was not its turn among its tenant's tasks.
    pub turns: u32,
}

impl Parkings {
    pub(super) const fn count(&mut self, reason: WaitReason) {
        self.all = self.all.saturating_add(1);
        match reason {
            WaitReason::RetryAfter => self.outages = self.outages.saturating_add(1),
            WaitReason::RateLimit => self.rate_limits = self.rate_limits.saturating_add(1),
            WaitReason::Concurrency => self.turns = self.turns.saturating_add(1),
            // An open circuit says itself when it is worth coming back.
            WaitReason::Breaker
            | WaitReason::SingleFlight
            | WaitReason::OutOfTime
            | WaitReason::Budget => {}
        }
    }
}
