//! The use cases: what the platform does, in terms of the domain and the ports.
//!
//! Each is a small type that holds the ports it needs. Errors are decided and logged here, once;
//! how they look over HTTP or in a batch is the functions' business.

mod agent_purge;
mod agents;
mod answers;
mod change;
mod dead_letter;
mod dead_letters;
mod error;
mod history;
mod lifecycle;
mod lost;
mod model_failure;
mod outcome;
mod purge;
mod readiness;
mod reading;
mod run;
mod send;
mod span;
mod submit;
mod sweep;
mod texts;
mod waits;

pub use agent_purge::{AgentPurgeSummary, AgentPurger};
pub use agents::{AgentDraft, Agents};
pub use answers::ToolAnswer;
pub use dead_letter::{DeadLetterHandler, DeadLetterOutcome};
pub use error::AppError;
pub use history::HistoryPart;
pub use lifecycle::RetryFrom;
pub use purge::{PurgeSummary, Purger};
pub use readiness::{Missing, Readiness};
pub use reading::StepsPart;
pub use run::{Room, RunError, RunOutcome, Runner, TenantSlots, WorkTimes};
pub use submit::{IdempotencyKey, NewTask, Tasks, VersionChoice};
pub use sweep::{SweepSummary, Sweeper};
pub use waits::{Found, Waits};

pub use crate::policy::catalog::{Catalog, ListedModel, SamplingUse};
pub use crate::policy::price::{LongPrompt, Prices};
