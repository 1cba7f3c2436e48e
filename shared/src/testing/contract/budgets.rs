//! The rules of [`Budgets`].

use std::sync::Arc;

use super::budget_expiry::{cleared_by_others, expiry, late_settlement};
use super::{Check, Outcome, same};
use crate::domain::{ReservationId, TaskId, Timestamp};
use crate::ports::{Allowance, Budget, BudgetKey, Budgets, Reservation, Reserved, Settled};
use crate::testing::samples::{self, START, after};

pub(super) const CHECKS: &[Check<Arc<dyn Budgets>>] = &[
    (
        "reservations are granted up to the cap, and what is refused leaves nothing",
        |b| Box::pin(up_to_the_cap(b, task())),
    ),
    ("more than the whole cap is refused", |b| {
        Box::pin(more_than_the_cap(b, task()))
    }),
    (
        "what was spent before there was a cap is committed from the first reservation on",
        |b| Box::pin(spent_before(b)),
    ),
    (
        "the very same reservation is made once, even of the last money",
        |b| Box::pin(repetition(b, task())),
    ),
    (
        "a settlement puts the actual cost in the reservation's place, once",
        |b| Box::pin(settlement(b, task())),
    ),
    (
        "a cost above the reservation is kept, and nothing more fits",
        |b| Box::pin(above_the_reservation(b)),
    ),
    ("what was never reserved can't be settled", |b| {
        Box::pin(never_reserved(b, task()))
    }),
    ("a refusal tells what is only set aside", |b| {
        Box::pin(set_aside(b))
    }),
    (
        "an expired reservation is spent in full, and the next one to come clears it away",
        |b| Box::pin(expiry(b)),
    ),
    (
        "a settlement and a refusal clear away what has expired, too",
        |b| Box::pin(cleared_by_others(b)),
    ),
    (
        "a late settlement counts if no other call cleared the reservation",
        |b| Box::pin(late_settlement(b)),
    ),
    (
        "of many at once only those are granted for which there is room",
        |b| Box::pin(many_at_once(b, task())),
    ),
    ("tasks, tenants and days don't share a budget", |b| {
        Box::pin(apart(b))
    }),
    ("a day's reservations are granted up to the cap", |b| {
        Box::pin(up_to_the_cap(b, day()))
    }),
    ("more than a whole day's cap is refused", |b| {
        Box::pin(more_than_the_cap(b, day()))
    }),
    ("the very same reservation is made once in a day", |b| {
        Box::pin(repetition(b, day()))
    }),
    ("a settlement counts once in a day", |b| {
        Box::pin(settlement(b, day()))
    }),
    ("what was never reserved in a day can't be settled", |b| {
        Box::pin(never_reserved(b, day()))
    }),
    (
        "of many at once in a day only those are granted for which there is room",
        |b| Box::pin(many_at_once(b, day())),
    ),
    (
        "what a day's calls settled at less can be reserved again, to the last",
        |b| Box::pin(a_long_day(b)),
    ),
    ("amounts beyond measure break nothing", |b| {
        Box::pin(beyond_measure(b))
    }),
];

pub(super) fn task() -> BudgetKey {
    BudgetKey::Task(TaskId::new(START))
}

fn day() -> BudgetKey {
    BudgetKey::tenant_day(&samples::fresh_tenant(), START)
}

/// A reservation that expires a minute after [`START`].
pub(super) fn reservation(amount_micro_usd: u64) -> Reservation {
    Reservation {
        id: ReservationId::new(START),
        amount_micro_usd,
        expires_at: after(60),
    }
}

pub(super) const fn up_to(cap_micro_usd: u64) -> Allowance {
    Allowance {
        cap_micro_usd,
        spent_before_micro_usd: 0,
    }
}

pub(super) const fn refused(committed_micro_usd: u64, held_micro_usd: u64) -> Reserved {
    Reserved::Refused {
        committed_micro_usd,
        held_micro_usd,
    }
}

/// What is committed, and the sorted amounts that are held, at `now`.
pub(super) async fn stands(
    budgets: &Arc<dyn Budgets>,
    key: &BudgetKey,
    now: Timestamp,
) -> Result<(u64, Vec<u64>), super::Broken> {
    let budget = budgets.budget(key, now).await?;
    let mut held: Vec<u64> = budget
        .held
        .iter()
        .map(|held| held.amount_micro_usd)
        .collect();
    held.sort_unstable();
    Ok((budget.committed_micro_usd, held))
}

