//! Agents in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{MemoryStore, cursor, cut};
use crate::domain::{
    Agent, AgentHead, AgentId, AgentVersion, Switch, TenantId, TenantStatus, Timestamp,
};
use crate::ports::{
    Addition, AgentOfTask, AgentStore, InlineUse, Kept, Page, PageRequest, StoreError, TaskAgents,
    UnreadableAgent,
};
use crate::testing::faults::Call;

#[derive(Debug, Default)]
pub(in crate::testing) struct Agents {
    pub(in crate::testing) heads: BTreeMap<AgentId, AgentHead>,
    pub(in crate::testing) versions: BTreeMap<(AgentId, u32), Agent>,
    /// Those whose records can't be read.
    damaged: BTreeSet<AgentId>,
    pub(in crate::testing) archived: BTreeMap<AgentId, Archived>,
    pub(in crate::testing) inline: BTreeMap<AgentId, Archived>,
}

/// The mark of an archived agent, or of an inline agent.
#[derive(Debug, Clone)]
pub(in crate::testing) struct Archived {
    pub(in crate::testing) at: Timestamp,
    pub(in crate::testing) due_at: Timestamp,
    pub(in crate::testing) scanned_to: Option<String>,
}

impl Agents {
    pub(super) fn damage(&mut self, agent: AgentId) {
        self.damaged.insert(agent);
    }

    fn readable(&self, agent: AgentId) -> Result<(), StoreError> {
        let corrupt = || StoreError::Corrupt {
            key: format!("AGENT#{agent}"),
            reason: "it is damaged".to_owned(),
        };
        if self.damaged.contains(&agent) {
            Err(corrupt())
        } else {
            Ok(())
        }
    }

    /// The tenant's agents that are not archived.
    fn present(&self, tenant: &TenantId) -> impl Iterator<Item = &AgentHead> {
        let present = self
            .heads
            .values()
            .filter(|head| !self.archived.contains_key(&head.newest.id));
        present.filter(move |head| head.newest.tenant == *tenant)
    }

    fn count(&self, tenant: &TenantId) -> u32 {
        u32::try_from(self.present(tenant).count()).unwrap_or(u32::MAX)
    }

    fn version(&self, tenant: &TenantId, version: AgentVersion) -> Option<&Agent> {
        let agent = self.versions.get(&(version.id, version.version));
        agent.filter(|agent| agent.tenant == *tenant)
    }
}

#[async_trait]
impl TaskAgents for MemoryStore {
    async fn of_task(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<AgentOfTask>, StoreError> {
        self.run_as(Call::ReadAgent, |records| {
            let head = records.agents.heads.get(&version.id);
            let switch = head.map_or(Switch::Enabled, |head| head.switch);
            let cache_generation = head.map_or(0, |head| head.cache_generation);
            let agent = records.agents.version(tenant, version).cloned();
            Ok(agent.map(|agent| AgentOfTask {
                agent,
                switch,
                cache_generation,
                tenant: TenantStatus::Active,
            }))
        })
        .await
    }
}

#[async_trait]
impl AgentStore for MemoryStore {
    async fn add(&self, agent: &AgentHead, most: u32) -> Result<Addition, StoreError> {
        self.run(|records| {
            let first = &agent.newest;
            let agents = &mut records.agents;
            match agents.versions.get(&(first.id, first.version)) {
                Some(stored) if stored == first => return Ok(Addition::Added),
                Some(_) => return Err(StoreError::Conflict),
                None => {}
            }
            let count = agents.count(&first.tenant);
            if count >= most {
                return Ok(Addition::Full(count));
            }
            let version = (first.id, first.version);
            agents.versions.insert(version, first.clone());
            agents.heads.insert(first.id, agent.clone());
            Ok(Addition::Added)
        })
        .await
    }

    async fn count(&self, tenant: &TenantId, _now: Timestamp) -> Result<u32, StoreError> {
        self.run(|records| Ok(records.agents.count(tenant))).await
    }

