//! What an invocation says, counts and traces, as Lambda and the X-Ray daemon get it: of a process
//! of its own, because telemetry is one, and a test's standard output is the harness's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::Environment;
use shared::metric;
use shared::ports::Clock;
use shared::ports::clock::SystemClock;
use shared::telemetry::{Service, invocation, start};
use shared::testing::XrayDaemon;
use tokio::time::sleep;
use tracing::Instrument;

/// How long an invocation may take, and a moment between its last words and that.
const LEFT: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_millis(2_750);

/// Begins what is said of an invocation.
const MARK: &str = "---";

const TRACE_ID: &str = "bd862e3fe1be46a994272793";

/// What comes of an invocation.
#[derive(Clone, Copy)]
enum Ends {
    Well,
    Badly,
    /// After its last words were due.
    Late,
}

/// The invocations of the process, one after the other: how each ends, and whether its trace is
/// recorded, if it has one.
const INVOCATIONS: [(Ends, Option<u8>); 5] = [
    (Ends::Well, Some(1)),
    (Ends::Badly, Some(0)),
    (Ends::Well, None),
    (Ends::Late, Some(1)),
    (Ends::Badly, None),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, daemon] = arguments.as_slice()
        && child == "child"
    {
        return function(daemon);
    }
    let daemon = XrayDaemon::start().unwrap();
    let address = daemon.address().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let told = child
        .args(["child", &address])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(told.status.success());
    let told = String::from_utf8(told.stdout).unwrap();
    let told: Vec<Vec<Value>> = told.split(MARK).skip(1).map(lines).collect();

    held_lines_are_written_only_if_the_invocation_fails_or_is_slow(&told);
    every_line_names_the_invocation(&told);
    counts_are_written_once_per_invocation_even_before_a_kill(&told);
    a_start_is_counted_once(&told);
    only_a_trace_that_is_recorded_has_spans(&daemon);
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The process: a function that is invoked a few times. Its time passes in jumps.
fn function(daemon: &str) {
    start(
        Service::new("executor", "v1"),
        &Environment::of([("AWS_XRAY_DAEMON_ADDRESS", daemon), ("ENVIRONMENT", "test")]),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    for (number, (ends, recorded)) in (0_u64..).zip(INVOCATIONS) {
        std::io::stdout()
            .write_all(format!("{MARK}\n").as_bytes())
            .unwrap();
        let seconds = SystemClock.now().as_millis() / 1_000;
        let parent = recorded.map(|recorded| {
            format!("Root=1-{seconds:08x}-{TRACE_ID};Parent=53995c3f42cd8ad8;Sampled={recorded}")
        });
        let span = tracing::info_span!(
            target: "executor", "tasks process", function_request_id = number.to_string(), xray_parent = parent, number
        );
        let work = work(number, ends).instrument(span);
        assert_eq!(
            runtime.block_on(invocation(LEFT, work)).is_ok(),
            !matches!(ends, Ends::Badly)
        );
    }
}

async fn work(number: u64, ends: Ends) -> Result<(), ()> {
    tracing::debug!(target: "executor", "looked at {number}");
    tracing::info!(target: "executor", "works");
    metric::HOPS.add([], 1);
    match ends {
        Ends::Well => Ok(()),
        Ends::Badly => Err(()),
        Ends::Late => {
            sleep(LATE).await;
            tracing::info!(target: "executor", "still works");
            metric::HOPS.add([], 10);
            Ok(())
        }
    }
}

/// What an invocation wrote, in order: messages, and counts of hops.
fn written(lines: &[Value]) -> Vec<Value> {
    let what = |line: &Value| {
        if line["_aws"].is_object() {
            &line["Hops"]
        } else {
            &line["message"]
        }
        .clone()
    };
    lines.iter().map(what).collect()
}

fn held_lines_are_written_only_if_the_invocation_fails_or_is_slow(told: &[Vec<Value>]) {
    let messages = told.iter().map(|lines| {
        let messages = written(lines).into_iter().filter(Value::is_string);
        messages.collect::<Vec<_>>()
    });
    let expected: [&[&str]; 5] = [
        &["works"],
        &["works", "looked at 1"],
        &["works"],
        &["works", "looked at 3", "still works"],
        // Nothing of the one before, which went well in the end.
        &["works", "looked at 4"],
    ];
    assert_eq!(
        messages.collect::<Vec<_>>(),
        expected.map(|messages| messages.iter().map(|it| json!(it)).collect::<Vec<_>>())
    );
    let released = told[1]
        .iter()
        .find(|line| line["message"] == "looked at 1")
        .unwrap();
    assert_eq!(
        (&released["level"], &released["held_level"]),
        (&json!("INFO"), &json!("DEBUG"))
    );
}

fn every_line_names_the_invocation(told: &[Vec<Value>]) {
    for (number, lines) in told.iter().enumerate() {
        for line in lines.iter().filter(|line| line["message"].is_string()) {
            assert_eq!(
                (&line["function_request_id"], &line["service"]),
                (&json!(number.to_string()), &json!("executor"))
            );
        }
    }
}

fn counts_are_written_once_per_invocation_even_before_a_kill(told: &[Vec<Value>]) {
    let hops = |lines: &Vec<Value>| {
        written(lines)
            .into_iter()
            .filter(Value::is_number)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told.iter().map(hops).collect::<Vec<_>>(),
        [
            vec![json!(1)],
            vec![json!(1)],
            vec![json!(1)],
            vec![json!(1), json!(10)],
            vec![json!(1)]
        ]
    );
    let late = written(&told[3]);
    assert_eq!(
        late,
        [
            json!("works"),
            json!("looked at 3"),
            json!(1),
            json!("still works"),
            json!(10)
        ]
    );
}

fn a_start_is_counted_once(told: &[Vec<Value>]) {
    let starts = told.iter().map(|lines| {
        lines
            .iter()
            .filter_map(|line| line["ColdStarts"].as_u64())
            .sum()
    });
    assert_eq!(starts.collect::<Vec<u64>>(), [1, 0, 0, 0, 0]);
}

fn only_a_trace_that_is_recorded_has_spans(daemon: &XrayDaemon) {
    let numbers = daemon.spans().into_iter().map(|span| {
        assert!(span.to_string().contains(TRACE_ID), "{span}");
        assert_eq!(span["name"], "tasks process");
        span["metadata"]["number"].clone()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), ["0", "3"]);
}
