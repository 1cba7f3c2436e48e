//! Archiving agents in memory.

use async_trait::async_trait;

use super::store::{Agents, Archived, MemoryStore};
use crate::domain::{AgentId, TaskId, TenantId, Timestamp};
use crate::ports::{AgentRetention, ArchivedAgent, StoreError, TaskScan};

/// How many of a tenant's tasks are scanned at once.
const PART: usize = 100;

/// A task's place in the list of its tenant's tasks, as text that sorts.
fn place(at: Timestamp, task: TaskId) -> String {
    format!("{:013}#{task}", at.as_millis())
}

impl Agents {
    fn is_of(&self, tenant: &TenantId, agent: AgentId) -> bool {
        let head = self.heads.get(&agent);
        head.is_some_and(|head| head.newest.tenant == *tenant)
    }

    /// The mark of an archived or inline agent.
    fn marked(&mut self, agent: AgentId) -> Option<&mut Archived> {
        let archived = self.archived.get_mut(&agent);
        archived.or_else(|| self.inline.get_mut(&agent))
    }
}

#[async_trait]
impl AgentRetention for MemoryStore {
    async fn archive(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
        due_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(|records| {
            let is_there = records.agents.is_of(tenant, agent);
            if is_there {
                records.agents.archived.entry(agent).or_insert(Archived {
                    at: now,
                    due_at,
                    scanned_to: None,
                });
            }
            Ok(is_there)
        })
        .await
    }

    async fn due_agents(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchivedAgent>, StoreError> {
        self.run(|records| {
            let agents = &records.agents;
            let mut due: Vec<(Timestamp, ArchivedAgent)> = Vec::new();
            for (id, archived) in agents.archived.iter().chain(&agents.inline) {
                let first = agents.versions.range((*id, 0)..=(*id, u32::MAX)).next();
                let Some((_, agent)) = first.filter(|_| archived.due_at <= now) else {
                    continue;
                };
                let agent = ArchivedAgent {
                    tenant: agent.tenant.clone(),
                    id: *id,
                    created_at: id.moment().unwrap_or(agent.created_at),
                    archived_at: archived.at,
                    scanned_to: archived.scanned_to.clone(),
                };
                due.push((archived.due_at, agent));
            }
            due.sort_by_key(|(due_at, _)| *due_at);
            let agents = due.into_iter().map(|(_, agent)| agent);
            Ok(agents.take(limit as usize).collect())
        })
        .await
    }

    async fn scan(&self, agent: &ArchivedAgent, last: Timestamp) -> Result<TaskScan, StoreError> {
        self.run(|records| {
            let from = agent.scanned_to.clone().unwrap_or_default();
            let mut tasks: Vec<(String, TaskId, AgentId)> = records
                .tasks
                .values()
                .filter(|task| task.spec().tenant == agent.tenant && task.spec().created_at <= last)
                .map(|task| {
                    let place = place(task.spec().created_at, task.id());
                    (place, task.id(), task.spec().agent.id)
                })
                .filter(|(place, ..)| *place >= from)
                .collect();
            tasks.sort_unstable();
            let part = tasks.get(..PART).unwrap_or(&tasks);
            if let Some((place, task, _)) = part.iter().find(|(_, _, named)| *named == agent.id) {
                let (task, place) = (*task, place.clone());
                return Ok(TaskScan::Found { task, place });
            }
            Ok(match tasks.get(PART) {
                Some((place, ..)) => TaskScan::Unfinished {
                    place: place.clone(),
                },
                None => TaskScan::Clear,
            })
        })
        .await
    }

    async fn note_scan(&self, agent: &ArchivedAgent, due_at: Timestamp) -> Result<(), StoreError> {
        self.run(|records| {
            let noted = records.agents.marked(agent.id);
            if let Some(archived) = noted.filter(|noted| noted.at == agent.archived_at) {
                archived.scanned_to.clone_from(&agent.scanned_to);
                archived.due_at = due_at;
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, agent: &ArchivedAgent) -> Result<(), StoreError> {
        self.run(|records| {
            let agents = &mut records.agents;
            let inline = agents.inline.get(&agent.id);
            if inline.is_some_and(|inline| inline.at != agent.archived_at) {
                return Err(StoreError::Conflict);
            }
            let is_archived = agents.archived.contains_key(&agent.id);
            if agents.heads.contains_key(&agent.id) && !is_archived {
                return Err(StoreError::Conflict);
            }
            agents.heads.remove(&agent.id);
            agents.versions.retain(|(id, _), _| *id != agent.id);
            agents.archived.remove(&agent.id);
            agents.inline.remove(&agent.id);
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
    async fn the_fake_keeps_the_contract_of_archived_agents() {
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
