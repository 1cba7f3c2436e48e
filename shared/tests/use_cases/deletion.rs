//! Tasks that their clients delete.

use std::sync::Arc;
use std::time::Duration;

use shared::app::{AppError, PurgeSummary, RetryFrom, RunOutcome, Runner};
use shared::domain::{CacheRules, CacheTerms, LimitChanges, StepKind, Task, TaskId, TaskStatus};
use shared::policy::{CacheSettings, Cached};
use shared::ports::{AnswerCache, Journal, PageRequest, TaskFilter, TaskStore};
use shared::testing::{Faults, MemoryAnswers, ScriptedModel, When, samples};

use crate::purge::purger;
use crate::world::{INVOCATION, World};

const MINUTE: u64 = 60;

/// A world whose tasks' answers are cached.
struct Caching {
    world: World,
    answers: MemoryAnswers,
}

impl Caching {
    async fn new() -> Self {
        let (mut world, answers) = (World::new().await, MemoryAnswers::default());
        world.store = world.store.with_answers(answers.clone());
        Self { world, answers }
    }

    async fn run(&self, task: TaskId) {
        let settings = CacheSettings {
            local_for: Duration::ZERO,
            ..CacheSettings::default()
        };
        let model = Arc::<ScriptedModel>::clone(&self.world.model);
        let clock = Arc::new(self.world.clock.clone());
        let model = Arc::new(Cached::new(
            model,
            Arc::new(self.answers.clone()),
            settings,
            clock,
        ));
        let worker = Runner {
            model,
            cache: CacheRules::On(CacheTerms::default()),
            ..self.world.worker_failing(&Faults::default())
        };
        let ran = self.world.run_by(&worker, task).await.unwrap();
        assert_eq!(ran, RunOutcome::Ended(TaskStatus::Completed));
    }

    /// A task that was worked on to its end.
    async fn completed(&self) -> Task {
        let task = self.world.submit("hello").await.unwrap();
        self.run(task.id()).await;
        task
    }

    /// One round of deletions in a deployment that keeps tasks for ever.
    async fn purge(&self, faults: &Faults) -> Option<PurgeSummary> {
        purger(&self.world, faults, None)
            .purge(self.world.now().plus(INVOCATION))
            .await
            .ok()
    }

    async fn delete(&self, task: &Task, faults: &Faults) -> Result<(), AppError> {
        let tasks = self.world.tasks_with_store_failing(faults);
        tasks.delete_task(self.world.tenant(), task.id()).await
    }

    /// Nobody has the task, and nothing of it is left but, at most, its empty record.
    async fn is_gone(&self, task: &Task) {
        assert_eq!(
            TaskStore::task(&self.world.store, self.world.tenant(), task.id())
                .await
                .unwrap(),
            None
        );
        assert_eq!(self.world.store.steps(task.id()).await.unwrap(), []);
    }
}

fn rounds(deleted: u32, emptied: u32) -> PurgeSummary {
    PurgeSummary {
        deleted,
        emptied,
        ..PurgeSummary::default()
    }
}

#[tokio::test]
async fn a_deleted_task_is_unknown_to_everyone_from_the_first_moment_on() {
    let caching = Caching::new().await;
    let (world, task) = (&caching.world, caching.completed().await);
    let (tasks, tenant, id) = (world.tasks(), world.tenant(), task.id());
    caching.delete(&task, &Faults::default()).await.unwrap();
    caching.delete(&task, &Faults::default()).await.unwrap();
    let limits = LimitChanges::default();
    for refused in [
        tasks.find_task(tenant, id).await.err(),
        tasks.list_steps(tenant, id, 0, 10).await.err(),
        tasks.cancel_task(tenant, id).await.err(),
        tasks
            .retry_task(tenant, id, RetryFrom::Start, limits)
            .await
            .err(),
        tasks.resume_task(tenant, id, limits).await.err(),
    ] {
        assert!(
            matches!(refused, Some(AppError::NotFound(_))),
            "{refused:?}"
        );
    }
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    assert_eq!(
        tasks
            .list_tasks(tenant, &TaskFilter::default(), &page)
            .await
            .unwrap()
            .entries,
        []
    );
    assert_eq!(world.run(id).await.unwrap(), RunOutcome::Unknown);
    assert_eq!(world.sweep().await.unwrap().overdue, 0);
}

#[tokio::test]
async fn a_task_that_has_not_ended_is_refused_until_it_is_canceled() {
    let caching = Caching::new().await;
    let task = caching.world.submit("hello").await.unwrap();
    let refused = caching.delete(&task, &Faults::default()).await;
    assert!(
        matches!(refused, Err(AppError::WrongState(TaskStatus::Queued))),
        "{refused:?}"
    );
    caching
        .world
        .tasks()
        .cancel_task(caching.world.tenant(), task.id())
        .await
        .unwrap();
    caching.delete(&task, &Faults::default()).await.unwrap();
    assert_eq!(caching.purge(&Faults::default()).await, Some(rounds(0, 1)));
    let unknown = caching
        .world
        .tasks()
        .delete_task(&samples::tenant("other"), task.id())
        .await;
    assert!(matches!(unknown, Err(AppError::NotFound(_))), "{unknown:?}");
}

