//! From a model to the client of its provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{ModelAnswer, ModelRequest, Provider};
use crate::ports::{Model, ModelError};

/// Asks the provider that serves the request's model.
pub struct ModelRouter {
    /// Serves Anthropic's models.
    pub anthropic: Arc<dyn Model>,
    /// Serves OpenAI's models.
    pub openai: Arc<dyn Model>,
}

#[async_trait]
impl Model for ModelRouter {
    async fn ask(&self, request: &ModelRequest, timeout: Duration) -> Result<ModelAnswer, ModelError> {
        let client = match request.model.provider() {
            Provider::Anthropic => &self.anthropic,
            Provider::OpenAi => &self.openai,
        };
        client.ask(request, timeout).await
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Provider;
    use crate::llm::stand_in::{self, Reply, Server};
    use crate::llm::{Providers, http_client, model};

    #[tokio::test]
    async fn each_provider_is_asked_for_its_own_models() {
        let anthropic = Server::start(Reply::ok(include_str!("fixtures/anthropic_message.json"))).await;
        let openai = Server::start(Reply::ok(include_str!("fixtures/openai_response.json"))).await;
        let providers = Providers { anthropic: anthropic.access(), openai: openai.access() };
        let model = model(&http_client().unwrap(), providers);
        for provider in [Provider::Anthropic, Provider::OpenAi, Provider::OpenAi] {
            stand_in::ask(model.as_ref(), provider).await.unwrap();
        }
        assert_eq!((anthropic.requests().len(), openai.requests().len()), (1, 2));
    }
}
