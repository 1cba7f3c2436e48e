//! What of a provider's error is fit for the task's record and for logs: its names, the part of the
//! request that it refuses, and its message where that can't quote the prompt.
//!
//! Providers quote what they refuse, be it a prompt or a key. So nothing is passed on as it came. A
//! place in the request keeps only numbers and known words. A message about the conversation itself
//! is left out. Of any other, each word is left out that is neither in the vocabulary nor a name in
//! the agent's own tools, schemas and model, and so is each quotation of more than a word.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ErrorBody, vocabulary};
use crate::domain::{ModelRef, Prompt, ProviderError};
use crate::ports::ModelErrorKind;

/// The longest place in a request that is recorded.
const MAX_PARAM_BYTES: usize = 256;

/// The longest message that is recorded, and how much of a message is read.
const MAX_MESSAGE_BYTES: usize = 300;
const MAX_SEEN_BYTES: usize = 600;

/// The most digits of a number that is recorded: numbers of tokens have fewer, numbers of cards and
/// accounts have more.
const MAX_DIGITS: usize = 7;

/// Stands where words are left out.
const GAP: &str = "…";

/// The text for a web page. Its owner is unknown, so the text must not call it the provider's.
const PAGE: &str =
    "the response is a web page, not one of an API: a proxy's, a firewall's, or of a wrong address";

/// The parts of a request that have the conversation in them.
const CONVERSATION: [&str; 8] = [
    "messages",
    "input",
    "inputs",
    "system",
    "system_instruction",
    "instructions",
    "prompt",
    "contents",
];

/// The other parts of a request that an error may be about.
const SETTINGS: [&str; 24] = [
    "tools",
    "functions",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "text",
    "output_config",
    "output_format",
    "model",
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "input_tokens",
    "temperature",
    "top_p",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "generation_config",
    "stream",
    "stream_options",
    "store",
    "include",
];

/// What the request says that an error is about.
pub(in crate::llm) struct Request<'a> {
    pub(in crate::llm) model: &'a ModelRef,
    /// Missing where only an answer is known.
    pub(in crate::llm) prompt: Option<&'a Prompt>,
}

impl ErrorBody {
    /// What of it is fit for records and logs; `None` if nothing is.
    pub(in crate::llm) fn detail(
        &self,
        kind: &ModelErrorKind,
        request: &Request<'_>,
    ) -> Option<ProviderError> {
        let own = own_words(request);
        let place = self.places().find_map(|place| Place::new(place, &own));
        let tool = place
            .as_ref()
            .and_then(|place| place.tool(request))
            .or_else(|| self.quoted_tool(kind, request));
        let is_shown = has_message(kind) && !place.as_ref().is_some_and(Place::is_in_conversation);
        let message = if self.is_page {
            Some(PAGE.to_owned())
        } else {
            self.texts
                .last()
                .filter(|_| is_shown)
                .and_then(|text| clean(text, &own))
        };
        let param = place.map(|place| place.text);
        let detail = ProviderError {
            code: self.code(),
            param,
            tool,
            message,
        };
        (detail != ProviderError::default()).then_some(detail)
    }

    /// The places in the request that it names: in a field, before its message's first colon, or
    /// quoted after "at".
    fn places(&self) -> impl Iterator<Item = &str> {
        let before_colon = self
            .texts
            .iter()
            .filter_map(|text| text.split_once(": "))
            .map(|(place, _)| place);
        let quoted = self
            .texts
            .iter()
            .filter_map(|text| text.split_once(" at '")?.1.split_once('\''))
            .map(|(place, _)| place);
        let in_field = self.param.iter().map(String::as_str);
        in_field.chain(before_colon).chain(quoted)
    }

