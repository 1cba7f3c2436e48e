//! Tests of `price`.

use std::str::FromStr;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::Provider;

const DAY: &str = "2026-11-23";

#[test]
fn every_row_says_where_and_when_its_price_was_read() {
    let table: Value = serde_json::from_str(include_str!("prices.json")).unwrap();
    let known = [
        "provider",
        "model",
        "valid_from",
        "valid_until",
        "prices",
        "long_prompt",
        "context_window",
        "max_output_tokens",
        "source",
        "checked",
    ];
    assert!(epoch_day(PriceTable::current().version()).is_some());
    for row in table["rows"].as_array().unwrap() {
        let unknown: Vec<_> = row
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} in {row}");
        assert!(
            row["source"].as_str().unwrap().starts_with("https://"),
            "{row}"
        );
        assert!(
            epoch_day(row["checked"].as_str().unwrap())
                <= epoch_day(PriceTable::current().version()),
            "{row}"
        );
        assert!(
            row["context_window"].as_u64().unwrap()
                > row["max_output_tokens"].as_u64().unwrap_or(0),
            "{row}"
        );
    }
}

#[test]
fn rows_are_plausible_and_never_two_at_once() {
    let rows = &PriceTable::current().rows;
    for (index, row) in rows.iter().enumerate() {
        assert!(
            ModelRef::new(Provider::from_str(&row.provider).unwrap(), &row.model).is_ok(),
            "{row:?}"
        );
        assert!(
            row.valid_until
                .is_none_or(|until| row.valid_from.0 < until.0),
            "{row:?}"
        );
        let Prices {
            input,
            cache_read,
            cache_write,
            output,
        } = row.prices;
        assert!(
            0 < cache_read && cache_read < input && input <= cache_write && cache_write < output,
            "{row:?}"
        );
        assert!(
            row.long_prompt
                .as_ref()
                .is_none_or(|long| long.prices.input > input),
            "{row:?}"
        );
        let ended = |other: &Row| {
            other
                .valid_until
                .is_some_and(|until| until.0 <= row.valid_from.0)
        };
        let same = |other: &&Row| other.provider == row.provider && other.model == row.model;
        assert!(
            rows[..index].iter().filter(same).all(ended),
            "{row:?} begins before its predecessor ends"
        );
    }
}

#[test]
fn each_class_has_its_price() {
    // 1,000 tokens of 2, 0.10, 2.50 and 10 USD a million are 2,000, 100, 2,500 and 10,000
    // micro-USD.
    check_cost("claude-sonnet-5-5", usage(1_000, 0, 0, 0), 2_000);
    check_cost("claude-sonnet-5-5", usage(1_000, 1_000, 0, 0), 100);
    check_cost("claude-sonnet-5-5", usage(1_000, 0, 1_000, 0), 2_500);
    check_cost("claude-sonnet-5-5", usage(0, 0, 0, 1_000), 10_000);
    check_cost(
        "claude-sonnet-5-5",
        usage(3_000, 1_000, 1_000, 1_000),
        14_600,
    );
    check_cost("gpt-6.1-terra", usage(1_000_000 / 4, 0, 0, 1_000), 255_000);
}

#[test]
fn reasoning_is_paid_once_as_the_output_it_is() {
    let reasoned = Usage {
        reasoning_tokens: 900,
        ..usage(0, 0, 0, 1_000)
    };
    check_cost("gpt-6.1-terra", reasoned, 5_000);
}

#[test]
fn a_fraction_is_rounded_up_once() {
    check_cost("gpt-6-luna", usage(0, 0, 0, 0), 0);
    check_cost("gpt-6-luna", usage(1, 0, 0, 0), 1);
    check_cost("gpt-6-luna", usage(10, 0, 0, 0), 1);
    check_cost("gpt-6-luna", usage(11, 0, 0, 0), 2);
    // A tenth for the input and half for the output are less than one together.
    check_cost("gpt-6-luna", usage(1, 0, 0, 1), 1);
}

#[test]
fn a_long_prompt_makes_the_whole_call_dearer() {
    check_cost("claude-haiku-5-5", usage(100_000, 0, 0, 1_000), 10_500);
    check_cost("claude-haiku-5-5", usage(100_001, 0, 0, 1_000), 52_501);
    check_cost("gpt-6.1-terra", usage(272_000, 272_000, 0, 0), 13_600);
    check_cost("gpt-6.1-terra", usage(272_001, 272_001, 0, 0), 27_201);
}

