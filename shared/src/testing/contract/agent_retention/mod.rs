//! The rules of [`AgentRetention`].
//!
//! What is due is listed for all tenants, so these checks archive agents in a past of their own.

mod counts;
mod inline;

use std::sync::Arc;

use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, AgentHead, Switch, Task, TenantStatus, Timestamp};
use crate::ports::{
    AgentOfTask, AgentRetention, AgentStore, ArchivedAgent, Deletion, PageRequest, StoreError,
    TaskScan, TaskStore,
};
use crate::testing::samples::{self, START, after};

pub(super) const CHECKS: &[Check<AgentPorts>] = &[
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
        "an inline agent is found by its id and by tasks, and is in no list",
        |k| Box::pin(inline::inline_is_found(k)),
    ),
    (
        "an inline agent that several keep at once is stored once",
        |k| Box::pin(inline::kept_at_once(k)),
    ),
    (
        "a noted use of an inline agent puts off when it is due",
        |k| Box::pin(inline::use_is_noted(k)),
    ),
    (
        "an inline agent that was used since is not removed, and its scan is not noted",
        |k| Box::pin(inline::used_stays(k)),
    ),
    ("an inline agent that is removed can be kept again", |k| {
        Box::pin(inline::kept_again(k))
    }),
    ("a task that names an inline agent is found", |k| {
        Box::pin(inline::task_is_found(k))
    }),
    (
        "a tenant has at most so many agents, and one that is refused is not stored",
        |k| Box::pin(counts::agents_are_counted(k)),
    ),
    (
        "an agent that is archived and removed, often and at once, is not counted",
        |k| Box::pin(counts::archived_are_not_counted(k)),
    ),
    ("an inline agent is not counted", |k| {
        Box::pin(counts::inline_are_not_counted(k))
    }),
    (
        "of concurrent agents only as many are added as there may be",
        |k| Box::pin(counts::racing_agents(k)),
    ),
    (
        "the oldest task that names the agent is found, until it is deleted, and then the next",
        |k| Box::pin(tasks_are_found(k)),
    ),
];

/// Where agents and what names them are ports.
#[derive(Clone)]
pub struct AgentPorts {
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

impl AgentPorts {
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
        created_at: agent.created_at,
        archived_at: at(10),
        scanned_to: None,
    }
}

async fn archived_is_hidden(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let other = samples::agent(&agent.tenant);
    ports.agents.create(&other).await?;
    ports.archive(&agent).await?;
    ports.archive(&agent).await?;
    same(&ports.agents.head(&agent.tenant, agent.id).await?, &None)?;
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let list = ports.agents.list(&agent.tenant, &page).await?;
    same(&list.entries, &vec![Ok(AgentHead::of(other))])?;
    let (tenant, version) = (&agent.tenant, agent.version_ref());
    let stored = ports.agents.version(tenant, version).await?;
    same(&stored, &Some(agent.clone()))?;
    let of_task = ports.agents.of_task(tenant, version).await?;
    let expected = AgentOfTask {
        agent: agent.clone(),
        switch: Switch::Enabled,
        cache_generation: 0,
        tenant: TenantStatus::Active,
    };
    same(&of_task, &Some(expected))?;
    let versions = ports.agents.versions(tenant, agent.id, &page).await?;
    same(&versions.entries.len(), &1)?;
    Ok(ports.retention.remove(&archived(&agent)).await?)
}

