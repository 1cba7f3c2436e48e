//! Caps on running tasks when many executors want to run many tasks.

use std::num::NonZeroU32;

use shared::app::{NewTask, Room, RunError, RunOutcome, Runner, TaskSlots, Tasks, WorkTimes};
use shared::domain::{Agent, CacheRules, Task, TaskId, TaskStatus};
use shared::ports::{AgentStore, TaskMessage, TaskStore};
use shared::queue::SqsTaskQueue;
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoSlots, DynamoTaskStore, DynamoUsage};
use shared::testing::{ManualClock, SameCaps, ScriptedTools, samples};

use super::*;

const EXECUTORS: usize = 10;
/// How many tasks an executor works on at once, and so how many all of them together do.
const BATCH: usize = 10;
const OF_DEPLOYMENT: usize = EXECUTORS * BATCH;
const OF_TENANT: usize = 40;
const OF_KEY: usize = 8;
const TASKS: usize = 200;
/// How many workers are killed in each of the first rounds.
const KILLED: usize = 5;

/// How long an invocation may last.
const INVOCATION: Duration = Duration::from_mins(2);

/// Executors over the tables, a queue that nobody reads, and the time as the test wants it.
struct Fleet {
    shared: Shared,
    queue_url: String,
    clock: ManualClock,
    agent: Agent,
    runners: Vec<Arc<Runner>>,
}

/// A task, and the key that it was submitted with.
#[derive(Clone, Copy)]
struct Submitted {
    id: TaskId,
    key: Option<KeyId>,
}

impl Fleet {
    async fn new() -> Self {
        let shared = Shared::new().await;
        let queue_url = shared.aws.create_queue().await;
        let clock = ManualClock::at(SystemClock.now());
        let mut agent = samples::agent(&samples::fresh_tenant());
        let model = ModelRef::new(Provider::OpenAiCompatible, "sturdy").unwrap();
        agent.config.models = ModelChain::only(model.into());
        let agents = DynamoAgentStore::new(shared.aws.dynamodb(), shared.table.as_str());
        agents.create(&agent).await.unwrap();
        let mut fleet = Self {
            shared,
            queue_url,
            clock,
            agent,
            runners: Vec::new(),
        };
        fleet.runners = (0..EXECUTORS).map(|_| Arc::new(fleet.runner())).collect();
        fleet
    }

    fn store(&self) -> Arc<DynamoTaskStore> {
        Arc::new(DynamoTaskStore::new(
            self.shared.aws.dynamodb(),
            self.shared.table.as_str(),
        ))
    }

    fn runner(&self) -> Runner {
        let Shared {
            aws,
            table,
            provider,
            ..
        } = &self.shared;
        let cap = |most: usize| Caps::NONE.with(CapKind::RunningTasks, most as u64).unwrap();
        let own = CapsOfTask {
            tenant: cap(OF_TENANT),
            key: cap(OF_KEY),
        };
        Runner {
            usage: Arc::new(DynamoUsage::new(aws.dynamodb(), table)),
            agents: Arc::new(DynamoAgentStore::new(aws.dynamodb(), table)),
            tasks: self.store(),
            journal: Arc::new(DynamoJournal::new(aws.dynamodb(), table)),
            model: calls::stack(aws, table, table, provider.url()),
            tools: Arc::new(ScriptedTools::default()),
            clock: Arc::new(self.clock.clone()),
            queue: Arc::new(SqsTaskQueue::new(aws.sqs(), &self.queue_url)),
            cache: CacheRules::Off,
            times: WorkTimes::default(),
            slots: Some(TaskSlots::new(
                Arc::new(DynamoSlots::new(aws.dynamodb(), table)),
                Arc::new(SameCaps(own)),
                None,
                NonZeroU32::new(u32::try_from(OF_DEPLOYMENT).unwrap()),
            )),
            room: Room::default(),
        }
    }

