//! What the model stand-in and the traces say of tasks of five steps: whether anything was done
//! again that was recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use shared::domain::{Change, Event, Step, StepKind, Task, Timestamp};

use tests::Platform;
use tests::platform::unique;

/// The fields of an agent whose tasks can have five steps: three model calls, and a tool after each
/// but the last.
///
/// The stand-in takes its time over these requests before the first token, not before it looks at
/// them (`latencyMs`): of a request that is cut off there it keeps no record.
pub(crate) fn five_steps() -> Value {
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    json!({ "models": models, "builtin_tools": [{ "name": "calculator" }, { "name": "current_time" }] })
}

/// Inputs of tasks of five steps that no other test has.
pub(crate) struct Prompts {
    /// What all of them have in common.
    pub(crate) mark: String,
    /// The inputs.
    pub(crate) all: Vec<String>,
}

impl Prompts {
    /// So many.
    pub(crate) fn new(count: usize) -> Self {
        let mark = unique("[five-steps]");
        let all = (0..count)
            .map(|number| format!("{mark} no. {number}."))
            .collect();
        Self { mark, all }
    }
}

/// What was done, and how often in vain.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Leases whose worker was lost.
    pub(crate) leases_lost: u64,
    /// Model calls whose answer was never recorded.
    pub(crate) called_again: usize,
    /// Recorded runs of tools, as far as their spans arrived.
    pub(crate) run_once: usize,
    /// Runs of tools that were never recorded.
    pub(crate) run_again: usize,
}

/// All model calls and tool runs.
pub(crate) struct Evidence {
    requests: Vec<Value>,
    tool_runs: BTreeMap<(String, u32), Vec<Timestamp>>,
}

impl Evidence {
    /// What there is by now of tasks whose inputs have this mark.
    pub(crate) async fn of(platform: &Platform, mark: &str) -> Self {
        Self {
            requests: platform.model_requests(mark).await,
            tool_runs: tool_runs(platform),
        }
    }

    /// Checks that the task has its five steps, and that none was done again once it was recorded.
    pub(crate) fn check(
        &self,
        prompt: &str,
        task: &Task,
        history: &[Change],
        steps: &[Step],
    ) -> Done {
        let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "{task:?}");
        let claims = history
            .iter()
            .filter(|change| matches!(change.event, Event::Claimed { .. }));
        let claims: Vec<Timestamp> = claims.map(|change| change.at).collect();
        assert_eq!(
            claims.len() as u64,
            task.fence(),
            "the history has every lease"
        );
        let mut done = Done {
            leases_lost: task.fence() - 1,
            ..Done::default()
        };
        let by_step = requests(
            steps,
            self.requests
                .iter()
                .filter(|request| request.to_string().contains(prompt)),
        );
        for step in steps {
            match &step.kind {
                StepKind::ModelCall { answer, .. } => {
                    let (own, lost) = check_step(step, &claims, &by_step[&step.number]);
                    assert_eq!(own, answer.spend.attempts as usize, "{step:?}");
                    done.called_again += lost;
                }
                StepKind::ToolCall { .. } => {
                    let (own, lost) =
                        check_step(step, &claims, runs_of(step, task, &self.tool_runs));
                    assert!(own <= 1, "{step:?}");
                    done.run_once += own;
                    done.run_again += lost;
                }
            }
        }
        done
    }
}

impl std::iter::Sum for Done {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            leases_lost: sum.leases_lost + one.leases_lost,
            called_again: sum.called_again + one.called_again,
            run_once: sum.run_once + one.run_once,
            run_again: sum.run_again + one.run_again,
        })
    }
}

/// When each step's request was made, by the step's number. Every request has the results of
/// tools that are recorded.
fn requests<'a>(
    steps: &[Step],
    requests: impl Iterator<Item = &'a Value>,
) -> BTreeMap<u32, Vec<Timestamp>> {
    let recorded = steps.iter().filter_map(|step| match &step.kind {
        StepKind::ToolCall { text, .. } => Some(text.as_str()),
        StepKind::ModelCall { .. } => None,
    });
    let recorded: Vec<&str> = recorded.collect();
    let mut by_step: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for request in requests {
        let messages = request["body"]["messages"].as_array().unwrap().iter();
        let results: Vec<&str> = messages
            .filter(|message| message["role"] == "tool")
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        assert_eq!(results, recorded[..results.len()]);
        // After the request, a result for each answer before.
        let number = u32::try_from(2 * results.len() + 1).unwrap();
        by_step
            .entry(number)
            .or_default()
            .push(Timestamp::from_millis(
                request["timestamp"].as_u64().unwrap(),
            ));
    }
    by_step
}

/// When tools were run, by trace and number of the step. A worker sends the span of each run before
/// it records the step.
fn tool_runs(platform: &Platform) -> BTreeMap<(String, u32), Vec<Timestamp>> {
    let mut runs: BTreeMap<(String, u32), Vec<Timestamp>> = BTreeMap::new();
    for line in platform
        .traces()
        .lines()
        .filter(|line| line.contains("execute_tool"))
    {
        let span: Value = serde_json::from_str(line).unwrap();
        let trace = span["trace_id"].as_str().unwrap().to_owned();
        let key = (
            trace,
            u32::try_from(span["metadata"]["step"].as_u64().unwrap()).unwrap(),
        );
        let begun = Duration::from_secs_f64(span["start_time"].as_f64().unwrap());
        runs.entry(key)
            .or_default()
            .push(Timestamp::from_millis(0).plus(begun));
    }
    runs
}

/// When the tool of this step was run, as far as the spans arrived: they are sent by UDP. Those of
/// a task that a test has written itself are in no trace of its own.
fn runs_of<'a>(
    step: &Step,
    task: &Task,
    runs: &'a BTreeMap<(String, u32), Vec<Timestamp>>,
) -> &'a [Timestamp] {
    let trace = task
        .spec()
        .trace
        .as_ref()
        .map(|trace| trace.trace_id().to_owned());
    trace
        .and_then(|trace| runs.get(&(trace, step.number)))
        .map_or(&[], Vec::as_slice)
}

/// Checks that a step was never done again once it was recorded; returns how often it was done
/// under the lease that recorded it, and how often before, by workers that were killed over it.
///
/// A worker reads the journal after it has got its lease, and its lease's number is in the steps
/// that it records. So a call in `moments` was made by a worker that could know of the step if its
/// lease is later than the lease of the worker that recorded the step, and by one that could not if
/// its lease is the same or earlier. The task's history has their `claims`, in order. There is one
/// clock, and the leases don't overlap: the lease of a killed worker lasts for 6 s more at least,
/// far longer than the stand-in takes to write down a request.
fn check_step(step: &Step, claims: &[Timestamp], moments: &[Timestamp]) -> (usize, usize) {
    let fences = moments
        .iter()
        .map(|moment| claims.iter().filter(|claim| *claim <= moment).count() as u64);
    let fences: Vec<u64> = fences.collect();
    assert!(
        fences.iter().all(|fence| *fence <= step.fence),
        "done again, under {fences:?}: {step:?}"
    );
    let own = fences.iter().filter(|fence| **fence == step.fence).count();
    (own, fences.len() - own)
}
