//! The process that is measured: a function's start and its invocations, each with one message, as
//! the executor handles it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use cpu_time::ThreadTime;
use shared::app::{Room, RunError, RunOutcome, Runner, WorkTimes};
use shared::config::Environment;
use shared::domain::{
    Agent, BuiltinTool, CacheRules, ModelAnswer, ModelRequest, Step, StepPlace, StepSummary,
    TaskId, TaskStatus, TraceHeader,
};
use shared::llm::{self, Access, ApiKey, Layers, Providers, Timeouts};
use shared::policy::{BreakerSettings, CostCaps, DailyCaps};
use shared::ports::clock::SystemClock;
use shared::ports::{
    AgentStore, Clock, Journal, Model, ModelError, StepsPage, StepsRequest, StoreError,
    TaskMessage, TaskStore,
};
use shared::store::client::dynamodb;
use shared::store::{DynamoAgentStore, DynamoJournal};
use shared::telemetry::{self};
use shared::testing::{
    MemoryAnswers, MemoryBudgets, MemoryCircuits, MemoryQueue, MemorySecrets, MemoryStore,
    MemoryUsage, SameCaps, ScriptedTools, samples,
};
use tracing::{Instrument, field};

use crate::measure::{Samples, Summary};
use crate::{Failure, Way};

/// What the claim, the agent and the end of a task cost: one call of the table each.
const CALLS_BESIDES_STEPS: u32 = 3;

/// What a process tells of itself; times in microseconds.
pub(crate) struct Measured {
    /// The start of telemetry, as it passed and on the processor.
    pub(crate) start: (f64, f64),
    /// The first invocation, on the processor.
    pub(crate) first: f64,
    /// The later ones.
    pub(crate) invocations: Summary,
}

/// Where what is not measured runs.
pub(crate) struct Outside<'a> {
    /// The X-Ray daemon.
    pub(crate) daemon: &'a str,
    /// The model provider.
    pub(crate) provider: &'a str,
}

/// Starts as a function does, and makes `rounds` invocations whose task calls a tool in each of its
/// first `turns`.
pub(crate) fn work(
    way: Way,
    turns: u32,
    rounds: u32,
    outside: &Outside<'_>,
) -> Result<Measured, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let environment = Environment::of([
            (
                "AWS_XRAY_DAEMON_ADDRESS",
                if way == Way::Untraced {
                    ""
                } else {
                    outside.daemon
                },
            ),
            ("ENVIRONMENT", "prod"),
        ]);
        let (cpu, begun) = (ThreadTime::now(), Instant::now());
        if way != Way::Off {
            telemetry::start(telemetry::Service::new("executor", "v1"), &environment);
        }
        let start = (micros(begun.elapsed()), micros(cpu.elapsed()));
        let function = Function::new(turns, outside.provider).await?;
        let cpu = ThreadTime::now();
        function
            .submit_and_run(way, &mut Samples::default())
            .await?;
        let first = micros(cpu.elapsed());
        let mut samples = Samples::default();
        for _ in 0..rounds {
            function.submit_and_run(way, &mut samples).await?;
        }
        Ok(Measured {
            start,
            first,
            invocations: samples.summary(),
        })
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The executor over a store in memory, a model on this machine and a table that takes everything.
struct Function {
    store: MemoryStore,
    table: DynamoAgentStore,
    agent: Agent,
    runner: Runner,
}

