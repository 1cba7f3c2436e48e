//! Which models, set in which way, a new agent may have.
//!
//! A model that this version has no price for is taken only if its owner says so: a mistyped name
//! is found when the agent is made, not when its first task fails. So is a model of a server that
//! the deployment doesn't have. Sampling parameters and an effort are refused where the vendor
//! refuses them. What is known of a model is known by its name; of a name that nobody here knows,
//! the vendor is the judge.

use super::models::{efforts, reasons_by_default, refuses_sampling};
use super::price::PriceTable;
use crate::domain::{
    ApiVersion, Invalid, ModelChain, ModelChoice, ModelRef, ModelSettings, OutputLimitField,
    Provider, ReasoningEffort, Thousandths, Timestamp, Unlisted,
};

/// Whether the deployment has a server of its own for models of `openai_compatible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompatibleServer {
    /// It has none, so nobody could answer.
    Absent,
    /// It has one.
    Present,
}

/// What is asked of the models of one new agent.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// The moment for which prices are looked up.
    pub now: Timestamp,
    /// The agent's cap on a task's cost, which only models with a price can keep.
    pub max_cost_micro_usd: Option<u64>,
    /// Whether there is anybody to ask for a model of `openai_compatible`.
    pub compatible_server: CompatibleServer,
}

impl Admission {
    /// Every rule that the model breaks, at pointers relative to it.
    pub fn refusals(&self, choice: &ModelChoice, unlisted: Unlisted) -> Vec<Invalid> {
        let ModelChoice { model, settings } = choice;
        let rules = [
            self.server(model),
            self.listing(model, unlisted),
            effort(model, settings),
            api_version(model, settings),
            output_limit_field(model, settings),
            temperature_range(model, settings),
            pair(model, settings),
        ];
        let reason = no_sampling(model, settings);
        let sampling = [
            ("/temperature", settings.temperature),
            ("/top_p", settings.top_p),
        ];
        let refused = sampling.into_iter().filter(|(_, set)| set.is_some());
        let refused = reason
            .into_iter()
            .flat_map(|reason| refused.clone().map(move |(at, _)| Invalid::new(at, reason)));
        rules.into_iter().flatten().chain(refused).collect()
    }

    fn server(&self, model: &ModelRef) -> Option<Invalid> {
        match (model.provider(), self.compatible_server) {
            (Provider::Anthropic | Provider::OpenAi, _) | (_, CompatibleServer::Present) => None,
            (Provider::OpenAiCompatible, CompatibleServer::Absent) => Some(Invalid::new(
                "/provider",
                "is not available here: the deployment's OpenAiCompatibleBaseUrl names no server",
            )),
        }
    }

    fn listing(&self, model: &ModelRef, unlisted: Unlisted) -> Option<Invalid> {
        let is_priced = PriceTable::current().has_price(model, self.now);
        let reason = match (model.provider(), unlisted) {
            _ if is_priced => return None,
            _ if self.max_cost_micro_usd.is_some() => {
                "has no price that this version knows, and without one max_cost_micro_usd can't be kept"
            }
            (Provider::OpenAiCompatible, _) | (_, Unlisted::Allowed) => return None,
            (Provider::Anthropic | Provider::OpenAi, Unlisted::Refused) => {
                "is not a model that this version knows; set allow_unlisted to take it without a price"
            }
        };
        Some(Invalid::new("/model", reason))
    }
}

fn effort(model: &ModelRef, settings: &ModelSettings) -> Option<Invalid> {
    let (effort, taken) = (settings.reasoning_effort?, efforts(model)?);
    let names: Vec<&str> = taken.iter().map(|effort| effort.as_str()).collect();
    let reason = match names.as_slice() {
        _ if taken.contains(&effort) => return None,
        [] => "is not taken by this model: it does not reason".to_owned(),
        [only] => format!("must be {only} for this model, or left out"),
        [others @ .., last] => format!("must be {} or {last} for this model", others.join(", ")),
    };
    Some(Invalid::new("/reasoning_effort", reason))
}

