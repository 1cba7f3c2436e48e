//! What Anthropic answers, whole or event by event.
//!
//! Blocks are kept as they come. The neutral form is made of them at the end, and a block that has
//! more than the neutral form keeps, or whose form may not change, is kept beside it. Servers with
//! the same API leave out the lines that name the events, number blocks their own way, and send
//! events twice.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::super::dialect::{Answer, Fault, Progress, ResponseParser};
use super::super::endings::{Ending, ending, reason};
use super::super::failure::ErrorBody;
use super::super::lenient::{self, Lookup, Named};
use super::super::sse::Event;
use super::block::{Block, Delta};
use super::kind_despite_success;
use crate::domain::{StopReason, Usage};

/// An answer as far as it has arrived.
#[derive(Default)]
pub(in crate::llm) struct Received {
    stage: Stage,
    id: Option<String>,
    model: Option<String>,
    blocks: Vec<Block>,
    stop_reason: Option<String>,
    /// The reason that the message began with, which counts only if no other comes.
    start_reason: Option<String>,
    /// Whether usage came with the reason to stop.
    is_counted: bool,
    usage: UsageReport,
    /// The output whose tokens the provider has not counted yet.
    uncounted_bytes: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Within,
    Done,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    error: Option<IgnoredAny>,
    #[serde(deserialize_with = "lenient::name")]
    id: Option<String>,
    #[serde(deserialize_with = "lenient::name")]
    model: Option<String>,
    content: Option<Value>,
    #[serde(deserialize_with = "lenient::name")]
    stop_reason: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    usage: Option<UsageReport>,
}

/// The fields of an event that the decoder reads. What they hold depends on its type.
#[derive(Deserialize)]
struct EventFields {
    #[serde(default)]
    r#type: Named<Kind>,
    #[serde(default, deserialize_with = "lenient::count")]
    index: Option<u64>,
    message: Option<Box<Message>>,
    content_block: Option<Map<String, Value>>,
    delta: Option<Delta>,
    #[serde(default, deserialize_with = "lenient::object")]
    usage: Option<Box<UsageReport>>,
    error: Option<IgnoredAny>,
}

/// A delta of a block. Most events are one, so they are read by themselves.
#[derive(Deserialize)]
struct BlockDelta {
    r#type: Named<Kind>,
    index: u64,
    delta: Delta,
}

/// The types of events that the decoder reads.
#[derive(Clone, Copy)]
enum Kind {
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Error,
}

/// Unlike our [`Usage`], the provider's `input_tokens` leaves out what went through the cache.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct UsageReport {
    #[serde(deserialize_with = "lenient::count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::count")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::object")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "lenient::count")]
    thinking_tokens: Option<u64>,
}

impl ResponseParser for Received {
    fn event(&mut self, event: &Event) -> Result<Progress, Fault> {
        // The provider sends no such mark; servers with the same API do.
        if event.data.trim_ascii() == "[DONE]" {
            return Ok(self.end());
        }
        if event.name == "error" {
            return Err(reported_error(&event.data));
        }
        if event.name == "content_block_delta"
            && let Ok(BlockDelta {
                r#type: Named::Known(Kind::BlockDelta),
                index,
                delta,
            }) = serde_json::from_str(&event.data)
        {
            return self.add(Some(index), delta);
        }
        let Some((kind, parsed)) = event_fields(event)? else {
            return Ok(self.progress());
        };
        match kind {
            Kind::MessageStart => self.start(*parsed.message.unwrap_or_default())?,
            Kind::BlockStart => {
                let fields = parsed
                    .content_block
                    .ok_or(Fault::Inconsistent("a block starts without its content"))?;
                self.begin(parsed.index, fields)?;
            }
            Kind::BlockDelta => {
                let delta = parsed
                    .delta
                    .ok_or(Fault::Inconsistent("a delta event has no delta"))?;
                return self.add(parsed.index, delta);
            }
            Kind::BlockStop => {
                if let Some(block) = self.block(parsed.index) {
                    block.stop();
                }
            }
            Kind::MessageDelta => {
                let stop_reason = reason(parsed.delta.unwrap_or_default().stop_reason);
                self.stop_reason = stop_reason.or_else(|| self.stop_reason.take());
                self.is_counted = self.stop_reason.is_some() && parsed.usage.is_some();
                self.count(parsed.usage.as_deref().copied());
            }
            Kind::MessageStop if self.stage == Stage::Before => {
                return Err(Fault::Inconsistent("the message ends before it starts"));
            }
            Kind::MessageStop => {
                self.stage = Stage::Done;
                return Ok(self.end());
            }
            Kind::Error => return Err(reported_error(&event.data)),
        }
        Ok(self.progress())
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        let message: Message = serde_json::from_str(body)?;
        if message.error.is_some() {
            return Err(reported_error(body));
        }
        let Some(blocks) = blocks(message.content)? else {
            return Err(Fault::Inconsistent("a message without content"));
        };
        self.stage = Stage::Done;
        self.model = message.model;
        self.stop_reason = reason(message.stop_reason);
        self.count(message.usage);
        self.blocks = (0..)
            .zip(blocks)
            .map(|(index, fields)| Block::whole(index, fields))
            .collect();
        Ok(())
    }

