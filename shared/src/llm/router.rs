//! From a model to the client of its provider.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{ModelAnswer, ModelRequest, Provider};
use crate::ports::{Model, ModelError, ModelErrorKind};

/// Asks the provider that serves the request's model.
pub struct ModelRouter {
    /// Serves Anthropic's models.
    pub anthropic: Arc<dyn Model>,
    /// Serves OpenAI's models.
    pub openai: Arc<dyn Model>,
    /// Serves the models of the deployment's own server, if it has one.
    pub openai_compatible: Option<Arc<dyn Model>>,
}

/// The deployment has no access to the provider.
#[derive(Debug, thiserror::Error)]
#[error("this deployment has no such provider")]
struct NoSuchProvider;

#[async_trait]
impl Model for ModelRouter {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let client = match request.model().provider() {
            Provider::Anthropic => Some(&self.anthropic),
            Provider::OpenAi => Some(&self.openai),
            Provider::OpenAiCompatible => self.openai_compatible.as_ref(),
        };
        let Some(client) = client else {
            let refused = ModelError::new(request.model().clone(), ModelErrorKind::Rejected);
            return Err(ModelError {
                source: Some(Box::new(NoSuchProvider)),
                ..refused
            });
        };
        client.ask(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ModelChain, ModelRef};
    use crate::testing::{ScriptedModel, samples};

    fn asking(provider: Provider) -> ModelRequest {
        let model = ModelRef::new(provider, "m").unwrap();
        ModelRequest {
            chain: ModelChain::only(model.into()),
            ..samples::question("hello")
        }
    }

    #[tokio::test]
    async fn each_provider_is_asked_for_its_own_models() {
        let models = [(); 3].map(|()| Arc::new(ScriptedModel::default()));
        let [anthropic, openai, compatible] = models.clone().map(|model| model as Arc<dyn Model>);
        let router = ModelRouter {
            anthropic,
            openai,
            openai_compatible: Some(compatible),
        };
        let providers = [
            Provider::Anthropic,
            Provider::OpenAi,
            Provider::OpenAiCompatible,
        ];
        let requests = providers.map(asking);
        for request in &requests {
            router.ask(request).await.unwrap();
        }
        assert_eq!(
            models.map(|model| model.asked()),
            requests.map(|request| vec![request])
        );
    }

    #[tokio::test]
    async fn a_provider_that_the_deployment_lacks_refuses() {
        let anthropic: Arc<dyn Model> = Arc::new(ScriptedModel::default());
        let router = ModelRouter {
            openai: Arc::clone(&anthropic),
            anthropic,
            openai_compatible: None,
        };
        let error = router
            .ask(&asking(Provider::OpenAiCompatible))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.spend.attempts),
            (ModelErrorKind::Rejected, 0)
        );
    }
}
