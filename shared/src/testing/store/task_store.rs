//! Tasks in memory.

use async_trait::async_trait;

use super::journal::bytes_of;
use super::{MemoryStore, content_of_task, cursor, cut, fits, parse_position, position};
use crate::domain::{Lease, Step, Task, TaskId, TaskState, TenantId, Timestamp};
use crate::ports::{
    Claimed, Created, Deletion, Page, PageRequest, StoreError, TaskFilter, TaskOrder, TaskStore,
    TaskSummary,
};
use crate::testing::faults::Call;
use crate::testing::samples;

fn passes(filter: &TaskFilter, task: &TaskSummary) -> bool {
    (filter.statuses.is_empty() || filter.statuses.contains(&task.status))
        && filter.agent.is_none_or(|agent| task.agent.id == agent)
        && filter
            .metadata
            .as_ref()
            .is_none_or(|pair| task.metadata.has(pair))
        && filter.covers(task.created_at)
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn create(&self, task: &Task) -> Result<Created, StoreError> {
        fits(content_of_task(task).len())?;
        self.run(|records| match records.whole(task.id()) {
            Some(stored) if stored == *task => Ok(Created::New),
            Some(stored) if stored.spec().tenant == task.spec().tenant => {
                Ok(Created::Existing(Box::new(stored)))
            }
            Some(_) => Err(StoreError::Conflict),
            None => match records.marked.get(&task.id()) {
                Some(marked) if marked.tenant == task.spec().tenant => Ok(Created::Deleted),
                Some(_) => Err(StoreError::Conflict),
                None => {
                    records.add(task);
                    Ok(Created::New)
                }
            },
        })
        .await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.run(|records| {
            Ok(records
                .tasks
                .get(&id)
                .filter(|task| task.spec().tenant == *tenant)
                .cloned())
        })
        .await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        self.run(|records| {
            let after = cursor(page, parse_position)?;
            if after.is_some_and(|(at, _)| !filter.covers(at)) {
                return Err(StoreError::Cursor);
            }
            let mut wanted: Vec<TaskSummary> = records
                .tasks
                .values()
                .filter(|task| task.spec().tenant == *tenant)
                .map(samples::summary)
                .filter(|task| passes(filter, task))
                .collect();
            wanted.sort_by_key(position);
            match filter.order {
                TaskOrder::Newest => {
                    wanted.retain(|task| after.is_none_or(|after| position(task) < after));
                    wanted.reverse();
                }
                TaskOrder::Oldest => {
                    wanted.retain(|task| after.is_none_or(|after| position(task) > after));
                }
            }
            Ok(cut(wanted.into_iter(), page, |task| {
                format!("{}/{}", task.created_at.as_millis(), task.id)
            }))
        })
        .await
    }

    async fn claim(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.run_as(Call::Claim, |records| {
            let Some(task) = records
                .tasks
                .get_mut(&id)
                .filter(|task| task.spec().tenant == *tenant)
            else {
                return Ok(Claimed::Unknown);
            };
            let refused = task.claim(lease, now).err();
            let held =
                matches!(task.state(), TaskState::Running(held) if held.worker == lease.worker);
            let task = Box::new(task.clone());
            Ok(match refused {
                Some(refused) if !held => Claimed::Refused(task, refused),
                Some(_) | None => Claimed::Granted(task),
            })
        })
        .await
    }

    async fn update(&self, task: &Task) -> Result<(), StoreError> {
        fits(content_of_task(task).len())?;
        self.run_as(Call::Update, |records| {
            match records.tasks.get(&task.id()) {
                Some(stored) if stored.progress() == task.progress() => Ok(()),
                Some(stored) if precedes(stored, task) => {
                    records.change(task);
                    Ok(())
                }
                Some(_) | None => Err(StoreError::Conflict),
            }
        })
        .await
    }

    async fn update_with(&self, task: &Task, steps: &[Step]) -> Result<(), StoreError> {
        fits(content_of_task(task).len())?;
        for step in steps {
            fits(bytes_of(step))?;
        }
        self.run_as(Call::Update, |records| {
            let key = |step: &Step| (step.task, step.number, step.base);
            let is_free = steps
                .iter()
                .all(|step| !records.steps.contains_key(&key(step)));
            let is_there = steps
                .iter()
                .all(|step| records.steps.get(&key(step)) == Some(step));
            match records.tasks.get(&task.id()) {
                Some(stored) if stored.progress() == task.progress() && is_there => Ok(()),
                Some(stored) if precedes(stored, task) && is_free => {
                    records.change(task);
                    records
                        .steps
                        .extend(steps.iter().map(|step| (key(step), step.clone())));
                    Ok(())
                }
                Some(_) | None => Err(StoreError::Conflict),
            }
        })
        .await
    }

    async fn delete(&self, tenant: &TenantId, id: TaskId) -> Result<Deletion, StoreError> {
        self.run(|records| {
            let Some(task) = records
                .tasks
                .get(&id)
                .filter(|task| task.spec().tenant == *tenant)
            else {
                let marked = records
                    .marked
                    .get(&id)
                    .filter(|marked| marked.tenant == *tenant);
                return Ok(marked.map_or(Deletion::Unknown, |_| Deletion::Begun));
            };
            let Some(ended_at) = task.finished_at() else {
                return Ok(Deletion::NotEnded(task.status()));
            };
            records.mark(id, ended_at);
            Ok(Deletion::Begun)
        })
        .await
    }

    async fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        self.run(|records| {
            let due = |task: &&Task| task.due_at().is_some_and(|due_at| due_at <= now);
            let mut overdue: Vec<Task> = records.tasks.values().filter(due).cloned().collect();
            overdue.sort_by_key(Task::due_at);
            overdue.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(overdue.into_iter().map(Ok).collect())
        })
        .await
    }
}

/// Whether `next` follows `stored` by one transition: its revision differs by one.
fn precedes(stored: &Task, next: &Task) -> bool {
    stored.spec().tenant == next.spec().tenant
        && stored.progress().revision + 1 == next.progress().revision
}