async fn up_to_the_cap(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    same(&budgets.budget(&key, START).await?, &Budget::default())?;
    same(
        &budgets
            .reserve(&key, &reservation(60), up_to(100), START)
            .await?,
        &Reserved::Granted,
    )?;
    same(
        &budgets
            .reserve(&key, &reservation(41), up_to(100), START)
            .await?,
        &refused(60, 60),
    )?;
    same(&stands(&budgets, &key, START).await?, &(60, vec![60]))?;
    same(
        &budgets
            .reserve(&key, &reservation(40), up_to(100), START)
            .await?,
        &Reserved::Granted,
    )?;
    same(
        &budgets
            .reserve(&key, &reservation(1), up_to(100), START)
            .await?,
        &refused(100, 100),
    )?;
    same(&stands(&budgets, &key, START).await?, &(100, vec![40, 60]))
}

async fn more_than_the_cap(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    for (amount, cap) in [(101, 100), (1, 0), (u64::MAX, 100)] {
        same(
            &budgets
                .reserve(&key, &reservation(amount), up_to(cap), START)
                .await?,
            &refused(0, 0),
        )?;
    }
    same(&stands(&budgets, &key, START).await?, &(0, vec![]))?;
    budgets
        .reserve(&key, &reservation(60), up_to(100), START)
        .await?;
    same(
        &budgets
            .reserve(&key, &reservation(101), up_to(100), START)
            .await?,
        &refused(60, 60),
    )?;
    same(
        &budgets
            .reserve(&key, &reservation(101), up_to(100), after(60))
            .await?,
        &refused(60, 0),
    )
}

async fn spent_before(budgets: Arc<dyn Budgets>) -> Outcome {
    let key = task();
    let after_spending = |spent_before_micro_usd| Allowance {
        spent_before_micro_usd,
        ..up_to(100)
    };
    for (amount, spent) in [(41, 60), (1, 100), (1, u64::MAX), (101, 7)] {
        let outcome = budgets
            .reserve(&key, &reservation(amount), after_spending(spent), START)
            .await?;
        same(&outcome, &refused(spent, 0))?;
        same(&stands(&budgets, &key, START).await?, &(0, vec![]))?;
    }
    let reservation = reservation(40);
    for _ in 0..2 {
        same(
            &budgets
                .reserve(&key, &reservation, after_spending(60), START)
                .await?,
            &Reserved::Granted,
        )?;
    }
    budgets.settle(&key, &reservation, 10, START).await?;
    same(&stands(&budgets, &key, START).await?, &(70, vec![]))?;
    // Once the budget is stored, its own number counts.
    same(
        &budgets
            .reserve(&key, &self::reservation(30), after_spending(99), START)
            .await?,
        &Reserved::Granted,
    )
}

async fn repetition(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    let reservation = reservation(100);
    for _ in 0..3 {
        same(
            &budgets
                .reserve(&key, &reservation, up_to(100), START)
                .await?,
            &Reserved::Granted,
        )?;
    }
    same(
        &budgets.budget(&key, START).await?,
        &Budget {
            committed_micro_usd: 100,
            held: vec![reservation],
        },
    )
}

async fn settlement(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    let (settled, open) = (reservation(60), reservation(40));
    budgets.reserve(&key, &settled, up_to(100), START).await?;
    budgets.reserve(&key, &open, up_to(100), START).await?;
    same(
        &budgets.settle(&key, &settled, 25, START).await?,
        &Settled::Done,
    )?;
    same(&stands(&budgets, &key, START).await?, &(65, vec![40]))?;
    same(
        &budgets.settle(&key, &settled, 25, START).await?,
        &Settled::Gone,
    )?;
    same(&stands(&budgets, &key, START).await?, &(65, vec![40]))?;
    same(
        &budgets.settle(&key, &open, 0, START).await?,
        &Settled::Done,
    )?;
    same(&stands(&budgets, &key, START).await?, &(25, vec![]))
}

async fn above_the_reservation(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, reservation) = (task(), reservation(60));
    budgets
        .reserve(&key, &reservation, up_to(100), START)
        .await?;
    same(
        &budgets.settle(&key, &reservation, 150, START).await?,
        &Settled::Done,
    )?;
    same(
        &budgets
            .reserve(&key, &self::reservation(0), up_to(100), START)
            .await?,
        &refused(150, 0),
    )
}

