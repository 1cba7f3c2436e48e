//! What the layers around a model call cost by themselves: `make bench`, explained in
//! `docs/benchmarks.md`.
//!
//! The provider is on loopback and takes no time, the stores are in memory, and the runtime has one
//! thread, as in a function. All ways to call take turns, sample by sample, so that any other load
//! the machine does hits all of them alike. `cargo test` runs a few rounds, for the numbers of
//! calls to provider and stores, which are checked in every run.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program whose output is its purpose, and which ends where it can't go on"
)]

#[path = "../measure/mod.rs"]
mod measure;
mod provider;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use measure::{Samples, Summary};
use provider::Provider;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use shared::domain::{
    CacheRules, CacheTerms, Caller, Deadline, Message, ModelRequest, Prompt, TaskId, TenantId,
    ToolDefinition, ToolName,
};
use shared::llm::{Access, ApiKey, Layers, Providers, Timeouts, http_client, model, router};
use shared::policy::{BreakerSettings, CostCaps, DailyCaps};
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, Model, ModelError};
use shared::testing::{
    Faults, MemoryAnswers, MemoryBudgets, MemoryCircuits, MemorySecrets, SameCaps, samples,
};

/// How often each way is measured, and in a test.
const ROUNDS: (u32, u32) = (3_000, 3);
/// Rounds before that, for connections, caches and branch predictors.
const WARM_UP: u32 = 100;
/// How many calls with the same request come at once.
const AT_ONCE: u32 = 50;
/// About how many bytes the conversation has.
const PROMPT_BYTES: [usize; 2] = [2_048, 65_536];
/// The most that the layers may add to a bare call, in microseconds at p50 and p99.
const TARGET: (f64, f64) = (300.0, 1_000.0);

type Failure = Box<dyn Error>;

/// One way to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Bare,
    Client,
    Off,
    Capped,
    Miss,
    Stored,
    Local,
    Coalesced,
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Bare,
        Self::Client,
        Self::Off,
        Self::Capped,
        Self::Miss,
        Self::Stored,
        Self::Local,
        Self::Coalesced,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare reqwest",
            Self::Client => "client alone",
            Self::Off => "all layers, cache off",
            Self::Capped => "cache off, two caps",
            Self::Miss => "cache miss",
            Self::Stored => "hit, in the store",
            Self::Local => "hit, in the process",
            Self::Coalesced => "50 at once, each",
        }
    }

    /// The calls that one sample makes.
    const fn calls(self) -> u32 {
        match self {
            Self::Coalesced => AT_ONCE,
            Self::Bare
            | Self::Client
            | Self::Off
            | Self::Capped
            | Self::Miss
            | Self::Stored
            | Self::Local => 1,
        }
    }

    /// The calls to the provider, the answers' store and the budgets' store that one sample leads
    /// to.
    const fn expected(self) -> (u64, u32, u32) {
        match self {
            Self::Bare | Self::Client | Self::Off => (1, 0, 0),
            Self::Capped => (1, 0, 4),
            Self::Miss | Self::Coalesced => (1, 2, 0),
            Self::Stored => (0, 1, 0),
            Self::Local => (0, 0, 0),
        }
    }
}

/// All that calls are made with.
struct Bench {
    provider: Provider,
    http: reqwest::Client,
    providers: Providers,
    client: Arc<dyn Model>,
    stack: Arc<dyn Model>,
    capped: Arc<dyn Model>,
    answers: (MemoryAnswers, Faults),
    circuits: MemoryCircuits,
    budgets: Faults,
    prompt: Arc<Prompt>,
    tenants: u64,
}

