//! What many calls at once do.

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::super::*;
use super::{answer, bound, over, price, task_of, under};
use crate::domain::{Deadline, Spend};
use crate::ports::BudgetKey;
use crate::testing::samples::{self, START, after};
use crate::testing::{MemoryBudgets, ScriptedModel, TokioClock};

const CALLS: usize = 200;
const FITTING: u64 = 50;

/// 200 calls of one task under a cap with room for 50 at once, and a tenant's cap with the same
/// room.
fn racing(budgets: &MemoryBudgets) -> (Arc<ScriptedModel>, Arc<Metered>, ModelRequest) {
    let cap = bound(&under(0)) * FITTING;
    let model = Arc::new(ScriptedModel::default());
    let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
    (
        model,
        Arc::new(over(
            inner,
            budgets,
            DailyCaps {
                tenant: Some(cap),
                deployment: None,
            },
        )),
        under(cap),
    )
}

fn call_all(
    metered: &Arc<Metered>,
    request: &ModelRequest,
) -> JoinSet<Result<ModelAnswer, ModelError>> {
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (metered, request) = (Arc::clone(metered), request.clone());
        calls.spawn(async move { metered.call(&request).await });
    }
    calls
}

fn keys(request: &ModelRequest) -> [BudgetKey; 2] {
    [
        task_of(request),
        BudgetKey::tenant_day(&request.caller.tenant, START),
    ]
}

#[tokio::test(start_paused = true)]
async fn two_hundred_racing_calls_use_exactly_what_the_cap_leaves() {
    let budgets = MemoryBudgets::default();
    let (model, metered, request) = racing(&budgets);
    model.hold();
    let calls = call_all(&metered, &request);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(model.requests().len(), 50);
    model.release();
    let results = calls.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
    let waits: Vec<Duration> = results
        .into_iter()
        .filter_map(Result::err)
        .map(|error| wait_of(&error))
        .collect();
    let spread: std::collections::BTreeSet<_> = waits.iter().map(Duration::as_millis).collect();
    assert!(waits.len() == 150 && spread.len() > 75, "{spread:?}");
    assert!(
        waits
            .iter()
            .all(|wait| (TRY_AGAIN_AFTER..=2 * TRY_AGAIN_AFTER).contains(wait)),
        "{waits:?}"
    );
    check_settled(&budgets, &request, 50);
    call_all(&metered, &request).join_all().await;
    check_settled(
        &budgets,
        &request,
        u64::try_from(model.requests().len()).unwrap(),
    );
    assert!(model.requests().len() > 50);
}

/// How long a call waits for others to be settled that began at [`START`].
#[track_caller]
fn wait_of(error: &ModelError) -> Duration {
    assert_eq!(error.kind, ModelErrorKind::BudgetReserved);
    error.recovery.unwrap().wait.until.since(START)
}