async fn set_aside(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, settled, dead) = (task(), reservation(50), reservation(30));
    let living = Reservation {
        expires_at: after(600),
        ..reservation(20)
    };
    for reservation in [&settled, &dead, &living] {
        budgets
            .reserve(&key, reservation, up_to(100), START)
            .await?;
    }
    budgets.settle(&key, &settled, 10, START).await?;
    same(
        &budgets
            .reserve(&key, &reservation(41), up_to(100), START)
            .await?,
        &refused(60, 50),
    )?;
    same(
        &budgets
            .reserve(&key, &reservation(41), up_to(100), after(60))
            .await?,
        &refused(60, 20),
    )?;
    budgets.settle(&key, &living, 20, after(60)).await?;
    same(
        &budgets
            .reserve(&key, &reservation(41), up_to(100), after(60))
            .await?,
        &refused(60, 0),
    )
}

async fn never_reserved(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    same(
        &budgets.settle(&key, &reservation(60), 25, START).await?,
        &Settled::Gone,
    )?;
    same(&stands(&budgets, &key, START).await?, &(0, vec![]))?;
    budgets
        .reserve(&key, &reservation(10), up_to(100), START)
        .await?;
    same(
        &budgets.settle(&key, &reservation(60), 25, START).await?,
        &Settled::Gone,
    )?;
    same(&stands(&budgets, &key, START).await?, &(10, vec![10]))
}

async fn many_at_once(budgets: Arc<dyn Budgets>, key: BudgetKey) -> Outcome {
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (budgets, key) = (Arc::clone(&budgets), key.clone());
        racing.spawn(async move {
            budgets
                .reserve(&key, &reservation(14), up_to(100), START)
                .await
        });
    }
    let granted = racing
        .join_all()
        .await
        .into_iter()
        .filter(|reserved| matches!(reserved, Ok(Reserved::Granted)));
    same(&granted.count(), &7)?;
    same(&stands(&budgets, &key, START).await?, &(98, vec![14; 7]))
}

/// A store may keep a day in parts: no part's room is lost to the whole.
async fn a_long_day(budgets: Arc<dyn Budgets>) -> Outcome {
    let key = day();
    let mut spent = 0;
    for cost in (1..=9).cycle().take(100) {
        let call = reservation(90);
        let granted = budgets.reserve(&key, &call, up_to(200), START).await?;
        if spent + 90 > 200 {
            same(&granted, &refused(spent, 0))?;
            continue;
        }
        same(&granted, &Reserved::Granted)?;
        same(
            &budgets.settle(&key, &call, cost, START).await?,
            &Settled::Done,
        )?;
        spent += cost;
    }
    same(&stands(&budgets, &key, START).await?, &(spent, vec![]))?;
    let rest = reservation(200 - spent);
    same(
        &budgets.reserve(&key, &rest, up_to(200), START).await?,
        &Reserved::Granted,
    )?;
    same(
        &budgets
            .reserve(&key, &reservation(1), up_to(200), START)
            .await?,
        &refused(200, 200 - spent),
    )
}

async fn apart(budgets: Arc<dyn Budgets>) -> Outcome {
    let (ours, theirs) = (samples::fresh_tenant(), samples::fresh_tenant());
    let tomorrow = after(24 * 60 * 60);
    let keys = [
        task(),
        task(),
        BudgetKey::tenant_day(&ours, START),
        BudgetKey::tenant_day(&ours, tomorrow),
        BudgetKey::tenant_day(&theirs, START),
    ];
    for key in &keys {
        same(
            &budgets
                .reserve(key, &reservation(100), up_to(100), START)
                .await?,
            &Reserved::Granted,
        )?;
    }
    let same_day = BudgetKey::tenant_day(&ours, after(1));
    same(
        &stands(&budgets, &same_day, START).await?,
        &(100, vec![100]),
    )
}

async fn beyond_measure(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, first, second) = (task(), reservation(0), reservation(0));
    for reservation in [&first, &second] {
        same(
            &budgets.reserve(&key, reservation, up_to(0), START).await?,
            &Reserved::Granted,
        )?;
    }
    for reservation in [&first, &second] {
        same(
            &budgets.settle(&key, reservation, u64::MAX, START).await?,
            &Settled::Done,
        )?;
    }
    same(&stands(&budgets, &key, START).await?, &(u64::MAX, vec![]))?;
    same(
        &budgets
            .reserve(&key, &reservation(1), up_to(100), START)
            .await?,
        &refused(u64::MAX, 0),
    )
}
