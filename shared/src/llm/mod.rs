//! The model providers behind the [`Model`] port.
//!
//! [`model()`] builds the stack of layers that a call goes through. The clients here make one
//! attempt, without a wait or a retry. The layers around them, one behaviour a file, are in
//! [`policy`](crate::policy). No error and no log line of this module has text of a prompt, an
//! answer or a key.

use std::collections::HashMap;
use std::sync::Arc;

pub mod access;
mod anthropic;
mod chat;
mod decoder;
#[cfg(any(test, feature = "testing"))]
pub mod decoding;
mod dialect;
mod endings;
mod failure;
mod finished;
mod halves;
pub mod http;
pub mod key;
mod lenient;
#[cfg(any(test, feature = "testing"))]
pub mod mutation;
mod openai;
pub mod pace;
mod provider_error;
pub mod router;
pub mod sse;
mod token;
mod transcript;
mod unreadable;
mod whole;

pub use access::{Access, BaseUrl, InvalidBaseUrl};
pub use http::http_client;
pub use key::ApiKey;
pub use pace::Timeouts;
pub use router::ModelRouter;

use anthropic::AnthropicClient;
use chat::ChatClient;
use openai::OpenAiClient;

use crate::domain::Provider;
use crate::policy::{
    Backoff, Breaker, BreakerSettings, CacheSettings, Cached, CostCaps, Fallback, Metered,
    Observed, PriceTable, Retry, RetryBudget,
};
use crate::ports::{AnswerCache, Circuits, Clock, Model};

/// How each provider is reached.
#[derive(Clone)]
pub struct Providers {
    /// Anthropic's API.
    pub anthropic: Access,
    /// OpenAI's API.
    pub openai: Access,
    /// The deployment's own server with OpenAI's Chat Completions API, if it has one.
    pub openai_compatible: Option<Access>,
    /// How long each of them may take.
    pub timeouts: Timeouts,
}

/// What the layers around the providers need.
#[derive(Clone)]
pub struct Layers {
    /// The store of cached answers.
    pub answers: Arc<dyn AnswerCache>,
    /// The store of the models' circuits.
    pub circuits: Arc<dyn Circuits>,
    /// When a circuit opens and closes.
    pub breaker: BreakerSettings,
    /// What calls may cost.
    pub caps: CostCaps,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// All models of all providers as one, over the client that [`http_client`] builds.
///
/// The layers of a call are listed from the provider outwards. The reasons for their order are in
/// `docs/decisions/0004-model-stack.md`.
pub fn model(http: &reqwest::Client, providers: Providers, layers: Layers) -> Arc<dyn Model> {
    let Layers {
        answers,
        circuits,
        breaker,
        caps,
        clock,
    } = layers;
    let clock = || Arc::clone(&clock);
    let model = Arc::new(router(http, providers, &clock()));
    let model = Arc::new(Metered::new(model, PriceTable::current(), caps, clock()));
    let model = Arc::new(Observed::new(
        model,
        PriceTable::current(),
        Arc::clone(&circuits),
        clock(),
    ));
    let model = Arc::new(Breaker::new(model, circuits, breaker, clock()));
    let retry = Retry::new(model, RetryBudget::default(), Backoff::Jittered, clock());
    let model = Arc::new(retry.with_longest_cooldown(breaker.longest_cooldown()));
    let model = Arc::new(Fallback::new(model));
    Arc::new(Cached::new(
        model,
        answers,
        CacheSettings::default(),
        clock(),
    ))
}

/// The clients of the providers, without layers around them.
pub fn router(http: &reqwest::Client, providers: Providers, clock: &Arc<dyn Clock>) -> ModelRouter {
    let Providers {
        anthropic,
        openai,
        openai_compatible,
        timeouts,
    } = providers;
    let (http, clock) = (|| http.clone(), || Arc::clone(clock));
    let mut clients: HashMap<Provider, Arc<dyn Model>> = HashMap::new();
    let client = AnthropicClient::new(http(), anthropic, timeouts, clock());
    clients.insert(Provider::Anthropic, Arc::new(client));
    let client = OpenAiClient::new(http(), openai, timeouts, clock());
    clients.insert(Provider::OpenAi, Arc::new(client));
    if let Some(access) = openai_compatible {
        let client = ChatClient::new(http(), access, timeouts, clock());
        clients.insert(Provider::OpenAiCompatible, Arc::new(client));
    }
    ModelRouter { clients }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
use tests::stand_in;
