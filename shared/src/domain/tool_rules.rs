//! Where an agent's HTTP requests may go, and how large and slow an answer may be.
//!
//! A host is allowed by its name only. What its name leads to, an address of the public internet or
//! not, is known only when the request is made, and is the adapter's to check.

use serde::{Deserialize, Serialize};

use super::credential::{CredentialName, MAX_CREDENTIALS};
use super::invalid::{Invalid, within};
use super::path_prefix::{MAX_PATHS, PathPrefix};

/// The most hosts that an agent may name.
pub const MAX_HOSTS: usize = 32;

const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// What the tool `http_request` may do for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct HttpRules {
    hosts: Vec<HostPattern>,
    /// The schemes that a URL may have.
    pub schemes: Schemes,
    methods: Vec<HttpMethod>,
    paths: Vec<PathPrefix>,
    credentials: Vec<CredentialName>,
    max_response_bytes: u32,
    timeout_seconds: u32,
}

/// The schemes that a URL may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Schemes {
    /// `https`.
    #[default]
    HttpsOnly,
    /// `https` and `http`.
    HttpToo,
}

/// A method of HTTP (RFC 9110 and 5789).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Reads.
    Get,
    /// Reads the status only.
    Head,
    /// Does what the resource does.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Deletes.
    Delete,
}

impl HttpMethod {
    /// The method as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it only reads (RFC 9110, 9.2.1). Only the others have a body here.
    pub const fn is_safe(self) -> bool {
        match self {
            Self::Get | Self::Head => true,
            Self::Post | Self::Put | Self::Patch | Self::Delete => false,
        }
    }
}

impl HttpRules {
    /// GET requests over HTTPS to these 1 to 32 different hosts, checked at `/hosts`, on all paths and
    /// without credentials: 256 KiB and 20 seconds an answer.
    pub fn new(hosts: Vec<HostPattern>) -> Result<Self, Invalid> {
        let hosts = different("/hosts", hosts, MAX_HOSTS)?;
        let (schemes, methods) = (Schemes::default(), vec![HttpMethod::Get]);
        Ok(Self {
            hosts,
            schemes,
            methods,
            paths: Vec::new(),
            credentials: Vec::new(),
            max_response_bytes: 256 * 1_024,
            timeout_seconds: 20,
        })
    }

    /// These rules with at least one method, each once.
    pub fn with_methods(self, methods: Vec<HttpMethod>) -> Result<Self, Invalid> {
        Ok(Self {
            methods: different("/methods", methods, 6)?,
            ..self
        })
    }

    /// These rules for requests to 1 to 32 paths, each once.
    pub fn with_paths(self, paths: Vec<PathPrefix>) -> Result<Self, Invalid> {
        Ok(Self {
            paths: different("/paths", paths, MAX_PATHS)?,
            ..self
        })
    }

    /// These rules with 1 to 8 credentials, each once.
    pub fn with_credentials(self, credentials: Vec<CredentialName>) -> Result<Self, Invalid> {
        Ok(Self {
            credentials: different("/credentials", credentials, MAX_CREDENTIALS)?,
            ..self
        })
    }

    /// These rules with answers of 1 KiB to 2 MiB; what is longer is cut.
    pub fn with_max_response_bytes(self, bytes: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_response_bytes: within("/max_response_bytes", bytes, 1_024..=2_097_152)?,
            ..self
        })
    }

    /// These rules with 1 to 120 seconds for an answer, redirects included.
    pub fn with_timeout_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            timeout_seconds: within("/timeout_seconds", seconds, 1..=120)?,
            ..self
        })
    }

    /// The hosts to which requests are allowed.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Whether requests to this host are allowed.
    pub fn allows_host(&self, host: &str) -> bool {
        self.pattern_of(host).is_some()
    }

    /// The first of the hosts that stands for this one.
    pub fn pattern_of(&self, host: &str) -> Option<&HostPattern> {
        self.hosts.iter().find(|pattern| pattern.matches(host))
    }

    /// The methods that may be used.
    pub fn methods(&self) -> &[HttpMethod] {
        &self.methods
    }

    /// Whether this method may be used.
    pub fn allows_method(&self, method: HttpMethod) -> bool {
        self.methods.contains(&method)
    }

    /// The paths to which requests are allowed; empty for all.
    pub fn paths(&self) -> &[PathPrefix] {
        &self.paths
    }

    /// Whether requests to this path are allowed.
    pub fn allows_path(&self, path: &str) -> bool {
        covered(&self.paths, path)
    }

    /// The credentials that requests may get.
    pub fn credentials(&self) -> &[CredentialName] {
        &self.credentials
    }

    /// The most bytes of an answer's body that are read.
    pub const fn max_response_bytes(&self) -> u32 {
        self.max_response_bytes
    }

    /// The seconds that an answer may take.
    pub const fn timeout_seconds(&self) -> u32 {
        self.timeout_seconds
    }
}

