//! The spans, log lines and metrics of steps.

use std::time::Duration;

use tracing::{Span, field};

use super::exit::Exit;
use crate::domain::{
    CacheMode, CacheRules, Causes, FailedAttempt, FailureCode, ModelAnswer, ModelRef, ModelRequest,
    Origin, PendingCall, Provider, ProviderError, StopReason, whole_millis,
};
use crate::metric;
use crate::ports::{ModelError, ModelErrorKind};

/// The span of a step that answers a call.
pub(super) fn execute_tool(call: &PendingCall, tool: Option<&'static str>) -> Span {
    let (step, tool_call_id) = (call.number, call.call.id.as_str());
    tracing::info_span!(
        "execute_tool",
        step,
        tool,
        tool_call_id,
        is_error = field::Empty
    )
}

/// Counts a call of a tool.
pub(super) fn count_tool(tool: Option<&str>, is_error: bool, duration: Duration) {
    metric::STEP_DURATION.note([], duration);
    let Some(tool) = tool else {
        return metric::BAD_TOOL_CALLS.add([], 1);
    };
    metric::TOOL_CALLS.add([tool], 1);
    metric::TOOL_ERRORS.add([tool], u64::from(is_error));
    metric::TOOL_LATENCY.note([tool], duration);
}

/// The span of a step that calls a model.
pub(super) fn chat(step: u32, request: &ModelRequest) -> Span {
    tracing::info_span!(
        "chat",
        step,
        provider = request.model().provider().as_str(),
        model = request.model().name(),
        max_output_tokens = request.prompt.max_output_tokens,
        served_model = field::Empty,
        stop_reason = field::Empty,
        input_tokens = field::Empty,
        output_tokens = field::Empty,
        cache_read_tokens = field::Empty,
        cache_write_tokens = field::Empty,
        cost_micro_usd = field::Empty,
        model_attempts = field::Empty,
        origin = field::Empty,
        cache = field::Empty,
        error_type = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Records what the answer was on its span.
pub(super) fn note_answer(span: &Span, answer: &ModelAnswer) {
    span.record("served_model", answer.served_model.as_str())
        .record("stop_reason", answer.stop_reason.as_str())
        .record("input_tokens", answer.usage.input_tokens)
        .record("output_tokens", answer.usage.output_tokens)
        .record("cache_read_tokens", answer.usage.cache_read_tokens)
        .record("cache_write_tokens", answer.usage.cache_write_tokens)
        .record("cost_micro_usd", answer.spend.cost.micro_usd)
        .record("model_attempts", answer.spend.attempts)
        .record("origin", answer.origin.as_str());
}

/// What the cache did, if the request may use it.
pub(super) fn cache_decision(
    request: &ModelRequest,
    result: &Result<ModelAnswer, ModelError>,
) -> Option<&'static str> {
    let (CacheRules::On(_), mode) = (request.cache, request.cache_use.mode) else {
        return None;
    };
    let origin = match result {
        Ok(answer) => answer.origin,
        Err(error) if error.kind == ModelErrorKind::InFlight => return Some("wait"),
        Err(_) => Origin::Provider,
    };
    Some(match (origin, mode) {
        (Origin::Cache { .. }, _) => "hit",
        (Origin::SingleFlight, _) => "coalesced",
        (Origin::Stale { .. }, _) => "stale",
        (Origin::Provider, CacheMode::Default) => "miss",
        (Origin::Provider, CacheMode::Refresh) => "refresh",
        (Origin::Provider, CacheMode::Bypass) => "bypass",
        (Origin::Provider, CacheMode::Off) => "off",
    })
}

/// Writes the line of an answer.
pub(super) fn log_answer(
    step: u32,
    request: &ModelRequest,
    answer: &ModelAnswer,
    duration_ms: u64,
) {
    let requested = Some(request.model()).filter(|requested| **requested != answer.model);
    tracing::info!(
        step,
        provider = answer.model.provider().as_str(),
        model = answer.model.name(),
        requested = requested.map(ToString::to_string),
        served_model = answer.served_model,
        provider_request_id = answer.request_id,
        stop_reason = answer.stop_reason.as_str(),
        max_output_tokens = request.prompt.max_output_tokens,
        tools = request.prompt.tools.len(),
        tool_calls = answer.tool_calls().count(),
        input_tokens = answer.usage.input_tokens,
        output_tokens = answer.usage.output_tokens,
        cost_micro_usd = answer.spend.cost.micro_usd,
        unpriced_calls = answer.spend.cost.unpriced_calls,
        model_attempts = answer.spend.attempts,
        origin = answer.origin.as_str(),
        duration_ms,
        "model answered"
    );
    let is_fresh = answer.origin == Origin::Provider;
    if is_fresh && is_other_model(&answer.model, &answer.served_model) {
        tracing::warn!(
            step,
            provider = answer.model.provider().as_str(),
            model = answer.model.name(),
            served_model = answer.served_model,
            provider_request_id = answer.request_id,
            "another model answered"
        );
    }
    if is_fresh && is_cut_early(answer, request.prompt.max_output_tokens) {
        tracing::warn!(
            step,
            provider = answer.model.provider().as_str(),
            model = answer.model.name(),
            provider_request_id = answer.request_id,
            max_output_tokens = request.prompt.max_output_tokens,
            output_tokens = answer.usage.output_tokens,
            "answer was cut below the requested limit"
        );
    }
}

/// Whether the answer was cut at the limit of tokens, but has clearly fewer tokens than the
/// `requested` limit: at least 16 and a tenth fewer, because a provider may stop a few tokens
/// before. A server that reports no usage says nothing.
fn is_cut_early(answer: &ModelAnswer, requested: u32) -> bool {
    let (tokens, requested) = (answer.usage.output_tokens, u64::from(requested));
    let margin = (requested / 10).max(16);
    answer.stop_reason == StopReason::MaxTokens
        && tokens > 0
        && tokens.saturating_add(margin) < requested
}

/// Whether a response names another model than the requested one. A served name may have a date or
/// a prefix more or less: `claude-x` is served as `claude-x-20260901`, `x-latest` as `x-20260901`,
/// and a gateway names it `anthropic/claude-x`. Servers of the OpenAI-compatible provider may name
/// their model as they like.
fn is_other_model(requested: &ModelRef, served: &str) -> bool {
    let base = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix("-latest").unwrap_or(name);
        name.to_ascii_lowercase()
    };
    let (requested_name, served) = (base(requested.name()), base(served));
    match requested.provider() {
        Provider::OpenAiCompatible => false,
        Provider::Anthropic | Provider::OpenAi => {
            !served.contains(&requested_name) && !requested_name.contains(&served)
        }
    }
}

