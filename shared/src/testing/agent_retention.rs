//! Deleting agents in memory.

use async_trait::async_trait;

use super::store::{Agents, MemoryStore};
use crate::domain::{AgentId, TaskId, TenantId, Timestamp};
use crate::ports::{AgentRetention, DeletedAgent, StoreError, TaskSearch};

/// How many of a tenant's tasks are searched at once.
const PART: usize = 100;

impl Agents {
    fn marked(
        &mut self,
        agent: &DeletedAgent,
    ) -> Result<&mut (Timestamp, Option<String>), StoreError> {
        self.marked.get_mut(&agent.id).ok_or(StoreError::Conflict)
    }
}

#[async_trait]
impl AgentRetention for MemoryStore {
    async fn mark(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(|records| {
            let mut versions = records.agents.all.range((agent, 0)..=(agent, u32::MAX));
            let is_there = versions.any(|(_, version)| version.tenant == *tenant);
            if is_there {
                records.agents.marked.entry(agent).or_insert((now, None));
            }
            Ok(is_there)
        })
        .await
    }

    async fn find_task(&self, agent: &DeletedAgent) -> Result<TaskSearch, StoreError> {
        self.run(|records| {
            let after = agent
                .searched_to
                .as_deref()
                .map(|place| place.parse::<usize>().map_err(|_| StoreError::Cursor));
            let after = after.transpose()?.unwrap_or(0);
            let mut tasks: Vec<(Timestamp, TaskId, AgentId)> = records
                .tasks
                .values()
                .filter(|task| task.spec().tenant == agent.tenant)
                .map(|task| (task.spec().created_at, task.id(), task.spec().agent.id))
                .collect();
            tasks.sort_unstable_by(|one, other| other.cmp(one));
            let part = tasks.get(after..).unwrap_or_default();
            if let Some((_, task, _)) = part
                .iter()
                .take(PART)
                .find(|(_, _, named)| *named == agent.id)
            {
                return Ok(TaskSearch::Found(*task));
            }
            let rest = part.len() > PART;
            Ok(if rest {
                TaskSearch::NoneSoFar((after + PART).to_string())
            } else {
                TaskSearch::None
            })
        })
        .await
    }

    async fn marked_before(
        &self,
        moment: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeletedAgent>, StoreError> {
        self.run(|records| {
            let mut marked: Vec<(Timestamp, DeletedAgent)> = Vec::new();
            for (id, (at, searched_to)) in records
                .agents
                .marked
                .iter()
                .filter(|(_, (at, _))| *at < moment)
            {
                let Some((_, agent)) = records.agents.all.range((*id, 0)..).next() else {
                    continue;
                };
                let (tenant, created_at, searched_to) =
                    (agent.tenant.clone(), agent.created_at, searched_to.clone());
                marked.push((
                    *at,
                    DeletedAgent {
                        tenant,
                        id: *id,
                        created_at,
                        searched_to,
                    },
                ));
            }
            marked.sort_by_key(|(at, _)| *at);
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(marked
                .into_iter()
                .take(most)
                .map(|(_, agent)| agent)
                .collect())
        })
        .await
    }

    async fn note_search(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
        self.run(|records| {
            if let Ok((_, searched_to)) = records.agents.marked(agent) {
                searched_to.clone_from(&agent.searched_to);
            }
            Ok(())
        })
        .await
    }

    async fn restore(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
        self.run(|records| {
            let is_there = records
                .agents
                .all
                .range((agent.id, 0)..=(agent.id, u32::MAX))
                .next()
                .is_some();
            records.agents.marked.remove(&agent.id);
            if is_there {
                Ok(())
            } else {
                Err(StoreError::Conflict)
            }
        })
        .await
    }

    async fn remove(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
        self.run(|records| {
            let is_there = records
                .agents
                .all
                .range((agent.id, 0)..=(agent.id, u32::MAX))
                .next()
                .is_some();
            if is_there {
                records.agents.marked(agent)?;
            }
            records.agents.all.retain(|(id, _), _| *id != agent.id);
            records.agents.marked.remove(&agent.id);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::contract;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_the_deletion_of_agents() {
        let store = Arc::new(MemoryStore::default());
        let (agents, tasks) = (Arc::clone(&store), Arc::clone(&store));
        contract::agent_retention(contract::AgentPorts {
            agents,
            tasks,
            retention: store,
        })
        .await;
    }
}
