//! The rules of [`RequestCounts`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Check, Outcome, same};
use crate::ports::{LimitOwner, RequestCounts};
use crate::testing::samples;

type Counts = Arc<dyn RequestCounts>;

/// The minute of [`samples::START`].
const MINUTE: u64 = samples::START.as_millis() / 60_000;

pub(super) const CHECKS: &[Check<Counts>] = &[
    ("each request counts once, also at the same time", |c| {
        Box::pin(concurrent(c))
    }),
    ("each owner and each minute has a count of its own", |c| {
        Box::pin(apart(c))
    }),
];

async fn concurrent(counts: Counts) -> Outcome {
    let owner = LimitOwner::Tenant(samples::fresh_tenant());
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (counts, owner) = (Arc::clone(&counts), owner.clone());
        requests.spawn(async move { counts.count(&owner, MINUTE).await.ok() });
    }
    let counted: BTreeSet<Option<u64>> = requests.join_all().await.into_iter().collect();
    same(&counted, &(1..=20).map(Some).collect())
}

async fn apart(counts: Counts) -> Outcome {
    let tenant = LimitOwner::Tenant(samples::fresh_tenant());
    let key = LimitOwner::Key(samples::token().id());
    for expected in 1..=2 {
        for (owner, minute) in [(&tenant, MINUTE), (&key, MINUTE), (&tenant, MINUTE + 1)] {
            same(&counts.count(owner, minute).await?, &expected)?;
        }
    }
    Ok(())
}
