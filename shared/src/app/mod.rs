//! The use cases: what the platform does, in terms of the domain and the ports.
//!
//! Each is a small type that holds the ports it needs. Errors are decided and logged here, once; how they look over HTTP
//! or in a batch is the functions' business.

mod agents;
mod error;
mod outcome;
mod run;
mod submit;
mod sweep;

pub use agents::Agents;
pub use error::AppError;
pub use run::{Ran, RunError, Runner};
pub use submit::{IdempotencyKey, NewTask, Tasks};
pub use sweep::{Sweeper, Swept};
