//! The tool at the wire.

mod answers;
mod guard;
mod redirects;
mod stand_in;
