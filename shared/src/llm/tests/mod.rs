//! What the clients do, over a provider on this machine.

mod anthropic;
mod conformance;
pub(super) mod stand_in;
mod streams;
pub(super) mod transcripts;
