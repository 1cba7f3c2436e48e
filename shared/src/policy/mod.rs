//! Rules of the model layer that need no vendor and no store.
//!
//! What a call costs is [`price`]'s to say, from a table in a data file.

pub mod price;