#[track_caller]
fn check_settled(budgets: &MemoryBudgets, request: &ModelRequest, calls: u64) {
    for key in keys(request) {
        let record = budgets.record(&key).unwrap();
        assert_eq!(
            (record.committed_micro_usd, record.held.len()),
            (calls * price(samples::usage()), 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_cost_all_that_was_set_aside_use_up_the_cap_and_no_more() {
    let budgets = MemoryBudgets::default();
    let (model, metered, request) = racing(&budgets);
    let dear = Usage {
        input_tokens: token_bound(&request.prompt),
        cache_write_tokens: token_bound(&request.prompt),
        output_tokens: request.prompt.max_output_tokens.into(),
        ..Usage::default()
    };
    assert_eq!(price(dear), bound(&request));
    for _ in 0..CALLS {
        model.then(crate::testing::Reply::Answer(answer(dear)));
    }
    for _ in 0..3 {
        call_all(&metered, &request).join_all().await;
    }
    assert_eq!(model.requests().len(), 50);
    for key in keys(&request) {
        let record = budgets.record(&key).unwrap();
        assert_eq!(
            (record.committed_micro_usd, record.held.len()),
            (50 * bound(&request), 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn killed_calls_count_in_full_until_the_next_call_clears_them() {
    let budgets = MemoryBudgets::default();
    let (model, metered, request) = racing(&budgets);
    model.hold();
    let mut calls = call_all(&metered, &request);
    model.until_called(50).await;
    // Dropping the set kills the open calls.
    calls.shutdown().await;
    model.release();
    for key in keys(&request) {
        let record = budgets.record(&key).unwrap();
        assert_eq!((record.spent_micro_usd(), record.held.len()), (0, 50));
    }
    let expired = request.deadline.moment().plus(EXPIRES_AFTER_DEADLINE);
    tokio::time::sleep(expired.since(START)).await;
    let late = ModelRequest {
        deadline: Deadline::at(after(600)),
        ..request.clone()
    };
    let raised = ModelRequest {
        task_cap: Some(u64::MAX),
        ..late.clone()
    };
    for (request, scope) in [(late, BudgetScope::Task), (raised, BudgetScope::Tenant)] {
        let refused = metered.call(&request).await.unwrap_err();
        assert_eq!(refused.kind, ModelErrorKind::BudgetExhausted(scope));
    }
    assert_eq!(model.requests().len(), 50);
    for key in keys(&request) {
        let record = budgets.record(&key).unwrap();
        assert_eq!(
            (record.spent_micro_usd(), record.held.len()),
            (50 * bound(&request), 0)
        );
    }
}

/// What happens to one call, and when.
#[derive(Debug, Clone, Copy)]
struct Fate {
    begins: u64,
    takes: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Answer,
    Refusal,
    Break,
    Kill,
    Lie,
}

fn fate() -> impl Strategy<Value = Fate> {
    let ends = [End::Answer, End::Refusal, End::Break, End::Kill, End::Lie];
    // Twice the seconds after which a reservation expires, so that some are cleared away while
    // others begin.
    (0..200_u64, 0..59_u64, prop::sample::select(ends.to_vec()))
        .prop_map(|(begins, takes, end)| Fate { begins, takes, end })
}

/// A model that meets a fate.
struct Fated(Fate);

#[async_trait]
impl Model for Fated {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        tokio::time::sleep(Duration::from_secs(self.0.takes)).await;
        let usage = samples::usage();
        let failed = |status| {
            let spend = Spend {
                attempts: 1,
                ..Spend::default()
            };
            let kind = ModelErrorKind::Unavailable;
            ModelError {
                status,
                spend,
                ..ModelError::new(request.model().clone(), kind)
            }
        };
        match self.0.end {
            End::Answer => Ok(answer(usage)),
            End::Lie => Ok(answer(Usage {
                output_tokens: 1_000_000,
                ..usage
            })),
            End::Refusal => Err(failed(Some(503))),
            End::Break => Err(failed(None)),
            End::Kill => std::future::pending().await,
        }
    }
}

/// Runs the calls at their times and returns what each honestly cost: nothing if it was refused by
/// the cap.
async fn run(fates: &[Fate], budgets: &MemoryBudgets, request: &ModelRequest) -> u64 {
    let clock = TokioClock::default();
    let mut calls = JoinSet::new();
    for fate in fates.iter().copied() {
        let metered = Metered {
            clock: Arc::new(clock),
            ..over(Arc::new(Fated(fate)), budgets, DailyCaps::default())
        };
        let request = request.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_secs(fate.begins)).await;
            let request = ModelRequest {
                deadline: Deadline::at(after(fate.begins + 60)),
                ..request
            };
            let kill = Duration::from_secs(if fate.end == End::Kill {
                fate.takes
            } else {
                60
            });
            match tokio::time::timeout(kill, metered.call(&request)).await {
                Ok(Ok(answered)) => answered.spend.cost.micro_usd,
                Ok(Err(_)) | Err(_) => 0,
            }
        });
    }
    calls.join_all().await.into_iter().sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_cap_holds_however_calls_end_and_no_reservation_outlives_its_time(
        fates in prop::collection::vec(fate(), 1..40),
        room in 0..12_u64,
    ) {
        let budgets = MemoryBudgets::default();
        let cap = bound(&under(0)) * room;
        let request = under(cap);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = runtime.block_on(run(&fates, &budgets, &request));
        let visitor = Reservation { id: ReservationId::new(START), amount_micro_usd: 0, expires_at: START };
        runtime.block_on(budgets.settle(&task_of(&request), &visitor, 0, after(1_000))).unwrap();
        let record = budgets.record(&task_of(&request)).unwrap_or_default();
        prop_assert_eq!(&record.held, &vec![]);
        prop_assert!(record.committed_micro_usd >= told);
        let lied = fates.iter().any(|fate| fate.end == End::Lie);
        prop_assert!(lied || record.committed_micro_usd <= cap, "{} over {}", record.committed_micro_usd, cap);
    }
}
