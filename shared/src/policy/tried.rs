//! What a layer that asks more than once keeps of the attempts that failed.

use crate::domain::{FailedAttempt, ModelAnswer, Spend};
use crate::ports::{ModelError, ModelErrorKind};

/// The failed attempts so far, and what they cost.
#[derive(Debug, Default)]
pub(super) struct Tried {
    attempts: Vec<FailedAttempt>,
    spend: Spend,
}

impl Tried {
    /// Adds a failed call, with all that failed inside it.
    pub(super) fn add(&mut self, error: &ModelError) {
        self.attempts.extend(error.attempts());
        self.spend = self.spend.plus(error.spend);
    }

    /// The answer, with these attempts before it.
    pub(super) fn before_answer(self, answer: ModelAnswer) -> ModelAnswer {
        let spend = self.spend.plus(answer.spend);
        ModelAnswer {
            spend,
            failed: joined(self.attempts, &answer.failed),
            ..answer
        }
    }

    /// An answer that was tried as the attempt at `place`, and is the best that there is after all;
    /// the others failed.
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

    /// How many attempts there were.
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

/// Turns a failure into advice to come back later, and is its source; as an attempt it is among the
/// earlier ones from then on.
pub(super) fn parked(error: ModelError, advice: ModelErrorKind) -> ModelError {
    let earlier = error.attempts();
    if error.kind.is_advice() {
        return ModelError {
            kind: advice,
            earlier,
            ..error
        };
    }
    let (model, status, request_id, spend) = (
        error.model.clone(),
        error.status,
        error.request_id.clone(),
        error.spend,
    );
    let said = error.said.clone();
    let source = Some(error.into());
    ModelError {
        status,
        request_id,
        said,
        spend,
        earlier,
        source,
        ..ModelError::new(model, advice)
    }
}

fn joined(mut first: Vec<FailedAttempt>, then: &[FailedAttempt]) -> Vec<FailedAttempt> {
    first.extend_from_slice(then);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailureCode, Wait, WaitReason};
    use crate::testing::samples;

    #[test]
    fn what_went_wrong_is_kept_behind_advice_for_whoever_hears_of_it() {
        let advice = |reason| {
            ModelErrorKind::Park(Wait {
                until: samples::after(9),
                reason,
            })
        };
        let limited = ModelError {
            status: Some(429),
            ..ModelError::new(samples::model(), ModelErrorKind::RateLimited)
        };
        let once = parked(limited, advice(WaitReason::RateLimit));
        let twice = parked(once, advice(WaitReason::RetryAfter));
        for error in [twice.shared(), twice] {
            assert_eq!(
                (&error.kind, error.status),
                (&advice(WaitReason::RetryAfter), Some(429))
            );
            let trouble = error.trouble();
            assert_eq!(
                (&trouble.kind, trouble.status),
                (&ModelErrorKind::RateLimited, Some(429))
            );
            let codes: Vec<FailureCode> = error
                .attempts()
                .iter()
                .map(|attempt| attempt.code)
                .collect();
            assert_eq!(codes, [FailureCode::ModelRateLimited]);
        }
    }
}
