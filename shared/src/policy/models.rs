//! What is known of providers' models, by the beginning of their names: which efforts and sampling
//! parameters they take, and how they reason. Prices, context windows and output limits are in
//! [`price`](super::price). A model of no known family gets any setting; its provider decides.
//!
//! Sources, read in November 2026: for Anthropic
//! <https://platform.claude.com/docs/en/build-with-claude/effort> and
//! <https://platform.claude.com/docs/en/build-with-claude/thinking>; for OpenAI the pages of its
//! models at <https://developers.openai.com/api/docs/models>, and for the generations before them
//! the table at
//! <https://community.openai.com/t/request-for-compatibility-matrix-reasoning-effort-sampling-parameters-across-gpt-5-series/1371738>.

use crate::domain::{ModelRef, Provider, ReasoningEffort};

use ReasoningEffort::{High, Low, Max, Medium, Minimal, None as Without, Xhigh};

/// What is known of the models whose names have the same beginning.
struct Family {
    provider: Provider,
    /// The beginning of the models' names.
    beginning: &'static str,
    /// The efforts that they take; none if they don't reason.
    efforts: &'static [ReasoningEffort],
    sampling: Sampling,
    /// Whether they reason if a request has no effort.
    reasons_by_default: bool,
    /// Whether "no thinking before the answer" is a mode of its own for them.
    thinks_between_tools: bool,
}

/// Whether models take sampling parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sampling {
    /// The models refuse sampling parameters with any other settings.
    Refused,
    /// The models take sampling parameters, if the other settings allow it.
    Taken,
}

const fn anthropic(
    beginning: &'static str,
    efforts: &'static [ReasoningEffort],
    sampling: Sampling,
) -> Family {
    Family {
        provider: Provider::Anthropic,
        beginning,
        efforts,
        sampling,
        reasons_by_default: true,
        thinks_between_tools: false,
    }
}

/// OpenAI's models refuse sampling parameters if they always reason.
const fn openai(beginning: &'static str, efforts: &'static [ReasoningEffort]) -> Family {
    let always_reasons = matches!(efforts, [Low | Medium | High | Xhigh | Max | Minimal, ..]);
    Family {
        provider: Provider::OpenAi,
        beginning,
        efforts,
        sampling: if always_reasons {
            Sampling::Refused
        } else {
            Sampling::Taken
        },
        reasons_by_default: true,
        thinks_between_tools: false,
    }
}

impl Family {
    const fn reasoning_on_request(self) -> Self {
        Self {
            reasons_by_default: false,
            ..self
        }
    }

    const fn thinking_between_tools(self) -> Self {
        Self {
            thinks_between_tools: true,
            ..self
        }
    }
}

/// All efforts but the least, which only some of OpenAI's models take.
const ALL_EFFORTS: &[ReasoningEffort] = &[Without, Low, Medium, High, Xhigh, Max];

/// The families of both providers. The first row that matches a model counts.
static FAMILIES: [Family; 45] = {
    use Sampling::{Refused, Taken};
    [
        anthropic("claude-haiku-4-5", &[Without], Taken),
        anthropic("claude-sonnet-4-5", &[Without], Taken),
        anthropic("claude-opus-4-5", &[Without, Low, Medium, High], Taken),
        anthropic("claude-opus-4-6", &[Without, Low, Medium, High, Max], Taken),
        anthropic(
            "claude-sonnet-4-6",
            &[Without, Low, Medium, High, Max],
            Taken,
        ),
        anthropic("claude-mythos-preview", &[Low, Medium, High, Max], Taken),
        anthropic("claude-fable-5", &[Low, Medium, High, Xhigh, Max], Refused),
        anthropic("claude-mythos-", &[Low, Medium, High, Xhigh, Max], Taken),
        anthropic("claude-opus-5-5", &[Low, Medium, High, Xhigh, Max], Refused),
        anthropic("claude-fable-", ALL_EFFORTS, Refused),
        anthropic("claude-haiku-5", ALL_EFFORTS, Refused),
        anthropic("claude-opus-4-7", ALL_EFFORTS, Refused),
        anthropic("claude-opus-4-8", ALL_EFFORTS, Refused),
        anthropic("claude-opus-5", ALL_EFFORTS, Refused),
        anthropic("claude-sonnet-5-5", ALL_EFFORTS, Refused).thinking_between_tools(),
        anthropic("claude-sonnet-5", ALL_EFFORTS, Refused),
        anthropic("", ALL_EFFORTS, Taken),
        openai("gpt-3.5", &[]),
        openai("gpt-4", &[]),
        openai("chatgpt-", &[]),
        openai("ft:gpt-3.5", &[]),
        openai("ft:gpt-4", &[]),
        openai("gpt-5-chat", &[]),
        openai("gpt-5-search-api", &[]),
        openai("gpt-5-pro", &[High]),
        openai("gpt-5-codex", &[Low, Medium, High]),
        openai("gpt-5-", &[Minimal, Low, Medium, High]),
        openai("gpt-5.1-codex-max", &[Low, Medium, High, Xhigh]).reasoning_on_request(),
        openai("gpt-5.1-codex", &[Low, Medium, High]).reasoning_on_request(),
        openai("gpt-5.1-chat", &[Medium]).reasoning_on_request(),
        openai("gpt-5.1", &[Without, Low, Medium, High]).reasoning_on_request(),
        openai("gpt-5.2-codex", &[Low, Medium, High, Xhigh]).reasoning_on_request(),
        openai("gpt-5.2-chat", &[Medium]).reasoning_on_request(),
        openai("gpt-5.2-pro", &[Medium, High, Xhigh]).reasoning_on_request(),
        openai("gpt-5.2", &[Without, Low, Medium, High, Xhigh]).reasoning_on_request(),
        openai("gpt-5.3-codex", &[Low, Medium, High, Xhigh]),
        openai("gpt-5.4", &[Without, Low, Medium, High, Xhigh]).reasoning_on_request(),
        openai("gpt-5.6", ALL_EFFORTS),
        openai("gpt-5.", &[Without, Low, Medium, High, Xhigh]),
        openai("gpt-6.1-sol", &[Low, Medium, High, Xhigh, Max]),
        openai("gpt-6.2-", &[Low, Medium, High, Xhigh, Max]),
        openai("gpt-6", ALL_EFFORTS),
        openai("o1", &[Low, Medium, High]),
        openai("o3", &[Low, Medium, High]),
        openai("o4", &[Low, Medium, High]),
    ]
};

