//! Tests of `fallback`.

use std::time::Duration;

mod properties;

use super::super::{Backoff, Retry, RetryBudget};
use super::*;
use crate::domain::{
    CircuitCause, Deadline, FailureCode, ModelChain, Provider, Spend, Timestamp, WaitReason,
};
use crate::testing::samples::{after, answer, model_request};
use crate::testing::{Failed, Reply, ScriptedModel, TokioClock, failed_of};

const DOWN: ModelErrorKind = ModelErrorKind::Unavailable;

fn names(count: usize) -> Vec<ModelRef> {
    let providers = [
        Provider::Anthropic,
        Provider::OpenAi,
        Provider::OpenAiCompatible,
    ];
    let named = providers.into_iter().cycle().enumerate().take(count);
    named
        .map(|(number, provider)| ModelRef::new(provider, format!("m{number}")).unwrap())
        .collect()
}

/// A request to that many models.
fn to_chain(count: usize) -> ModelRequest {
    let chain = ModelChain::new(names(count).into_iter().map(Into::into).collect()).unwrap();
    ModelRequest {
        chain,
        ..model_request("hello")
    }
}

const fn later(kind: ModelErrorKind, until: Timestamp, reason: WaitReason) -> Failed {
    (kind, Some(Recovery::at(Wait { until, reason })))
}

fn open(seconds: u64) -> Failed {
    let kind = ModelErrorKind::CircuitOpen;
    later(kind, after(seconds), WaitReason::Breaker)
}

fn limited(seconds: u64) -> Failed {
    let kind = ModelErrorKind::RateLimited;
    later(kind, after(seconds), WaitReason::RateLimit)
}

async fn call_three(
    failures: impl IntoIterator<Item = Failed>,
) -> (Result<ModelAnswer, ModelError>, usize) {
    let model = Arc::new(ScriptedModel::new(failures.into_iter().map(Reply::from)));
    let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
    let outcome = Fallback::new(inner).call(&to_chain(3)).await;
    let order: Vec<_> = model
        .requests()
        .iter()
        .map(|request| request.model().clone())
        .collect();
    assert_eq!(order, names(order.len()));
    assert!(
        model
            .requests()
            .iter()
            .all(|request| request.chain.iter().len() == 1)
    );
    (outcome, order.len())
}

#[tokio::test]
async fn the_first_model_that_answers_serves() {
    let (outcome, calls) = call_three([]).await;
    assert_eq!((calls, outcome.unwrap().model), (1, names(1)[0].clone()));
    let (outcome, _) = call_three([(DOWN, None), open(9)]).await;
    let answer = outcome.unwrap();
    assert_eq!(answer.model, names(3)[2]);
    let failed: Vec<_> = answer
        .failed
        .iter()
        .map(|failed| (failed.model.name(), failed.code))
        .collect();
    assert_eq!(
        failed,
        [
            ("m0", FailureCode::ModelUnavailable),
            ("m1", FailureCode::ModelCircuitOpen)
        ]
    );
    assert_eq!(answer.spend.attempts, 3);
}

#[tokio::test]
async fn only_an_outage_leads_on() {
    let outages = [
        (DOWN, None),
        (ModelErrorKind::Timeout, None),
        (ModelErrorKind::RateLimited, None),
        (ModelErrorKind::KeyUnavailable, None),
        (ModelErrorKind::BadAnswer, None),
        open(9),
        limited(9),
    ];
    for outage in outages {
        assert_eq!(
            call_three([outage.clone()]).await.0.unwrap().model,
            names(2)[1],
            "{outage:?}"
        );
    }
    let finals = [
        (ModelErrorKind::QuotaExhausted, None),
        (ModelErrorKind::Authentication, None),
        (ModelErrorKind::KeyMissing, None),
        (ModelErrorKind::Rejected, None),
        (ModelErrorKind::Refused, None),
        (ModelErrorKind::ContextTooLong, None),
        (
            ModelErrorKind::BudgetExhausted(crate::domain::BudgetScope::Tenant),
            None,
        ),
        (ModelErrorKind::Unpriced, None),
        later(ModelErrorKind::BudgetReserved, after(9), WaitReason::Budget),
    ];
    for failed in finals {
        let (outcome, calls) = call_three([(DOWN, None), failed.clone()]).await;
        let error = outcome.unwrap_err();
        let attempts = if failed.0.is_attempt() { 2 } else { 1 };
        assert_eq!(
            (calls, error.attempts().len(), error.spend.attempts),
            (2, attempts, 2),
            "{failed:?}"
        );
        assert_eq!(failed_of(&error), failed);
        assert_eq!(error.model, names(2)[1]);
    }
}