fn output_limit_field(model: &ModelRef, settings: &ModelSettings) -> Option<Invalid> {
    match (model.provider(), settings.output_limit_field) {
        (Provider::OpenAiCompatible, _) | (_, OutputLimitField::ByModel) => None,
        (
            Provider::Anthropic | Provider::OpenAi,
            OutputLimitField::MaxTokens | OutputLimitField::MaxCompletionTokens,
        ) => Some(Invalid::new(
            "/output_limit_field",
            "is for openai_compatible only",
        )),
    }
}

fn api_version(model: &ModelRef, settings: &ModelSettings) -> Option<Invalid> {
    match (model.provider(), settings.api_version) {
        (Provider::Anthropic, _) | (_, ApiVersion::Current) => None,
        (Provider::OpenAi | Provider::OpenAiCompatible, ApiVersion::Anthropic20230601) => {
            Some(Invalid::new("/api_version", "is for anthropic only"))
        }
    }
}

fn temperature_range(model: &ModelRef, settings: &ModelSettings) -> Option<Invalid> {
    let is_over =
        model.provider() == Provider::Anthropic && settings.temperature > Some(Thousandths(1_000));
    is_over.then(|| Invalid::new("/temperature", "must be 0 to 1 for anthropic"))
}

/// Anthropic's models from generation 4 on take one of the two.
fn pair(model: &ModelRef, settings: &ModelSettings) -> Option<Invalid> {
    let has_both = settings.temperature.is_some() && settings.top_p.is_some();
    let is_wrong = model.provider() == Provider::Anthropic
        && has_both
        && no_sampling(model, settings).is_none();
    is_wrong.then(|| Invalid::new("/top_p", "must not be set beside temperature for anthropic"))
}

/// Why the model takes no sampling parameters, if it takes none.
fn no_sampling(model: &ModelRef, settings: &ModelSettings) -> Option<&'static str> {
    match model.provider() {
        Provider::Anthropic | Provider::OpenAi if refuses_sampling(model) => {
            Some("is not taken by this model")
        }
        Provider::Anthropic => match settings.api_version {
            ApiVersion::Current => {
                Some("is not taken by Anthropic's current API; select api_version 2023-06-01")
            }
            ApiVersion::Anthropic20230601 => None,
        },
        Provider::OpenAi if efforts(model).is_none_or(<[_]>::is_empty) => None,
        Provider::OpenAi => match settings.reasoning_effort {
            Some(ReasoningEffort::None) => None,
            None if !reasons_by_default(model) => None,
            Some(_) | None => Some("is taken by this model only with reasoning_effort none"),
        },
        Provider::OpenAiCompatible => None,
    }
}

/// For each model of the chain that writes fewer tokens in an answer, why `max_output_tokens` is
/// refused, at that pointer.
pub fn output_refusals(
    models: &ModelChain,
    max_output_tokens: u32,
    now: Timestamp,
) -> Vec<Invalid> {
    let limits = models.iter().filter_map(|choice| {
        let most = PriceTable::current().max_output_tokens(&choice.model, now)?;
        let reason = format!(
            "must be at most {most}, which is the limit of {}",
            choice.model
        );
        (max_output_tokens > most).then(|| Invalid::new("/max_output_tokens", reason))
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn choice(provider: Provider, name: &str, settings: ModelSettings) -> ModelChoice {
        ModelChoice {
            model: ModelRef::new(provider, name).unwrap(),
            settings,
        }
    }

    #[track_caller]
    fn check(
        choice: &ModelChoice,
        cap: Option<u64>,
        unlisted: Unlisted,
        expected: &[(&str, &str)],
    ) {
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
            .map(|broken| (broken.field.as_str(), broken.reason.as_str()))
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
    fn an_unknown_model_is_taken_only_on_its_owners_word_and_never_under_a_cap() {
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
    fn sampling_is_refused_where_the_vendor_refuses_it() {
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
    fn effort_is_refused_where_the_vendor_refuses_it() {
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
}