    /// The provider counts the output at its end. Before that, it is estimated by what has come.
    fn usage(&self, max_output_tokens: u64) -> Usage {
        let usage = Usage::from(self.usage);
        let estimate = lenient::estimated_tokens(self.uncounted_bytes, max_output_tokens);
        Usage {
            output_tokens: usage.output_tokens.max(estimate),
            ..usage
        }
    }

    fn finish(mut self) -> Result<Answer, Fault> {
        if self.stage != Stage::Done && self.stop_reason.is_none() {
            return Err(Fault::Truncated);
        }
        let stop_reason = match self
            .stop_reason
            .or(self.start_reason)
            .as_deref()
            .map(ending)
        {
            Some(Ending::Whole(reason) | Ending::Cut(reason)) => reason,
            Some(Ending::Aborted) => return Err(Fault::Aborted),
            Some(Ending::Malformed) => {
                return Err(Fault::Inconsistent(
                    "the server could not read the model's tool call",
                ));
            }
            Some(Ending::Unknown) | None => StopReason::Other,
        };
        self.blocks.sort_by_key(|block| block.index);
        let mut content = Vec::new();
        for block in self.blocks {
            content.extend(block.into_part()?);
        }
        Ok(Answer {
            content,
            stop_reason,
            served_model: self.model,
        })
    }
}

/// The blocks of a message. Servers send its text alone, too.
fn blocks(content: Option<Value>) -> Result<Option<Vec<Map<String, Value>>>, Fault> {
    match content {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(Some(Vec::new())),
        Some(Value::String(text)) => {
            let fields = [("type", "text".to_owned()), ("text", text)];
            Ok(Some(vec![
                fields
                    .map(|(field, value)| (field.to_owned(), value.into()))
                    .into_iter()
                    .collect(),
            ]))
        }
        Some(content) => Ok(Some(serde_json::from_value(content)?)),
    }
}

impl Received {
    /// Begins a message. One that begins again says nothing new.
    fn start(&mut self, message: Message) -> Result<(), Fault> {
        if !self.blocks.is_empty() && self.id.is_some() && self.id != message.id {
            return Err(Fault::Inconsistent(
                "a message starts within another message",
            ));
        }
        self.stage = Stage::Within;
        self.id = message.id;
        self.model = message.model;
        self.start_reason = reason(message.stop_reason);
        self.count(message.usage);
        let blocks = blocks(message.content)?.unwrap_or_default();
        (0..)
            .zip(blocks)
            .try_for_each(|(index, fields)| self.begin(Some(index), fields))
    }

    /// Begins a block. One that begins again is the same block, or the next one of a server that
    /// numbers all alike.
    fn begin(&mut self, index: Option<u64>, fields: Map<String, Value>) -> Result<(), Fault> {
        self.stage = Stage::Within;
        let next = self
            .blocks
            .iter()
            .map(|block| block.index.saturating_add(1))
            .max()
            .unwrap_or_default();
        let index = index.unwrap_or(next);
        match self.blocks.iter().rfind(|block| block.index == index) {
            Some(earlier) if earlier.has_begun_with(&fields) => return Ok(()),
            Some(earlier) if !earlier.is_stopped() => {
                return Err(Fault::Inconsistent("a block starts twice"));
            }
            Some(_) | None => self.blocks.push(Block::begun(index, fields)),
        }
        Ok(())
    }

