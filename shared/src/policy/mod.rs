//! How model calls are made to survive: one behaviour a file, each a [`Model`](crate::ports::Model)
//! around another.
//!
//! A layer knows nothing of its neighbours but the port, so that the stack can be written down in
//! one place. Each hands on and adds up what was spent and which attempts failed below it: nothing
//! that was paid is forgotten. What a call costs is [`price`]'s to say, from a table in a data
//! file, which models a new agent may have [`admission`]'s, and which schemas vendors take
//! `schemas`'s.

pub mod admission;
mod attempt_log;
pub mod backoff;
pub mod breaker;
pub mod cache_key;
pub mod cached;
mod cooldowns;
pub mod fallback;
pub mod metered;
pub(crate) mod models;
pub mod price;
pub mod retry;
pub mod retry_budget;
pub(crate) mod schemas;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings};
pub use cached::{CacheSettings, Cached};
pub use fallback::Fallback;
pub use metered::{DailyCaps, Metered};
pub use price::PriceTable;
pub use retry::Retry;
pub use retry_budget::RetryBudget;
