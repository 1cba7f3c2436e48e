//! What a process does whose memory is measured.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::app::{RetryFrom, Room, RunOutcome, Runner, Tasks, ToolAnswer, WorkTimes};
use shared::domain::{
    Agent, AssistantPart, BuiltinTool, CacheRules, Failure, FailureCode, HostPattern, HttpRules,
    LimitChanges, MAX_TOOL_TEXTS_BYTES, ModelAnswer, ModelRequest, Schemes, Step, StepKind,
    StepPlace, Task, TaskId, TaskStatus, ToolRunner,
};
use shared::llm::{self, Access, ApiKey, Layers, Providers, Timeouts};
use shared::policy::{BreakerSettings, CostCaps, DailyCaps};
use shared::ports::{AgentStore, Clock, Journal, Model, ModelError, TaskMessage, TaskStore};
use shared::runtime::in_own_task;
use shared::testing::{
    ManualClock, MemoryAnswers, MemoryBudgets, MemoryCircuits, MemoryQueue, MemorySecrets,
    MemoryStore, MemoryUsage, SameCaps, samples,
};
use shared::tools::http_request::{Reach, Resolver};
use shared::tools::{BuiltinTools, Credentials};
use stats_alloc::Region;

use crate::journal::PackedJournal;
use crate::{COUNTING, left_since, server};

const MEBIBYTE: usize = 1_024 * 1_024;

/// How many tasks an invocation has.
const TASKS: usize = 10;

/// The calls of one answer that a task of 100 steps may have.
const CALLS: u32 = 98;

/// Every host is this machine.
struct Here;

#[async_trait]
impl Resolver for Here {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// A model behind all layers that, when it is first asked, wants many pages.
struct Fetching {
    model: Arc<dyn Model>,
    /// Where the pages are.
    port: u16,
}

#[async_trait]
impl Model for Fetching {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let answer = self.model.call(request).await?;
        if request.prompt.messages.len() > 1 {
            return Ok(answer);
        }
        let calls = (0..CALLS).map(|number| {
            let path = if number % 2 == 0 {
                "control"
            } else {
                "letters"
            };
            let url = format!("http://api.example.com:{}/{path}/{number}", self.port);
            samples::tool_call(
                &number.to_string(),
                "http_request",
                &format!(r#"{{"url":"{url}"}}"#),
            )
        });
        Ok(samples::answer_calling(calls))
    }
}

/// An executor with all that takes memory in it, over a store that takes next to none.
struct World {
    store: MemoryStore,
    journal: Arc<PackedJournal>,
    clock: ManualClock,
    agent: Agent,
    runner: Arc<Runner>,
}

impl World {
    async fn new() -> Self {
        let (store, clock) = (MemoryStore::default(), ManualClock::at(samples::START));
        let journal = Arc::new(PackedJournal::default());
        let babbler = server::babbler();
        let rules = HttpRules::new(vec![HostPattern::new("api.example.com").unwrap()]).unwrap();
        let mut rules = rules.with_max_response_bytes(2_097_152).unwrap();
        rules.schemes = Schemes::HttpToo;
        let mut agent = samples::agent(&samples::tenant("acme"));
        agent.config.tools = vec![BuiltinTool::HttpRequest(rules).into()];
        AgentStore::create(&store, &agent).await.unwrap();
        let time = || Arc::new(clock.clone());
        let runner = Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::<PackedJournal>::clone(&journal),
            queue: Arc::new(MemoryQueue::default()),
            model: Arc::new(Fetching {
                model: model(&clock),
                port: babbler.port(),
            }),
            tools: Arc::new(
                BuiltinTools::reaching(
                    Reach::ThisMachineToo,
                    Arc::new(Here),
                    Credentials::default(),
                    time(),
                )
                .unwrap(),
            ),
            clock: time(),
            cache: CacheRules::Off,
            times: WorkTimes::default(),
            slots: None,
            room: Room::default(),
        };
        Self {
            store,
            journal,
            clock,
            agent,
            runner: Arc::new(runner),
        }
    }

    async fn submit(&self) -> TaskId {
        let task = samples::task(&self.agent, self.clock.now());
        TaskStore::create(&self.store, &task).await.unwrap();
        task.id()
    }

    async fn task(&self, id: TaskId) -> Task {
        TaskStore::task(&self.store, &self.agent.tenant, id)
            .await
            .unwrap()
            .unwrap()
    }

