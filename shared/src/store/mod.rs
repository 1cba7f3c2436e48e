//! Agents, tasks and journals on DynamoDB, all in one table.
//!
//! The domain decides; a store here makes the decision durable with one conditional write. If the
//! condition fails, the same response returns the present record. So a lost race and a repeated
//! write whose response got lost are distinguished without another read. Every read of one record
//! is strongly consistent; only the lists on an index lag.

mod agent_counts;
mod agent_item;
mod agent_retention;
mod agent_store;
mod answer_item;
mod answers;
mod api_key_item;
mod api_keys;
mod blob;
mod budgets;
mod change_form;
mod circuit_item;
mod circuits;
pub mod client;
#[cfg(feature = "testing")]
pub mod decoding;
mod detail_items;
mod error;
mod golden;
mod health_item;
mod inline_agents;
mod items;
mod journal;
mod keys;
mod request_counts;
mod slots;
mod step_item;
mod table;
mod task_claim;
mod task_content;
mod task_details;
mod task_item;
mod task_list;
mod task_overdue;
mod task_retention;
mod task_store;
mod tenant_retention;
mod tenants;
mod usage;

pub use agent_store::DynamoAgentStore;
pub use answers::DynamoAnswerCache;
pub use api_keys::DynamoKeyStore;
pub use budgets::DynamoBudgets;
pub use circuits::DynamoCircuits;
pub use journal::DynamoJournal;
pub use request_counts::DynamoRequestCounts;
pub use slots::DynamoSlots;
pub use task_retention::DynamoRetention;
pub use task_store::DynamoTaskStore;
pub use tenants::DynamoTenantStore;
pub use usage::DynamoUsage;
