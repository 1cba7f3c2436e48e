//! Model calls of many processes that share nothing but tables.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use shared::domain::{
    ModelChain, ModelRef, ModelRequest, Provider, ReservationId, Wait, WaitReason,
};
use shared::policy::{DailyCaps, PriceTable};
use shared::ports::clock::SystemClock;
use shared::ports::{
    Allowance, BudgetKey, Budgets, Clock, Model, ModelErrorKind, Reservation, Reserved,
};
use shared::store::DynamoBudgets;
use tests::calls::{self, Question};
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_ask"));
        command
            .args(arguments)
            .arg(times.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn calls(&self) -> usize {
        self.provider.asked_of("sturdy").len()
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
/// which is good for five seconds.
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
    let question = Question {
        tenant: "acme",
        model: "sturdy",
        prompt: &shared.prompt,
    };
    let cost = async |stack: &Arc<dyn Model>, request: ModelRequest| {
        shared.aws.calls().reset();
        stack.ask(&request).await.unwrap();
        let counts = shared.aws.calls().counts();
        counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        cost(&first, question.uncached()).await,
        "1 GetItem",
        "the circuit's first look"
    );
    assert_eq!(cost(&first, question.uncached()).await, "");
    assert_eq!(
        cost(&first, question.cached()).await,
        "2 UpdateItem",
        "a miss"
    );
    assert_eq!(
        cost(&first, question.cached()).await,
        "",
        "a hit in the same process"
    );
    assert_eq!(
        cost(&second, question.cached()).await,
        "1 UpdateItem",
        "a hit in another one"
    );
    let capped = ModelRequest {
        task_cap: Some(1_000_000),
        ..priced(&shared.prompt)
    };
    assert_eq!(
        cost(&first, capped).await,
        "1 GetItem, 2 UpdateItem",
        "a cap's reservation and settlement"
    );
    shared.end().await;
}

/// A question to [`PRICED`].
fn priced(prompt: &str) -> ModelRequest {
    let model = ModelRef::new(Provider::Anthropic, PRICED).unwrap();
    let question = Question {
        tenant: "acme",
        model: "unused",
        prompt,
    };
    ModelRequest {
        chain: ModelChain::only(model.into()),
        ..question.uncached()
    }
}

/// Ten stacks are ten executors: what they know of each other is in the table.
#[tokio::test(flavor = "multi_thread")]
async fn ten_executors_leave_a_provider_alone_that_is_down_but_for_one_probe_at_a_time() {
    let shared = Shared::new().await;
    let stacks: Vec<_> = (0..10)
        .map(|_| {
            calls::stack(
                &shared.aws,
                &shared.table,
                &shared.table,
                shared.provider.url(),
            )
        })
        .collect();
    let chain = |prompt: &str| {
        let question = Question {
            tenant: "acme",
            model: "sturdy",
            prompt,
        };
        let models = ["sturdy", "backup"].map(|name| {
            ModelRef::new(Provider::OpenAiCompatible, name)
                .unwrap()
                .into()
        });
        ModelRequest {
            chain: ModelChain::new(models.into()).unwrap(),
            ..question.uncached()
        }
    };
    let round = async || {
        let prompt = unique("[ok]");
        let request = chain(&prompt);
        let asked = join_all(stacks.iter().map(|stack| stack.ask(&request))).await;
        asked
            .into_iter()
            .map(|answer| answer.unwrap().model.name().to_owned())
            .collect::<Vec<_>>()
    };

    round().await;
    shared.aws.calls().reset();
    assert_eq!(round().await, ["sturdy"; 10]);
    let healthy = shared.aws.calls().counts();
    assert_eq!(
        healthy.keys().filter(|call| *call != "GetItem").count(),
        0,
        "a healthy call writes: {healthy:?}"
    );

    shared.provider.break_down("sturdy");
    let before = shared.calls();
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(20) {
        assert_eq!(round().await, ["backup"; 10]);
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let calls = shared.calls() - before;
    assert!(
        rounds > 10 && calls < 90,
        "{calls} calls in {rounds} rounds of ten"
    );

    shared.provider.recover("sturdy");
    let begun = Instant::now();
    while round().await != ["sturdy"; 10] {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never closes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    shared.end().await;
}

/// DynamoDB takes 1,000 write units a second of one partition, and a write costs one for each KB of
/// the record that it leaves. Here all calls come in one second, before any is settled.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_open_calls_of_a_day_stay_within_a_partitions_write_units() {
    const CALLS: u64 = 500;
    let shared = Shared::new().await;
    let now = SystemClock.now();
    let day = BudgetKey::tenant_day(&"acme".parse().unwrap(), now);
    let budgets = DynamoBudgets::new(shared.aws.dynamodb(), shared.table.as_str());
    let allowance = Allowance {
        cap_micro_usd: 1_000 * (CALLS + 100),
        spent_before_micro_usd: 0,
    };
    let reserve = async |_| {
        let expires_at = now.plus(Duration::from_mins(5));
        let call = Reservation {
            id: ReservationId::new(now),
            amount_micro_usd: 1_000,
            expires_at,
        };
        budgets.reserve(&day, &call, allowance, now).await.unwrap()
    };
    // The local AWS takes only so many requests at once; what counts is how many reservations are
    // open.
    let reserved: Vec<Reserved> = stream::iter(0..CALLS)
        .map(reserve)
        .buffer_unordered(16)
        .collect()
        .await;
    assert!(
        reserved
            .iter()
            .all(|reserved| *reserved == Reserved::Granted)
    );
    let stands = budgets.budget(&day, now).await.unwrap();
    assert_eq!(
        (stands.committed_micro_usd, stands.held.len() as u64),
        (1_000 * CALLS, CALLS)
    );

    let records = shared
        .aws
        .dynamodb()
        .scan()
        .table_name(&shared.table)
        .send()
        .await
        .unwrap()
        .items
        .unwrap();
    let parts: Vec<_> = records
        .iter()
        .filter(|item| item["pk"].as_s().unwrap().starts_with("BUDGET#"))
        .collect();
    assert_eq!(parts.len(), 8);
    for part in parts {
        let holds = part.keys().filter(|name| name.starts_with("hold_")).count();
        // The name, two names and two numbers inside, and what DynamoDB adds for each.
        let bytes_of_hold = 5
            + ReservationId::new(now).to_string().len()
            + "amount".len()
            + "expires_at".len()
            + 9
            + 4
            + 6;
        let units: usize = (1..=holds)
            .map(|open| (100 + open * bytes_of_hold).div_ceil(1_024))
            .sum();
        assert!(
            holds < 200 && units < 1_000,
            "{holds} open calls, {units} write units"
        );
    }
    shared.end().await;
}

/// The first hundred calls wait for an answer until each of them has or lacks what it sets aside,
/// and some are killed then; the second hundred race with the answers of the rest. The local AWS
/// takes only so many requests at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_racing_calls_never_pass_a_cap_that_allows_fifty() {
    const KILLED: usize = 10;
    let shared = Shared::new().await;
    let now = SystemClock.now();
    let request = || priced(&shared.prompt);
    // What fifty calls may cost at most, by a generous count of their bytes.
    let cap = PriceTable::current()
        .bound(request().model(), 2_500, 100, now)
        .unwrap()
        * 50;
    let caps = DailyCaps {
        tenant: Some(cap),
        deployment: Some(cap * 2),
    };
    let stacks: Vec<_> = (0..4)
        .map(|_| {
            calls::stack_with_caps(
                &shared.aws,
                &shared.table,
                &shared.table,
                shared.provider.url(),
                caps,
            )
        })
        .collect();
    let ask = |number: usize| {
        let (stack, request) = (Arc::clone(&stacks[number % 4]), request());
        tokio::spawn(async move { stack.ask(&request).await })
    };

    shared.provider.hold(PRICED);
    let mut first = Vec::new();
    let open = || shared.provider.asked_of(PRICED).len();
    for round in 1..=10 {
        first.extend((0..10).map(ask));
        let ended = |call: &&JoinHandle<_>| call.is_finished();
        shared
            .until(|| open() + first.iter().filter(ended).count() == 10 * round)
            .await;
    }
    let open = open();
    // As if their worker were killed.
    first
        .iter()
        .filter(|call| !call.is_finished())
        .take(KILLED)
        .for_each(JoinHandle::abort);
    shared.provider.release(PRICED);
    let second = stream::iter(0..100)
        .map(ask)
        .buffer_unordered(16)
        .collect::<Vec<_>>();
    let (first, second) = tokio::join!(join_all(first), second);

    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in first.into_iter().chain(second) {
        let outcome = match outcome {
            Ok(Ok(_)) => "answered",
            Ok(Err(error)) => match error.kind {
                ModelErrorKind::BudgetExhausted(_) | ModelErrorKind::BudgetReserved => "refused",
                _ => panic!("{error:?}"),
            },
            Err(_) => "killed",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(
        (30..=60).contains(&open),
        "{open} open of the first hundred; {outcomes:?}"
    );
    let outcome = |name| outcomes.get(name).copied().unwrap_or_default();
    assert_eq!(outcome("killed"), KILLED, "{outcomes:?}");
    assert!(
        outcome("answered") >= open - KILLED && outcome("refused") > 0,
        "{outcomes:?}"
    );

    // What the killed ones set aside is held until their deadlines have passed, and counts in full
    // from then on.
    let budgets = DynamoBudgets::new(shared.aws.dynamodb(), shared.table.as_str());
    let day = BudgetKey::tenant_day(&"acme".parse().unwrap(), now);
    let before = budgets.budget(&day, SystemClock.now()).await.unwrap();
    assert!(
        before.held.len() == KILLED && before.committed_micro_usd <= cap,
        "{before:?} of {cap}; {outcomes:?}"
    );
    let all = budgets
        .budget(&BudgetKey::deployment_day(now), SystemClock.now())
        .await
        .unwrap();
    assert_eq!(
        (all.held.len(), all.committed_micro_usd),
        (KILLED, before.committed_micro_usd),
        "the deployment's day"
    );
    let after = budgets
        .budget(&day, SystemClock.now().plus(Duration::from_mins(10)))
        .await
        .unwrap();
    assert!(after.held.is_empty(), "{after:?}");
    assert_eq!(after.committed_micro_usd, before.committed_micro_usd);
    shared.end().await;
}
