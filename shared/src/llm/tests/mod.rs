//! What the clients do, over a provider on this machine.

mod acceptable;
mod anthropic;
mod compatible;
mod conformance;
mod deviations;
mod errors;
mod mutations;
mod schemas;
pub(super) mod stand_in;
mod statuses;
mod stream_ends;
mod streams;
pub(super) mod transcripts;
