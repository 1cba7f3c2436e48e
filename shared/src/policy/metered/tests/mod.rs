//! What one call does.

mod failures;
mod own_caps;
mod races;

use proptest::prelude::*;

use super::*;
use crate::domain::{Deadline, ModelChain, Provider, Spend, TenantId};
use crate::ports::BudgetKey;
use crate::testing::samples::{self, START, after};
use crate::testing::{
    Captured, Faults, MemoryBudgets, Reply, SameCaps, ScriptedModel, TokioClock, When, listen,
};

const PLENTY: u64 = 1_000_000_000;
/// Three cheap tokens of input, one of them each read from and written to the cache, and two of
/// output.
const USED: Usage = Usage {
    input_tokens: 3,
    output_tokens: 2,
    cache_read_tokens: 1,
    cache_write_tokens: 1,
    reasoning_tokens: 0,
};

/// The layer under test over a script, and what it keeps its caps with.
struct Setup {
    model: Arc<ScriptedModel>,
    budgets: MemoryBudgets,
    faults: Faults,
    metered: Metered,
}

fn setup(script: impl IntoIterator<Item = Reply>, tenant: Option<u64>) -> Setup {
    setup_under(
        script,
        DailyCaps {
            tenant,
            deployment: None,
        },
    )
}

fn setup_under(script: impl IntoIterator<Item = Reply>, daily_caps: DailyCaps) -> Setup {
    let (model, budgets, faults) = (
        Arc::new(ScriptedModel::new(script)),
        MemoryBudgets::default(),
        Faults::default(),
    );
    let inner: Arc<dyn Model> = Arc::<ScriptedModel>::clone(&model);
    let metered = over(inner, &budgets.with_faults(faults.clone()), daily_caps);
    Setup {
        model,
        budgets,
        faults,
        metered,
    }
}

pub(super) fn over(
    inner: Arc<dyn Model>,
    budgets: &MemoryBudgets,
    daily_caps: DailyCaps,
) -> Metered {
    let clock = Arc::new(TokioClock::default());
    let caps = CostCaps {
        budgets: Arc::new(budgets.clone()),
        daily: daily_caps,
        own: Arc::new(SameCaps::default()),
    };
    Metered::new(inner, PriceTable::current(), caps, clock)
}

pub(super) fn under(task_cap: u64) -> ModelRequest {
    ModelRequest {
        task_cap: Some(task_cap),
        ..samples::model_request("hello")
    }
}

/// All budgets that the request can be under.
fn all_of(request: &ModelRequest) -> [BudgetKey; 3] {
    [
        task_of(request),
        BudgetKey::tenant_day(&request.caller.tenant, START),
        BudgetKey::deployment_day(START),
    ]
}

pub(super) fn task_of(request: &ModelRequest) -> BudgetKey {
    BudgetKey::Task(request.caller.task)
}

/// What is set aside for the request.
pub(super) fn bound(request: &ModelRequest) -> u64 {
    let prompt = &request.prompt;
    let bound = PriceTable::current().bound(
        request.model(),
        token_bound(prompt),
        prompt.max_output_tokens,
        START,
    );
    bound.unwrap()
}

pub(super) fn price(usage: Usage) -> u64 {
    PriceTable::current()
        .cost(&samples::model(), &usage, START)
        .unwrap()
}

/// An answer that used these tokens.
pub(super) fn answer(usage: Usage) -> ModelAnswer {
    let spend = Spend {
        attempts: 1,
        usage,
        cost: Cost::default(),
    };
    ModelAnswer {
        usage,
        spend,
        ..samples::answer("hi")
    }
}

fn nameless(request: ModelRequest) -> ModelRequest {
    let model = ModelRef::new(Provider::OpenAiCompatible, "my-own").unwrap();
    ModelRequest {
        chain: ModelChain::only(model.into()),
        ..request
    }
}

/// What is spent and what is held.
fn stands(setup: &Setup, key: &BudgetKey) -> (u64, usize) {
    let record = setup.budgets.record(key).unwrap_or_default();
    (record.spent_micro_usd(), record.held.len())
}

/// Checks that a call comes back in 5 to 10 s that was refused at [`START`].
#[track_caller]
fn check_waits(result: Result<ModelAnswer, ModelError>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::BudgetReserved);
    let wait = error.recovery.unwrap().wait;
    assert_eq!(wait.reason, WaitReason::Budget);
    assert!((after(5)..=after(10)).contains(&wait.until), "{wait:?}");
}

