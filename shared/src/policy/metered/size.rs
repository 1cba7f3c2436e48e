//! An upper bound on the input tokens of a prompt, without a tokenizer.
//!
//! The providers' tokenizers work on bytes, and each token stands for at least one byte. So a text
//! has at most as many tokens as bytes. This counts the bytes of the prompt's JSON, which has every
//! text, schema, tool definition and provider's own block. Its names, quotes and escapes are more
//! than what the providers put around each of them. For English text, the bound is about four times
//! the real number.

use std::io;

use crate::domain::{Message, Prompt, UserPart};

/// The tokens that a provider adds to every request: its instructions on tools and on the form of
/// the answer have some hundred tokens each.
const REQUEST_OVERHEAD: u64 = 2_048;

/// The tokens that mark the beginning and the end of a message or a tool.
const ENTRY_OVERHEAD: u64 = 32;

/// The tokens of an image of any size. Providers scale images; the documented maximum is 10,000
/// tokens.
const IMAGE: u64 = 16_384;

/// The most input tokens that the prompt can have.
pub(super) fn token_bound(prompt: &Prompt) -> u64 {
    let entries = count(prompt.messages.len() + prompt.tools.len()).saturating_mul(ENTRY_OVERHEAD);
    let (image_tokens, image_bytes) = prompt.messages.iter().flat_map(user_parts).fold(
        (0_u64, 0_u64),
        |(tokens, bytes), part| match part {
            UserPart::Text(_) => (tokens, bytes),
            UserPart::ImageUrl(_) => (tokens.saturating_add(IMAGE), bytes),
            UserPart::Image { base64, .. } => (
                tokens.saturating_add(IMAGE),
                bytes.saturating_add(count(base64.len())),
            ),
        },
    );
    let text = json_bytes(prompt).saturating_sub(image_bytes);
    text.saturating_add(image_tokens)
        .saturating_add(entries)
        .saturating_add(REQUEST_OVERHEAD)
}

fn user_parts(message: &Message) -> &[UserPart] {
    match message {
        Message::User(parts) => parts,
        Message::Assistant(_) | Message::ToolResults(_) => &[],
    }
}

fn json_bytes(prompt: &Prompt) -> u64 {
    let mut counted = Counter(0);
    match serde_json::to_writer(&mut counted, prompt) {
        Ok(()) => counted.0,
        // The JSON of plain data can't fail. If it did, the prompt would count as too large.
        Err(_) => u64::MAX,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Counts what is written to it.
struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(count(bytes.len()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        AssistantContent, AssistantPart, JsonSchema, Original, OutputSchema, ToolCall,
        ToolDefinition, ToolName, ToolResult,
    };
    use crate::testing::samples;

    const LONG: usize = 10_000;

    fn long() -> String {
        "x".repeat(LONG)
    }

    fn schema() -> JsonSchema {
        serde_json::from_value(serde_json::json!({ "description": long() })).unwrap()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn every_text_of_a_prompt_counts_with_each_of_its_bytes() {
        let base = samples::prompt("");
        let name = ToolName::new("search".to_owned()).unwrap();
        let said = |content| {
            vec![Message::Assistant(vec![AssistantPart {
                content,
                original: None,
            }])]
        };
        let call = ToolCall {
            id: "1".to_owned(),
            name: long(),
            arguments: String::new(),
        };
        let arguments = ToolCall {
            id: "1".to_owned(),
            name: String::new(),
            arguments: long(),
        };
        let original = Original {
            model: samples::model(),
            block: serde_json::json!({ "signature": long() }),
        };
        let opaque = AssistantPart {
            content: AssistantContent::Opaque,
            original: Some(original),
        };
        let tool = ToolDefinition {
            name: name.clone(),
            description: String::new(),
            input_schema: schema(),
        };
        let result = ToolResult {
            call_id: "1".to_owned(),
            text: long(),
            is_error: false,
        };
        let grown = [
            Prompt {
                instructions: long(),
                ..base.clone()
            },
            Prompt {
                messages: vec![Message::user(long())],
                ..base.clone()
            },
            Prompt {
                messages: said(AssistantContent::Text(long())),
                ..base.clone()
            },
            Prompt {
                messages: said(AssistantContent::Reasoning(long())),
                ..base.clone()
            },
            Prompt {
                messages: said(AssistantContent::ToolCall(call)),
                ..base.clone()
            },
            Prompt {
                messages: said(AssistantContent::ToolCall(arguments)),
                ..base.clone()
            },
            Prompt {
                messages: vec![Message::Assistant(vec![opaque])],
                ..base.clone()
            },
            Prompt {
                messages: vec![Message::ToolResults(vec![result])],
                ..base.clone()
            },
            Prompt {
                tools: vec![tool],
                ..base.clone()
            },
            Prompt {
                output_schema: Some(OutputSchema {
                    name,
                    schema: schema(),
                }),
                ..base.clone()
            },
        ];
        for prompt in grown {
            let bound = token_bound(&prompt);
            assert!(
                bound >= LONG as u64 && bound < LONG as u64 + 3_000,
                "{bound}"
            );
        }
        let crabs = Prompt {
            instructions: "🦀".repeat(LONG),
            ..base
        };
        assert!(token_bound(&crabs) >= 4 * LONG as u64);
    }

    #[test]
    fn an_image_counts_the_same_whatever_its_bytes() {
        let with = |part| {
            token_bound(&Prompt {
                messages: vec![Message::User(vec![part])],
                ..samples::prompt("")
            })
        };
        let image = |base64| UserPart::Image {
            media_type: "image/png".to_owned(),
            base64,
        };
        let (small, large) = (
            with(image(String::new())),
            with(image("A".repeat(1_000_000))),
        );
        assert_eq!(small, large);
        assert!(
            small >= IMAGE
                && with(UserPart::ImageUrl("https://example.com/a.png".to_owned())) >= IMAGE
        );
    }
}
