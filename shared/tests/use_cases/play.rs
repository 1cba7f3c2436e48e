//! A task of many kinds of steps in a world in memory, for tests that have everyone die and collide.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::app::{Runner, Sweeper, Tasks, ToolAnswer};
use shared::domain::{
    BuiltinTool, JsonSchema, Message, ModelAnswer, ModelRequest, Step, StepKind, TaskId, TaskStatus, ToolCall,
    ToolDefinition, ToolName, Wait, WaitReason,
};
use shared::ports::{Journal, Model, ModelError, ModelErrorKind, TaskMessage, ToolOutput, ToolRequest, Tools};
use shared::testing::{Faults, MemoryStore, When, samples};

use crate::world::{INVOCATION, World};

/// The steps of [`Script`]: model, two tools at once, model, the client, model, tool, model.
pub(crate) const STEPS: u32 = 8;
pub(crate) const MODEL_STEPS: usize = 4;
pub(crate) const TOOL_STEPS: usize = 3;

/// A model whose answer depends on the conversation alone, and which asks for a pause once.
struct Script {
    world: Arc<World>,
    store: MemoryStore,
    faults: Faults,
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    samples::tool_call(id, name, arguments)
}

impl Script {
    async fn answer(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelErrorKind> {
        let turns = request.prompt.messages.iter().filter(|message| matches!(message, Message::Assistant(_))).count();
        let base = self.world.task(request.caller.task).await.progress().base;
        let steps = self.store.steps(request.caller.task).await.unwrap();
        let is_answer = |step: &&Step| step.number > base && matches!(step.kind, StepKind::ModelCall { .. });
        let answers = steps.iter().filter(is_answer).count();
        assert_eq!(answers, turns, "a recorded answer is asked for again");
        let asked = self.world.model.asked().len();
        drop(self.world.model.ask(request).await);
        Ok(match turns {
            0 => samples::answer_calling([
                call("a", "calculator", r#"{"expression":"1+1"}"#),
                call("b", "current_time", "{}"),
            ]),
            1 if asked == 1 => {
                let until = self.world.now().plus(Duration::from_secs(30));
                return Err(ModelErrorKind::Park(Wait { until, reason: WaitReason::RateLimit }));
            }
            1 => samples::answer_calling([call("c", "ask_human", "{}")]),
            2 => samples::answer_calling([call("d", "calculator", r#"{"expression":"2+2"}"#)]),
            _ => samples::answer("done"),
        })
    }
}

#[async_trait]
impl Model for Script {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let failed = |kind| ModelError::new(request.model().clone(), kind);
        let lost = ModelErrorKind::Unavailable { retry_after: None };
        match self.faults.strike() {
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
        let (task, number) = request.idempotency_key.split_once('/').unwrap();
        let steps = self.store.steps(task.parse().unwrap()).await.unwrap();
        assert!(steps.iter().all(|step| step.number.to_string() != number), "a recorded tool call is made again");
        let lost = ToolOutput { text: "lost".to_owned(), is_error: true };
        match self.faults.strike() {
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
}

impl Play {
    pub(crate) async fn begin() -> Self {
        let schema = JsonSchema::new(serde_json::json!({ "type": "object" })).unwrap();
        let ask = ToolDefinition::new(ToolName::new("ask_human".to_owned()).unwrap(), String::new(), schema).unwrap();
        let world = World::new().await.with_agent(|config| {
            config.builtin_tools = vec![BuiltinTool::Calculator, BuiltinTool::CurrentTime];
            config.tools = vec![ask];
        });
        let world = Arc::new(world.await);
        let task = world.submit("hello").await.unwrap().id();
        Self { world, task }
    }

    pub(crate) fn tasks(&self, faults: &Faults) -> Tasks {
        let store = || Arc::new(self.world.store.with_faults(faults.clone()));
        let queue = Arc::new(self.world.queue.with_faults(faults.clone()));
        let (agents, clock) = (store(), Arc::new(self.world.clock.clone()));
        Tasks { agents, store: store(), journal: store(), queue, clock }
    }

    fn runner(&self, faults: &Faults) -> Runner {
        let script = Arc::new(Script {
            world: Arc::clone(&self.world),
            store: self.world.store.clone(),
            faults: faults.clone(),
        });
        let (model, tools) = (Arc::<Script>::clone(&script) as Arc<dyn Model>, script as Arc<dyn Tools>);
        Runner { model, tools, ..self.world.worker_failing(faults) }
    }

    /// Delivers the task's message.
    pub(crate) async fn deliver(&self, faults: &Faults) {
        let message = TaskMessage { tenant: self.world.tenant().clone(), task: self.task };
        drop(self.runner(faults).run(&message, self.world.now().plus(INVOCATION)).await);
    }

    /// Has the client answer, if the task waits for it.
    pub(crate) async fn answer(&self, faults: &Faults) {
        let tasks = self.tasks(faults);
        let yes = ToolAnswer { call_id: "c".to_owned(), text: "yes".to_owned(), is_error: false };
        if self.world.status(self.task).await == TaskStatus::InputRequired {
            drop(tasks.answer_task(self.world.tenant(), self.task, vec![yes]).await);
        }
    }

    pub(crate) async fn sweep(&self, faults: &Faults) {
        let sweeper = Sweeper {
            tasks: Arc::new(self.world.store.with_faults(faults.clone())),
            queue: Arc::new(self.world.queue.with_faults(faults.clone())),
            clock: Arc::new(self.world.clock.clone()),
        };
        drop(sweeper.sweep(self.world.now().plus(INVOCATION)).await);
    }

    pub(crate) async fn is_over(&self) -> bool {
        self.world.status(self.task).await.is_terminal()
    }
}
