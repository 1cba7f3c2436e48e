//! The rules of [`AgentRetention`].
//!
//! What is due is listed for all tenants, so these checks archive agents in a past of their own.

use std::sync::Arc;

use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, AgentHead, Switch, Task, Timestamp};
use crate::ports::{
    AgentOfTask, AgentRetention, AgentStore, ArchivedAgent, Deletion, PageRequest, StoreError,
    TaskScan, TaskStore,
};
use crate::testing::samples::{self, START, after};

pub(super) const CHECKS: &[Check<AgentsKept>] = &[
    (
        "an archived agent has no head and is in no list, and its versions are there",
        |k| Box::pin(archived_is_hidden(k)),
    ),
    ("an archived agent can't be changed", |k| {
        Box::pin(archived_stays(k))
    }),
    ("another tenant's agent, or none, is not archived", |k| {
        Box::pin(not_archived(k))
    }),
    (
        "an archived agent is due at its first moment, and then when its scan says",
        |k| Box::pin(due(k)),
    ),
    ("a removed agent is gone with its versions", |k| {
        Box::pin(removed_is_gone(k))
    }),
    ("an agent that is not archived is not removed", |k| {
        Box::pin(present_stays(k))
    }),
    (
        "the oldest task that names the agent is found, until it is deleted, and then the next",
        |k| Box::pin(tasks_are_found(k)),
    ),
];

/// Where agents and what names them are kept.
#[derive(Clone)]
pub struct AgentsKept {
    /// The agents.
    pub agents: Arc<dyn AgentStore>,
    /// The tasks that name them.
    pub tasks: Arc<dyn TaskStore>,
    /// What archives and removes them.
    pub retention: Arc<dyn AgentRetention>,
}

/// The moment `seconds` after the start of 2003, when nothing else happens.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_041_379_200_000 + seconds * 1_000)
}

impl AgentsKept {
    async fn created(&self) -> Result<Agent, StoreError> {
        let agent = samples::agent(&samples::fresh_tenant());
        self.agents.create(&agent).await?;
        Ok(agent)
    }

    async fn archive(&self, agent: &Agent) -> Outcome {
        let (tenant, id) = (&agent.tenant, agent.id);
        let archived = self.retention.archive(tenant, id, at(10), at(20)).await?;
        same(&archived, &true)
    }

    async fn listed(&self, agent: &Agent) -> Result<usize, StoreError> {
        let page = PageRequest {
            limit: 10,
            after: None,
        };
        let listed = self.agents.list(&agent.tenant, &page).await?;
        Ok(listed.entries.len())
    }

    async fn is_due(&self, agent: &ArchivedAgent, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.retention.due_agents(now, 1_000).await?.contains(agent))
    }
}

fn archived(agent: &Agent) -> ArchivedAgent {
    ArchivedAgent {
        tenant: agent.tenant.clone(),
        id: agent.id,
        archived_at: at(10),
        scanned_to: None,
    }
}

async fn archived_is_hidden(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let other = samples::agent(&agent.tenant);
    kept.agents.create(&other).await?;
    kept.archive(&agent).await?;
    kept.archive(&agent).await?;
    same(&kept.agents.head(&agent.tenant, agent.id).await?, &None)?;
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let list = kept.agents.list(&agent.tenant, &page).await?;
    same(&list.entries, &vec![Ok(AgentHead::of(other))])?;
    let (tenant, version) = (&agent.tenant, agent.version_ref());
    let stored = kept.agents.version(tenant, version).await?;
    same(&stored, &Some(agent.clone()))?;
    let of_task = kept.agents.of_task(tenant, version).await?;
    let expected = AgentOfTask {
        agent: agent.clone(),
        switch: Switch::Enabled,
    };
    same(&of_task, &Some(expected))?;
    let versions = kept.agents.versions(tenant, agent.id, &page).await?;
    same(&versions.entries.len(), &1)?;
    Ok(kept.retention.remove(&archived(&agent)).await?)
}

