//! Which models, set in which way, a new agent may have.
//!
//! A model that this version has no price for is taken only if its owner says so: a mistyped name
//! is found when the agent is made, not when its first task fails. So is a model of a server that
//! the deployment doesn't have. Sampling parameters and an effort are refused where the provider
//! refuses them. What is known of a model is known by its name; of a name that nobody here knows,
//! the provider is the judge.

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

/// What one new agent requires of its models.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// The moment for which prices are looked up.
    pub now: Timestamp,
    /// The agent's cap on a task's cost, which only models with a price can keep.
    pub max_cost_micro_usd: Option<u64>,
    /// Whether the deployment has a server for models of `openai_compatible`.
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
        let reason = sampling_refusal(model, settings);
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
                "has no price that this version knows, and without one max_cost_micro_usd can't be enforced"
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
        && sampling_refusal(model, settings).is_none();
    is_wrong.then(|| Invalid::new("/top_p", "must not be set beside temperature for anthropic"))
}

/// Why the model takes no sampling parameters, if it takes none.
pub(super) fn sampling_refusal(model: &ModelRef, settings: &ModelSettings) -> Option<&'static str> {
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
mod tests;
