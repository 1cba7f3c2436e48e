//! The rules of the ports as checks that any implementation must pass.
//!
//! A suite takes one implementation, runs every check and then fails with the list of broken rules.
//! Each check makes its own tenant and ids, so that suites can run side by side on one shared
//! store.

mod agent_changes;
mod agent_retention;
mod agent_store;
mod answers;
mod budget_expiry;
mod budgets;
mod circuits;
mod deletion;
mod journal;
mod key_store;
mod moves;
mod request_counts;
mod retention;
mod retention_ports;
mod slots;
mod task_claim;
mod task_details;
mod task_list;
mod task_overdue;
mod task_queue;
mod task_store;
mod tenant_retention;
mod tenant_store;
mod together;
mod usage;

use std::error::Error;
use std::fmt::Debug;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::ports::{
    AgentStore, AnswerCache, Budgets, Circuits, Journal, KeyStore, RequestCounts, Slots, TaskQueue,
    TaskStore, TenantStore, UsageStore,
};

pub use agent_retention::AgentPorts;
pub use retention_ports::RetentionPorts;
pub use task_queue::Inbox;
pub use tenant_retention::TenantPorts;

/// Why a check failed.
type Broken = Box<dyn Error + Send + Sync>;

/// What a check finds.
type Outcome = Result<(), Broken>;

/// One rule: what must be true, and how to find out.
type Check<P> = (
    &'static str,
    fn(P) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
);

/// Checks the rules of [`AgentStore`].
///
/// # Panics
/// When a rule is broken.
pub async fn agent_store(store: Arc<dyn AgentStore>) {
    run(&store, &[agent_store::CHECKS, agent_changes::CHECKS]).await;
}

/// Checks the rules of [`KeyStore`].
///
/// # Panics
/// When a rule is broken.
pub async fn key_store(store: Arc<dyn KeyStore>) {
    run(&store, &[key_store::CHECKS]).await;
}

/// Checks the rules of [`RequestCounts`].
///
/// # Panics
/// When a rule is broken.
pub async fn request_counts(counts: Arc<dyn RequestCounts>) {
    run(&counts, &[request_counts::CHECKS]).await;
}

/// Checks the rules of [`UsageStore`].
///
/// # Panics
/// When a rule is broken.
pub async fn usage(store: Arc<dyn UsageStore>) {
    run(&store, &[usage::CHECKS]).await;
}

/// Checks the rules of [`TenantStore`].
///
/// # Panics
/// When a rule is broken.
pub async fn tenant_store(store: Arc<dyn TenantStore>) {
    run(&store, &[tenant_store::CHECKS]).await;
}

/// Checks the rules of [`AnswerCache`].
///
/// # Panics
/// When a rule is broken.
pub async fn answers(answers: Arc<dyn AnswerCache>) {
    run(&answers, &[answers::CHECKS]).await;
}

/// Checks the rules of [`TaskStore`].
///
/// # Panics
/// When a rule is broken.
pub async fn task_store(store: Arc<dyn TaskStore>) {
    let task_store = [
        task_store::CHECKS,
        task_list::CHECKS,
        task_claim::CHECKS,
        task_overdue::CHECKS,
    ];
    run(
        &store,
        &[task_store.as_slice(), &[task_details::CHECKS]].concat(),
    )
    .await;
}

/// Checks the rules of [`Journal`], and of what the store of its tasks records with a transition.
///
/// # Panics
/// When a rule is broken.
pub async fn journal(journal: Arc<dyn Journal>, tasks: Arc<dyn TaskStore>) {
    run(&journal, &[journal::CHECKS]).await;
    run(&together::Both { tasks, journal }, &[together::CHECKS]).await;
}

/// Checks the rules of [`Retention`](crate::ports::Retention).
///
/// # Panics
/// When a rule is broken.
pub async fn retention(ports: RetentionPorts) {
    run(&ports, &[retention::CHECKS]).await;
}

/// Checks the rules of [`AgentRetention`](crate::ports::AgentRetention).
///
/// # Panics
/// When a rule is broken.
pub async fn agent_retention(ports: AgentPorts) {
    run(&ports, &[agent_retention::CHECKS]).await;
}

/// Checks the rules of [`TenantRetention`](crate::ports::TenantRetention).
///
/// # Panics
/// When a rule is broken.
pub async fn tenant_retention(ports: TenantPorts) {
    run(&ports, &[tenant_retention::CHECKS]).await;
}

/// Checks the rules of [`Circuits`].
///
/// # Panics
/// When a rule is broken.
pub async fn circuits(circuits: Arc<dyn Circuits>) {
    run(&circuits, &[circuits::CHECKS]).await;
}

/// Checks the rules of [`Budgets`].
///
/// # Panics
/// When a rule is broken.
pub async fn budgets(budgets: Arc<dyn Budgets>) {
    run(&budgets, &[budgets::CHECKS]).await;
}

/// Checks the rules of [`Slots`].
///
/// # Panics
/// When a rule is broken.
pub async fn slots(slots: Arc<dyn Slots>) {
    run(&slots, &[slots::CHECKS]).await;
}

/// Checks the rules of [`TaskQueue`], reading the other end of it through `inbox`. The queue must
/// be empty.
///
/// # Panics
/// When a rule is broken.
pub async fn task_queue(queue: Arc<dyn TaskQueue>, inbox: Arc<dyn Inbox>) {
    run(&(queue, inbox), &[task_queue::CHECKS]).await;
}

async fn run<P: Clone>(port: &P, suites: &[&[Check<P>]]) {
    let mut broken = Vec::new();
    for (rule, check) in suites.iter().flat_map(|checks| checks.iter()) {
        if let Err(reason) = check(port.clone()).await {
            broken.push(format!("- {rule}: {reason}"));
        }
    }
    assert!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
}

/// Both values are the same.
#[track_caller]
fn same<T: PartialEq + Debug>(actual: &T, expected: &T) -> Outcome {
    holds(actual == expected, || {
        format!("got {}, not {}", shown(actual), shown(expected))
    })
}

/// The condition holds; `otherwise` says what is the case instead.
#[track_caller]
fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    let place = Location::caller();
    if condition {
        Ok(())
    } else {
        Err(format!("{} ({}:{})", otherwise(), place.file(), place.line()).into())
    }
}

/// The value as text, cut where it gets too long to be read.
fn shown(value: &impl Debug) -> String {
    format!("{value:?}").chars().take(1_000).collect()
}

/// Repeats `check` until it passes, for reads that may lag behind writes; fails after 5 s.
async fn eventually<F: Future<Output = Outcome>>(check: impl Fn() -> F) -> Outcome {
    for _ in 0..50 {
        if check().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_is_named_with_its_place() {
        assert!(same(&1, &1).is_ok());
        let broken = same(&1, &2).unwrap_err().to_string();
        assert!(
            broken.starts_with("got 1, not 2 (") && broken.contains("contract/mod.rs:"),
            "{broken}"
        );
    }
}
