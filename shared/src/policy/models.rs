//! What is known of vendors' models, by how their names begin. Of a name that nobody here knows,
//! the vendor is the judge.
//!
//! Sources, read in November 2026: for Anthropic
//! <https://platform.claude.com/docs/en/build-with-claude/effort> and
//! <https://platform.claude.com/docs/en/build-with-claude/thinking>; for OpenAI the pages of its
//! models at <https://developers.openai.com/api/docs/models>, and for the generations before them
//! the table at
//! <https://community.openai.com/t/request-for-compatibility-matrix-reasoning-effort-sampling-parameters-across-gpt-5-series/1371738>.

use crate::domain::{ModelRef, Provider, ReasoningEffort};

use ReasoningEffort::{High, Low, Max, Medium, Minimal, None as Without, Xhigh};

/// Anthropic's models that refuse sampling under every version of the API: those from Opus 4.7 and
/// Sonnet 5 on.
const WITHOUT_SAMPLING: [&str; 6] = [
    "claude-fable-",
    "claude-haiku-5",
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5",
];

/// OpenAI's models that don't reason unless a request has an effort.
const WITHOUT_EFFORT_BY_DEFAULT: [&str; 3] = ["gpt-5.1", "gpt-5.2", "gpt-5.4"];

/// OpenAI's models whose Chat Completions refuse `max_tokens`
/// (<https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/reasoning>).
const WITH_COMPLETION_TOKENS: [&str; 5] = ["gpt-5", "gpt-6", "o1", "o3", "o4"];

/// How a model's name begins, and the efforts that the model takes.
type Row = (&'static str, &'static [ReasoningEffort]);

/// The efforts of Anthropic's models. The first row that fits holds.
const ANTHROPIC: [Row; 10] = [
    ("claude-haiku-4-5", &[Without]),
    ("claude-sonnet-4-5", &[Without]),
    ("claude-opus-4-5", &[Without, Low, Medium, High]),
    ("claude-opus-4-6", &[Without, Low, Medium, High, Max]),
    ("claude-sonnet-4-6", &[Without, Low, Medium, High, Max]),
    ("claude-mythos-preview", &[Low, Medium, High, Max]),
    ("claude-fable-5", &[Low, Medium, High, Xhigh, Max]),
    ("claude-mythos-", &[Low, Medium, High, Xhigh, Max]),
    ("claude-opus-5-5", &[Low, Medium, High, Xhigh, Max]),
    ("", &[Without, Low, Medium, High, Xhigh, Max]),
];

/// The efforts of OpenAI's models; none for those that don't reason. The first row that fits holds.
const OPENAI: [Row; 26] = [
    ("gpt-3.5", &[]),
    ("gpt-4", &[]),
    ("chatgpt-", &[]),
    ("ft:gpt-3.5", &[]),
    ("ft:gpt-4", &[]),
    ("gpt-5-chat", &[]),
    ("gpt-5-search-api", &[]),
    ("gpt-5-pro", &[High]),
    ("gpt-5-codex", &[Low, Medium, High]),
    ("gpt-5-", &[Minimal, Low, Medium, High]),
    ("gpt-5.1-codex-max", &[Low, Medium, High, Xhigh]),
    ("gpt-5.1-codex", &[Low, Medium, High]),
    ("gpt-5.1-chat", &[Medium]),
    ("gpt-5.1", &[Without, Low, Medium, High]),
    ("gpt-5.2-codex", &[Low, Medium, High, Xhigh]),
    ("gpt-5.2-chat", &[Medium]),
    ("gpt-5.2-pro", &[Medium, High, Xhigh]),
    ("gpt-5.3-codex", &[Low, Medium, High, Xhigh]),
    ("gpt-5.6", &[Without, Low, Medium, High, Xhigh, Max]),
    ("gpt-5.", &[Without, Low, Medium, High, Xhigh]),
    ("gpt-6.1-sol", &[Low, Medium, High, Xhigh, Max]),
    ("gpt-6.2-", &[Low, Medium, High, Xhigh, Max]),
    ("gpt-6", &[Without, Low, Medium, High, Xhigh, Max]),
    ("o1", &[Low, Medium, High]),
    ("o3", &[Low, Medium, High]),
    ("o4", &[Low, Medium, High]),
];

/// The efforts that the model takes; `None` if nobody here knows.
pub(super) fn efforts(model: &ModelRef) -> Option<&'static [ReasoningEffort]> {
    let rows: &[Row] = match model.provider() {
        Provider::Anthropic => &ANTHROPIC,
        Provider::OpenAi => &OPENAI,
        Provider::OpenAiCompatible => &[],
    };
    rows.iter()
        .find(|(beginning, _)| begins(model, beginning))
        .map(|(_, efforts)| *efforts)
}

/// Whether the model is not known to be without reasoning. Others refuse requests for encrypted
/// reasoning.
pub(crate) fn may_reason(model: &ModelRef) -> bool {
    efforts(model).is_none_or(|efforts| !efforts.is_empty())
}

/// Whether the model reasons although no effort is set.
pub(super) fn reasons_by_default(model: &ModelRef) -> bool {
    !WITHOUT_EFFORT_BY_DEFAULT
        .iter()
        .any(|beginning| begins(model, beginning))
}

/// Whether the model refuses sampling parameters, however it is set.
pub(super) fn refuses_sampling(model: &ModelRef) -> bool {
    match model.provider() {
        Provider::Anthropic => WITHOUT_SAMPLING
            .iter()
            .any(|beginning| begins(model, beginning)),
        Provider::OpenAi => {
            efforts(model).is_some_and(|efforts| !efforts.is_empty() && !efforts.contains(&Without))
        }
        Provider::OpenAiCompatible => false,
    }
}

/// Whether the model has a mode of its own for not thinking before it answers
/// (<https://platform.claude.com/docs/en/build-with-claude/thinking>).
pub(crate) fn thinks_between_tools(model: &ModelRef) -> bool {
    begins(model, "claude-sonnet-5-5")
}

/// Whether a Chat Completions server refuses `max_tokens` for the model, which a gateway may name
/// with its vendor, as in `openai/gpt-5`.
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
