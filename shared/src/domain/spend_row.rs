//! What a tenant's model calls cost, by day, agent, key and model.

use super::api_key::KeyId;
use super::chain::ModelRef;
use super::id::AgentId;
use super::spend::Spend;

/// One row of a tenant's usage: what the tasks that have these in common cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendRow {
    /// What they have in common.
    pub key: SpendKey,
    /// What they cost.
    pub spend: Spend,
}

/// What the tasks of a row have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpendKey {
    /// The day on which the tasks were submitted, in UTC, as days since the Unix epoch. Later calls
    /// of these tasks count on this day too, so a day's usage is the cost of the tasks created on it.
    pub day: u64,
    /// Their agent.
    pub agent: AgentId,
    /// The API key that submitted them; `None` for the deployment's own key.
    pub key: Option<KeyId>,
    /// What the row counts of their cost.
    pub part: SpendPart,
}

/// Which part of the cost a row counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpendPart {
    /// The calls of this model. The failed calls before its answer count with it.
    Model(ModelRef),
    /// What a worker found in a task that was left behind by a worker that was lost.
    Lost,
    /// What the daily check found missing.
    Missing,
}