async fn archived_stays(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let before = AgentHead::of(agent.clone());
    let (mut switched, mut changed) = (before.clone(), before.clone());
    (switched.switch, switched.revision) = (Switch::Disabled, 2);
    changed.configure(samples::agent_config("late", ""), after(1));
    changed.revision = 2;
    kept.archive(&agent).await?;
    for late in [switched, changed] {
        let refused = kept.agents.replace(&before, &late).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    same(&kept.agents.head(&agent.tenant, agent.id).await?, &None)?;
    Ok(kept.retention.remove(&archived(&agent)).await?)
}

async fn not_archived(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let never = samples::agent(&agent.tenant);
    for (tenant, id) in [
        (samples::fresh_tenant(), agent.id),
        (agent.tenant.clone(), never.id),
    ] {
        let refused = kept.retention.archive(&tenant, id, at(10), at(20)).await?;
        same(&refused, &false)?;
    }
    same(&kept.agents.newest(&agent.tenant, never.id).await?, &None)?;
    same(
        &kept.agents.newest(&agent.tenant, agent.id).await?,
        &Some(agent),
    )
}

async fn due(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    kept.archive(&agent).await?;
    let mut marked = archived(&agent);
    eventually(|| async { same(&kept.is_due(&marked, at(20)).await?, &true) }).await?;
    same(&kept.is_due(&marked, at(19)).await?, &false)?;
    let task = samples::task(&agent, START);
    kept.tasks.create(&task).await?;
    let scanned = async || kept.retention.scan(&marked, START).await;
    eventually(|| async {
        holds(matches!(scanned().await?, TaskScan::Found { .. }), || {
            "none is found".to_owned()
        })
    })
    .await?;
    let TaskScan::Found { place, .. } = scanned().await? else {
        return holds(false, || "it is gone again".to_owned());
    };
    marked.scanned_to = Some(place);
    kept.retention.note_scan(&marked, at(90)).await?;
    eventually(|| async { same(&kept.is_due(&marked, at(90)).await?, &true) }).await?;
    eventually(|| async { same(&kept.is_due(&marked, at(89)).await?, &false) }).await?;
    // Archived again, it is no sooner due.
    kept.archive(&agent).await?;
    same(&kept.is_due(&marked, at(89)).await?, &false)?;
    Ok(kept.retention.remove(&marked).await?)
}

async fn removed_is_gone(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let first = AgentHead::of(agent.clone());
    let mut second = first.clone();
    second.configure(samples::agent_config("second", ""), after(1));
    second.revision = 2;
    kept.agents.replace(&first, &second).await?;
    kept.archive(&agent).await?;
    let mut removals = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (retention, agent) = (Arc::clone(&kept.retention), archived(&agent));
        removals.spawn(async move { retention.remove(&agent).await });
    }
    for removed in removals.join_all().await {
        removed?;
    }
    same(&kept.agents.newest(&agent.tenant, agent.id).await?, &None)?;
    for version in [&first.newest, &second.newest] {
        let (tenant, version) = (&agent.tenant, version.version_ref());
        same(&kept.agents.version(tenant, version).await?, &None)?;
        same(&kept.agents.of_task(tenant, version).await?, &None)?;
    }
    same(&kept.listed(&agent).await?, &0)?;
    kept.retention.note_scan(&archived(&agent), at(10)).await?;
    let (tenant, id) = (&agent.tenant, agent.id);
    let again = kept.retention.archive(tenant, id, at(10), at(20)).await?;
    same(&again, &false)?;
    eventually(|| async { same(&kept.is_due(&archived(&agent), at(99)).await?, &false) }).await
}

async fn present_stays(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let removed = kept.retention.remove(&archived(&agent)).await;
    holds(matches!(removed, Err(StoreError::Conflict)), || {
        format!("{removed:?}")
    })?;
    let newest = kept.agents.newest(&agent.tenant, agent.id).await?;
    same(&newest, &Some(agent.clone()))?;
    let stored = kept
        .agents
        .version(&agent.tenant, agent.version_ref())
        .await?;
    same(&stored, &Some(agent))
}

async fn delete(kept: &AgentsKept, task: &Task) -> Outcome {
    let mut task = task.clone();
    task.cancel(START)?;
    kept.tasks.update(&task).await?;
    let tenant = &task.spec().tenant;
    let deleted = kept.tasks.delete(tenant, task.id()).await?;
    same(&deleted, &Deletion::Begun)
}

async fn tasks_are_found(kept: AgentsKept) -> Outcome {
    let agent = kept.created().await?;
    let scan = async |place: Option<String>| {
        let mut archived = archived(&agent);
        archived.scanned_to = place;
        kept.retention.scan(&archived, after(60)).await
    };
    same(&scan(None).await?, &TaskScan::Clear)?;
    let foreign = Agent {
        tenant: samples::fresh_tenant(),
        ..agent.clone()
    };
    let other = samples::agent(&agent.tenant);
    let of = |agent, seconds| samples::task(agent, after(seconds));
    let [first, second] = [of(&agent, 10), of(&agent, 20)];
    // The last is too young: nothing submits to an agent so long after it was archived.
    let others = [of(&foreign, 5), of(&other, 5), of(&agent, 999_999)];
    for task in others.iter().chain([&second, &first]) {
        kept.tasks.create(task).await?;
    }
    let found = async |wanted: &Task, place: Option<String>| match scan(place).await? {
        TaskScan::Found { task, place } if task == wanted.id() => Ok(place),
        other => Err(format!("{other:?}").into()),
    };
    eventually(|| async { found(&first, None).await.map(drop) }).await?;
    let place = found(&first, None).await?;
    same(&found(&first, Some(place.clone())).await?, &place)?;
    delete(&kept, &first).await?;
    eventually(|| async { found(&second, Some(place.clone())).await.map(drop) }).await?;
    let place = found(&second, Some(place)).await?;
    delete(&kept, &second).await?;
    eventually(|| async { same(&scan(Some(place.clone())).await?, &TaskScan::Clear) }).await?;
    same(&scan(None).await?, &TaskScan::Clear)
}