    /// The agent's tool that it names in quotation marks.
    fn quoted_tool(&self, kind: &ModelErrorKind, request: &Request<'_>) -> Option<String> {
        let refused = *kind == ModelErrorKind::Rejected;
        let texts = || {
            self.texts
                .iter()
                .filter(|text| text.contains("function") || text.contains("tool"))
        };
        let is_quoted = |name: &str| {
            texts().any(|text| {
                ['\'', '"', '`']
                    .iter()
                    .any(|mark| text.contains(&format!("{mark}{name}{mark}")))
            })
        };
        let mut names = request
            .prompt
            .filter(|_| refused)?
            .tools
            .iter()
            .map(|tool| tool.name.as_str());
        names.find(|name| is_quoted(name)).map(str::to_owned)
    }
}

/// Whether the message of such an error says more than its names: of the others, it is about the
/// conversation, the key or the provider.
const fn has_message(kind: &ModelErrorKind) -> bool {
    matches!(
        kind,
        ModelErrorKind::Rejected
            | ModelErrorKind::ContextTooLong
            | ModelErrorKind::RateLimited
            | ModelErrorKind::QuotaExhausted
    )
}

/// A place in a request.
struct Place {
    text: String,
    /// Its parts, outermost first.
    parts: Vec<String>,
}

impl Place {
    /// The place that a text names, if it names one.
    fn new(text: &str, own: &BTreeSet<&str>) -> Option<Self> {
        let parts: Vec<&str> = text
            .split(|letter: char| !is_of_word(letter))
            .filter(|part| !part.is_empty())
            .collect();
        // Some servers begin with what they call the request.
        let outer = parts
            .iter()
            .take_while(|part| matches!(**part, "body" | "request"))
            .count();
        let parts = parts.get(outer..)?;
        let is_known = |root: &&str| CONVERSATION.contains(root) || SETTINGS.contains(root);
        let root = parts.first().filter(|root| is_known(root))?;
        let path = text.get(text.find(root)?..)?;
        let is_path = path
            .split(", ")
            .all(|path| !path.contains(char::is_whitespace));
        let kept = keep_known(path.get(..path.floor_char_boundary(MAX_PARAM_BYTES))?, own).text;
        is_path.then(|| Self {
            text: kept,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        })
    }

    fn is_in_conversation(&self) -> bool {
        self.parts
            .first()
            .is_some_and(|root| CONVERSATION.contains(&root.as_str()))
    }

    /// The agent's tool that it is in.
    fn tool(&self, request: &Request<'_>) -> Option<String> {
        let lists = [
            "function_declarations",
            "functionDeclarations",
            "tools",
            "functions",
        ];
        let after = |list: &str| {
            self.parts
                .iter()
                .position(|part| part == list)
                .and_then(|at| self.parts.get(at + 1))
        };
        let index: usize = lists.iter().find_map(|list| after(list)?.parse().ok())?;
        Some(request.prompt?.tools.get(index)?.name.as_str().to_owned())
    }
}

/// A text without what is unknown.
struct Filtered {
    text: String,
    known: usize,
    unknown: usize,
}

/// A message without what could be of a prompt or a key; `None` if little is left.
fn clean(message: &str, own: &BTreeSet<&str>) -> Option<String> {
    let seen = message.get(..message.floor_char_boundary(MAX_SEEN_BYTES))?;
    let Filtered {
        text,
        known,
        unknown,
    } = keep_known(&without_quotations(seen), own);
    let text = text.trim();
    let cut = text.get(..text.floor_char_boundary(MAX_MESSAGE_BYTES))?;
    (known >= 3 && known >= 2 * unknown).then(|| cut.to_owned())
}

/// The text without quotations of more than a word, and without addresses.
fn without_quotations(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['"', '`', '\'', '“', '«', '<', '{']) {
        let (before, quotation) = rest.split_at(at);
        kept.push_str(before);
        let mark = quotation.chars().next().unwrap_or_default();
        let inside = quotation.get(mark.len_utf8()..).unwrap_or_default();
        let is_apostrophe =
            mark == '\'' && before.ends_with(|letter: char| letter.is_alphanumeric());
        let end = match mark {
            '“' => '”',
            '«' => '»',
            '<' => '>',
            '{' => '}',
            same => same,
        };
        rest = match inside.split_once(end) {
            _ if is_apostrophe || inside.starts_with(['=', ' ']) => {
                kept.push(mark);
                inside
            }
            Some((word, after)) if !word.contains(char::is_whitespace) => {
                kept.extend([&mark.to_string(), word, &end.to_string()]);
                after
            }
            Some((_, after)) => {
                kept.push_str(GAP);
                after
            }
            None => {
                kept.push_str(GAP);
                ""
            }
        };
    }
    kept.push_str(rest);
    let is_address = |word: &&str| !word.contains("://");
    kept.split_whitespace()
        .filter(is_address)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The text with only the words in it that are known, and ASCII punctuation.