    /// Has batch after batch come of all tasks that have not ended, until all have: how many
    /// batches it took.
    async fn run(&self, tasks: &[TaskId]) -> usize {
        for batch in 1..=3 * TASKS {
            let messages = tasks.iter().map(|task| TaskMessage {
                tenant: self.agent.tenant.clone(),
                task: *task,
                alone: false,
            });
            let until = self.clock.now().plus(Duration::from_mins(15));
            let ran = join_all(messages.map(|message| {
                let runner = Arc::clone(&self.runner);
                in_own_task(async move { runner.run(&message, until).await })
            }));
            let ran = ran.await;
            assert!(
                ran.iter()
                    .flatten()
                    .all(|ran| !matches!(ran, RunOutcome::LeaseLost | RunOutcome::Unknown)),
                "{ran:?}"
            );
            let tasks = join_all(tasks.iter().map(|task| self.task(*task))).await;
            if tasks
                .iter()
                .all(|task| task.status() == TaskStatus::Completed)
            {
                assert!(
                    tasks
                        .iter()
                        .all(|task| task.attempts() <= 1 && task.progress().hops == 0)
                );
                return batch;
            }
            let failed = tasks
                .iter()
                .find(|task| task.status() == TaskStatus::Failed);
            assert!(failed.is_none(), "{:?}", failed.map(Task::state));
            self.clock.advance(Duration::from_secs(61));
        }
        unreachable!("the tasks come to an end")
    }
}

/// All layers around a model that is asked over HTTP.
fn model(clock: &ManualClock) -> Arc<dyn Model> {
    let secrets = MemorySecrets::default();
    secrets.set("key", "sk-1");
    let key = ApiKey::Secret {
        store: Arc::new(secrets),
        name: "key".to_owned(),
    };
    let access = Access {
        base_url: format!("http://{}", server::model()).parse().unwrap(),
        key,
    };
    let providers = Providers {
        anthropic: access.clone(),
        openai: access,
        openai_compatible: None,
        timeouts: Timeouts::default(),
    };
    let layers = Layers {
        answers: Arc::new(MemoryAnswers::default()),
        circuits: Arc::new(MemoryCircuits::default()),
        breaker: BreakerSettings::default(),
        caps: CostCaps {
            budgets: Arc::new(MemoryBudgets::default()),
            daily: DailyCaps::default(),
            own: Arc::new(SameCaps::default()),
        },
        clock: Arc::new(clock.clone()),
    };
    llm::model(&llm::http_client().unwrap(), providers, layers)
}

/// An answer with a call and a text of so many bytes.
fn answer(bytes: usize) -> StepKind {
    let call = samples::tool_call(
        "call_1",
        "http_request",
        r#"{"url":"http://api.example.com/"}"#,
    );
    let mut answer = samples::answer_calling([call]);
    answer.content.push(AssistantPart {
        ..samples::said(&"a".repeat(bytes))
    });
    StepKind::ModelCall {
        requested: samples::model(),
        answer,
    }
}

/// Ten tasks whose workers have left them with conversations of so many MiB. The records of half of
/// them do not tell.
pub(crate) async fn conversations(mebibytes: usize) -> u64 {
    let world = World::new().await;
    let begun = Region::new(COUNTING);
    let mut tasks = Vec::new();
    let texts = usize::try_from(MAX_TOOL_TEXTS_BYTES)
        .unwrap()
        .min(mebibytes * MEBIBYTE / 2);
    for _ in 0..TASKS {
        tasks.push(world.submit().await);
    }
    let everywhere = |first: u32| {
        let numbers = (first..=8).step_by(2);
        tasks.iter().flat_map(move |id| {
            numbers
                .clone()
                .map(|number| (*id, StepPlace { number, base: 0 }))
        })
    };
    let said = answer((mebibytes * MEBIBYTE - texts - 64 * 1_024) / 4);
    world.journal.repeat(
        &Step {
            kind: said,
            ..samples::step(tasks[0], 1, "")
        },
        everywhere(1),
    );
    let result = samples::tool_step(tasks[0], 2, ToolRunner::Platform, &"b".repeat(texts / 4));
    world.journal.repeat(&result, everywhere(2));
    drop(result);
    for (place, id) in tasks.iter().enumerate() {
        let mut task = world.task(*id).await;
        task.claim(samples::lease_until(samples::after(1)), samples::START)
            .unwrap();
        if place % 2 == 0 {
            task.note_steps(world.journal.step_summaries(*id).await.unwrap());
        }
        world.store.update(&task).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(2));
    let batches = world.run(&tasks).await;
    assert_eq!(batches > 1, mebibytes * TASKS > 32, "{batches} batches");
    assert!(
        tasks
            .iter()
            .all(|task| world.journal.entries(*task).len() == 9)
    );
    left_since(&begun)
}

