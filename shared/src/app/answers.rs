//! A client's answers to tool calls: which call each is for.

use std::borrow::Cow;

use crate::domain::{
    Hidden, Invalid, PendingCall, Step, StepKind, Task, Timestamp, ToolCall, ToolRunner,
};

use super::AppError;

/// A client's answer to a tool call. It names the call by its id, by its step or by both.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// The call's id.
    pub call_id: Option<String>,
    /// The number of the step that the answer will be. Only this names exactly one call: a model
    /// may use an id again.
    pub step: Option<u32>,
    /// The tool's result.
    #[debug("{}", Hidden(text))]
    pub text: String,
    /// Whether it is an error, for the model to react to.
    pub is_error: bool,
}

impl ToolAnswer {
    /// This answer to the call as a step of the task.
    pub(super) fn step(
        &self,
        task: &Task,
        PendingCall { number, call }: &PendingCall,
        now: Timestamp,
    ) -> Step {
        let kind = StepKind::ToolCall {
            call: call.clone(),
            by: ToolRunner::Client,
            text: self.text.clone(),
            is_error: self.is_error,
            is_blocked: false,
            source: None,
        };
        let (base, fence) = (task.progress().base, task.fence());
        Step {
            task: task.id(),
            base,
            number: *number,
            fence,
            kind,
            started_at: now,
            finished_at: now,
        }
    }

    /// Whether it answers the call whose result is the step of this number.
    fn is_about(&self, number: u32, call: &ToolCall) -> bool {
        let names_call = self.call_id.is_some() || self.step.is_some();
        let same_id = self.call_id.as_ref().is_none_or(|id| *id == call.id);
        names_call && same_id && self.step.is_none_or(|step| step == number)
    }

    /// The call that the step answers, if a client answered it and this answer is for the same
    /// call.
    pub(super) fn answered_call<'a>(&self, step: &'a Step) -> Option<&'a ToolCall> {
        match &step.kind {
            StepKind::ToolCall {
                call,
                by: ToolRunner::Client,
                ..
            } => self.is_about(step.number, call).then_some(call),
            StepKind::ToolCall { .. } | StepKind::ModelCall { .. } => None,
        }
    }

    /// Whether the step is this very answer.
    pub(super) fn is_in(&self, step: &Step) -> bool {
        let same = match &step.kind {
            StepKind::ToolCall { text, is_error, .. } => {
                (text, is_error) == (&self.text, &self.is_error)
            }
            StepKind::ModelCall { .. } => false,
        };
        same && self.answered_call(step).is_some()
    }

    /// Why it answers none of the open calls, and the field that is wrong.
    fn refusal(&self, place: usize, open: &[&PendingCall]) -> Invalid {
        let (field, reason): (_, Cow<'static, str>) = match self.step {
            Some(step) if open.iter().any(|call| call.number == step) => (
                "call_id",
                format!("must be the id of the call of step {step}, or be left out").into(),
            ),
            Some(_) => (
                "step",
                "must be the step of a call that the task waits for, each once".into(),
            ),
            None => (
                "call_id",
                "must be the id of a call that the task waits for, each once".into(),
            ),
        };
        Invalid::new(format!("/results/{place}/{field}"), reason)
    }
}

/// Each call with its answer. Fails with all broken rules, unless there is exactly one answer for
/// each call.
pub(super) fn paired<'a>(
    calls: &'a [PendingCall],
    answers: &'a [ToolAnswer],
) -> Result<Vec<(&'a PendingCall, &'a ToolAnswer)>, AppError> {
    let (mut pairs, mut broken) = (Vec::new(), Vec::new());
    let mut open: Vec<&PendingCall> = calls.iter().collect();
    // Answers with a step choose their calls first. An answer with only an id takes any of the
    // remaining calls with that id.
    let (exact, others): (Vec<_>, Vec<_>) = answers
        .iter()
        .enumerate()
        .partition(|(_, answer)| answer.step.is_some());
    for (place, answer) in exact.into_iter().chain(others) {
        match open
            .iter()
            .position(|call| answer.is_about(call.number, &call.call))
        {
            Some(found) => pairs.push((open.remove(found), answer)),
            None => broken.push(answer.refusal(place, &open)),
        }
    }
    broken.extend(open.iter().map(|call| unanswered(call, calls)));
    if broken.is_empty() {
        Ok(pairs)
    } else {
        Err(AppError::Invalid(broken))
    }
}

