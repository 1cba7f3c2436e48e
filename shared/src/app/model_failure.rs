//! The failure of a task whose model call failed. Its message says which model failed and how, what
//! the provider said, and what the task's owner can do.

use crate::domain::{BudgetScope, FailedAttempt, Failure, FailureCode, Provider, ProviderError};
use crate::ports::{ModelError, ModelErrorKind};

/// The task's failure after a failed model call.
pub(super) fn failure_of(error: &ModelError) -> Failure {
    let said = ProviderError::or_nothing(error.said.as_deref());
    let (provider, model) = (error.model.provider(), error.model.name());
    let what = match &said.tool {
        Some(tool) if error.kind == ModelErrorKind::Rejected => format!("refuses tool `{tool}`"),
        Some(_) | None => error.kind.to_string(),
    };
    let status = error.status.map(|status| format!("HTTP status {status}"));
    let code = said.code.as_ref().map(|code| format!("code {code}"));
    let particulars: Vec<String> = said
        .param
        .iter()
        .cloned()
        .chain(status)
        .chain(code)
        .collect();
    let particulars = if particulars.is_empty() {
        String::new()
    } else {
        format!(" ({})", particulars.join(", "))
    };
    // The platform's own words describe an unreadable response, a web page, and a call that was not
    // made.
    let is_ours = match error.kind {
        ModelErrorKind::BadAnswer | ModelErrorKind::CircuitOpen => said.code.is_none(),
        ref kind => matches!(
            kind,
            ModelErrorKind::BudgetExhausted(_)
                | ModelErrorKind::Unavailable
                | ModelErrorKind::Authentication
                | ModelErrorKind::KeyMissing
        ),
    };
    let speaker = if is_ours { "" } else { "the provider says: " };
    let message = said
        .message
        .as_ref()
        .map(|message| format!("; {speaker}{message}"))
        .unwrap_or_default();
    let advice = advice(error, said);
    let last_attempt = last_attempt(error);
    let message =
        format!("{provider} {model} {what}{particulars}: {advice}{message}{last_attempt}");
    Failure {
        code: error.kind.code(),
        message,
        attempts: error.attempts(),
    }
}

/// How the last attempt failed, if the error only says that no other attempt was made or that the
/// time was up.
fn last_attempt(error: &ModelError) -> String {
    let says_nothing = !error.kind.is_attempt() || error.kind == ModelErrorKind::CircuitOpen;
    let is_answer = |failed: &&FailedAttempt| {
        failed.model == error.model && failed.code != FailureCode::ModelCircuitOpen
    };
    let Some(last) = error
        .earlier
        .iter()
        .rfind(is_answer)
        .filter(|_| says_nothing)
    else {
        return String::new();
    };
    let status = last
        .status
        .map(|status| format!(" with HTTP status {status}"))
        .unwrap_or_default();
    let said = ProviderError::or_nothing(last.said.as_deref());
    let message = said
        .message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default();
    format!(
        "; the last attempt before that failed as {}{status}{message}",
        last.code.as_str()
    )
}

/// The deployment's parameters that say how a provider is reached.
struct Parameters {
    base_url: &'static str,
    key: &'static str,
}

const fn parameters(provider: Provider) -> Parameters {
    match provider {
        Provider::Anthropic => Parameters {
            base_url: "AnthropicBaseUrl",
            key: "AnthropicKeySecret",
        },
        Provider::OpenAi => Parameters {
            base_url: "OpenAiBaseUrl",
            key: "OpenAiKeySecret",
        },
        Provider::OpenAiCompatible => Parameters {
            base_url: "OpenAiCompatibleBaseUrl",
            key: "OpenAiCompatibleKeySecret",
        },
    }
}

