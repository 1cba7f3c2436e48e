//! The platform's own tools behind the [`Tools`] port: the time, a calculator and guarded HTTP
//! requests, with credentials where an agent names some.
//!
//! Every tool ends in time and uses a bounded amount of memory, for any input of a model or a
//! server. No tool retries a request. Logs name at most a host: no path, no query, no header and no
//! body.

mod calculator;
mod credentials;
mod current_time;
pub mod http_request;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::BuiltinTool;
use crate::ports::{Clock, ToolOutput, ToolRequest, Tools};
use crate::tls;
pub use credentials::Credentials;
use http_request::{HttpRequester, Reach, Resolver, SystemResolver};

/// Runs the platform's tools in this process. Build it once: its HTTP client reads the machine's
/// root certificates.
pub struct BuiltinTools {
    http: HttpRequester,
    clock: Arc<dyn Clock>,
}

impl BuiltinTools {
    /// Tools that may reach the public internet. This machine resolves host names.
    pub fn new(credentials: Credentials, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        Self::reaching(
            Reach::PublicInternet,
            Arc::new(SystemResolver::default()),
            credentials,
            clock,
        )
    }

    /// Tools that may reach the addresses that `reach` allows. `resolver` resolves host names.
    pub fn reaching(
        reach: Reach,
        resolver: Arc<dyn Resolver>,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let http = HttpRequester::new(reach, resolver, tls::client_config(), credentials)?;
        Ok(Self { http, clock })
    }
}

#[async_trait]
impl Tools for BuiltinTools {
    async fn run(&self, request: &ToolRequest) -> ToolOutput {
        let now = self.clock.now();
        match &request.tool {
            BuiltinTool::CurrentTime => current_time::run(&request.arguments, now),
            BuiltinTool::Calculator => calculator::run(&request.arguments),
            BuiltinTool::HttpRequest(rules) => self.http.run(rules, request, now).await,
        }
    }
}
