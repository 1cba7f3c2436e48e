//! For tests and fuzzing: recorded responses, and mutations of them, as faulty servers and
//! connections cause them.
//!
//! A mutation drops, doubles, retypes, reorders or splits a field, an event or a byte. It reports
//! what it may have changed: the answer's content, its reason to stop, or neither.

mod field;
mod frame;
mod framing;

use serde_json::Value;

use self::field::mutate_field;
use self::frame::mutate_frames;
use self::framing::{mutate_bytes, mutate_framing};
use crate::domain::Provider;

/// A response body as a provider sends it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its name.
    pub name: &'static str,
    /// The provider whose API it is of.
    pub provider: Provider,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Stream(Vec<Frame>),
    Whole(Value),
}

#[derive(Debug, Clone)]
struct Frame {
    name: Option<String>,
    data: Value,
}

/// The most important part of an answer that a mutation may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// No part of the answer.
    Nothing,
    /// The reason why the model stopped.
    Ending,
    /// The content.
    Content,
}

/// A body with a mutation.
#[derive(Debug, Clone)]
pub struct Mutated {
    /// The body.
    pub bytes: Vec<u8>,
    /// The mutation, in words.
    pub what: String,
    /// What it may have changed.
    pub touch: Touch,
}

/// Bytes that choose a mutation. After the last byte, the first choice is always taken.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Choices by these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        let (bytes, rest) = self.0.split_at(self.0.len().min(3));
        self.0 = rest;
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
            % end.max(1)
    }
}

const ANTHROPIC: Provider = Provider::Anthropic;
const RESPONSES: Provider = Provider::OpenAi;
const CHAT: Provider = Provider::OpenAiCompatible;

/// Streams, with their names and APIs.
const STREAMS: [(&str, Provider, &str); 12] = [
    (
        "anthropic_stream",
        ANTHROPIC,
        include_str!("../fixtures/anthropic_stream.txt"),
    ),
    (
        "anthropic_tools_stream",
        ANTHROPIC,
        include_str!("../fixtures/anthropic_tools_stream.txt"),
    ),
    (
        "anthropic_stream_nameless",
        ANTHROPIC,
        include_str!("../fixtures/anthropic_stream_nameless.sse"),
    ),
    (
        "openai_text_stream",
        RESPONSES,
        include_str!("../fixtures/openai_text_stream.sse"),
    ),
    (
        "openai_stream",
        RESPONSES,
        include_str!("../fixtures/openai_stream.sse"),
    ),
    (
        "openai_stream_compatible",
        RESPONSES,
        include_str!("../fixtures/openai_stream_compatible.sse"),
    ),
    (
        "chat_text_stream",
        CHAT,
        include_str!("../fixtures/chat_text_stream.sse"),
    ),
    (
        "chat_stream_vllm",
        CHAT,
        include_str!("../fixtures/chat_stream_vllm.sse"),
    ),
    (
        "chat_stream_ollama",
        CHAT,
        include_str!("../fixtures/chat_stream_ollama.sse"),
    ),
    (
        "chat_stream_llama_cpp",
        CHAT,
        include_str!("../fixtures/chat_stream_llama_cpp.sse"),
    ),
    (
        "chat_stream_openrouter",
        CHAT,
        include_str!("../fixtures/chat_stream_openrouter.sse"),
    ),
    (
        "chat_stream_closing_message",
        CHAT,
        include_str!("../fixtures/chat_stream_closing_message.sse"),
    ),
];

/// Whole answers, with their names and APIs.
const WHOLES: [(&str, Provider, &str); 4] = [
    (
        "anthropic_message",
        ANTHROPIC,
        include_str!("../fixtures/anthropic_message.json"),
    ),
    (
        "openai_response",
        RESPONSES,
        include_str!("../fixtures/openai_response.json"),
    ),
    (
        "chat_response",
        CHAT,
        include_str!("../fixtures/chat_response.json"),
    ),
    (
        "chat_text_response",
        CHAT,
        include_str!("../fixtures/chat_text_response.json"),
    ),
];

/// All recorded exchanges.
pub fn recorded() -> Vec<Recorded> {
    let stream = |(name, provider, text)| Recorded {
        name,
        provider,
        body: Body::Stream(frames(text)),
    };
    let whole = |(name, provider, text)| Recorded {
        name,
        provider,
        body: Body::Whole(value(text)),
    };
    STREAMS
        .map(stream)
        .into_iter()
        .chain(WHOLES.map(whole))
        .collect()
}

/// The data of an event; a text that is no JSON stays a text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn frames(stream: &str) -> Vec<Frame> {
    let frame = |lines: &str| {
        let field = |name: &str| {
            lines
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        Some(Frame {
            name: field("event:").map(str::to_owned),
            data: value(field("data:")?),
        })
    };
    stream.split("\n\n").filter_map(frame).collect()
}

impl Recorded {
    /// The body as it was sent.
    pub fn bytes(&self) -> Vec<u8> {
        self.body.bytes()
    }

    /// Whether it is an event stream.
    pub const fn is_stream(&self) -> bool {
        matches!(self.body, Body::Stream(_))
    }

    /// The body with one mutation.
    pub fn mutated(&self, choices: &mut Choices<'_>) -> Mutated {
        let mut body = self.body.clone();
        match choices.below(8) {
            0..=2 => mutate_field(self.provider, &mut body, choices),
            3..=5 => match body {
                Body::Stream(frames) => mutate_frames(self.provider, frames, choices),
                Body::Whole(_) => mutate_field(self.provider, &mut body, choices),
            },
            6 => mutate_framing(self.provider, &body, choices),
            _ => mutate_bytes(body.bytes(), choices),
        }
    }
}

/// The halves of an emoji, each as a character of its own, until the body is written.
const HALVES: [(char, &str); 2] = [('\u{E001}', "\\ud83d"), ('\u{E002}', "\\ude00")];

impl Body {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Stream(frames) => frames.iter().flat_map(Frame::bytes).collect(),
            Self::Whole(value) => written(value).into_bytes(),
        }
    }

    fn values(&mut self) -> Vec<&mut Value> {
        match self {
            Self::Stream(frames) => frames.iter_mut().map(|frame| &mut frame.data).collect(),
            Self::Whole(value) => vec![value],
        }
    }
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let name = self
            .name
            .as_deref()
            .map(|name| format!("event: {name}\n"))
            .unwrap_or_default();
        format!("{name}data: {}\n\n", written(&self.data)).into_bytes()
    }
}

fn written(data: &Value) -> String {
    let text = data
        .as_str()
        .map_or_else(|| data.to_string(), str::to_owned);
    HALVES
        .iter()
        .fold(text, |text, (mark, half)| text.replace(*mark, half))
}
