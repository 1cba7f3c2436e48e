//! What the executor costs by itself: `make bench`, explained in `docs/benchmarks.md`.
//!
//! Models and tools answer at once and the stores are in memory, so that what is left is the
//! executor's own work: time on the processor, allocations, and the calls that it makes to store
//! and queue. `cargo test` runs a few rounds, for the numbers of calls, which are checked in every
//! run.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program whose output is its purpose, and which ends where it can't go on"
)]

#[path = "../measure/mod.rs"]
mod measure;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cpu_time::ThreadTime;
use futures::future::join_all;
use measure::{Samples, Summary};
use shared::app::{Room, RunOutcome, Runner, WorkTimes};
use shared::domain::{
    Agent, BuiltinTool, CacheRules, ModelAnswer, ModelRequest, Step, Task, TaskId, TaskStatus,
    ToolRunner,
};
use shared::ports::clock::SystemClock;
use shared::ports::{AgentStore, Clock, Journal, Model, ModelError, TaskMessage, TaskStore};
use shared::store::decoding;
use shared::testing::memory::resident_mebibytes;
use shared::testing::{Faults, MemoryQueue, MemoryStore, MemoryUsage, ScriptedTools, samples};

/// How often each way is measured, and in a test.
const ROUNDS: (u32, u32) = (1_000, 2);
/// Turns of a model and a tool before the last answer.
const TURNS: [u32; 3] = [0, 5, 50];
/// The steps of the journal that is resumed.
const RESUMED: u32 = 200;
/// Claim, journal, the renewal that makes its news durable, agent, the last answer, end.
const RESUME_CALLS: u32 = 6;
/// The most that resuming it may take, without the network.
const RESUME_TARGET: Duration = Duration::from_millis(50);
/// A batch of tasks, how long their model takes, and how long the invocation may take in all.
const BATCH: (usize, Duration, Duration) =
    (10, Duration::from_secs(1), Duration::from_millis(1_250));

type Failure = Box<dyn Error>;

/// A model that calls a tool in each of its first turns, as the conversation tells, and takes its
/// time.
struct Turns {
    turns: u32,
    latency: Duration,
}

#[async_trait]
impl Model for Turns {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let turn = request.prompt.messages.len() / 2;
        if turn >= self.turns as usize {
            return Ok(samples::answer("It is done."));
        }
        let call = samples::tool_call(&turn.to_string(), "calculator", r#"{"expression":"6 * 7"}"#);
        Ok(samples::answer_calling([call]))
    }
}

/// The platform in memory, which counts the calls to its store and queue.
struct Bench {
    store: MemoryStore,
    calls: Faults,
    agent: Agent,
    runner: Runner,
}

impl Bench {
    async fn new(turns: u32, latency: Duration) -> Result<Self, Failure> {
        let (plain, calls) = (MemoryStore::default(), Faults::default());
        let mut agent = samples::agent(&samples::tenant("acme"));
        agent.config.tools = vec![BuiltinTool::Calculator.into()];
        agent.config.limits = agent.config.limits.with_max_steps(1_000)?;
        AgentStore::create(&plain, &agent).await?;
        let store = plain.with_faults(calls.clone());
        let runner = Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::new(store),
            queue: Arc::new(MemoryQueue::default().with_faults(calls.clone())),
            model: Arc::new(Turns { turns, latency }),
            tools: Arc::new(ScriptedTools::default()),
            clock: Arc::new(SystemClock),
            cache: CacheRules::Off,
            times: WorkTimes::default(),
            slots: None,
            room: Room::default(),
        };
        Ok(Self {
            store: plain,
            calls,
            agent,
            runner,
        })
    }

    async fn submit(&self) -> Result<TaskMessage, Failure> {
        let task = samples::task(&self.agent, SystemClock.now());
        TaskStore::create(&self.store, &task).await?;
        Ok(TaskMessage {
            tenant: self.agent.tenant.clone(),
            task: task.id(),
            alone: false,
        })
    }

    async fn run(&self, message: &TaskMessage) -> RunOutcome {
        let until = SystemClock.now().plus(Duration::from_mins(15));
        self.runner
            .run(message, until)
            .await
            .expect("the store in memory works")
    }

    /// A task that a worker recorded so many steps of and then left, as after a crash.
    async fn half_done(&self, steps: u32) -> Result<(TaskMessage, Vec<Step>), Failure> {
        let message = self.submit().await?;
        let steps = journal(message.task, steps);
        for step in &steps {
            self.store.append(step).await?;
        }
        let mut task = self
            .store
            .task(&message.tenant, message.task)
            .await?
            .ok_or("the task is there")?;
        let now = SystemClock.now();
        task.claim(samples::lease_until(now), now)?;
        self.store.update(&task).await?;
        Ok((message, steps))
    }
}

/// A journal of turns, each of a model's answer and a tool's result of some kilobytes.
fn journal(task: TaskId, steps: u32) -> Vec<Step> {
    let text = "It is a long way to the end of a conversation. ".repeat(60);
    let step = |number: u32| match number % 2 {
        1 => {
            let call = samples::tool_call(
                &number.to_string(),
                "calculator",
                r#"{"expression":"6 * 7"}"#,
            );
            let mut step = samples::step(task, number, "");
            if let shared::domain::StepKind::ModelCall { answer, .. } = &mut step.kind {
                *answer = samples::answer_calling([call]);
            }
            step
        }
        _ => samples::tool_step(task, number, ToolRunner::Platform, &text),
    };
    (1..=steps).map(step).collect()
}

