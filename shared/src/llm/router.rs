//! Routes a request to the client of its model's provider.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{ModelAnswer, ModelRequest, Provider};
use crate::ports::{Model, ModelError, ModelErrorKind};

/// Calls the provider that serves the request's model.
pub struct ModelRouter {
    /// The client of each provider that the deployment has.
    pub clients: HashMap<Provider, Arc<dyn Model>>,
}

/// The deployment has no access to the provider.
#[derive(Debug, thiserror::Error)]
#[error("this deployment has no such provider")]
struct NoSuchProvider;

#[async_trait]
impl Model for ModelRouter {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let Some(client) = self.clients.get(&request.model().provider()) else {
            let refused = ModelError::new(request.model().clone(), ModelErrorKind::Rejected);
            return Err(ModelError {
                source: Some(Box::new(NoSuchProvider)),
                ..refused
            });
        };
        client.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ModelChain, ModelRef};
    use crate::testing::{ScriptedModel, samples};

    fn request_to(provider: Provider) -> ModelRequest {
        let model = ModelRef::new(provider, "m").unwrap();
        ModelRequest {
            chain: ModelChain::only(model.into()),
            ..samples::model_request("hello")
        }
    }

    #[tokio::test]
    async fn each_provider_is_called_for_its_own_models() {
        let models = Provider::ALL.map(|_| Arc::new(ScriptedModel::default()));
        let clients = models.clone().map(|model| model as Arc<dyn Model>);
        let router = ModelRouter {
            clients: Provider::ALL.into_iter().zip(clients).collect(),
        };
        let requests = Provider::ALL.map(request_to);
        for request in &requests {
            router.call(request).await.unwrap();
        }
        assert_eq!(
            models.map(|model| model.requests()),
            requests.map(|request| vec![request])
        );
    }

    #[tokio::test]
    async fn a_provider_that_the_deployment_lacks_refuses() {
        let anthropic: Arc<dyn Model> = Arc::new(ScriptedModel::default());
        let router = ModelRouter {
            clients: HashMap::from([(Provider::Anthropic, anthropic)]),
        };
        let error = router
            .call(&request_to(Provider::OpenAiCompatible))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.spend.attempts),
            (ModelErrorKind::Rejected, 0)
        );
    }
}
