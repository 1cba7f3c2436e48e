//! An answer of the Chat Completions API, whole or as a stream of chunks.
//!
//! A whole answer is read as a stream of one chunk. Deviations of servers are tolerated: ids,
//! indexes, reasons, usage and `[DONE]` may be missing, and arguments may be an object instead of
//! its text. A whole message at the end of a stream replaces the content of the deltas.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::calls::{CallDelta, Calls, FunctionDelta};
use super::failure::{error_in, fault};
use super::reasoning::Thoughts;
use crate::domain::{AssistantContent, StopReason, Usage};
use crate::llm::dialect::{Answer, Fault, Part, Progress, ResponseParser};
use crate::llm::endings::{Ending, ending, reason};
use crate::llm::{lenient, sse};

/// An answer as far as its stream has arrived.
#[derive(Default)]
pub(in crate::llm) struct Stream {
    model: Option<String>,
    said: Said,
    finish_reason: Option<String>,
    /// Whether usage came with the reason to stop, or after it.
    is_counted: bool,
    usage: Option<Usage>,
    has_choice: bool,
    is_done: bool,
}

/// What the model said.
#[derive(Default)]
struct Said {
    text: String,
    refusal: String,
    thoughts: Thoughts,
    calls: Calls,
    /// A call in the deprecated field `function_call`. Some servers repeat the first of
    /// `tool_calls` here.
    function_call: Calls,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    #[serde(deserialize_with = "lenient::name")]
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    #[serde(deserialize_with = "lenient::object")]
    usage: Option<UsageReport>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    #[serde(deserialize_with = "lenient::count")]
    index: Option<u64>,
    /// In a stream.
    delta: Option<Delta>,
    /// In a whole answer.
    message: Option<Delta>,
    #[serde(deserialize_with = "lenient::name")]
    finish_reason: Option<String>,
    /// Why the server aborted this choice.
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<Value>,
    refusal: Option<Value>,
    reasoning: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning_details: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UsageReport {
    #[serde(deserialize_with = "lenient::count")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::object")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(deserialize_with = "lenient::object")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    #[serde(deserialize_with = "lenient::count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    #[serde(deserialize_with = "lenient::count")]
    reasoning_tokens: Option<u64>,
}

impl ResponseParser for Stream {
    fn event(&mut self, event: &sse::Event) -> Result<Progress, Fault> {
        if event.data.trim_ascii() == "[DONE]" {
            self.is_done = true;
            // Without a reason to stop, the stream may continue.
            return Ok(if self.finish_reason.is_some() {
                Progress::Done
            } else {
                Progress::Stopped
            });
        }
        self.chunk(serde_json::from_str(&event.data)?)
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        self.chunk(serde_json::from_str(body)?)?;
        self.is_done = true;
        Ok(())
    }

    /// The reported usage, or an estimate of the output if the answer was cut before it.
    fn usage(&self, max_output_tokens: u64) -> Usage {
        let written = || lenient::estimated_tokens(self.said.len() as u64, max_output_tokens);
        self.usage.unwrap_or_else(|| Usage {
            output_tokens: written(),
            ..Usage::default()
        })
    }

    fn finish(self) -> Result<Answer, Fault> {
        if self.finish_reason.is_none() && !self.is_done {
            return Err(Fault::Truncated);
        }
        if !self.has_choice {
            return Err(Fault::Inconsistent("the answer has no choice"));
        }
        let has_refusal = !self.said.refusal.is_empty();
        let (cut, end) = match self.finish_reason.as_deref().map(ending) {
            Some(Ending::Aborted) => return Err(Fault::Aborted),
            Some(Ending::Malformed) => {
                return Err(Fault::Inconsistent(
                    "the server could not read the model's tool call",
                ));
            }
            Some(Ending::Cut(reason)) => (Some(reason), reason),
            Some(Ending::Whole(StopReason::EndTurn)) => (None, StopReason::EndTurn),
            // A reason such as `tool_calls` counts only if there are calls, which is checked below.
            Some(Ending::Whole(_) | Ending::Unknown) | None => (None, StopReason::Other),
        };
        let (content, wants_tools) = self.said.into_parts(cut)?;
        let stop_reason = match cut {
            _ if has_refusal => StopReason::Refusal,
            None if wants_tools => StopReason::ToolUse,
            Some(_) | None => end,
        };
        Ok(Answer {
            content,
            stop_reason,
            served_model: self.model,
        })
    }
}

impl Stream {
    fn chunk(&mut self, chunk: Value) -> Result<Progress, Fault> {
        let error = error_in(&chunk).map(fault);
        let chunk = Chunk::deserialize(chunk)?;
        let was_stopped = self.finish_reason.is_some();
        let written_before = if was_stopped { self.said.len() } else { 0 };
        let usage = chunk
            .usage
            .filter(UsageReport::says_something)
            .map(Usage::from);
        self.usage = usage.or(self.usage);
        self.model = self.model.take().or(chunk.model);
        // Some gateways report as an error after the end that the answer is cut, which its reason
        // has said already.
        if let Some(fault) = error.filter(|_| !was_stopped) {
            return Err(fault);
        }
        for choice in chunk
            .choices
            .into_iter()
            .flatten()
            .filter(|choice| choice.index.unwrap_or(0) == 0)
        {
            self.has_choice = true;
            self.choice(choice)?;
        }
        let has_more_text = was_stopped && self.said.len() > written_before;
        self.is_counted |= usage.is_some() && self.finish_reason.is_some();
        Ok(match self.finish_reason {
            None => Progress::More,
            Some(_) if has_more_text => Progress::More,
            Some(_) if self.is_counted => Progress::Counted,
            Some(_) => Progress::Stopped,
        })
    }

