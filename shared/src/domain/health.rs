//! The health of models: how long their last calls took, and how the last failed call failed.
//!
//! It is made of notes. A note is what one process saw, so health is a sample and no count: it does
//! not tell how many calls there were, or whose.

use std::time::Duration;

use super::chain::{ModelRef, Provider};
use super::failure_code::FailureCode;
use super::time::Timestamp;

/// What has a health of its own. The models without a row in the price table share one for each
/// provider, so that clients cannot make any number of records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HealthKey {
    /// A model of the price table, by the name that the table has for it.
    Model(ModelRef),
    /// All other models of a provider, dated snapshots included.
    OtherModels(Provider),
}

/// How the last calls of a model went. The default knows of no call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelHealth {
    /// How long the last answers took.
    pub latency: Option<Latency>,
    /// The last failure that says something about the provider.
    pub last_failure: Option<LastFailure>,
    /// The end of the wait that the provider named last.
    pub cooldown_until: Option<Timestamp>,
}

/// How long the answers took that one process got in a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// When the last of them came.
    pub at: Timestamp,
    /// What they took on average, in milliseconds.
    pub mean_ms: u64,
    /// What the slowest of them took, in milliseconds.
    pub longest_ms: u64,
}

/// A failed call, without any word of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFailure {
    /// When it failed.
    pub at: Timestamp,
    /// How it failed.
    pub code: FailureCode,
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
}

/// What one process saw of a model's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthNote {
    /// Calls were answered.
    Answered(Latency),
    /// A call failed.
    Failed {
        /// The failure.
        failure: LastFailure,
        /// The end of the wait that the provider named with it, if it did.
        cooldown_until: Option<Timestamp>,
    },
}

impl ModelHealth {
    /// For how long it is stored after its last note, at least.
    pub const RETENTION: Duration = Duration::from_hours(24);

    /// Takes over a note, unless a newer one of its kind is known. A failure without a wait leaves
    /// the wait that is known.
    pub fn add(&mut self, note: HealthNote) {
        match note {
            HealthNote::Answered(latency) => {
                if self.latency.is_none_or(|known| known.at < latency.at) {
                    self.latency = Some(latency);
                }
            }
            HealthNote::Failed {
                failure,
                cooldown_until,
            } => {
                if self.last_failure.is_none_or(|known| known.at < failure.at) {
                    self.last_failure = Some(failure);
                    self.cooldown_until = cooldown_until.or(self.cooldown_until);
                }
            }
        }
    }
}