impl Bench {
    fn new(bytes: usize) -> Result<Self, Failure> {
        let (provider, http) = (Provider::start()?, http_client()?);
        let secrets = MemorySecrets::default();
        secrets.set("key", "sk-1");
        let key = ApiKey::Secret {
            store: Arc::new(secrets),
            name: "key".to_owned(),
        };
        let access = Access {
            base_url: format!("http://{}", provider.address).parse()?,
            key,
        };
        let providers = Providers {
            anthropic: access.clone(),
            openai: access,
            openai_compatible: None,
            timeouts: Timeouts::default(),
        };
        let (answers, budgets) = (Faults::default(), Faults::default());
        let client = Arc::new(router(&http, providers.clone(), &clock()));
        let mut bench = Self {
            stack: Arc::clone(&client) as Arc<dyn Model>,
            capped: Arc::clone(&client) as Arc<dyn Model>,
            client,
            answers: (
                MemoryAnswers::default().with_faults(answers.clone()),
                answers,
            ),
            circuits: MemoryCircuits::default(),
            budgets,
            prompt: Arc::new(prompt(bytes)?),
            tenants: 0,
            provider,
            http,
            providers,
        };
        (bench.stack, bench.capped) = (bench.stack(None), bench.stack(Some(u64::MAX)));
        Ok(bench)
    }

    /// The layers as one more process has them, over the stores of all.
    fn stack(&self, tenant_daily_cap: Option<u64>) -> Arc<dyn Model> {
        let layers = Layers {
            answers: Arc::new(self.answers.0.clone()),
            circuits: Arc::new(self.circuits.clone()),
            breaker: BreakerSettings::default(),
            caps: CostCaps {
                budgets: Arc::new(MemoryBudgets::default().with_faults(self.budgets.clone())),
                daily: DailyCaps {
                    tenant: tenant_daily_cap,
                    deployment: None,
                },
                own: Arc::new(SameCaps::default()),
            },
            clock: clock(),
        };
        model(&self.http, self.providers.clone(), layers)
    }

    /// The same prompt of a new tenant, so that nothing is cached for it.
    fn request(&mut self, cache: CacheRules) -> Result<ModelRequest, Failure> {
        self.tenants += 1;
        let now = SystemClock.now();
        let tenant: TenantId = format!("t-{}", self.tenants).parse()?;
        Ok(ModelRequest {
            prompt: Arc::clone(&self.prompt),
            caller: Caller {
                tenant,
                task: TaskId::new(now),
                key: None,
            },
            cache,
            deadline: Deadline::at(now.plus(Duration::from_mins(1))),
            ..samples::model_request("")
        })
    }

    /// Takes one sample.
    async fn sample(
        &mut self,
        way: Way,
        body: &Bytes,
        samples: &mut Samples,
    ) -> Result<(), Failure> {
        let cached = CacheRules::On(CacheTerms::default());
        let request = self.request(if way.expected().1 > 0 || way == Way::Local {
            cached
        } else {
            CacheRules::Off
        })?;
        let stack = &self.stack;
        if matches!(way, Way::Stored | Way::Local) {
            stack.call(&request).await?;
        }
        // What the last exchange left to do, such as to put its connection back, is not this one's.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let before = self.counts();
        match way {
            Way::Bare => samples.take(1, self.bare(body)).await?,
            Way::Client => samples.take(1, model_call(&self.client, &request)).await?,
            Way::Off | Way::Miss | Way::Local => {
                samples.take(1, model_call(stack, &request)).await?;
            }
            Way::Capped => {
                let request = ModelRequest {
                    task_cap: Some(u64::MAX),
                    ..request
                };
                samples.take(1, model_call(&self.capped, &request)).await?;
            }
            Way::Stored => {
                let stack = self.stack(None);
                samples.take(1, model_call(&stack, &request)).await?;
            }
            Way::Coalesced => {
                let all = (0..AT_ONCE).map(|_| model_call(stack, &request));
                samples
                    .take(AT_ONCE, async { try_join_all(all).await.map(drop) })
                    .await?;
            }
        }
        let after = self.counts();
        let made = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        assert_eq!(
            made,
            way.expected(),
            "calls to provider, answers and budgets for: {}",
            way.name()
        );
        Ok(())
    }

    /// The calls so far to the provider, the answers and the budgets.
    fn counts(&self) -> (u64, u32, u32) {
        (
            self.provider.requests(),
            self.answers.1.calls(),
            self.budgets.calls(),
        )
    }

