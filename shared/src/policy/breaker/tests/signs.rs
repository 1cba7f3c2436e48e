//! What each failure says about its provider.

use super::super::signal;
use super::super::view::CallSignal::{self, Limited, Unclear};
use super::{BUSY, DOWN};
use crate::domain::{BudgetScope, CircuitCause, Spend, Usage};
use crate::ports::{ModelError, ModelErrorKind};
use crate::testing::samples;

/// What is known of the answer: its status, and the tokens of it that came.
const ANSWERS: [(Option<u16>, u64); 6] = [
    (None, 0),
    (None, 2),
    (Some(200), 0),
    (Some(200), 2),
    (Some(404), 0),
    (Some(503), 0),
];

#[track_caller]
fn check(kind: &ModelErrorKind, expected: [CallSignal; 6]) {
    let signs = ANSWERS.map(|(status, output_tokens)| {
        let usage = Usage {
            input_tokens: 3,
            output_tokens,
            ..Usage::default()
        };
        let spend = Spend {
            attempts: 1,
            usage,
            ..Spend::default()
        };
        signal(&ModelError {
            status,
            spend,
            ..ModelError::new(samples::model(), kind.clone())
        })
    });
    assert_eq!(signs, expected, "{kind:?}");
}

#[test]
fn only_a_provider_that_fails_stays_silent_or_cannot_be_read_is_down() {
    let (down, bad) = (
        CallSignal::Down(CircuitCause::Outage),
        CallSignal::Down(CircuitCause::BadAnswer),
    );
    check(&DOWN, [down, down, down, down, Unclear, down]);
    check(
        &ModelErrorKind::Timeout,
        [down, Unclear, down, Unclear, Unclear, down],
    );
    check(
        &ModelErrorKind::BadAnswer,
        [bad, bad, bad, bad, Unclear, bad],
    );
    check(&BUSY, [Limited(None); 6]);
    let unclear = [
        ModelErrorKind::CircuitOpen,
        ModelErrorKind::OutOfTime,
        ModelErrorKind::InFlight,
        ModelErrorKind::BudgetReserved,
        ModelErrorKind::QuotaExhausted,
        ModelErrorKind::Authentication,
        ModelErrorKind::KeyMissing,
        ModelErrorKind::KeyUnavailable,
        ModelErrorKind::Rejected,
        ModelErrorKind::Refused,
        ModelErrorKind::ContextTooLong,
        ModelErrorKind::BudgetExhausted(BudgetScope::Task),
        ModelErrorKind::Unpriced,
    ];
    for kind in unclear {
        check(&kind, [Unclear; 6]);
    }
}