/// Whether one of the prefixes stands for the path, or there are none.
pub fn covered(paths: &[PathPrefix], path: &str) -> bool {
    paths.is_empty() || paths.iter().any(|prefix| prefix.covers(path))
}

fn different<T: PartialEq>(field: &str, list: Vec<T>, most: usize) -> Result<Vec<T>, Invalid> {
    if !(1..=most).contains(&list.len()) {
        return Err(Invalid::new(
            field,
            format!("must have 1 to {most} entries, has {}", list.len()),
        ));
    }
    let twice = list
        .iter()
        .enumerate()
        .find(|(place, entry)| list.iter().take(*place).any(|earlier| earlier == *entry));
    match twice {
        Some((place, _)) => Err(Invalid::new(
            format!("{field}/{place}"),
            "must not be there twice",
        )),
        None => Ok(list),
    }
}

/// A host by name, or all hosts below a name: `api.example.com` or `*.example.com`. Lower-cased;
/// international names are given in their ASCII form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// Checks the pattern; its place is the caller's to name.
    pub fn new(pattern: &str) -> Result<Self, Invalid> {
        let pattern = pattern.to_ascii_lowercase();
        let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
        let labels: Vec<&str> = name.split('.').collect();
        if name.len() > MAX_NAME_BYTES || labels.len() < 2 || !labels.iter().copied().all(is_label)
        {
            return Err(Invalid::new(
                "",
                "must be a host name such as api.example.com or *.example.com",
            ));
        }
        // The URL standard takes a name that ends in a number for an IPv4 address.
        if labels.last().is_none_or(|last| is_number(last)) {
            return Err(Invalid::new("", "must not be an IP address"));
        }
        Ok(Self(pattern))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this lower-cased host.
    fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => host
                .strip_suffix(suffix)
                .is_some_and(|rest| !rest.is_empty()),
            None => host == self.0,
        }
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits(label) || label.strip_prefix("0x").is_some_and(hex)
}

impl TryFrom<String> for HostPattern {
    type Error = Invalid;

    fn try_from(pattern: String) -> Result<Self, Self::Error> {
        Self::new(&pattern)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0
    }
}

/// The rules as JSON.
#[derive(Serialize, Deserialize)]
struct Form {
    hosts: Vec<HostPattern>,
    allow_http: bool,
    methods: Vec<HttpMethod>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    paths: Vec<PathPrefix>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<CredentialName>,
    max_response_bytes: u32,
    timeout_seconds: u32,
}

impl TryFrom<Form> for HttpRules {
    type Error = Invalid;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        let mut rules = Self::new(form.hosts)?
            .with_methods(form.methods)?
            .with_max_response_bytes(form.max_response_bytes)?
            .with_timeout_seconds(form.timeout_seconds)?;
        if !form.paths.is_empty() {
            rules = rules.with_paths(form.paths)?;
        }
        if !form.credentials.is_empty() {
            rules = rules.with_credentials(form.credentials)?;
        }
        rules.schemes = if form.allow_http {
            Schemes::HttpToo
        } else {
            Schemes::HttpsOnly
        };
        Ok(rules)
    }
}

