//! Whether the platform can work now: whether its dependencies answer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Dependency, NoAnswer};

/// How long a dependency may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How long a result is reused, so that frequent requests cost no more.
const REUSED_FOR: Duration = Duration::from_secs(5);

/// Checks whether dependencies answer.
pub struct Readiness {
    dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Check>>,
}

/// A dependency that can't be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name, with its article, such as "the state table".
    pub name: &'static str,
    /// What is wrong with it, as a predicate for the response, such as "does not answer".
    pub trouble: String,
}

/// The result of one check of all dependencies.
#[derive(Clone)]
struct Check {
    at: Timestamp,
    missing: Vec<Missing>,
}

impl Readiness {
    /// Checks these dependencies, each with its name and article.
    pub fn new(
        dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            dependencies,
            clock,
            last: Mutex::default(),
        }
    }

    /// The dependencies that can't be used. The result may be a few seconds old. Concurrent
    /// requests share one check.
    pub async fn missing(&self) -> Vec<Missing> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let found = match last
            .take()
            .filter(|check| check.at <= now && now.since(check.at) < REUSED_FOR)
        {
            Some(check) => check,
            None => Check {
                at: now,
                missing: self.check().await,
            },
        };
        last.insert(found).missing.clone()
    }

    async fn check(&self) -> Vec<Missing> {
        let checks = self.dependencies.iter().map(async |(name, dependency)| {
            let late = |late| Err(NoAnswer::Silent(Box::new(late)));
            let error = timeout(TIMEOUT, dependency.answer()).await.unwrap_or_else(late).err()?;
            tracing::warn!(dependency = name, error = %Causes(&error), "dependency does not answer");
            Some(Missing { name, trouble: error.to_string() })
        });
        // Collected first: a stream of borrowing futures is not `Send` for every lifetime.
        let checks: Vec<_> = checks.collect();
        join_all(checks).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::testing::{MemoryQueue, TokioClock};

    struct Silent;

    #[async_trait]
    impl Dependency for Silent {
        async fn answer(&self) -> Result<(), NoAnswer> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_dependency_is_missing_after_a_second_and_checked_once_for_all() {
        let queue = Arc::new(MemoryQueue::default());
        let dependencies: Vec<(_, Arc<dyn Dependency>)> = vec![
            ("the state table", Arc::new(Silent)),
            ("the task queue", queue),
        ];
        let readiness = Readiness::new(dependencies, Arc::new(TokioClock::default()));
        let begun = Instant::now();
        let both = tokio::join!(readiness.missing(), readiness.missing());
        let silent = vec![Missing {
            name: "the state table",
            trouble: "does not answer".to_owned(),
        }];
        assert_eq!(both, (silent.clone(), silent));
        assert_eq!(begun.elapsed(), TIMEOUT);
    }
}
