//! Why a model stopped: the reasons that providers and servers name.
//!
//! A gateway passes on the reason of the model behind it. So any server may name any of these
//! reasons, in upper or lower case.

use crate::domain::StopReason;

/// What a server's reason to stop means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The answer is complete.
    Whole(StopReason),
    /// The answer is cut.
    Cut(StopReason),
    /// The server aborted the answer.
    Aborted,
    /// The server could not parse what the model wrote.
    Malformed,
    /// This version doesn't know the reason.
    Unknown,
}

/// What the reason means. The caller has removed texts that are no reason with [`reason`].
pub(super) fn ending(reason: &str) -> Ending {
    match reason.to_ascii_lowercase().as_str() {
        // OpenAI, Anthropic, Cohere; TGI, Together and vLLM.
        "stop" | "end_turn" | "stop_sequence" | "complete" | "completed" | "eos" | "eos_token" => {
            Ending::Whole(StopReason::EndTurn)
        }
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => {
            Ending::Whole(StopReason::ToolUse)
        }
        "pause_turn" => Ending::Whole(StopReason::Paused),
        // OpenAI's two APIs, Anthropic and Gemini.
        "length" | "max_output_tokens" | "max_tokens" => Ending::Cut(StopReason::MaxTokens),
        // Mistral, Anthropic and Z.ai, Cohere.
        "model_length"
        | "model_context_window_exceeded"
        | "context_length_exceeded"
        | "error_limit" => Ending::Cut(StopReason::ContextWindow),
        // OpenAI, Anthropic; Gemini; Zhipu; Bedrock; Cohere.
        "content_filter"
        | "refusal"
        | "safety"
        | "recitation"
        | "blocklist"
        | "prohibited_content"
        | "spii"
        | "image_safety"
        | "sensitive"
        | "content_filtered"
        | "guardrail_intervened"
        | "error_toxic" => Ending::Cut(StopReason::Refusal),
        // OpenRouter, Mistral, Cohere; DeepSeek; vLLM and SGLang; Zhipu.
        "error"
        | "insufficient_system_resource"
        | "abort"
        | "aborted"
        | "cancelled"
        | "canceled"
        | "user_cancel"
        | "failed"
        | "timeout"
        | "network_error"
        | "server_error"
        | "unavailable"
        | "overloaded" => Ending::Aborted,
        // Gemini; Bedrock.
        "malformed_function_call"
        | "unexpected_tool_call"
        | "malformed_tool_use"
        | "malformed_model_output" => Ending::Malformed,
        _ => Ending::Unknown,
    }
}

/// The reason, if the text is a reason: until there is one, some servers send an empty text or
/// `"null"`.
pub(super) fn reason(text: Option<String>) -> Option<String> {
    text.filter(|text| {
        !["", "null", "none"]
            .iter()
            .any(|none| text.trim().eq_ignore_ascii_case(none))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_a_reason_does_not_matter() {
        for reason in ["MAX_TOKENS", "max_tokens", "Length"] {
            assert_eq!(
                ending(reason),
                Ending::Cut(StopReason::MaxTokens),
                "{reason}"
            );
        }
        assert_eq!(ending("MALFORMED_FUNCTION_CALL"), Ending::Malformed);
        assert_eq!(ending("invented_later"), Ending::Unknown);
    }

    #[test]
    fn a_text_that_says_nothing_is_no_reason() {
        for text in ["", " ", "null", "None"] {
            assert_eq!(reason(Some(text.to_owned())), None, "{text}");
        }
        assert_eq!(reason(Some("stop".to_owned())).as_deref(), Some("stop"));
    }
}
