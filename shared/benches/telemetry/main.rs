//! What logs, traces and metrics cost: `make bench`, explained in `docs/benchmarks.md`.
//!
//! Telemetry is a process's own, so each way is measured in processes of its own, which take turns:
//! they start as a function does and work on tasks. What they say is read here, as Lambda and the
//! X-Ray daemon do it. A step calls a provider on this machine through all layers and is written by
//! the SDK to a table that takes everything, so that it has all of the spans, lines and counts of a
//! real one. `cargo test` runs one small process of each way, and holds it to what hardly differs
//! between machines: allocations and bytes.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program whose output is its purpose, and which ends where it can't go on"
)]

#[path = "../measure/mod.rs"]
mod measure;
#[path = "../model_call/provider.rs"]
#[expect(dead_code, reason = "made for another benchmark, too")]
mod provider;
mod work;

use std::error::Error;
use std::io::{self, Read};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;

use provider::Provider;
use work::{Outside, work};

/// Processes of each way, and the invocations of each; and in a test.
const PROCESSES: (u32, u32) = (15, 1);
const ROUNDS: (u32, u32) = (200, 2);
/// Turns of a model and a tool before the last answer.
const TURNS: [u32; 2] = [0, 5];
/// The most that telemetry may take of a step: this share of its time on the processor or these
/// microseconds, whichever is more; and of a function's start, in microseconds.
const TARGETS: (f64, f64, f64) = (0.05, 200.0, 3_000.0);
/// The share of an invocation's allocations, their number as their size, that telemetry may add; it
/// adds a fifth.
const MOST_ADDED: f64 = 0.3;
/// The bytes of logs and metrics, and those of spans, that telemetry may write for an invocation
/// and for each of its steps.
const MOST_WRITTEN: [(f64, f64); 2] = [(3_072.0, 1_024.0), (4_096.0, 2_048.0)];
/// Says to the daemon that nothing comes any more.
const END: &[u8] = b"end";

type Failure = Box<dyn Error>;

/// What there is of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Off,
    Untraced,
    Unrecorded,
    All,
}

impl Way {
    const ALL: [Self; 4] = [Self::Off, Self::Untraced, Self::Unrecorded, Self::All];

    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Untraced => "logs and metrics",
            Self::Unrecorded => "trace not recorded",
            Self::All => "trace recorded",
        }
    }
}

/// What one process, or the middle one of many, took; times in microseconds.
#[derive(Default, Clone)]
struct Row {
    /// Start as it passed, start, first invocation, p50, p99, CPU, allocations and KiB of an
    /// invocation, bytes on standard output, spans and bytes to the daemon.
    columns: Vec<f64>,
}

const COLUMNS: [&str; 11] = [
    "start",
    "cpu",
    "1st cpu",
    "p50",
    "p99",
    "cpu",
    "allocs",
    "KiB",
    "bytes out",
    "spans",
    "span bytes",
];

impl Row {
    fn at(&self, column: usize) -> f64 {
        self.columns.get(column).copied().unwrap_or(f64::NAN)
    }

