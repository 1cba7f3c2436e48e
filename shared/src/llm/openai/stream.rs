//! A stream of the Responses API's events.
//!
//! Its last event has the whole answer, and only that event has the usage. Some servers leave the
//! items out of the last event: then the items of the events before count, and each must be done.
//! Unknown events are ignored.

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

/// The fields of an event that the decoder reads. What they hold depends on its type.
#[derive(Deserialize)]
struct EventFields<'a> {
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

/// The types of events that the decoder reads.
#[derive(Clone, Copy)]
enum Kind {
    ItemAdded,
    /// A part of an item; the event of the item's end must follow.
    ItemPart,
    ItemDone,
    /// The last event, with the status that its type means.
    Last(&'static str),
    Error,
}

impl ResponseParser for Stream {
    fn event(&mut self, event: &sse::Event) -> Result<Progress, Fault> {
        // The provider sends none; servers with the same API do.
        if event.data.trim_ascii() == "[DONE]" {
            return Ok(Progress::Stopped);
        }
        let fields: EventFields<'_> = serde_json::from_str(&event.data)?;
        match fields.kind(&event.name) {
            Some(Kind::ItemAdded) => self.begun.extend(fields.output_index),
            Some(Kind::ItemPart) => {
                self.begun.extend(fields.output_index);
                self.count(fields.delta);
            }
            Some(Kind::ItemDone) => {
                let next = self
                    .items
                    .last_key_value()
                    .map_or(0, |(last, _)| last.saturating_add(1));
                if let Some(item) = fields.item {
                    self.items.insert(
                        fields.output_index.unwrap_or(next),
                        serde_json::from_str(item.get())?,
                    );
                }
            }
            Some(Kind::Last(status)) => {
                let response: Response = match fields.response {
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
                if fields.item.is_some() {
                    self.begun.extend(fields.output_index);
                }
                self.count(fields.delta);
            }
        }
        Ok(Progress::More)
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        self.end = Some(serde_json::from_str(body)?);
        Ok(())
    }

    /// The reported usage, or an estimate of the output if the answer broke off.
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

    /// Whether the end of an item is missing.
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

impl EventFields<'_> {
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
                Self::ItemPart
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
