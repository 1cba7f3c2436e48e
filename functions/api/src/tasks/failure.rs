//! Why a task failed, in responses.

use serde::Serialize;
use shared::domain::{FailedAttempt, Failure, FailureCode, ProviderError};
use utoipa::ToSchema;

use crate::openapi::values;

/// The fields of a failed task.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskError)]
pub(super) struct ErrorResponse {
    #[schema(value_type = values::FailureCode)]
    code: FailureCode,
    message: String,
    dead_lettered: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptResponse>,
}

/// One failed attempt at a model.
#[derive(Serialize, ToSchema)]
#[schema(as = FailedAttempt)]
struct AttemptResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    model: String,
    #[schema(value_type = values::FailureCode)]
    code: FailureCode,
    status: Option<u16>,
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
}

impl From<&Failure> for ErrorResponse {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message.clone(),
            dead_lettered: failure.code.is_dead_letter(),
            attempts: failure.attempts.iter().map(AttemptResponse::from).collect(),
        }
    }
}

impl From<&FailedAttempt> for AttemptResponse {
    fn from(attempt: &FailedAttempt) -> Self {
        let said = ProviderError::or_nothing(attempt.said.as_deref()).clone();
        let ProviderError {
            code,
            param,
            tool,
            message,
        } = said;
        Self {
            provider: attempt.model.provider().as_str(),
            model: attempt.model.name().to_owned(),
            code: attempt.code,
            status: attempt.status,
            request_id: attempt.request_id.clone(),
            provider_code: code,
            param,
            tool,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::domain::{ModelRef, Provider};

    use super::*;

    #[test]
    fn an_attempt_shows_what_the_provider_said_if_it_said_anything() {
        let text = |text: &str| Some(text.to_owned());
        let said = ProviderError {
            code: text("invalid_function_parameters"),
            param: text("tools[3].parameters"),
            tool: text("look_up"),
            message: text("object schema missing properties"),
        };
        let model = ModelRef::new(Provider::OpenAi, "gpt-6-luna")
            .unwrap_or_else(|invalid| panic!("{invalid:?}"));
        let (code, status) = (FailureCode::ModelRejected, Some(400));
        let silent = FailedAttempt {
            model,
            code,
            status,
            request_id: None,
            said: None,
        };
        let mut expected = serde_json::json!({
            "provider": "openai", "model": "gpt-6-luna", "code": "model_rejected", "status": 400, "request_id": null,
        });
        assert_eq!(serde_json::json!(AttemptResponse::from(&silent)), expected);
        let explained = FailedAttempt {
            said: Some(Box::new(said)),
            ..silent
        };
        expected["provider_code"] = "invalid_function_parameters".into();
        expected["param"] = "tools[3].parameters".into();
        expected["tool"] = "look_up".into();
        expected["message"] = "object schema missing properties".into();
        assert_eq!(
            serde_json::json!(AttemptResponse::from(&explained)),
            expected
        );
    }
}
