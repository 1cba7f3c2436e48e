//! The rules of [`TenantStore`]. The suite shares its store with nobody, because the list is of all
//! tenants.

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{Tenant, TenantStatus};
use crate::ports::{PageRequest, StoreError, TenantStore};
use crate::testing::samples;

type Store = Arc<dyn TenantStore>;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("a new tenant is there; an unknown one is none", |s| {
        Box::pin(new_tenant_is_there(s))
    }),
    ("an id is taken once", |s| Box::pin(taken_id(s))),
    ("a change is made once, on the revision before it", |s| {
        Box::pin(changes_are_conditional(s))
    }),
    ("the list is complete, as changed, in pages", |s| {
        Box::pin(list_is_complete(s))
    }),
];

async fn added(store: &Store) -> Result<Tenant, StoreError> {
    let tenant = Tenant::create(samples::fresh_tenant(), samples::START);
    store.add(&tenant).await?;
    Ok(tenant)
}

async fn new_tenant_is_there(store: Store) -> Outcome {
    let tenant = added(&store).await?;
    same(&store.tenant(&tenant.id).await?, &Some(tenant))?;
    same(&store.tenant(&samples::fresh_tenant()).await?, &None)
}

async fn taken_id(store: Store) -> Outcome {
    let tenant = added(&store).await?;
    store.add(&tenant).await?;
    let other = Tenant {
        created_at: samples::after(1),
        ..tenant.clone()
    };
    let refused = store.add(&other).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    same(&store.tenant(&tenant.id).await?, &Some(tenant))
}

async fn changes_are_conditional(store: Store) -> Outcome {
    let tenant = added(&store).await?;
    let suspended = tenant.clone().changed(TenantStatus::Suspended, None);
    let suspended = suspended.under(samples::all_caps());
    store.update(&suspended).await?;
    store.update(&suspended).await?;
    same(&store.tenant(&tenant.id).await?, &Some(suspended.clone()))?;
    let late = Tenant {
        status: TenantStatus::Active,
        ..suspended
    };
    let refused = store.update(&late).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })
}

async fn list_is_complete(store: Store) -> Outcome {
    for _ in 0..3 {
        let tenant = added(&store).await?;
        store
            .update(&tenant.changed(TenantStatus::Suspended, None))
            .await?;
    }
    let whole = PageRequest {
        limit: 100,
        after: None,
    };
    let expected = store.list(&whole).await?.entries;
    let suspended = expected
        .iter()
        .filter(|tenant| tenant.status == TenantStatus::Suspended);
    holds(suspended.count() >= 3, || format!("{expected:?}"))?;
    holds(expected.is_sorted_by_key(|tenant| &tenant.id), || {
        format!("{expected:?}")
    })?;
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..=expected.len() {
        let page = store.list(&PageRequest { limit: 1, after }).await?;
        all.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    same(&all, &expected)?;
    let made_up = PageRequest {
        limit: 1,
        after: Some("É".to_owned()),
    };
    let refused = store.list(&made_up).await;
    holds(matches!(refused, Err(StoreError::Cursor)), || {
        format!("{refused:?}")
    })
}
