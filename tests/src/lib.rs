//! What tests against a local AWS need: its address, tables and queues of their own, and a count of
//! the calls made.

mod call_counter;
pub mod calls;
pub mod deployment;
mod local_aws;
pub mod platform;
pub mod processes;
mod services;
pub mod stack;
pub mod telemetry;
pub mod unreliable;
pub mod unreliable_aws;

pub use call_counter::{CallCounter, Units};
pub use deployment::Deployment;
pub use local_aws::LocalAws;
pub use platform::Platform;
pub use unreliable::Unreliable;
pub use unreliable_aws::UnreliableAws;
