//! A task of many kinds of steps in a world in memory, for tests that have everyone die and
//! collide.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::app::{Runner, Sweeper, Tasks, ToolAnswer};
use shared::domain::{
    BuiltinTool, JsonSchema, Message, ModelAnswer, ModelRequest, Step, StepKind, Task, TaskId,
    TaskStatus, ToolCall, ToolDefinition, ToolName, Wait, WaitReason,
};
use shared::ports::{Model, ModelError, ModelErrorKind, Recovery, ToolOutput, ToolRequest, Tools};
use shared::testing::{Call, Failed, Faults, MemoryStore, When, samples};

use crate::world::{INVOCATION, World};

/// The steps of [`Script`]: model, two tools at once, model, the client twice at once, model, tool,
/// model.
pub(crate) const STEPS: u32 = 9;
pub(crate) const MODEL_STEPS: usize = 4;
pub(crate) const TOOL_STEPS: usize = 3;

/// A model whose answer depends on the conversation alone, and which asks for a pause once.
struct Script {
    world: Arc<World>,
    store: MemoryStore,
    faults: Faults,
    /// What was recorded before the worker began.
    known: Vec<Step>,
    latency: Duration,
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    samples::tool_call(id, name, arguments)
}

impl Script {
    fn look(&self, task: TaskId) -> (Task, Vec<Step>) {
        let (task, steps) = self.store.peek(task);
        (task.unwrap(), steps)
    }

    /// Whether the worker must know of the step: others may record theirs behind its back until
    /// they notice that they have lost their lease.
    fn knows(&self, task: &Task, step: &Step) -> bool {
        step.fence == task.fence() || self.known.contains(step)
    }

