//! Reads query parameters and builds pages from them. Each error names the parameter.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Serialize;
use shared::ports::{Page, PageRequest};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

use crate::delivery::{LongText, LongTexts};
use crate::openapi::parameters::{number, text};
use crate::problem::{BrokenRule, Problem};

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// The query parameters that have not been taken yet.
pub(crate) struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) =
            read.map_err(|_| refused("query", "must be percent-encoded name=value pairs"))?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if params.contains_key(&name) {
                return Err(refused(&name, "must be given once"));
            }
            params.insert(name, value);
        }
        Ok(Self(params))
    }
}

impl Params {
    /// Takes the parameter `name`, if it is given, as a `T`; `form` says what it must look like.
    pub(crate) fn take<T: FromStr>(
        &mut self,
        name: &str,
        form: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| refused(name, form))
    }

    /// Takes `limit` and `cursor`, the parameters of every list.
    pub(crate) fn take_page(&mut self) -> Result<PageRequest, Problem> {
        let form = format!("must be a number from 1 to {MAX_LIMIT}");
        let limit = self.take("limit", &form)?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(refused("limit", &form));
        }
        Ok(PageRequest {
            limit,
            after: self.0.remove("cursor"),
        })
    }

    /// Refuses parameters that nobody took: a misspelt filter must not look like an answer.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            Some(name) => Err(refused(&name, "is not a parameter of this route")),
            None => Ok(()),
        }
    }
}

/// The parameters of every list.
pub(crate) enum PageParams {}

impl IntoParams for PageParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = "The most entries of the page.";
        let cursor = "A `next_cursor` of this list. The list begins at the start without it.";
        vec![
            number("limit", limit, 1..=MAX_LIMIT, DEFAULT_LIMIT),
            text("cursor", cursor),
        ]
    }
}

/// Refuses the parameter `name`.
pub(crate) fn refused(name: &str, reason: &str) -> Problem {
    Problem::validation_failed([BrokenRule::in_parameter(name, reason)])
}

/// A page of a list; `next_cursor` is null on the last.
#[derive(Serialize, ToSchema)]
#[schema(as = List)]
pub(crate) struct ListResponse<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> ListResponse<T> {
    /// The page as it is.
    pub(crate) fn of(page: Page<T>) -> Self {
        Self {
            data: page.entries,
            next_cursor: page.next,
        }
    }
}

impl<E, T: for<'a> From<&'a E>> From<Page<E>> for ListResponse<T> {
    fn from(page: Page<E>) -> Self {
        Self {
            data: page.entries.iter().map(T::from).collect(),
            next_cursor: page.next,
        }
    }
}

impl<T: LongTexts> LongTexts for ListResponse<T> {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        self.data
            .iter_mut()
            .flat_map(LongTexts::long_texts)
            .collect()
    }
}
