//! Every metric by name, unit and dimensions. Dashboards and alarms use only these.
//!
//! `CloudWatch` charges for each combination of dimension values, so there are few dimensions.
//! Tenants, agents and tasks are not dimensions: logs and traces have them. Code counts a metric
//! beside the log line about the same event. The recorder in [`telemetry`](crate::telemetry) writes
//! the metrics; without a recorder, counting costs almost nothing.

use std::time::Duration;

use metrics::{Label, Unit};

/// A counter. `N` is the number of its own dimensions, beside the ones that every metric has.
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

/// Measures how often something is so: its average is a share in percent.
#[derive(Debug)]
pub struct Share(&'static str);

impl Share {
    const fn listed(name: &'static str) -> Self {
        let [] = row(name, Unit::Percent);
        Self(name)
    }

    /// Records one case.
    pub fn note(&self, is_so: bool) {
        metrics::histogram!(self.0).record(if is_so { 100.0 } else { 0.0 });
    }
}

impl<const N: usize> Counter<N> {
    const fn listed(name: &'static str) -> Self {
        Self {
            name,
            dimensions: row(name, Unit::Count),
        }
    }

    /// Adds to the count with these values of its dimensions, and to the count without dimensions.
    pub fn add(&self, values: [&str; N], by: u64) {
        metrics::counter!(self.name).increment(by);
        if N > 0 {
            metrics::counter!(self.name, labels(self.dimensions, values)).increment(by);
        }
    }
}

impl<const N: usize> Timer<N> {
    const fn listed(name: &'static str) -> Self {
        Self {
            name,
            dimensions: row(name, Unit::Milliseconds),
        }
    }

    /// Records one duration with these values of its dimensions, and once without dimensions.
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

/// Each metric's name, its unit, and its own dimensions, beside the ones that every metric has.
///
/// A constant below does not compile if its name has no row here, or if the row has another unit or
/// number of dimensions.
pub const ALL: [(&str, Unit, &[&str]); 82] = [
    ("Requests", Unit::Count, &[]),
    ("ClientErrors", Unit::Count, &[]),
    ("ServerErrors", Unit::Count, &[]),
    ("RequestLatency", Unit::Milliseconds, &[]),
    ("WaitsRefused", Unit::Count, &[]),
    ("RequestsLimited", Unit::Count, &[]),
    ("AuthFailures", Unit::Count, &["reason"]),
    ("IssuerKeyFailures", Unit::Count, &[]),
    ("TasksSubmitted", Unit::Count, &[]),
    ("IdempotentReplays", Unit::Count, &[]),
    ("TasksRetried", Unit::Count, &[]),
    ("SubmitFailures", Unit::Count, &[]),
    ("SubmitLatency", Unit::Milliseconds, &[]),
    ("TasksClaimed", Unit::Count, &[]),
    ("QueueWait", Unit::Milliseconds, &[]),
    ("TimeRunning", Unit::Milliseconds, &[]),
    ("TimeWaiting", Unit::Milliseconds, &[]),
    ("TimeAwaitingInput", Unit::Milliseconds, &[]),
    ("TimePaused", Unit::Milliseconds, &[]),
    ("TasksCompleted", Unit::Count, &[]),
    ("TasksFailed", Unit::Count, &[]),
    ("TasksLost", Unit::Percent, &[]),
    ("TasksTimedOut", Unit::Count, &[]),
    ("TasksCanceled", Unit::Count, &[]),
    ("TasksPaused", Unit::Count, &[]),
    ("TasksAwaitingInput", Unit::Count, &[]),
    ("TasksParked", Unit::Count, &[]),
    ("TasksCrowdedOut", Unit::Count, &[]),
    ("TaskDuration", Unit::Milliseconds, &[]),
    ("Hops", Unit::Count, &[]),
    ("StepDuration", Unit::Milliseconds, &[]),
    ("LeasesLost", Unit::Count, &[]),
    ("DuplicateMessages", Unit::Count, &[]),
    ("PoisonMessages", Unit::Count, &[]),
    ("Panics", Unit::Count, &[]),
    ("StoreFailures", Unit::Count, &[]),
    ("EphemeralFailures", Unit::Count, &[]),
    ("SendFailures", Unit::Count, &[]),
    ("BadToolCalls", Unit::Count, &[]),
    ("DeadLetters", Unit::Count, &[]),
    ("ModelCalls", Unit::Count, &MODEL),
    ("ModelErrors", Unit::Count, &["provider", "error"]),
    ("ModelAccessErrors", Unit::Count, &[]),
    ("ModelLatency", Unit::Milliseconds, &MODEL),
    ("TimeToFirstChunk", Unit::Milliseconds, &MODEL),
    ("ModelRetries", Unit::Count, &MODEL),
    ("Fallbacks", Unit::Count, &MODEL),
    ("CircuitsOpened", Unit::Count, &MODEL),
    ("CircuitOpen", Unit::Count, &MODEL),
    ("InputTokens", Unit::Count, &MODEL),
    ("OutputTokens", Unit::Count, &MODEL),
    ("CacheReadTokens", Unit::Count, &MODEL),
    ("CacheWriteTokens", Unit::Count, &MODEL),
    ("ModelCostMicroUsd", Unit::Count, &MODEL),
    ("UnpricedCalls", Unit::Count, &MODEL),
    ("CacheHits", Unit::Count, &[]),
    ("CacheMisses", Unit::Count, &[]),
    ("CacheStale", Unit::Count, &[]),
    ("CacheCoalesced", Unit::Count, &[]),
    ("SavedMicroUsd", Unit::Count, &[]),
    ("BudgetRefusals", Unit::Count, &[]),
    ("ToolCalls", Unit::Count, &["tool"]),
    ("ToolErrors", Unit::Count, &["tool"]),
    ("ToolLatency", Unit::Milliseconds, &["tool"]),
    ("ToolsBlocked", Unit::Count, &["tool"]),
    ("ToolCredentialFailures", Unit::Count, &["reason"]),
    ("OverdueTasks", Unit::Count, &[]),
    ("OldestOverdueMs", Unit::Milliseconds, &[]),
    ("TasksUnclaimed", Unit::Count, &[]),
    ("MessagesResent", Unit::Count, &[]),
    ("TasksRequeued", Unit::Count, &[]),
    ("TasksAwakened", Unit::Count, &[]),
    ("TasksGivenUp", Unit::Count, &[]),
    ("TasksExpired", Unit::Count, &[]),
    ("TasksDeleted", Unit::Count, &[]),
    ("TasksPurged", Unit::Count, &[]),
    ("AgentsDeleted", Unit::Count, &[]),
    ("TenantsDeleted", Unit::Count, &[]),
    ("PoisonDropped", Unit::Count, &[]),
    ("SweepFailures", Unit::Count, &[]),
    ("SweepsUnfinished", Unit::Count, &[]),
    ("ColdStarts", Unit::Count, &[]),
];

/// The dimensions in the row of a metric. The compilation fails if no row has this name, or if the
/// row has another unit or number of dimensions.
#[expect(clippy::indexing_slicing, reason = "only the compiler runs it")]
const fn row<const N: usize>(name: &str, unit: Unit) -> [&'static str; N] {
    let mut number = 0;
    while !same(ALL[number].0, name) {
        number += 1;
    }
    let (_, listed, dimensions) = ALL[number];
    assert!(listed as u8 == unit as u8, "the row has another unit");
    assert!(dimensions.len() == N, "the row has other dimensions");
    let mut found = [""; N];
    let mut at = 0;
    while at < N {
        found[at] = dimensions[at];
        at += 1;
    }
    found
}

#[expect(clippy::indexing_slicing, reason = "only the compiler runs it")]
const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

/// HTTP requests.
pub const REQUESTS: Counter<0> = Counter::listed("Requests");
/// Requests answered with a status from 400 to 499.
pub const CLIENT_ERRORS: Counter<0> = Counter::listed("ClientErrors");
/// Requests answered with a status from 500 on.
pub const SERVER_ERRORS: Counter<0> = Counter::listed("ServerErrors");
/// Time to answer a request, the wait of `?wait=` included.
pub const REQUEST_LATENCY: Timer<0> = Timer::listed("RequestLatency");
/// Waits for a task that were refused, because the tenant's waits were at their cap or could not be
/// counted.
pub const WAITS_REFUSED: Counter<0> = Counter::listed("WaitsRefused");
/// Requests that a limit of requests a minute refused.
pub const REQUESTS_LIMITED: Counter<0> = Counter::listed("RequestsLimited");
/// Requests whose API key or JWT was refused, by what was wrong with it.
pub const AUTH_FAILURES: Counter<1> = Counter::listed("AuthFailures");
/// Reads of the keys of the JWT issuer that failed.
pub const ISSUER_KEY_FAILURES: Counter<0> = Counter::listed("IssuerKeyFailures");
/// Tasks accepted.
pub const TASKS_SUBMITTED: Counter<0> = Counter::listed("TasksSubmitted");
/// Submissions with an `Idempotency-Key` whose task exists already.
pub const IDEMPOTENT_REPLAYS: Counter<0> = Counter::listed("IdempotentReplays");
/// Ended tasks that their clients, or a redrive, opened again.
pub const TASKS_RETRIED: Counter<0> = Counter::listed("TasksRetried");
/// Submissions answered with a status from 500 on.
pub const SUBMIT_FAILURES: Counter<0> = Counter::listed("SubmitFailures");
/// Time to answer a submission.
pub const SUBMIT_LATENCY: Timer<0> = Timer::listed("SubmitLatency");
/// Tasks that a worker took.
pub const TASKS_CLAIMED: Counter<0> = Counter::listed("TasksClaimed");
/// Time from when a task was ready to when a worker took it.
pub const QUEUE_WAIT: Timer<0> = Timer::listed("QueueWait");
/// Time that a worker had a task, recorded when the worker leaves it.
pub const TIME_RUNNING: Timer<0> = Timer::listed("TimeRunning");
/// Time that a task was parked, recorded at the end of the wait.
pub const TIME_WAITING: Timer<0> = Timer::listed("TimeWaiting");
/// Time that a task waited for its client's answers, recorded at the end of the wait.
pub const TIME_AWAITING_INPUT: Timer<0> = Timer::listed("TimeAwaitingInput");
/// Time that a task was paused, recorded when it resumes or ends.
pub const TIME_PAUSED: Timer<0> = Timer::listed("TimePaused");
/// Tasks that ended with an answer.
pub const TASKS_COMPLETED: Counter<0> = Counter::listed("TasksCompleted");
/// Tasks that failed.
pub const TASKS_FAILED: Counter<0> = Counter::listed("TasksFailed");
/// The share without an answer among the tasks that ended. Tasks that ended for a reason of their
/// client's are left out.
pub const TASKS_LOST: Share = Share::listed("TasksLost");
/// Tasks whose time was up.
pub const TASKS_TIMED_OUT: Counter<0> = Counter::listed("TasksTimedOut");
/// Tasks that their client canceled.
pub const TASKS_CANCELED: Counter<0> = Counter::listed("TasksCanceled");
/// Tasks that paused at a limit.
pub const TASKS_PAUSED: Counter<0> = Counter::listed("TasksPaused");
/// Tasks that began to wait for their client's answers.
pub const TASKS_AWAITING_INPUT: Counter<0> = Counter::listed("TasksAwaitingInput");
/// Tasks that were parked.
pub const TASKS_PARKED: Counter<0> = Counter::listed("TasksParked");
/// Tasks that were parked because their conversations did not fit into memory beside the others'.
pub const TASKS_CROWDED_OUT: Counter<0> = Counter::listed("TasksCrowdedOut");
/// Time from a task's submission to its end.
pub const TASK_DURATION: Timer<0> = Timer::listed("TaskDuration");
/// Tasks handed over from one invocation to the next.
pub const HOPS: Counter<0> = Counter::listed("Hops");
/// Time that a model call or a tool call took.
pub const STEP_DURATION: Timer<0> = Timer::listed("StepDuration");
/// Workers that lost their task to another worker.
pub const LEASES_LOST: Counter<0> = Counter::listed("LeasesLost");
/// Messages of tasks that had ended.
pub const DUPLICATE_MESSAGES: Counter<0> = Counter::listed("DuplicateMessages");
/// Malformed messages.
pub const POISON_MESSAGES: Counter<0> = Counter::listed("PoisonMessages");
/// Messages whose handling panicked.
pub const PANICS: Counter<0> = Counter::listed("Panics");
/// Runs that ended early because the store failed.
pub const STORE_FAILURES: Counter<0> = Counter::listed("StoreFailures");
/// Reads and writes of the ephemeral table that failed; the work continued without it.
pub const EPHEMERAL_FAILURES: Counter<0> = Counter::listed("EphemeralFailures");
/// Messages of tasks that could not be sent; cleanup sends them later.
pub const SEND_FAILURES: Counter<0> = Counter::listed("SendFailures");
/// Tool calls that could not be made.
pub const BAD_TOOL_CALLS: Counter<0> = Counter::listed("BadToolCalls");
/// Tasks that became dead letters.
pub const DEAD_LETTERS: Counter<0> = Counter::listed("DeadLetters");
/// Requests to providers.
pub const MODEL_CALLS: Counter<2> = Counter::listed("ModelCalls");
/// Failed requests to providers, by failure code.
pub const MODEL_ERRORS: Counter<2> = Counter::listed("ModelErrors");
/// Requests to providers that will fail until a person corrects a key or an account: refused or
/// missing keys, and used up quotas.
pub const MODEL_ACCESS_ERRORS: Counter<0> = Counter::listed("ModelAccessErrors");
/// Time that a request to a provider took.
pub const MODEL_LATENCY: Timer<2> = Timer::listed("ModelLatency");
/// Time from a request to the first event of its streamed answer.
pub const TIME_TO_FIRST_CHUNK: Timer<2> = Timer::listed("TimeToFirstChunk");
/// Requests that repeat a failed one.
pub const MODEL_RETRIES: Counter<2> = Counter::listed("ModelRetries");
/// Calls that fell back to this model of their chain.
pub const FALLBACKS: Counter<2> = Counter::listed("Fallbacks");
/// Circuits that opened.
pub const CIRCUITS_OPENED: Counter<2> = Counter::listed("CircuitsOpened");
/// Calls that an open circuit refused, and probes of one that failed: none while all are closed.
pub const CIRCUIT_OPEN: Counter<2> = Counter::listed("CircuitOpen");
/// Input tokens, cached ones included.
pub const INPUT_TOKENS: Counter<2> = Counter::listed("InputTokens");
/// Output tokens, reasoning included.
pub const OUTPUT_TOKENS: Counter<2> = Counter::listed("OutputTokens");
/// Input tokens that came from a provider's prompt cache.
pub const CACHE_READ_TOKENS: Counter<2> = Counter::listed("CacheReadTokens");
/// Input tokens that went into a provider's prompt cache.
pub const CACHE_WRITE_TOKENS: Counter<2> = Counter::listed("CacheWriteTokens");
/// What model calls cost, in millionths of a US dollar.
pub const MODEL_COST_MICRO_USD: Counter<2> = Counter::listed("ModelCostMicroUsd");
/// Calls whose cost is unknown.
pub const UNPRICED_CALLS: Counter<2> = Counter::listed("UnpricedCalls");
/// Requests that a cached answer served.
pub const CACHE_HITS: Counter<0> = Counter::listed("CacheHits");
/// Requests that the response cache could not serve, and that led to a model call.
pub const CACHE_MISSES: Counter<0> = Counter::listed("CacheMisses");
/// Old answers that were served because no model answered.
pub const CACHE_STALE: Counter<0> = Counter::listed("CacheStale");
/// Requests that the answer to another caller's request served, because both came at the same time.
pub const CACHE_COALESCED: Counter<0> = Counter::listed("CacheCoalesced");
/// What cached and shared answers would have cost, in millionths of a US dollar.
pub const SAVED_MICRO_USD: Counter<0> = Counter::listed("SavedMicroUsd");
/// Model calls that a cap on cost refused.
pub const BUDGET_REFUSALS: Counter<0> = Counter::listed("BudgetRefusals");
/// Calls of built-in tools.
pub const TOOL_CALLS: Counter<1> = Counter::listed("ToolCalls");
/// Calls of built-in tools that failed.
pub const TOOL_ERRORS: Counter<1> = Counter::listed("ToolErrors");
/// Time that a call of a built-in tool took.
pub const TOOL_LATENCY: Timer<1> = Timer::listed("ToolLatency");
/// HTTP requests that the guard refused.
pub const TOOLS_BLOCKED: Counter<1> = Counter::listed("ToolsBlocked");
/// Calls of tools that failed because a credential could not be used.
pub const TOOL_CREDENTIAL_FAILURES: Counter<1> = Counter::listed("ToolCredentialFailures");
/// Tasks that the watchdog found overdue.
pub const OVERDUE_TASKS: Counter<0> = Counter::listed("OverdueTasks");
/// How long the most overdue task was overdue.
pub const OLDEST_OVERDUE: Timer<0> = Timer::listed("OldestOverdueMs");
/// Tasks that no worker took in time while their messages wait in the queue and nobody receives
/// any, or although their messages were received more than once.
pub const TASKS_UNCLAIMED: Counter<0> = Counter::listed("TasksUnclaimed");
/// Messages that the watchdog sent again.
pub const MESSAGES_RESENT: Counter<0> = Counter::listed("MessagesResent");
/// Tasks that the watchdog queued again after a worker was lost.
pub const TASKS_REQUEUED: Counter<0> = Counter::listed("TasksRequeued");
/// Parked tasks that the watchdog queued after their wait.
pub const TASKS_AWAKENED: Counter<0> = Counter::listed("TasksAwakened");
/// Tasks that the watchdog failed because their attempts were used up.
pub const TASKS_GIVEN_UP: Counter<0> = Counter::listed("TasksGivenUp");
/// Tasks that the watchdog failed because their client did not respond in time.
pub const TASKS_EXPIRED: Counter<0> = Counter::listed("TasksExpired");
/// Ended tasks that their clients deleted.
pub const TASKS_DELETED: Counter<0> = Counter::listed("TasksDeleted");
/// Tasks that were deleted, last record included: by their clients, or because they were stored for
/// long enough.
pub const TASKS_PURGED: Counter<0> = Counter::listed("TasksPurged");
/// Agents that were deleted, last record included.
pub const AGENTS_DELETED: Counter<0> = Counter::listed("AgentsDeleted");
/// Tenants that are deleted: only their tombstones are left.
pub const TENANTS_DELETED: Counter<0> = Counter::listed("TenantsDeleted");
/// Malformed messages that were deleted from the dead-letter queue.
pub const POISON_DROPPED: Counter<0> = Counter::listed("PoisonDropped");
/// Tasks that the watchdog could not read or change.
pub const SWEEP_FAILURES: Counter<0> = Counter::listed("SweepFailures");
/// Sweeps that left overdue tasks to the next one.
pub const SWEEPS_UNFINISHED: Counter<0> = Counter::listed("SweepsUnfinished");
/// First invocations of an execution environment.
pub const COLD_STARTS: Counter<0> = Counter::listed("ColdStarts");

/// The dimensions that a metric may have. `CloudWatch` charges for each value of a dimension.
pub const DIMENSIONS: [&str; 5] = ["provider", "model", "error", "tool", "reason"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_metric_is_listed_once_with_dimensions_of_few_values() {
        let names: BTreeSet<_> = ALL.iter().map(|(name, _, _)| name).collect();
        assert_eq!(names.len(), ALL.len());
        for (name, _, dimensions) in ALL {
            let allowed = |dimension| DIMENSIONS.contains(dimension);
            assert!(dimensions.iter().all(allowed), "{name}: {dimensions:?}");
        }
    }
}
