//! A stream of the Responses API's events.
//!
//! Its last event has the whole answer, and only that one says what the answer used. Items count when they are done: what
//! has arrived of an unfinished one is of no use to anyone. Servers that leave the items out of the last event, and any
//! event that is new, are put up with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Response;
use crate::domain::Usage;
use crate::llm::dialect::{Answer, Fault, Progress, Reading};
use crate::llm::sse;

/// The bytes of text that one token stands for on average.
const BYTES_PER_TOKEN: u64 = 4;

/// An answer as far as its stream has arrived.
#[derive(Default)]
pub(in crate::llm) struct Stream {
    items: BTreeMap<u64, Value>,
    delta_bytes: u64,
    end: Option<Response>,
}

/// The parts of an event that matter; what they hold depends on its type.
#[derive(Deserialize)]
struct Happening<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    output_index: Option<u64>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

impl Reading for Stream {
    fn event(&mut self, event: &sse::Event) -> Result<Progress, Fault> {
        // The vendor sends none; servers with the same API do.
        if event.data == "[DONE]" {
            return Ok(Progress::Done);
        }
        let happening: Happening<'_> = serde_json::from_str(&event.data)?;
        match happening.r#type.as_deref().unwrap_or(&event.name) {
            "response.output_item.done" => {
                let next = self.items.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
                if let Some(item) = happening.item {
                    self.items.insert(happening.output_index.unwrap_or(next), serde_json::from_str(item.get())?);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let Some(response) = happening.response else {
                    return Err(Fault::Senseless("the last event has no response"));
                };
                return Ok(self.end_with(serde_json::from_str(response.get())?));
            }
            "error" => {
                let error: Value = serde_json::from_str(&event.data)?;
                return Ok(self.end_with(Response::failed(error.get("error").cloned().unwrap_or(error))));
            }
            _ => {
                let bytes = happening.delta.map_or(0, |delta| delta.get().len());
                self.delta_bytes = self.delta_bytes.saturating_add(bytes as u64);
            }
        }
        Ok(Progress::More)
    }

    fn whole(&mut self, body: &[u8]) -> Result<(), Fault> {
        self.end = Some(serde_json::from_slice(body)?);
        Ok(())
    }

    /// Of an answer that broke off, an estimate of what was written.
    fn usage(&self) -> Usage {
        let written = || Usage { output_tokens: self.delta_bytes.div_ceil(BYTES_PER_TOKEN), ..Usage::default() };
        self.end.as_ref().and_then(Response::usage).unwrap_or_else(written)
    }

    fn finish(self) -> Result<Answer, Fault> {
        self.end.ok_or(Fault::Unfinished)?.into_answer()
    }
}

impl Stream {
    fn end_with(&mut self, response: Response) -> Progress {
        self.end = Some(response.with_items(std::mem::take(&mut self.items).into_values().collect()));
        Progress::Done
    }
}
