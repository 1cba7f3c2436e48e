//! The models that have a price today, with what is known of them.

use super::admission::sampling_refusal;
use super::models::{efforts, refuses_sampling};
use super::price::{LongPrompt, PriceTable, Prices};
use crate::domain::{ModelRef, ModelSettings, ReasoningEffort, Timestamp};

/// Whether a model takes `temperature` and `top_p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplingUse {
    /// It does.
    Accepted,
    /// Only with another setting, such as an effort or a version of the provider's API.
    Conditional,
    /// Never.
    Refused,
}

/// A model of the price table.
#[derive(Debug, Clone)]
pub struct ListedModel {
    /// The model. Its dated snapshots have the same prices.
    pub model: ModelRef,
    /// Its prices.
    pub prices: Prices,
    /// Its prices for long inputs, if these differ.
    pub long_prompt: Option<LongPrompt>,
    /// The most tokens of input and output together; `None` if unknown.
    pub context_window: Option<u32>,
    /// The most tokens of one answer; `None` if unknown.
    pub max_output_tokens: Option<u32>,
    /// The efforts that it takes; none if it does not reason. `None` if unknown.
    pub reasoning_efforts: Option<&'static [ReasoningEffort]>,
    /// Whether it takes sampling parameters.
    pub sampling: SamplingUse,
}

/// The models that have a price, and the price table's version.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The models, in the order of the table.
    pub models: Vec<ListedModel>,
    /// The table's version.
    pub prices_version: &'static str,
}

impl Catalog {
    /// The models that have a price at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            models: listed_models(now),
            prices_version: PriceTable::current().version(),
        }
    }
}

fn listed_models(now: Timestamp) -> Vec<ListedModel> {
    let rows = PriceTable::current().rows_at(now);
    rows.filter_map(|row| {
        let model = row.model()?;
        let sampling = if refuses_sampling(&model) {
            SamplingUse::Refused
        } else if sampling_refusal(&model, &ModelSettings::default()).is_some() {
            SamplingUse::Conditional
        } else {
            SamplingUse::Accepted
        };
        Some(ListedModel {
            prices: row.prices,
            long_prompt: row.long_prompt,
            context_window: row.context_window,
            max_output_tokens: row.max_output_tokens,
            reasoning_efforts: efforts(&model),
            sampling,
            model,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 23 November 2026.
    const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

    #[test]
    fn every_price_of_today_is_listed_once_and_can_be_read() {
        let listed = listed_models(NOW);
        let table = PriceTable::current();
        assert_eq!(listed.len(), table.rows_at(NOW).count());
        assert!(listed.len() > 20, "{}", listed.len());
        for model in &listed {
            assert!(table.has_price(&model.model, NOW), "{}", model.model);
            assert!(model.context_window.is_some(), "{}", model.model);
            let same = |other: &&ListedModel| other.model == model.model;
            assert_eq!(listed.iter().filter(same).count(), 1, "{}", model.model);
        }
    }

    #[test]
    fn a_model_says_which_settings_it_takes() {
        let listed = listed_models(NOW);
        let of = |name: &str| {
            let model = listed.iter().find(|listed| listed.model.name() == name);
            let model = model.unwrap();
            (model.sampling, model.reasoning_efforts.unwrap().len())
        };
        assert_eq!(of("claude-opus-5-5"), (SamplingUse::Refused, 5));
        assert_eq!(of("claude-haiku-4-5"), (SamplingUse::Conditional, 1));
        assert_eq!(of("gpt-5.4"), (SamplingUse::Accepted, 5));
        assert_eq!(of("gpt-6.1-terra"), (SamplingUse::Conditional, 6));
    }
}
