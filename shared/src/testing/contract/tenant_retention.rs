//! The rules of [`TenantRetention`].
//!
//! What is due is listed for all tenants, so these checks delete tenants in a past of their own.

use std::sync::Arc;

use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{Task, TaskId, Tenant, TenantId, TenantStatus, Timestamp};
use crate::ports::{
    AgentStore, KeyStore, PageRequest, Pass, Remains, SealedCredential, StoreError, TaskStore,
    TenantRetention, TenantStore, WalkedFor, WalkedTenant,
};
use crate::testing::samples::{self, START};

pub(super) const CHECKS: &[Check<TenantPorts>] = &[
    (
        "a deleted tenant is due at once, and then when its walk says",
        |k| Box::pin(due(k)),
    ),
    ("a walk ends, and begins anew with a later change", |k| {
        Box::pin(walk_ends(k))
    }),
    ("a tenant that was changed meanwhile is not noted", |k| {
        Box::pin(changed_meanwhile(k))
    }),
    ("all tasks are walked through, or those not ended", |k| {
        Box::pin(all_tasks(k))
    }),
    (
        "everything of the tenant is removed, and nothing of another's",
        |k| Box::pin(all_is_removed(k)),
    ),
    ("a tombstone stays, is in no list, and keeps its id", |k| {
        Box::pin(tombstone(k))
    }),
];

/// Where tenants and what they have are ports.
#[derive(Clone)]
pub struct TenantPorts {
    /// The tenants.
    pub tenants: Arc<dyn TenantStore>,
    /// Their keys.
    pub keys: Arc<dyn KeyStore>,
    /// Their agents.
    pub agents: Arc<dyn AgentStore>,
    /// Their tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// What deletes them.
    pub retention: Arc<dyn TenantRetention>,
}

/// The moment `seconds` after the start of 2004, when nothing else happens.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_072_915_200_000 + seconds * 1_000)
}

const ALL: PageRequest = PageRequest {
    limit: 100,
    after: None,
};

impl TenantPorts {
    async fn deleting(&self) -> Result<Tenant, StoreError> {
        let tenant = Tenant::create(samples::fresh_tenant(), at(0));
        self.tenants.add(&tenant).await?;
        let tenant = tenant.deleting(at(10));
        self.tenants.update(&tenant).await?;
        Ok(tenant)
    }

    async fn is_due(&self, walked: &WalkedTenant, now: Timestamp) -> Result<bool, StoreError> {
        let due = self.retention.due_tenants(now, 1_000).await?;
        Ok(due.contains(walked))
    }

    async fn key(&self, tenant: &TenantId) -> Result<SealedCredential, StoreError> {
        let sealed = samples::sealed_key(tenant.as_str());
        self.keys.add(&sealed, 100).await?;
        Ok(sealed)
    }

    /// All tasks of the tenant that a walk finds.
    async fn walk(&self, tenant: &TenantId, wanted: WalkedFor) -> Result<Vec<TaskId>, StoreError> {
        let (mut all, mut place) = (Vec::new(), None);
        loop {
            let retention = &self.retention;
            let part = retention.tasks_of(tenant, wanted, place.as_deref()).await?;
            all.extend(part.tasks);
            place = part.next;
            if place.is_none() {
                return Ok(all);
            }
        }
    }
}

const fn first(tenant: Tenant) -> WalkedTenant {
    WalkedTenant { tenant, pass: None }
}

async fn due(ports: TenantPorts) -> Outcome {
    let tenant = ports.deleting().await?;
    let mut walked = first(tenant.clone());
    eventually(|| async { same(&ports.is_due(&walked, at(10)).await?, &true) }).await?;
    same(&ports.is_due(&walked, at(9)).await?, &false)?;
    let task = samples::task(&samples::agent(&tenant.id), START);
    ports.tasks.create(&task).await?;
    walked.tenant.quiet_since = Some(at(20));
    walked.pass = Some(Pass {
        began_at: at(15),
        place: "0000000000000#tsk_00000000000000000000000000".to_owned(),
    });
    ports.retention.note_walk(&walked, at(90)).await?;
    eventually(|| async { same(&ports.is_due(&walked, at(90)).await?, &true) }).await?;
    eventually(|| async { same(&ports.is_due(&walked, at(89)).await?, &false) }).await?;
    let stored = ports.tenants.tenant(&tenant.id).await?;
    same(&stored, &Some(walked.tenant.clone()))?;
    walked.pass = None;
    ports.retention.note_walk(&walked, at(95)).await?;
    eventually(|| async { same(&ports.is_due(&walked, at(95)).await?, &true) }).await?;
    Ok(ports.retention.end_walk(&walked.tenant).await?)
}

