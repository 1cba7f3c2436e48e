//! What tests against a local AWS need: its address, tables and queues of their own, and a count of the calls made.

mod call_counter;
pub mod calls;
mod local_aws;
pub mod platform;
pub mod unreliable;

pub use call_counter::CallCounter;
pub use local_aws::LocalAws;
pub use platform::Platform;
pub use unreliable::Unreliable;
