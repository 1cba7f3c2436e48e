//! What the platform needs from the outside, as small traits, and nothing about how it is had.
//!
//! Errors are named by what the caller can do about them. Each trait has an in-memory twin in
//! `testing`, and one suite of rules that both it and the real adapter pass.

pub mod agent_retention;
pub mod answers;
pub mod api_keys;
pub mod budgets;
pub mod circuits;
pub mod clock;
pub mod dependency;
pub mod jwt_issuer;
pub mod limit_owner;
pub mod model;
pub mod queue;
pub mod request_counts;
pub mod retention;
pub mod secrets;
pub mod slots;
pub mod store;
pub mod task_caps;
pub mod tenant_retention;
pub mod tools;
pub mod usage;

pub use agent_retention::{AgentRetention, ArchivedAgent, TaskScan};
pub use answers::{AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, CachedAnswer, ClaimState};
pub use api_keys::{KeyStore, ListedKey, SealedCredential, TenantStore};
pub use budgets::{Allowance, Budget, BudgetKey, Budgets, Reservation, Reserved, Settled};
pub use circuits::{Circuits, ModelState, Replaced};
pub use clock::Clock;
pub use dependency::{Dependency, NoAnswer};
pub use jwt_issuer::{JwtError, JwtIssuer};
pub use limit_owner::LimitOwner;
pub use model::{Model, ModelError, ModelErrorKind, OpenCircuit, Recovery};
pub use queue::{Backlog, MessageError, Outgoing, QueueError, TaskMessage, TaskQueue};
pub use request_counts::RequestCounts;
pub use retention::{Horizon, Purged, Retention};
pub use secrets::{Secret, SecretError, Secrets};
pub use slots::{Slot, Slots, Taken};
pub use store::{
    Addition, AgentOfTask, AgentStore, Claimed, Created, Deletion, INPUT_IN_RECORD, InlineUse,
    Journal, Kept, Page, PageRequest, StepsPage, StepsRequest, StoreError, TaskAgents, TaskDetails,
    TaskFilter, TaskOrder, TaskStore, TaskSummary, UnreadableAgent,
};
pub use task_caps::{CapsOfTask, TaskCaps};
pub use tenant_retention::{Pass, Remains, TenantRetention, WalkedFor, WalkedTasks, WalkedTenant};
pub use tools::{ToolOutput, ToolRequest, Tools};
pub use usage::{CheckPlace, UsageCheck, UsageStore};
