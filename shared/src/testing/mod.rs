//! The ports in memory, for tests, and the rules that every implementation of a port must keep.
//!
//! The fakes honour the same conditional writes as the real adapters, and [`contract`] proves both:
//! one suite per port runs against the fake here and against a real service in the integration
//! tests, so that a fake can't drift from the truth. Fakes are handles: a clone shares the content,
//! and may fail by a plan of its own (see [`Faults`]).

mod agent_retention;
mod answers;
mod api_keys;
mod budgets;
mod circuits;
mod clock;
pub mod contract;
mod faults;
#[cfg(test)]
pub(crate) mod http;
mod jwt_issuer;
mod listening;
pub mod log_schema;
pub mod memory;
mod model;
mod queue;
mod request_counts;
mod retention;
pub mod samples;
mod secrets;
mod slots;
mod store;
mod task_caps;
mod tenant_retention;
mod tools;
mod usage;
mod xray;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use answers::MemoryAnswers;
pub use api_keys::{MemoryKeys, MemoryTenants};
pub use budgets::MemoryBudgets;
pub use circuits::MemoryCircuits;
pub use clock::{ManualClock, TokioClock};
pub use faults::{Call, Faults, Injected, When};
pub use jwt_issuer::MemoryIssuer;
pub use listening::{Captured, listen, listen_everywhere, listen_to};
pub use model::{Failed, Reply, ScriptedModel, failed_of};
pub use queue::{Delivery, MemoryQueue};
pub use request_counts::MemoryRequestCounts;
pub use secrets::MemorySecrets;
pub use slots::MemorySlots;
pub use store::MemoryStore;
pub use task_caps::SameCaps;
pub use tenant_retention::MemoryTenantRetention;
pub use tools::{ScriptedTools, ToolReply};
pub use usage::MemoryUsage;
pub use xray::XrayDaemon;

/// Locks although a test panicked under the lock: its own failure says more than a second one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
