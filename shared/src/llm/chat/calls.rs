//! The tool calls of a Chat Completions answer, put together from their pieces.

use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::{AssistantContent, ToolCall};
use crate::llm::dialect::Part;

/// Calls as far as they have arrived.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    /// What the server adds to a call and wants back with it.
    extra: Map<String, Value>,
}

/// A piece of a call, or a whole one.
#[derive(Deserialize)]
pub(super) struct CallDelta {
    index: Option<u64>,
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
        Self { index: None, id: None, function: Some(function), extra: Map::new() }
    }
}

/// More calls than any model makes at once: each costs a look at all before it.
const MAX_CALLS: usize = 1_000;

impl Calls {
    /// How much text there is of them.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|call| call.name.len() + call.arguments.len()).sum()
    }

    /// Takes in a part of a call; what would make more than [`MAX_CALLS`] of them is dropped.
    pub(super) fn add(&mut self, delta: CallDelta) {
        let function = delta.function.unwrap_or_default();
        let (id, name) = (delta.id.unwrap_or_default(), function.name.unwrap_or_default());
        let place = self.0.iter().rposition(|call| delta.index.is_none() || call.index == delta.index);
        // Some servers give parallel calls the same index, or none; some tell a call's name or id only in a later piece.
        let has_another_id = |call: &Call| !id.is_empty() && !call.id.is_empty() && call.id != id;
        let is_told = |call: &Call| delta.index.is_some() || call.id == id || call.name.is_empty();
        let continues = |call: &Call| name.is_empty() || !has_another_id(call) && is_told(call);
        let full = self.0.len() >= MAX_CALLS;
        let call = match place.and_then(|place| self.0.get_mut(place)) {
            Some(call) if continues(call) => {
                call.fill(id, name);
                call
            }
            Some(_) | None if full => return,
            Some(_) | None => self.0.push_mut(Call { index: delta.index, id, name, ..Call::default() }),
        };
        match function.arguments {
            Some(Value::String(more)) => call.arguments.push_str(&more),
            Some(Value::Null) | None => {}
            Some(whole) => call.arguments = whole.to_string(),
        }
        call.extra.extend(delta.extra.into_iter().filter(|(field, _)| field != "type"));
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        self.0.into_iter().filter_map(Call::into_part).collect()
    }

    /// Without calls that were cut: they must neither run nor be sent back.
    pub(super) fn into_whole_parts(mut self) -> Vec<Part> {
        self.0.retain(|call| serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok());
        self.into_parts()
    }
}

impl Call {
    /// Takes an id and a name that come in a later piece than the first; what is known stays.
    fn fill(&mut self, id: String, name: String) {
        for (known, told) in [(&mut self.id, id), (&mut self.name, name)] {
            if known.is_empty() {
                *known = told;
            }
        }
    }

    /// The call, with an id of ours if the server gave none. Without a name it is none.
    fn into_part(self) -> Option<Part> {
        if self.name.is_empty() {
            return None;
        }
        let id = if self.id.is_empty() { format!("call_{}", Uuid::now_v7().simple()) } else { self.id };
        let arguments = if self.arguments.is_empty() { "{}".to_owned() } else { self.arguments };
        let content = AssistantContent::ToolCall(ToolCall { id, name: self.name, arguments });
        let block = (!self.extra.is_empty()).then_some(Value::Object(self.extra));
        Some(Part { content, original: block })
    }
}
