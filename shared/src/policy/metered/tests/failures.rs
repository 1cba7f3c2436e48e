//! What failed calls and failed stores cost.

use super::*;

/// A model that fails in one way.
struct Failing(fn() -> ModelError);

#[async_trait]
impl Model for Failing {
    async fn call(&self, _request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        Err((self.0)())
    }
}

fn failure(kind: ModelErrorKind, status: Option<u16>, attempts: u32, usage: Usage) -> ModelError {
    let spend = Spend {
        attempts,
        usage,
        cost: Cost::default(),
    };
    ModelError {
        status,
        spend,
        ..ModelError::new(samples::model(), kind)
    }
}

const NOTHING: Usage = Usage {
    output_tokens: 0,
    ..OUTPUT_ONLY
};

const OUTPUT_ONLY: Usage = Usage {
    input_tokens: 0,
    output_tokens: 2,
    cache_read_tokens: 0,
    cache_write_tokens: 0,
    reasoning_tokens: 0,
};

/// Failed calls, and what counts of each.
fn cases(whole_output: u64) -> [(fn() -> ModelError, u64); 8] {
    [
        (
            || failure(ModelErrorKind::KeyUnavailable, None, 0, NOTHING),
            0,
        ),
        (
            || failure(ModelErrorKind::RateLimited, Some(429), 1, NOTHING),
            0,
        ),
        (
            || failure(ModelErrorKind::Unavailable, Some(500), 1, NOTHING),
            0,
        ),
        (
            || failure(ModelErrorKind::Rejected, Some(400), 1, USED),
            price(USED),
        ),
        (
            || failure(ModelErrorKind::Timeout, None, 1, NOTHING),
            bound(&under(PLENTY)),
        ),
        (
            || failure(ModelErrorKind::BadAnswer, Some(200), 1, NOTHING),
            bound(&under(PLENTY)),
        ),
        (
            || failure(ModelErrorKind::Unavailable, Some(200), 1, USED),
            whole_output,
        ),
        (
            || failure(ModelErrorKind::Timeout, Some(200), 1, OUTPUT_ONLY),
            bound(&under(PLENTY)),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_counts_the_most_that_it_can_have_cost() {
    let request = under(PLENTY);
    let whole_output = price(Usage {
        output_tokens: request.prompt.max_output_tokens.into(),
        ..USED
    });
    for (fail, counted) in cases(whole_output) {
        let budgets = MemoryBudgets::default();
        let failed = over(Arc::new(Failing(fail)), &budgets, DailyCaps::default())
            .call(&request)
            .await
            .unwrap_err();
        let told = if fail().spend.usage == NOTHING {
            0
        } else {
            price(fail().spend.usage)
        };
        let unpriced_calls = u32::from(counted == bound(&request));
        assert_eq!(
            failed.spend.cost,
            Cost {
                micro_usd: told,
                unpriced_calls
            },
            "{failed:?}"
        );
        let record = budgets.record(&task_of(&request)).unwrap();
        assert_eq!(
            (record.committed_micro_usd, record.held.len()),
            (counted, 0),
            "{failed:?}"
        );
    }
}

/// Such as one of a server that knows no `stream_options`: its output is estimated, its input
/// unknown.
#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_tell_its_input_counts_in_full() {
    for output_tokens in [0, 2] {
        let setup = setup(
            [Reply::Answer(answer(Usage {
                output_tokens,
                ..Usage::NONE
            }))],
            None,
        );
        let request = under(PLENTY);
        let answered = setup.metered.call(&request).await.unwrap();
        let told = price(Usage {
            output_tokens,
            ..Usage::NONE
        });
        assert_eq!(
            answered.spend.cost,
            Cost {
                micro_usd: told,
                unpriced_calls: 1
            },
            "{output_tokens}"
        );
        assert_eq!(
            stands(&setup, &task_of(&request)),
            (bound(&request), 0),
            "{output_tokens}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_above_the_bound_is_recorded_and_stops_the_next_call() {
    let lie = Usage {
        output_tokens: u64::MAX,
        ..USED
    };
    let setup = setup([Reply::Answer(answer(lie))], None);
    let request = under(PLENTY);
    setup.metered.call(&request).await.unwrap();
    assert_eq!(stands(&setup, &task_of(&request)), (price(lie), 0));
    assert_eq!(
        kind(setup.metered.call(&request).await),
        ModelErrorKind::BudgetExhausted(BudgetScope::Task)
    );
    assert_eq!(setup.model.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whichever_store_call_fails_no_call_is_free_and_no_cap_is_passed() {
    for (call, when) in (1..=6).flat_map(|call| [(call, When::Before), (call, When::After)]) {
        let plenty = DailyCaps {
            tenant: Some(PLENTY),
            deployment: Some(PLENTY),
        };
        let setup = setup_under([Reply::Answer(answer(USED))], plenty);
        let request = under(PLENTY);
        setup.faults.fail_at(call, when);
        let result = setup.metered.call(&request).await;
        assert!(setup.faults.struck());
        let keys = all_of(&request);
        if call <= 3 {
            check_waits(result);
            assert_eq!(setup.model.requests(), vec![]);
            assert!(
                keys.iter().all(|key| stands(&setup, key) == (0, 0)),
                "{call} {when:?}"
            );
        } else {
            assert_eq!(
                result.unwrap().spend.cost.micro_usd,
                price(USED),
                "{call} {when:?}"
            );
            let left = keys.map(|key| stands(&setup, &key));
            let (settled, held) = ((price(USED), 0), (0, 1));
            let failed = if when == When::Before { held } else { settled };
            let expected =
                [4, 5, 6].map(|settling| if call == settling { failed } else { settled });
            assert_eq!(left, expected, "{call} {when:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_stops_each_capped_call_with_one_line() {
    let heard = Captured::default();
    let _listening = listen(
        tracing_subscriber::fmt()
            .with_writer(heard.clone())
            .finish(),
    );
    let setup = setup([], Some(PLENTY));
    setup.faults.die_at(1, When::Before);
    for _ in 0..3 {
        assert_eq!(
            kind(setup.metered.call(&under(PLENTY)).await),
            ModelErrorKind::BudgetReserved
        );
    }
    assert_eq!(setup.model.requests(), vec![]);
    assert_eq!(heard.text().lines().count(), 3, "{}", heard.text());
}
