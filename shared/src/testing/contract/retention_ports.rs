//! The ports that store a task's records: they create a task to purge, and show what is left of it.

use std::sync::Arc;

use super::moves::{Move, Store, advance_all, read};
use super::{Broken, Outcome, same};
use crate::domain::{
    Agent, AnswerKey, ModelAnswer, ReservationId, Spend, StepKind, Task, TaskId, Timestamp,
    ToolRunner, WorkerId,
};
use crate::ports::{
    Allowance, AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, Budget, BudgetKey, Budgets,
    CachedAnswer, ClaimState, Deletion, Horizon, Journal, PageRequest, Purged, Reservation,
    Retention, StoreError, TaskFilter, TaskStore,
};
use crate::testing::samples::{self, lease_until};

/// The ports that store a task's records.
#[derive(Clone)]
pub struct RetentionPorts {
    /// The tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// Their journals.
    pub journal: Arc<dyn Journal>,
    /// Their budgets.
    pub budgets: Arc<dyn Budgets>,
    /// The cached answers that they used.
    pub answers: Arc<dyn AnswerCache>,
    /// What purges them.
    pub retention: Arc<dyn Retention>,
}

/// The moment `seconds` after the start of 2002, when nothing else happens.
pub(super) const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_009_843_200_000 + seconds * 1_000)
}

/// Tasks that ended before this moment are deleted, and nobody works for them any more.
pub(super) const fn before(moment: Timestamp) -> Horizon {
    Horizon {
        ended_before: Some(moment),
        quiet_before: moment,
    }
}

/// The key of an answer that only this task uses.
pub(super) fn key(task: &Task) -> AnswerKey {
    let id = task.id();
    AnswerKey::new(
        [id.as_bytes().as_slice(), id.as_bytes()]
            .concat()
            .try_into()
            .unwrap_or_default(),
    )
}

impl RetentionPorts {
    pub(super) fn tasks(&self) -> &Store {
        &self.tasks
    }

    /// A new task with a large input, whose budget is reserved from, and whose journal has small
    /// and large steps, one of them with a cached answer.
    pub(super) async fn stored(&self, agent: &Agent) -> Result<Task, Broken> {
        let task = samples::task_with_input(agent, &samples::noise(64 * 1_024, 3), at(0));
        self.tasks.create(&task).await?;
        let reservation = Reservation {
            id: ReservationId::new(at(0)),
            amount_micro_usd: 7,
            expires_at: at(90_000),
        };
        self.reserve(&task, &reservation).await?;
        self.keep_answer(&task).await?;
        let mut first = samples::step(task.id(), 1, "Paris");
        if let StepKind::ModelCall { answer, .. } = &mut first.kind {
            answer.cache_key = Some(Box::new(key(&task)));
        }
        self.journal.append(&first).await?;
        for step in 2..=30 {
            self.journal
                .append(&samples::step(task.id(), step, "Paris"))
                .await?;
        }
        let text = samples::noise(1_024 * 1_024, 1);
        self.journal
            .append(&samples::tool_step(
                task.id(),
                31,
                ToolRunner::Platform,
                &text,
            ))
            .await?;
        Ok(task)
    }

    pub(super) async fn reserve(&self, task: &Task, reservation: &Reservation) -> Outcome {
        self.budgets
            .reserve(
                &BudgetKey::Task(task.id()),
                reservation,
                Allowance {
                    cap_micro_usd: 10,
                    spent_before_micro_usd: 0,
                },
                at(0),
            )
            .await?;
        Ok(())
    }

    /// Stores a large answer, and the claim to make the call for a newer one.
    pub(super) async fn keep_answer(&self, task: &Task) -> Outcome {
        let answer = ModelAnswer {
            spend: Spend::default(),
            ..samples::answer(&samples::noise(64 * 1_024, 3))
        };
        let ports = CachedAnswer {
            answer,
            made_at: at(0),
            fresh_until: at(1),
            ends_at: at(99_000),
        };
        self.answers.replace(&key(task), &ports).await?;
        let (owner, now, until) = (WorkerId::new(at(2)), at(2), at(99_000));
        let claim = AnswerClaim {
            owner,
            now,
            until,
            not_before: at(0),
            forget_at: at(99_000),
        };
        same(
            &self.answers.claim(&key(task), &claim).await?,
            &AnswerClaimed::Granted,
        )
    }

