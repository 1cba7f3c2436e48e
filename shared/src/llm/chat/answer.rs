//! An answer of the Chat Completions API, whole or as a stream of chunks.
//!
//! A whole answer is read as a stream of one chunk. What servers with this API leave out or do their own way is put up with:
//! ids, indexes, reasons and usage may be missing, `[DONE]` too, and arguments may be an object instead of its text.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::calls::{CallDelta, Calls, FunctionDelta};
use super::failure::{complaint_in, fault};
use super::reasoning::Thoughts;
use crate::domain::{AssistantContent, StopReason, Usage};
use crate::llm::dialect::{Answer, Fault, Part, Progress, Reading};
use crate::llm::sse;

/// The bytes of text that one token stands for on average.
const BYTES_PER_TOKEN: u64 = 4;

/// An answer as far as its stream has arrived.
#[derive(Default)]
pub(in crate::llm) struct Stream {
    model: Option<String>,
    text: String,
    refusal: String,
    thoughts: Thoughts,
    calls: Calls,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    has_choice: bool,
    is_done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<UsageReport>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    /// In a stream.
    delta: Option<Delta>,
    /// In a whole answer.
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<Value>,
    refusal: Option<String>,
    reasoning: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning_details: Option<Vec<Map<String, Value>>>,
    tool_calls: Option<Vec<CallDelta>>,
    function_call: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct UsageReport {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl Reading for Stream {
    fn event(&mut self, event: &sse::Event) -> Result<Progress, Fault> {
        if event.data == "[DONE]" {
            self.is_done = true;
            return Ok(Progress::Done);
        }
        self.chunk(serde_json::from_str(&event.data)?)
    }

    fn whole(&mut self, body: &[u8]) -> Result<(), Fault> {
        self.chunk(serde_json::from_slice(body)?)?;
        self.is_done = true;
        Ok(())
    }

    /// Of an answer that broke off before it told, an estimate of what was written.
    fn usage(&self) -> Usage {
        let bytes = (self.text.len() + self.refusal.len() + self.thoughts.len() + self.calls.len()) as u64;
        self.usage.unwrap_or_else(|| Usage { output_tokens: bytes.div_ceil(BYTES_PER_TOKEN), ..Usage::default() })
    }

    fn finish(self) -> Result<Answer, Fault> {
        if self.finish_reason.is_none() && !self.is_done {
            return Err(Fault::Unfinished);
        }
        if !self.has_choice {
            return Err(Fault::Senseless("the answer has no choice"));
        }
        let has_refusal = !self.refusal.is_empty();
        let cut = self.finish_reason.as_deref().and_then(cut_reason);
        let mut content: Vec<Part> = self.thoughts.into_part().into_iter().collect();
        let texts = [self.text, self.refusal].into_iter().filter(|text| !text.is_empty());
        content.extend(texts.map(|text| Part { content: AssistantContent::Text(text), original: None }));
        let calls = if cut.is_some() { self.calls.into_whole_parts() } else { self.calls.into_parts() };
        let wants_tools = !calls.is_empty();
        content.extend(calls);
        let stop_reason = match cut {
            _ if has_refusal => StopReason::Refusal,
            Some(reason) => reason,
            None if wants_tools => StopReason::ToolUse,
            None => self.finish_reason.as_deref().map_or(StopReason::Other, end_reason),
        };
        Ok(Answer { content, stop_reason, served_model: self.model })
    }
}

/// Why the answer is not whole; `None` if it is.
fn cut_reason(reason: &str) -> Option<StopReason> {
    match reason {
        "length" => Some(StopReason::MaxTokens),
        "content_filter" => Some(StopReason::Refusal),
        _ => None,
    }
}

/// Why an answer without calls ended that is not cut.
fn end_reason(reason: &str) -> StopReason {
    match reason {
        "stop" | "eos" | "eos_token" | "stop_sequence" => StopReason::EndTurn,
        // `tool_calls` and `function_call` come with calls, or else something is amiss.
        _ => StopReason::Other,
    }
}

impl Stream {
    fn chunk(&mut self, chunk: Value) -> Result<Progress, Fault> {
        let error = complaint_in(&chunk).map(fault);
        let chunk = Chunk::deserialize(chunk)?;
        self.usage = chunk.usage.map(Usage::from).or(self.usage);
        self.model = self.model.take().or(chunk.model);
        // Some gateways report as an error after the end that the answer is cut, which its reason has said already.
        if let Some(fault) = error.filter(|_| self.finish_reason.is_none()) {
            return Err(fault);
        }
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index.unwrap_or(0) == 0) {
            self.has_choice = true;
            self.add(choice.delta.or(choice.message).unwrap_or_default());
            let reason = choice.finish_reason.filter(|reason| !reason.is_empty());
            self.finish_reason = reason.or_else(|| self.finish_reason.take());
        }
        Ok(Progress::More)
    }

    fn add(&mut self, delta: Delta) {
        self.text.push_str(&delta.content.as_ref().map(text).unwrap_or_default());
        self.refusal.push_str(&delta.refusal.unwrap_or_default());
        self.thoughts.add("reasoning", delta.reasoning.as_ref());
        self.thoughts.add("reasoning_content", delta.reasoning_content.as_ref());
        self.thoughts.add_details(delta.reasoning_details.unwrap_or_default());
        for call in delta.tool_calls.into_iter().flatten().chain(delta.function_call.map(CallDelta::from)) {
            self.calls.add(call);
        }
    }
}

/// The text of a message's content, be it plain or in parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

impl From<UsageReport> for Usage {
    /// Shares that are larger than their whole, which servers do report, are cut to it.
    fn from(report: UsageReport) -> Self {
        let input_tokens = report.prompt_tokens.unwrap_or(0);
        let output_tokens = report.completion_tokens.unwrap_or(0);
        let prompt = report.prompt_tokens_details.unwrap_or_default();
        let completion = report.completion_tokens_details.unwrap_or_default();
        let cache_read_tokens = prompt.cached_tokens.unwrap_or(0).min(input_tokens);
        Self {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens: prompt.cache_write_tokens.unwrap_or(0).min(input_tokens - cache_read_tokens),
            reasoning_tokens: completion.reasoning_tokens.unwrap_or(0).min(output_tokens),
        }
    }
}
