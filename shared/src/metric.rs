//! Every metric by name, unit and dimensions: the one place that a dashboard or an alarm has to
//! agree with.
//!
//! A metric costs money by the combination of its dimensions' values, so there are few, and
//! tenants, agents and tasks are none of them: logs and traces have these. Whoever counts does so
//! beside the log line that says the same; where it goes is the recorder's business
//! ([`telemetry`](crate::telemetry)), and without one it costs next to nothing.

use std::time::Duration;

use metrics::{Label, Unit};

/// Counts something. `N` is the number of its dimensions besides those that every metric has.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    name: &'static str,
    dimensions: [&'static str; N],
}

/// Measures how long something takes, in milliseconds.
#[derive(Debug)]
pub struct Timer<const N: usize> {
    name: &'static str,
    dimensions: [&'static str; N],
}

/// Tells how often of all times something is so: its average is a share in percent.
#[derive(Debug)]
pub struct Share(&'static str);

impl Share {
    /// Notes one time.
    pub fn note(&self, is_so: bool) {
        metrics::histogram!(self.0).record(if is_so { 100.0 } else { 0.0 });
    }
}

impl<const N: usize> Counter<N> {
    const fn new(name: &'static str, dimensions: [&'static str; N]) -> Self {
        Self { name, dimensions }
    }

    /// Adds to the count with these values of its dimensions, and to the count of all of them
    /// together.
    pub fn add(&self, values: [&str; N], by: u64) {
        metrics::counter!(self.name).increment(by);
        if N > 0 {
            metrics::counter!(self.name, labels(self.dimensions, values)).increment(by);
        }
    }
}

impl<const N: usize> Timer<N> {
    const fn new(name: &'static str, dimensions: [&'static str; N]) -> Self {
        Self { name, dimensions }
    }

    /// Notes one duration with these values of its dimensions, and among all of them together.
    pub fn note(&self, values: [&str; N], took: Duration) {
        let millis = took.as_secs_f64() * 1_000.0;
        metrics::histogram!(self.name).record(millis);
        if N > 0 {
            metrics::histogram!(self.name, labels(self.dimensions, values)).record(millis);
        }
    }
}

fn labels<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Vec<Label> {
    names
        .into_iter()
        .zip(values)
        .map(|(name, value)| Label::new(name, value.to_owned()))
        .collect()
}

const MODEL: [&str; 2] = ["provider", "model"];

