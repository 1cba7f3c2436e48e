//! Derives the conversation so far, and the next action, from a task's journal.
//!
//! Both are pure functions of the recorded steps, so that any worker continues a task exactly where
//! the last worker stopped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::call::{ModelAnswer, StopReason};
use super::step::{Step, StepKind, StepPlace, StepSummary, StepSummaryKind, ToolRunner};
use super::task::TaskInput;
use super::transcript::{Message, PendingCall, ToolCall};

/// The most bytes of tool results in a conversation. Then no more tools are run. It is about a
/// million tokens, more than models accept.
pub const MAX_TOOL_TEXTS_BYTES: u64 = 4 * 1_024 * 1_024;

/// The most bytes of a conversation that is sent to a model, as JSON.
pub const MAX_CONVERSATION_BYTES: u64 = 32 * 1_024 * 1_024;

/// The summaries of the steps that a task's journal has in one run.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The run: the number of the last step before it.
    base: u32,
    summaries: BTreeMap<u32, StepSummary>,
}

impl Outline {
    /// The outline of the run `base`. The summaries may be in any order. Those of other runs are
    /// left out.
    pub fn new(base: u32, summaries: impl IntoIterator<Item = StepSummary>) -> Self {
        let counted = summaries
            .into_iter()
            .filter(|summary| is_of_run(base, summary.place()));
        Self {
            base,
            summaries: counted.map(|summary| (summary.number, summary)).collect(),
        }
    }

    /// The steps of the run, in order.
    pub fn step_summaries(&self) -> impl Iterator<Item = StepSummary> {
        self.summaries.values().copied()
    }

    /// The number of the last step before the first gap: all steps of the run up to it are
    /// recorded.
    pub fn complete_until(&self) -> u32 {
        let mut last = self.base;
        while self.summaries.contains_key(&(last + 1)) {
            last += 1;
        }
        last
    }

    /// The last step before the first gap, if it is a model's answer. It may be the final one.
    pub fn last_answer(&self) -> Option<StepSummary> {
        let last = self.summaries.get(&self.complete_until()).copied();
        last.filter(|summary| summary.kind == StepSummaryKind::ModelCall)
    }

    /// The number of tool calls with a result.
    pub fn tool_calls(&self) -> u32 {
        let calls = self
            .step_summaries()
            .filter(|summary| summary.kind != StepSummaryKind::ModelCall)
            .count();
        u32::try_from(calls).unwrap_or(u32::MAX)
    }

    /// How many bytes the steps' contents have together.
    pub fn bytes(&self) -> u64 {
        self.step_summaries().map(|summary| summary.bytes).sum()
    }
}

/// The steps of one run of a task.
#[derive(Debug, Clone)]
pub struct Conversation {
    outline: Outline,
    steps: BTreeMap<u32, Step>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Call a model; its answer will be the step of this number.
    CallModel {
        /// The step's number.
        number: u32,
    },
    /// Run these tools, all at once.
    Tools(Vec<PendingCall>),
    /// End: this answer is the task's output.
    Finish(Box<ModelAnswer>),
}

impl Conversation {
    /// The conversation of the run `base`. The steps may be in any order. Those of other runs are
    /// left out.
    pub fn new(base: u32, steps: impl IntoIterator<Item = Step>) -> Self {
        let mut conversation = Self {
            outline: Outline::new(base, []),
            steps: BTreeMap::new(),
        };
        for step in steps {
            conversation.push(step);
        }
        conversation
    }

    /// Adds a step that was recorded, if it is of this run.
    pub fn push(&mut self, step: Step) {
        if is_of_run(self.outline.base, step.place()) {
            self.outline.summaries.insert(step.number, step.summary());
            self.steps.insert(step.number, step);
        }
    }

    /// Which steps there are.
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// How many bytes of tools' results there are.
    pub fn tool_text_bytes(&self) -> u64 {
        let texts = self.steps.values().map(|step| match &step.kind {
            StepKind::ModelCall { .. } => 0,
            StepKind::ToolCall { text, .. } => text.len() as u64,
        });
        texts.sum()
    }