/// A task from its claim to its end, turn by turn.
async fn whole_tasks(turns: u32, rounds: u32) -> Result<(Summary, u32), Failure> {
    let bench = Bench::new(turns, Duration::ZERO).await?;
    let (mut samples, mut calls) = (Samples::default(), 0);
    for _ in 0..rounds {
        let message = bench.submit().await?;
        bench.calls.clear();
        let ran = samples.take(1, bench.run(&message)).await;
        assert_eq!(ran, RunOutcome::Ended(TaskStatus::Completed));
        calls = bench.calls.calls();
        // Claim, agent, one write for each step, end.
        assert_eq!(
            calls,
            3 + 2 * turns + 1,
            "calls to store and queue for {turns} turns"
        );
    }
    Ok((samples.summary(), calls))
}

/// A task that another worker left after many steps, up to its next answer; and the reading of its
/// records.
async fn resumed_tasks(rounds: u32) -> Result<(Summary, Summary), Failure> {
    let bench = Bench::new(RESUMED / 2, Duration::ZERO).await?;
    let (mut resumed, mut read) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let (message, steps) = bench.half_done(RESUMED).await?;
        bench.calls.clear();
        let ran = resumed.take(1, bench.run(&message)).await;
        assert_eq!(ran, RunOutcome::Ended(TaskStatus::Completed));
        assert_eq!(
            bench.calls.calls(),
            RESUME_CALLS,
            "calls to store and queue for a resumption"
        );
        let records = decoding::records(&steps)?;
        let decoded = read.take(1, async { decoding::steps(&records) }).await?;
        assert_eq!(decoded, steps);
    }
    Ok((resumed.summary(), read.summary()))
}

/// One invocation with a batch of tasks of one slow answer each: what is billed is the time of the
/// slowest.
async fn batch() -> Result<(Duration, Duration), Failure> {
    let bench = Bench::new(0, BATCH.1).await?;
    let mut messages = Vec::new();
    for _ in 0..BATCH.0 {
        messages.push(bench.submit().await?);
    }
    let (begun, cpu) = (Instant::now(), ThreadTime::now());
    let ran = join_all(messages.iter().map(|message| bench.run(message))).await;
    let took = (begun.elapsed(), cpu.elapsed());
    assert!(
        ran.iter()
            .all(|ran| *ran == RunOutcome::Ended(TaskStatus::Completed)),
        "{ran:?}"
    );
    let ended = join_all(
        messages
            .iter()
            .map(|message| bench.store.task(&message.tenant, message.task)),
    )
    .await;
    assert!(
        ended
            .into_iter()
            .flatten()
            .flatten()
            .all(|task: Task| task.attempts() == 1)
    );
    Ok(took)
}

fn main() -> Result<(), Failure> {
    // Cargo says so when it runs a benchmark rather than a test.
    let is_benchmark = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_benchmark { ROUNDS.0 } else { ROUNDS.1 };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if is_benchmark {
        let (took, cpu) = runtime.block_on(batch())?;
        let met = if took <= BATCH.2 { "met" } else { "missed" };
        println!(
            "A batch of {} tasks with a model of {:?}: {took:?} of {:?}, {met}.",
            BATCH.0, BATCH.1, BATCH.2
        );
        println!(
            "It took {cpu:?} of the processor and {} MiB.\n",
            resident_mebibytes("self").unwrap_or_default()
        );
    }
    let mut rows = Vec::new();
    for turns in TURNS {
        let (summary, calls) = runtime.block_on(whole_tasks(turns, rounds))?;
        rows.push((
            format!("task of {} steps", 2 * turns + 1),
            2 * turns + 1,
            calls,
            summary,
        ));
    }
    let (resumed, read) = runtime.block_on(resumed_tasks((rounds / 10).max(1)))?;
    let whole = (resumed.p50 + read.p50) / 1_000.0;
    rows.push((
        format!("resume after {RESUMED} steps"),
        1,
        RESUME_CALLS,
        resumed,
    ));
    rows.push((format!("read {RESUMED} records"), RESUMED, 0, read));
    if is_benchmark {
        print(&rows);
        let target = RESUME_TARGET.as_millis();
        let met = if whole <= RESUME_TARGET.as_secs_f64() * 1_000.0 {
            "met"
        } else {
            "missed"
        };
        println!(
            "Resume of {RESUMED} steps without the network: {whole:.1} ms of {target} ms, {met}."
        );
    }
    Ok(())
}

fn print(rows: &[(String, u32, u32, Summary)]) {
    println!(
        "{:<26}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "", "p50 µs", "p99 µs", "cpu µs", "µs/step", "allocs", "KiB", "calls"
    );
    for (name, steps, calls, it) in rows {
        let per_step = it.cpu / f64::from(*steps);
        println!(
            "{name:<26}{:>10.1}{:>10.1}{:>10.1}{per_step:>10.1}{:>10.0}{:>10.1}{calls:>8}",
            it.p50, it.p99, it.cpu, it.allocations, it.kibibytes
        );
    }
}
