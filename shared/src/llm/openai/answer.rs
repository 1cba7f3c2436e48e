//! The response of the Responses API: an object with a status and items.

use serde::Deserialize;
use serde_json::Value;

use super::item::{Item, Status};
use super::kind_despite_success;
use crate::domain::{AssistantContent, StopReason, Usage};
use crate::llm::dialect::{Answer, Fault, Part};
use crate::llm::endings::{Ending, ending};
use crate::llm::failure::ErrorBody;
use crate::llm::lenient;
use crate::ports::ModelErrorKind;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    #[serde(deserialize_with = "lenient::name")]
    model: Option<String>,
    #[serde(deserialize_with = "lenient::name")]
    status: Option<String>,
    error: Option<Value>,
    #[serde(deserialize_with = "lenient::object")]
    incomplete_details: Option<IncompleteDetails>,
    output: Option<Vec<Value>>,
    #[serde(deserialize_with = "lenient::object")]
    usage: Option<UsageReport>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IncompleteDetails {
    #[serde(deserialize_with = "lenient::name")]
    reason: Option<String>,
}

impl Response {
    /// A response that is only an error.
    pub(super) fn failed(error: Value) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// Whether the response has items.
    pub(super) fn has_items(&self) -> bool {
        self.output
            .as_ref()
            .is_some_and(|output| !output.is_empty())
    }

    /// The response with these items, if it has fewer itself.
    pub(super) fn with_items(mut self, items: Vec<Value>) -> Self {
        self.output = self
            .output
            .filter(|output| !output.is_empty() && output.len() >= items.len())
            .or(Some(items));
        self
    }

    /// The response with the status that the event names, if its own is missing or unknown.
    pub(super) fn with_status(mut self, status: &str) -> Self {
        if self.status().is_none() {
            self.status = Some(status.to_owned());
        }
        self
    }

    /// The reported usage.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
            .as_ref()
            .filter(|usage| usage.says_something())
            .map(Usage::from)
    }

    fn status(&self) -> Option<Status> {
        self.status.as_deref().and_then(Status::of)
    }

    /// The answer, or the reason why there is none.
    pub(super) fn into_answer(self) -> Result<Answer, Fault> {
        let declined = self.check()?;
        let status = self.status();
        let cut = match status {
            Some(Status::Incomplete) => Some(cut_reason(self.incomplete_details)?),
            _ => None,
        };
        let mut items: Vec<(Item, Value)> = Vec::new();
        for block in without_repeats(self.output.unwrap_or_default()) {
            items.push((Item::read(&block)?, block));
        }
        let is_refusal = items.iter().any(|(item, _)| item.is_refusal());
        let content: Vec<Part> = items
            .into_iter()
            .filter_map(|(item, block)| item.into_part(block, status))
            .collect();
        let wants_tools = content
            .iter()
            .any(|part| matches!(part.content, AssistantContent::ToolCall(_)));
        let stop_reason = match cut {
            _ if declined || is_refusal => StopReason::Refusal,
            Some(reason) => reason,
            None if wants_tools => StopReason::ToolUse,
            None if status == Some(Status::Completed) => StopReason::EndTurn,
            None => StopReason::Other,
        };
        Ok(Answer {
            content,
            stop_reason,
            served_model: self.model,
        })
    }

    /// Whether the provider's filter declined to answer; or the reason why there is no answer.
    fn check(&self) -> Result<bool, Fault> {
        if let Some(error) = &self.error {
            let error_body = ErrorBody::from_error(error);
            return kind_despite_success(&error_body)
                .map_or(Ok(true), |kind| Err(Fault::ProviderError(kind, error_body)));
        }
        match self.status() {
            Some(Status::Failed | Status::Cancelled) => Err(Fault::ProviderError(
                ModelErrorKind::Unavailable,
                ErrorBody::default(),
            )),
            // Only background responses can be incomplete here.
            Some(Status::Queued | Status::InProgress) => {
                Err(Fault::Inconsistent("the response is not finished"))
            }
            Some(Status::Completed | Status::Incomplete) | None if self.output.is_none() => {
                Err(Fault::Inconsistent("the response has no output"))
            }
            Some(Status::Completed | Status::Incomplete) | None => Ok(false),
        }
    }
}

/// The items, without repetitions: an item that equals the one before it and has an id.
fn without_repeats(items: Vec<Value>) -> Vec<Value> {
    let mut distinct: Vec<Value> = Vec::new();
    for item in items {
        let has_id = item.get("id").is_some_and(Value::is_string);
        if !has_id || distinct.last() != Some(&item) {
            distinct.push(item);
        }
    }
    distinct
}

fn cut_reason(details: Option<IncompleteDetails>) -> Result<StopReason, Fault> {
    match details
        .and_then(|details| details.reason)
        .as_deref()
        .map(ending)
    {
        Some(Ending::Cut(reason)) => Ok(reason),
        Some(Ending::Aborted) => Err(Fault::Aborted),
        Some(Ending::Whole(_) | Ending::Malformed | Ending::Unknown) | None => {
            Ok(StopReason::Other)
        }
    }
}

/// As in [`Usage`], the provider's `input_tokens` and `output_tokens` are totals.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageReport {
    #[serde(deserialize_with = "lenient::count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::object")]
    input_tokens_details: Option<InputDetails>,
    #[serde(deserialize_with = "lenient::object")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    #[serde(deserialize_with = "lenient::count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "lenient::count")]
    reasoning_tokens: Option<u64>,
}

impl UsageReport {
    const fn says_something(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }
}

impl From<&UsageReport> for Usage {
    fn from(report: &UsageReport) -> Self {
        let (input, output) = (
            report.input_tokens_details.as_ref(),
            report.output_tokens_details.as_ref(),
        );
        Self {
            input_tokens: report.input_tokens.unwrap_or(0),
            output_tokens: report.output_tokens.unwrap_or(0),
            cache_read_tokens: input.and_then(|input| input.cached_tokens).unwrap_or(0),
            cache_write_tokens: input
                .and_then(|input| input.cache_write_tokens)
                .unwrap_or(0),
            reasoning_tokens: output
                .and_then(|output| output.reasoning_tokens)
                .unwrap_or(0),
        }
    }
}
