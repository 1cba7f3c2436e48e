//! Submissions that define their agent.
//!
//! The id of an inline agent is derived from its tenant and its definition. So the same definition
//! is the same agent, however often and with whichever key it is submitted. The agent is stored before its task: if
//! the submission dies in between, no task names the agent, and it is removed like one whose last task
//! was deleted.

use std::time::Duration;

use super::agent_draft::below;
use super::agent_purge::LONGEST_SUBMISSION;
use super::span::record;
use super::submit::NewTask;
use super::{AgentDraft, AppError, Tasks};
use crate::domain::{Agent, AgentId, TaskInput, TenantId, Timestamp};
use crate::ports::{InlineUse, Kept};

/// How long a noted use of an agent stands for later ones, which are not noted. A scan for tasks goes to
/// [`LONGEST_SUBMISSION`] after the noted use, and must reach the tasks of these later submissions.
const USE_STANDS_FOR: Duration = Duration::from_mins(10);

impl NewTask {
    /// A task for the inline agent of this definition, with the agent's limits, that begins at once.
    pub fn inline(tenant: &TenantId, definition: AgentDraft, input: TaskInput) -> Self {
        let agent = AgentId::inline(tenant, &definition.config);
        Self {
            definition: Some(Box::new(definition)),
            ..Self::of(agent, input)
        }
    }
}

impl Tasks {
    /// The inline agent of this id, which is not stored yet.
    pub(super) fn inline_agent(
        &self,
        tenant: &TenantId,
        id: AgentId,
        definition: &AgentDraft,
    ) -> Result<Agent, AppError> {
        let now = self.clock.now();
        let refused = |broken| AppError::Invalid(below("/agent", broken).collect());
        let admitted = definition.admit(&self.providers, now);
        admitted.map_err(refused)?;
        record("agent_id", id.to_string());
        let config = definition.config.clone();
        Ok(Agent::inline(id, tenant.clone(), config, now))
    }

    /// Stores the inline agent if it is not stored, for a task that is about to be stored.
    pub(super) async fn keep_inline(&self, agent: &Agent, now: Timestamp) -> Result<(), AppError> {
        let used = InlineUse {
            now,
            recent_since: now.minus(USE_STANDS_FOR),
            due_at: now.plus(USE_STANDS_FOR).plus(LONGEST_SUBMISSION),
        };
        match self.agents.keep(agent, used).await? {
            Kept::New => tracing::info!("inline agent stored"),
            Kept::Known => {}
        }
        Ok(())
    }
}