    /// Whether there are so many bytes of tools' results that no more tools are run.
    pub fn is_full(&self) -> bool {
        self.tool_text_bytes() >= MAX_TOOL_TEXTS_BYTES
    }

    /// The number of tool calls that could not be made. The calls of the last answer are left out:
    /// the model has not yet had the chance to correct them.
    pub fn bad_calls(&self) -> usize {
        let refused = StepSummaryKind::ToolCall {
            by: ToolRunner::Nobody,
        };
        let last_answer = self
            .outline
            .step_summaries()
            .filter(|summary| summary.kind == StepSummaryKind::ModelCall)
            .map(|summary| summary.number)
            .max();
        let is_earlier = |number| last_answer.is_some_and(|answer| number < answer);
        self.outline
            .step_summaries()
            .filter(|summary| summary.kind == refused && is_earlier(summary.number))
            .count()
    }

    /// How many calls of each tool were made, by its name. A call that was answered without the tool,
    /// or that its rules forbade, was not.
    pub fn made_calls(&self) -> BTreeMap<String, usize> {
        let mut made = BTreeMap::new();
        for step in self.steps.values() {
            if let StepKind::ToolCall {
                call,
                by: ToolRunner::Platform | ToolRunner::Client,
                is_blocked: false,
                ..
            } = &step.kind
            {
                *made.entry(call.name.clone()).or_default() += 1;
            }
        }
        made
    }

    /// The number of tool calls that the rules of their tools forbade.
    pub fn blocked_calls(&self) -> usize {
        let blocked = |step: &&Step| match step.kind {
            StepKind::ToolCall { is_blocked, .. } => is_blocked,
            StepKind::ModelCall { .. } => false,
        };
        self.steps.values().filter(blocked).count()
    }

    /// What is to be done next.
    pub fn next(&self) -> Next {
        let mut number = self.outline.base + 1;
        while let Some(answer) = self.answer(number) {
            let calls = wanted(answer);
            if calls.is_empty() {
                return Next::Finish(Box::new(answer.clone()));
            }
            let numbered = (number + 1..).zip(calls);
            let pending: Vec<PendingCall> = numbered
                .filter(|(number, _)| !self.steps.contains_key(number))
                .map(|(number, call)| PendingCall {
                    number,
                    call: call.clone(),
                })
                .collect();
            if !pending.is_empty() {
                return Next::Tools(pending);
            }
            number = after_calls_of(number, answer);
        }
        Next::CallModel { number }
    }

    /// The conversation as a model gets it: the input, and then each answer with the results of its
    /// calls.
    pub fn messages(&self, input: &TaskInput) -> Vec<Message> {
        let mut messages = vec![Message::user(input.as_str())];
        let mut number = self.outline.base + 1;
        while let Some(answer) = self.answer(number) {
            let after = after_calls_of(number, answer);
            let results = self
                .steps
                .range(number + 1..after)
                .filter_map(|(_, step)| step.kind.tool_result())
                .collect();
            messages.extend([
                Message::Assistant(answer.content.clone()),
                Message::ToolResults(results),
            ]);
            number = after;
        }
        messages
    }

    fn answer(&self, number: u32) -> Option<&ModelAnswer> {
        match &self.steps.get(&number)?.kind {
            StepKind::ModelCall { answer, .. } => Some(answer),
            StepKind::ToolCall { .. } => None,
        }
    }
}

/// Whether a step at this place is of the run `base`.
const fn is_of_run(base: u32, place: StepPlace) -> bool {
    place.base == base && place.number > base
}

/// Whether a step at this place may be in the journal of a task in the run `base`.
///
/// It is not if a worker recorded it for an earlier run after the next run had begun. If several
/// steps have one number, the step of the latest run counts.
pub const fn may_count(base: u32, place: StepPlace) -> bool {
    place.base == base || (place.base < base && place.number <= base)
}

/// The journal of a task in the run `base`, in order, from all recorded steps in any order. Steps
/// that a worker recorded for an earlier run after the next run had begun are left out.
pub fn journal(base: u32, recorded: impl IntoIterator<Item = Step>) -> Vec<Step> {
    counted(base, recorded, Step::place)
}

