//! The headers of a request: what a model may set, and what is left of it on the way to another
//! host.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::failure::{Blocked, Failure, Rule};

const MAX_HEADERS: usize = 32;
const MAX_BYTES: usize = 8 * 1_024;

/// What belongs to the connection, to the platform or to someone between it and the host, or would
/// have a server do something else than what the method says.
const NOT_SETTABLE: [&str; 40] = [
    "accept-encoding",
    "client-ip",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "max-forwards",
    "metadata",
    "metadata-flavor",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-google-metadata-request",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-override-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-remote-user",
    "x-rewrite-url",
];

/// Of `x-goog-` and `x-ms-`, only what says who signed in: their APIs take keys and versions under
/// the others.
const NOT_SETTABLE_PREFIXES: [&str; 14] = [
    "cf-",
    "proxy-",
    "sec-",
    "x-amz",
    "x-appengine-",
    "x-aws-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-original-forwarded-",
];

/// The headers that a model wrote, for a request to `url`.
pub(super) fn written(headers: &BTreeMap<String, String>, url: &Url) -> Result<HeaderMap, Failure> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_BYTES {
        return Err(Failure::Arguments(
            "there may be at most 32 headers with 8192 bytes in all",
        ));
    }
    let mut written = HeaderMap::new();
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value))
        else {
            return Err(Failure::Arguments(
                "a header has a name or a value that HTTP does not allow",
            ));
        };
        let is_prefixed = NOT_SETTABLE_PREFIXES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
        if is_prefixed || NOT_SETTABLE.contains(&name.as_str()) {
            return Err(Blocked::at(url, Rule::Header).into());
        }
        written.insert(name, value);
    }
    Ok(written)
}

/// What another host gets of these headers: nothing that could be a secret.
pub(super) fn for_another_host(headers: &HeaderMap) -> HeaderMap {
    let kept = [ACCEPT, CONTENT_TYPE].into_iter();
    kept.filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: impl IntoIterator<Item = (String, String)>) -> Result<HeaderMap, String> {
        let url = Url::parse("https://api.example.com/").unwrap();
        written(&headers.into_iter().collect(), &url).map_err(|failure| failure.to_string())
    }

    fn one(name: &str, value: &str) -> [(String, String); 1] {
        [(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn headers_of_the_application_are_taken() {
        for name in [
            "Accept",
            "authorization",
            "Content-Type",
            "X-Api-Key",
            "User-Agent",
            "If-Match",
            "Range",
            "X-Goog-Api-Key",
            "X-Ms-Version",
        ] {
            assert_eq!(check(one(name, "x y")).unwrap()[name], "x y");
        }
    }

    #[test]
    fn headers_of_others_are_refused() {
        for name in NOT_SETTABLE.into_iter().chain([
            "Host",
            "COOKIE",
            "Transfer-Encoding",
            "Proxy-Authorization",
            "Proxy-Connection",
            "x-amz-date",
            "X-Amzn-Trace-Id",
            "x-aws-ec2-metadata-token",
            "X-Forwarded-For",
            "X-Forwarded",
            "X-Original-Forwarded-For",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Envoy-Original-Path",
            "X-Goog-IAP-JWT-Assertion",
            "X-Goog-Authenticated-User-Email",
            "X-MS-CLIENT-PRINCIPAL-NAME",
            "X-MS-TOKEN-AAD-ACCESS-TOKEN",
            "X-Azure-FDID",
            "X-AppEngine-User-Email",
            "Sec-Fetch-Site",
            "X-HTTP-Method-Override",
        ]) {
            assert!(
                check(one(name, "x"))
                    .unwrap_err()
                    .ends_with("not one that may be set"),
                "{name}"
            );
        }
    }

    #[test]
    fn headers_that_http_does_not_know_or_too_many_are_refused() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("x\r\nhost", "x"),
            ("x", "a\r\nhost: b"),
            ("x", "\u{0}"),
        ] {
            assert!(
                check(one(name, value))
                    .unwrap_err()
                    .ends_with("does not allow"),
                "{name:?} {value:?}"
            );
        }
        assert!(check(one("x", &"a".repeat(8_192))).is_err());
        assert!(check((0..33).map(|number| (format!("x-{number}"), String::new()))).is_err());
    }
}
