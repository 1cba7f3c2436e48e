//! The use cases: what the platform does, in terms of the domain and the ports.
//!
//! Each is a small type that holds the ports it needs. A use case decides about an error and logs
//! it once. The functions translate errors to HTTP responses and batch results.

mod agent_draft;
mod agent_purge;
mod agents;
mod answers;
mod change;
mod dead_letter;
mod dead_letters;
mod error;
mod history;
mod inline_agents;
mod keys;
mod known_tenants;
mod lifecycle;
mod lost;
mod many;
mod model_failure;
mod outcome;
mod providers;
mod purge;
mod rates;
mod readiness;
mod reading;
mod run;
mod send;
mod span;
mod submit;
mod submit_many;
mod sweep;
mod tenant_gate;
mod tenant_walk;
mod tenants;
mod texts;
mod usage;
mod usage_check;
mod waits;

pub use agent_draft::AgentDraft;
pub use agent_purge::{AgentPurgeSummary, AgentPurger};
pub use agents::Agents;
pub use answers::ToolAnswer;
pub use dead_letter::{DeadLetterHandler, DeadLetterOutcome};
pub use error::{AppError, TenantRefused};
pub use history::HistoryPart;
pub use keys::{Access, JwtCheck, KeyChanges, KeyCheck, KeyPorts, Keys, PresentTenants, Refused};
pub use known_tenants::KnownTenants;
pub use lifecycle::RetryFrom;
pub use many::each_in_time;
pub use providers::{ProviderReport, ProviderReports, ProvidersReport};
pub use purge::{PurgeSummary, Purger};
pub use rates::{RateLeft, RequestRates};
pub use readiness::{Missing, Readiness};
pub use reading::StepsPart;
pub use run::{Room, RunError, RunOutcome, Runner, TaskSlots, WorkTimes};
pub use submit::{IdempotencyKey, NewTask, Tasks, VersionChoice};
pub use sweep::{SweepSummary, Sweeper};
pub use tenant_gate::TenantGate;
pub use tenant_walk::{TenantWalkSummary, TenantWalker};
pub use tenants::{RenewedSeals, TenantChanges, Tenants};
pub use usage::{UsageFilter, UsageGroup, UsageGrouping, UsageReport, UsageReports};
pub use usage_check::{UsageCheckSummary, UsageChecker};
pub use waits::{Found, Waits};

pub use crate::policy::catalog::{Catalog, ListedModel, SamplingUse};
pub use crate::policy::price::{LongPrompt, Prices};
