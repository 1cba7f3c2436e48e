//! Failed operations of a request that has several: each is an entry of the response.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{BrokenRule, Problem};
use crate::openapi::values;

/// The code of an operation that was not begun, because the others of its request took so long.
pub(crate) const NOT_TRIED: &str = "not_tried";

/// One failed operation of several.
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorEntry)]
pub(crate) struct ErrorEntry {
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    #[schema(value_type = values::ProblemCode)]
    code: &'static str,
    /// What is wrong, and what would help.
    detail: String,
    /// The rules that the operation breaks.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<BrokenRule>, required = false)]
    errors: Arc<[BrokenRule]>,
}

impl Problem {
    /// The operation was not begun, because the others of its request took so long.
    pub(crate) fn not_tried() -> Self {
        let detail = "the other operations of this request took so long; send it again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, NOT_TRIED, detail)
    }

    /// What a client reads of one failed operation of several.
    pub(crate) fn entry(&self) -> ErrorEntry {
        ErrorEntry {
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.clone(),
            errors: Arc::clone(&self.errors),
        }
    }

    /// Whether the platform failed, and not the client.
    pub(crate) fn is_of_server(&self) -> bool {
        self.status.is_server_error()
    }
}