fn keep_known(text: &str, own: &BTreeSet<&str>) -> Filtered {
    let mut kept = Filtered {
        text: String::new(),
        known: 0,
        unknown: 0,
    };
    let mut rest = text;
    // What came before the word: numbers in a row, and quoted ones, may be anybody's.
    let (mut mark_before, mut was_number) = (' ', false);
    while let Some(letter) = rest.chars().next() {
        let end = rest
            .find(|other| is_of_word(other) != is_of_word(letter))
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        if !is_of_word(letter) {
            mark_before = run.chars().last().unwrap_or(' ');
            was_number &= run.chars().all(|mark| !mark.is_whitespace());
            kept.text.extend(
                run.chars()
                    .filter(|mark| mark.is_ascii_graphic() || *mark == ' ' || GAP.contains(*mark)),
            );
        } else if is_alone(run, mark_before, was_number, after)
            || own.contains(run)
            || vocabulary::has(run)
        {
            kept.known += 1;
            kept.text.push_str(run);
        } else {
            kept.unknown += 1;
            kept.text.push_str(GAP);
        }
        was_number = is_of_word(letter) && run.bytes().any(|byte| byte.is_ascii_digit())
            || was_number && !is_of_word(letter);
    }
    kept
}

/// Whether a word is a number by itself: neither quoted nor a part of a longer one, such as a
/// card's or a telephone's.
fn is_alone(word: &str, mark_before: char, was_number: bool, after: &str) -> bool {
    const QUOTES: [char; 3] = ['"', '\'', '`'];
    let mut marks = after.chars();
    let is_joined = match marks.next() {
        Some(mark) if QUOTES.contains(&mark) => true,
        Some('.') if has_unit(after.get(1..).unwrap_or_default()) => false,
        Some('-' | '.' | '/' | ':' | '_' | '+') => {
            marks.next().is_some_and(|next| next.is_ascii_digit())
        }
        Some(_) | None => false,
    };
    let is_fraction = mark_before == '.' && has_unit(word);
    is_number(word) && (!was_number || is_fraction) && !is_joined && !QUOTES.contains(&mark_before)
}

/// Whether a text begins with digits and a unit of time.
fn has_unit(text: &str) -> bool {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    (1..=3).contains(&end)
        && text
            .get(end..)
            .is_some_and(|rest| rest.starts_with(['h', 'm', 's']))
}

/// Whether a word is a number, or one with a unit of time.
fn is_number(word: &str) -> bool {
    let word = word.trim_end_matches(['h', 'm', 's']);
    (1..=MAX_DIGITS).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words in the names of the agent's own: of its tools, of the properties in its schemas, and
/// of the model.
fn own_words<'a>(request: &Request<'a>) -> BTreeSet<&'a str> {
    let mut own = BTreeSet::from([request.model.name()]);
    if let Some(prompt) = request.prompt {
        for tool in &prompt.tools {
            own.insert(tool.name.as_str());
            add_keys(tool.input_schema.as_value(), &mut own);
        }
        if let Some(schema) = &prompt.output_schema {
            add_keys(schema.schema.as_value(), &mut own);
        }
    }
    own.into_iter()
        .flat_map(|name| name.split(|letter| !is_of_word(letter)))
        .filter(|word| !word.is_empty())
        .collect()
}

fn add_keys<'a>(schema: &'a Value, keys: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            keys.insert(key);
            add_keys(value, keys);
        }),
        Value::Array(entries) => entries.iter().for_each(|entry| add_keys(entry, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
