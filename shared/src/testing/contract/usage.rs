//! The rules of [`UsageStore`]. The suite shares its store with nobody, because there is one daily
//! check for all tenants.

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{AgentId, Cost, Spend, SpendKey, SpendPart, SpendRow};
use crate::ports::{CheckPlace, StoreError, UsageCheck, UsageStore};
use crate::testing::samples;

type Store = Arc<dyn UsageStore>;

const DAY: u64 = samples::START.day();

/// More rows than any check makes.
const ALL: usize = 100;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("costs with one key add up, also at the same time", |s| {
        Box::pin(costs_add_up(s))
    }),
    ("each part of a key has rows of its own", |s| {
        Box::pin(rows_are_apart(s))
    }),
    ("rows are read by days, and not too many", |s| {
        Box::pin(rows_of_days(s))
    }),
    ("a row that is replaced has the new cost", |s| {
        Box::pin(replaced(s))
    }),
    ("the place of the daily check is stored", |s| {
        Box::pin(check_is_stored(s))
    }),
];

fn key() -> SpendKey {
    SpendKey {
        day: DAY,
        agent: AgentId::new(samples::START),
        key: None,
        part: SpendPart::Model(samples::model()),
    }
}

fn spend() -> Spend {
    Spend {
        attempts: 2,
        usage: samples::usage(),
        cost: Cost {
            micro_usd: 12_345,
            unpriced_calls: 1,
        },
    }
}

fn row(key: SpendKey) -> SpendRow {
    SpendRow {
        key,
        spend: spend(),
    }
}

async fn costs_add_up(store: Store) -> Outcome {
    let (tenant, row) = (samples::fresh_tenant(), row(key()));
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, tenant, row) = (Arc::clone(&store), tenant.clone(), row.clone());
        adding.spawn(async move { store.add(&tenant, &row).await.is_ok() });
    }
    holds(
        adding.join_all().await.into_iter().all(|added| added),
        || "a row was not added".to_owned(),
    )?;
    let expected = SpendRow {
        spend: (0..10).fold(Spend::NONE, |sum, _| sum.plus(spend())),
        ..row
    };
    same(&store.rows(&tenant, DAY..=DAY, ALL).await?, &vec![expected])?;
    let other = samples::fresh_tenant();
    same(&store.rows(&other, DAY..=DAY, ALL).await?, &Vec::new())
}

async fn rows_are_apart(store: Store) -> Outcome {
    let (tenant, key) = (samples::fresh_tenant(), key());
    let odd = crate::domain::ModelRef::new(samples::model().provider(), "a#b/c~d")?;
    let keys = [
        key.clone(),
        SpendKey {
            day: DAY + 1,
            ..key.clone()
        },
        SpendKey {
            agent: AgentId::new(samples::after(1)),
            ..key.clone()
        },
        SpendKey {
            key: Some(samples::token().id()),
            ..key.clone()
        },
        SpendKey {
            part: SpendPart::Model(odd),
            ..key.clone()
        },
        SpendKey {
            part: SpendPart::Lost,
            ..key.clone()
        },
        SpendKey {
            part: SpendPart::Missing,
            ..key
        },
    ];
    for key in keys.clone() {
        store.add(&tenant, &row(key)).await?;
    }
    let mut found = store.rows(&tenant, DAY..=DAY + 1, ALL).await?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let mut expected: Vec<SpendRow> = keys.map(row).into();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    same(&found, &expected)
}

async fn rows_of_days(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let on = |day| SpendKey { day, ..key() };
    for day in DAY..DAY + 4 {
        store.add(&tenant, &row(on(day))).await?;
    }
    let found = store.rows(&tenant, DAY + 1..=DAY + 2, 2).await?;
    let days: Vec<u64> = found.iter().map(|row| row.key.day).collect();
    same(&days, &vec![DAY + 1, DAY + 2])?;
    let refused = store.rows(&tenant, DAY..=DAY + 2, 2).await;
    holds(matches!(refused, Err(StoreError::TooLarge)), || {
        format!("{refused:?}")
    })
}

async fn replaced(store: Store) -> Outcome {
    let (tenant, row) = (samples::fresh_tenant(), row(key()));
    let other = SpendRow {
        spend: spend().plus(spend()),
        ..row.clone()
    };
    store.replace(&tenant, &row).await?;
    store.replace(&tenant, &other).await?;
    same(&store.rows(&tenant, DAY..=DAY, ALL).await?, &vec![other])
}

async fn check_is_stored(store: Store) -> Outcome {
    for place in [
        CheckPlace::Home,
        CheckPlace::Tenants(None),
        CheckPlace::Tenants(Some("page".to_owned())),
        CheckPlace::End,
    ] {
        let check = UsageCheck { day: DAY, place };
        store.store_check(&check).await?;
        same(&store.check().await?, &Some(check))?;
    }
    Ok(())
}
