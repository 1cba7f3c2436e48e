//! Failures as RFC 9457 problem documents. Only this file maps failures to status codes.

mod document;
mod entry;
mod rule;

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::app::{AppError, Missing};
use shared::domain::agent_head::MAX_ALIASES;
use shared::domain::{AgentId, Causes, Counted, LimitKind, Scope};
use shared::ports::{SecretError, StoreError};

use document::cut;
pub(crate) use document::{Document, render};
pub(crate) use entry::{ErrorEntry, NOT_TRIED};
pub(crate) use rule::BrokenRule;

/// What a client reads about every internal failure; the log has the details.
const INTERNAL: &str =
    "the platform failed to handle the request; the failure is logged under this request_id";

/// The `code` of every failure.
pub(crate) const CODES: &[&str] = &[
    "invalid_request",
    "unauthorized",
    "missing_scope",
    "tenant_suspended",
    "not_found",
    "method_not_allowed",
    "conflict",
    "agent_disabled",
    "limit_reached",
    "precondition_failed",
    "payload_too_large",
    "unsupported_media_type",
    "validation_failed",
    "idempotency_key_reused",
    "rate_limited",
    "internal",
    "unreadable_record",
    "response_too_large",
    "unavailable",
    NOT_TRIED,
];

/// A failed request. It becomes a document in [`render`], once the request's id is known.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Arc<[BrokenRule]>,
    /// The scope that the caller's key lacks.
    missing_scope: Option<Scope>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Arc::new([]),
            missing_scope: None,
        }
    }

    /// The request breaks these rules; there is at least one.
    pub(crate) fn validation_failed(errors: impl IntoIterator<Item = BrokenRule>) -> Self {
        let detail = "the request breaks the rules listed under errors";
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_failed",
            detail,
        );
        Self {
            errors: errors.into_iter().collect(),
            ..problem
        }
    }

    pub(crate) fn malformed_json(reason: &str) -> Self {
        let detail = format!("the body is not valid JSON: it {reason}");
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
        Self {
            errors: [BrokenRule::in_body("", reason)].into(),
            ..problem
        }
    }

    /// The body is not text in UTF-8; `detail` says what it is.
    pub(crate) fn unreadable_text(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// The first broken rule, without the client's words.
    pub(crate) fn rule(&self) -> Option<String> {
        self.errors.first().and_then(BrokenRule::for_log)
    }

    /// The machine-readable name of the failure.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn unreadable_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the body ended before its declared length",
        )
    }

    pub(crate) fn wrong_content_type() -> Self {
        let detail = "the body must have the content type application/json";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    }

    pub(crate) fn wrong_patch_type() -> Self {
        let detail =
            "the body must have the content type application/merge-patch+json or application/json";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    }

    /// The request's `If-Match` does not name the present version of the agent.
    pub(crate) fn precondition_failed(newest: u32) -> Self {
        let detail = format!(
            "If-Match does not name the agent as it is: its newest version is {newest}; read it, and send its ETag"
        );
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            detail,
        )
    }

    /// The body has this content coding; the API reads no coded body.
    pub(crate) fn wrong_content_encoding(coding: &str) -> Self {
        let detail = format!(
            "the request has the Content-Encoding {}; send it uncompressed, without this header",
            cut(coding)
        );
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body must have at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "send a valid API key, or a JWT if this deployment accepts them, as Authorization: Bearer <key>";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The caller's key is valid, but lacks this scope.
    pub(crate) fn missing_scope(scope: Scope) -> Self {
        let detail =
            format!("this needs the scope {scope}, which the API key or JWT does not have");
        Self {
            missing_scope: Some(scope),
            ..Self::new(StatusCode::FORBIDDEN, "missing_scope", detail)
        }
    }

    fn agent_disabled(agent: AgentId) -> Self {
        let detail = format!(
            "agent {agent} is disabled and accepts no tasks; to enable it, patch it with \"enabled\": true"
        );
        Self::new(StatusCode::CONFLICT, "agent_disabled", detail)
    }

    fn inline_agent(agent: AgentId) -> Self {
        Self::conflict(format!(
            "agent {agent} is an inline agent, which cannot be changed, and is deleted once no task names it"
        ))
    }

    fn limit_not_raised(limit: LimitKind, bound: u64) -> Self {
        Self::conflict(format!(
            "the task stopped at its {limit} of {bound}, and would stop again: send limits with a higher {}",
            limit.setting()
        ))
    }

    fn too_many(counted: Counted, most: u32, used: u32) -> Self {
        let detail = match counted {
            Counted::Agents => format!(
                "the tenant has {used} agents, and its max_agents is {most}; archive one first"
            ),
            Counted::Keys => format!(
                "the tenant has {used} keys that are not revoked, and its max_keys is {most}; revoke one first"
            ),
        };
        Self::new(StatusCode::CONFLICT, "limit_reached", detail)
    }

    /// The state of what the request names does not allow it.
    fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// The caller made more requests in this minute than its key or tenant may.
    pub(crate) fn rate_limited(owner: &str, most: u32, seconds: u64) -> Self {
        let detail = format!(
            "the {owner} may make {most} requests a minute that are no reads, and has made them; the next minute begins in {seconds} s"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
    }

    /// The caller's key is valid, but its tenant may not use the API now.
    pub(crate) fn tenant_suspended() -> Self {
        let detail =
            "the tenant of this API key or JWT is suspended; ask the operator of this deployment";
        Self::new(StatusCode::FORBIDDEN, "tenant_suspended", detail)
    }

    pub(crate) fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "no such route")
    }

    pub(crate) fn unknown_id() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "no object has this id")
    }

    /// The `part` of the path can't belong to any object of the route.
    pub(crate) fn malformed_id(part: &str) -> Self {
        let detail =
            format!("no object has this {part}, because its form is not that of this route");
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the route does not support this method",
        )
    }

    pub(crate) fn unavailable() -> Self {
        let detail = "a service that the platform needs does not answer; try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// These dependencies can't be used.
    pub(crate) fn not_ready(missing: &[Missing]) -> Self {
        let troubles: Vec<String> = missing
            .iter()
            .map(|Missing { name, trouble }| format!("{name} {trouble}"))
            .collect();
        Self {
            detail: troubles.join(", and "),
            ..Self::unavailable()
        }
    }

    /// No API key can be checked or sealed, because the secret that holds the `content` can't be
    /// read.
    pub(crate) fn keyless(content: &str, error: &SecretError) -> Self {
        match error {
            SecretError::Missing { .. } => Self {
                detail: format!(
                    "no API key can be checked: the secret that holds the {content} is missing, empty, or may not be read"
                ),
                ..Self::internal()
            },
            SecretError::Unavailable(_) => {
                let detail = "no API key can be checked: Secrets Manager does not answer; try again in a moment";
                Self {
                    detail: detail.to_owned(),
                    ..Self::unavailable()
                }
            }
        }
    }

    /// The state table can't be used now.
    fn of_table(error: &StoreError) -> Self {
        let detail = match error {
            StoreError::Throttled(_) => "the state table throttles requests; try again in a moment",
            StoreError::Conflict => {
                "concurrent requests kept changing the same record; try again in a moment"
            }
            StoreError::Unavailable(_)
            | StoreError::TooLarge
            | StoreError::Refused(_)
            | StoreError::Cursor
            | StoreError::Corrupt { .. } => {
                "the state table does not answer; try again in a moment"
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The keys of the JWT issuer can't be read now.
    fn issuer_unavailable() -> Self {
        let detail =
            "no JWT can be checked: the keys of its issuer cannot be read; try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The circuits can't be read now.
    fn no_circuits() -> Self {
        let detail = "the ephemeral table, which has the circuits, cannot be read; models are called all the same";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The response is larger than Lambda returns; the same request fails again.
    pub(crate) fn response_too_large() -> Self {
        let detail = "the response is larger than 6 MB, the most that can be returned; if the route has a limit parameter, lower it";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "response_too_large",
            detail,
        )
    }

    /// This version can't read a stored record.
    pub(crate) fn unreadable_record() -> Self {
        let detail = "a stored record can't be read by this version of the platform: a newer version wrote it, or it is \
                      damaged; the log names the record and the reason under this request_id";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unreadable_record",
            detail,
        )
    }

    /// What the client would need (RFC 6750, section 3).
    fn challenge(&self) -> Option<HeaderValue> {
        if self.status == StatusCode::UNAUTHORIZED {
            return Some(HeaderValue::from_static("Bearer"));
        }
        let scope = self.missing_scope?;
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        challenge.try_into().ok()
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL)
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Invalid(errors) => {
                Self::validation_failed(errors.iter().map(BrokenRule::from))
            }
            AppError::NotFound(what) => Self::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("{what} not found"),
            ),
            AppError::WrongState(status) => Self::conflict(format!(
                "the task is {}, which does not allow this",
                status.as_str()
            )),
            AppError::LimitNotRaised { limit, bound } => Self::limit_not_raised(limit, bound),
            AppError::AgentDisabled(agent) => Self::agent_disabled(agent),
            AppError::InlineAgent(agent) => Self::inline_agent(agent),
            AppError::TooManyAliases => Self::conflict(format!(
                "the agent has {MAX_ALIASES} aliases; remove one first"
            )),
            AppError::TaskDeleted => Self::conflict(
                "the task created with this Idempotency-Key was deleted; use a new key for a new task",
            ),
            AppError::MissingScope(scope) => Self::missing_scope(scope),
            AppError::KeyRevoked => {
                Self::conflict("the key is revoked, and cannot be changed; create a new one")
            }
            AppError::TooMany {
                counted,
                most,
                used,
            } => Self::too_many(counted, most, used),
            AppError::Tenant(refused) => Self::conflict(refused.to_string()),
            AppError::Pepper(ref cause) => {
                tracing::error!(error = %Causes(&error), "request failed");
                Self::keyless("pepper of API keys", cause)
            }
            AppError::AnsweredOtherwise(_) => Self::conflict(cut(&error.to_string())),
            AppError::IdempotencyKeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key was used with a different request; use a new key for a new request",
            ),
            AppError::Unavailable(ref cause) => {
                tracing::warn!(error = %Causes(&error), "request failed");
                Self::of_table(cause)
            }
            // The issuer has logged the reason.
            AppError::IssuerUnavailable => Self::issuer_unavailable(),
            AppError::CircuitsUnavailable(_) => {
                tracing::warn!(error = %Causes(&error), "request failed");
                Self::no_circuits()
            }
            AppError::Unreadable(_) => {
                tracing::error!(error = %Causes(&error), "request failed");
                Self::unreadable_record()
            }
            AppError::Internal(_) => {
                tracing::error!(error = %Causes(&error), "request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    /// A response with only the status; [`render`] adds the document.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
