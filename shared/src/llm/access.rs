//! What it takes to reach a provider.

use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

use super::key::ApiKey;

/// Where a provider's API is, and with which key it is called.
#[derive(Clone)]
pub struct Access {
    /// Where it is.
    pub base_url: BaseUrl,
    /// The key.
    pub key: ApiKey,
}

/// The start of every URL of a provider's API, such as `https://api.anthropic.com`.
///
/// A gateway may add a path. A slash or `/v1` at the end makes no difference: the providers' own
/// tools disagree on whether it belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// A text is not a base URL. It is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a base URL must start with http:// or https:// and have a host, but no user, password, query or fragment"
)]
pub struct InvalidBaseUrl;

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidBaseUrl)?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let is_bare = url.query().is_none() && url.fragment().is_none();
        if is_web && is_anonymous && is_bare {
            Ok(Self(url))
        } else {
            Err(InvalidBaseUrl)
        }
    }
}

impl BaseUrl {
    /// Whether what is sent there, a key above all, can be read by nobody on the way: it is
    /// encrypted, or stays on this machine.
    pub fn is_private(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        self.0.scheme() == "https"
            || host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    }

    /// The URL of the resource at `path`, which starts with `/v1/`.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        url.set_path(&format!("{prefix}{path}"));
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_messages_at(base: &str, expected: &str) {
        assert_eq!(
            base.parse::<BaseUrl>().unwrap().at("/v1/messages").as_str(),
            expected
        );
    }

    #[test]
    fn a_base_url_may_have_a_path_and_end_with_a_slash_or_version() {
        check_messages_at(
            "https://api.anthropic.com",
            "https://api.anthropic.com/v1/messages",
        );
        check_messages_at(
            "https://api.anthropic.com/",
            "https://api.anthropic.com/v1/messages",
        );
        check_messages_at(
            "https://api.openai.com/v1",
            "https://api.openai.com/v1/messages",
        );
        check_messages_at(
            "https://api.openai.com/v1/",
            "https://api.openai.com/v1/messages",
        );
        check_messages_at("http://127.0.0.1:4010", "http://127.0.0.1:4010/v1/messages");
        check_messages_at(
            "https://gateway.example/a%20b/llm/",
            "https://gateway.example/a%20b/llm/v1/messages",
        );
    }

    #[test]
    fn only_what_is_encrypted_or_stays_on_this_machine_is_private() {
        let private = [
            "https://api.anthropic.com",
            "http://127.0.0.1:4010",
            "http://127.9.9.9",
            "http://[::1]:80",
        ];
        for text in private.iter().chain(&[
            "http://localhost:4010",
            "http://0x7f.1/v1",
            "HTTPS://10.0.0.1",
        ]) {
            assert!(text.parse::<BaseUrl>().unwrap().is_private(), "{text}");
        }
        let read_on_the_way = [
            "http://api.anthropic.com",
            "http://10.0.0.1",
            "http://[fe80::1]",
            "http://0.0.0.0",
        ];
        for text in read_on_the_way
            .iter()
            .chain(&["http://localhost.example.com", "http://127.0.0.1.nip.io"])
        {
            assert!(!text.parse::<BaseUrl>().unwrap().is_private(), "{text}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        let refused = [
            "",
            "api.anthropic.com",
            "/v1",
            "ftp://api.anthropic.com",
            "unix:/run/model.sock",
            "https://",
            "https://user@api.anthropic.com",
            "https://:password@api.anthropic.com",
            "https://api.anthropic.com?key=1",
            "https://api.anthropic.com/#top",
        ];
        for text in refused {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl), "{text}");
        }
    }
}
