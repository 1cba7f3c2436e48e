//! What a running function reports: log lines, spans of a trace, and metrics.
//!
//! The code writes the first two with `tracing`, and counts with [`metric`](crate::metric). A unit
//! of work has one span. The log and the trace each take their own fields of it: `context.rs` lists
//! the fields that log lines have, [`traces`] the fields that a trace does not get.

pub mod aws;
mod context;
pub mod held;
pub mod logs;
mod metrics;
pub mod semconv;
pub mod traces;

use std::io;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Environment;
use held::HeldLines;

pub use metrics::write_metrics;

/// A function as its logs, traces and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its name: `api`, `executor` or `cleanup`.
    pub name: &'static str,
    /// The commit that it was built from, with `-dirty` if files were changed since; `unknown` if
    /// it was built outside a repository.
    pub version: &'static str,
}

impl Service {
    /// The function of this name and version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }
}

/// The platform's crates. Only their spans are logged and traced, and only their lines follow the
/// log level.
const OURS: [&str; 4] = ["api", "cleanup", "executor", "shared"];

/// Whether a span or a line with this target comes from the platform's crates.
fn is_ours(target: &str) -> bool {
    // Called for each span that begins: a search for one `:` is faster than for `::`.
    OURS.contains(&target.split(':').next().unwrap_or_default())
}

/// The log lines that this process holds back.
static HELD: OnceLock<HeldLines> = OnceLock::new();

/// How long before Lambda kills an invocation the lines that were held back are written.
const WRITE_BEFORE_KILL: Duration = Duration::from_millis(500);

/// Starts the logs, traces and metrics of the function `service`.
///
/// Logs have the level and the format that Lambda's logging configuration says
/// (`AWS_LAMBDA_LOG_LEVEL`, default `INFO`, and `AWS_LAMBDA_LOG_FORMAT`, default `JSON`). Traces go
/// to the X-Ray daemon that Lambda runs, at `AWS_XRAY_DAEMON_ADDRESS`; without it there are none.
/// Does nothing if it was called before.
pub fn start(service: Service, environment: &Environment) {
    let held = HELD.get_or_init(HeldLines::default).clone();
    let daemon = environment.optional("AWS_XRAY_DAEMON_ADDRESS");
    let (traces, failure) = match daemon
        .map(|address| traces::to_daemon(service, &address))
        .transpose()
    {
        Ok(traces) => (traces, None),
        Err(failure) => (None, Some(failure)),
    };
    let registry = tracing_subscriber::registry();
    // Not an `Option` of a layer: an absent layer would pass every line of a library to the other
    // layer's filter.
    let started = match traces {
        Some(traces) => registry
            .with(traces)
            .with(logs::to_stdout(service, environment, held))
            .try_init(),
        None => registry
            .with(logs::to_stdout(service, environment, held))
            .try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(logs::log_panic));
        metrics::start(service.name, environment);
        if let Some(error) = failure {
            tracing::warn!(%error, "tracing unavailable");
        }
    }
}

/// Does the work of one invocation, which Lambda kills after `left`, and then writes the metrics.
/// If the work fails or takes too long, the log lines that were held back are written too.
pub async fn invocation<T, E>(
    left: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let held = HELD.get_or_init(HeldLines::default);
    let write = || {
        // If standard output is closed, there is no place to report the error either.
        drop(held.release(&mut io::stdout()));
        metrics::flush();
    };
    let outcome = write_if_late_or_failed(held, left, work, write).await;
    metrics::flush();
    outcome
}

/// Drops the lines that were held for earlier work, and does the work. Calls `write` if the work
/// fails, and shortly before Lambda kills it.
async fn write_if_late_or_failed<T, E>(
    held: &HeldLines,
    left: Duration,
    work: impl Future<Output = Result<T, E>>,
    write: impl Fn(),
) -> Result<T, E> {
    held.forget();
    let mut work = pin!(work);
    let in_time = tokio::time::timeout(left.saturating_sub(WRITE_BEFORE_KILL), &mut work).await;
    let outcome = if let Ok(outcome) = in_time {
        outcome
    } else {
        write();
        work.await
    };
    if outcome.is_err() {
        write();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::testing::listen_to;

    /// Holds one line, and does `work` in an invocation of ten seconds. When held lines were
    /// written, in milliseconds since the start, and how many each time.
    async fn written(work: impl Future<Output = Result<(), ()>>) -> Vec<(u128, usize)> {
        let held = HeldLines::default();
        let (log, _listening) = listen_to(|log| {
            logs::layer(
                Service::new("executor", "v1"),
                LevelFilter::INFO,
                held.clone(),
                log,
            )
        });
        tracing::debug!("of the invocation before");
        let (begun, written) = (Instant::now(), Mutex::new(Vec::new()));
        let write = || {
            let mut lines = Vec::new();
            held.release(&mut lines).unwrap();
            written.lock().unwrap().push((
                begun.elapsed().as_millis(),
                String::from_utf8(lines).unwrap().lines().count(),
            ));
        };
        let work = async {
            tracing::debug!("of this one");
            work.await
        };
        let _: Result<(), ()> =
            write_if_late_or_failed(&held, Duration::from_secs(10), work, write).await;
        assert_eq!(log.text(), "", "held lines are written by nobody else");
        written.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn held_lines_are_written_after_a_failure_and_before_a_kill() {
        assert_eq!(written(async { Ok(()) }).await, []);
        assert_eq!(written(async { Err(()) }).await, [(0, 1)]);
        let slow = |outcome| async move {
            sleep(Duration::from_secs(11)).await;
            outcome
        };
        assert_eq!(written(slow(Ok(()))).await, [(9_500, 1)]);
        assert_eq!(written(slow(Err(()))).await, [(9_500, 1), (11_000, 0)]);
    }
}