async fn archived_stays(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let before = AgentHead::of(agent.clone());
    let (mut switched, mut changed) = (before.clone(), before.clone());
    (switched.switch, switched.revision) = (Switch::Disabled, 2);
    changed.configure(samples::agent_config("late", ""), after(1));
    changed.revision = 2;
    ports.archive(&agent).await?;
    for late in [switched, changed] {
        let refused = ports.agents.replace(&before, &late).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    same(&ports.agents.head(&agent.tenant, agent.id).await?, &None)?;
    Ok(ports.retention.remove(&archived(&agent)).await?)
}

async fn not_archived(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let never = samples::agent(&agent.tenant);
    for (tenant, id) in [
        (samples::fresh_tenant(), agent.id),
        (agent.tenant.clone(), never.id),
    ] {
        let refused = ports.retention.archive(&tenant, id, at(10), at(20)).await?;
        same(&refused, &false)?;
    }
    same(&ports.agents.newest(&agent.tenant, never.id).await?, &None)?;
    same(
        &ports.agents.newest(&agent.tenant, agent.id).await?,
        &Some(agent),
    )
}

async fn due(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    ports.archive(&agent).await?;
    let mut marked = archived(&agent);
    eventually(|| async { same(&ports.is_due(&marked, at(20)).await?, &true) }).await?;
    same(&ports.is_due(&marked, at(19)).await?, &false)?;
    let task = samples::task(&agent, START);
    ports.tasks.create(&task).await?;
    let scanned = async || ports.retention.scan(&marked, START).await;
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
    ports.retention.note_scan(&marked, at(90)).await?;
    eventually(|| async { same(&ports.is_due(&marked, at(90)).await?, &true) }).await?;
    eventually(|| async { same(&ports.is_due(&marked, at(89)).await?, &false) }).await?;
    // Archived again, it is no sooner due.
    ports.archive(&agent).await?;
    same(&ports.is_due(&marked, at(89)).await?, &false)?;
    Ok(ports.retention.remove(&marked).await?)
}

async fn removed_is_gone(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let first = AgentHead::of(agent.clone());
    let mut second = first.clone();
    second.configure(samples::agent_config("second", ""), after(1));
    second.revision = 2;
    ports.agents.replace(&first, &second).await?;
    ports.archive(&agent).await?;
    let mut removals = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (retention, agent) = (Arc::clone(&ports.retention), archived(&agent));
        removals.spawn(async move { retention.remove(&agent).await });
    }
    for removed in removals.join_all().await {
        removed?;
    }
    same(&ports.agents.newest(&agent.tenant, agent.id).await?, &None)?;
    for version in [&first.newest, &second.newest] {
        let (tenant, version) = (&agent.tenant, version.version_ref());
        same(&ports.agents.version(tenant, version).await?, &None)?;
        same(&ports.agents.of_task(tenant, version).await?, &None)?;
    }
    same(&ports.listed(&agent).await?, &0)?;
    ports.retention.note_scan(&archived(&agent), at(10)).await?;
    let (tenant, id) = (&agent.tenant, agent.id);
    let again = ports.retention.archive(tenant, id, at(10), at(20)).await?;
    same(&again, &false)?;
    eventually(|| async { same(&ports.is_due(&archived(&agent), at(99)).await?, &false) }).await
}

async fn present_stays(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let removed = ports.retention.remove(&archived(&agent)).await;
    holds(matches!(removed, Err(StoreError::Conflict)), || {
        format!("{removed:?}")
    })?;
    let newest = ports.agents.newest(&agent.tenant, agent.id).await?;
    same(&newest, &Some(agent.clone()))?;
    let stored = ports
        .agents
        .version(&agent.tenant, agent.version_ref())
        .await?;
    same(&stored, &Some(agent))
}

async fn delete(ports: &AgentPorts, task: &Task) -> Outcome {
    let mut task = task.clone();
    task.cancel(START)?;
    ports.tasks.update(&task).await?;
    let tenant = &task.spec().tenant;
    let deleted = ports.tasks.delete(tenant, task.id()).await?;
    same(&deleted, &Deletion::Begun)
}

async fn tasks_are_found(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let scan = async |place: Option<String>| {
        let mut archived = archived(&agent);
        archived.scanned_to = place;
        ports.retention.scan(&archived, after(60)).await
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
        ports.tasks.create(task).await?;
    }
    let found = async |wanted: &Task, place: Option<String>| match scan(place).await? {
        TaskScan::Found { task, place } if task == wanted.id() => Ok(place),
        other => Err(format!("{other:?}").into()),
    };
    eventually(|| async { found(&first, None).await.map(drop) }).await?;
    let place = found(&first, None).await?;
    same(&found(&first, Some(place.clone())).await?, &place)?;
    delete(&ports, &first).await?;
    eventually(|| async { found(&second, Some(place.clone())).await.map(drop) }).await?;
    let place = found(&second, Some(place)).await?;
    delete(&ports, &second).await?;
    eventually(|| async { same(&scan(Some(place.clone())).await?, &TaskScan::Clear) }).await?;
    same(&scan(None).await?, &TaskScan::Clear)
}
