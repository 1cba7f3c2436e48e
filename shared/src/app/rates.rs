//! Limits on how many requests a key and its tenant may make in a minute.
//!
//! Minutes are counted from the epoch, so a burst over the end of a minute may be twice as large as
//! the limit. If the counts cannot be read, no request is refused.

use std::sync::Arc;
use std::time::Duration;

use super::Access;
use crate::domain::{Causes, RequestRate};
use crate::metric;
use crate::ports::{Clock, LimitOwner, RequestCounts};

const MINUTE: u64 = 60_000;

/// Counts requests, and refuses those above a limit.
#[derive(Clone)]
pub struct RequestRates {
    counts: Arc<dyn RequestCounts>,
    clock: Arc<dyn Clock>,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLeft {
    /// Whose limit it is: `key` or `tenant`.
    pub owner: &'static str,
    /// The limit.
    pub rate: RequestRate,
    /// How many more requests it allows in this minute. `None` if this request is above it.
    pub left: Option<u32>,
    /// The time until the next minute.
    pub resets_after: Duration,
}

impl RequestRates {
    /// Keeps counts in `counts`.
    pub fn new(counts: Arc<dyn RequestCounts>, clock: Arc<dyn Clock>) -> Self {
        Self { counts, clock }
    }

    /// Counts a request of this caller under each of its limits. Returns what is left of each; the
    /// request must be refused if it is above one of them. Without a limit, nothing is counted.
    pub async fn count(&self, caller: &Access) -> Vec<RateLeft> {
        let mut all = Vec::new();
        let key = caller.key.map(LimitOwner::Key).zip(caller.key_rate);
        let tenant = caller
            .tenant_rate
            .map(|rate| (LimitOwner::Tenant(caller.tenant.clone()), rate));
        for (owner, rate) in [key, tenant].into_iter().flatten() {
            let now = self.clock.now().as_millis();
            let counted = match self.counts.count(&owner, now / MINUTE).await {
                Ok(counted) => counted,
                Err(error) => {
                    metric::EPHEMERAL_FAILURES.add([], 1);
                    tracing::warn!(error = %Causes(&error), "request rate could not be counted; the request is accepted");
                    continue;
                }
            };
            let left = u64::from(rate.requests()).checked_sub(counted);
            let left = left.map(|left| u32::try_from(left).unwrap_or(u32::MAX));
            all.push(RateLeft {
                owner: owner.kind(),
                rate,
                left,
                resets_after: Duration::from_millis(MINUTE - now % MINUTE),
            });
            if left.is_none() {
                metric::REQUESTS_LIMITED.add([], 1);
                tracing::info!(
                    scope = owner.kind(),
                    most = rate.requests(),
                    "request refused: the limit of requests a minute is reached"
                );
                break;
            }
        }
        all
    }
}