#[test]
fn shares_over_their_total_are_cut_and_nothing_overflows() {
    check_cost("claude-sonnet-5-5", usage(1_000, 5_000, 0, 0), 100);
    check_cost("claude-sonnet-5-5", usage(1_000, 900, 900, 0), 2_260);
    check_cost("claude-sonnet-5-5", usage(0, u64::MAX, u64::MAX, 0), 0);
    check_cost(
        "claude-opus-5-5",
        usage(u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        u64::MAX,
    );
    let bound = PriceTable::current().bound(&model("gpt-6.1-terra"), u64::MAX, u32::MAX, at(DAY));
    assert_eq!(bound, Some(u64::MAX));
}

#[test]
fn a_name_stands_for_its_dated_snapshots_and_for_no_other_model() {
    let is_priced = |name: &str| {
        PriceTable::current()
            .bound(&model(name), 1, 1, at(DAY))
            .is_some()
    };
    for name in [
        "claude-sonnet-5-5",
        "claude-sonnet-5-5-20260915",
        "gpt-6-luna",
        "gpt-6-luna-2026-08-20",
    ] {
        assert!(is_priced(name), "{name}");
    }
    let others = [
        "gpt-6.1-terra-mini",
        "gpt-6.1-terra-2026-10-26-mini",
        "gpt-6.1-terra-2026-13-01",
        "gpt-6.1-terra-2026-1-1",
        "gpt-6.1-terra-20261",
        "gpt-6.1-terra-+0261026",
        "gpt-6.1-terra-",
        "gpt-6.1-terra2026-10-26",
        "gpt-6.1",
        "GPT-6.1-terra",
        "claude-opus-9",
    ];
    for name in others {
        assert!(!is_priced(name), "{name}");
    }
}

#[test]
fn a_model_without_a_row_counts_as_the_dearest_of_its_provider() {
    let (table, unlisted) = (PriceTable::current(), model("claude-unheard-of"));
    let usage = Usage {
        input_tokens: 1_000,
        output_tokens: 1_000,
        ..Usage::NONE
    };
    let rows: Vec<_> = table
        .rows
        .iter()
        .filter(|row| row.provider == "anthropic" && row.is_valid(at(DAY)))
        .collect();
    let names = || rows.iter().map(|row| model(&row.model));
    let dearest = names()
        .filter_map(|model| table.cost(&model, &usage, at(DAY)))
        .max();
    assert!(dearest.is_some_and(|cost| cost > 0));
    assert_eq!(table.assumed_cost(&unlisted, &usage, at(DAY)), dearest);
    let dearest = names()
        .filter_map(|model| table.bound(&model, 300_000, 9, at(DAY)))
        .max();
    assert_eq!(table.assumed_bound(&unlisted, 300_000, 9, at(DAY)), dearest);
    let listed = names().next().unwrap();
    assert_eq!(
        table.assumed_cost(&listed, &usage, at(DAY)),
        table.cost(&listed, &usage, at(DAY))
    );
    let own = ModelRef::new(Provider::OpenAiCompatible, "qwen").unwrap();
    assert_eq!(
        (
            table.assumed_cost(&own, &usage, at(DAY)),
            table.assumed_bound(&own, 1, 1, at(DAY))
        ),
        (None, None)
    );
}

#[test]
fn a_model_is_priced_at_its_own_provider_only() {
    let astray = ModelRef::new(Provider::OpenAi, "claude-sonnet-5-5").unwrap();
    assert_eq!(
        PriceTable::current().cost(&astray, &usage(1, 0, 0, 1), at(DAY)),
        None
    );
    assert_eq!(PriceTable::current().bound(&astray, 1, 1, at(DAY)), None);
}

#[test]
fn a_price_holds_from_the_start_of_its_first_day_to_the_end_of_its_last() {
    let cost =
        |name: &str, at| PriceTable::current().cost(&model(name), &usage(1_000, 1_000, 0, 0), at);
    let before = |day| Timestamp::from_millis(at(day).as_millis() - 1);
    assert_eq!(cost("claude-sonnet-5-5", before("2026-09-29")), None);
    assert_eq!(cost("claude-sonnet-5-5", at("2026-09-29")), Some(200));
    assert_eq!(cost("claude-sonnet-5-5", before("2026-10-07")), Some(200));
    assert_eq!(cost("claude-sonnet-5-5", at("2026-10-07")), Some(100));
    assert_eq!(cost("gpt-5.6-sol", before("2026-11-22")), Some(400));
    assert_eq!(cost("gpt-5.6-sol", at("2026-11-22")), None);
}

#[test]
fn dates_are_counted_in_days_since_the_epoch() {
    let known = [
        ("1970-01-01", Some(0)),
        ("2000-02-29", Some(11_016)),
        ("2000-03-01", Some(11_017)),
        ("20261007", Some(20_733)),
        ("2026-10-07", Some(20_733)),
        ("2026-12-31", Some(20_818)),
        ("2027-01-01", Some(20_819)),
        ("1969-12-31", None),
        ("2026-00-07", None),
        ("2026-10-32", None),
        ("2026-10-7", None),
        ("2026-1007", None),
        ("202610-07", None),
        ("2026-10-07 ", None),
        ("20é6-10-07", None),
        ("", None),
    ];
    for (date, days) in known {
        assert_eq!(epoch_day(date), days, "{date}");
    }
}

#[test]
fn a_bound_is_that_of_the_dearest_class() {
    let bound =
        |bytes| PriceTable::current().bound(&model("claude-haiku-5-5"), bytes, 1_000, at(DAY));
    assert_eq!(bound(0), Some(500));
    assert_eq!(bound(100_000), Some(12_500 + 500));
    assert_eq!(bound(100_001), Some(62_501 + 2_500));
}

proptest! {
    #[test]
    fn more_tokens_never_cost_less(name in names(), usage in any_usage(), more in 0..300_000_u64) {
        let cost = |usage| PriceTable::current().cost(&model(&name), &usage, at(DAY)).unwrap();
        let input_tokens = usage.input_tokens + more;
        let cache_read_tokens = usage.cache_read_tokens + more;
        let cache_write_tokens = usage.cache_write_tokens + more;
        let dearer = [
            Usage { input_tokens, ..usage },
            Usage { input_tokens, cache_read_tokens, ..usage },
            Usage { input_tokens, cache_write_tokens, ..usage },
            Usage { cache_write_tokens, ..usage },
            Usage { output_tokens: usage.output_tokens + more, ..usage },
        ];
        for other in dearer {
            prop_assert!(cost(usage) <= cost(other), "{usage:?} against {other:?}");
        }
    }

    #[test]
    fn no_usage_within_a_bound_costs_more(
        name in names(),
        usage in any_usage(),
        spare in 0..300_000_u64,
        spare_output in 0..1_000_u32,
    ) {
        let table = PriceTable::current();
        let max_output = u32::try_from(usage.output_tokens).unwrap() + spare_output;
        let bound = table.bound(&model(&name), usage.input_tokens + spare, max_output, at(DAY)).unwrap();
        prop_assert!(table.cost(&model(&name), &usage, at(DAY)).unwrap() <= bound);
    }

    #[test]
    fn a_cost_is_the_exact_price_or_less_than_one_above(name in names(), usage in any_usage()) {
        let table = PriceTable::current();
        let exact = table.row(&model(&name), at(DAY)).unwrap().prices_for(usage.input_tokens).total(&usage);
        let cost = u128::from(table.cost(&model(&name), &usage, at(DAY)).unwrap()) * TOKENS;
        prop_assert!(exact <= cost && cost < exact + TOKENS);
    }
}

#[track_caller]
fn check_cost(name: &str, usage: Usage, expected: u64) {
    assert_eq!(
        PriceTable::current().cost(&model(name), &usage, at(DAY)),
        Some(expected),
        "{name} {usage:?}"
    );
}

fn usage(
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
) -> Usage {
    Usage {
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_tokens,
        reasoning_tokens: 0,
    }
}

/// Shares may exceed their totals, as a provider's mistake would have it.
fn any_usage() -> impl Strategy<Value = Usage> {
    let tokens = 0..400_000_u64;
    (tokens.clone(), tokens.clone(), tokens.clone(), tokens)
        .prop_map(|(input, read, written, output)| usage(input, read, written, output))
}

/// The models that have a price on the tests' day.
fn names() -> impl Strategy<Value = String> {
    let live = PriceTable::current()
        .rows
        .iter()
        .filter(|row| row.is_valid(at(DAY)));
    prop::sample::select(live.map(|row| row.model.clone()).collect::<Vec<_>>())
}

fn model(name: &str) -> ModelRef {
    let provider = if name.starts_with("claude") {
        Provider::Anthropic
    } else {
        Provider::OpenAi
    };
    ModelRef::new(provider, name).unwrap()
}

fn at(day: &str) -> Timestamp {
    Midnight::try_from(day.to_owned()).unwrap().0
}
