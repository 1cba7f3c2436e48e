//! The scopes as types, so that the signature of a handler says which scope its route needs.

use shared::domain::Scope;

/// A scope that a route needs.
pub(crate) trait Scoped: Send + Sync {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident)*) => {$(
        pub(crate) enum $name {}

        impl Scoped for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

scopes! { AgentsRead AgentsWrite TasksRead TasksSubmit DeadLetters Keys Operator }
