//! The names and words of errors, of all providers, and what they mean.
//!
//! The first rule that fits decides; if none does, the status does. A rule that
//! allows a retry is narrower than a rule that ends the call: a provider may quote the prompt, and
//! words of the prompt must not cause a retry of a refused request.

use crate::ports::ModelErrorKind;

/// What errors with some names or words mean.
pub(super) struct Rule {
    pub(super) kind: ModelErrorKind,
    pub(super) on: On,
    /// Names in lower case. A star stands for any rest.
    pub(super) names: &'static [&'static str],
    /// Words in lower case, anywhere in a text's beginning.
    pub(super) says: &'static [&'static str],
    /// Words in lower case that begin a text, or a part of it after a punctuation mark. After a
    /// `^`, they begin the text.
    pub(super) begins: &'static [&'static str],
}

/// The HTTP statuses for which a rule holds.
pub(super) enum On {
    /// Any status.
    Any,
    /// Statuses that say little: no status, 400 and server errors.
    Vague,
    /// Any status that does not blame the request: all but 400, 404 and 422.
    Transient,
    /// Any status but server errors.
    NoServerError,
    /// 200: the error is in the body of a success.
    Success,
    /// Any status, if the response names no wait.
    WithoutWait,
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        kind: ModelErrorKind::QuotaExhausted,
        on: On::Any,
        names: &[
            // OpenAI
            "billing_hard_limit_reached",
            "billing_not_active",
            "credit_balance_exhausted",
            "insufficient_quota",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
            // Anthropic
            "billing_error",
            "contract_spend_limit_reached",
            "enforced_spend_limit_reached",
            "linked_organization_billing_unavailable",
            "linked_organization_spend_limit_reached",
            // LiteLLM, Bedrock, Moonshot, Alibaba
            "budget_exceeded",
            "servicequotaexceededexception",
            "exceeded_current_quota_error",
            "arrearage",
            "insufficient_balance",
            "insufficient_credits",
        ],
        says: &[
            // Anthropic
            "your credit balance is too low",
            "you have reached your specified api usage limits",
            "you have reached your specified workspace api usage limits",
            // xAI, OpenRouter
            "used all available credits",
            "requires more credits",
            "insufficient credits",
            "key limit exceeded",
            // Groq, Fireworks
            "has reached its spend limit",
            "monthly spending limit",
            // Gateways
            "you have exceeded your quota",
        ],
        // DeepSeek
        begins: &["insufficient balance"],
    },
    Rule {
        kind: ModelErrorKind::BadAnswer,
        on: On::Any,
        // Groq
        names: &[
            "tool_use_failed",
            "json_validate_failed",
            "output_parse_failed",
        ],
        says: &[],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::BadAnswer,
        on: On::Vague,
        names: &[],
        says: &[],
        begins: &[
            // Groq
            "failed to call a function",
            "failed to generate json",
            "tool call validation failed",
            // Ollama, llama.cpp
            "error parsing tool call",
            "failed to parse input at pos",
        ],
    },
    Rule {
        kind: ModelErrorKind::Refused,
        on: On::Any,
        names: &[
            // Azure
            "content_filter",
            "responsibleaipolicyviolation",
            // OpenAI
            "content_policy_violation",
            "bio_policy*",
            "cyber_policy*",
            "misalignment_policy*",
            "image_content_policy*",
            "moderation_blocked",
            // LiteLLM, Alibaba, Gemini
            "contentpolicyviolationerror",
            "data_inspection_failed",
            "datainspectionfailed",
            "prohibited_content",
        ],
        says: &[
            // OpenAI
            "flagged as potentially violating our usage policy",
            "rejected as a result of our safety system",
            // Azure, Anthropic
            "content management policy",
            "blocked by content filtering policy",
            "appears to violate our usage policy",
            // OpenRouter
            "your input was flagged",
        ],
        // DeepSeek, xAI, OpenRouter
        begins: &[
            "content exists risk",
            "content violates usage guidelines",
            "input was flagged",
        ],
    },
    Rule {
        kind: ModelErrorKind::RateLimited,
        on: On::Any,
        names: &[
            // OpenAI, Anthropic, Groq, Moonshot
            "rate_limit*",
            // LiteLLM, Mistral
            "ratelimit*",
            "too_many_requests*",
            // Bedrock
            "throttling*",
            "toomanyrequests*",
            // Gemini, Alibaba
            "resource_exhausted",
            "limit_requests",
            "limit_burst_rate",
        ],
        says: &[],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::RateLimited,
        on: On::NoServerError,
        names: &["slow_down"],
        says: &[],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::RateLimited,
        on: On::Transient,
        names: &[],
        // OpenAI, Groq, Gemini
        says: &[
            "tokens per minute (tpm)",
            "tokens per min (tpm)",
            "requests per minute",
        ],
        // OpenAI, Azure, Bedrock
        begins: &[
            "rate limit reached",
            "rate limit exceeded",
            "rate limit is exceeded",
            "too many requests",
            "too many tokens, please wait",
        ],
    },
    // With these statuses a text may quote the prompt, but it rarely begins with the quotation.
    Rule {
        kind: ModelErrorKind::RateLimited,
        on: On::Vague,
        names: &[],
        says: &[],
        begins: &[
            "^rate limit reached",
            "^rate limit exceeded",
            "^rate limited",
            "^too many requests",
        ],
    },
    Rule {
        kind: ModelErrorKind::Unavailable,
        on: On::Vague,
        names: &[],
        says: &[],
        begins: &[
            "^overloaded",
            "^the server is currently overloaded",
            "^the server is busy",
            "^request timed out",
        ],
    },
    // OpenAI's sentence. Google uses it for limits per minute too, and then names a wait.
    Rule {
        kind: ModelErrorKind::QuotaExhausted,
        on: On::WithoutWait,
        names: &[],
        says: &["you exceeded your current quota"],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::RateLimited,
        on: On::Any,
        names: &[],
        says: &["you exceeded your current quota"],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::ContextTooLong,
        on: On::Any,
        names: &[
            // OpenAI, llama.cpp, LiteLLM
            "context_length_exceeded",
            "exceed_context_size_error",
            "contextwindowexceedederror",
            // Anthropic, xAI, Copilot
            "request_too_large",
            "input_too_large",
            "model_max_prompt_tokens_exceeded",
        ],
        says: &[
            // OpenAI, Azure, vLLM, DeepSeek, OpenRouter, SGLang, Mistral
            "maximum context length",
            "model's context length",
            "exceeds the context window",
            "reduce the length of the messages",
            "reduce the length of the input",
            // vLLM
            "longer than the maximum model length",
            "must be at least 1, got -",
            // llama.cpp and its bindings
            "exceeds the available context size",
            "context size has been exceeded",
            "exceed context window of",
            // Ollama, LM Studio, oMLX
            "exceeds the context length",
            "exceeded max context length",
            "greater than the context length",
            "when context the overflows",
            ">= n_ctx",
            "exceeds max context window",
            // LiteLLM
            "contextwindowexceedederror",
            // Anthropic and Bedrock
            "exceed context limit",
            "input is too long for requested model",
            // Gemini
            "exceeds the maximum number of tokens allowed",
            // xAI
            "maximum prompt length is",
            "[input_too_large]",
            // Mistral, MiniMax, Moonshot
            "too large for model with",
            "context window exceeds limit",
            "exceeded model token limit",
            // TGI
            "`max_new_tokens` must be <=",
            "`inputs` must have less than",
        ],
        begins: &[
            // Anthropic, OpenAI, Cohere, Alibaba
            "prompt is too long",
            "input tokens exceed the configured limit",
            "too many tokens: ",
            "range of input length should be",
            "prompt token count of",
            // Perplexity, Z.ai, llama.cpp, Cohere
            "prompt tokens exceed the limit",
            "prompt exceeds max length",
            "input is too large to process",
            "size limit exceeded: message must be shorter",
        ],
    },
    Rule {
        kind: ModelErrorKind::Unavailable,
        on: On::Any,
        names: &[
            // Anthropic, OpenAI, Moonshot, TGI
            "overloaded*",
            "server_is_overloaded",
            "engine_overloaded*",
            // Gemini, llama.cpp, gateways
            "unavailable",
            "unavailable_error",
            "service_unavailable*",
            "serviceunavailable*",
            // Bedrock
            "modelnotready*",
            "modelerrorexception",
            "modeltimeoutexception",
            // Groq
            "capacity_exceeded",
        ],
        says: &[],
        begins: &[
            // Envoy and other proxies
            "no healthy upstream",
            "upstream connect error",
            "upstream request failed",
            "upstream request timeout",
            "service unavailable",
            "service temporarily unavailable",
            "bad gateway",
            "gateway timeout",
            "error code: 5",
            "error code: 10",
            // Cloudflare's gateway
            "failed to get response from provider",
            // llama.cpp, TGI, OpenAI
            "loading model",
            "model is loading",
            "the model is loading",
            "model is overloaded",
            "the model is overloaded",
            "the engine is currently overloaded",
            "server is overloaded",
            "server overloaded",
        ],
    },
    Rule {
        kind: ModelErrorKind::Unavailable,
        on: On::Transient,
        names: &[],
        // Hugging Face, OpenAI
        says: &["is currently loading", "is currently overloaded"],
        begins: &["overloaded"],
    },
    Rule {
        kind: ModelErrorKind::Rejected,
        on: On::Vague,
        names: &[],
        // Ollama; OpenAI's words for a model that isn't there, with a status of a gateway's
        says: &[
            "does not support tools",
            "does not support thinking",
            "` does not exist",
        ],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::Unavailable,
        on: On::Vague,
        names: &[
            "server_error",
            "api_error",
            "internal",
            "internal_error",
            "internal_server_error",
            "internalserver*",
            "timeout_error",
            "deadline_exceeded",
            "upstream_error",
            "bad_gateway",
        ],
        says: &[],
        begins: &[],
    },
    // Some providers respond 403 for a model that the key may not use. A person must correct the
    // model's name or the account's rights.
    Rule {
        kind: ModelErrorKind::Rejected,
        on: On::Any,
        names: &[
            "model_not_found",
            "deploymentnotfound",
            "model_not_supported",
        ],
        says: &[],
        begins: &[],
    },
    Rule {
        kind: ModelErrorKind::Authentication,
        on: On::Vague,
        names: &[
            // Anthropic
            "authentication_error",
            "permission_error",
            "organization_on_hold",
            // OpenAI, Moonshot
            "invalid_api_key",
            "account_deactivated",
            "invalid_authentication*",
            // Gemini
            "api_key_invalid",
            "unauthenticated",
            "permission_denied",
            // Bedrock
            "accessdenied*",
            "unrecognizedclientexception",
        ],
        says: &[],
        begins: &[
            "api key not valid",
            "incorrect api key",
            "invalid api key",
            "no auth credentials found",
            // Anthropic
            "this organization has been disabled",
        ],
    },
    Rule {
        kind: ModelErrorKind::Rejected,
        on: On::Vague,
        names: &[
            "invalid_request*",
            "not_found_error",
            "notfounderror",
            "badrequest*",
            "bad_request*",
            "invalid_argument",
            "invalid_prompt",
            "invalid_function_parameters",
            "invalid_value",
            "invalid_type",
            "validation",
            "validation_error",
            "validationexception",
            "unprocessable*",
            "unsupported_*",
            "data_residency_mismatch",
        ],
        says: &[],
        begins: &[],
    },
    // Errors about an image, such as `invalid_image_url` or `image_too_large`.
    Rule {
        kind: ModelErrorKind::Rejected,
        on: On::Success,
        names: &["*image*"],
        says: &[],
        begins: &[],
    },
];
