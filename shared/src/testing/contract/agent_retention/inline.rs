//! The rules of inline agents: who keeps and who removes them may do so at the same time.

use super::{
    Agent, AgentHead, AgentOfTask, AgentPorts, Arc, ArchivedAgent, Outcome, StoreError, Switch,
    TaskScan, TenantStatus, archived, at, eventually, holds, same, samples,
};
use crate::domain::{AgentId, CallRules};
use crate::ports::{InlineUse, Kept};

/// An inline agent of a tenant of its own.
fn inline() -> Agent {
    let id = AgentId::derived(std::array::from_fn(|_| fastrand::u8(..)));
    let mut config = samples::agent_config("inline", "Be brief.");
    // Such an agent has a record of the newest version.
    config.tools = vec![samples::calculator(CallRules::default().with_max_calls(3))];
    Agent::inline(id, samples::fresh_tenant(), config, at(0))
}

/// A use that is noted unless one of the last 5 seconds is, and the agent due 20 seconds later.
const fn used(second: u64) -> InlineUse {
    InlineUse {
        now: at(second),
        recent_since: at(second.saturating_sub(5)),
        due_at: at(second + 20),
    }
}

/// The agent as the watchdog finds it, with this last use.
fn last_used(agent: &Agent, second: u64) -> ArchivedAgent {
    ArchivedAgent {
        archived_at: at(second),
        ..archived(agent)
    }
}

impl AgentPorts {
    async fn kept(&self, agent: &Agent, second: u64) -> Result<Kept, StoreError> {
        self.agents.keep(agent, used(second)).await
    }

    async fn is_there(&self, agent: &Agent) -> Result<bool, StoreError> {
        let (tenant, version) = (&agent.tenant, agent.version_ref());
        let found = self.agents.version(tenant, version).await?;
        let head = self.agents.head(tenant, agent.id).await?;
        let of_task = self.agents.of_task(tenant, version).await?;
        let expected = found.is_some();
        assert_eq!((head.is_some(), of_task.is_some()), (expected, expected));
        Ok(expected)
    }

    /// The watchdog finds the agent with this last use at this moment, but not a second before.
    async fn is_due_from(&self, agent: &ArchivedAgent, second: u64) -> Outcome {
        eventually(|| async { same(&self.is_due(agent, at(second)).await?, &true) }).await?;
        same(&self.is_due(agent, at(second - 1)).await?, &false)
    }
}

pub(super) async fn inline_is_found(ports: AgentPorts) -> Outcome {
    let agent = inline();
    let tenant = &agent.tenant;
    same(&ports.agents.head(tenant, agent.id).await?, &None)?;
    same(&ports.kept(&agent, 0).await?, &Kept::New)?;
    let head = ports.agents.head(tenant, agent.id).await?;
    same(&head, &Some(AgentHead::of(agent.clone())))?;
    let of_task = ports.agents.of_task(tenant, agent.version_ref()).await?;
    let expected = AgentOfTask {
        agent: agent.clone(),
        switch: Switch::Enabled,
        cache_generation: 0,
        tenant: TenantStatus::Active,
    };
    same(&of_task, &Some(expected))?;
    same(&ports.listed(&agent).await?, &0)?;
    let other = samples::fresh_tenant();
    same(&ports.agents.head(&other, agent.id).await?, &None)?;
    Ok(ports.retention.remove(&last_used(&agent, 0)).await?)
}

pub(super) async fn kept_at_once(ports: AgentPorts) -> Outcome {
    let agent = inline();
    let mut keeping = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (agents, agent) = (Arc::clone(&ports.agents), agent.clone());
        keeping.spawn(async move { agents.keep(&agent, used(0)).await });
    }
    let mut new = 0;
    for kept in keeping.join_all().await {
        new += usize::from(kept? == Kept::New);
    }
    same(&new, &1)?;
    same(&ports.is_there(&agent).await?, &true)?;
    Ok(ports.retention.remove(&last_used(&agent, 0)).await?)
}

pub(super) async fn use_is_noted(ports: AgentPorts) -> Outcome {
    let agent = inline();
    ports.kept(&agent, 0).await?;
    ports.is_due_from(&last_used(&agent, 0), 20).await?;
    same(&ports.kept(&agent, 5).await?, &Kept::Known)?;
    same(&ports.is_due(&last_used(&agent, 0), at(20)).await?, &true)?;
    same(&ports.kept(&agent, 6).await?, &Kept::Known)?;
    ports.is_due_from(&last_used(&agent, 6), 26).await?;
    Ok(ports.retention.remove(&last_used(&agent, 6)).await?)
}

pub(super) async fn used_stays(ports: AgentPorts) -> Outcome {
    let agent = inline();
    ports.kept(&agent, 0).await?;
    let before = last_used(&agent, 0);
    ports.kept(&agent, 30).await?;
    ports.retention.note_scan(&before, at(20)).await?;
    ports.is_due_from(&last_used(&agent, 30), 50).await?;
    let removed = ports.retention.remove(&before).await;
    holds(matches!(removed, Err(StoreError::Conflict)), || {
        format!("{removed:?}")
    })?;
    same(&ports.is_there(&agent).await?, &true)?;
    let now = last_used(&agent, 30);
    ports.retention.note_scan(&now, at(70)).await?;
    ports.is_due_from(&now, 70).await?;
    Ok(ports.retention.remove(&now).await?)
}

pub(super) async fn kept_again(ports: AgentPorts) -> Outcome {
    let agent = inline();
    let last = last_used(&agent, 0);
    ports.kept(&agent, 0).await?;
    ports.retention.remove(&last).await?;
    ports.retention.remove(&last).await?;
    same(&ports.is_there(&agent).await?, &false)?;
    let due = async || ports.is_due(&last, at(99)).await;
    eventually(|| async { same(&due().await?, &false) }).await?;
    ports.retention.note_scan(&last, at(5)).await?;
    same(&ports.is_there(&agent).await?, &false)?;
    same(&ports.kept(&agent, 7).await?, &Kept::New)?;
    same(&ports.is_there(&agent).await?, &true)?;
    Ok(ports.retention.remove(&last_used(&agent, 7)).await?)
}

pub(super) async fn task_is_found(ports: AgentPorts) -> Outcome {
    let agent = inline();
    ports.kept(&agent, 0).await?;
    let other = samples::agent(&agent.tenant);
    for task in [
        samples::task(&other, at(1)),
        samples::task(&agent, at(2)),
        samples::task(&agent, at(3)),
    ] {
        ports.tasks.create(&task).await?;
    }
    let last = last_used(&agent, 0);
    let scan = async || ports.retention.scan(&last, at(15)).await;
    eventually(|| async {
        let scan = scan().await?;
        holds(matches!(scan, TaskScan::Found { .. }), || {
            format!("{scan:?}")
        })
    })
    .await?;
    let empty = ArchivedAgent {
        tenant: samples::fresh_tenant(),
        ..last.clone()
    };
    let scan = ports.retention.scan(&empty, at(15)).await?;
    same(&scan, &TaskScan::Clear)?;
    Ok(ports.retention.remove(&last).await?)
}
