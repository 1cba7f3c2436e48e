//! The rules of [`AgentRetention`].
//!
//! What is marked is listed for all tenants, so these checks mark agents in a past of their own.

use std::sync::Arc;

use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, Task, Timestamp};
use crate::ports::{
    AgentRetention, AgentStore, DeletedAgent, Deletion, PageRequest, StoreError, TaskSearch,
    TaskStore,
};
use crate::testing::samples::{self, START};

pub(super) const CHECKS: &[Check<AgentPorts>] = &[
    (
        "a marked agent is neither the newest nor in a list, and its version is there",
        |k| Box::pin(marked_is_hidden(k)),
    ),
    ("another tenant's agent, or none, is not marked", |k| {
        Box::pin(not_marked(k))
    }),
    (
        "a marked agent is due after its first mark, with its search's place, until it is restored",
        |k| Box::pin(due(k)),
    ),
    (
        "a removed agent is gone with its versions, and can't be restored",
        |k| Box::pin(removed_is_gone(k)),
    ),
    ("an agent that is not marked is not removed", |k| {
        Box::pin(unmarked_stays(k))
    }),
    (
        "of a tenant's tasks one that names the agent is found, until it is deleted",
        |k| Box::pin(task_is_found(k)),
    ),
];

/// The ports that store agents and the tasks that name them.
#[derive(Clone)]
pub struct AgentPorts {
    /// The agents.
    pub agents: Arc<dyn AgentStore>,
    /// The tasks that name them.
    pub tasks: Arc<dyn TaskStore>,
    /// What deletes them.
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

    async fn mark(&self, agent: &Agent) -> Outcome {
        same(
            &self.retention.mark(&agent.tenant, agent.id, at(10)).await?,
            &true,
        )
    }

    async fn listed(&self, agent: &Agent) -> Result<usize, StoreError> {
        Ok(self
            .agents
            .list(
                &agent.tenant,
                &PageRequest {
                    limit: 10,
                    after: None,
                },
            )
            .await?
            .entries
            .len())
    }

    async fn is_due(&self, agent: &DeletedAgent, moment: Timestamp) -> Result<bool, StoreError> {
        Ok(self
            .retention
            .marked_before(moment, 1_000)
            .await?
            .contains(agent))
    }
}

fn deleted(agent: &Agent) -> DeletedAgent {
    let (tenant, id, created_at) = (agent.tenant.clone(), agent.id, agent.created_at);
    DeletedAgent {
        tenant,
        id,
        created_at,
        searched_to: None,
    }
}

async fn marked_is_hidden(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let other = samples::agent(&agent.tenant);
    ports.agents.create(&other).await?;
    ports.mark(&agent).await?;
    ports.mark(&agent).await?;
    same(&ports.agents.newest(&agent.tenant, agent.id).await?, &None)?;
    let list = ports
        .agents
        .list(
            &agent.tenant,
            &PageRequest {
                limit: 10,
                after: None,
            },
        )
        .await?;
    same(&list.entries, &vec![Ok(other)])?;
    same(
        &ports
            .agents
            .version(&agent.tenant, agent.version_ref())
            .await?,
        &Some(agent.clone()),
    )?;
    Ok(ports.retention.remove(&deleted(&agent)).await?)
}

async fn not_marked(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    same(
        &ports
            .retention
            .mark(&samples::fresh_tenant(), agent.id, at(10))
            .await?,
        &false,
    )?;
    let never = samples::agent(&agent.tenant);
    same(
        &ports
            .retention
            .mark(&agent.tenant, never.id, at(10))
            .await?,
        &false,
    )?;
    same(&ports.agents.newest(&agent.tenant, never.id).await?, &None)?;
    same(
        &ports.agents.newest(&agent.tenant, agent.id).await?,
        &Some(agent),
    )
}

async fn due(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    ports.mark(&agent).await?;
    let mut marked = deleted(&agent);
    eventually(|| async { same(&ports.is_due(&marked, at(11)).await?, &true) }).await?;
    same(&ports.is_due(&marked, at(10)).await?, &false)?;
    marked.searched_to = Some("7".to_owned());
    ports.retention.note_search(&marked).await?;
    eventually(|| async { same(&ports.is_due(&marked, at(11)).await?, &true) }).await?;
    ports.retention.restore(&marked).await?;
    ports.retention.restore(&marked).await?;
    ports.retention.note_search(&marked).await?;
    same(
        &ports.agents.newest(&agent.tenant, agent.id).await?,
        &Some(agent.clone()),
    )?;
    same(&ports.listed(&agent).await?, &1)?;
    eventually(|| async { same(&ports.is_due(&marked, at(99)).await?, &false) }).await?;
    ports.mark(&agent).await?;
    eventually(|| async { same(&ports.is_due(&deleted(&agent), at(11)).await?, &true) }).await?;
    Ok(ports.retention.remove(&deleted(&agent)).await?)
}

async fn removed_is_gone(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    ports.mark(&agent).await?;
    let mut removals = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (retention, agent) = (Arc::clone(&ports.retention), deleted(&agent));
        removals.spawn(async move { retention.remove(&agent).await });
    }
    for removed in removals.join_all().await {
        removed?;
    }
    same(&ports.agents.newest(&agent.tenant, agent.id).await?, &None)?;
    same(
        &ports
            .agents
            .version(&agent.tenant, agent.version_ref())
            .await?,
        &None,
    )?;
    same(&ports.listed(&agent).await?, &0)?;
    ports.retention.note_search(&deleted(&agent)).await?;
    let restored = ports.retention.restore(&deleted(&agent)).await;
    holds(matches!(restored, Err(StoreError::Conflict)), || {
        format!("{restored:?}")
    })?;
    same(&ports.agents.newest(&agent.tenant, agent.id).await?, &None)?;
    eventually(|| async { same(&ports.is_due(&deleted(&agent), at(99)).await?, &false) }).await
}

async fn unmarked_stays(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let removed = ports.retention.remove(&deleted(&agent)).await;
    holds(matches!(removed, Err(StoreError::Conflict)), || {
        format!("{removed:?}")
    })?;
    same(
        &ports.agents.newest(&agent.tenant, agent.id).await?,
        &Some(agent.clone()),
    )?;
    same(
        &ports
            .agents
            .version(&agent.tenant, agent.version_ref())
            .await?,
        &Some(agent),
    )
}

async fn task_is_found(ports: AgentPorts) -> Outcome {
    let agent = ports.created().await?;
    let find = async || ports.retention.find_task(&deleted(&agent)).await;
    same(&find().await?, &TaskSearch::None)?;
    let foreign = Agent {
        tenant: samples::fresh_tenant(),
        ..agent.clone()
    };
    let other = samples::agent(&agent.tenant);
    let [mut ours, foreign, other] =
        [&agent, &foreign, &other].map(|agent| samples::task(agent, START));
    for task in [&foreign, &other] {
        ports.tasks.create(task).await?;
    }
    same(&find().await?, &TaskSearch::None)?;
    ports.tasks.create(&ours).await?;
    eventually(|| async { same(&find().await?, &TaskSearch::Found(Task::id(&ours))) }).await?;
    ours.cancel(START)?;
    ports.tasks.update(&ours).await?;
    same(
        &ports.tasks.delete(&agent.tenant, ours.id()).await?,
        &Deletion::Begun,
    )?;
    eventually(|| async { same(&find().await?, &TaskSearch::None) }).await
}