    /// Submits all tasks at once: of three, one with each of two keys and one with none.
    async fn submit(&self) -> Vec<Submitted> {
        let runner = &self.runners[0];
        let tasks = Tasks {
            agents: Arc::new(DynamoAgentStore::new(
                self.shared.aws.dynamodb(),
                self.shared.table.as_str(),
            )),
            store: self.store(),
            journal: Arc::clone(&runner.journal),
            queue: Arc::clone(&runner.queue),
            providers: Provider::ALL.to_vec(),
            clock: Arc::clone(&runner.clock),
        };
        let keys = [
            Some(samples::token().id()),
            Some(samples::token().id()),
            None,
        ];
        let submit = |number: usize| {
            let (tasks, key) = (&tasks, keys[number % keys.len()]);
            async move {
                let new = NewTask {
                    key,
                    ..NewTask::of(self.agent.id, samples::input("[ok]"))
                };
                let task = tasks.submit_task(&self.agent.tenant, new).await.unwrap();
                Submitted { id: task.id(), key }
            }
        };
        let all = stream::iter(0..TASKS).map(submit).buffer_unordered(16);
        all.collect().await
    }

    /// Lets the executor with this number run the task.
    fn run(&self, number: usize, task: TaskId) -> JoinHandle<Result<RunOutcome, RunError>> {
        let runner = Arc::clone(&self.runners[number % EXECUTORS]);
        let message = TaskMessage {
            tenant: self.agent.tenant.clone(),
            task,
            alone: false,
        };
        let until = self.clock.now().plus(INVOCATION);
        tokio::spawn(async move { runner.run(&message, until).await })
    }

    async fn task(&self, id: TaskId) -> Task {
        let found = self.store().task(&self.agent.tenant, id).await.unwrap();
        found.unwrap()
    }
}

/// In each round the executors run as many tasks as they can. The provider answers none of them
/// before each task calls it or is parked, so its open requests are the tasks that run.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_racing_tasks_never_pass_a_cap_on_running_tasks() {
    let fleet = Fleet::new().await;
    let provider = &fleet.shared.provider;
    let mut pending = fleet.submit().await;
    let (mut peak, mut peak_of_key) = (0, 0);
    for round in 0..40 {
        if pending.is_empty() {
            break;
        }
        provider.hold("sturdy");
        let before = fleet.shared.calls();
        let open = || fleet.shared.calls() - before;
        let mut runs = Vec::new();
        for batch in pending.chunks(BATCH).take(EXECUTORS) {
            let batch = batch.iter().enumerate();
            runs.extend(batch.map(|(number, task)| (*task, fleet.run(number, task.id))));
            let parked = || runs.iter().filter(|(_, run)| run.is_finished()).count();
            let count = runs.len();
            fleet.shared.until(|| open() + parked() == count).await;
        }
        let running = |key: KeyId| {
            let of_key = runs.iter().filter(|(task, _)| task.key == Some(key));
            of_key.filter(|(_, run)| !run.is_finished()).count()
        };
        for key in runs.iter().filter_map(|(task, _)| task.key) {
            let running = running(key);
            assert!(running <= OF_KEY, "round {round}: {running}");
            peak_of_key = peak_of_key.max(running);
        }
        assert!(open() <= OF_TENANT, "round {round}: {}", open());
        peak = peak.max(open());
        if round < 3 {
            let open = runs.iter().filter(|(_, run)| !run.is_finished());
            open.take(KILLED).for_each(|(_, run)| run.abort());
        }
        provider.release("sturdy");
        for (_, run) in runs {
            match run.await {
                Ok(outcome) => drop(outcome.unwrap()),
                Err(killed) => assert!(killed.is_cancelled(), "{killed}"),
            }
        }
        // The waits of parked tasks, the leases and the slots of killed workers are over.
        fleet.clock.advance(INVOCATION + Duration::from_secs(5));
        let mut left = Vec::new();
        for task in pending {
            if fleet.task(task.id).await.status() != TaskStatus::Completed {
                left.push(task);
            }
        }
        // Those that ran in this round are behind those that did not.
        let ran = OF_DEPLOYMENT.min(left.len());
        left.rotate_left(ran);
        pending = left;
    }
    assert!(pending.is_empty(), "{} tasks did not end", pending.len());
    assert_eq!(
        (peak, peak_of_key),
        (OF_TENANT, OF_KEY),
        "the caps were reached"
    );
    fleet.shared.aws.delete_queue(&fleet.queue_url).await;
    fleet.shared.end().await;
}
