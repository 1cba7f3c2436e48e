//! Whether the platform can do its work just now: whether what it depends on answers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Dependency, NoAnswer};

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a result is reused, so that frequent requests cost no more.
const STANDS_FOR: Duration = Duration::from_secs(5);

/// Looks whether dependencies answer.
pub struct Readiness {
    dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Look>>,
}

/// A dependency that can't be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name, with its article.
    pub name: &'static str,
    /// What is the matter with it, as a predicate that anyone may read.
    pub trouble: String,
}

/// What was found.
#[derive(Clone)]
struct Look {
    at: Timestamp,
    missing: Vec<Missing>,
}

impl Readiness {
    /// Looks at these, each with its name and that one's article.
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

    /// The dependencies that can't be used, as of the last few seconds. Concurrent requests share
    /// one look.
    pub async fn missing(&self) -> Vec<Missing> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let found = match last
            .take()
            .filter(|look| look.at <= now && now.since(look.at) < STANDS_FOR)
        {
            Some(look) => look,
            None => Look {
                at: now,
                missing: self.look().await,
            },
        };
        last.insert(found).missing.clone()
    }

    async fn look(&self) -> Vec<Missing> {
        let looks = self.dependencies.iter().map(async |(name, dependency)| {
            let late = |late| Err(NoAnswer::Silent(Box::new(late)));
            let error = timeout(PATIENCE, dependency.answer()).await.unwrap_or_else(late).err()?;
            tracing::warn!(dependency = name, error = %Causes(&error), "dependency does not answer");
            Some(Missing { name, trouble: error.to_string() })
        });
        // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
        let looks: Vec<_> = looks.collect();
        join_all(looks).await.into_iter().flatten().collect()
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
    async fn a_silent_dependency_is_missing_after_a_second_and_asked_once_for_all() {
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
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
