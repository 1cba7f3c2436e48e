//! `/v1/models`: the models that have a price, and whether this deployment can call them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::app::{Catalog, ListedModel, LongPrompt, Prices, SamplingUse};
use shared::domain::{Provider, ReasoningEffort};

use crate::Api;
use crate::auth::{AgentsRead, Caller};
use crate::problem::Problem;
use crate::query::Params;

/// The models that have a price, and all providers. A provider may serve other models too.
#[derive(Serialize)]
pub(crate) struct ModelsResponse {
    data: Vec<ListedModelResponse>,
    next_cursor: Option<String>,
    providers: Vec<ProviderResponse>,
    prices_version: &'static str,
}

#[derive(Serialize)]
struct ProviderResponse {
    provider: &'static str,
    available: bool,
}

#[derive(Serialize)]
struct ListedModelResponse {
    provider: &'static str,
    model: String,
    available: bool,
    micro_usd_per_million_tokens: PricesResponse,
    long_prompt: Option<LongPromptResponse>,
    context_window: Option<u32>,
    max_output_tokens: Option<u32>,
    reasoning_efforts: Option<&'static [ReasoningEffort]>,
    sampling: &'static str,
}

#[derive(Serialize)]
struct PricesResponse {
    input: u32,
    cache_read: u32,
    cache_write: u32,
    output: u32,
}

#[derive(Serialize)]
struct LongPromptResponse {
    over_input_tokens: u64,
    micro_usd_per_million_tokens: PricesResponse,
}

/// `GET /v1/models`: all models of the price table; they fit into one page.
pub(crate) async fn list_models(
    State(api): State<Api>,
    _caller: Caller<AgentsRead>,
    params: Params,
) -> Result<Json<ModelsResponse>, Problem> {
    params.finish()?;
    let available = &api.agents.providers;
    let Catalog {
        models,
        prices_version,
    } = api.agents.list_models();
    let providers = Provider::ALL.into_iter().map(|provider| ProviderResponse {
        provider: provider.as_str(),
        available: available.contains(&provider),
    });
    Ok(Json(ModelsResponse {
        data: models
            .into_iter()
            .map(|model| shown(model, available))
            .collect(),
        next_cursor: None,
        providers: providers.collect(),
        prices_version,
    }))
}

fn shown(listed: ListedModel, available: &[Provider]) -> ListedModelResponse {
    let ListedModel {
        model,
        prices,
        long_prompt,
        context_window,
        max_output_tokens,
        reasoning_efforts,
        sampling,
    } = listed;
    ListedModelResponse {
        provider: model.provider().as_str(),
        model: model.name().to_owned(),
        available: available.contains(&model.provider()),
        micro_usd_per_million_tokens: prices.into(),
        long_prompt: long_prompt.map(LongPromptResponse::from),
        context_window,
        max_output_tokens,
        reasoning_efforts,
        sampling: match sampling {
            SamplingUse::Accepted => "accepted",
            SamplingUse::Conditional => "conditional",
            SamplingUse::Refused => "refused",
        },
    }
}

impl From<Prices> for PricesResponse {
    fn from(prices: Prices) -> Self {
        let Prices {
            input,
            cache_read,
            cache_write,
            output,
        } = prices;
        Self {
            input,
            cache_read,
            cache_write,
            output,
        }
    }
}

impl From<LongPrompt> for LongPromptResponse {
    fn from(long: LongPrompt) -> Self {
        Self {
            over_input_tokens: long.over_input_tokens,
            micro_usd_per_million_tokens: long.prices.into(),
        }
    }
}
