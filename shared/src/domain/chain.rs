//! The models that an agent uses, and the settings of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid::Invalid;

/// The longest chain of models.
pub const MAX_MODELS: usize = 5;

/// Who serves models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's Responses API.
    #[serde(rename = "openai")]
    OpenAi,
    /// Any server with OpenAI's Chat Completions API: vLLM, Ollama, a gateway.
    #[serde(rename = "openai_compatible")]
    OpenAiCompatible,
}

impl Provider {
    /// All providers.
    pub const ALL: [Self; 3] = [Self::Anthropic, Self::OpenAi, Self::OpenAiCompatible];

    /// The name in requests, records and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::OpenAiCompatible => "openai_compatible",
        }
    }
}

impl FromStr for Provider {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| {
            let [others @ .., last] = Self::ALL.map(Self::as_str);
            let reason = format!("must be {} or {last}", others.join(", "));
            Invalid::new("/provider", reason)
        })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One model of one provider, such as `anthropic` and `claude-sonnet-5-5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    provider: Provider,
    #[serde(rename = "model")]
    name: String,
}

impl ModelRef {
    /// Accepts names of 1 to 128 printable ASCII characters without spaces.
    pub fn new(provider: Provider, name: impl Into<String>) -> Result<Self, Invalid> {
        let name = name.into();
        if (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self { provider, name });
        }
        Err(Invalid::new(
            "/model",
            "must have 1 to 128 printable ASCII characters without spaces",
        ))
    }

    /// The provider that serves the model.
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// The provider's name for the model.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.name)
    }
}

/// One model of a chain, and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelChoice {
    /// The model.
    pub model: ModelRef,
    /// Its settings.
    #[serde(default)]
    pub settings: ModelSettings,
}

/// The settings of a model. A setting that is absent is not sent, so the provider's default
/// applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelSettings {
    /// How random the answer is, 0 to 2.
    pub temperature: Option<Thousandths>,
    /// The share of the likeliest tokens to choose from, 0 to 1.
    pub top_p: Option<Thousandths>,
    /// How hard the model thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// The version of the provider's API.
    pub api_version: ApiVersion,
    /// Whether the answer is streamed.
    pub transfer: Transfer,
    /// The field in which a Chat Completions server reads an answer's maximum of tokens.
    #[serde(skip_serializing_if = "OutputLimitField::is_by_model")]
    pub output_limit_field: OutputLimitField,
}

/// A small decimal number, stored exactly as thousandths: 0.7 is 700.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thousandths(pub u16);

impl Thousandths {
    /// Checks that the number at `field` is from 0 to `most` and has at most three decimals.
    pub fn new(field: &str, number: f64, most: Self) -> Result<Self, Invalid> {
        let whole = format!("{:.0}", number * 1_000.0).parse().ok().map(Self);
        whole
            .filter(|exact| exact.as_f64().total_cmp(&number).is_eq() && *exact <= most)
            .ok_or_else(|| {
                Invalid::new(
                    field,
                    format!(
                        "must be 0 to {} with at most 3 decimals, is {number}",
                        most.as_f64()
                    ),
                )
            })
    }

    /// The number as it is sent to providers.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// How hard a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Somewhat.
    Medium,
    /// Much.
    High,
    /// More than high.
    Xhigh,
    /// As much as it can.
    Max,
}

impl ReasoningEffort {
    /// All names in one text, for error messages.
    pub const NAMES: &str = "none, minimal, low, medium, high, xhigh or max";

    /// The name in requests, records and the providers' APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// The field of a Chat Completions request that holds an answer's maximum of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimitField {
    /// The field that the model's name suggests.
    #[default]
    ByModel,
    /// `max_tokens`, which every server knows.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's and Azure's reasoning models require.
    MaxCompletionTokens,
}

impl OutputLimitField {
    /// Whether the model's name decides.
    pub const fn is_by_model(&self) -> bool {
        matches!(self, Self::ByModel)
    }
}

/// Whether an agent may name a model that this version of the platform doesn't know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unlisted {
    /// Not allowed: a mistyped name is found at once.
    #[default]
    Refused,
    /// Allowed; the model has no price.
    Allowed,
}

/// The version of a provider's API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The version that this platform was made for: Anthropic's `2026-10-21`.
    #[default]
    #[serde(rename = "current")]
    Current,
    /// Anthropic's version before that, which takes sampling parameters.
    #[serde(rename = "2023-06-01")]
    Anthropic20230601,
}

/// How a provider sends an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// As a stream of events: a silent provider is noticed early, and the usage of a broken answer
    /// can be estimated.
    #[default]
    Stream,
    /// In one body, for servers that can't stream.
    Whole,
}

/// The models that may answer, the preferred one first: 1 to [`MAX_MODELS`], each once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelChain {
    first: ModelChoice,
    others: Vec<ModelChoice>,
}

impl ModelChain {
    /// Checks the models at `/models`.
    pub fn new(models: Vec<ModelChoice>) -> Result<Self, Invalid> {
        let count = models.len();
        for (place, choice) in models.iter().enumerate() {
            if models
                .iter()
                .take(place)
                .any(|earlier| earlier.model == choice.model)
            {
                return Err(Invalid::new(
                    format!("/models/{place}"),
                    "must not be in the chain twice",
                ));
            }
        }
        let mut models = models.into_iter();
        match models.next() {
            Some(first) if count <= MAX_MODELS => Ok(Self {
                first,
                others: models.collect(),
            }),
            Some(_) | None => Err(Invalid::new(
                "/models",
                format!("must have 1 to {MAX_MODELS} entries, has {count}"),
            )),
        }
    }

    /// A chain of one model.
    pub fn only(choice: ModelChoice) -> Self {
        Self {
            first: choice,
            others: Vec::new(),
        }
    }

    /// The preferred model.
    pub const fn first(&self) -> &ModelChoice {
        &self.first
    }

    /// All models, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ModelChoice> {
        let all: Vec<&ModelChoice> = std::iter::once(&self.first).chain(&self.others).collect();
        all.into_iter()
    }
}

impl From<ModelRef> for ModelChoice {
    fn from(model: ModelRef) -> Self {
        Self {
            model,
            settings: ModelSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(name: &str) -> ModelChoice {
        ModelRef::new(Provider::OpenAi, name).unwrap().into()
    }

    #[test]
    fn a_small_number_has_at_most_three_decimals() {
        let (one, two) = (Thousandths(1_000), Thousandths(2_000));
        for (number, most, exact) in [
            (0.0, one, 0),
            (0.7, one, 700),
            (1.0, one, 1_000),
            (1.999, two, 1_999),
        ] {
            assert_eq!(Thousandths::new("/x", number, most), Ok(Thousandths(exact)));
        }
        for number in [
            -0.001,
            0.000_1,
            0.700_1,
            1.001,
            66.0,
            1e300,
            f64::NAN,
            f64::INFINITY,
        ] {
            assert_eq!(
                Thousandths::new("/x", number, one).unwrap_err().field,
                "/x",
                "{number}"
            );
        }
    }

    #[test]
    fn an_effort_has_one_name_everywhere() {
        use ReasoningEffort::{High, Low, Max, Medium, Minimal, None, Xhigh};
        for effort in [None, Minimal, Low, Medium, High, Xhigh, Max] {
            assert_eq!(serde_json::to_value(effort).unwrap(), effort.as_str());
            assert!(ReasoningEffort::NAMES.contains(effort.as_str()));
        }
    }

    #[test]
    fn settings_of_a_record_from_before_are_the_default() {
        let written = serde_json::to_string(&ModelSettings::default()).unwrap();
        assert!(!written.contains("output_limit_field"), "{written}");
        assert_eq!(
            serde_json::from_str::<ModelSettings>(&written).unwrap(),
            ModelSettings::default()
        );
    }

    #[test]
    fn a_chain_has_one_to_five_models_each_once() {
        let names = |count: usize| {
            (0..count)
                .map(|number| choice(&format!("m{number}")))
                .collect::<Vec<_>>()
        };
        assert_eq!(ModelChain::new(Vec::new()).unwrap_err().field, "/models");
        assert_eq!(ModelChain::new(names(6)).unwrap_err().field, "/models");
        assert_eq!(
            ModelChain::new(vec![choice("a"), choice("b"), choice("a")])
                .unwrap_err()
                .field,
            "/models/2"
        );
        let chain = ModelChain::new(names(5)).unwrap();
        assert_eq!(chain.iter().cloned().collect::<Vec<_>>(), names(5));
    }
}
