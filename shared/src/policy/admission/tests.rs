//! Tests of `admission`.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn choice(provider: Provider, name: &str, settings: ModelSettings) -> ModelChoice {
    ModelChoice {
        model: ModelRef::new(provider, name).unwrap(),
        settings,
    }
}

#[track_caller]
fn check(choice: &ModelChoice, cap: Option<u64>, unlisted: Unlisted, expected: &[(&str, &str)]) {
    let compatible_server = CompatibleServer::Present;
    check_with(
        Admission {
            now: NOW,
            max_cost_micro_usd: cap,
            compatible_server,
        },
        choice,
        unlisted,
        expected,
    );
}

#[track_caller]
fn check_with(
    admission: Admission,
    choice: &ModelChoice,
    unlisted: Unlisted,
    expected: &[(&str, &str)],
) {
    let found = admission.refusals(choice, unlisted);
    let found: Vec<_> = found
        .iter()
        .map(|broken| (broken.field.as_str(), &*broken.reason))
        .collect();
    let matches = |(found, expected): (&(&str, &str), &(&str, &str))| {
        found.0 == expected.0 && found.1.contains(expected.1)
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(matches),
        "{choice:?}: {found:?}"
    );
}

#[test]
fn an_unknown_model_needs_allow_unlisted_and_no_cap() {
    use Provider::{Anthropic, OpenAi, OpenAiCompatible};
    let (unknown, unpriced) = (
        [("/model", "allow_unlisted")],
        [("/model", "max_cost_micro_usd")],
    );
    let table: [(_, _, _, _, &[_]); 8] = [
        (Anthropic, "claude-sonnet-5-5", None, Unlisted::Refused, &[]),
        (
            Anthropic,
            "claude-sonnet-5-5",
            Some(1),
            Unlisted::Refused,
            &[],
        ),
        (
            OpenAi,
            "claude-sonnet-5-5",
            None,
            Unlisted::Refused,
            &unknown,
        ),
        (OpenAi, "gpt-6.9-nova", None, Unlisted::Refused, &unknown),
        (OpenAi, "gpt-6.9-nova", None, Unlisted::Allowed, &[]),
        (
            OpenAi,
            "gpt-6.9-nova",
            Some(1),
            Unlisted::Allowed,
            &unpriced,
        ),
        (OpenAiCompatible, "llama", None, Unlisted::Refused, &[]),
        (
            OpenAiCompatible,
            "llama",
            Some(1),
            Unlisted::Allowed,
            &unpriced,
        ),
    ];
    for (provider, name, cap, unlisted, expected) in table {
        check(
            &choice(provider, name, ModelSettings::default()),
            cap,
            unlisted,
            expected,
        );
    }
}

