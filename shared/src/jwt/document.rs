//! Reads the issuer's documents by HTTP.

use std::sync::LazyLock;

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use http_body_util::{BodyExt, Limited};

use crate::tls;

/// The most bytes of one document. Issuers have a few keys of some 2 KB each.
const MAX_BYTES: usize = 256 * 1024;

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("{0} is no URL")]
    Url(String),
    #[error("{url} does not respond")]
    Unreachable {
        url: String,
        #[source]
        source: ConnectorError,
    },
    #[error("{url} responded with the status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} could not be read to its end, or has more than 256 KiB")]
    Body {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads documents with the HTTP client of the AWS SDK, which the function has anyway. It follows
/// no redirects. The client is made at the first read, not at the start of a function.
pub(super) struct Documents(LazyLock<Connector>);

impl Documents {
    pub(super) fn new() -> Self {
        Self(LazyLock::new(tls::aws_connector))
    }

    /// The content of a document that is read with `GET`.
    pub(super) async fn read(&self, url: &str) -> Result<Vec<u8>, DocumentError> {
        let of = || url.to_owned();
        let mut request = HttpRequest::get(url).map_err(|_| DocumentError::Url(of()))?;
        request.headers_mut().insert("accept", "application/json");
        let response = self.0.call(request).await;
        let response =
            response.map_err(|source| DocumentError::Unreachable { url: of(), source })?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(DocumentError::Status { url: of(), status });
        }
        let body = Limited::new(response.into_body(), MAX_BYTES)
            .collect()
            .await;
        let body = body.map_err(|source| DocumentError::Body { url: of(), source })?;
        Ok(body.to_bytes().to_vec())
    }
}