impl From<HttpRules> for Form {
    fn from(rules: HttpRules) -> Self {
        let HttpRules {
            hosts,
            schemes,
            methods,
            paths,
            credentials,
            max_response_bytes,
            timeout_seconds,
        } = rules;
        Self {
            hosts,
            allow_http: schemes == Schemes::HttpToo,
            methods,
            paths,
            credentials,
            max_response_bytes,
            timeout_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str]) -> HttpRules {
        HttpRules::new(
            hosts
                .iter()
                .map(|host| HostPattern::new(host).unwrap())
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn a_host_is_a_name_with_a_dot_and_no_address() {
        for host in [
            "api.example.com",
            "API.Example.COM",
            "*.example.com",
            "xn--grsse-lva.example",
            "1.2.3.4.example",
        ] {
            assert_eq!(
                HostPattern::new(host).unwrap().as_str(),
                host.to_ascii_lowercase()
            );
        }
        let long = format!("{}.com", "x".repeat(64));
        let longer = format!("{}com", "x.".repeat(126));
        let refused = "* *.com localhost example.com. .example.com a..b größe.de a_b.com -a.com a-.com *.*.com api.*.com \
                       *example.com user@example.com example.com:443 https://example.com example.com/x %65xample.com \
                       127.0.0.1 127.1 0x7f.1 *.0.0.1 1.0x7f 1.0x 2130706433 [::1] ::1 0177.0.0.01";
        for host in refused
            .split_whitespace()
            .chain(["", "a b.com", &long, &longer])
        {
            assert_eq!(HostPattern::new(host).unwrap_err().field, "", "{host}");
        }
    }

    #[test]
    fn only_the_named_hosts_and_what_is_below_a_star_are_allowed() {
        let rules = rules(&["api.example.com", "*.example.org"]);
        for host in ["api.example.com", "a.example.org", "a.b.example.org"] {
            assert!(rules.allows_host(host), "{host}");
        }
        for host in [
            "example.com",
            "x.api.example.com",
            "example.org",
            ".example.org",
            "badexample.org",
            "a.example.org.",
        ] {
            assert!(!rules.allows_host(host), "{host}");
        }
    }

    fn path(prefix: &str) -> PathPrefix {
        PathPrefix::new(prefix.to_owned()).unwrap()
    }

    fn credential(name: &str) -> CredentialName {
        CredentialName::new(name.to_owned()).unwrap()
    }

    #[test]
    fn only_the_named_paths_are_allowed() {
        let all = rules(&["api.example.com"]);
        assert!(all.allows_path("/x") && all.allows_path("/a%2fb"));
        let some = all.with_paths(vec![path("/a"), path("/b/")]).unwrap();
        for (asked, is_allowed) in [
            ("/a", true),
            ("/b/c", true),
            ("/c", false),
            ("/a%2f..", false),
        ] {
            assert_eq!(some.allows_path(asked), is_allowed, "{asked}");
        }
    }

    #[test]
    fn rules_out_of_bounds_are_refused_at_their_field() {
        let host = |number: usize| HostPattern::new(&format!("h{number}.example.com")).unwrap();
        let rules = || rules(&["api.example.com"]);
        let table = [
            (HttpRules::new(Vec::new()), "/hosts"),
            (HttpRules::new((0..33).map(host).collect()), "/hosts"),
            (HttpRules::new(vec![host(0), host(1), host(0)]), "/hosts/2"),
            (rules().with_methods(Vec::new()), "/methods"),
            (
                rules().with_methods(vec![HttpMethod::Get, HttpMethod::Get]),
                "/methods/1",
            ),
            (
                rules().with_max_response_bytes(1_023),
                "/max_response_bytes",
            ),
            (
                rules().with_max_response_bytes(2_097_153),
                "/max_response_bytes",
            ),
            (rules().with_timeout_seconds(0), "/timeout_seconds"),
            (rules().with_timeout_seconds(121), "/timeout_seconds"),
            (rules().with_paths(Vec::new()), "/paths"),
            (rules().with_paths(vec![path("/a"), path("/a")]), "/paths/1"),
            (rules().with_credentials(Vec::new()), "/credentials"),
            (
                rules().with_credentials(vec![credential("a"), credential("a")]),
                "/credentials/1",
            ),
            (
                rules().with_credentials((0..9).map(|n| credential(&n.to_string())).collect()),
                "/credentials",
            ),
        ];
        for (refused, field) in table {
            assert_eq!(refused.unwrap_err().field, field);
        }
    }
}