/// HTTP requests.
pub const REQUESTS: Counter<0> = Counter::new("Requests", []);
/// Requests answered with a status from 400 to 499.
pub const CLIENT_ERRORS: Counter<0> = Counter::new("ClientErrors", []);
/// Requests answered with a status from 500 on.
pub const SERVER_ERRORS: Counter<0> = Counter::new("ServerErrors", []);
/// Time to answer a request, waits that it asked for included.
pub const REQUEST_LATENCY: Timer<0> = Timer::new("RequestLatency", []);
/// Waits for a task that were refused because their tenant waited as often as it may, or could not
/// be counted.
pub const WAITS_REFUSED: Counter<0> = Counter::new("WaitsRefused", []);
/// Requests whose API key was refused, by what was wrong with it: absent, malformed or wrong.
pub const AUTH_FAILURES: Counter<1> = Counter::new("AuthFailures", ["reason"]);
/// Tasks accepted.
pub const TASKS_SUBMITTED: Counter<0> = Counter::new("TasksSubmitted", []);
/// Submissions that met their own earlier task.
pub const IDEMPOTENT_REPLAYS: Counter<0> = Counter::new("IdempotentReplays", []);
/// Submissions answered with a status from 500 on.
pub const SUBMIT_FAILURES: Counter<0> = Counter::new("SubmitFailures", []);
/// Time to answer a submission.
pub const SUBMIT_LATENCY: Timer<0> = Timer::new("SubmitLatency", []);
/// Tasks that a worker took.
pub const TASKS_CLAIMED: Counter<0> = Counter::new("TasksClaimed", []);
/// Time from when a task was ready to when a worker took it.
pub const QUEUE_WAIT: Timer<0> = Timer::new("QueueWait", []);
/// Time that a worker had a task, as it leaves it.
pub const TIME_RUNNING: Timer<0> = Timer::new("TimeRunning", []);
/// Time that a task was parked, as that ends.
pub const TIME_WAITING: Timer<0> = Timer::new("TimeWaiting", []);
/// Time that a task waited for its client's answers, as that ends.
pub const TIME_AWAITING_INPUT: Timer<0> = Timer::new("TimeAwaitingInput", []);
/// Time that a task was paused, as that ends.
pub const TIME_PAUSED: Timer<0> = Timer::new("TimePaused", []);
/// Tasks that ended with an answer.
pub const TASKS_COMPLETED: Counter<0> = Counter::new("TasksCompleted", []);
/// Tasks that ended without one.
pub const TASKS_FAILED: Counter<0> = Counter::new("TasksFailed", []);
/// Of the tasks that ended with an answer or for a reason that is not their client's, the share
/// without an answer.
pub const TASKS_LOST: Share = Share("TasksLost");
/// Tasks whose time was up.
pub const TASKS_TIMED_OUT: Counter<0> = Counter::new("TasksTimedOut", []);
/// Tasks that their client canceled.
pub const TASKS_CANCELED: Counter<0> = Counter::new("TasksCanceled", []);
/// Tasks that paused at a limit.
pub const TASKS_PAUSED: Counter<0> = Counter::new("TasksPaused", []);
/// Tasks that came to wait for their client.
pub const TASKS_AWAITING_INPUT: Counter<0> = Counter::new("TasksAwaitingInput", []);
/// Tasks that were parked.
pub const TASKS_PARKED: Counter<0> = Counter::new("TasksParked", []);
/// Tasks that were parked because their conversations did not fit into memory beside the others'.
pub const TASKS_CROWDED_OUT: Counter<0> = Counter::new("TasksCrowdedOut", []);
/// Time from a task's submission to its end.
pub const TASK_DURATION: Timer<0> = Timer::new("TaskDuration", []);
/// Tasks handed over from one invocation to the next.
pub const HOPS: Counter<0> = Counter::new("Hops", []);
/// Time that a model call or a tool call took.
pub const STEP_DURATION: Timer<0> = Timer::new("StepDuration", []);
/// Workers that found another with their task.
pub const LEASES_LOST: Counter<0> = Counter::new("LeasesLost", []);
/// Messages of tasks that had ended.
pub const DUPLICATE_MESSAGES: Counter<0> = Counter::new("DuplicateMessages", []);
/// Messages that are none of ours.
pub const POISON_MESSAGES: Counter<0> = Counter::new("PoisonMessages", []);
/// Messages whose handling panicked.
pub const PANICS: Counter<0> = Counter::new("Panics", []);
/// Runs that broke off because the store failed.
pub const STORE_FAILURES: Counter<0> = Counter::new("StoreFailures", []);
/// Reads and writes of the ephemeral table that failed; the work went on without it.
pub const EPHEMERAL_FAILURES: Counter<0> = Counter::new("EphemeralFailures", []);
/// Messages of tasks that could not be sent; cleanup sends them later.
pub const SEND_FAILURES: Counter<0> = Counter::new("SendFailures", []);
/// Tool calls that could not be made.
pub const BAD_TOOL_CALLS: Counter<0> = Counter::new("BadToolCalls", []);
/// Tasks that the platform gave up.
pub const DEAD_LETTERS: Counter<0> = Counter::new("DeadLetters", []);
/// Requests to providers.
pub const MODEL_CALLS: Counter<2> = Counter::new("ModelCalls", MODEL);
/// Requests to providers that came to nothing, by failure code.
pub const MODEL_ERRORS: Counter<2> = Counter::new("ModelErrors", ["provider", "error"]);
/// Requests to providers that failed until a person mends a key or an account: refused or missing
/// keys, and used up quotas.
pub const MODEL_ACCESS_ERRORS: Counter<0> = Counter::new("ModelAccessErrors", []);
/// Time that a request to a provider took.
pub const MODEL_LATENCY: Timer<2> = Timer::new("ModelLatency", MODEL);
/// Time from a request to the first event of its streamed answer.
pub const TIME_TO_FIRST_CHUNK: Timer<2> = Timer::new("TimeToFirstChunk", MODEL);
/// Requests that repeat a failed one.
pub const MODEL_RETRIES: Counter<2> = Counter::new("ModelRetries", MODEL);
/// Calls that went on to this model of their chain.
pub const FALLBACKS: Counter<2> = Counter::new("Fallbacks", MODEL);
/// Circuits that opened.
pub const CIRCUITS_OPENED: Counter<2> = Counter::new("CircuitsOpened", MODEL);
/// Calls that an open circuit refused, and probes of one that failed: none while all are closed.
pub const CIRCUIT_OPEN: Counter<2> = Counter::new("CircuitOpen", MODEL);
/// Input tokens, cached ones included.
pub const INPUT_TOKENS: Counter<2> = Counter::new("InputTokens", MODEL);
/// Output tokens, reasoning included.
pub const OUTPUT_TOKENS: Counter<2> = Counter::new("OutputTokens", MODEL);
/// Input tokens that came from a provider's prompt cache.
pub const CACHE_READ_TOKENS: Counter<2> = Counter::new("CacheReadTokens", MODEL);
/// Input tokens that went into a provider's prompt cache.
pub const CACHE_WRITE_TOKENS: Counter<2> = Counter::new("CacheWriteTokens", MODEL);
/// What model calls cost, in millionths of a US dollar.
pub const MODEL_COST_MICRO_USD: Counter<2> = Counter::new("ModelCostMicroUsd", MODEL);
/// Calls of models that have no price here.
pub const UNPRICED_CALLS: Counter<2> = Counter::new("UnpricedCalls", MODEL);
/// Answers that were kept.
pub const CACHE_HITS: Counter<0> = Counter::new("CacheHits", []);
/// Questions that had to be asked, with the cache on.
pub const CACHE_MISSES: Counter<0> = Counter::new("CacheMisses", []);
/// Old answers that were served because no model answered.
pub const CACHE_STALE: Counter<0> = Counter::new("CacheStale", []);
/// Answers that another had asked for at the same time.
pub const CACHE_COALESCED: Counter<0> = Counter::new("CacheCoalesced", []);
/// What kept and shared answers would have cost, in millionths of a US dollar.
pub const SAVED_MICRO_USD: Counter<0> = Counter::new("SavedMicroUsd", []);
/// Model calls that a cap on cost refused.
pub const BUDGET_REFUSALS: Counter<0> = Counter::new("BudgetRefusals", []);
/// Calls of the platform's tools.
pub const TOOL_CALLS: Counter<1> = Counter::new("ToolCalls", ["tool"]);
/// Calls of the platform's tools that failed.
pub const TOOL_ERRORS: Counter<1> = Counter::new("ToolErrors", ["tool"]);
/// Time that a call of a platform's tool took.
pub const TOOL_LATENCY: Timer<1> = Timer::new("ToolLatency", ["tool"]);
/// HTTP requests that the guard refused.
pub const TOOLS_BLOCKED: Counter<1> = Counter::new("ToolsBlocked", ["tool"]);
/// Tasks that the watchdog found overdue.
pub const OVERDUE_TASKS: Counter<0> = Counter::new("OverdueTasks", []);
/// For how long the most overdue of them had been.
pub const OLDEST_OVERDUE: Timer<0> = Timer::new("OldestOverdueMs", []);
/// Tasks that no worker took in time while their messages wait in the queue and nobody receives
/// any, or though their messages were received more than once.
pub const TASKS_UNCLAIMED: Counter<0> = Counter::new("TasksUnclaimed", []);
/// Messages that the watchdog sent again.
pub const MESSAGES_RESENT: Counter<0> = Counter::new("MessagesResent", []);
/// Tasks that it took from workers that were gone.
pub const TASKS_REQUEUED: Counter<0> = Counter::new("TasksRequeued", []);
/// Parked tasks that it woke.
pub const TASKS_AWAKENED: Counter<0> = Counter::new("TasksAwakened", []);
/// Tasks that it failed because their attempts were used up.
pub const TASKS_GIVEN_UP: Counter<0> = Counter::new("TasksGivenUp", []);
/// Tasks that it failed because their client did nothing.
pub const TASKS_EXPIRED: Counter<0> = Counter::new("TasksExpired", []);
/// Ended tasks that their clients deleted.
pub const TASKS_DELETED: Counter<0> = Counter::new("TasksDeleted", []);
/// Tasks that were deleted, last record included: by their clients, or because they were kept for
/// long enough.
pub const TASKS_PURGED: Counter<0> = Counter::new("TasksPurged", []);
/// Agents that were deleted, last record included.
pub const AGENTS_DELETED: Counter<0> = Counter::new("AgentsDeleted", []);
/// Poison that the dead-letter queue gave up.
pub const POISON_DROPPED: Counter<0> = Counter::new("PoisonDropped", []);
/// Overdue tasks that it could neither read nor change.
pub const SWEEP_FAILURES: Counter<0> = Counter::new("SweepFailures", []);
/// Sweeps that left overdue tasks to the next one.
pub const SWEEPS_UNFINISHED: Counter<0> = Counter::new("SweepsUnfinished", []);
/// First invocations of an execution environment.
pub const COLD_STARTS: Counter<0> = Counter::new("ColdStarts", []);

