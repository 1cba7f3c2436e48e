//! A recorded conversation in a form that every provider accepts.
//!
//! Providers refuse a request whose conversation breaks one of their rules, and would refuse every
//! further attempt. So this makes sure, for all dialects:
//!
//! - Blank texts are left out ("text content blocks must contain non-whitespace text",
//!   <https://github.com/anthropics/claude-code/issues/23369>), and turns that have nothing else.
//! - Each call has exactly one result, in the turn after it, and each result a call ("`tool_use`
//!   ids were found without `tool_result` blocks immediately after", "messages with role 'tool'
//!   must be a response to a preceding message").
//! - Each result has a text ("content cannot be empty if `is_error` is true",
//!   <https://github.com/bytedance/trae-agent/issues/230>; without an error:
//!   <https://github.com/anomalyco/opencode/issues/15371>).
//! - The ids of calls are unique ("`tool_use` ids must be unique"): some servers count from 0 in
//!   each turn.
//! - The first and the last turn are not the model's.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelRef, Original, Provider, ToolCall, ToolResult,
    UserPart,
};

/// The text of a result whose tool returned no text.
const NO_OUTPUT: &str = "(no output)";
const NO_REASON: &str = "The tool failed without a message.";

/// The result of a call that has none.
const NOT_RUN: &str = "not run: no result was recorded";

/// The longest name of a tool that providers accept.
const MAX_NAME_BYTES: usize = 64;

/// A user's turn where providers require one: before the model's first turn, and after its last.
static GO_ON: LazyLock<UserPart> = LazyLock::new(|| UserPart::Text("Continue.".to_owned()));

/// A turn that can be sent. It has at least one part.
pub(super) enum Turn<'a> {
    User(Vec<&'a UserPart>),
    Assistant(Vec<Said<'a>>),
    /// The results of all calls of the turn before, in their order.
    Results(Vec<CallResult<'a>>),
}

/// A part of what a model said.
pub(super) struct Said<'a> {
    pub(super) part: &'a AssistantPart,
    /// The id to send instead of the call's own, because another call has that id.
    new_id: Option<String>,
}

/// The result of a call.
pub(super) struct CallResult<'a> {
    pub(super) call_id: Cow<'a, str>,
    pub(super) text: &'a str,
    pub(super) is_error: bool,
}

/// Among which calls an id must be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UniqueIn {
    /// Those of the same turn.
    Turn,
    /// All calls.
    Conversation,
}

/// The turns of a conversation, for this model.
pub(super) fn turns<'a>(
    messages: &'a [Message],
    model: &ModelRef,
    unique_in: UniqueIn,
) -> Vec<Turn<'a>> {
    let (mut turns, mut ids) = (Vec::new(), HashSet::new());
    let mut messages = messages.iter().peekable();
    while let Some(message) = messages.next() {
        match message {
            Message::User(parts) => turns.push(Turn::User(
                parts.iter().filter(|part| says_something(part)).collect(),
            )),
            Message::Assistant(parts) => {
                if unique_in == UniqueIn::Turn {
                    ids.clear();
                }
                let said: Vec<_> = parts
                    .iter()
                    .filter(|part| is_sent(part, model))
                    .map(|part| said(part, &mut ids))
                    .collect();
                let mut results = Vec::new();
                while let Some(Message::ToolResults(more)) =
                    messages.next_if(|message| matches!(message, Message::ToolResults(_)))
                {
                    results.extend(more.iter().map(Some));
                }
                let answers = said
                    .iter()
                    .filter_map(|said| answer(said, &mut results))
                    .collect();
                turns.extend([Turn::Assistant(said), Turn::Results(answers)]);
            }
            // Results without a call are left out.
            Message::ToolResults(_) => {}
        }
    }
    turns.retain(|turn| match turn {
        Turn::User(parts) => !parts.is_empty(),
        Turn::Assistant(parts) => !parts.is_empty(),
        Turn::Results(results) => !results.is_empty(),
    });
    if !matches!(turns.first(), Some(Turn::User(_))) {
        turns.insert(0, Turn::User(vec![&GO_ON]));
    }
    if matches!(turns.last(), Some(Turn::Assistant(_))) {
        turns.push(Turn::User(vec![&GO_ON]));
    }
    turns
}

