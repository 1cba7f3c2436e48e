//! Model calls of many processes that share nothing but tables.

mod caps;
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use shared::domain::{
    CapKind, Caps, KeyId, ModelChain, ModelRef, ModelRequest, Period, Provider, ReservationId,
    TenantId,
};
use shared::policy::{DailyCaps, PriceTable};
use shared::ports::clock::SystemClock;
use shared::ports::{
    Allowance, BudgetKey, Budgets, CapsOfTask, Clock, Model, ModelErrorKind, Reservation, Reserved,
};
use shared::store::DynamoBudgets;
use tests::calls::{self, Call};
use tests::platform::unique;
use tests::{LocalAws, Unreliable};
use tokio::task::JoinHandle;

const PROCESSES: usize = 10;

/// A model that has a price.
const PRICED: &str = "claude-haiku-5-5";

/// The tables and the provider that some processes share.
struct Shared {
    aws: LocalAws,
    table: String,
    provider: Unreliable,
    prompt: String,
}

impl Shared {
    async fn new() -> Self {
        let aws = LocalAws::from_env().await;
        let table = aws.create_state_table().await;
        Self {
            aws,
            table,
            provider: Unreliable::own(),
            prompt: unique("[ok]"),
        }
    }

    /// Starts a process that asks `times` times at once.
    fn process(&self, tenant: &str, times: usize) -> Child {
        let arguments = [
            self.table.as_str(),
            self.table.as_str(),
            self.provider.url(),
            "sturdy",
            tenant,
            &self.prompt,
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_model_caller"));
        command
            .args(arguments)
            .arg(times.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn calls(&self) -> usize {
        self.provider.requests_to("sturdy").len()
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_mins(1), "it never happens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        self.aws.delete_table(&self.table).await;
    }
}

/// How many answers the process got.
async fn answers(process: Child) -> usize {
    let output = tokio::task::spawn_blocking(|| process.wait_with_output().unwrap())
        .await
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap_or_default()
}

/// Whether the process has a connection to the port, by the kernel's own tables.
fn is_connected(process: &Child, port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let sockets: Vec<String> = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row[2].ends_with(&remote) && row[3] == "01")
        .map(|row| format!("socket:[{}]", row[9]))
        .collect();
    let files = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| {
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_requests_of_ten_processes_are_one_call() {
    let shared = Shared::new().await;
    let processes: Vec<Child> = (0..PROCESSES).map(|_| shared.process("acme", 10)).collect();
    let answered: usize = join_all(processes.into_iter().map(answers))
        .await
        .into_iter()
        .sum();
    assert_eq!((answered, shared.calls()), (100, 1));
    shared.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_a_call_of_its_own() {
    let shared = Shared::new().await;
    let processes: Vec<Child> = (0..4)
        .map(|number| shared.process(&format!("tenant-{}", number % 2), 5))
        .collect();
    let answered: usize = join_all(processes.into_iter().map(answers))
        .await
        .into_iter()
        .sum();
    assert_eq!((answered, shared.calls()), (20, 2));
    shared.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_process_that_asks_is_killed_another_one_asks_once_more() {
    let shared = Shared::new().await;
    shared.provider.hold("sturdy");
    let mut processes: Vec<Child> = (0..PROCESSES).map(|_| shared.process("acme", 10)).collect();
    shared.until(|| shared.calls() == 1).await;
    let port = shared
        .provider
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let leader = processes
        .iter()
        .position(|process| is_connected(process, port))
        .unwrap();
    let mut leader = processes.swap_remove(leader);
    leader.kill().unwrap();
    leader.wait().unwrap();
    shared.provider.release("sturdy");
    let answered: usize = join_all(processes.into_iter().map(answers))
        .await
        .into_iter()
        .sum();
    assert_eq!((answered, shared.calls()), (90, 2));
    shared.end().await;
}

/// Each of these is latency on the way to an answer. A claim that others can see and the answer
/// itself have to be written, so a miss is two writes; the read is the look at the model's circuit,
/// which is good for five seconds. A note on the model's health is written once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_call_costs_two_writes_with_the_cache_and_nothing_without_it() {
    let shared = Shared::new().await;
    let stack = || {
        calls::stack(
            &shared.aws,
            &shared.table,
            &shared.table,
            shared.provider.url(),
        )
    };
    let (first, second) = (stack(), stack());
    let call = Call {
        tenant: "acme",
        model: "sturdy",
        prompt: &shared.prompt,
    };
    let cost = async |stack: &Arc<dyn Model>, request: ModelRequest| {
        shared.aws.calls().reset();
        stack.call(&request).await.unwrap();
        let counts = shared.aws.calls().counts();
        counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        cost(&first, call.uncached()).await,
        "1 GetItem, 1 UpdateItem",
        "the circuit's first look, and the first note on the model's health"
    );
    assert_eq!(cost(&first, call.uncached()).await, "");
    assert_eq!(cost(&first, call.cached()).await, "2 UpdateItem", "a miss");
    assert_eq!(
        cost(&first, call.cached()).await,
        "",
        "a hit in the same process"
    );
    assert_eq!(
        cost(&second, call.cached()).await,
        "1 UpdateItem",
        "a hit in another one"
    );
    let capped = ModelRequest {
        task_cap: Some(1_000_000),
        ..priced(&shared.prompt)
    };
    assert_eq!(
        cost(&first, capped).await,
        "1 GetItem, 3 UpdateItem",
        "a cap's reservation and settlement, and this model's first look and note"
    );
    shared.end().await;
}

/// A request to [`PRICED`].
fn priced(prompt: &str) -> ModelRequest {
    let model = ModelRef::new(Provider::Anthropic, PRICED).unwrap();
    let call = Call {
        tenant: "acme",
        model: "unused",
        prompt,
    };
    ModelRequest {
        chain: ModelChain::only(model.into()),
        ..call.uncached()
    }
}