/// The name of each metric, its unit, and what it is divided by.
pub const ALL: [(&str, Unit, &[&str]); 77] = [
    (REQUESTS.name, Unit::Count, &REQUESTS.dimensions),
    (CLIENT_ERRORS.name, Unit::Count, &CLIENT_ERRORS.dimensions),
    (SERVER_ERRORS.name, Unit::Count, &SERVER_ERRORS.dimensions),
    (
        REQUEST_LATENCY.name,
        Unit::Milliseconds,
        &REQUEST_LATENCY.dimensions,
    ),
    (WAITS_REFUSED.name, Unit::Count, &WAITS_REFUSED.dimensions),
    (AUTH_FAILURES.name, Unit::Count, &AUTH_FAILURES.dimensions),
    (
        TASKS_SUBMITTED.name,
        Unit::Count,
        &TASKS_SUBMITTED.dimensions,
    ),
    (
        IDEMPOTENT_REPLAYS.name,
        Unit::Count,
        &IDEMPOTENT_REPLAYS.dimensions,
    ),
    (
        SUBMIT_FAILURES.name,
        Unit::Count,
        &SUBMIT_FAILURES.dimensions,
    ),
    (
        SUBMIT_LATENCY.name,
        Unit::Milliseconds,
        &SUBMIT_LATENCY.dimensions,
    ),
    (TASKS_CLAIMED.name, Unit::Count, &TASKS_CLAIMED.dimensions),
    (QUEUE_WAIT.name, Unit::Milliseconds, &QUEUE_WAIT.dimensions),
    (
        TIME_RUNNING.name,
        Unit::Milliseconds,
        &TIME_RUNNING.dimensions,
    ),
    (
        TIME_WAITING.name,
        Unit::Milliseconds,
        &TIME_WAITING.dimensions,
    ),
    (
        TIME_AWAITING_INPUT.name,
        Unit::Milliseconds,
        &TIME_AWAITING_INPUT.dimensions,
    ),
    (
        TIME_PAUSED.name,
        Unit::Milliseconds,
        &TIME_PAUSED.dimensions,
    ),
    (
        TASKS_COMPLETED.name,
        Unit::Count,
        &TASKS_COMPLETED.dimensions,
    ),
    (TASKS_FAILED.name, Unit::Count, &TASKS_FAILED.dimensions),
    (TASKS_LOST.0, Unit::Percent, &[]),
    (
        TASKS_TIMED_OUT.name,
        Unit::Count,
        &TASKS_TIMED_OUT.dimensions,
    ),
    (TASKS_CANCELED.name, Unit::Count, &TASKS_CANCELED.dimensions),
    (TASKS_PAUSED.name, Unit::Count, &TASKS_PAUSED.dimensions),
    (
        TASKS_AWAITING_INPUT.name,
        Unit::Count,
        &TASKS_AWAITING_INPUT.dimensions,
    ),
    (TASKS_PARKED.name, Unit::Count, &TASKS_PARKED.dimensions),
    (
        TASKS_CROWDED_OUT.name,
        Unit::Count,
        &TASKS_CROWDED_OUT.dimensions,
    ),
    (
        TASK_DURATION.name,
        Unit::Milliseconds,
        &TASK_DURATION.dimensions,
    ),
    (HOPS.name, Unit::Count, &HOPS.dimensions),
    (
        STEP_DURATION.name,
        Unit::Milliseconds,
        &STEP_DURATION.dimensions,
    ),
    (LEASES_LOST.name, Unit::Count, &LEASES_LOST.dimensions),
    (
        DUPLICATE_MESSAGES.name,
        Unit::Count,
        &DUPLICATE_MESSAGES.dimensions,
    ),
    (
        POISON_MESSAGES.name,
        Unit::Count,
        &POISON_MESSAGES.dimensions,
    ),
    (PANICS.name, Unit::Count, &PANICS.dimensions),
    (STORE_FAILURES.name, Unit::Count, &STORE_FAILURES.dimensions),
    (
        EPHEMERAL_FAILURES.name,
        Unit::Count,
        &EPHEMERAL_FAILURES.dimensions,
    ),
    (SEND_FAILURES.name, Unit::Count, &SEND_FAILURES.dimensions),
    (BAD_TOOL_CALLS.name, Unit::Count, &BAD_TOOL_CALLS.dimensions),
    (DEAD_LETTERS.name, Unit::Count, &DEAD_LETTERS.dimensions),
    (MODEL_CALLS.name, Unit::Count, &MODEL_CALLS.dimensions),
    (MODEL_ERRORS.name, Unit::Count, &MODEL_ERRORS.dimensions),
    (
        MODEL_ACCESS_ERRORS.name,
        Unit::Count,
        &MODEL_ACCESS_ERRORS.dimensions,
    ),
    (
        MODEL_LATENCY.name,
        Unit::Milliseconds,
        &MODEL_LATENCY.dimensions,
    ),
    (
        TIME_TO_FIRST_CHUNK.name,
        Unit::Milliseconds,
        &TIME_TO_FIRST_CHUNK.dimensions,
    ),
    (MODEL_RETRIES.name, Unit::Count, &MODEL_RETRIES.dimensions),
    (FALLBACKS.name, Unit::Count, &FALLBACKS.dimensions),
    (
        CIRCUITS_OPENED.name,
        Unit::Count,
        &CIRCUITS_OPENED.dimensions,
    ),
    (CIRCUIT_OPEN.name, Unit::Count, &CIRCUIT_OPEN.dimensions),
    (INPUT_TOKENS.name, Unit::Count, &INPUT_TOKENS.dimensions),
    (OUTPUT_TOKENS.name, Unit::Count, &OUTPUT_TOKENS.dimensions),
    (
        CACHE_READ_TOKENS.name,
        Unit::Count,
        &CACHE_READ_TOKENS.dimensions,
    ),
    (
        CACHE_WRITE_TOKENS.name,
        Unit::Count,
        &CACHE_WRITE_TOKENS.dimensions,
    ),
    (
        MODEL_COST_MICRO_USD.name,
        Unit::Count,
        &MODEL_COST_MICRO_USD.dimensions,
    ),
    (UNPRICED_CALLS.name, Unit::Count, &UNPRICED_CALLS.dimensions),
    (CACHE_HITS.name, Unit::Count, &CACHE_HITS.dimensions),
    (CACHE_MISSES.name, Unit::Count, &CACHE_MISSES.dimensions),
    (CACHE_STALE.name, Unit::Count, &CACHE_STALE.dimensions),
    (
        CACHE_COALESCED.name,
        Unit::Count,
        &CACHE_COALESCED.dimensions,
    ),
    (
        SAVED_MICRO_USD.name,
        Unit::Count,
        &SAVED_MICRO_USD.dimensions,
    ),
    (
        BUDGET_REFUSALS.name,
        Unit::Count,
        &BUDGET_REFUSALS.dimensions,
    ),
    (TOOL_CALLS.name, Unit::Count, &TOOL_CALLS.dimensions),
    (TOOL_ERRORS.name, Unit::Count, &TOOL_ERRORS.dimensions),
    (
        TOOL_LATENCY.name,
        Unit::Milliseconds,
        &TOOL_LATENCY.dimensions,
    ),
    (TOOLS_BLOCKED.name, Unit::Count, &TOOLS_BLOCKED.dimensions),
    (OVERDUE_TASKS.name, Unit::Count, &OVERDUE_TASKS.dimensions),
    (
        OLDEST_OVERDUE.name,
        Unit::Milliseconds,
        &OLDEST_OVERDUE.dimensions,
    ),
    (
        TASKS_UNCLAIMED.name,
        Unit::Count,
        &TASKS_UNCLAIMED.dimensions,
    ),
    (
        MESSAGES_RESENT.name,
        Unit::Count,
        &MESSAGES_RESENT.dimensions,
    ),
    (TASKS_REQUEUED.name, Unit::Count, &TASKS_REQUEUED.dimensions),
    (TASKS_AWAKENED.name, Unit::Count, &TASKS_AWAKENED.dimensions),
    (TASKS_GIVEN_UP.name, Unit::Count, &TASKS_GIVEN_UP.dimensions),
    (TASKS_EXPIRED.name, Unit::Count, &TASKS_EXPIRED.dimensions),
    (TASKS_DELETED.name, Unit::Count, &TASKS_DELETED.dimensions),
    (TASKS_PURGED.name, Unit::Count, &TASKS_PURGED.dimensions),
    (AGENTS_DELETED.name, Unit::Count, &AGENTS_DELETED.dimensions),
    (POISON_DROPPED.name, Unit::Count, &POISON_DROPPED.dimensions),
    (SWEEP_FAILURES.name, Unit::Count, &SWEEP_FAILURES.dimensions),
    (
        SWEEPS_UNFINISHED.name,
        Unit::Count,
        &SWEEPS_UNFINISHED.dimensions,
    ),
    (COLD_STARTS.name, Unit::Count, &COLD_STARTS.dimensions),
];

/// The dimensions that a metric may have. Each value of each is paid for.
pub const DIMENSIONS: [&str; 5] = ["provider", "model", "error", "tool", "reason"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_metric_is_listed_once_and_divided_by_nothing_that_has_many_values() {
        let declared = include_str!("metric.rs").lines().filter(|line| {
            line.starts_with("pub const")
                && (["Counter<", "Timer<", ": Share"]
                    .iter()
                    .any(|kind| line.contains(kind)))
        });
        assert_eq!(declared.count(), ALL.len());
        assert_eq!(
            ALL.map(|(name, _, _)| name)
                .into_iter()
                .collect::<BTreeSet<_>>()
                .len(),
            ALL.len()
        );
        for (name, _, dimensions) in ALL {
            assert!(
                dimensions
                    .iter()
                    .all(|dimension| DIMENSIONS.contains(dimension)),
                "{name}: {dimensions:?}"
            );
        }
    }
}
