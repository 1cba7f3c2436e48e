//! Why a use case failed that a client called.

use std::borrow::Cow;

use crate::domain::{
    AgentId, Counted, Invalid, LimitKind, ResumeRefused, Scope, TaskStatus, TenantId, WrongState,
};
use crate::ports::{SecretError, StoreError};

/// Why a use case failed, by what the client can do about it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request breaks these rules; at least one.
    #[error("the request is invalid")]
    Invalid(Vec<Invalid>),
    /// The object does not exist, or belongs to another tenant. A client must see no difference.
    #[error("{0} not found")]
    NotFound(String),
    /// The task's state does not allow the request.
    #[error("the task is {}", .0.as_str())]
    WrongState(TaskStatus),
    /// A task that stopped at this limit would stop at it again.
    #[error("the task stopped at its {limit} of {bound}")]
    LimitNotRaised {
        /// The limit.
        limit: LimitKind,
        /// Its value.
        bound: u64,
    },
    /// The agent is disabled, so it accepts no tasks.
    #[error("agent {0} is disabled")]
    AgentDisabled(AgentId),
    /// The agent is an inline agent, which no client changes.
    #[error("agent {0} is an inline agent")]
    InlineAgent(AgentId),
    /// The agent has as many aliases as an agent may have.
    #[error("the agent has too many aliases")]
    TooManyAliases,
    /// Another answer to the tool call with this id is recorded already.
    #[error("another answer to call {0} is recorded")]
    AnsweredOtherwise(String),
    /// The task of this idempotency key was deleted, but some of its records are left.
    #[error("the idempotency key's task was deleted")]
    TaskDeleted,
    /// The idempotency key was used with a different request before.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The caller's key lacks this scope.
    #[error("the key lacks the scope {0}")]
    MissingScope(Scope),
    /// The key is revoked, so it can't be changed.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The tenant has as many of these as it may have, or more.
    #[error("the tenant has {used} of at most {most} {counted:?}")]
    TooMany {
        /// What the limit is on.
        counted: Counted,
        /// The limit.
        most: u32,
        /// How many the tenant has.
        used: u32,
    },
    /// The operator can't do this to a tenant.
    #[error(transparent)]
    Tenant(#[from] TenantRefused),
    /// The secret that seals keys can't be read.
    #[error("keys can't be sealed")]
    Pepper(#[from] SecretError),
    /// A service that the platform needs does not answer: the same request may succeed later.
    #[error("a dependency is unavailable")]
    Unavailable(#[source] StoreError),
    /// The circuits and the health of models can't be read. No other request needs them.
    #[error("the circuits can't be read")]
    CircuitsUnavailable(#[source] StoreError),
    /// The keys of the JWT issuer can't be read. No request with an API key needs them.
    #[error("the keys of the JWT issuer can't be read")]
    IssuerUnavailable,
    /// This version can't read a record that the request needs: a newer version wrote it, or it is
    /// damaged.
    #[error("a record can't be read")]
    Unreadable(#[source] StoreError),
    /// A defect of the platform or its deployment.
    #[error("internal error")]
    Internal(#[source] StoreError),
}

/// Why the operator can't create, change or delete a tenant, as the operator reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefused {
    /// A tenant with this id exists.
    #[error("the id {0} is taken; choose another one")]
    Exists(TenantId),
    /// The tenant was deleted, or is being deleted.
    #[error("tenant {0} was deleted, and the id of a deleted tenant is never used again")]
    Deleted(TenantId),
    /// It is the deployment's own.
    #[error("tenant {0} is the deployment's own and cannot be deleted")]
    Own(TenantId),
}

impl AppError {
    /// One broken rule.
    pub fn invalid(field: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![Invalid::new(field, reason)])
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor => {
                Self::invalid("cursor", "must be a next_cursor that this list gave")
            }
            StoreError::Conflict | StoreError::Throttled(_) | StoreError::Unavailable(_) => {
                Self::Unavailable(error)
            }
            StoreError::Corrupt { .. } => Self::Unreadable(error),
            StoreError::TooLarge | StoreError::Refused(_) => Self::Internal(error),
        }
    }
}

impl From<ResumeRefused> for AppError {
    fn from(refused: ResumeRefused) -> Self {
        match refused {
            ResumeRefused::WrongState(wrong) => wrong.into(),
            ResumeRefused::NotRaised { limit, bound } => Self::LimitNotRaised { limit, bound },
        }
    }
}

impl From<WrongState> for AppError {
    fn from(WrongState(status): WrongState) -> Self {
        Self::WrongState(status)
    }
}
