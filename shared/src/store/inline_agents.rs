//! Inline agents. One has a single record, where the versions of other agents are: tasks find it
//! there, also those of earlier versions of the platform, and no list of agents reads it.
//!
//! The record names the last noted use. Who removes it does so under the condition that this has not
//! changed.

use super::agent_item::{self, USED_AT};
use super::agent_store::DynamoAgentStore;
use super::error::{record_that_failed_put, record_that_failed_update};
use super::items::{Fields, Item, moment, text};
use super::keys::{self, DUE_AT, DUE_SHARD, INLINE_AGENTS, Key};
use crate::domain::Agent;
use crate::ports::{InlineUse, Kept, StoreError};

/// How often keeping an agent is tried. Each failure means that another caller stored or removed it.
const MOST_TRIES: usize = 4;

impl DynamoAgentStore {
    /// See [`AgentStore::keep`](crate::ports::AgentStore::keep). A read, and a write if the agent is
    /// new or no recent use is noted.
    pub(super) async fn keep_inline(
        &self,
        agent: &Agent,
        used: InlineUse,
    ) -> Result<Kept, StoreError> {
        let key = keys::agent_version(&agent.tenant, agent.version_ref());
        for _ in 0..MOST_TRIES {
            let Some(item) = self.table.read(key.clone()).await? else {
                if self.add_inline(key.clone(), agent, used).await? {
                    return Ok(Kept::New);
                }
                continue;
            };
            agent_item::read(&item)?;
            let noted = Fields::of_index(&item).moment(USED_AT)?;
            if noted >= used.recent_since || self.note_use(key.clone(), used).await? {
                return Ok(Kept::Known);
            }
        }
        Err(StoreError::Conflict)
    }

    /// False if another caller has added it.
    async fn add_inline(
        &self,
        key: Key,
        agent: &Agent,
        used: InlineUse,
    ) -> Result<bool, StoreError> {
        let request = self.table.put_new(record(key, agent, used));
        let Err(error) = request.send().await else {
            return Ok(true);
        };
        record_that_failed_put(error).map(|_| false)
    }

    /// False if the agent was removed meanwhile.
    async fn note_use(&self, key: Key, used: InlineUse) -> Result<bool, StoreError> {
        let request = self
            .table
            .update(key)
            .update_expression("SET #used_at = :now, #due_at = :due_at")
            .condition_expression("attribute_exists(#used_at)")
            .expression_attribute_names("#used_at", USED_AT)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":now", moment(used.now))
            .expression_attribute_values(":due_at", moment(used.due_at));
        let Err(error) = request.send().await else {
            return Ok(true);
        };
        record_that_failed_update(error).map(|_| false)
    }
}

fn record(key: Key, agent: &Agent, used: InlineUse) -> Item {
    let mut item = agent_item::write(key, agent);
    let marks = [
        (USED_AT, moment(used.now)),
        (DUE_SHARD, text(INLINE_AGENTS)),
        (DUE_AT, moment(used.due_at)),
    ];
    item.extend(marks.map(|(name, value)| (name.to_owned(), value)));
    item
}
