//! How many requests an API key or a tenant may make.

use super::invalid::{Invalid, within};

/// The most requests in one minute that a limit can allow.
const MAX_PER_MINUTE: u32 = 100_000;

/// The most requests that change something, in one minute: 1 to 100,000. Requests that only read
/// are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestRate(u32);

impl RequestRate {
    /// Checks the number at `/requests_per_minute`.
    pub fn per_minute(requests: u32) -> Result<Self, Invalid> {
        within("/requests_per_minute", requests, 1..=MAX_PER_MINUTE).map(Self)
    }

    /// Requests in one minute.
    pub const fn requests(self) -> u32 {
        self.0
    }
}
