//! Whole tasks against the deployed template: HTTP in, queue drained, HTTP out. `make test` deploys
//! it and runs these.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod bad_input;
mod batches;
mod credentials;
mod jwts;
mod models;
mod resilience;
mod stacks;
mod steps;
mod tasks;
mod traces;