/// What the task's owner can do, and where.
fn advice(error: &ModelError, said: &ProviderError) -> String {
    let Parameters { base_url, key } = parameters(error.model.provider());
    match &error.kind {
        ModelErrorKind::Unavailable => {
            format!("retry the task later, or add a model to the agent's models; if it stays so, check {base_url}")
        }
        ModelErrorKind::CircuitOpen
        | ModelErrorKind::OutOfTime
        | ModelErrorKind::InFlight
        | ModelErrorKind::BudgetReserved => {
            "retry the task later, or add a model to the agent's models".to_owned()
        }
        ModelErrorKind::RateLimited => {
            "retry the task later, or raise the account's rate limit at the provider; a request \
                                        over the limit itself needs a shorter input or a lower max_output_tokens"
                .to_owned()
        }
        ModelErrorKind::KeyUnavailable => {
            format!("check that the secret that {key} names can be read, and retry the task")
        }
        ModelErrorKind::KeyMissing if error.status.is_some() => {
            format!("no key was sent, because {key} is empty: store the key as a secret, and name that in {key}")
        }
        ModelErrorKind::KeyMissing => {
            format!(
                "create the secret that {key} names, with the key as its text, or let the executor read it \
                 (secretsmanager:GetSecretValue); then retry the task"
            )
        }
        ModelErrorKind::Timeout => {
            "lower the agent's max_output_tokens, raise the deployment's ModelTimeoutSeconds, or retry the task later"
                .to_owned()
        }
        ModelErrorKind::QuotaExhausted => {
            format!("add credit or raise the spend limit at the provider, for the key in the secret that {key} names")
        }
        ModelErrorKind::Authentication => {
            format!("check the key in the secret that {key} names, that its account may use the model, and {base_url}")
        }
        ModelErrorKind::Rejected => rejection_advice(error, said),
        ModelErrorKind::ContextTooLong => {
            "shorten the input, lower max_output_tokens, or take a model with a larger context window".to_owned()
        }
        ModelErrorKind::Refused => {
            "change the task's input or the agent's instructions, or the content filter at the provider".to_owned()
        }
        ModelErrorKind::BadAnswer if said.code.is_some() => {
            "retry the task, simplify the agent's tools and output_schema, or take another model".to_owned()
        }
        ModelErrorKind::BadAnswer => format!("check {base_url} and the provider's status"),
        ModelErrorKind::BudgetExhausted(scope) => cap_advice(*scope).to_owned(),
        ModelErrorKind::Unpriced => "take a model with a known price, or no max_cost_micro_usd".to_owned(),
    }
}

/// What the owner can do about this cap on cost.
const fn cap_advice(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Task => {
            "retry the task with a higher max_cost_micro_usd in limits (above the agent's, this needs the scope \
             tasks:limits); for new tasks, raise the agent's"
        }
        BudgetScope::Key => {
            "retry the task when the cap begins anew, raise the key's limits, or lower max_output_tokens"
        }
        BudgetScope::Tenant => {
            "retry the task when the cap begins anew, or let the operator raise the tenant's limits or the \
             deployment's TenantDailyBudgetMicroUsd"
        }
        BudgetScope::Deployment => {
            "retry the task when the cap begins anew, or raise DeploymentDailyBudgetMicroUsd"
        }
    }
}