/// The summaries of the [`journal`].
pub fn journal_summaries(
    base: u32,
    recorded: impl IntoIterator<Item = StepSummary>,
) -> Vec<StepSummary> {
    counted(base, recorded, StepSummary::place)
}

fn counted<T>(
    base: u32,
    recorded: impl IntoIterator<Item = T>,
    place: impl Fn(&T) -> StepPlace,
) -> Vec<T> {
    let mut by_number: BTreeMap<u32, T> = BTreeMap::new();
    for step in recorded
        .into_iter()
        .filter(|step| may_count(base, place(step)))
    {
        match by_number.entry(place(&step).number) {
            Entry::Vacant(free) => drop(free.insert(step)),
            // A later run began before this number and owns it.
            Entry::Occupied(mut taken) if place(taken.get()) < place(&step) => {
                drop(taken.insert(step));
            }
            Entry::Occupied(_) => {}
        }
    }
    by_number.into_values().collect()
}

/// Whether this answer of a model ends the task: it makes no tool calls, or none that are run.
pub fn is_final(answer: &ModelAnswer) -> bool {
    wanted(answer).is_empty()
}

/// The number of the step that follows an answer and the results of its calls.
fn after_calls_of(number: u32, answer: &ModelAnswer) -> u32 {
    number + 1 + u32::try_from(wanted(answer).len()).unwrap_or(u32::MAX / 2)
}

