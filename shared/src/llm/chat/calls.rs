//! The tool calls of a Chat Completions answer, put together from their deltas.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::{AssistantContent, ToolCall};
use crate::llm::dialect::{Fault, Part};
use crate::llm::lenient;

/// Calls as far as they have arrived.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    bytes: usize,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    /// What the server adds to a call and wants back with it.
    extra: Map<String, Value>,
}

/// A part of a call in one chunk of the stream, or a whole call.
#[derive(Deserialize)]
pub(super) struct CallDelta {
    #[serde(default, deserialize_with = "lenient::count")]
    index: Option<u64>,
    #[serde(default, deserialize_with = "lenient::name")]
    id: Option<String>,
    function: Option<FunctionDelta>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

impl From<FunctionDelta> for CallDelta {
    fn from(function: FunctionDelta) -> Self {
        Self {
            index: None,
            id: None,
            function: Some(function),
            extra: Map::new(),
        }
    }
}

/// More calls than any model makes at once. There is a limit because each new call is compared with
/// all calls before it.
const MAX_CALLS: usize = 1_000;

/// Where a delta belongs.
enum Place {
    /// The call at this place.
    Within(usize),
    /// A new call.
    New,
    /// None: the delta repeats a call.
    Known,
}

impl Calls {
    /// How many bytes of text the calls have.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes in the call deltas of one chunk. Calls beyond [`MAX_CALLS`] are dropped.
    pub(super) fn add(&mut self, deltas: Vec<CallDelta>) -> Result<(), Fault> {
        let known = self.calls.len();
        deltas
            .into_iter()
            .try_for_each(|delta| self.add_delta(delta, known))
    }

    /// Takes in one call delta. Before its chunk, there were `known` calls.
    fn add_delta(&mut self, delta: CallDelta, known: usize) -> Result<(), Fault> {
        let function = delta.function.unwrap_or_default();
        let delta = Call {
            index: delta.index,
            id: delta.id.unwrap_or_default(),
            name: function.name.unwrap_or_default(),
            arguments: written(function.arguments)?,
            extra: delta.extra,
        };
        let place = match self.place(&delta, known) {
            Place::Within(place) => place,
            Place::New if self.calls.len() < MAX_CALLS => {
                self.calls.push(Call {
                    index: delta.index,
                    ..Call::default()
                });
                self.calls.len() - 1
            }
            Place::New | Place::Known => return Ok(()),
        };
        if let Some(call) = self.calls.get_mut(place) {
            self.bytes += call.add(delta);
        }
        Ok(())
    }

    /// Where a delta belongs. Some servers give parallel calls the same index, or none; some tell a
    /// call's name or id only in a later delta, some in every delta.
    fn place(&self, delta: &Call, known: usize) -> Place {
        let Some((place, call)) = self.candidate(delta) else {
            return Place::New;
        };
        let has_same_id = !delta.id.is_empty() && call.id == delta.id;
        let has_another_id = !delta.id.is_empty() && !call.id.is_empty() && call.id != delta.id;
        if delta.name.is_empty() {
            // The name of the next call may follow in a later delta.
            let begins_next =
                has_another_id && delta.index.is_none() && lenient::is_json(&call.arguments);
            return if begins_next {
                Place::New
            } else {
                Place::Within(place)
            };
        }
        let is_elsewhere = delta.index.is_none() || delta.index != call.index;
        if has_another_id || (is_elsewhere && !call.name.is_empty() && call.name != delta.name) {
            return Place::New;
        }
        if has_same_id || call.name.is_empty() {
            return Place::Within(place);
        }
        if call.name != delta.name {
            return Place::New;
        }
        match delta.index {
            Some(_) => Place::Within(place),
            // The candidate began in the same chunk, and no chunk splits a call.
            None if place >= known => Place::New,
            // The call is not complete yet.
            None if !lenient::is_json(&call.arguments) => Place::Within(place),
            None if call.arguments == delta.arguments => Place::Known,
            None => Place::New,
        }
    }

    /// The call that a delta may belong to: the last call with its index. If one of the two has no
    /// index, the last call with its id. If the delta has neither, the last call. The caller checks
    /// more, because some servers give parallel calls the same id.
    fn candidate(&self, delta: &Call) -> Option<(usize, &Call)> {
        let last = |is_it: &dyn Fn(&Call) -> bool| {
            self.calls.iter().enumerate().rfind(|(_, call)| is_it(call))
        };
        let by_id = || last(&|call| !delta.id.is_empty() && call.id == delta.id);
        match delta.index {
            Some(index) => last(&|call| call.index == Some(index))
                .or_else(|| by_id().filter(|(_, call)| call.index.is_none()))
                .or_else(|| {
                    // The first delta of this call had no index.
                    last(&|_| true)
                        .filter(|(_, call)| delta.name.is_empty() && call.index.is_none())
                }),
            None => by_id().or_else(|| last(&|_| true)),
        }
    }

    /// The calls. Fails if one has no name: it would be lost.
    pub(super) fn into_parts(self) -> Result<Vec<Part>, Fault> {
        self.calls
            .into_iter()
            .filter(|call| !call.is_blank())
            .map(Call::into_part)
            .collect()
    }

    /// The calls, except those that were cut: they must neither run nor be sent back.
    pub(super) fn into_whole_parts(mut self) -> Vec<Part> {
        self.calls
            .retain(|call| serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok());
        self.calls
            .into_iter()
            .filter_map(|call| call.into_part().ok())
            .collect()
    }
}

impl Call {
    /// Adds a delta, and returns how much text was added. A known id and name stay.
    fn add(&mut self, delta: Self) -> usize {
        let mut bytes = delta.arguments.len();
        if self.id.is_empty() {
            self.id = delta.id;
        }
        if self.name.is_empty() {
            bytes += delta.name.len();
            self.name = delta.name;
        }
        if self.arguments.is_empty() {
            self.arguments = delta.arguments;
        } else {
            self.arguments.push_str(&delta.arguments);
        }
        self.extra
            .extend(delta.extra.into_iter().filter(|(field, _)| field != "type"));
        bytes
    }

    /// Whether all its fields are empty.
    const fn is_blank(&self) -> bool {
        self.id.is_empty() && self.name.is_empty() && self.arguments.is_empty()
    }

    fn into_part(self) -> Result<Part, Fault> {
        if self.name.is_empty() {
            return Err(Fault::Inconsistent("a tool call has no name"));
        }
        let content = AssistantContent::ToolCall(ToolCall {
            id: self.id,
            name: self.name,
            arguments: self.arguments,
        });
        let block = (!self.extra.is_empty()).then_some(Value::Object(self.extra));
        Ok(Part {
            content,
            original: block,
        })
    }
}

/// Arguments as text; servers send objects too, and an empty list for none.
fn written(arguments: Option<Value>) -> Result<String, Fault> {
    match arguments {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Object(fields)) => Ok(Value::Object(fields).to_string()),
        Some(Value::Array(list)) if list.is_empty() => Ok(String::new()),
        Some(Value::Null) | None => Ok(String::new()),
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_)) => Err(Fault::Inconsistent(
            "the arguments of a tool call are neither text nor an object",
        )),
    }
}