/// OpenAI's models whose Chat Completions refuse `max_tokens`
/// (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/reasoning>).
const WITH_COMPLETION_TOKENS: [&str; 5] = ["gpt-5", "gpt-6", "o1", "o3", "o4"];

fn family(model: &ModelRef) -> Option<&'static Family> {
    FAMILIES
        .iter()
        .find(|family| family.provider == model.provider() && begins(model, family.beginning))
}

/// The efforts that the model takes; `None` if it is of no known family.
pub(super) fn efforts(model: &ModelRef) -> Option<&'static [ReasoningEffort]> {
    family(model).map(|family| family.efforts)
}

/// Whether the model may reason: `false` only if it is known not to. Such a model refuses requests
/// for encrypted reasoning.
pub(crate) fn may_reason(model: &ModelRef) -> bool {
    efforts(model).is_none_or(|efforts| !efforts.is_empty())
}

/// Whether the model reasons although no effort is set.
pub(super) fn reasons_by_default(model: &ModelRef) -> bool {
    family(model).is_none_or(|family| family.reasons_by_default)
}

/// Whether the model refuses sampling parameters with any other settings.
pub(super) fn refuses_sampling(model: &ModelRef) -> bool {
    family(model).is_some_and(|family| family.sampling == Sampling::Refused)
}

/// Whether "no thinking before the answer" is a mode of its own for the model
/// (<https://platform.claude.com/docs/en/build-with-claude/thinking>).
pub(crate) fn thinks_between_tools(model: &ModelRef) -> bool {
    family(model).is_some_and(|family| family.thinks_between_tools)
}

/// Whether a Chat Completions server refuses `max_tokens` for the model, which a gateway may name
/// with its provider, as in `openai/gpt-5`.
pub(crate) fn wants_max_completion_tokens(model: &ModelRef) -> bool {
    let name = model.name().rsplit('/').next().unwrap_or_default();
    let is_of = |family: &str| {
        let rest = name.strip_prefix(family);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    };
    WITH_COMPLETION_TOKENS.iter().any(|family| is_of(family))
}

fn begins(model: &ModelRef, beginning: &str) -> bool {
    model.name().starts_with(beginning) || model.name() == beginning.trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(provider: Provider, name: &str) -> ModelRef {
        ModelRef::new(provider, name).unwrap()
    }

    #[test]
    fn only_models_known_not_to_reason_are_sent_no_request_for_reasoning() {
        for (name, expected) in [
            ("gpt-4o", false),
            ("gpt-3.5-turbo", false),
            ("ft:gpt-4.1:acme::x", false),
            ("gpt-5-chat-latest", false),
            ("gpt-5", true),
            ("gpt-5.1", true),
            ("gpt-6-luna", true),
            ("o3", true),
            ("invented-later", true),
        ] {
            assert_eq!(
                may_reason(&model(Provider::OpenAi, name)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn the_families_that_refuse_max_tokens_are_known_behind_gateways_too() {
        for (name, expected) in [
            ("gpt-5", true),
            ("gpt-5-mini", true),
            ("openai/gpt-5.6-terra", true),
            ("azure/eu/gpt-6.1-sol:free", true),
            ("o1", true),
            ("o4-mini-2025-04-16", true),
            ("gpt-4o", false),
            ("gpt-oss:20b", false),
            ("gpt-50", false),
            ("o1x", false),
            ("gpt-5/llama", false),
            ("qwen3-coder", false),
        ] {
            assert_eq!(
                wants_max_completion_tokens(&model(Provider::OpenAiCompatible, name)),
                expected,
                "{name}"
            );
        }
    }
}
