//! `/v1/models`: the models that have a price, and whether this deployment can call them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::app::{Catalog, ListedModel, LongPrompt, Prices, SamplingUse};
use shared::domain::{Provider, ReasoningEffort};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{AgentsRead, Caller};
use crate::openapi::values;
use crate::problem::Problem;
use crate::query::Params;

/// The models that have a price, and all providers. A provider may serve other models too.
#[derive(Serialize, ToSchema)]
#[schema(as = Models)]
pub(crate) struct ModelsResponse {
    data: Vec<ListedModelResponse>,
    next_cursor: Option<String>,
    providers: Vec<ProviderResponse>,
    prices_version: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AvailableProvider)]
struct ProviderResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    available: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ListedModel)]
struct ListedModelResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    model: String,
    /// Whether this deployment has a key for the provider, or another address of it.
    available: bool,
    micro_usd_per_million_tokens: PricesResponse,
    /// The prices of a call with more input.
    long_prompt: Option<LongPromptResponse>,
    context_window: Option<u32>,
    max_output_tokens: Option<u32>,
    /// The values of `reasoning_effort` that it accepts; empty if it does not reason.
    #[schema(value_type = Option<Vec<values::ReasoningEffort>>)]
    reasoning_efforts: Option<&'static [ReasoningEffort]>,
    /// Whether it accepts `temperature` and `top_p`.
    #[schema(value_type = values::SamplingUse)]
    sampling: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Prices)]
struct PricesResponse {
    input: u32,
    cache_read: u32,
    cache_write: u32,
    output: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LongPrompt)]
struct LongPromptResponse {
    over_input_tokens: u64,
    micro_usd_per_million_tokens: PricesResponse,
}

/// Lists the models that have a price, and all providers.
///
/// They fit into one page.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = ModelsResponse)))]
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
