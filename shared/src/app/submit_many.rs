//! Submitting several tasks with one request.

use tracing::{Instrument, field};

use super::many::each_in_time;
use super::{AppError, NewTask, Tasks};
use crate::domain::{Causes, Task, TenantId};
use crate::metric;
use crate::ports::Outgoing;

impl Tasks {
    /// Accepts tasks as [`submit_task`](Self::submit_task) does, each for itself, and sends their
    /// messages together. The outcomes are in the order of the tasks. `None` stands for a task that
    /// was not tried, because the others took so long.
    pub async fn submit_tasks<E: From<AppError>>(
        &self,
        tenant: &TenantId,
        new: Vec<NewTask>,
    ) -> Vec<Option<Result<Task, E>>> {
        let accept = |new| {
            // The span of the request has no `task_id`, because there are several tasks.
            let span = tracing::info_span!(
                "submission",
                task_id = field::Empty,
                agent_id = field::Empty
            );
            // An error is translated here, so that its line has the ids of the span.
            let accept = async { self.accept(tenant, new).await.map_err(E::from) };
            accept.instrument(span)
        };
        let outcomes = each_in_time(new.into_iter().map(accept).collect()).await;
        let accepted = outcomes.iter().flatten().flatten();
        let messages: Vec<Outgoing> = accepted
            .filter(|accepted| accepted.is_new)
            .filter_map(|accepted| Outgoing::first_of(&accepted.task))
            .collect();
        let sent = self.queue.send_all(&messages).await;
        let failed: Vec<_> = sent.into_iter().filter_map(Result::err).collect();
        if let Some(error) = failed.first() {
            metric::SEND_FAILURES.add([], failed.len() as u64);
            tracing::warn!(failed = failed.len(), error = %Causes(error), "message sends failed; watchdog will resend");
        }
        let not_tried = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let accepted = outcomes.iter().flatten().flatten().count();
        let failed = outcomes.len() - not_tried - accepted;
        tracing::info!(accepted, failed, not_tried, "batch submitted");
        let tasks = outcomes.into_iter();
        tasks
            .map(|outcome| outcome.map(|accepted| accepted.map(|accepted| accepted.task)))
            .collect()
    }
}