impl Function {
    async fn new(turns: u32, provider: &str) -> Result<Self, Failure> {
        let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
        let mut agent = samples::agent(&samples::tenant("acme"));
        agent.config.tools = vec![BuiltinTool::Calculator.into()];
        AgentStore::create(&store, &agent).await?;
        let sdk = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(Taking)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        let table = dynamodb(&sdk.load().await);
        let runner = Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::new(Both {
                read: store.clone(),
                written: DynamoJournal::new(table.clone(), "state"),
            }),
            queue: Arc::new(queue),
            model: Arc::new(Turns {
                turns,
                model: model(provider)?,
            }),
            tools: Arc::new(ScriptedTools::default()),
            clock: Arc::new(SystemClock),
            cache: CacheRules::Off,
            times: WorkTimes::default(),
            slots: None,
            room: Room::default(),
        };
        Ok(Self {
            store,
            table: DynamoAgentStore::new(table, "state"),
            agent,
            runner,
        })
    }

    async fn submit_and_run(&self, way: Way, samples: &mut Samples) -> Result<(), Failure> {
        let now = SystemClock.now();
        let task = samples::task(&self.agent, now);
        TaskStore::create(&self.store, &task).await?;
        let message = TaskMessage {
            tenant: self.agent.tenant.clone(),
            task: task.id(),
            alone: false,
        };
        let (since_1970, recorded) = (now.as_millis() / 1_000, u8::from(way != Way::Unrecorded));
        let header = format!(
            "Root=1-{since_1970:08x}-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={recorded}"
        );
        let work = Box::pin(self.invoke(message, header.parse()?));
        let invocation = telemetry::invocation(Duration::from_mins(15), work);
        let ran = samples.take(1, invocation).await?;
        assert_eq!(ran, RunOutcome::Ended(TaskStatus::Completed));
        Ok(())
    }

    /// The spans are those of `functions/executor`.
    async fn invoke(
        &self,
        message: TaskMessage,
        trace: TraceHeader,
    ) -> Result<RunOutcome, RunError> {
        let xray_trace_id = trace.trace_id();
        let (function_request_id, message_id) = (
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "059f36b4-87a3-44ab-83d2-661975830a7d",
        );
        let invoke =
            tracing::info_span!(target: "executor", "invoke", function_request_id, xray_trace_id);
        let process = invoke.in_scope(|| {
            tracing::info_span!(
                target: "executor", "tasks process", xray_parent = trace.as_str(), xray_trace_id,
                function_request_id, linked_trace_id = xray_trace_id, message_id, receives = 1,
                task_id = %message.task, tenant_id = %message.tenant,
                agent_id = field::Empty, hop = field::Empty
            )
        });
        let work = async {
            for _ in 0..CALLS_BESIDES_STEPS {
                self.table.newest(&message.tenant, self.agent.id).await?;
            }
            self.runner
                .run(&message, SystemClock.now().plus(Duration::from_mins(15)))
                .await
        };
        work.instrument(process).instrument(invoke).await
    }
}

/// All layers around the provider at `address`.
fn model(address: &str) -> Result<Arc<dyn Model>, Failure> {
    let secrets = MemorySecrets::default();
    secrets.set("key", "sk-1");
    let key = ApiKey::Secret {
        store: Arc::new(secrets),
        name: "key".to_owned(),
    };
    let access = Access {
        base_url: format!("http://{address}").parse()?,
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
        clock: Arc::new(SystemClock),
    };
    Ok(llm::model(&llm::http_client()?, providers, layers))
}

/// A model whose answers are calls of a tool at first.
struct Turns {
    turns: u32,
    model: Arc<dyn Model>,
}

#[async_trait]
impl Model for Turns {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let answer = self.model.call(request).await?;
        let turn = request.prompt.messages.len() / 2;
        if turn >= self.turns as usize {
            return Ok(answer);
        }
        let call = samples::tool_call(&turn.to_string(), "calculator", r#"{"expression":"6 * 7"}"#);
        Ok(ModelAnswer {
            spend: answer.spend,
            ..samples::answer_calling([call])
        })
    }
}

/// A journal in memory, whose steps are written by the SDK as well.
struct Both {
    read: MemoryStore,
    written: DynamoJournal,
}

#[async_trait]
impl Journal for Both {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        self.written.append(step).await?;
        self.read.append(step).await
    }

    async fn step(&self, task: TaskId, place: StepPlace) -> Result<Option<Step>, StoreError> {
        self.read.step(task, place).await
    }

    async fn page(&self, task: TaskId, wanted: &StepsRequest) -> Result<StepsPage, StoreError> {
        self.read.page(task, wanted).await
    }

    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError> {
        self.read.step_summaries(task).await
    }
}

/// An HTTP client of the SDK's with which every call succeeds at once.
#[derive(Debug, Clone)]
struct Taking;

impl HttpClient for Taking {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Taking {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let response = 200
            .try_into()
            .map(|status| HttpResponse::new(status, SdkBody::from("{}")));
        HttpConnectorFuture::ready(Ok(response.expect("a status")))
    }
}
