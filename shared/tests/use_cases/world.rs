//! A whole platform in memory, with hands on its clock, its model and its failures.

use std::io;
use std::sync::{Arc, Once};
use std::time::Duration;

use shared::app::{
    AgentDraft, Agents, AppError, NewTask, Room, RunError, RunOutcome, Runner, SweepSummary,
    Sweeper, Tasks, WorkTimes,
};
use shared::domain::{
    Agent, AgentConfig, AgentHead, CacheRules, OnLimit, Outage, Provider, Step, Switch, Task,
    TaskId, TaskInput, TaskStatus, TenantId, Timestamp, Unlisted, journal,
};
use shared::ports::{AgentStore, Clock, Journal, StoreError, TaskMessage, TaskStore};
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs};
use shared::testing::log_schema::check_log_line;
use shared::testing::{
    Faults, ManualClock, MemoryQueue, MemoryStore, MemoryUsage, ScriptedModel, ScriptedTools,
    listen_everywhere, samples,
};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// How long an invocation of a worker may take.
pub(crate) const INVOCATION: Duration = Duration::from_mins(1);

/// The time that a step of it should have.
pub(crate) const STEP_RESERVE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) usage: MemoryUsage,
    pub(crate) model: Arc<ScriptedModel>,
    pub(crate) tools: Arc<ScriptedTools>,
    pub(crate) agent: Agent,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_model(ScriptedModel::default()).await
    }

    pub(crate) async fn with_model(model: ScriptedModel) -> Self {
        check_logs();
        let agent = samples::agent(&samples::tenant("acme"));
        let store = MemoryStore::default();
        AgentStore::create(&store, &agent).await.unwrap();
        let clock = ManualClock::at(samples::START);
        let model = Arc::new(model.on(clock.clone()));
        let tools = Arc::new(ScriptedTools::default().on(clock.clone()));
        Self {
            clock,
            store,
            queue: MemoryQueue::default(),
            usage: MemoryUsage::default(),
            model,
            tools,
            agent,
        }
    }

    /// The same world with an agent that would rather have its tasks fail than wait for a model.
    pub(crate) async fn whose_tasks_fail_in_outages(self) -> Self {
        self.with_agent(|config| {
            config.retry.outage = Outage::Fail;
            config.limits.on_limit = OnLimit::Fail;
        })
        .await
    }

    /// The same world with an agent that is set so.
    pub(crate) async fn with_agent(mut self, set: impl FnOnce(&mut AgentConfig)) -> Self {
        self.agent = samples::agent(self.tenant());
        set(&mut self.agent.config);
        AgentStore::create(&self.store, &self.agent).await.unwrap();
        self
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.agent.tenant
    }

    pub(crate) fn tasks(&self) -> Tasks {
        self.tasks_failing(&Faults::default())
    }

    pub(crate) fn tasks_failing(&self, faults: &Faults) -> Tasks {
        let queue = self.queue.with_faults(faults.clone());
        let store = || Arc::new(self.store.clone());
        Tasks {
            agents: store(),
            store: store(),
            journal: store(),
            queue: Arc::new(queue),
            providers: Provider::ALL.to_vec(),
            clock: Arc::new(self.clock.clone()),
        }
    }

    /// Use cases over a store whose calls fail by `faults`.
    pub(crate) fn tasks_with_store_failing(&self, faults: &Faults) -> Tasks {
        let store = || Arc::new(self.store.with_faults(faults.clone()));
        Tasks {
            agents: store(),
            store: store(),
            journal: store(),
            ..self.tasks_failing(faults)
        }
    }

    pub(crate) fn agents(&self) -> Agents {
        self.agents_failing(&Faults::default())
    }

    pub(crate) fn agents_failing(&self, faults: &Faults) -> Agents {
        let store = || Arc::new(self.store.with_faults(faults.clone()));
        Agents {
            store: store(),
            retention: store(),
            providers: Provider::ALL.to_vec(),
            clock: Arc::new(self.clock.clone()),
        }
    }

    /// Enables or disables the agent, as its client does.
    pub(crate) async fn switch(&self, switch: Switch) {
        let patched = |agent: &AgentHead| {
            Ok::<AgentDraft, AppError>(AgentDraft {
                config: agent.newest.config.clone(),
                unlisted: vec![Unlisted::Allowed; agent.newest.config.models.iter().count()],
                switch,
            })
        };
        let (tenant, id) = (self.tenant(), self.agent.id);
        let agent = self.agents().patch_agent(tenant, id, patched).await;
        assert_eq!(agent.unwrap().switch, switch);
    }

    /// A worker whose store calls fail by `faults`.
    pub(crate) fn worker_failing(&self, faults: &Faults) -> Runner {
        let store = self.store.with_faults(faults.clone());
        Runner {
            usage: Arc::new(self.usage.with_faults(faults.clone())),
            queue: Arc::new(self.queue.with_faults(faults.clone())),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::new(store),
            model: Arc::<ScriptedModel>::clone(&self.model),
            clock: Arc::new(self.clock.clone()),
            tools: Arc::<ScriptedTools>::clone(&self.tools),
            cache: CacheRules::Off,
            times: WorkTimes {
                step_reserve: STEP_RESERVE,
                ..WorkTimes::default()
            },
            slots: None,
            room: Room::default(),
        }
    }

    pub(crate) fn new_task(&self, input: &str) -> NewTask {
        let input = TaskInput::new(input.to_owned()).unwrap();
        NewTask::of(self.agent.id, input)
    }

    pub(crate) async fn submit(&self, input: &str) -> Result<Task, AppError> {
        self.tasks()
            .submit_task(self.tenant(), self.new_task(input))
            .await
    }

    /// Runs the task in a new invocation, as after a delivery of its message.
    pub(crate) async fn run(&self, task: TaskId) -> Result<RunOutcome, RunError> {
        self.run_failing(task, &Faults::default()).await
    }

    pub(crate) async fn run_failing(
        &self,
        task: TaskId,
        faults: &Faults,
    ) -> Result<RunOutcome, RunError> {
        self.run_by(&self.worker_failing(faults), task).await
    }

    pub(crate) async fn run_by(
        &self,
        worker: &Runner,
        task: TaskId,
    ) -> Result<RunOutcome, RunError> {
        let message = TaskMessage {
            tenant: self.tenant().clone(),
            task,
            alone: false,
        };
        worker.run(&message, self.now().plus(INVOCATION)).await
    }

    pub(crate) async fn sweep(&self) -> Result<SweepSummary, StoreError> {
        self.sweep_failing(&Faults::default()).await
    }

    /// Sweeps while the queue fails by `faults`.
    pub(crate) async fn sweep_failing(&self, faults: &Faults) -> Result<SweepSummary, StoreError> {
        let sweeper = Sweeper {
            tasks: Arc::new(self.store.clone()),
            journal: Arc::new(self.store.clone()),
            queue: Arc::new(self.queue.with_faults(faults.clone())),
            clock: Arc::new(self.clock.clone()),
        };
        sweeper.sweep(self.now().plus(INVOCATION)).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        TaskStore::task(&self.store, self.tenant(), id)
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn status(&self, id: TaskId) -> TaskStatus {
        self.task(id).await.status()
    }

    pub(crate) async fn steps(&self, id: TaskId) -> Vec<Step> {
        let task = TaskStore::task(&self.store, self.tenant(), id)
            .await
            .unwrap();
        let base = task.map_or(0, |task| task.progress().base);
        journal(base, self.store.steps(id).await.unwrap())
    }
}

/// Has every line that any of the tests logs checked.
fn check_logs() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let layer = logs::layer(
            Service::new("use_cases", "v1"),
            LevelFilter::DEBUG,
            HeldLines::default(),
            || CheckedLines,
        );
        listen_everywhere(tracing_subscriber::registry().with(layer));
    });
}

struct CheckedLines;

impl io::Write for CheckedLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        check_log_line(&serde_json::from_slice(line).unwrap()).unwrap();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