/// The broken rule of a call without an answer.
fn unanswered(PendingCall { number, call }: &PendingCall, calls: &[PendingCall]) -> Invalid {
    let with_this_id = calls
        .iter()
        .filter(|other| other.call.id == call.id)
        .count();
    let reason = match with_this_id {
        0 | 1 => format!("must have a result for step {number}, call {}", call.id),
        2.. => format!(
            "must have a result for step {number}; name the step in each result, as {with_this_id} calls have the id {}",
            call.id
        ),
    };
    Invalid::new("/results", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    fn calls(ids: &[&str]) -> Vec<PendingCall> {
        let call = |(number, id): (u32, &&str)| PendingCall {
            number,
            call: samples::tool_call(id, "ask_human", "{}"),
        };
        (2..).zip(ids).map(call).collect()
    }

    fn answer(call_id: Option<&str>, step: Option<u32>) -> ToolAnswer {
        ToolAnswer {
            call_id: call_id.map(str::to_owned),
            step,
            text: String::new(),
            is_error: false,
        }
    }

    /// The numbers of the calls in the order of their answers, or the broken rules.
    fn pairs(
        ids: &[&str],
        answers: &[(Option<&str>, Option<u32>)],
    ) -> Result<Vec<u32>, Vec<(String, String)>> {
        let (calls, answers) = (
            calls(ids),
            answers
                .iter()
                .map(|(id, step)| answer(*id, *step))
                .collect::<Vec<_>>(),
        );
        let number_for = |wanted: &ToolAnswer, pairs: &[(&PendingCall, &ToolAnswer)]| {
            pairs
                .iter()
                .find(|(_, answer)| std::ptr::eq(*answer, wanted))
                .map_or(0, |(call, _)| call.number)
        };
        match paired(&calls, &answers) {
            Ok(pairs) => Ok(answers
                .iter()
                .map(|answer| number_for(answer, &pairs))
                .collect()),
            Err(AppError::Invalid(broken)) => Err(broken
                .into_iter()
                .map(|rule| (rule.field, rule.reason.into_owned()))
                .collect()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_answer_goes_to_the_call_that_it_names() {
        type Given<'a> = &'a [(Option<&'a str>, Option<u32>)];
        let table: [(&[&str], Given<'_>, &[u32]); 6] = [
            (
                &["a", "b"],
                &[(Some("b"), None), (Some("a"), None)],
                &[3, 2],
            ),
            (&["a", "b"], &[(None, Some(3)), (None, Some(2))], &[3, 2]),
            (&["a", "a"], &[(None, Some(3)), (None, Some(2))], &[3, 2]),
            (
                &["a", "a"],
                &[(Some("a"), Some(3)), (Some("a"), Some(2))],
                &[3, 2],
            ),
            (
                &["a", "a"],
                &[(Some("a"), None), (Some("a"), None)],
                &[2, 3],
            ),
            (
                &["a", "a", "b"],
                &[(Some("a"), None), (Some("a"), Some(2)), (Some("b"), None)],
                &[3, 2, 4],
            ),
        ];
        for (ids, answers, expected) in table {
            assert_eq!(
                pairs(ids, answers),
                Ok(expected.to_vec()),
                "{ids:?} {answers:?}"
            );
        }
    }

    #[test]
    fn answers_that_name_no_call_are_refused_at_the_field_that_is_wrong() {
        let rule = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
        let waits =
            |what: &str| format!("must be the {what} of a call that the task waits for, each once");
        let missing = |step| {
            rule(
                "/results",
                &format!("must have a result for step {step}, call a"),
            )
        };
        assert_eq!(pairs(&["a"], &[]), Err(vec![missing(2)]));
        assert_eq!(
            pairs(&["a"], &[(None, None)]),
            Err(vec![rule("/results/0/call_id", &waits("id")), missing(2)])
        );
        assert_eq!(
            pairs(&["a"], &[(None, Some(3))]),
            Err(vec![rule("/results/0/step", &waits("step")), missing(2)])
        );
        let other = rule(
            "/results/0/call_id",
            "must be the id of the call of step 2, or be left out",
        );
        assert_eq!(
            pairs(&["a"], &[(Some("b"), Some(2))]),
            Err(vec![other, missing(2)])
        );
        let twice = rule("/results/1/step", &waits("step"));
        assert_eq!(
            pairs(&["a"], &[(None, Some(2)), (None, Some(2))]),
            Err(vec![twice])
        );
    }

    #[test]
    fn a_call_that_shares_its_id_is_identified_by_its_step() {
        let reason = "must have a result for step 3; name the step in each result, as 2 calls have the id call_a";
        let expected = Err(vec![("/results".to_owned(), reason.to_owned())]);
        assert_eq!(
            pairs(&["call_a", "call_a"], &[(Some("call_a"), None)]),
            expected
        );
    }
}
