//! The rules that hold for any behaviour of the models.

use std::collections::VecDeque;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::domain::{Cost, FailedAttempt, RetryRules};
use crate::ports::Clock;
use crate::testing::samples::START;

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

/// When another call may succeed after one of this sort, if its failure says so.
fn recovery(what: u8, until: Timestamp) -> Option<Recovery> {
    let reason = match what {
        6 => WaitReason::Breaker,
        7 => WaitReason::SingleFlight,
        _ => return None,
    };
    Some(Recovery::at(Wait { until, reason }))
}

#[async_trait]
impl Model for Troubled {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
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
                let recovery = recovery(what, until).filter(|_| in_time);
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
    /// For any behaviour of the models, both layers answer in time and within the limits, call no
    /// model before the wait that it named is over, and count every attempt and its cost.
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
        let (outcome, ended, seen) = runtime.block_on(async {
            let clock = TokioClock::default();
            let models = Arc::new(Troubled { clock, acts: Mutex::new(acts.into()), seen: Mutex::default() });
            let inner: Arc<dyn Model> = Arc::<Troubled>::clone(&models);
            let retry = Retry::new(inner, RetryBudget::default(), Backoff::Steady, Arc::new(clock));
            let outcome = Fallback::new(Arc::new(retry)).call(&request).await;
            let seen = models.seen.lock().unwrap().clone();
            (outcome, clock.now(), seen)
        });
        prop_assert!(ended <= deadline.moment());
        let mut comebacks = Vec::new();
        for model in names(chain) {
            let calls: Vec<_> = seen.iter().filter(|call| call.model == model).collect();
            prop_assert!(calls.len() <= attempts as usize);
            prop_assert!(calls.windows(2).all(|two| two[0].not_before.is_none_or(|moment| moment <= two[1].begun)));
            comebacks.extend(calls.last().and_then(|call| call.not_before));
        }
        let (spend, attempts) = match &outcome {
            Ok(answer) => (answer.spend, answer.failed.clone()),
            Err(error) => (error.spend, error.attempts()),
        };
        prop_assert_eq!(spend, seen.iter().fold(Spend::default(), |sum, call| sum.plus(call.spend)));
        prop_assert_eq!(attempts, seen.iter().filter_map(|call| call.failed.clone()).collect::<Vec<_>>());
        if let Err(error) = outcome {
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