    async fn answer(&self, request: &ModelRequest) -> Result<ModelAnswer, Failed> {
        let turns = request
            .prompt
            .messages
            .iter()
            .filter(|message| matches!(message, Message::Assistant(_)))
            .count();
        let (task, steps) = self.look(request.caller.task);
        let known = |step: &Step| self.knows(&task, step);
        let answers = |base, counts: &dyn Fn(&Step) -> bool| {
            let is_one =
                |step: &&Step| step.base == base && matches!(step.kind, StepKind::ModelCall { .. });
            steps
                .iter()
                .filter(is_one)
                .filter(|step| counts(step))
                .count()
        };
        // A worker of an earlier run may not know yet that there is a later one.
        let mut runs = steps
            .iter()
            .map(|step| step.base)
            .chain([0, task.progress().base]);
        let as_recorded =
            |base| (answers(base, &known)..=answers(base, &|_| true)).contains(&turns);
        assert!(
            runs.any(as_recorded),
            "a recorded answer is requests for again"
        );
        let requests = self.world.model.requests().len();
        drop(self.world.model.call(request).await);
        self.world.clock.advance(self.latency);
        Ok(match turns {
            0 => samples::answer_calling([
                call("a", "calculator", r#"{"expression":"1+1"}"#),
                call("b", "current_time", "{}"),
            ]),
            1 if requests == 1 => {
                let until = self.world.now().plus(Duration::from_secs(30));
                let wait = Wait {
                    until,
                    reason: WaitReason::RateLimit,
                };
                return Err((ModelErrorKind::RateLimited, Some(Recovery::at(wait))));
            }
            1 => samples::answer_calling([
                call("c", "ask_human", "{}"),
                call("d", "ask_human", "{}"),
            ]),
            2 => samples::answer_calling([call("e", "calculator", r#"{"expression":"2+2"}"#)]),
            _ => samples::answer("done"),
        })
    }
}

#[async_trait]
impl Model for Script {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let failed = |(kind, recovery)| ModelError {
            recovery,
            ..ModelError::new(request.model().clone(), kind)
        };
        let lost = (ModelErrorKind::Unavailable, None);
        match self.faults.strike(Call::Other) {
            Some(When::Before) => return Err(failed(lost)),
            Some(When::After) => {
                drop(self.answer(request).await);
                return Err(failed(lost));
            }
            None => {}
        }
        self.answer(request).await.map_err(failed)
    }
}

#[async_trait]
impl Tools for Script {
    async fn run(&self, request: &ToolRequest) -> ToolOutput {
        let (task, call) = request.idempotency_key.split_once('/').unwrap();
        let (base, number) = call.split_once('/').unwrap_or(("0", call));
        let (task, steps) = self.look(task.parse().unwrap());
        let is_this =
            |step: &&Step| step.number.to_string() == number && step.base.to_string() == base;
        let mut recorded = steps.iter().filter(is_this);
        assert!(
            !recorded.any(|step| self.knows(&task, step)),
            "a recorded tool call is made again"
        );
        let lost = ToolOutput::error("lost");
        match self.faults.strike(Call::Other) {
            Some(When::Before) => lost,
            Some(When::After) => {
                self.world.tools.run(request).await;
                lost
            }
            None => self.world.tools.run(request).await,
        }
    }
}

/// A world with one task of the script.
pub(crate) struct Play {
    pub(crate) world: Arc<World>,
    pub(crate) task: TaskId,
    /// How long each answer of the model takes.
    latency: Duration,
}

impl Play {
    /// With a model that takes so long for each answer.
    pub(crate) async fn begin(latency: Duration) -> Self {
        let schema = JsonSchema::new(serde_json::json!({ "type": "object" })).unwrap();
        let ask = ToolDefinition::new(
            ToolName::new("ask_human".to_owned()).unwrap(),
            String::new(),
            schema,
        )
        .unwrap();
        let world = World::new().await.with_agent(|config| {
            config.tools = vec![
                ask.into(),
                BuiltinTool::Calculator.into(),
                BuiltinTool::CurrentTime.into(),
            ];
        });
        let world = Arc::new(world.await);
        let task = world.submit("hello").await.unwrap().id();
        Self {
            world,
            task,
            latency,
        }
    }

    pub(crate) fn tasks(&self, faults: &Faults) -> Tasks {
        self.world.tasks_with_store_failing(faults)
    }

    fn runner(&self, faults: &Faults) -> Runner {
        let script = Arc::new(Script {
            world: Arc::clone(&self.world),
            store: self.world.store.clone(),
            faults: faults.clone(),
            known: self.world.store.peek(self.task).1,
            latency: self.latency,
        });
        let (model, tools) = (
            Arc::<Script>::clone(&script) as Arc<dyn Model>,
            script as Arc<dyn Tools>,
        );
        Runner {
            model,
            tools,
            ..self.world.worker_failing(faults)
        }
    }

    /// Delivers a message for the task, whether there is one or not; whether it is done with.
    pub(crate) async fn deliver(&self, faults: &Faults) -> bool {
        self.world
            .run_by(&self.runner(faults), self.task)
            .await
            .is_ok()
    }

    /// Delivers the next message of the queue, if there is one, to so many workers at once. If no
    /// worker finishes it, it comes back when its time has
    /// [elapsed](shared::testing::MemoryQueue::elapse), or is lost.
    pub(crate) async fn deliver_next<'a>(
        &self,
        faults: impl Fn() -> &'a Faults,
        at_once: usize,
        is_lost: bool,
    ) {
        let Some(delivery) = self.world.queue.receive() else {
            return;
        };
        let done = join_all((0..at_once).map(|_| self.deliver(faults()))).await;
        if is_lost || done.contains(&true) {
            self.world.queue.acknowledge(&delivery.receipt);
        }
    }

    /// Has the client answer both calls in one order or the other with the same text, if the task
    /// waits for it.
    pub(crate) async fn answer(&self, faults: &Faults, text: &str, reversed: bool) {
        let tasks = self.tasks(faults);
        let answer = |id: &str| ToolAnswer {
            call_id: Some(id.to_owned()),
            step: None,
            text: text.to_owned(),
            is_error: false,
        };
        let mut answers = vec![answer("c"), answer("d")];
        if reversed {
            answers.reverse();
        }
        if self.world.status(self.task).await == TaskStatus::InputRequired {
            drop(
                tasks
                    .answer_task(self.world.tenant(), self.task, answers)
                    .await,
            );
        }
    }

    pub(crate) async fn sweep(&self, faults: &Faults) {
        let sweeper = Sweeper {
            tasks: Arc::new(self.world.store.with_faults(faults.clone())),
            journal: Arc::new(self.world.store.with_faults(faults.clone())),
            queue: Arc::new(self.world.queue.with_faults(faults.clone())),
            clock: Arc::new(self.world.clock.clone()),
        };
        drop(sweeper.sweep(self.world.now().plus(INVOCATION)).await);
    }

    pub(crate) async fn is_over(&self) -> bool {
        self.world.status(self.task).await.is_terminal()
    }
}
