//! Ten thousand random histories of one task: workers that die, fail, collide and stall, messages
//! that come twice and late, clients that cancel, retry, resume and answer differently, concurrent
//! watchdogs, and a clock that steps. After each history the task ends, and no recorded step was
//! ever done again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use shared::app::{AppError, NewTask, RetryFrom};
use shared::domain::{
    LimitChanges, Spend, Step, StepKind, Task, TaskId, TaskStatus, Timestamp, ToolRunner,
};
use shared::ports::{PageRequest, TaskFilter};
use shared::testing::{Faults, When};
use tokio::task::yield_now;

use crate::play::Play;
use crate::world::World;

const HISTORIES: u64 = 10_000;
const EVENTS: usize = 25;

/// A plan for one actor: mostly none, or a death or a hiccup at one of the next calls.
fn fate(random: &mut Rng) -> Faults {
    let faults = Faults::default();
    let when = if random.bool() {
        When::Before
    } else {
        When::After
    };
    match random.u8(..10) {
        0..3 => faults.die_at(random.u32(1..8), when),
        3 => faults.fail_at(random.u32(1..8), when),
        _ => {}
    }
    faults
}

/// Lets others go first for a while.
async fn later(turns: usize) {
    for _ in 0..turns {
        yield_now().await;
    }
}

/// Somebody who stands still in the middle of what they do.
type Stalled<'a> = LocalBoxFuture<'a, ()>;

/// Polls the actor for so many turns; returns whether it has ended.
async fn go_on(stalled: &mut Stalled<'_>, turns: usize) -> bool {
    for _ in 0..turns {
        if stalled.as_mut().now_or_never().is_some() {
            return true;
        }
        yield_now().await;
    }
    false
}

/// Those who stand still.
#[derive(Default)]
struct Bystanders<'a> {
    workers: Vec<Stalled<'a>>,
    clients: Vec<Stalled<'a>>,
}

impl<'a> Bystanders<'a> {
    /// A worker or a client begins, or a stalled one runs for a while.
    async fn stir(&mut self, play: &'a Play, random: &mut Rng) {
        let is_worker = random.u8(..3) > 0;
        let group = if is_worker {
            &mut self.workers
        } else {
            &mut self.clients
        };
        let mut one: Stalled<'a> = match random.usize(..=group.len()) {
            place if place < group.len() => group.swap_remove(place),
            _ if is_worker => Box::pin(async { _ = play.deliver(&Faults::default()).await }),
            _ if random.bool() => {
                Box::pin(async { play.answer(&Faults::default(), "late", true).await })
            }
            _ => Box::pin(async { play.retry(&Faults::default(), RetryFrom::Start).await }),
        };
        if !go_on(&mut one, random.usize(..12)).await {
            group.push(one);
        }
    }

    /// All of them come to an end, or stay where they are for ever.
    async fn finish(group: Vec<Stalled<'a>>) {
        for mut one in group {
            go_on(&mut one, 200).await;
        }
    }
}

impl Play {
    /// Something happens.
    async fn happen(&self, random: &mut Rng, latest: &mut Timestamp) {
        *latest = self.world.now().max(*latest);
        match random.u8(..16) {
            0..6 => self.deliver_at_once(random).await,
            6 => self.cancel_beside_delivery(random).await,
            7 => {
                let from = if random.bool() {
                    RetryFrom::Checkpoint
                } else {
                    RetryFrom::Start
                };
                self.retry(&fate(random), from).await;
            }
            8 => {
                let more = LimitChanges {
                    max_steps: Some(random.u32(1..60)),
                    ..LimitChanges::default()
                };
                drop(
                    self.tasks(&fate(random))
                        .resume_task(self.world.tenant(), self.task, more)
                        .await,
                );
            }
            9..11 => {
                let (one, two) = (fate(random), fate(random));
                let (text, reversed) = (if random.bool() { "yes" } else { "no" }, random.bool());
                tokio::join!(
                    self.answer(&one, "yes", false),
                    self.answer(&two, text, reversed)
                );
            }
            11..13 => {
                let (one, two) = (fate(random), fate(random));
                tokio::join!(self.sweep(&one), self.sweep(&two));
            }
            13..15 => self.world.pass(random.u64(0..90)),
            _ => self
                .world
                .clock
                .set(latest.minus(Duration::from_millis(random.u64(0..1_500)))),
        }
    }