    fn choice(&mut self, choice: Choice) -> Result<(), Fault> {
        if let Some(error) = choice
            .error
            .filter(|error| error.is_object() && self.finish_reason.is_none())
        {
            return Err(fault(&error));
        }
        self.said.add(choice.delta.unwrap_or_default())?;
        if let Some(message) = choice.message {
            let mut whole = Said::default();
            whole.add(message)?;
            self.said.replace_with(whole);
        }
        self.finish_reason = reason(choice.finish_reason).or_else(|| self.finish_reason.take());
        Ok(())
    }
}

impl Said {
    /// How much text there is.
    fn len(&self) -> usize {
        let calls = self.calls.len().max(self.function_call.len());
        self.text.len() + self.refusal.len() + self.thoughts.len() + calls
    }

    fn add(&mut self, delta: Delta) -> Result<(), Fault> {
        if let Some(content) = &delta.content {
            push_text(&mut self.text, content)?;
        }
        if let Some(Value::String(refusal)) = &delta.refusal {
            self.refusal.push_str(refusal);
        }
        self.thoughts.add("reasoning", delta.reasoning.as_ref());
        self.thoughts
            .add("reasoning_content", delta.reasoning_content.as_ref());
        if let Some(Value::Array(details)) = delta.reasoning_details {
            self.thoughts
                .add_details(details.into_iter().filter_map(fields).collect());
        }
        self.calls.add(call_deltas(delta.tool_calls)?)?;
        self.function_call.add(
            delta
                .function_call
                .map(CallDelta::from)
                .into_iter()
                .collect(),
        )
    }

    /// Replaces each kind of content that a whole message has.
    fn replace_with(&mut self, whole: Self) {
        let Self {
            text,
            refusal,
            thoughts,
            calls,
            function_call,
        } = whole;
        if !text.is_empty() {
            self.text = text;
        }
        if !refusal.is_empty() {
            self.refusal = refusal;
        }
        if !thoughts.is_empty() {
            self.thoughts = thoughts;
        }
        if !calls.is_empty() {
            self.calls = calls;
        }
        if !function_call.is_empty() {
            self.function_call = function_call;
        }
    }

    /// The content, and whether it has tool calls. If the answer was cut, only whole calls are in
    /// it.
    fn into_parts(self, cut: Option<StopReason>) -> Result<(Vec<Part>, bool), Fault> {
        let mut content: Vec<Part> = self.thoughts.into_part().into_iter().collect();
        let texts = [self.text, self.refusal]
            .into_iter()
            .filter(|text| !text.is_empty());
        content.extend(texts.map(|text| Part {
            content: AssistantContent::Text(text),
            original: None,
        }));
        let calls = if self.calls.is_empty() {
            self.function_call
        } else {
            self.calls
        };
        let calls = if cut.is_some() {
            calls.into_whole_parts()
        } else {
            calls.into_parts()?
        };
        let wants_tools = !calls.is_empty();
        content.extend(calls);
        Ok((content, wants_tools))
    }
}

fn fields(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

/// The deltas of calls; servers send an empty object or text for none.
fn call_deltas(calls: Option<Value>) -> Result<Vec<CallDelta>, Fault> {
    match calls {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(fields)) if fields.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Vec::new()),
        Some(calls) => Ok(Vec::deserialize(calls)?),
    }
}

/// Adds the text of a message's content, be it plain or in parts. Parts of other kinds than text
/// are left out.
fn push_text(text: &mut String, content: &Value) -> Result<(), Fault> {
    match content {
        Value::String(more) => text.push_str(more),
        Value::Array(parts) => parts.iter().try_for_each(|part| push_text(text, part))?,
        Value::Object(part) => match part.get("text") {
            Some(Value::String(more)) => text.push_str(more),
            Some(Value::Null) | None => {}
            Some(_) => return Err(Fault::Inconsistent("a text is something else")),
        },
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            return Err(Fault::Inconsistent("a text is something else"));
        }
    }
    Ok(())
}

impl UsageReport {
    const fn says_something(&self) -> bool {
        self.prompt_tokens.is_some() || self.completion_tokens.is_some()
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
            cache_write_tokens: prompt
                .cache_write_tokens
                .unwrap_or(0)
                .min(input_tokens - cache_read_tokens),
            reasoning_tokens: completion.reasoning_tokens.unwrap_or(0).min(output_tokens),
        }
    }
}
