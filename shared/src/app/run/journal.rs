//! Reading what the work needs: the recorded steps, the task's input, and its agent.

use super::exit::Exit;
use super::work::Work;
use crate::app::lost::{check_complete, note_steps};
use crate::app::outcome::conversation_too_long;
use crate::domain::{
    Conversation, Failure, FailureCode, MAX_CONVERSATION_BYTES, StepPlace, TaskInput,
};
use crate::ports::{AgentOfTask, StepsRequest, StoreError};

/// The most that one read of the journal returns: steps, and bytes.
const PAGE: (u32, u64) = (1_000, 4 * 1_024 * 1_024);

/// The most bytes of a journal that a worker reads: the largest conversation, and as much again
/// for what its last step can add.
const MAX_READ_BYTES: u64 = 2 * MAX_CONVERSATION_BYTES;

impl Work<'_> {
    /// Reads the steps that earlier workers recorded. If the journal grew under a lost worker, that
    /// attempt made progress. The lease's renewal stores this at once, in case this worker is lost
    /// too.
    pub(super) async fn read_journal(&mut self) -> Result<(), Exit> {
        let read = self.read_conversation().await;
        if matches!(read, Err(Exit::Parked(..) | Exit::Failed(_))) {
            // The task's record names a smaller conversation than the journal holds. Correct it:
            // the next worker must know the size before it reads.
            note_steps(self.held.runner.journal.as_ref(), &mut self.held.task).await?;
        }
        read?;
        let attempts = self.held.task.attempts();
        if self
            .held
            .task
            .note_steps(self.conversation.outline().step_summaries())
        {
            tracing::info!(
                steps = self.conversation.outline().complete_until(),
                "recorded steps loaded"
            );
            if attempts > 1 {
                self.held.renew().await?;
            }
        }
        Ok(())
    }

    /// Reads the steps of this run while there is room for them. Fails if a step that the task's
    /// record counts is missing.
    async fn read_conversation(&mut self) -> Result<(), Exit> {
        let base = self.held.task.progress().base;
        self.conversation = Conversation::new(base, []);
        let (limit, max_bytes) = PAGE;
        let mut wanted = StepsRequest {
            after: StepPlace::after(base),
            limit,
            max_bytes,
        };
        loop {
            let page = self
                .held
                .runner
                .journal
                .page(self.held.task.id(), &wanted)
                .await?;
            for step in page.steps {
                self.conversation.push(step);
            }
            self.take_room()?;
            if self.conversation.outline().bytes() > MAX_READ_BYTES {
                return Err(Exit::Failed(conversation_too_long()));
            }
            let Some(next) = page.next else { break };
            wanted.after = next;
        }
        Ok(check_complete(
            &self.held.task,
            self.conversation.outline(),
        )?)
    }

    /// The task's input. A large input is not in the task's record: it is read from the store.
    pub(super) async fn read_input(&self) -> Result<TaskInput, Exit> {
        let input = match &self.held.task.spec().input {
            Some(input) => Some(input.clone()),
            None => self.held.runner.tasks.input(self.held.task.id()).await?,
        };
        let missing = || StoreError::Corrupt {
            key: self.held.task.id().to_string(),
            reason: "its input is missing".to_owned(),
        };
        input.ok_or_else(|| missing().into())
    }

    /// The version of the agent that the task runs. Without it, the task fails. While the agent is
    /// disabled or the tenant suspended, the task waits.
    pub(super) async fn read_agent(&self) -> Result<AgentOfTask, Exit> {
        let (tenant, version) = (&self.held.task.spec().tenant, self.held.task.spec().agent);
        let missing = || {
            let message = format!("agent {} has no version {}", version.id, version.version);
            Exit::Failed(Failure::of_its_own(FailureCode::AgentMissing, message))
        };
        let found = self.held.runner.agents.of_task(tenant, version).await?;
        let found = found.ok_or_else(missing)?;
        match found.wait() {
            None => Ok(found),
            Some(reason) => Err(self.held.back_off(reason).1),
        }
    }
}