    /// Up to three workers get the task's message.
    async fn deliver_at_once(&self, random: &mut Rng) {
        let workers: Vec<(Faults, usize)> = (0..random.usize(1..4))
            .map(|_| (fate(random), random.usize(..12)))
            .collect();
        let deliveries = workers.iter().map(|(faults, turns)| async {
            later(*turns).await;
            self.deliver(faults).await;
        });
        join_all(deliveries).await;
    }

    async fn cancel_beside_delivery(&self, random: &mut Rng) {
        let (faults, turns, well) = (fate(random), random.usize(..12), Faults::default());
        let cancel = async {
            later(turns).await;
            drop(
                self.tasks(&faults)
                    .cancel_task(self.world.tenant(), self.task)
                    .await,
            );
        };
        tokio::join!(self.deliver(&well), cancel);
    }

    async fn retry(&self, faults: &Faults, from: RetryFrom) {
        let tasks = self.tasks(faults);
        drop(
            tasks
                .retry_task(
                    self.world.tenant(),
                    self.task,
                    from,
                    LimitChanges::default(),
                )
                .await,
        );
    }

    /// Everyone is well from now on: the task comes to an end of its own, or of its client's.
    async fn settle(&self) -> Task {
        let well = Faults::default();
        for _ in 0..400 {
            let task = self.world.task(self.task).await;
            match task.status() {
                status if status.is_terminal() => return task,
                TaskStatus::InputRequired => self.answer(&well, "yes", false).await,
                TaskStatus::Paused => {
                    let more = LimitChanges {
                        max_steps: Some(1_000),
                        ..LimitChanges::default()
                    };
                    self.tasks(&well)
                        .resume_task(self.world.tenant(), self.task, more)
                        .await
                        .unwrap();
                }
                _ => self.deliver_next(|| &well, 1, false).await,
            }
            self.world.pass(20);
            self.world.queue.elapse();
            tokio::join!(self.sweep(&well), self.sweep(&well));
        }
        self.world.task(self.task).await
    }
}

async fn history(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let play = Play::begin(Duration::ZERO).await;
    let mut bystanders = Bystanders::default();
    let (mut fences, mut latest) = (Vec::new(), play.world.now());
    for _ in 0..EVENTS {
        play.happen(&mut random, &mut latest).await;
        bystanders.stir(&play, &mut random).await;
        fences.push(play.world.task(play.task).await.fence());
    }
    Bystanders::finish(bystanders.clients).await;
    let task = play.settle().await;
    assert!(
        task.status().is_terminal(),
        "the task is lost: {:?}",
        task.progress()
    );
    assert!(fences.is_sorted(), "{fences:?}");
    let steps = play.world.steps(play.task).await;
    check_journal(&task, &steps);
    // Late writes change nothing.
    Bystanders::finish(bystanders.workers).await;
    join_all([
        play.deliver(&Faults::default()),
        play.deliver(&Faults::default()),
    ])
    .await;
    play.sweep(&Faults::default()).await;
    assert_eq!(play.world.task(play.task).await, task);
    // But for an answer that is there for a retry, because it is paid.
    let later = play.world.steps(play.task).await;
    let is_the_same = later.len() == steps.len() || task.status() != TaskStatus::Completed;
    assert!(
        is_the_same && steps.iter().all(|step| later.contains(step)),
        "{later:?}, not {steps:?}"
    );
}