    async fn bare(&self, body: &Bytes) -> Result<(), reqwest::Error> {
        let post = self
            .http
            .post(format!("http://{}/v1/messages", self.provider.address));
        let post = post
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        let post = post
            .header(AUTHORIZATION, "Bearer sk-1")
            .header("anthropic-version", "2026-10-21");
        post.body(body.clone())
            .send()
            .await?
            .bytes()
            .await
            .map(drop)
    }

    /// What every way takes, in the order of [`Way::ALL`].
    async fn run(&mut self, rounds: u32) -> Result<Vec<Summary>, Failure> {
        let request = self.request(CacheRules::Off)?;
        model_call(&self.client, &request).await?;
        let body = self.provider.last();
        let mut all = Way::ALL.map(|way| (way, Samples::default()));
        for round in 0..WARM_UP.min(rounds) + rounds {
            if round == WARM_UP.min(rounds) {
                all = Way::ALL.map(|way| (way, Samples::default()));
            }
            // In random order, so that no way to call always follows the same other one.
            fastrand::shuffle(&mut all);
            for (way, samples) in &mut all {
                self.sample(*way, &body, samples).await?;
            }
        }
        all.sort_unstable_by_key(|(way, _)| *way);
        Ok(all
            .into_iter()
            .map(|(_, mut samples)| samples.summary())
            .collect())
    }
}

async fn model_call(model: &Arc<dyn Model>, request: &ModelRequest) -> Result<(), ModelError> {
    model.call(request).await.map(drop)
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A conversation of some turns, with tools, that has about that many bytes.
fn prompt(bytes: usize) -> Result<Prompt, Failure> {
    let text = |share: usize| {
        "It is a long way to the end of a conversation. ".repeat(bytes / share / 47 + 1)
    };
    let schema = r#"{"type":"object","properties":{"place":{"type":"string"},"days":{"type":"integer"}},"required":["place"]}"#;
    let tool = |name: &str| -> Result<ToolDefinition, Failure> {
        let name = ToolName::new(name.to_owned())?;
        Ok(ToolDefinition::new(
            name,
            text(64),
            serde_json::from_str(schema)?,
        )?)
    };
    Ok(Prompt {
        instructions: text(4),
        messages: (0..8).map(|_| Message::user(text(12))).collect(),
        tools: vec![tool("weather")?, tool("calendar")?],
        ..samples::prompt("")
    })
}

fn main() -> Result<(), Failure> {
    // Cargo says so when it runs a benchmark rather than a test.
    let is_benchmark = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_benchmark { ROUNDS.0 } else { ROUNDS.1 };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for bytes in PROMPT_BYTES {
        let mut bench = Bench::new(bytes)?;
        let summaries = runtime.block_on(bench.run(rounds))?;
        assert_eq!(bench.circuits.writes(), 0, "all circuits stay closed");
        if is_benchmark {
            print(bytes, rounds, &summaries);
            println!("Reads of circuits in all: {}.\n", bench.circuits.reads());
        }
    }
    Ok(())
}

fn print(bytes: usize, rounds: u32, summaries: &[Summary]) {
    let bare = summaries.first().expect("the first way is the bare call");
    println!(
        "A prompt of {} KiB, {rounds} samples of each way, times in µs per call",
        bytes / 1_024
    );
    println!(
        "{:<22}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>9}{:>9}{:>9}  target",
        "", "p50", "p99", "+p50", "+p99", "cpu", "allocs", "KiB", "answers", "budgets"
    );
    for (way, it) in Way::ALL.into_iter().zip(summaries) {
        let (p50, p99) = (it.p50 - bare.p50, it.p99 - bare.p99);
        let (_, answers, budgets) = way.expected();
        let met = if p50 <= TARGET.0 && p99 <= TARGET.1 {
            "met"
        } else {
            "missed"
        };
        println!(
            "{:<22}{:>9.1}{:>9.1}{p50:>+9.1}{p99:>+9.1}{:>8.1}{:>8.1}{:>9.1}{:>9.2}{:>9.2}  {}",
            way.name(),
            it.p50,
            it.p99,
            it.cpu,
            it.allocations,
            it.kibibytes,
            f64::from(answers) / f64::from(way.calls()),
            f64::from(budgets) / f64::from(way.calls()),
            if way == Way::Bare { "" } else { met },
        );
    }
}
