//! Credentials for the requests of tools, from the operator's secrets.
//!
//! A secret says which hosts may get it, and how. So an agent names a credential, and neither the
//! agent nor a model nor a page can direct it to another host. It is set on one request at a time,
//! after the request was checked, and is in no argument, no journal and no prompt.

mod form;
mod scrub;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::try_join_all;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::domain::tool_rules::covered;
use crate::domain::{CredentialName, HostPattern, HttpMethod, HttpRules, PathPrefix, TenantId};
use crate::ports::{SecretError, Secrets};

pub(super) use scrub::{Scrub, percent_encoded};
pub(super) use tokens::{TokenFailure, TokenRequest, Tokens};

/// Where the credentials of all tenants are. By default, there are none.
#[derive(Default)]
pub struct Credentials(Option<Place>);

struct Place {
    secrets: Arc<dyn Secrets>,
    prefix: String,
}

impl Credentials {
    /// Credentials in secrets that are called `<prefix>/<tenant>/<name>`; none without a prefix.
    pub fn new(secrets: Arc<dyn Secrets>, prefix: Option<String>) -> Self {
        Self(prefix.map(|prefix| Place { secrets, prefix }))
    }

    /// The credentials of the tenant that these rules name.
    pub(super) async fn of(
        &self,
        tenant: &TenantId,
        rules: &HttpRules,
    ) -> Result<Vec<Credential>, CredentialError> {
        let read = rules.credentials().iter().map(async |name| {
            let fail = |problem| CredentialError {
                name: name.clone(),
                problem,
            };
            let credential = self.credential(tenant, name).await.map_err(fail)?;
            if credential.is_for_one_of(rules) {
                Ok(credential)
            } else {
                Err(fail(Problem::OtherHosts))
            }
        });
        try_join_all(read).await
    }

    async fn credential(
        &self,
        tenant: &TenantId,
        name: &CredentialName,
    ) -> Result<Credential, Problem> {
        let Place { secrets, prefix } = self.0.as_ref().ok_or(Problem::Off)?;
        let id = format!("{prefix}/{}/{}", tenant.as_str(), name.as_str());
        let secret = secrets.secret(&id).await?;
        let read = form::read(secret.expose());
        let (binding, grant) = read.map_err(Problem::Malformed)?;
        let name = name.clone();
        Ok(Credential {
            name,
            id,
            binding,
            grant,
        })
    }
}

/// A credential as its secret describes it.
#[derive(derive_more::Debug)]
pub(super) struct Credential {
    pub(super) name: CredentialName,
    /// The name of its secret.
    pub(super) id: String,
    binding: Binding,
    #[debug(skip)]
    pub(super) grant: Grant,
}

/// Which requests get a credential.
#[derive(Debug)]
struct Binding {
    /// By their whole names.
    hosts: Vec<HostPattern>,
    /// Empty for all.
    methods: Vec<HttpMethod>,
    /// Empty for all.
    paths: Vec<PathPrefix>,
}

/// What a request gets.
pub(super) enum Grant {
    /// A header.
    Header(HeaderName, HeaderValue, Scrub),
    /// A query parameter, for services that know nothing else.
    Query(String, String, Scrub),
    /// `Authorization` with an access token that an authorization server issues.
    Token(TokenRequest),
}

impl Credential {
    fn is_for_one_of(&self, rules: &HttpRules) -> bool {
        let mut hosts = self.binding.hosts.iter();
        hosts.any(|host| rules.allows_host(host.as_str()))
    }

    /// Whether a request with this method to this URL gets the credential.
    pub(super) fn fits(&self, url: &Url, method: HttpMethod) -> bool {
        let Binding {
            hosts,
            methods,
            paths,
        } = &self.binding;
        let is_host = |host: &str| hosts.iter().any(|named| named.as_str() == host);
        url.scheme() == "https"
            && url.domain().is_some_and(is_host)
            && (methods.is_empty() || methods.contains(&method))
            && covered(paths, url.path())
    }

    /// The header that it sets, if it sets one.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match &self.grant {
            Grant::Header(name, _, _) => Some(name),
            Grant::Token(_) => Some(&AUTHORIZATION),
            Grant::Query(..) => None,
        }
    }

    /// The query parameter that it sets, if it sets one.
    pub(super) fn parameter(&self) -> Option<&str> {
        match &self.grant {
            Grant::Query(parameter, _, _) => Some(parameter),
            Grant::Header(..) | Grant::Token(_) => None,
        }
    }
}

/// A credential can't be used. The text is a part of one for the model: it has the credential's name, and nothing
/// of its secret.
#[derive(Debug, thiserror::Error)]
#[error("the credential {} {problem}", .name.as_str())]
pub(super) struct CredentialError {
    pub(super) name: CredentialName,
    #[source]
    pub(super) problem: Problem,
}

/// Why a credential can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The deployment has no credentials.
    #[error("can't be read: ToolSecretPrefix is not set for this deployment")]
    Off,
    /// There is no such secret.
    #[error("does not exist, or the platform may not read its secret")]
    Missing(#[source] SecretError),
    /// Secrets Manager does not answer, and nothing is cached.
    #[error("can't be read at the moment; another call may succeed")]
    Unavailable(#[source] SecretError),
    /// The secret is not of the documented form.
    #[error("can't be used: {0}")]
    Malformed(&'static str),
    /// It is for hosts that the agent may not ask.
    #[error("is for other hosts than those that this agent may ask")]
    OtherHosts,
    /// The request fits a second one.
    #[error("is for this request, and so is another one of the agent's")]
    Ambiguous,
    /// The authorization server gave no access token.
    #[error("has no access token: {0}")]
    Token(TokenFailure),
}

impl Problem {
    /// The name in logs and metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Missing(_) => "missing",
            Self::Unavailable(_) => "unavailable",
            Self::Malformed(_) => "malformed",
            Self::OtherHosts => "other_hosts",
            Self::Ambiguous => "ambiguous",
            Self::Token(_) => "token",
        }
    }
}

impl From<TokenFailure> for Problem {
    fn from(failure: TokenFailure) -> Self {
        Self::Token(failure)
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Missing { .. } => Self::Missing(error),
            SecretError::Unavailable(_) => Self::Unavailable(error),
        }
    }
}
