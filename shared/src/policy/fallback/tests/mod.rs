//! Tests of `fallback`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Backoff, Retry, RetryBudget};
use super::*;
use crate::domain::{
    Cost, Deadline, FailedAttempt, FailureCode, ModelChain, Provider, RetryRules, Spend, Timestamp,
    WaitReason,
};
use crate::ports::Clock;
use crate::testing::samples::{START, after, answer, question};
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

/// A question to that many models.
fn to_chain(count: usize) -> ModelRequest {
    let chain = ModelChain::new(names(count).into_iter().map(Into::into).collect()).unwrap();
    ModelRequest {
        chain,
        ..question("hello")
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

async fn ask_three(
    failures: impl IntoIterator<Item = Failed>,
) -> (Result<ModelAnswer, ModelError>, usize) {
    let model = Arc::new(ScriptedModel::new(failures.into_iter().map(Reply::from)));
    let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
    let asked = Fallback::new(inner).ask(&to_chain(3)).await;
    let order: Vec<_> = model
        .asked()
        .iter()
        .map(|request| request.model().clone())
        .collect();
    assert_eq!(order, names(order.len()));
    assert!(
        model
            .asked()
            .iter()
            .all(|request| request.chain.iter().len() == 1)
    );
    (asked, order.len())
}

#[tokio::test]
async fn the_first_model_that_answers_serves() {
    let (asked, calls) = ask_three([]).await;
    assert_eq!((calls, asked.unwrap().model), (1, names(1)[0].clone()));
    let (asked, _) = ask_three([(DOWN, None), open(9)]).await;
    let answer = asked.unwrap();
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
            ask_three([outage.clone()]).await.0.unwrap().model,
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
        let (asked, calls) = ask_three([(DOWN, None), failed.clone()]).await;
        let error = asked.unwrap_err();
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
async fn an_answer_that_is_cut_before_its_first_word_leads_on_while_there_is_another_model() {
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
        let answer = Fallback::new(inner).ask(&to_chain(models)).await.unwrap();
        assert_eq!((model.asked().len(), answer.text().as_str()), (calls, text));
        assert_eq!(answer.failed.len(), calls - 1);
        assert_eq!(
            answer.spend.attempts as usize, calls,
            "what is paid for nothing is counted"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_before_its_first_word_is_the_outcome_if_no_other_model_answers() {
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
        let answer = fallback.ask(&to_chain(3)).await.unwrap();
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
        let (asked, calls) = ask_three(failures.clone()).await;
        let error = asked.unwrap_err();
        assert_eq!(
            (calls, error.attempts().len(), error.spend.attempts),
            (3, attempts, 3),
            "{failures:?}"
        );
        assert_eq!(failed_of(&error), expected, "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_asked_for_a_pause_is_passed_over_until_it_is_over() {
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
        let answer = fallback.ask(&request).await.unwrap();
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
    let asked: Vec<_> = model
        .asked()
        .iter()
        .map(|request| request.model().name().to_owned())
        .collect();
    assert_eq!(asked, ["m0", "m1", "m1", "m0"]);
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
        let error = fallback.ask(&to_chain(2)).await.unwrap_err();
        let told = (failed_of(&error), error.should_retry);
        assert_eq!(told, expected, "{script:?}");
    }
}

/// What one call does: how long it takes, what comes of it, and the wait that it names.
type Act = (u64, u8, u64);

/// A call as the models saw it.
#[derive(Debug, Clone)]
struct Seen {
    model: ModelRef,
    begun: Timestamp,
    /// The failed attempt that the caller must hear of.
    failed: Option<FailedAttempt>,
    /// What it said about when to come back.
    not_before: Option<Timestamp>,
    spend: Spend,
}

/// Models that act by a list, over and over.
struct Troubled {
    clock: TokioClock,
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
}

/// How a call of this sort fails, if it does, and the moment before which no other is worth it.
fn outcome(
    what: u8,
    in_time: bool,
    until: Timestamp,
) -> (Option<ModelErrorKind>, Option<Timestamp>) {
    match what {
        _ if !in_time => (Some(ModelErrorKind::Timeout), None),
        0 => (None, None),
        1 | 2 => (Some(DOWN), None),
        3 => (Some(DOWN), Some(until)),
        4 | 5 => (Some(ModelErrorKind::RateLimited), Some(until)),
        6 => (Some(ModelErrorKind::CircuitOpen), Some(until)),
        7 => (Some(ModelErrorKind::InFlight), Some(until)),
        _ => (Some(ModelErrorKind::Rejected), None),
    }
}

#[async_trait]
impl Model for Troubled {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let begun = self.clock.now();
        let (takes_ms, what, named_ms) = {
            let mut acts = self.acts.lock().unwrap();
            acts.rotate_left(1);
            *acts.back().unwrap()
        };
        let (takes, named) = (
            Duration::from_millis(takes_ms),
            Duration::from_millis(named_ms),
        );
        let in_time = request.deadline.allows(takes, begun);
        tokio::time::sleep(takes.min(request.deadline.left(begun))).await;
        let until = self.clock.now().plus(named);
        let (kind, not_before) = outcome(what, in_time, until);
        let mut seen = self.seen.lock().unwrap();
        let number = u16::try_from(seen.len()).unwrap();
        let spend = Spend {
            attempts: 1,
            cost: Cost {
                micro_usd: 1 << number,
                unpriced_calls: 0,
            },
            ..Spend::default()
        };
        let model = request.model().clone();
        let result = match kind {
            None => Ok(ModelAnswer {
                model: model.clone(),
                spend,
                ..answer("yes")
            }),
            Some(kind) => {
                let source = Some(std::io::Error::other("trouble").into());
                let retry_after = matches!(what, 3..=5).then_some(named).filter(|_| in_time);
                let reason = if what == 6 {
                    WaitReason::Breaker
                } else {
                    WaitReason::SingleFlight
                };
                let recovery =
                    matches!(what, 6 | 7 if in_time).then(|| Recovery::at(Wait { until, reason }));
                let failed = ModelError::new(model.clone(), kind);
                Err(ModelError {
                    recovery,
                    status: Some(number),
                    retry_after,
                    spend,
                    source,
                    ..failed
                })
            }
        };
        let failed = result
            .as_ref()
            .err()
            .and_then(|error| error.attempts().pop());
        seen.push(Seen {
            model,
            begun,
            failed,
            not_before,
            spend,
        });
        result
    }
}

fn act() -> impl Strategy<Value = Act> {
    let takes_ms = prop_oneof![Just(0), 0..3_000_u64, 0..60_000_u64];
    let named_ms = prop_oneof![0..2_000_u64, 0..20_000_u64];
    (takes_ms, 0..9_u8, named_ms)
}

proptest! {
    /// Whatever the models do, through both layers: in time, within the limits, never before a
    /// wait is over that the model named, and with every attempt and all that it cost accounted
    /// for.
    #[test]
    fn any_trouble_keeps_the_rules(
        acts in prop::collection::vec(act(), 1..20),
        chain in 1..=3_usize,
        (attempts, seconds) in (1..=5_u32, 1..60_u32),
        deadline_ms in 0..60_000_u64,
    ) {
        let retry = RetryRules::default().with_max_attempts(attempts).unwrap().with_max_seconds(seconds).unwrap();
        let deadline = Deadline::at(START.plus(Duration::from_millis(deadline_ms)));
        let request = ModelRequest { retry, deadline, ..to_chain(chain) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (asked, ended, seen) = runtime.block_on(async {
            let clock = TokioClock::default();
            let models = Arc::new(Troubled { clock, acts: Mutex::new(acts.into()), seen: Mutex::default() });
            let inner: Arc<dyn Model> = Arc::<Troubled>::clone(&models);
            let retry = Retry::new(inner, RetryBudget::default(), Backoff::Steady, Arc::new(clock));
            let asked = Fallback::new(Arc::new(retry)).ask(&request).await;
            let seen = models.seen.lock().unwrap().clone();
            (asked, clock.now(), seen)
        });
        prop_assert!(ended <= deadline.moment());
        let mut comebacks = Vec::new();
        for model in names(chain) {
            let calls: Vec<_> = seen.iter().filter(|call| call.model == model).collect();
            prop_assert!(calls.len() <= attempts as usize);
            prop_assert!(calls.windows(2).all(|two| two[0].not_before.is_none_or(|moment| moment <= two[1].begun)));
            comebacks.extend(calls.last().and_then(|call| call.not_before));
        }
        let (spend, attempts) = match &asked {
            Ok(answer) => (answer.spend, answer.failed.clone()),
            Err(error) => (error.spend, error.attempts()),
        };
        prop_assert_eq!(spend, seen.iter().fold(Spend::default(), |sum, call| sum.plus(call.spend)));
        prop_assert_eq!(attempts, seen.iter().filter_map(|call| call.failed.clone()).collect::<Vec<_>>());
        if let Err(error) = asked {
            prop_assert!(error.source.is_some());
            match error.recovery {
                Some(Recovery { wait, maybe_sooner: false }) => {
                    prop_assert!(comebacks.len() < chain || comebacks.iter().any(|moment| *moment <= wait.until));
                }
                Some(Recovery { wait, maybe_sooner: true }) => {
                    prop_assert!(comebacks.len() < chain && comebacks.iter().all(|moment| wait.until <= *moment));
                }
                None => prop_assert!(comebacks.is_empty() || !error.is_outage()),
            }
        }
    }
}
