//! The tool at the wire.

mod answers;
mod authority;
mod credentials;
mod echoes;
mod guard;
mod redirects;
mod stand_in;
mod tokens;