fn says_something(part: &UserPart) -> bool {
    match part {
        UserPart::Text(text) => !text.trim().is_empty(),
        UserPart::ImageUrl(_) | UserPart::Image { .. } => true,
    }
}

/// Whether a part of a model's turn is sent. `OpenAI` requires each item that follows its
/// reasoning, even a blank one.
fn is_sent(part: &AssistantPart, model: &ModelRef) -> bool {
    match &part.content {
        AssistantContent::Text(text) => {
            let is_own = part
                .original
                .as_ref()
                .is_some_and(|original| original.model == *model);
            !text.trim().is_empty() || (is_own && model.provider() == Provider::OpenAi)
        }
        AssistantContent::ToolCall(_)
        | AssistantContent::Reasoning(_)
        | AssistantContent::Opaque => true,
    }
}

fn said<'a>(part: &'a AssistantPart, ids: &mut HashSet<String>) -> Said<'a> {
    let AssistantContent::ToolCall(call) = &part.content else {
        return Said { part, new_id: None };
    };
    let wanted = if call.id.is_empty() { "call" } else { &call.id };
    let numbered = (2_u32..).map(|number| format!("{wanted}_{number}"));
    let mut free = std::iter::once(wanted.to_owned())
        .chain(numbered)
        .skip_while(|id| ids.contains(id));
    let id = free.next().unwrap_or_default();
    ids.insert(id.clone());
    Said {
        part,
        new_id: (id != call.id).then_some(id),
    }
}

/// The result of the call, if the part is a call: the first result with its id that no other call
/// has. Without one, the result says so.
fn answer<'a>(said: &Said<'a>, results: &mut [Option<&'a ToolResult>]) -> Option<CallResult<'a>> {
    let call = said.call()?;
    let is_of =
        |result: &&mut Option<&ToolResult>| result.is_some_and(|result| result.call_id == call.id);
    let result = results.iter_mut().find(is_of).and_then(Option::take);
    let (text, is_error) = match result {
        None => (NOT_RUN, true),
        Some(result) if !result.text.trim().is_empty() => (result.text.as_str(), result.is_error),
        Some(result) => (
            if result.is_error {
                NO_REASON
            } else {
                NO_OUTPUT
            },
            result.is_error,
        ),
    };
    Some(CallResult {
        call_id: said.id(call),
        text,
        is_error,
    })
}

impl<'a> Said<'a> {
    /// The call, if the part is one.
    fn call(&self) -> Option<&'a ToolCall> {
        match &self.part.content {
            AssistantContent::ToolCall(call) => Some(call),
            AssistantContent::Text(_)
            | AssistantContent::Reasoning(_)
            | AssistantContent::Opaque => None,
        }
    }

    /// The id of a call, as it is sent.
    pub(super) fn id(&self, call: &'a ToolCall) -> Cow<'a, str> {
        self.new_id
            .clone()
            .map_or_else(|| Cow::Borrowed(call.id.as_str()), Cow::Owned)
    }

    /// The provider's own block. A call gets its new id, if it has one, in the field `id_field`,
    /// and a name that the provider accepts, because models write other names too.
    pub(super) fn block(&self, original: &'a Original, id_field: &str) -> Cow<'a, Value> {
        let new_name = self
            .call()
            .and_then(|call| Some(tool_name(&call.name)).filter(|name| **name != *call.name));
        if self.new_id.is_none() && new_name.is_none() {
            return Cow::Borrowed(&original.block);
        }
        let mut block = original.block.clone();
        if let Some(fields) = block.as_object_mut() {
            if let Some(name) = new_name {
                fields.insert("name".to_owned(), name.as_ref().into());
            }
            if let Some(id) = &self.new_id {
                fields.insert(id_field.to_owned(), id.as_str().into());
                if id_field != "id" {
                    fields.shift_remove("id");
                }
            }
        }
        Cow::Owned(block)
    }
}

/// The name of a tool in a form that providers accept: 1 to 64 of `A-Z a-z 0-9 _ -`. Models write
/// other names too. Such a call was refused, so its name only has to be readable.
pub(super) fn tool_name(name: &str) -> Cow<'_, str> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(allowed) {
        return name.into();
    }
    let plain = name
        .chars()
        .take(MAX_NAME_BYTES)
        .map(|letter| if allowed(letter) { letter } else { '_' });
    let plain: String = plain.collect();
    if plain.is_empty() {
        "unnamed".into()
    } else {
        plain.into()
    }
}
