//! The path of a request, as its client sent it.

use axum::Router;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use lambda_http::{Request, RequestExt};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tower::util::MapRequest;

/// What is encoded in a path (WHATWG, "URL", path percent-encode set), and `\`, which that parser
/// takes for a `/`.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The router, with the paths that clients sent.
///
/// API Gateway decodes the path of a request for an HTTP API, and `lambda_http` parses the decoded
/// path as a part of a URL. A `%3F` in an id would end the path there, and the request would reach
/// another route.
pub fn exact_paths(router: Router) -> MapRequest<Router, fn(Request) -> Request> {
    MapRequest::new(router, exact_path)
}

/// The request with its own path. Its query is lost if a `?` or `#` is in the path: such a path
/// names nothing.
fn exact_path(mut request: Request) -> Request {
    let path = request.extensions().raw_http_path();
    let query = request.uri().query().filter(|_| !path.contains(['?', '#']));
    let mut exact = utf8_percent_encode(path, ENCODED).to_string();
    if let Some(query) = query {
        exact.push('?');
        exact.push_str(query);
    }
    if path.starts_with('/')
        && let Ok(exact) = PathAndQuery::try_from(exact)
    {
        *request.uri_mut() = Uri::from(exact);
    }
    request
}