#[tokio::test]
async fn an_answer_cut_before_its_first_word_falls_back() {
    let cut = |text: &str| ModelAnswer {
        stop_reason: StopReason::MaxTokens,
        ..answer(text)
    };
    for (first, models, calls, text) in [
        (cut(""), 2, 2, "said"),
        (cut(" "), 2, 2, "said"),
        (cut(""), 1, 1, ""),
        (cut("begun"), 2, 1, "begun"),
        (
            ModelAnswer {
                content: cut("").content,
                ..answer("")
            },
            2,
            1,
            "",
        ),
    ] {
        let model = Arc::new(ScriptedModel::new([
            Reply::Answer(first),
            Reply::Answer(answer("said")),
        ]));
        let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
        let answer = Fallback::new(inner).call(&to_chain(models)).await.unwrap();
        assert_eq!(
            (model.requests().len(), answer.text().as_str()),
            (calls, text)
        );
        assert_eq!(answer.failed.len(), calls - 1);
        assert_eq!(
            answer.spend.attempts as usize, calls,
            "what is paid for nothing is counted"
        );
    }
}

#[tokio::test]
async fn an_answer_cut_before_its_first_word_is_the_last_resort() {
    for last in [(DOWN, None), (ModelErrorKind::Rejected, None), limited(9)] {
        let cut = ModelAnswer {
            stop_reason: StopReason::MaxTokens,
            ..answer("")
        };
        let script = [
            Reply::Fail(DOWN),
            Reply::Answer(cut),
            Reply::from(last.clone()),
        ];
        let fallback = Fallback::new(Arc::new(ScriptedModel::new(script)));
        let answer = fallback.call(&to_chain(3)).await.unwrap();
        assert_eq!(
            (answer.stop_reason, answer.text()),
            (StopReason::MaxTokens, String::new())
        );
        let failed: Vec<_> = answer.failed.iter().map(|failed| failed.code).collect();
        assert_eq!(failed, [FailureCode::ModelUnavailable, last.0.code()]);
        assert_eq!(answer.spend.attempts, 3);
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn when_all_are_out_the_earliest_return_comes_out() {
    let rushed = |seconds| {
        let kind = ModelErrorKind::OutOfTime;
        later(kind, after(seconds), WaitReason::OutOfTime)
    };
    let at_most = |kind: &ModelErrorKind, seconds, reason| {
        let wait = Wait {
            until: after(seconds),
            reason,
        };
        (kind.clone(), Some(Recovery::by(wait)))
    };
    let down = (DOWN, None);
    let (busy, shut) = (ModelErrorKind::RateLimited, ModelErrorKind::CircuitOpen);
    let timeout = (ModelErrorKind::Timeout, None);
    let cases = [
        ([down.clone(), down.clone(), timeout.clone()], timeout, 3),
        (
            [open(9), down.clone(), down.clone()],
            at_most(&DOWN, 9, WaitReason::Breaker),
            3,
        ),
        (
            [down.clone(), down.clone(), open(9)],
            at_most(&shut, 9, WaitReason::Breaker),
            3,
        ),
        (
            [open(9), limited(8), down.clone()],
            at_most(&DOWN, 8, WaitReason::RateLimit),
            3,
        ),
        (
            [down.clone(), limited(8), limited(9)],
            at_most(&busy, 8, WaitReason::RateLimit),
            3,
        ),
        (
            [limited(9), open(8), limited(9)],
            later(busy.clone(), after(8), WaitReason::Breaker),
            3,
        ),
        (
            [limited(7), limited(9), open(8)],
            later(shut, after(7), WaitReason::RateLimit),
            3,
        ),
        (
            [limited(7), rushed(9), limited(8)],
            later(busy.clone(), after(7), WaitReason::OutOfTime),
            2,
        ),
        (
            [rushed(7), limited(9), down],
            at_most(&DOWN, 7, WaitReason::OutOfTime),
            2,
        ),
        (
            [
                at_most(&busy, 7, WaitReason::RateLimit),
                limited(9),
                limited(9),
            ],
            at_most(&busy, 7, WaitReason::RateLimit),
            3,
        ),
    ];
    for (failures, expected, attempts) in cases {
        let (outcome, calls) = call_three(failures.clone()).await;
        let error = outcome.unwrap_err();
        assert_eq!(
            (calls, error.attempts().len(), error.spend.attempts),
            (3, attempts, 3),
            "{failures:?}"
        );
        assert_eq!(failed_of(&error), expected, "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_in_a_cooldown_is_skipped_until_its_end() {
    let limited = Reply::FailWith {
        kind: ModelErrorKind::RateLimited,
        status: Some(429),
        should_retry: None,
        retry_after: Some(Duration::from_mins(1)),
        spend: Spend {
            attempts: 1,
            ..Spend::default()
        },
    };
    let model = Arc::new(ScriptedModel::new([limited]));
    let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
    let retry = Retry::new(
        inner,
        RetryBudget::default(),
        Backoff::Steady,
        Arc::new(TokioClock::default()),
    );
    let fallback = Fallback::new(Arc::new(retry));
    let step = async || {
        let request = ModelRequest {
            deadline: Deadline::at(after(120)),
            ..to_chain(2)
        };
        let answer = fallback.call(&request).await.unwrap();
        let failed: Vec<_> = answer
            .failed
            .iter()
            .map(|failed| (failed.code, failed.status))
            .collect();
        (answer.model.name().to_owned(), failed)
    };
    let code = FailureCode::ModelRateLimited;
    assert_eq!(step().await, ("m1".to_owned(), vec![(code, Some(429))]));
    assert_eq!(step().await, ("m1".to_owned(), vec![(code, None)]));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(step().await, ("m0".to_owned(), vec![]));
    let outcome: Vec<_> = model
        .requests()
        .iter()
        .map(|request| request.model().name().to_owned())
        .collect();
    assert_eq!(outcome, ["m0", "m1", "m1", "m0"]);
}

#[tokio::test]
async fn a_model_that_forbids_another_try_does_not_speak_for_the_others() {
    let last_word = || Reply::FailWith {
        kind: DOWN,
        status: Some(503),
        should_retry: Some(false),
        retry_after: None,
        spend: Spend {
            attempts: 1,
            ..Spend::default()
        },
    };
    let (down, limited) = ((DOWN, None), limited(9));
    let then_down = (DOWN, limited.1);
    let cases = [
        ([Reply::Fail(DOWN), last_word()], (down.clone(), None)),
        ([last_word(), Reply::Fail(DOWN)], (down.clone(), None)),
        ([last_word(), last_word()], (down, Some(false))),
        (
            [last_word(), limited.clone().into()],
            (limited.clone(), None),
        ),
        ([limited.into(), last_word()], (then_down, None)),
    ];
    for (script, expected) in cases {
        let fallback = Fallback::new(Arc::new(ScriptedModel::new(script.clone())));
        let error = fallback.call(&to_chain(2)).await.unwrap_err();
        let told = (failed_of(&error), error.should_retry);
        assert_eq!(told, expected, "{script:?}");
    }
}

#[test]
fn of_several_open_circuits_the_first_to_admit_calls_comes_out() {
    let refused = |name: &ModelRef, seconds| ModelError {
        circuit: Some(Box::new(OpenCircuit {
            model: name.clone(),
            cause: CircuitCause::Outage,
            until: after(seconds),
        })),
        ..ModelError::new(name.clone(), ModelErrorKind::CircuitOpen)
    };
    let models = names(3);
    let mut times = RecoveryTimes::default();
    times.add(&refused(&models[0], 90));
    times.add(&refused(&models[1], 30));
    times.add(&ModelError::new(models[2].clone(), DOWN));
    let last = times.all_out(ModelError::new(models[2].clone(), DOWN));
    let circuit = last.circuit.unwrap();
    assert_eq!((&circuit.model, circuit.until), (&models[1], after(30)));
}
