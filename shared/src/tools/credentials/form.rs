//! The form of a credential's secret: a JSON object. `docs/operations.md` describes it for operators.
//!
//! No error quotes any part of the secret: a parser's own message could.

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::scrub::base64;
use super::{Binding, Grant, Scrub, TokenRequest};
use crate::domain::{HostPattern, HttpMethod, HttpRules, PathPrefix};
use crate::ports::Secret;

const MAX_HOSTS: usize = 8;

/// A shorter value can be part of any text, so that nothing could be removed from answers.
pub(super) const MIN_VALUE_BYTES: usize = 8;

/// The members of the object that say which requests get the credential.
const OF_BINDING: [&str; 3] = ["hosts", "methods", "paths"];

#[derive(Deserialize)]
struct BindingForm {
    hosts: Vec<HostPattern>,
    #[serde(default)]
    methods: Vec<HttpMethod>,
    #[serde(default)]
    paths: Vec<PathPrefix>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Kind {
    Header {
        value: String,
        #[serde(default = "authorization")]
        header: String,
        format: Option<String>,
    },
    Query {
        value: String,
        parameter: String,
    },
    Basic {
        user: String,
        password: String,
    },
    #[serde(rename = "oauth2_client_credentials")]
    ClientCredentials {
        token_url: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
        audience: Option<String>,
    },
}

fn authorization() -> String {
    AUTHORIZATION.as_str().to_owned()
}

/// Reads a secret. The error says what is wrong, for the operator.
pub(super) fn read(secret: &str) -> Result<(Binding, Grant), &'static str> {
    let mut members: Map<String, Value> =
        serde_json::from_str(secret).map_err(|_| "its secret is not a JSON object")?;
    // An empty list could be meant as none, or as all.
    let is_empty = |list: &Value| list.is_null() || list.as_array().is_some_and(Vec::is_empty);
    if OF_BINDING
        .iter()
        .any(|name| members.get(*name).is_some_and(is_empty))
    {
        return Err("its hosts, methods or paths are empty; leave methods and paths out for all");
    }
    let of_binding = OF_BINDING
        .into_iter()
        .filter_map(|name| members.shift_remove_entry(name));
    let of_binding = Value::Object(of_binding.collect());
    let binding = binding(BindingForm::deserialize(of_binding).ok())?;
    members
        .entry("kind")
        .or_insert_with(|| Value::from("header"));
    let kind = Kind::deserialize(Value::Object(members)).map_err(|_| {
        "the members of its secret are not those of its kind: header (value, header, format), query (value, parameter), \
         basic (user, password) or oauth2_client_credentials (token_url, client_id, client_secret, scope, audience)"
    })?;
    Ok((binding, grant(kind)?))
}

fn binding(form: Option<BindingForm>) -> Result<Binding, &'static str> {
    let BindingForm {
        hosts,
        methods,
        paths,
    } = form.ok_or("the hosts, methods or paths in its secret are malformed")?;
    if !(1..=MAX_HOSTS).contains(&hosts.len()) {
        return Err("its secret must name 1 to 8 hosts");
    }
    if hosts.iter().any(|host| host.as_str().starts_with('*')) {
        return Err("its secret must name whole hosts, without *");
    }
    Ok(Binding {
        hosts,
        methods,
        paths,
    })
}

fn grant(kind: Kind) -> Result<Grant, &'static str> {
    const OF_VALUE: &str = "its value must have 8 to 8192 visible ASCII characters";
    match kind {
        Kind::Header {
            value,
            header,
            format,
        } => {
            check(OF_VALUE, &value)?;
            of_header(&value, &header, format)
        }
        Kind::Query { value, parameter } => {
            check(OF_VALUE, &value)?;
            if parameter.is_empty() {
                return Err("its parameter must not be empty");
            }
            let scrub = Scrub::of([value.as_str()]);
            Ok(Grant::Query(parameter, value, scrub))
        }
        Kind::Basic { user, password } => basic(&user, &password),
        Kind::ClientCredentials {
            token_url,
            client_id,
            client_secret,
            scope,
            audience,
        } => {
            check(
                "its client_secret must have 8 to 8192 visible ASCII characters",
                &client_secret,
            )?;
            let rules = token_host(&token_url);
            Ok(Grant::Token(TokenRequest {
                rules: rules.ok_or("its token_url must be an https URL of a host's name")?,
                url: token_url,
                client_id,
                client_secret: Secret::new(client_secret),
                scope,
                audience,
            }))
        }
    }
}

fn of_header(value: &str, header: &str, format: Option<String>) -> Result<Grant, &'static str> {
    let name: HeaderName = header
        .parse()
        .map_err(|_| "its header is not a name of one")?;
    let format = format.unwrap_or_else(|| default_format(&name).to_owned());
    if format.matches("{}").count() != 1 {
        return Err("its format must have {} once");
    }
    let text = format.replace("{}", value);
    let scrub = Scrub::of([value, &text]);
    Ok(Grant::Header(name, sensitive(&text)?, scrub))
}

/// The scheme Basic (RFC 7617).
fn basic(user: &str, password: &str) -> Result<Grant, &'static str> {
    check(
        "its password must have 8 to 8192 visible ASCII characters",
        password,
    )?;
    if user.contains(':') || user.chars().any(char::is_control) {
        return Err("its user must have no colon and no control character");
    }
    let pair = base64(&format!("{user}:{password}"));
    let value = sensitive(&format!("Basic {pair}"))?;
    let scrub = Scrub::of([password, &pair]);
    Ok(Grant::Header(AUTHORIZATION, value, scrub))
}

/// How a value is sent in this header if the secret does not say it.
fn default_format(header: &HeaderName) -> &'static str {
    if *header == AUTHORIZATION {
        "Bearer {}"
    } else {
        "{}"
    }
}

/// Only requests to the host of this URL are allowed, over HTTPS.
fn token_host(url: &str) -> Option<HttpRules> {
    let is_plain = |url: &Url| {
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
    };
    let url = Url::parse(url).ok().filter(is_plain)?;
    let host = HostPattern::new(url.domain()?).ok()?;
    let rules = HttpRules::new(vec![host]).ok()?;
    rules.with_methods(vec![HttpMethod::Post]).ok()
}

/// A value that stands at the end of a file often has a line break that belongs to no key.
fn check(rule: &'static str, value: &str) -> Result<(), &'static str> {
    let is_visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && (MIN_VALUE_BYTES..=8_192).contains(&value.len()) {
        Ok(())
    } else {
        Err(rule)
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, &'static str> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "its value is not one that a header may have")?;
    value.set_sensitive(true);
    Ok(value)
}
