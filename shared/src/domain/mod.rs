//! The platform's nouns and rules, without I/O and without async.
//!
//! A value that exists is valid: constructors refuse with [`Invalid`], and a task changes state only through the methods
//! of [`Task`]. Nothing here knows of HTTP, AWS or a vendor's format.

pub mod agent;
pub mod causes;
pub mod id;
pub mod invalid;
pub mod model;
pub mod outcome;
pub mod status;
pub mod step;
pub mod task;
pub mod tenant;
pub mod time;
pub mod usage;

pub use agent::{Agent, AgentConfig, AgentName, AgentVersion, Instructions, Limits};
pub use causes::Causes;
pub use id::{AgentId, TaskId, WorkerId};
pub use invalid::Invalid;
pub use model::{ModelAnswer, ModelRef, ModelRequest, Provider, StopReason};
pub use outcome::{Failure, FailureCode, Output, Upstream};
pub use status::TaskStatus;
pub use step::{Step, StepKind};
pub use task::{ClaimRefused, Lease, Overdue, Spent, Task, TaskInput, TaskState};
pub use tenant::TenantId;
pub use time::{Timestamp, whole_millis};
pub use usage::Usage;
