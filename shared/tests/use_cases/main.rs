//! The use cases over ports in memory: what holds when things happen twice, at once, late, half or
//! not at all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers may panic like the test itself"
)]

mod agent_archive;
mod agent_cache;
mod agent_changes;
mod agent_switch;
mod attended;
mod changes;
mod crash;
mod deletion;
mod fairness;
mod histories;
mod inline_agents;
mod keys;
mod late;
mod lines;
mod memory;
mod park;
mod play;
mod providers;
mod purge;
mod reading;
mod run;
mod steps;
mod submit;
mod suspended;
mod sweep;
mod telemetry;
mod tenant_deletion;
mod usage;
mod waits;
mod world;
