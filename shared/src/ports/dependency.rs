//! What the platform can't do without, as far as to know whether it is there.

use std::error::Error;

use async_trait::async_trait;

/// It gave no answer, or none that says that it can be used.
#[derive(Debug, thiserror::Error)]
#[error("a dependency does not answer")]
pub struct NoAnswer(#[source] pub Box<dyn Error + Send + Sync>);

/// A service outside that can be asked whether it is there.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// Asks for next to nothing, and changes nothing.
    async fn answer(&self) -> Result<(), NoAnswer>;
}