#[test]
fn a_model_of_a_server_that_is_not_there_is_refused() {
    let compatible_server = CompatibleServer::Absent;
    let admission = Admission {
        now: NOW,
        max_cost_micro_usd: None,
        compatible_server,
    };
    let none: (&str, &str) = ("/provider", "OpenAiCompatibleBaseUrl");
    for (provider, expected) in [
        (Provider::Anthropic, &[] as &[_]),
        (Provider::OpenAi, &[]),
        (Provider::OpenAiCompatible, &[none]),
    ] {
        check_with(
            admission,
            &choice(provider, "m", ModelSettings::default()),
            Unlisted::Allowed,
            expected,
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn sampling_is_refused_where_the_provider_refuses_it() {
    use ApiVersion::{Anthropic20230601 as Old, Current};
    use Provider::{Anthropic, OpenAi, OpenAiCompatible};
    let none = Some(ReasoningEffort::None);
    let low = Some(ReasoningEffort::Low);
    let table = [
        (
            Anthropic,
            "claude-sonnet-4-6",
            Current,
            None,
            Some("2023-06-01"),
        ),
        (Anthropic, "claude-sonnet-4-6", Old, None, None),
        (Anthropic, "claude-haiku-4-5-20251001", Old, None, None),
        (
            Anthropic,
            "claude-sonnet-5-5",
            Current,
            None,
            Some("this model"),
        ),
        (
            Anthropic,
            "claude-sonnet-5-5",
            Old,
            None,
            Some("this model"),
        ),
        (Anthropic, "claude-opus-4-7", Old, None, Some("this model")),
        (Anthropic, "claude-opus-4-6", Old, None, None),
        (
            OpenAi,
            "gpt-6.1-terra",
            Current,
            None,
            Some("reasoning_effort none"),
        ),
        (
            OpenAi,
            "gpt-6.1-terra",
            Current,
            low,
            Some("reasoning_effort none"),
        ),
        (OpenAi, "gpt-6.1-terra", Current, none, None),
        (OpenAi, "gpt-6.1-sol", Current, low, Some("this model")),
        (OpenAi, "gpt-5-nano", Current, None, Some("this model")),
        (OpenAi, "gpt-5.5", Current, none, None),
        (
            OpenAi,
            "gpt-5.5",
            Current,
            None,
            Some("reasoning_effort none"),
        ),
        (OpenAi, "gpt-5.1", Current, None, None),
        (OpenAi, "gpt-5.1", Current, none, None),
        (
            OpenAi,
            "gpt-5.1",
            Current,
            low,
            Some("reasoning_effort none"),
        ),
        (OpenAi, "gpt-5.4-mini", Current, None, None),
        (OpenAi, "gpt-5.1-codex", Current, None, Some("this model")),
        (OpenAi, "gpt-5-chat-latest", Current, None, None),
        (OpenAi, "invented-later", Current, low, None),
        (OpenAi, "o3", Current, None, Some("this model")),
        (OpenAi, "gpt-4.1", Current, None, None),
        (OpenAiCompatible, "gpt-6.1-sol", Current, low, None),
    ];
    for (provider, name, api_version, reasoning_effort, refused) in table {
        for (place, temperature, top_p) in [
            ("/temperature", Some(Thousandths(700)), None),
            ("/top_p", None, Some(Thousandths(1_000))),
        ] {
            let settings = ModelSettings {
                temperature,
                top_p,
                reasoning_effort,
                api_version,
                ..ModelSettings::default()
            };
            let expected: Vec<_> = refused.map(|reason| (place, reason)).into_iter().collect();
            check(
                &choice(provider, name, settings),
                None,
                Unlisted::Allowed,
                &expected,
            );
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn effort_is_refused_where_the_provider_refuses_it() {
    use Provider::{Anthropic, OpenAi, OpenAiCompatible};
    use ReasoningEffort::{High, Low, Max, Medium, Minimal, None as Without, Xhigh};
    const ALL: [ReasoningEffort; 7] = [Without, Minimal, Low, Medium, High, Xhigh, Max];
    let table: [(_, _, &[_], _); 22] = [
        (
            Anthropic,
            "claude-haiku-4-5",
            &[Without],
            "must be none for this model, or left out",
        ),
        (
            Anthropic,
            "claude-sonnet-4-5-20250929",
            &[Without],
            "must be none",
        ),
        (
            Anthropic,
            "claude-opus-4-5",
            &[Without, Low, Medium, High],
            "none, low, medium or high",
        ),
        (
            Anthropic,
            "claude-opus-4-6",
            &[Without, Low, Medium, High, Max],
            "high or max",
        ),
        (
            Anthropic,
            "claude-opus-4-7",
            &[Without, Low, Medium, High, Xhigh, Max],
            "xhigh or max",
        ),
        (
            Anthropic,
            "claude-sonnet-5-5",
            &[Without, Low, Medium, High, Xhigh, Max],
            "none, low",
        ),
        (
            Anthropic,
            "claude-haiku-5-5",
            &[Without, Low, Medium, High, Xhigh, Max],
            "none, low",
        ),
        (
            Anthropic,
            "claude-opus-5-5",
            &[Low, Medium, High, Xhigh, Max],
            "must be low, medium",
        ),
        (
            Anthropic,
            "claude-fable-5-2",
            &[Low, Medium, High, Xhigh, Max],
            "must be low, medium",
        ),
        (
            Anthropic,
            "claude-opus-5",
            &[Without, Low, Medium, High, Xhigh, Max],
            "none, low",
        ),
        (OpenAi, "gpt-4.1", &[], "does not reason"),
        (
            OpenAi,
            "gpt-5",
            &[Minimal, Low, Medium, High],
            "minimal, low, medium or high",
        ),
        (
            OpenAi,
            "gpt-5-nano-2025-08-07",
            &[Minimal, Low, Medium, High],
            "minimal, low, medium or high",
        ),
        (
            OpenAi,
            "gpt-5-pro",
            &[High],
            "must be high for this model, or left out",
        ),
        (
            OpenAi,
            "gpt-5.1",
            &[Without, Low, Medium, High],
            "none, low, medium or high",
        ),
        (
            OpenAi,
            "gpt-5.1-codex-max",
            &[Low, Medium, High, Xhigh],
            "high or xhigh",
        ),
        (
            OpenAi,
            "gpt-5.5",
            &[Without, Low, Medium, High, Xhigh],
            "high or xhigh",
        ),
        (
            OpenAi,
            "gpt-6.1-terra",
            &[Without, Low, Medium, High, Xhigh, Max],
            "none, low",
        ),
        (
            OpenAi,
            "gpt-6.2-sol",
            &[Low, Medium, High, Xhigh, Max],
            "must be low, medium",
        ),
        (OpenAi, "o3", &[Low, Medium, High], "low, medium or high"),
        (OpenAi, "invented-later", &ALL, ""),
        (OpenAiCompatible, "claude-haiku-4-5", &ALL, ""),
    ];
    for (provider, name, taken, reason) in table {
        for effort in ALL {
            let settings = ModelSettings {
                reasoning_effort: Some(effort),
                ..ModelSettings::default()
            };
            let refused = [("/reasoning_effort", reason)];
            let expected: &[_] = if taken.contains(&effort) {
                &[]
            } else {
                &refused
            };
            check(
                &choice(provider, name, settings),
                None,
                Unlisted::Allowed,
                expected,
            );
        }
    }
}

#[test]
fn an_output_limit_over_that_of_a_model_is_refused_with_the_models_name() {
    let chain = |names: &[&str]| {
        let model = |name: &&str| ModelRef::new(Provider::Anthropic, *name).unwrap().into();
        ModelChain::new(names.iter().map(model).collect()).unwrap()
    };
    let both = chain(&["claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-4-5"]);
    assert_eq!(output_refusals(&both, 64_000, NOW), []);
    let refused = output_refusals(&both, 64_001, NOW);
    let reason = "must be at most 64000, which is the limit of anthropic/claude-haiku-4-5";
    assert_eq!(refused, [Invalid::new("/max_output_tokens", reason)]);
    assert_eq!(output_refusals(&both, 128_001, NOW).len(), 2);
}

#[test]
fn every_broken_rule_of_a_setting_is_named() {
    use Provider::{Anthropic, OpenAi, OpenAiCompatible};
    let both = ModelSettings {
        temperature: Some(Thousandths(1_001)),
        top_p: Some(Thousandths(1)),
        api_version: ApiVersion::Anthropic20230601,
        ..ModelSettings::default()
    };
    let none = ModelSettings {
        reasoning_effort: Some(ReasoningEffort::None),
        ..both
    };
    let check = |provider, name, settings, expected: &[_]| {
        check(
            &choice(provider, name, settings),
            None,
            Unlisted::Allowed,
            expected,
        );
    };
    check(
        Anthropic,
        "claude-sonnet-4-6",
        both,
        &[("/temperature", "0 to 1"), ("/top_p", "beside temperature")],
    );
    check(
        OpenAiCompatible,
        "llama",
        both,
        &[("/api_version", "anthropic only")],
    );
    let field = OutputLimitField::MaxCompletionTokens;
    let named = ModelSettings {
        output_limit_field: field,
        ..ModelSettings::default()
    };
    check(OpenAiCompatible, "llama", named, &[]);
    check(
        OpenAi,
        "gpt-6.1-sol",
        named,
        &[("/output_limit_field", "openai_compatible only")],
    );
    let all = [
        ("/reasoning_effort", "low"),
        ("/api_version", ""),
        ("/temperature", "model"),
        ("/top_p", "model"),
    ];
    check(OpenAi, "gpt-6.2-sol", none, &all);
}