/// Whether another line already says, or will say, why no provider was called: a wait has the line
/// of the parked task, and a refusal by a cap on cost has its own. A call that was made may be
/// billed, which a line must say.
pub(super) fn is_logged_elsewhere(error: &ModelError, exit: &Exit) -> bool {
    let is_wait = error.recovery.is_some() && matches!(exit, Exit::Parked(..));
    let is_capped = error.kind.code() == FailureCode::BudgetExhausted;
    error.spend.attempts == 0 && (is_wait || is_capped)
}

/// Logs a failed call. A failed call has no step, so the line has its cost.
pub(super) fn log_failure(step: u32, error: &ModelError, duration_ms: u64) {
    // If the circuit is open, the model was not called: the line has its last response.
    let is_refused = error.kind == ModelErrorKind::CircuitOpen;
    let said = |attempt: &&FailedAttempt| attempt.model == error.model && attempt.status.is_some();
    let last = error.earlier.iter().rfind(said).filter(|_| is_refused);
    let (status, request_id) = last.map_or((error.status, &error.request_id), |last| {
        (last.status, &last.request_id)
    });
    let said = ProviderError::or_nothing(last.map_or(&error.said, |last| &last.said).as_deref());
    tracing::warn!(
        step,
        provider = error.model.provider().as_str(),
        model = error.model.name(),
        provider_status = status,
        provider_request_id = request_id,
        provider_code = said.code,
        provider_param = said.param,
        provider_message = said.message,
        model_attempts = error.spend.attempts,
        cost_micro_usd = error.spend.cost.micro_usd,
        unpriced_calls = error.spend.cost.unpriced_calls,
        retry_after_ms = error.retry_after.map(whole_millis),
        duration_ms,
        error = %Causes(error),
        "model call failed"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CacheTerms, Usage};
    use crate::testing::samples;

    #[track_caller]
    fn check(mode: CacheMode, result: &Result<ModelAnswer, ModelError>, expected: &'static str) {
        let mut request = ModelRequest {
            cache: CacheRules::On(CacheTerms::default()),
            ..samples::model_request("hello")
        };
        request.cache_use.mode = mode;
        assert_eq!(
            cache_decision(&request, result),
            Some(expected),
            "{result:?}"
        );
        request.cache = CacheRules::Off;
        assert_eq!(cache_decision(&request, result), None);
    }

    #[test]
    fn the_span_says_what_the_cache_did() {
        let answered = |mode, origin, expected| {
            let answer = ModelAnswer {
                origin,
                ..samples::answer("")
            };
            check(mode, &Ok(answer), expected);
        };
        let age_seconds = 9;
        answered(CacheMode::Default, Origin::Provider, "miss");
        answered(CacheMode::Default, Origin::Cache { age_seconds }, "hit");
        answered(CacheMode::Default, Origin::SingleFlight, "coalesced");
        answered(CacheMode::Default, Origin::Stale { age_seconds }, "stale");
        answered(CacheMode::Refresh, Origin::Provider, "refresh");
        answered(CacheMode::Bypass, Origin::Provider, "bypass");
        answered(CacheMode::Off, Origin::Provider, "off");
        let failed = |kind, expected| {
            let error = ModelError::new(samples::model(), kind);
            check(CacheMode::Default, &Err(error), expected);
        };
        failed(ModelErrorKind::InFlight, "wait");
        failed(ModelErrorKind::Unavailable, "miss");
    }

    #[test]
    fn only_an_answer_clearly_below_the_requested_limit_is_cut_early() {
        let max = StopReason::MaxTokens;
        for (stop_reason, output_tokens, requested, is_early) in [
            (max, 48, 4_096, true),
            (max, 3_686, 4_096, true),
            (max, 3_687, 4_096, false),
            (max, 4_096, 4_096, false),
            (max, 15, 32, true),
            (max, 16, 32, false),
            (max, 1, 16, false),
            (max, 0, 4_096, false),
            (StopReason::EndTurn, 48, 4_096, false),
            (StopReason::ContextWindow, 48, 4_096, false),
        ] {
            let usage = Usage {
                output_tokens,
                ..Usage::default()
            };
            let answer = ModelAnswer {
                stop_reason,
                usage,
                ..samples::answer("Paris")
            };
            assert_eq!(
                is_cut_early(&answer, requested),
                is_early,
                "{stop_reason:?} {output_tokens} {requested}"
            );
        }
    }

    #[test]
    fn a_served_model_is_the_requested_one_despite_a_date_or_a_prefix() {
        let (claude, gpt) = (Provider::Anthropic, Provider::OpenAi);
        for (provider, requested, served, is_other) in [
            (claude, "claude-sonnet-5-5", "claude-sonnet-5-5", false),
            (
                claude,
                "claude-sonnet-5-5",
                "claude-sonnet-5-5-20260901",
                false,
            ),
            (
                claude,
                "claude-sonnet-5-5-20260901",
                "claude-sonnet-5-5",
                false,
            ),
            (
                claude,
                "claude-sonnet-5-5-latest",
                "claude-sonnet-5-5-20260901",
                false,
            ),
            (
                claude,
                "claude-sonnet-5-5",
                "anthropic/claude-sonnet-5-5",
                false,
            ),
            (
                claude,
                "claude-sonnet-5-5",
                "us.anthropic.claude-sonnet-5-5-v1:0",
                false,
            ),
            (
                claude,
                "claude-sonnet-5-5",
                "claude-haiku-3-5-20241022",
                true,
            ),
            (gpt, "gpt-6.1-terra", "gpt-6.1-terra-2026-09-01", false),
            (gpt, "openai/gpt-6.1-terra", "GPT-6.1-Terra", false),
            (gpt, "gpt-6.1-terra", "gpt-6.1-luna", true),
            (
                Provider::OpenAiCompatible,
                "llama",
                "/models/default.gguf",
                false,
            ),
        ] {
            let model = ModelRef::new(provider, requested).unwrap();
            assert_eq!(
                is_other_model(&model, served),
                is_other,
                "{requested} {served}"
            );
        }
    }
}