    async fn keep(&self, agent: &Agent, used: InlineUse) -> Result<Kept, StoreError> {
        self.run(|records| {
            let Agents {
                inline, versions, ..
            } = &mut records.agents;
            let noted = Archived {
                at: used.now,
                due_at: used.due_at,
                scanned_to: None,
            };
            match inline.get_mut(&agent.id) {
                Some(known) if known.at >= used.recent_since => Ok(Kept::Known),
                Some(known) => {
                    let scanned_to = known.scanned_to.take();
                    *known = Archived {
                        scanned_to,
                        ..noted
                    };
                    Ok(Kept::Known)
                }
                None => {
                    inline.insert(agent.id, noted);
                    versions.insert((agent.id, agent.version), agent.clone());
                    Ok(Kept::New)
                }
            }
        })
        .await
    }

    async fn head(&self, tenant: &TenantId, id: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.run(|records| {
            records.agents.readable(id)?;
            if id.is_inline() {
                let only = records.agents.version(tenant, AgentVersion::inline(id));
                return Ok(only.cloned().map(AgentHead::of));
            }
            let mut present = records.agents.present(tenant);
            Ok(present.find(|head| head.newest.id == id).cloned())
        })
        .await
    }

    async fn replace(&self, before: &AgentHead, after: &AgentHead) -> Result<(), StoreError> {
        self.run(|records| {
            let (agents, newest) = (&mut records.agents, &after.newest);
            if agents.archived.contains_key(&newest.id) {
                return Err(StoreError::Conflict);
            }
            let kept = agents.heads.get_mut(&newest.id);
            match kept.filter(|kept| kept.newest.tenant == newest.tenant) {
                Some(kept) if kept == after => {}
                Some(kept) if kept.revision == before.revision => kept.clone_from(after),
                Some(_) | None => return Err(StoreError::Conflict),
            }
            let key = (newest.id, newest.version);
            agents.versions.entry(key).or_insert_with(|| newest.clone());
            Ok(())
        })
        .await
    }

    async fn version(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<Agent>, StoreError> {
        self.run_as(Call::ReadAgent, |records| {
            Ok(records.agents.version(tenant, version).cloned())
        })
        .await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<AgentHead, UnreadableAgent>>, StoreError> {
        self.run(|records| {
            let after: Option<AgentId> = cursor(page, |text| text.parse().ok())?;
            let present = records.agents.present(tenant).cloned();
            let rest = present.filter(|head| after.is_none_or(|after| head.newest.id > after));
            let Page { entries, next } = cut(rest, page, |head| head.newest.id.to_string());
            let listed = |head: AgentHead| match records.agents.readable(head.newest.id) {
                Ok(()) => Ok(head),
                Err(error) => Err(UnreadableAgent {
                    id: head.newest.id,
                    reason: error.to_string(),
                }),
            };
            Ok(Page {
                entries: entries.into_iter().map(listed).collect(),
                next,
            })
        })
        .await
    }

    async fn versions(
        &self,
        tenant: &TenantId,
        id: AgentId,
        page: &PageRequest,
    ) -> Result<Page<Result<Agent, StoreError>>, StoreError> {
        self.run(|records| {
            let before = cursor(page, |text| text.strip_prefix('v')?.parse().ok())?;
            let all = records.agents.versions.range((id, 0)..=(id, u32::MAX));
            let ours = all
                .map(|(_, agent)| agent)
                .filter(|agent| agent.tenant == *tenant);
            let rest = ours
                .rev()
                .filter(|agent| before.is_none_or(|before| agent.version < before))
                .cloned();
            let Page { entries, next } = cut(rest, page, |agent| format!("v{}", agent.version));
            Ok(Page {
                entries: entries.into_iter().map(Ok).collect(),
                next,
            })
        })
        .await
    }
}
