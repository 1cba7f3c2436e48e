//! How many requests a key or a tenant may make.

use super::api_key::KeyId;
use super::invalid::{Invalid, within};
use super::tenant::TenantId;

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

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateOwner {
    /// Those with one key.
    Key(KeyId),
    /// Those of all keys of one tenant.
    Tenant(TenantId),
}

impl RateOwner {
    /// What it is, for responses and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Tenant(_) => "tenant",
        }
    }
}
