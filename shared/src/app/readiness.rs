//! Whether the platform can do its work just now: whether what it depends on answers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Dependency};

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was found stands, so that whoever asks often costs no more.
const STANDS_FOR: Duration = Duration::from_secs(5);

/// Looks whether dependencies answer.
pub struct Readiness {
    dependencies: [(&'static str, Arc<dyn Dependency>); 2],
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Look>>,
}

/// What was found.
#[derive(Clone)]
struct Look {
    at: Timestamp,
    missing: Vec<&'static str>,
}

impl Readiness {
    /// Looks at these two.
    pub fn new(state_table: Arc<dyn Dependency>, task_queue: Arc<dyn Dependency>, clock: Arc<dyn Clock>) -> Self {
        let dependencies = [("the state table", state_table), ("the task queue", task_queue)];
        Self { dependencies, clock, last: Mutex::default() }
    }

    /// The names of those that give no answer, as of the last few seconds. Those who ask at the same time share one look.
    pub async fn missing(&self) -> Vec<&'static str> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let found = match last.take().filter(|look| look.at <= now && now.since(look.at) < STANDS_FOR) {
            Some(look) => look,
            None => Look { at: now, missing: self.look().await },
        };
        last.insert(found).missing.clone()
    }

    async fn look(&self) -> Vec<&'static str> {
        let looks = self.dependencies.iter().map(async |(name, dependency)| {
            let error = match timeout(PATIENCE, dependency.answer()).await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => Causes(&error).to_string(),
                Err(late) => late.to_string(),
            };
            tracing::warn!(dependency = name, error, "a dependency does not answer");
            Some(*name)
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
    use crate::ports::NoAnswer;
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
        let readiness = Readiness::new(Arc::new(Silent), queue, Arc::new(TokioClock::default()));
        let begun = Instant::now();
        let both = tokio::join!(readiness.missing(), readiness.missing());
        assert_eq!(both, (vec!["the state table"], vec!["the state table"]));
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
