//! Why a request failed, in a text for the model.
//!
//! The text lets the model react. It contains nothing that the model doesn't know: no address, no
//! header and no text of a server, except the name of a content type.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;

use crate::domain::{HostPattern, HttpRules};
use crate::tools::credentials::CredentialError;

use super::resolver::{OutOfReach, Unresolved, is_caused_by};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A rule forbids it.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The request was made, and its answer redirects to one that a rule forbids.
    #[error("the answer redirects to a request that was not made: {}", .0.rule)]
    RedirectBlocked(Blocked),
    /// A credential can't be used, so that nothing was sent.
    #[error("the request was not made: {0}")]
    Credential(#[from] CredentialError),
    /// The request was made, and a credential can't be used for the one that its answer redirects
    /// to.
    #[error("the answer redirects to a request that was not made: {0}")]
    RedirectCredential(CredentialError),
    /// The arguments can't be used.
    #[error("{0}")]
    Arguments(&'static str),
    /// The host's name has no address.
    #[error("the host's name could not be resolved")]
    Unresolved,
    /// The host does not answer, or has no certificate that is trusted.
    #[error("no connection to the host could be made")]
    Unreachable,
    /// The host sends something other than HTTP, or stops before the end.
    #[error("the connection broke, or the answer was not understood")]
    Broken,
    /// There were too many redirects.
    #[error("the answer was redirected too often")]
    Redirects,
    /// A redirect has no usable URL.
    #[error("the answer redirects to something that is not a URL")]
    Location,
    /// The body is not text.
    #[error(
        "the answer has status {status}, but its body is {content_type}, and only text, JSON and XML can be read"
    )]
    ContentType { status: u16, content_type: String },
    /// The body is compressed, although the request did not allow it.
    #[error("the answer has status {status}, but its body is compressed and can't be read")]
    Compressed { status: u16 },
    /// The answer was not complete within `time`.
    #[error("there was no complete answer within {time:?}")]
    Late { time: Duration },
}

/// A call that a rule forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request was not made: {rule}")]
pub(super) struct Blocked {
    /// The rule.
    pub(super) rule: Rule,
    /// The host of the request, as the model wrote it.
    host: Option<String>,
}

impl Blocked {
    /// The text that the model wrote is no URL.
    pub(super) const fn not_a_url() -> Self {
        Self {
            rule: Rule::Url,
            host: None,
        }
    }

    /// The rule forbids a request to this URL.
    pub(super) fn at(url: &Url, rule: Rule) -> Self {
        Self {
            rule,
            host: url.host_str().map(str::to_owned),
        }
    }

    /// The host as far as it may be logged: an IP address, or the entry of the agent's host list
    /// that it matches. Any other name is the model's own text, which can contain secrets.
    pub(super) fn logged_host<'a>(&'a self, rules: &'a HttpRules) -> Option<&'a str> {
        let host = self.host.as_deref()?;
        let is_address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok();
        if is_address {
            Some(host)
        } else {
            rules.pattern_of(host).map(HostPattern::as_str)
        }
    }
}

/// What a request must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rule {
    #[error("the URL is not valid, or is too long")]
    Url,
    #[error("the URL's scheme is not allowed")]
    Scheme,
    #[error("the URL must not contain a user name or a password")]
    Credentials,
    #[error("the URL must name its host, not an IP address")]
    Literal,
    #[error("requests to this host are not allowed")]
    Host,
    #[error("the URL must not name a port")]
    Port,
    #[error("the host's name leads to an address that requests must not go to")]
    Address,
    #[error("this method is not allowed")]
    Method,
    #[error("a header is not one that may be set")]
    Header,
    #[error("requests to this path are not allowed")]
    Path,
    #[error("it sets a header or a parameter that the platform sets from a credential")]
    Credential,
    #[error("the URL has a credential in it")]
    CredentialInUrl,
}

impl Rule {
    /// The name in logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Scheme => "scheme",
            Self::Credentials => "credentials",
            Self::Literal => "ip_literal",
            Self::Host => "host",
            Self::Port => "port",
            Self::Address => "address",
            Self::Method => "method",
            Self::Header => "header",
            Self::Path => "path",
            Self::Credential => "credential",
            Self::CredentialInUrl => "credential_in_url",
        }
    }
}

impl Failure {
    /// The name in logs.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Blocked(blocked) | Self::RedirectBlocked(blocked) => blocked.rule.as_str(),
            Self::Credential(failed) | Self::RedirectCredential(failed) => failed.problem.as_str(),
            Self::Arguments(_) => "arguments",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Redirects => "redirects",
            Self::Location => "location",
            Self::ContentType { .. } => "content_type",
            Self::Compressed { .. } => "compressed",
            Self::Late { .. } => "late",
        }
    }

    /// The same failure of a request to which an answer redirects.
    pub(super) fn after_redirect(self) -> Self {
        match self {
            Self::Blocked(blocked) => Self::RedirectBlocked(blocked),
            Self::Credential(failed) => Self::RedirectCredential(failed),
            other => other,
        }
    }

    /// Whether the model called for what a rule forbids, and nothing was sent. A text that is no URL
    /// is a mistake, and a redirect is the host's doing.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Blocked(blocked) if blocked.rule != Rule::Url)
    }

    /// What an error of the HTTP client means, for a request to `url`.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Self {
        if is_caused_by::<OutOfReach>(error) {
            Blocked::at(url, Rule::Address).into()
        } else if is_caused_by::<Unresolved>(error) {
            Self::Unresolved
        } else if error.is_connect() {
            Self::Unreachable
        } else {
            Self::Broken
        }
    }
}