#[track_caller]
fn check_journal(task: &Task, steps: &[Step]) {
    let complete = task.progress().steps as usize;
    let numbers = steps.iter().take(complete).map(|step| step.number);
    assert!(
        numbers.eq(1..=task.progress().steps),
        "the journal has gaps: {steps:?}"
    );
    let recorded = steps
        .iter()
        .take(complete)
        .map(|step| step.kind.spend())
        .fold(Spend::default(), Spend::plus);
    assert!(
        task.spend().attempts >= recorded.attempts,
        "{:?} of {recorded:?}",
        task.spend()
    );
    let answer = |step: &Step| match &step.kind {
        StepKind::ToolCall {
            by: ToolRunner::Client,
            text,
            ..
        } => Some((step.base, step.started_at, text.clone())),
        StepKind::ToolCall { .. } | StepKind::ModelCall { .. } => None,
    };
    let answers: Vec<_> = steps.iter().filter_map(answer).collect();
    assert!(
        answers.chunks(2).all(|both| both.first() == both.last()),
        "answers of two clients are mixed: {answers:?}"
    );
    if task.status() == TaskStatus::Completed {
        let last = steps.last().map(|step| (step.number, &step.kind));
        assert!(
            matches!(last, Some((number, StepKind::ModelCall { .. })) if number == task.progress().steps),
            "{last:?}"
        );
    }
}

#[test]
fn after_any_history_the_task_ends_and_no_recorded_step_was_done_again() {
    play_all("history", history);
}

/// Invariant: one key and one request are one task, however often and however concurrently they
/// come; another request under the key is refused.
#[test]
fn repeated_submission_is_one_task_despite_failures() {
    play_all("submissions", submissions);
}

/// Plays what each seed leads to, on as many threads as there are processors.
fn play_all<F: Future<Output = ()>>(name: &str, play: impl Fn(u64) -> F + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let play_some = |first: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for seed in (first..HISTORIES).step_by(threads) {
            let outcome = runtime.block_on(AssertUnwindSafe(play(seed)).catch_unwind());
            assert!(
                outcome.is_ok(),
                "seed {seed} broke the rules: run `{name}({seed})` alone"
            );
        }
    };
    std::thread::scope(|scope| {
        for first in 0..threads as u64 {
            let play_some = &play_some;
            scope.spawn(move || play_some(first));
        }
    });
}

async fn submissions(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let world = World::new().await;
    let clients: Vec<(Faults, usize, &str)> = (0..8)
        .map(|_| {
            (
                fate(&mut random),
                random.usize(..8),
                if random.u8(..4) == 0 {
                    "other"
                } else {
                    "hello"
                },
            )
        })
        .collect();
    let submitting = clients.iter().map(|(faults, turns, input)| {
        let new = NewTask {
            idempotency_key: Some("k1".parse().unwrap()),
            ..world.new_task(input)
        };
        let tasks = world.tasks_with_store_failing(faults);
        let tenant = world.tenant();
        async move {
            later(*turns).await;
            (*input, tasks.submit_task(tenant, new).await)
        }
    });
    let mut accepted = Vec::new();
    for (input, outcome) in join_all(submitting).await {
        match outcome {
            Ok(task) => accepted.push((task.id(), input)),
            Err(AppError::IdempotencyKeyReused | AppError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    check_one_task(&world, accepted).await;
}

/// All clients that were accepted were given the same task, and there is no other.
async fn check_one_task(world: &World, mut accepted: Vec<(TaskId, &str)>) {
    accepted.dedup();
    assert!(accepted.len() <= 1, "{accepted:?}");
    let filter = TaskFilter::default();
    let stored = world
        .tasks()
        .list_tasks(
            world.tenant(),
            &filter,
            &PageRequest {
                limit: 9,
                after: None,
            },
        )
        .await
        .unwrap();
    assert!(stored.entries.len() <= 1, "{stored:?}");
    if let [(id, input)] = accepted.as_slice() {
        assert_eq!(
            (
                stored.entries.first().unwrap().id,
                world
                    .task(*id)
                    .await
                    .spec()
                    .input
                    .as_ref()
                    .unwrap()
                    .as_str()
            ),
            (*id, *input)
        );
    }
}