    /// Adds a delta to a block.
    fn add(&mut self, index: Option<u64>, delta: Delta) -> Result<Progress, Fault> {
        let block = self
            .block(index)
            .ok_or(Fault::Inconsistent("a delta belongs to no block"))?;
        let bytes = block.add(delta)?;
        self.uncounted_bytes = self.uncounted_bytes.saturating_add(bytes);
        Ok(Progress::More)
    }

    /// The block with this number; without a number, the one that began last.
    fn block(&mut self, index: Option<u64>) -> Option<&mut Block> {
        self.blocks
            .iter_mut()
            .rfind(|block| index.is_none_or(|index| block.index == index))
    }

    fn count(&mut self, usage: Option<UsageReport>) {
        if let Some(usage) = usage.filter(UsageReport::says_something) {
            self.uncounted_bytes = 0;
            self.usage = self.usage.or_more(usage);
        }
    }

    /// How far a stream is at the mark of its end. Without a reason to stop, something got lost or
    /// is to come.
    const fn end(&self) -> Progress {
        if self.stop_reason.is_some() {
            Progress::Done
        } else {
            Progress::Stopped
        }
    }

    const fn progress(&self) -> Progress {
        match (&self.stop_reason, self.is_counted) {
            (None, _) => Progress::More,
            (Some(_), false) => Progress::Stopped,
            (Some(_), true) => Progress::Counted,
        }
    }
}

impl Lookup for Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "message_start" => Self::MessageStart,
            "content_block_start" => Self::BlockStart,
            "content_block_delta" => Self::BlockDelta,
            "content_block_stop" => Self::BlockStop,
            "message_delta" => Self::MessageDelta,
            "message_stop" => Self::MessageStop,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

impl EventFields {
    /// The type in the data decides; else the name of the event; else what the event holds.
    fn kind(&self, name: &str) -> Option<Kind> {
        let is_nameless = matches!(self.r#type, Named::Missing) && name == "message";
        let named = self.r#type.known().or_else(|| Kind::of(name));
        named
            .or_else(|| self.error.map(|_| Kind::Error))
            .or_else(|| self.held().filter(|_| is_nameless))
    }

    fn held(&self) -> Option<Kind> {
        match self {
            Self {
                message: Some(_), ..
            } => Some(Kind::MessageStart),
            Self {
                content_block: Some(_),
                ..
            } => Some(Kind::BlockStart),
            Self {
                delta: Some(delta), ..
            } if delta.stop_reason.is_some() => Some(Kind::MessageDelta),
            Self { delta: Some(_), .. } => Some(Kind::BlockDelta),
            _ => None,
        }
    }
}

/// Reads an event. `None` stands for an event of an unknown type.
fn event_fields(event: &Event) -> Result<Option<(Kind, EventFields)>, Fault> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(default)]
        r#type: Named<Kind>,
    }

    match serde_json::from_str::<EventFields>(&event.data) {
        Ok(parsed) => Ok(parsed.kind(&event.name).map(|kind| (kind, parsed))),
        Err(error) => match serde_json::from_str::<Typed>(&event.data) {
            Ok(Typed {
                r#type: Named::Unknown,
            }) if Kind::of(&event.name).is_none() => Ok(None),
            Ok(_) | Err(_) => Err(error.into()),
        },
    }
}

impl UsageReport {
    const fn says_something(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }

    /// Counts only grow. A count that is left out, or is nothing all of a sudden, has not changed.
    fn or_more(self, later: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(later.input_tokens),
            output_tokens: self.output_tokens.max(later.output_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .max(later.cache_creation_input_tokens),
            cache_read_input_tokens: self
                .cache_read_input_tokens
                .max(later.cache_read_input_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
        }
    }
}

impl From<UsageReport> for Usage {
    fn from(report: UsageReport) -> Self {
        let cache_write_tokens = report.cache_creation_input_tokens.unwrap_or(0);
        let cache_read_tokens = report.cache_read_input_tokens.unwrap_or(0);
        let uncached_tokens = report.input_tokens.unwrap_or(0);
        Self {
            input_tokens: uncached_tokens
                .saturating_add(cache_write_tokens)
                .saturating_add(cache_read_tokens),
            output_tokens: report.output_tokens.unwrap_or(0),
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens: report
                .output_tokens_details
                .and_then(|details| details.thinking_tokens)
                .unwrap_or(0),
        }
    }
}

fn reported_error(body: &str) -> Fault {
    let error_body = ErrorBody::from_body(body.as_bytes());
    Fault::ProviderError(kind_despite_success(&error_body), error_body)
}
