//! Behaviour from outside, against a local AWS. `make test` starts one and runs these.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod agent_counts;
mod agents;
mod contract;
mod cost;
mod lost_answers;
mod model_calls;
mod versions;