/// The tool calls that an answer makes. Calls of a cut or declined answer are not trusted.
fn wanted(answer: &ModelAnswer) -> Vec<&ToolCall> {
    match answer.stop_reason {
        StopReason::ToolUse | StopReason::EndTurn | StopReason::Paused | StopReason::Other => {
            answer.tool_calls().collect()
        }
        StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Refusal => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskId, ToolRunner};
    use crate::testing::samples;

    fn task() -> TaskId {
        TaskId::derived([7; 16])
    }

    /// An answer that calls `calls` tools, as the step of this number.
    fn calling(number: u32, calls: usize) -> Step {
        let calls = (0..calls)
            .map(|place| samples::tool_call(&format!("{number}.{place}"), "calculator", "{}"));
        let kind = StepKind::ModelCall {
            requested: samples::model(),
            answer: samples::answer_calling(calls),
        };
        Step {
            kind,
            ..samples::step(task(), number, "")
        }
    }

    fn result(number: u32) -> Step {
        samples::tool_step(task(), number, ToolRunner::Platform, "2")
    }

    #[track_caller]
    fn check_next(base: u32, steps: &[Step], expected: &[u32], complete_until: u32) {
        let conversation = Conversation::new(base, steps.to_vec());
        let next = match conversation.next() {
            Next::CallModel { number } => vec![number],
            Next::Tools(calls) => calls.iter().map(|call| call.number).collect(),
            Next::Finish(_) => Vec::new(),
        };
        assert_eq!(
            (next.as_slice(), conversation.outline().complete_until()),
            (expected, complete_until),
            "{steps:?}"
        );
    }

    #[test]
    fn next_action_follows_from_the_steps_in_any_order() {
        check_next(0, &[], &[1], 0);
        check_next(0, &[calling(1, 3)], &[2, 3, 4], 1);
        check_next(0, &[result(3), calling(1, 3)], &[2, 4], 1);
        check_next(
            0,
            &[calling(1, 3), result(4), result(2), result(3)],
            &[5],
            4,
        );
        check_next(0, &[calling(1, 1), result(2), calling(3, 1)], &[4], 3);
        check_next(
            0,
            &[calling(1, 1), result(2), samples::step(task(), 3, "done")],
            &[],
            3,
        );
    }

    #[test]
    fn steps_of_an_earlier_run_do_not_count() {
        let earlier = [calling(1, 1), result(2), samples::step(task(), 3, "done")];
        check_next(3, &earlier, &[4], 3);
        check_next(
            3,
            &[earlier.as_slice(), &in_run(3, [calling(4, 2)])].concat(),
            &[5, 6],
            4,
        );
        let steps = [earlier.as_slice(), &in_run(3, [calling(4, 1), result(5)])].concat();
        let conversation = Conversation::new(3, steps);
        let input = TaskInput::new("hello".to_owned()).unwrap();
        assert_eq!(conversation.messages(&input).len(), 3);
        assert_eq!(conversation.outline().tool_calls(), 1);
    }

    #[test]
    fn late_steps_of_an_earlier_run_are_ignored() {
        let first = [calling(1, 2), result(2), result(3)];
        let late = [calling(4, 1), result(5)];
        let second = in_run(3, [calling(4, 1), result(5)]);
        check_next(3, &[first.as_slice(), &late].concat(), &[4], 3);
        check_next(
            3,
            &[first.as_slice(), &late, &second[..1]].concat(),
            &[5],
            4,
        );
        let recorded = [&second[1..], &late, &second[..1], &first].concat();
        assert_eq!(
            journal(3, recorded.clone()),
            [first.as_slice(), &second].concat()
        );
        assert_eq!(journal(5, recorded), [first.as_slice(), &second].concat());
        assert_eq!(journal(3, [first.as_slice(), &late].concat()), first);
    }

    #[test]
    fn an_outline_tells_of_the_last_answer_that_nothing_before_it_is_missing() {
        let summaries = |steps: &[Step]| steps.iter().map(Step::summary).collect::<Vec<_>>();
        let steps = [
            calling(1, 2),
            result(2),
            result(3),
            samples::step(task(), 4, "done"),
        ];
        let last = |steps: &[Step]| {
            Outline::new(0, summaries(steps))
                .last_answer()
                .map(|summary| summary.number)
        };
        assert_eq!(
            [1, 2, 3, 4].map(|count| last(&steps[..count])),
            [Some(1), None, None, Some(4)]
        );
        assert_eq!(
            last(&[steps[0].clone(), steps[2].clone(), steps[3].clone()]),
            Some(1)
        );
        assert_eq!(last(&[]), None);
        let outline = Outline::new(0, summaries(&steps));
        let bytes: u64 = steps.iter().map(|step| step.kind.content_bytes()).sum();
        assert_eq!(
            (
                outline.tool_calls(),
                outline.complete_until(),
                outline.bytes()
            ),
            (2, 4, bytes)
        );
    }

    #[test]
    fn a_conversation_is_full_when_its_tools_have_said_all_that_it_takes() {
        let half = "x".repeat(usize::try_from(MAX_TOOL_TEXTS_BYTES / 2).unwrap());
        let said =
            |number, text: &str| samples::tool_step(task(), number, ToolRunner::Client, text);
        let mut conversation =
            Conversation::new(0, [calling(1, 3), said(2, &half), said(3, &half[1..])]);
        assert!(!conversation.is_full());
        // Its own steps only.
        conversation.push(Step {
            base: 1,
            ..said(4, "x")
        });
        assert!(!conversation.is_full());
        conversation.push(said(4, "x"));
        assert!(conversation.is_full());
    }

    /// A worker may have been lost, or put the task off, among the calls of one answer.
    #[test]
    fn calls_that_could_not_be_made_count_after_the_models_next_answer() {
        let refused = |number| samples::tool_step(task(), number, ToolRunner::Nobody, "no");
        let mut conversation = Conversation::new(0, [calling(1, 3), refused(2), refused(3)]);
        assert_eq!(conversation.bad_calls(), 0);
        conversation.push(refused(4));
        assert_eq!(conversation.bad_calls(), 0);
        conversation.push(calling(5, 1));
        assert_eq!(conversation.bad_calls(), 3);
    }

    fn in_run<const N: usize>(base: u32, steps: [Step; N]) -> [Step; N] {
        steps.map(|step| Step { base, ..step })
    }

    #[test]
    fn calls_of_an_answer_that_was_cut_are_not_made() {
        for stop_reason in [
            StopReason::MaxTokens,
            StopReason::ContextWindow,
            StopReason::Refusal,
        ] {
            let mut cut = calling(1, 2);
            if let StepKind::ModelCall { answer, .. } = &mut cut.kind {
                answer.stop_reason = stop_reason;
            }
            check_next(0, &[cut], &[], 1);
        }
    }
}