async fn walk_ends(ports: TenantPorts) -> Outcome {
    let mut tenant = ports.deleting().await?;
    ports.retention.end_walk(&tenant).await?;
    tenant.quiet_since = None;
    same(
        &ports.tenants.tenant(&tenant.id).await?,
        &Some(tenant.clone()),
    )?;
    let of_tenant = async || {
        let due = ports.retention.due_tenants(at(99), 1_000).await?;
        let due = due.iter().filter(|walked| walked.tenant.id == tenant.id);
        Ok::<_, StoreError>(due.count())
    };
    eventually(|| async { same(&of_tenant().await?, &0) }).await?;
    let again = tenant.clone().deleting(at(50));
    ports.tenants.update(&again).await?;
    eventually(|| async { same(&of_tenant().await?, &1) }).await?;
    Ok(ports.retention.end_walk(&again).await?)
}

async fn changed_meanwhile(ports: TenantPorts) -> Outcome {
    let tenant = ports.deleting().await?;
    let suspended = tenant.clone().changed(TenantStatus::Suspended, None);
    ports.tenants.update(&suspended).await?;
    let retention = &ports.retention;
    let refused = [
        retention.note_walk(&first(tenant.clone()), at(90)).await,
        retention.end_walk(&tenant).await,
        retention.bury(&tenant.deleted()).await,
    ];
    for refused in refused {
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    Ok(ports.retention.end_walk(&suspended).await?)
}

async fn all_tasks(ports: TenantPorts) -> Outcome {
    let (tenant, other) = (samples::fresh_tenant(), samples::fresh_tenant());
    let agent = samples::agent(&tenant);
    let tasks: Vec<Task> = (0..3)
        .map(|seconds| samples::task(&agent, samples::after(seconds)))
        .collect();
    for task in &tasks {
        ports.tasks.create(task).await?;
    }
    let foreign = samples::task(&samples::agent(&other), START);
    ports.tasks.create(&foreign).await?;
    let ids: Vec<TaskId> = tasks.iter().map(Task::id).collect();
    let found = async |wanted| ports.walk(&tenant, wanted).await;
    eventually(|| async { same(&found(WalkedFor::Deletion).await?, &ids) }).await?;
    let [first, second, third] = <[Task; 3]>::try_from(tasks).map_err(|_| "three tasks")?;
    let mut ended = second;
    ended.cancel(samples::after(5))?;
    ports.tasks.update(&ended).await?;
    let left = vec![first.id(), third.id()];
    eventually(|| async { same(&found(WalkedFor::Cancellation).await?, &left) }).await?;
    same(&found(WalkedFor::Deletion).await?, &ids)?;
    ports.tasks.delete(&tenant, ended.id()).await?;
    eventually(|| async { same(&found(WalkedFor::Deletion).await?, &left) }).await?;
    same(
        &ports.walk(&other, WalkedFor::Deletion).await?,
        &vec![foreign.id()],
    )
}

async fn all_is_removed(ports: TenantPorts) -> Outcome {
    let tenant = ports.deleting().await?;
    let other = samples::fresh_tenant();
    for of in [&tenant.id, &tenant.id, &other, &other] {
        ports.agents.create(&samples::agent(of)).await?;
    }
    let keys = [ports.key(&tenant.id).await?, ports.key(&other).await?];
    for _ in 0..2 {
        let left = ports.retention.remove_records(&tenant.id).await?;
        same(&left, &Remains::Nothing)?;
    }
    for (key, expected) in keys.iter().zip([0, 1]) {
        let of = &key.credential.key.tenant;
        let agents = ports.agents.list(of, &ALL).await?.entries.len();
        let listed = ports.keys.list(of, &ALL).await?.entries.len();
        let credential = ports.keys.credential(key.credential.key.id).await?;
        let counted = ports.keys.count(of).await?;
        same(&usize::try_from(counted)?, &expected)?;
        let found = (agents, listed, usize::from(credential.is_some()));
        same(&found, &(2 * expected, expected, expected))?;
    }
    same(
        &ports.tenants.tenant(&tenant.id).await?,
        &Some(tenant.clone()),
    )?;
    Ok(ports.retention.end_walk(&tenant).await?)
}

async fn tombstone(ports: TenantPorts) -> Outcome {
    let tenant = ports.deleting().await?;
    let tombstone = tenant.clone().deleted();
    for _ in 0..2 {
        ports.retention.bury(&tombstone).await?;
    }
    let stored = ports.tenants.tenant(&tenant.id).await?;
    same(&stored, &Some(tombstone.clone()))?;
    let mut page = ALL;
    loop {
        let listed = ports.tenants.list(&page).await?;
        let is_listed = listed.entries.iter().any(|listed| listed.id == tenant.id);
        holds(!is_listed, || "it is listed".to_owned())?;
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    let again = Tenant::create(tenant.id.clone(), at(99));
    let refused = ports.tenants.add(&again).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    let walked = first(tenant);
    eventually(|| async { same(&ports.is_due(&walked, at(99)).await?, &false) }).await
}
