//! A stream of the Responses API's events.
//!
//! Its last event has the whole answer, and only that one says what the answer used. Items count
//! when they are done: what has arrived of an unfinished one is of no use to anyone. Servers that
//! leave the items out of the last event, and any event that is new, are put up with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Response;
use crate::domain::Usage;
use crate::llm::dialect::{Answer, Fault, Progress, ResponseParser};
use crate::llm::lenient::{self, Lookup, Named};
use crate::llm::sse;

/// An answer as far as its stream has arrived.
#[derive(Default)]
pub(in crate::llm) struct Stream {
    items: BTreeMap<u64, Value>,
    /// The items that have begun.
    begun: BTreeSet<u64>,
    delta_bytes: u64,
    end: Option<Response>,
}

/// The parts of an event that matter; what they hold depends on its type.
#[derive(Deserialize)]
struct Happening<'a> {
    #[serde(default)]
    r#type: Named<Kind>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient::count")]
    output_index: Option<u64>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The types of events that matter.
#[derive(Clone, Copy)]
enum Kind {
    ItemAdded,
    /// A piece of an item whose end must come.
    ItemPiece,
    ItemDone,
    /// The last event, with the status that it stands for.
    Last(&'static str),
    Error,
}

impl ResponseParser for Stream {
    fn event(&mut self, event: &sse::Event) -> Result<Progress, Fault> {
        // The vendor sends none; servers with the same API do.
        if event.data.trim_ascii() == "[DONE]" {
            return Ok(Progress::Stopped);
        }
        let happening: Happening<'_> = serde_json::from_str(&event.data)?;
        match happening.kind(&event.name) {
            Some(Kind::ItemAdded) => self.begun.extend(happening.output_index),
            Some(Kind::ItemPiece) => {
                self.begun.extend(happening.output_index);
                self.count(happening.delta);
            }
            Some(Kind::ItemDone) => {
                let next = self
                    .items
                    .last_key_value()
                    .map_or(0, |(last, _)| last.saturating_add(1));
                if let Some(item) = happening.item {
                    self.items.insert(
                        happening.output_index.unwrap_or(next),
                        serde_json::from_str(item.get())?,
                    );
                }
            }
            Some(Kind::Last(status)) => {
                let response: Response = match happening.response {
                    Some(response) => serde_json::from_str(response.get())?,
                    None if self.items.is_empty() => {
                        return Err(Fault::Inconsistent("the last event has no response"));
                    }
                    None => Response::default(),
                };
                if status == "completed" && !response.has_items() && self.has_open_items() {
                    return Err(Fault::Inconsistent("an output item began and did not end"));
                }
                return Ok(self.end_with(response.with_status(status)));
            }
            Some(Kind::Error) => {
                let error: Value = serde_json::from_str(&event.data)?;
                return Ok(self.end_with(Response::failed(
                    error.get("error").cloned().unwrap_or(error),
                )));
            }
            None => {
                if happening.item.is_some() {
                    self.begun.extend(happening.output_index);
                }
                self.count(happening.delta);
            }
        }
        Ok(Progress::More)
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        self.end = Some(serde_json::from_str(body)?);
        Ok(())
    }

    /// Of an answer that broke off, an estimate of what was written.
    fn usage(&self, max_output_tokens: u64) -> Usage {
        let written = || lenient::estimated_tokens(self.delta_bytes, max_output_tokens);
        let estimate = || Usage {
            output_tokens: written(),
            ..Usage::default()
        };
        self.end
            .as_ref()
            .and_then(Response::usage)
            .unwrap_or_else(estimate)
    }

    fn finish(self) -> Result<Answer, Fault> {
        self.end.ok_or(Fault::Truncated)?.into_answer()
    }
}

impl Stream {
    fn count(&mut self, delta: Option<&RawValue>) {
        let bytes = delta.map_or(0, |delta| delta.get().len());
        self.delta_bytes = self.delta_bytes.saturating_add(bytes as u64);
    }

    /// Whether an item began whose end got lost.
    fn has_open_items(&self) -> bool {
        self.begun
            .iter()
            .any(|index| !self.items.contains_key(index))
    }

    fn end_with(&mut self, response: Response) -> Progress {
        self.end =
            Some(response.with_items(std::mem::take(&mut self.items).into_values().collect()));
        Progress::Done
    }
}

impl Happening<'_> {
    /// The type in the data decides; else the name of the event.
    fn kind(&self, name: &str) -> Option<Kind> {
        let named = self.r#type.known().or_else(|| Kind::of(name));
        let has_error = self.error.is_some_and(|error| error.get() != "null");
        named.or_else(|| has_error.then_some(Kind::Error))
    }
}

impl Lookup for Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "response.output_item.added" => Self::ItemAdded,
            "response.output_text.delta" | "response.function_call_arguments.delta" => {
                Self::ItemPiece
            }
            "response.output_item.done" => Self::ItemDone,
            "response.completed" => Self::Last("completed"),
            "response.incomplete" => Self::Last("incomplete"),
            "response.failed" => Self::Last("failed"),
            "error" => Self::Error,
            _ => return None,
        })
    }
}
