//! The rules of the number of a tenant's agents.

use super::{
    Agent, AgentHead, AgentPorts, ArchivedAgent, Outcome, START, StoreError, archived, at, same,
    samples,
};
use crate::domain::{AgentId, TenantId};
use crate::ports::{Addition, InlineUse};

const MOST: u32 = 3;

/// How many requests race.
const RACING: u32 = 16;

/// How often a request is repeated that others hinder, as a client would.
const TRIES: u32 = 20;

impl AgentPorts {
    async fn add(&self, agent: &Agent) -> Result<Addition, StoreError> {
        let agent = AgentHead::of(agent.clone());
        for _ in 1..TRIES {
            match self.agents.add(&agent, MOST).await {
                Err(StoreError::Conflict | StoreError::Unavailable(_)) => {}
                outcome => return outcome,
            }
        }
        self.agents.add(&agent, MOST).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        self.agents.count(tenant, at(30)).await
    }

    /// A tenant that has as many agents as it may have, and one of them.
    async fn full(&self) -> Result<(TenantId, Agent), StoreError> {
        let tenant = samples::fresh_tenant();
        let agent = samples::agent(&tenant);
        self.add(&agent).await?;
        for _ in 1..MOST {
            self.add(&samples::agent(&tenant)).await?;
        }
        Ok((tenant, agent))
    }
}

pub(super) async fn agents_are_counted(ports: AgentPorts) -> Outcome {
    let (tenant, agent) = ports.full().await?;
    let one_more = samples::agent(&tenant);
    same(&ports.add(&one_more).await?, &Addition::Full(MOST))?;
    same(&ports.agents.newest(&tenant, one_more.id).await?, &None)?;
    let version = ports
        .agents
        .version(&tenant, one_more.version_ref())
        .await?;
    same(&version, &None)?;
    // One that is stored is no new one.
    same(&ports.add(&agent).await?, &Addition::Added)?;
    same(&ports.count(&tenant).await?, &MOST)?;
    same(&ports.count(&samples::fresh_tenant()).await?, &0)?;
    let lower = ports
        .agents
        .add(&AgentHead::of(one_more.clone()), 1)
        .await?;
    same(&lower, &Addition::Full(MOST))?;
    let higher = ports.agents.add(&AgentHead::of(one_more), MOST + 1).await?;
    same(&higher, &Addition::Added)?;
    same(&ports.count(&tenant).await?, &(MOST + 1))
}

pub(super) async fn archived_are_not_counted(ports: AgentPorts) -> Outcome {
    let (tenant, agent) = ports.full().await?;
    let mut archivals = tokio::task::JoinSet::new();
    for _ in 0..RACING {
        let (ports, agent) = (ports.clone(), agent.clone());
        archivals.spawn(async move {
            for _ in 1..TRIES {
                if ports.archive(&agent).await.is_ok() {
                    return Ok(());
                }
            }
            ports.archive(&agent).await
        });
    }
    for archival in archivals.join_all().await {
        archival?;
    }
    same(&ports.count(&tenant).await?, &(MOST - 1))?;
    let next = samples::agent(&tenant);
    same(&ports.add(&next).await?, &Addition::Added)?;
    // Their removal is no second archiving, however often it is begun.
    for _ in 0..2 {
        ports.retention.remove(&archived(&agent)).await?;
    }
    same(&ports.count(&tenant).await?, &MOST)?;
    let unknown = AgentId::new(START);
    let refused = ports.retention.archive(&tenant, unknown, at(10), at(20));
    same(&refused.await?, &false)?;
    let one_more = samples::agent(&tenant);
    same(&ports.add(&one_more).await?, &Addition::Full(MOST))
}

pub(super) async fn inline_are_not_counted(ports: AgentPorts) -> Outcome {
    let (tenant, _) = ports.full().await?;
    let id = AgentId::derived(std::array::from_fn(|_| fastrand::u8(..)));
    let config = samples::agent_config("inline", "Be brief.");
    let inline = Agent::inline(id, tenant.clone(), config, at(0));
    let used = InlineUse {
        now: at(0),
        recent_since: at(0),
        due_at: at(20),
    };
    ports.agents.keep(&inline, used).await?;
    same(&ports.count(&tenant).await?, &MOST)?;
    let removed = ArchivedAgent {
        archived_at: at(0),
        ..archived(&inline)
    };
    ports.retention.remove(&removed).await?;
    same(&ports.count(&tenant).await?, &MOST)
}

pub(super) async fn racing_agents(ports: AgentPorts) -> Outcome {
    let tenant = samples::fresh_tenant();
    let mut additions = tokio::task::JoinSet::new();
    for _ in 0..RACING {
        let (ports, agent) = (ports.clone(), samples::agent(&tenant));
        additions.spawn(async move { ports.add(&agent).await });
    }
    let additions = additions.join_all().await;
    let additions = additions.into_iter().collect::<Result<Vec<_>, _>>()?;
    let added = additions
        .iter()
        .filter(|addition| **addition == Addition::Added);
    same(&added.count(), &(MOST as usize))?;
    same(&ports.count(&tenant).await?, &MOST)?;
    let listed = ports.listed(&samples::agent(&tenant)).await?;
    same(&listed, &(MOST as usize))
}
