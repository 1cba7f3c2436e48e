//! The model providers behind the [`Model`] port.
//!
//! [`model()`] stacks what a call goes through, one behaviour a file. A call is one question and one answer, tried once:
//! nothing here waits or repeats. No error and no log line made here has text of a prompt, an answer or a key.

use std::sync::Arc;

pub mod access;
pub mod anthropic;
mod failure;
pub mod http;
pub mod key;
pub mod openai;
pub mod router;
pub mod sse;

pub use access::{Access, BaseUrl, InvalidBaseUrl};
pub use anthropic::AnthropicClient;
pub use http::http_client;
pub use key::ApiKey;
pub use openai::OpenAiClient;
pub use router::ModelRouter;

use crate::ports::Model;

/// How each provider is reached.
#[derive(Clone)]
pub struct Providers {
    /// Anthropic's API.
    pub anthropic: Access,
    /// OpenAI's API.
    pub openai: Access,
}

/// All models of all providers as one, over the client that [`http_client`] builds.
pub fn model(http: &reqwest::Client, providers: Providers) -> Arc<dyn Model> {
    Arc::new(ModelRouter {
        anthropic: Arc::new(AnthropicClient::new(http.clone(), providers.anthropic)),
        openai: Arc::new(OpenAiClient::new(http.clone(), providers.openai)),
    })
}

#[cfg(test)]
mod stand_in;