/// Ten tasks whose model wants 98 pages at once, of control characters and of letters, each without
/// end.
pub(crate) async fn results() -> u64 {
    let world = World::new().await;
    let begun = Region::new(COUNTING);
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        tasks.push(world.submit().await);
    }
    world.run(&tasks).await;
    for task in tasks {
        let entries = world.journal.entries(task);
        assert_eq!(entries.len(), 100);
        let bytes: u64 = entries.iter().map(|(head, _)| head.bytes).sum();
        assert!(bytes < 3 * MAX_TOOL_TEXTS_BYTES, "{bytes}");
    }
    left_since(&begun)
}

/// The size of each step of [`clients`].
const LARGE: usize = 16 * MEBIBYTE - 1_024;

/// A task of 1,000 large steps, and the last one's answer.
async fn large_task(world: &World) -> (TaskId, ToolAnswer) {
    let id = world.submit().await;
    let at = |number| (id, StepPlace { number, base: 0 });
    let said = Step {
        kind: answer(LARGE),
        ..samples::step(id, 1, "")
    };
    world.journal.repeat(&said, (1..1_000).step_by(2).map(at));
    drop(said);
    let mut answered = samples::tool_step(id, 2, ToolRunner::Client, &"b".repeat(LARGE));
    world
        .journal
        .repeat(&answered, (2..=1_000).step_by(2).map(at));
    let StepKind::ToolCall { text, .. } = &mut answered.kind else {
        unreachable!()
    };
    let last = ToolAnswer {
        call_id: None,
        step: Some(1_000),
        text: std::mem::take(text),
        is_error: false,
    };
    (id, last)
}

async fn fail(world: &World, id: TaskId) {
    let mut task = world.task(id).await;
    task.claim(samples::lease_until(samples::after(60)), samples::START)
        .unwrap();
    world.store.update(&task).await.unwrap();
    task.fail(
        1,
        Failure::of_its_own(FailureCode::AttemptsExhausted, "given up"),
        samples::after(1),
    )
    .unwrap();
    world.store.update(&task).await.unwrap();
}

/// What clients call.
fn tasks(world: &World) -> Tasks {
    let store = || Arc::new(world.store.clone());
    let journal = Arc::<PackedJournal>::clone(&world.journal);
    let (queue, clock) = (
        Arc::new(MemoryQueue::default()),
        Arc::new(world.clock.clone()),
    );
    Tasks {
        agents: store(),
        store: store(),
        journal,
        queue,
        providers: Vec::new(),
        clock,
    }
}

/// What clients do with a task of 1,000 steps of almost 16 MiB each, which failed.
pub(crate) async fn clients() -> u64 {
    let world = World::new().await;
    let begun = Region::new(COUNTING);
    let (id, last) = large_task(&world).await;
    fail(&world, id).await;

    let clients = tasks(&world);
    let tenant = &world.agent.tenant;
    let mut after = 996;
    while after < 1_000 {
        let part = clients.list_steps(tenant, id, after, 100).await.unwrap();
        assert_eq!((part.steps.len(), part.more), (1, after < 999));
        after = part.steps[0].number;
    }
    assert_eq!(
        clients.step_text(tenant, id, 500).await.unwrap().len(),
        LARGE
    );
    assert!(clients.call_arguments(tenant, id, 500).await.unwrap().len() < 100);
    // Given before: the task is no longer one that waits for it.
    assert_eq!(
        clients
            .answer_task(tenant, id, vec![last])
            .await
            .unwrap()
            .status(),
        TaskStatus::Failed
    );
    let none = LimitChanges::default();
    assert_eq!(
        clients.redrive(tenant, id).await.unwrap().status(),
        TaskStatus::Queued
    );
    clients.cancel_task(tenant, id).await.unwrap();
    let reopened = clients
        .retry_task(tenant, id, RetryFrom::Checkpoint, none)
        .await
        .unwrap();
    assert!(
        reopened.progress().conversation_bytes > Some(15_000 * MEBIBYTE as u64),
        "{reopened:?}"
    );
    clients.cancel_task(tenant, id).await.unwrap();
    let afresh = clients
        .retry_task(tenant, id, RetryFrom::Start, none)
        .await
        .unwrap();
    assert_eq!(
        (afresh.progress().base, afresh.progress().conversation_bytes),
        (1_000, Some(0))
    );
    left_since(&begun)
}