    /// A task with a long history that ends at this moment with a large output.
    pub(super) async fn completed(&self, agent: &Agent, end: Timestamp) -> Result<Task, Broken> {
        let mut task = self.stored(agent).await?;
        for _ in 0..20 {
            let claim = Move::Claim(lease_until(end), at(1));
            advance_all(self.tasks(), &mut task, [claim, Move::HandOver(at(1))]).await?;
        }
        let output = samples::output(&samples::noise(512 * 1_024, 2));
        let claim = Move::Claim(lease_until(end), at(1));
        advance_all(
            self.tasks(),
            &mut task,
            [claim, Move::Complete(output, end)],
        )
        .await?;
        Ok(task)
    }

    /// Those of these tasks that are due.
    pub(super) async fn listed(
        &self,
        horizon: Horizon,
        of: &[&Task],
    ) -> Result<Vec<TaskId>, StoreError> {
        let all = self.retention.due(horizon, 1_000).await?;
        Ok(all
            .into_iter()
            .filter(|id| of.iter().any(|task| task.id() == *id))
            .collect())
    }

    pub(super) async fn purge(&self, tasks: &[&Task]) -> Outcome {
        for task in tasks {
            same(
                &self.retention.purge(task.id(), before(at(99_000))).await?,
                &Purged::Gone,
            )?;
        }
        Ok(())
    }

    /// What is stored of the task, beside its record: how many steps, its budget, and its cached
    /// answer.
    pub(super) async fn belongings(
        &self,
        task: &Task,
    ) -> Result<(usize, Budget, AnswerSeen), StoreError> {
        let steps = self.journal.steps(task.id()).await?.len();
        let budget = self
            .budgets
            .budget(&BudgetKey::Task(task.id()), at(0))
            .await?;
        Ok((
            steps,
            budget,
            self.answers.read(&key(task), at(2), at(0)).await?,
        ))
    }

    pub(super) async fn has_nothing(&self, task: &Task) -> Outcome {
        let seen = AnswerSeen {
            cached: None,
            claim: ClaimState::Free,
        };
        same(&self.belongings(task).await?, &(0, Budget::default(), seen))
    }

    pub(super) async fn in_list(&self, task: &Task) -> Result<bool, StoreError> {
        let page = PageRequest {
            limit: 10,
            after: None,
        };
        let list = self
            .tasks
            .list(&task.spec().tenant, &TaskFilter::default(), &page)
            .await?;
        Ok(list.entries.iter().any(|entry| entry.id == task.id()))
    }

    pub(super) async fn delete(&self, task: &Task) -> Outcome {
        same(
            &self.tasks.delete(&task.spec().tenant, task.id()).await?,
            &Deletion::Begun,
        )
    }

    /// How many changes have left the task's history, and whether its input is apart.
    pub(super) async fn details(&self, task: &Task) -> Result<(usize, bool), StoreError> {
        let earlier = self
            .tasks
            .earlier_history(task.id(), 0..u32::MAX, 1_000)
            .await?;
        Ok((earlier.len(), self.tasks.input(task.id()).await?.is_some()))
    }

    pub(super) async fn is_whole(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &Some(task.clone()))?;
        let (steps, budget, answer) = self.belongings(task).await?;
        same(
            &(steps, budget.committed_micro_usd, answer.cached.is_some()),
            &(31, 7, true),
        )?;
        same(
            &self.details(task).await?,
            &(task.progress().history.first() as usize, true),
        )
    }

    pub(super) async fn is_gone(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &None)?;
        self.has_nothing(task).await?;
        same(&self.details(task).await?, &(0, false))
    }
}