/// What the owner can do about a refused request, by the part of it that the provider names.
fn rejection_advice(error: &ModelError, said: &ProviderError) -> String {
    let base_url = parameters(error.model.provider()).base_url;
    let root = said
        .param
        .as_deref()
        .map(|param| param.split(['.', '[', '/']).next().unwrap_or_default());
    let advice = match root {
        _ if said.tool.is_some() => "change that tool's input_schema in the agent's tools",
        Some("tools" | "functions" | "tool_choice" | "parallel_tool_calls") => {
            "change the agent's tools"
        }
        Some("response_format" | "text" | "output_config" | "output_format") => {
            "change the agent's output_schema"
        }
        Some("model") => "check this model's name in the agent's models",
        Some("max_tokens")
            if said
                .message
                .as_deref()
                .is_some_and(|text| text.contains("max_completion_tokens")) =>
        {
            "set output_limit_field of this model in the agent's models to max_completion_tokens"
        }
        Some("max_tokens" | "max_output_tokens" | "max_completion_tokens" | "max_new_tokens") => {
            "change the agent's max_output_tokens"
        }
        Some("temperature" | "top_p" | "reasoning" | "reasoning_effort" | "thinking") => {
            "change temperature, top_p or reasoning_effort of this model in the agent's models"
        }
        Some("stream" | "stream_options") => {
            "set stream to false for this model in the agent's models"
        }
        Some(
            "messages" | "input" | "inputs" | "system" | "instructions" | "prompt" | "contents",
        ) => "check the task's input, the agent's instructions and the results of the task's calls",
        Some(_) | None if error.status == Some(404) => {
            return format!("check this model's name in the agent's models, and {base_url}");
        }
        Some(_) | None => {
            "check this model's name and settings in the agent's models, and its tools, output_schema and max_output_tokens"
        }
    };
    advice.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ModelRef;

    fn message(
        provider: Provider,
        kind: ModelErrorKind,
        status: u16,
        said: ProviderError,
    ) -> String {
        let model = ModelRef::new(provider, "m-1").unwrap();
        failure_of(&ModelError {
            status: Some(status),
            said: Some(Box::new(said)),
            ..ModelError::new(model, kind)
        })
        .message
    }

    #[test]
    fn a_refused_tool_is_named_with_its_place_and_what_the_provider_says() {
        let said = ProviderError {
            code: Some("invalid_request_error/invalid_function_parameters".to_owned()),
            param: Some("tools[3].function.parameters".to_owned()),
            tool: Some("look_up".to_owned()),
            message: Some(
                "Invalid schema for function 'look_up': object schema missing properties."
                    .to_owned(),
            ),
        };
        assert_eq!(
            message(Provider::OpenAi, ModelErrorKind::Rejected, 400, said),
            "openai m-1 refuses tool `look_up` (tools[3].function.parameters, HTTP status 400, code \
             invalid_request_error/invalid_function_parameters): change that tool's input_schema in the agent's tools; the \
             provider says: Invalid schema for function 'look_up': object schema missing properties."
        );
    }

    #[test]
    fn what_the_platform_says_of_a_response_is_not_said_by_the_provider() {
        let said = ProviderError {
            message: Some("the response is a web page".to_owned()),
            ..ProviderError::default()
        };
        for kind in [
            ModelErrorKind::Unavailable,
            ModelErrorKind::Authentication,
            ModelErrorKind::BadAnswer,
        ] {
            let message = message(Provider::Anthropic, kind, 403, said.clone());
            assert!(
                message.ends_with("; the response is a web page"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_call_that_is_not_made_leaves_the_word_to_the_attempt_before_it() {
        let model = ModelRef::new(Provider::OpenAi, "m-1").unwrap();
        let limited = ModelError {
            status: Some(429),
            ..ModelError::new(model.clone(), ModelErrorKind::RateLimited)
        };
        let page = ModelError {
            status: Some(200),
            ..ModelError::new(model.clone(), ModelErrorKind::BadAnswer)
        };
        for (kind, earlier, expected) in [
            (
                ModelErrorKind::CircuitOpen,
                &limited,
                "model_rate_limited with HTTP status 429",
            ),
            (
                ModelErrorKind::CircuitOpen,
                &page,
                "model_bad_answer with HTTP status 200",
            ),
            (
                ModelErrorKind::OutOfTime,
                &page,
                "model_bad_answer with HTTP status 200",
            ),
        ] {
            let error = ModelError {
                earlier: vec![earlier.attempt()],
                ..ModelError::new(model.clone(), kind)
            };
            let message = failure_of(&error).message;
            assert!(
                message.ends_with(&format!(
                    "; the last attempt before that failed as {expected}"
                )),
                "{message}"
            );
        }
        let again = ModelError {
            earlier: vec![limited.attempt()],
            ..page
        };
        assert!(!failure_of(&again).message.contains("429"));
    }

    #[test]
    fn a_refused_part_of_the_request_leads_to_the_agents_own_field() {
        let fields = [
            ("tools[0].type", "agent's tools"),
            ("model", "name in the agent's models"),
            ("response_format", "output_schema"),
            ("text.format.schema", "output_schema"),
            ("output_config.format", "output_schema"),
            ("max_tokens", "max_output_tokens"),
            ("temperature", "temperature"),
            ("reasoning.effort", "reasoning_effort"),
            ("stream", "stream to false"),
            ("messages.1.content", "task's input"),
            ("store", "max_output_tokens"),
        ];
        for (param, field) in fields {
            let said = ProviderError {
                param: Some(param.to_owned()),
                ..ProviderError::default()
            };
            let message = message(
                Provider::OpenAiCompatible,
                ModelErrorKind::Rejected,
                400,
                said,
            );
            assert!(
                message.contains(field) && message.contains(param),
                "{param}: {message}"
            );
        }
        let unknown = message(
            Provider::OpenAiCompatible,
            ModelErrorKind::Rejected,
            404,
            ProviderError::default(),
        );
        assert!(
            unknown.ends_with(
                "check this model's name in the agent's models, and OpenAiCompatibleBaseUrl"
            ),
            "{unknown}"
        );
    }

    #[test]
    fn each_message_names_the_setting_that_mends_it() {
        let settings = [
            (ModelErrorKind::Unavailable, "AnthropicBaseUrl"),
            (ModelErrorKind::RateLimited, "rate limit"),
            (ModelErrorKind::Timeout, "ModelTimeoutSeconds"),
            (ModelErrorKind::QuotaExhausted, "AnthropicKeySecret"),
            (ModelErrorKind::Authentication, "AnthropicKeySecret"),
            (ModelErrorKind::KeyUnavailable, "AnthropicKeySecret"),
            (
                ModelErrorKind::KeyMissing,
                "no key was sent, because AnthropicKeySecret is empty",
            ),
            (ModelErrorKind::ContextTooLong, "context window"),
            (ModelErrorKind::Refused, "instructions"),
            (ModelErrorKind::BadAnswer, "AnthropicBaseUrl"),
        ];
        for (kind, setting) in settings {
            let message = message(Provider::Anthropic, kind, 418, ProviderError::default());
            assert!(
                message.starts_with("anthropic m-1 ") && message.contains(" (HTTP status 418): "),
                "{message}"
            );
            assert!(message.contains(setting), "{message}");
        }
        let said = ProviderError {
            code: Some("tool_use_failed".to_owned()),
            ..ProviderError::default()
        };
        let bad_call = message(
            Provider::OpenAiCompatible,
            ModelErrorKind::BadAnswer,
            400,
            said,
        );
        assert!(
            bad_call.contains("code tool_use_failed")
                && bad_call.contains("simplify the agent's tools"),
            "{bad_call}"
        );
    }

    #[test]
    fn the_documented_classes_say_what_the_platform_and_the_reader_do() {
        let docs = include_str!("../../../docs/model-errors.md");
        let kinds = [
            ModelErrorKind::Unavailable,
            ModelErrorKind::Timeout,
            ModelErrorKind::RateLimited,
            ModelErrorKind::QuotaExhausted,
            ModelErrorKind::Authentication,
            ModelErrorKind::Rejected,
            ModelErrorKind::ContextTooLong,
            ModelErrorKind::Refused,
            ModelErrorKind::BadAnswer,
        ];
        for kind in kinds {
            let row = format!("| `{}` | ", kind.code().as_str());
            let row = docs.lines().find(|line| line.starts_with(&row)).unwrap();
            let expected = match kind {
                ModelErrorKind::BadAnswer => " | tries once more | ",
                _ if kind.is_retryable() => " | tries again",
                _ => " | fails | ",
            };
            let model = ModelRef::new(Provider::Anthropic, "m-1").unwrap();
            let advice = advice(&ModelError::new(model, kind), &ProviderError::default());
            assert!(
                row.contains(expected) && row.ends_with(&format!(" | {advice} |")),
                "{row}"
            );
        }
    }
}
