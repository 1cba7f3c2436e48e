//! The layers that make model calls reliable: one behaviour a file, each a
//! [`Model`](crate::ports::Model) around another.
//!
//! A layer knows only the port, not its neighbours, so one place lists the whole stack. Each layer
//! adds the cost and the failed attempts of the layers below it to its own result, so no cost is
//! lost. Beside the layers, [`price`] says what a call costs, [`admission`] which models a new
//! agent may have, and `schemas` which schemas providers accept.

pub mod admission;
mod attempt_log;
pub mod backoff;
pub mod breaker;
pub mod cache_key;
pub mod cached;
pub mod catalog;
mod cooldowns;
pub mod fallback;
pub mod metered;
pub(crate) mod models;
pub mod observed;
pub mod price;
pub mod retry;
pub mod retry_budget;
pub(crate) mod schemas;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings};
pub use cached::{CacheSettings, Cached};
pub use fallback::Fallback;
pub use metered::{CostCaps, DailyCaps, Metered};
pub use observed::Observed;
pub use price::PriceTable;
pub use retry::Retry;
pub use retry_budget::RetryBudget;