    /// The median of each column.
    fn median(rows: &[Self]) -> Self {
        let column = |index| {
            let mut values: Vec<f64> = rows.iter().map(|row| row.at(index)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            columns: (0..COLUMNS.len()).map(column).collect(),
        }
    }
}

/// Runs one process and reads what it says.
fn process(way: Way, turns: u32, rounds: u32, provider: &Provider) -> Result<Row, Failure> {
    let daemon = UdpSocket::bind("127.0.0.1:0")?;
    let address = daemon.local_addr()?;
    let reading = thread::spawn(move || received(&daemon));
    let index = Way::ALL
        .iter()
        .position(|other| *other == way)
        .unwrap_or_default();
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "work",
            &index.to_string(),
            &turns.to_string(),
            &rounds.to_string(),
        ])
        .args([address.to_string(), provider.address.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut out = child.stdout.take().ok_or("standard output is piped")?;
    let written = thread::spawn(move || io::copy(&mut out, &mut io::sink()));
    let mut output = String::new();
    child
        .stderr
        .take()
        .ok_or("standard error is piped")?
        .read_to_string(&mut output)?;
    let status = child.wait()?;
    assert!(status.success(), "{output}");
    UdpSocket::bind("127.0.0.1:0")?.send_to(END, address)?;
    let written = written.join().expect("reading doesn't panic")?;
    let (spans, bytes) = reading.join().expect("reading doesn't panic")?;
    assert_eq!(spans > 0, way == Way::All, "spans of: {}", way.name());
    let mut columns = output
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<Vec<f64>, _>>()?;
    let invocations = f64::from(rounds + 1);
    columns.extend([written, spans, bytes].map(|count| whole(count) / invocations));
    Ok(Row { columns })
}

/// How many spans came, and their bytes.
fn received(daemon: &UdpSocket) -> io::Result<(u64, u64)> {
    let mut buffer = vec![0; 65_536];
    let (mut spans, mut bytes) = (0, 0);
    loop {
        let length = daemon.recv(&mut buffer)?;
        if buffer.starts_with(END) {
            return Ok((spans, bytes));
        }
        spans += 1;
        bytes += length as u64;
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run writes 2^52 bytes")]
fn whole(count: u64) -> f64 {
    count as f64
}

/// The process that is measured: tells its columns on standard error.
fn child(arguments: &[String]) -> Result<(), Failure> {
    let [way, turns, rounds, daemon, provider] = arguments else {
        return Err("five arguments are needed".into());
    };
    let way = *Way::ALL
        .get(way.parse::<usize>()?)
        .ok_or("an unknown way")?;
    let it = work(
        way,
        turns.parse()?,
        rounds.parse()?,
        &Outside { daemon, provider },
    )?;
    let one = it.invocations;
    eprintln!(
        "{} {} {} {} {} {} {} {}",
        it.start.0, it.start.1, it.first, one.p50, one.p99, one.cpu, one.allocations, one.kibibytes
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("work", rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return child(rest);
    }
    // Cargo says so when it runs a benchmark rather than a test.
    let is_benchmark = arguments.iter().any(|argument| argument == "--bench");
    let (processes, rounds) = if is_benchmark {
        (PROCESSES.0, ROUNDS.0)
    } else {
        (PROCESSES.1, ROUNDS.1)
    };
    let provider = Provider::start()?;
    for turns in TURNS {
        let mut all = Way::ALL.map(|way| (way, Vec::new()));
        for _ in 0..processes {
            // In random order, so that no variant always follows the same other one.
            fastrand::shuffle(&mut all);
            for (way, rows) in &mut all {
                rows.push(process(*way, turns, rounds, &provider)?);
            }
        }
        all.sort_unstable_by_key(|(way, _)| *way);
        let rows = all.map(|(way, rows)| (way, Row::median(&rows)));
        if is_benchmark {
            print(turns, &rows);
        }
        check(turns, &rows);
    }
    Ok(())
}

/// Fails if telemetry allocates or writes much more than it does today.
fn check(turns: u32, rows: &[(Way, Row)]) {
    let steps = f64::from(2 * turns + 1);
    let off = rows.first().map(|(_, row)| row.clone()).unwrap_or_default();
    for (way, row) in rows {
        let added = |column| row.at(column) / off.at(column) - 1.0;
        let [log, spans] = MOST_WRITTEN.map(|(invocation, step)| invocation + step * steps);
        for (what, found, most) in [
            ("share of allocations", added(6), MOST_ADDED),
            ("share of what is allocated", added(7), MOST_ADDED),
            ("bytes of log and metrics", row.at(8), log),
            ("bytes of spans", row.at(10), spans),
        ] {
            assert!(
                found <= most,
                "{}, {steps} steps: {what} {found:.2}, at most {most}",
                way.name()
            );
        }
    }
}

fn print(turns: u32, rows: &[(Way, Row)]) {
    let steps = f64::from(2 * turns + 1);
    let off = rows.first().map(|(_, row)| row.clone()).unwrap_or_default();
    println!(
        "An invocation with a task of {steps} steps; medians of {} processes, times in µs",
        PROCESSES.0
    );
    print!("{:<20}", "");
    for column in COLUMNS {
        print!("{column:>11}");
    }
    println!("{:>11}{:>9}  target", "+cpu/step", "of it");
    for (way, row) in rows {
        print!("{:<20}", way.name());
        for value in &row.columns {
            print!("{value:>11.1}");
        }
        let step = off.at(5) / steps;
        let added = (row.at(5) - off.at(5)) / steps;
        let met = added <= TARGETS.1.max(TARGETS.0 * step) && row.at(0) <= TARGETS.2;
        println!(
            "{added:>+11.1}{:>8.1}%  {}",
            100.0 * added / step,
            if met { "met" } else { "missed" }
        );
    }
    println!();
}