fn kind(result: Result<ModelAnswer, ModelError>) -> ModelErrorKind {
    result.unwrap_err().kind
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_was_set_later_counts_what_was_spent_before() {
    let setup = setup([Reply::Answer(answer(samples::usage()))], None);
    let request = under(1_000_000);
    let spent = |task_spent| ModelRequest {
        task_spent,
        ..request.clone()
    };
    let refused = setup
        .metered
        .call(&spent(1_000_001 - bound(&request)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused.kind,
            ModelErrorKind::BudgetExhausted(BudgetScope::Task)
        ),
        "{refused:?}"
    );
    setup.metered.call(&spent(7)).await.unwrap();
    let budget = setup.budgets.record(&task_of(&request)).unwrap();
    assert_eq!(budget.spent_micro_usd(), 7 + price(samples::usage()));
}

#[tokio::test(start_paused = true)]
async fn without_a_cap_answers_and_errors_are_priced_and_nothing_is_stored() {
    let setup = setup(
        [
            Reply::Answer(answer(USED)),
            Reply::Fail(ModelErrorKind::Timeout),
        ],
        None,
    );
    let answered = setup
        .metered
        .call(&samples::model_request("hello"))
        .await
        .unwrap();
    assert_eq!(
        answered.spend.cost,
        Cost {
            micro_usd: price(USED),
            unpriced_calls: 0
        }
    );
    assert_eq!(
        answered,
        ModelAnswer {
            spend: answered.spend,
            ..answer(USED)
        }
    );
    let failed = setup
        .metered
        .call(&samples::model_request("hello"))
        .await
        .unwrap_err();
    assert_eq!(
        failed.spend.cost,
        Cost {
            micro_usd: 0,
            unpriced_calls: 1
        },
        "its provider may bill it"
    );
    assert_eq!(setup.faults.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn under_both_caps_each_gets_the_actual_cost() {
    let setup = setup([Reply::Answer(answer(USED))], Some(PLENTY));
    let request = under(PLENTY);
    let answered = setup.metered.call(&request).await.unwrap();
    assert_eq!(answered.spend.cost.micro_usd, price(USED));
    assert_eq!(setup.faults.calls(), 4);
    for key in [
        task_of(&request),
        BudgetKey::tenant_day(&request.caller.tenant, START),
    ] {
        assert_eq!(stands(&setup, &key), (price(USED), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_pass_a_cap_is_not_made_and_leaves_nothing() {
    let request = under(PLENTY);
    let bound = bound(&request);
    let cases = [
        (
            bound - 1,
            DailyCaps {
                tenant: Some(PLENTY),
                deployment: Some(PLENTY),
            },
            BudgetScope::Task,
        ),
        (0, DailyCaps::default(), BudgetScope::Task),
        (
            PLENTY,
            DailyCaps {
                tenant: Some(bound - 1),
                deployment: Some(PLENTY),
            },
            BudgetScope::Tenant,
        ),
        (
            PLENTY,
            DailyCaps {
                tenant: Some(PLENTY),
                deployment: Some(bound - 1),
            },
            BudgetScope::Deployment,
        ),
        (
            PLENTY,
            DailyCaps {
                tenant: Some(0),
                deployment: Some(0),
            },
            BudgetScope::Tenant,
        ),
    ];
    for (task_cap, daily_caps, scope) in cases {
        let setup = setup_under([], daily_caps);
        let request = ModelRequest {
            task_cap: Some(task_cap),
            ..request.clone()
        };
        assert_eq!(
            kind(setup.metered.call(&request).await),
            ModelErrorKind::BudgetExhausted(scope)
        );
        assert_eq!(setup.model.requests(), vec![]);
        for key in all_of(&request) {
            assert_eq!(stands(&setup, &key), (0, 0));
        }
    }
    let exact = setup([Reply::Answer(answer(USED))], Some(bound));
    exact.metered.call(&under(bound)).await.unwrap();
}

/// Asks while another call of the same task is open, and after that one has cost all that was set
/// aside for it.
#[tokio::test(start_paused = true)]
async fn a_call_waits_for_what_is_set_aside_and_fails_for_what_is_spent() {
    let bound = bound(&under(0));
    for (task_cap, tenant_cap, scope) in [
        (2 * bound - 1, PLENTY, BudgetScope::Task),
        (PLENTY, 2 * bound - 1, BudgetScope::Tenant),
    ] {
        let setup = setup([Reply::Answer(answer(Usage::default()))], Some(tenant_cap));
        let (request, metered) = (under(task_cap), Arc::new(setup.metered));
        setup.model.hold();
        let open = tokio::spawn({
            let (metered, request) = (Arc::clone(&metered), request.clone());
            async move { metered.call(&request).await }
        });
        setup.model.until_called(1).await;
        check_waits(metered.call(&request).await);
        setup.model.release();
        open.await.unwrap().unwrap();
        assert_eq!(
            kind(metered.call(&request).await),
            ModelErrorKind::BudgetExhausted(scope)
        );
        assert_eq!(setup.model.requests().len(), 1);
        assert_eq!(
            setup
                .budgets
                .record(&task_of(&request))
                .unwrap()
                .committed_micro_usd,
            bound
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_is_counted_or_refused_under_a_cap() {
    let free = setup(
        [
            Reply::Answer(answer(USED)),
            Reply::Answer(answer(Usage::default())),
        ],
        None,
    );
    let request = nameless(samples::model_request("hello"));
    for _ in 0..2 {
        let answered = free.metered.call(&request).await.unwrap();
        assert_eq!(
            answered.spend.cost,
            Cost {
                micro_usd: 0,
                unpriced_calls: 1
            }
        );
    }
    let capped = setup([], Some(PLENTY));
    assert_eq!(
        kind(capped.metered.call(&nameless(under(PLENTY))).await),
        ModelErrorKind::Unpriced
    );
    assert_eq!(
        (capped.model.requests(), capped.faults.calls()),
        (vec![], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_counts_as_its_providers_most_expensive() {
    let unlisted = ModelRef::new(Provider::Anthropic, "claude-unheard-of").unwrap();
    let request = ModelRequest {
        chain: ModelChain::only(unlisted.into()),
        ..samples::model_request("hello")
    };
    let day = BudgetKey::tenant_day(&request.caller.tenant, START);
    let assumed = PriceTable::current()
        .assumed_cost(request.model(), &USED, START)
        .unwrap();
    let setup = setup(
        [Reply::Answer(answer(USED)), Reply::Answer(answer(USED))],
        Some(PLENTY),
    );
    let answered = setup.metered.call(&request).await.unwrap();
    assert_eq!(
        answered.spend.cost,
        Cost {
            micro_usd: 0,
            unpriced_calls: 1
        }
    );
    assert_eq!(stands(&setup, &day), (assumed, 0));
    setup.metered.call(&nameless(request)).await.unwrap();
    assert_eq!(
        stands(&setup, &day),
        (assumed, 0),
        "the deployment's own server has no price"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_a_fast_clock_cleared_away_counts_in_full() {
    let setup = setup([Reply::Answer(answer(USED))], None);
    let request = under(PLENTY);
    setup.model.hold();
    let (metered, same) = (Arc::new(setup.metered), request.clone());
    let call = tokio::spawn(async move { metered.call(&same).await });
    setup.model.until_called(1).await;
    let fast = request.deadline.moment().plus(EXPIRES_AFTER_DEADLINE);
    let other = Reservation {
        id: ReservationId::new(fast),
        amount_micro_usd: 0,
        expires_at: fast,
    };
    setup
        .budgets
        .settle(&task_of(&request), &other, 0, fast)
        .await
        .unwrap();
    setup.model.release();
    call.await.unwrap().unwrap();
    let record = setup.budgets.record(&task_of(&request)).unwrap();
    assert_eq!(
        (record.spent_micro_usd(), record.held.len()),
        (bound(&request), 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_for_the_day_on_which_it_began() {
    let setup = setup([Reply::Hang], Some(PLENTY));
    let request = ModelRequest {
        deadline: Deadline::at(after(24 * 60 * 60)),
        ..samples::model_request("hello")
    };
    assert_eq!(
        kind(setup.metered.call(&request).await),
        ModelErrorKind::Timeout
    );
    let tenant: &TenantId = &request.caller.tenant;
    assert_eq!(
        stands(&setup, &BudgetKey::tenant_day(tenant, START)),
        (bound(&request), 0)
    );
    assert_eq!(
        stands(&setup, &BudgetKey::tenant_day(tenant, after(24 * 60 * 60))),
        (0, 0)
    );
}

proptest! {
    #[test]
    fn no_honest_usage_costs_more_than_was_set_aside(
        text in "\\PC{0,200}",
        tokens in 0.0..=1.0_f64,
        (read, write) in (0..5_000_u64, 0..5_000_u64),
    ) {
        let request = samples::model_request(&text);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let share = |of: u32| (f64::from(of) * tokens) as u64;
        let input_tokens = share(u32::try_from(token_bound(&request.prompt)).unwrap());
        let output_tokens = share(request.prompt.max_output_tokens);
        let usage = Usage {
            input_tokens, output_tokens, cache_read_tokens: read, cache_write_tokens: write, reasoning_tokens: 0,
        };
        prop_assert!(price(usage) <= bound(&request));
    }
}
