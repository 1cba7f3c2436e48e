//! A model's reasoning in the Chat Completions API, which does not define it. Servers add fields.
//!
//! It is a field of the message: `reasoning` (vLLM, Ollama, `OpenRouter`), `reasoning_content`
//! (`DeepSeek`, older vLLM), or both with the same text. Gateways add `reasoning_details`, which
//! hold signatures. The fields are stored unchanged, and sent back with the message.

use serde_json::{Map, Value};

use crate::domain::AssistantContent;
use crate::llm::dialect::Part;

/// The fields of a detail whose deltas are one text.
const TEXTS: [&str; 4] = ["text", "summary", "data", "signature"];

/// Reasoning as far as it has arrived.
#[derive(Default)]
pub(super) struct Thoughts {
    texts: Map<String, Value>,
    details: Vec<Map<String, Value>>,
}

impl Thoughts {
    /// How many bytes the reasoning's text has.
    pub(super) fn len(&self) -> usize {
        self.text().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.details.is_empty()
    }

    /// Adds to the text of a field.
    pub(super) fn add(&mut self, field: &str, more: Option<&Value>) {
        if let Some(Value::String(more)) = more.filter(|more| **more != "") {
            append(&mut self.texts, field, more);
        }
    }

    /// Adds details. A detail that continues the last one has the same index and type.
    pub(super) fn add_details(&mut self, details: Vec<Map<String, Value>>) {
        for detail in details {
            let continues = |last: &&mut Map<String, Value>| {
                detail.contains_key("index")
                    && ["index", "type"]
                        .iter()
                        .all(|key| last.get(*key) == detail.get(*key))
            };
            match self.details.last_mut().filter(continues) {
                Some(last) => merge(last, detail),
                None => self.details.push(detail),
            }
        }
    }

    fn text(&self) -> &str {
        self.texts
            .values()
            .find_map(Value::as_str)
            .unwrap_or_default()
    }

    /// The reasoning as one part, if there is any.
    pub(super) fn into_part(self) -> Option<Part> {
        let content = AssistantContent::Reasoning(self.text().to_owned());
        let mut fields = self.texts;
        if !self.details.is_empty() {
            fields.insert(
                "reasoning_details".to_owned(),
                self.details.into_iter().map(Value::Object).collect(),
            );
        }
        (!fields.is_empty()).then_some(Part {
            content,
            original: Some(Value::Object(fields)),
        })
    }
}

fn merge(last: &mut Map<String, Value>, detail: Map<String, Value>) {
    for (key, value) in detail {
        match value {
            Value::Null => {}
            Value::String(more) if TEXTS.contains(&key.as_str()) => append(last, &key, &more),
            value => {
                last.insert(key, value);
            }
        }
    }
}

fn append(fields: &mut Map<String, Value>, field: &str, more: &str) {
    match fields.get_mut(field) {
        Some(Value::String(text)) => text.push_str(more),
        _ => {
            fields.insert(field.to_owned(), more.into());
        }
    }
}
