//! The rules of [`Budgets`] for reservations that expire.

use super::budgets::{refused, reservation, stands, task, up_to};
use super::{Outcome, same};
use crate::ports::{Budgets, Reservation, Reserved, Settled};
use crate::testing::samples::{START, after};
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn expiry(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, dead) = (task(), reservation(60));
    budgets.reserve(&key, &dead, up_to(100), START).await?;
    same(
        &stands(
            &budgets,
            &key,
            dead.expires_at.minus(Duration::from_millis(1)),
        )
        .await?,
        &(60, vec![60]),
    )?;
    same(
        &stands(&budgets, &key, dead.expires_at).await?,
        &(60, vec![]),
    )?;
    let next = Reservation {
        expires_at: after(120),
        ..reservation(40)
    };
    same(
        &budgets.reserve(&key, &next, up_to(100), after(60)).await?,
        &Reserved::Granted,
    )?;
    same(&stands(&budgets, &key, after(60)).await?, &(100, vec![40]))?;
    same(
        &budgets.settle(&key, &dead, 1, after(60)).await?,
        &Settled::Gone,
    )?;
    same(&stands(&budgets, &key, after(60)).await?, &(100, vec![40]))
}

pub(super) async fn cleared_by_others(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, by_refusal, by_settlement) = (task(), reservation(30), reservation(30));
    let living = Reservation {
        expires_at: after(600),
        ..reservation(40)
    };
    for reservation in [&by_refusal, &living] {
        budgets
            .reserve(&key, reservation, up_to(100), START)
            .await?;
    }
    same(
        &budgets
            .reserve(&key, &reservation(31), up_to(100), after(60))
            .await?,
        &refused(70, 40),
    )?;
    same(
        &budgets.settle(&key, &by_refusal, 0, after(60)).await?,
        &Settled::Gone,
    )?;
    budgets
        .reserve(&key, &by_settlement, up_to(100), START)
        .await?;
    same(
        &budgets.settle(&key, &living, 10, after(60)).await?,
        &Settled::Done,
    )?;
    same(
        &budgets.settle(&key, &by_settlement, 0, after(60)).await?,
        &Settled::Gone,
    )?;
    // Nothing is held any more, even by the clock of the start.
    same(&stands(&budgets, &key, START).await?, &(70, vec![]))
}

pub(super) async fn late_settlement(budgets: Arc<dyn Budgets>) -> Outcome {
    let (key, late) = (task(), reservation(60));
    budgets.reserve(&key, &late, up_to(100), START).await?;
    same(
        &budgets.settle(&key, &late, 25, after(600)).await?,
        &Settled::Done,
    )?;
    same(&stands(&budgets, &key, after(600)).await?, &(25, vec![]))
}
