//! What the clients do, over a provider on this machine.

mod acceptable;
mod anthropic;
mod compatible;
mod conformance;
mod deviations;
mod errors;
mod mutations;
pub(super) mod stand_in;
mod streams;
pub(super) mod transcripts;