#[tokio::test]
async fn deleted_task_takes_its_cached_answer_even_if_shared() {
    let caching = Caching::new().await;
    let (task, other) = (caching.completed().await, caching.completed().await);
    assert_eq!(caching.world.model.requests().len(), 1);
    let steps = caching.world.steps(other.id()).await;
    let [StepKind::ModelCall { answer, .. }] = [&steps.first().unwrap().kind] else {
        panic!("{steps:?}")
    };
    let (key, now) = (*answer.cache_key.clone().unwrap(), caching.world.now());
    assert!(
        caching
            .answers
            .read(&key, now, now)
            .await
            .unwrap()
            .cached
            .is_some()
    );
    caching.delete(&other, &Faults::default()).await.unwrap();
    assert_eq!(caching.purge(&Faults::default()).await, Some(rounds(0, 1)));
    assert_eq!(
        caching.answers.read(&key, now, now).await.unwrap().cached,
        None
    );
    assert_eq!(caching.world.status(task.id()).await, TaskStatus::Completed);
    assert_eq!(caching.world.steps(task.id()).await.len(), 1);
    caching.completed().await;
    assert_eq!(
        caching.world.model.requests().len(),
        2,
        "the model is called again"
    );
}

#[tokio::test]
async fn emptied_record_goes_when_no_worker_can_be_left() {
    let caching = Caching::new().await;
    let task = caching.completed().await;
    caching.delete(&task, &Faults::default()).await.unwrap();
    let well = Faults::default();
    assert_eq!(caching.purge(&well).await, Some(rounds(0, 1)));
    // A worker that lost its lease long ago, and does not know it.
    caching.world.pass(15 * MINUTE);
    caching
        .world
        .store
        .append(&samples::step(task.id(), 2, "late"))
        .await
        .unwrap();
    assert_eq!(caching.purge(&well).await, Some(rounds(0, 0)));
    caching.world.pass(5 * MINUTE + 1);
    assert_eq!(caching.purge(&well).await, Some(rounds(1, 0)));
    caching.is_gone(&task).await;
    assert_eq!(caching.purge(&well).await, Some(rounds(0, 0)));
    let unknown = caching.delete(&task, &well).await;
    assert!(matches!(unknown, Err(AppError::NotFound(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_crash_during_a_deletion_leaves_it_to_the_next_round() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let caching = Caching::new().await;
            let (task, other) = (caching.completed().await, caching.completed().await);
            caching.world.pass(30 * MINUTE);
            let faults = Faults::default();
            faults.die_at(call, when);
            let deleted = caching.delete(&task, &faults).await.is_ok();
            caching.purge(&faults).await;
            let struck = faults.struck();
            if !deleted {
                match caching.delete(&task, &Faults::default()).await {
                    Ok(()) => {}
                    refused => panic!("{refused:?}"),
                }
            }
            let well = Faults::default();
            let rest = caching.purge(&well).await.unwrap();
            assert_eq!((rest.failed, rest.deleted <= 1), (0, true), "{rest:?}");
            caching.is_gone(&task).await;
            assert_eq!(caching.purge(&well).await, Some(rounds(0, 0)));
            assert_eq!(
                caching.world.status(other.id()).await,
                TaskStatus::Completed
            );
            if !struck {
                break;
            }
        }
    }
}

#[tokio::test]
async fn rounds_at_the_same_time_delete_a_task_once() {
    let caching = Caching::new().await;
    let task = caching.completed().await;
    caching.world.pass(30 * MINUTE);
    caching.delete(&task, &Faults::default()).await.unwrap();
    let well = Faults::default();
    let (one, two) = tokio::join!(caching.purge(&well), caching.purge(&well));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(
        one.deleted + two.deleted >= 1 && one.failed + two.failed == 0,
        "{one:?} {two:?}"
    );
    caching.is_gone(&task).await;
}

#[tokio::test]
async fn idempotency_key_of_a_deleted_task_is_refused_until_it_is_gone() {
    let caching = Caching::new().await;
    let world = &caching.world;
    let submit = || {
        let key = Some("k1".parse().unwrap());
        let new = shared::app::NewTask {
            idempotency_key: key,
            ..world.new_task("hello")
        };
        async move { world.tasks().submit_task(world.tenant(), new).await }
    };
    let task = submit().await.unwrap();
    caching.run(task.id()).await;
    caching.delete(&task, &Faults::default()).await.unwrap();
    for _ in 0..2 {
        let refused = submit().await;
        assert!(matches!(refused, Err(AppError::TaskDeleted)), "{refused:?}");
        caching.purge(&Faults::default()).await;
    }
    world.pass(30 * MINUTE);
    assert_eq!(caching.purge(&Faults::default()).await, Some(rounds(1, 0)));
    let again = submit().await.unwrap();
    assert_eq!(
        (again.id(), again.status()),
        (task.id(), TaskStatus::Queued)
    );
}
