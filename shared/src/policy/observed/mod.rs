//! Notes how the calls of each model go, for `GET /v1/providers`.
//!
//! The notes are a sample: each process stores at most one on a model's answers a minute, and one
//! on its failures every ten seconds. A note on answers sums up all of them since the last note, a
//! few minutes at most. A failed call whose cause is the request says nothing about the provider,
//! so it is not noted; neither is a call that was not made. If the store fails, the note is lost,
//! and the call's result is returned all the same.
//!
//! The layer is around the metering, so that its write is in no latency. Therefore, the time to
//! reserve a cap on cost is in the latency that it notes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::price::PriceTable;
use crate::domain::{
    Causes, HealthKey, HealthNote, LastFailure, Latency, ModelAnswer, ModelRef, ModelRequest,
    Timestamp, whole_millis,
};
use crate::metric;
use crate::ports::{Circuits, Clock, Model, ModelError, StoreError};

/// How often a process notes a model's answers.
const ANSWERS_EVERY: Duration = Duration::from_mins(1);

/// How often a process notes a model's failures.
const FAILURES_EVERY: Duration = Duration::from_secs(10);

/// For how long an answer counts in a later note.
const RECENT: Duration = Duration::from_mins(5);

/// How long the store may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Notes how the calls of each model go.
pub struct Observed {
    inner: Arc<dyn Model>,
    prices: &'static PriceTable,
    circuits: Arc<dyn Circuits>,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<HealthKey, Seen>>,
}

/// What this process has seen and noted of a model.
#[derive(Debug, Default)]
struct Seen {
    /// The answers since the last note.
    answers: Option<Answers>,
    answers_noted: Option<Timestamp>,
    failures_noted: Option<Timestamp>,
    /// The end of the longest wait that was noted.
    cooldown_noted: Option<Timestamp>,
}

/// How long some answers took.
#[derive(Debug, Clone, Copy)]
struct Answers {
    since: Timestamp,
    count: u32,
    total: Duration,
    longest: Duration,
}

impl Observed {
    /// Notes how calls to `inner` go. The table of prices says which models have a health of their
    /// own.
    pub fn new(
        inner: Arc<dyn Model>,
        prices: &'static PriceTable,
        circuits: Arc<dyn Circuits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner,
            prices,
            circuits,
            clock,
            seen: Mutex::default(),
        }
    }

    fn key(&self, model: &ModelRef) -> HealthKey {
        if self.prices.names(model) {
            HealthKey::Model(model.clone())
        } else {
            HealthKey::OtherModels(model.provider())
        }
    }

    /// Counts the result of a call, and returns the note that is due, if there is one.
    fn count(
        &self,
        key: &HealthKey,
        outcome: &Result<ModelAnswer, ModelError>,
        took: Duration,
    ) -> Option<HealthNote> {
        let now = self.clock.now();
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(key.clone()).or_default();
        match outcome {
            Ok(_) => seen.answered(took, now).map(HealthNote::Answered),
            Err(error) if error.kind.is_of_provider() => seen.failed(error, now),
            Err(_) => None,
        }
    }

    async fn store(&self, key: &HealthKey, note: HealthNote) {
        let storing = self.circuits.note(key, note, self.clock.now());
        let late = |elapsed| Err(StoreError::Unavailable(Box::new(elapsed)));
        let stored = tokio::time::timeout(PATIENCE, storing).await;
        if let Err(error) = stored.unwrap_or_else(late) {
            metric::EPHEMERAL_FAILURES.add([], 1);
            tracing::warn!(error = %Causes(&error), "health of a model not noted");
        }
    }
}

impl Seen {
    /// Counts an answer. Returns the latency to be noted, if a note is due.
    fn answered(&mut self, took: Duration, now: Timestamp) -> Option<Latency> {
        let recent = self.answers.filter(|it| is_within(RECENT, it.since, now));
        let before = recent.unwrap_or(Answers {
            since: now,
            count: 0,
            total: Duration::ZERO,
            longest: Duration::ZERO,
        });
        let answers = Answers {
            since: before.since,
            count: before.count.saturating_add(1),
            total: before.total.saturating_add(took),
            longest: before.longest.max(took),
        };
        if self
            .answers_noted
            .is_some_and(|at| is_within(ANSWERS_EVERY, at, now))
        {
            self.answers = Some(answers);
            return None;
        }
        (self.answers, self.answers_noted) = (None, Some(now));
        Some(Latency {
            at: now,
            mean_ms: whole_millis(answers.total / answers.count),
            longest_ms: whole_millis(answers.longest),
        })
    }

    /// The note on a failed call, if one is due. A long wait is noted in any case, because the
    /// process makes no other call before it is over.
    fn failed(&mut self, error: &ModelError, now: Timestamp) -> Option<HealthNote> {
        let wait = error.retry_after.map(|wait| now.plus(wait));
        let is_long = wait.is_some_and(|until| {
            let is_new = self.cooldown_noted.is_none_or(|noted| noted <= now);
            is_new && until >= now.plus(FAILURES_EVERY)
        });
        if !is_long
            && self
                .failures_noted
                .is_some_and(|at| is_within(FAILURES_EVERY, at, now))
        {
            return None;
        }
        self.failures_noted = Some(now);
        self.cooldown_noted = wait.max(self.cooldown_noted);
        Some(HealthNote::Failed {
            failure: LastFailure {
                at: now,
                code: error.kind.code(),
                status: error.status,
            },
            cooldown_until: wait,
        })
    }
}

#[async_trait]
impl Model for Observed {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let key = self.key(request.model());
        let begun = Instant::now();
        let outcome = self.inner.call(request).await;
        if let Some(note) = self.count(&key, &outcome, begun.elapsed()) {
            self.store(&key, note).await;
        }
        outcome
    }
}

/// Whether `at` was less than `time` before `now`. A moment in the future is none: the clock was
/// set back.
fn is_within(time: Duration, at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < time
}

#[cfg(test)]
mod tests;
