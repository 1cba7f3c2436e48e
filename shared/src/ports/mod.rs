//! What the platform needs from the outside, as small traits, and nothing about how it is had.
//!
//! Errors are named by what the caller can do about them. Each trait has an in-memory twin in `testing`, and one suite of
//! rules that both it and the real adapter pass.

pub mod clock;
pub mod model;
pub mod queue;
pub mod secrets;
pub mod store;

pub use clock::Clock;
pub use model::{Model, ModelError};
pub use queue::{MessageError, QueueError, TaskMessage, TaskQueue};
pub use secrets::{Secret, SecretError, Secrets};
pub use store::{
    AgentStore, Claimed, Created, Journal, Page, PageRequest, StoreError, TaskFilter, TaskStore, TaskSummary,
};
