//! The failed attempts of one model call, as a layer that makes several attempts collects them.

use crate::domain::{FailedAttempt, ModelAnswer, Spend};
use crate::ports::ModelError;

/// The failed attempts so far, and what they cost.
#[derive(Debug, Default)]
pub(super) struct AttemptLog {
    attempts: Vec<FailedAttempt>,
    spend: Spend,
}

impl AttemptLog {
    /// Adds a failed call, with all that failed inside it.
    pub(super) fn add(&mut self, error: &ModelError) {
        self.attempts.extend(error.attempts());
        self.spend = self.spend.plus(error.spend);
    }

    /// The answer of a later attempt, with these attempts before it.
    pub(super) fn before_answer(self, answer: ModelAnswer) -> ModelAnswer {
        let spend = self.spend.plus(answer.spend);
        ModelAnswer {
            spend,
            failed: joined(self.attempts, &answer.failed),
            ..answer
        }
    }

    /// An answer that counted as the failed attempt at `place`, but is returned because all other
    /// attempts failed. Its cost is in the log already.
    pub(super) fn around_answer(mut self, answer: ModelAnswer, place: usize) -> ModelAnswer {
        if place < self.attempts.len() {
            self.attempts.remove(place);
        }
        ModelAnswer {
            spend: self.spend,
            failed: self.attempts,
            ..answer
        }
    }

    /// How many attempts failed so far.
    pub(super) const fn count(&self) -> usize {
        self.attempts.len()
    }

    /// The error, with these attempts before it.
    pub(super) fn before_error(self, error: ModelError) -> ModelError {
        let spend = self.spend.plus(error.spend);
        ModelError {
            spend,
            earlier: joined(self.attempts, &error.earlier),
            ..error
        }
    }
}

fn joined(mut first: Vec<FailedAttempt>, then: &[FailedAttempt]) -> Vec<FailedAttempt> {
    first.extend_from_slice(then);
    first
}
