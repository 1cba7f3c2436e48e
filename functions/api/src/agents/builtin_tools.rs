//! Reads the built-in tools, and their settings, from the body of `POST /v1/agents`.

use serde::Deserialize;
use shared::domain::credential::MAX_CREDENTIALS;
use shared::domain::path_prefix::MAX_PATHS;
use shared::domain::tool_rules::MAX_HOSTS;
use shared::domain::{
    BuiltinTool, CredentialName, HostPattern, HttpMethod, HttpRules, Invalid, PathPrefix, Schemes,
    ToolDefinition,
};
use utoipa::ToSchema;

use crate::body::{Broken, Object, counted, named, required};
use crate::json::whole;
use crate::openapi::values;

/// The most entries that are read. More entries would have a tool twice.
const MAX_ENTRIES: usize = 8;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH or DELETE";

/// One built-in tool, and its settings. Only `http_request` has settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BuiltinTool)]
pub(super) struct BuiltinToolEntry {
    #[schema(value_type = values::BuiltinToolName)]
    name: Option<String>,
    /// Where requests may go.
    #[schema(value_type = Option<Vec<values::HostPattern>>, min_items = 1, max_items = 32)]
    hosts: Option<Vec<String>>,
    #[schema(default = false)]
    allow_http: Option<bool>,
    #[schema(value_type = Option<Vec<values::HttpMethod>>, min_items = 1, max_items = 6)]
    methods: Option<Vec<String>>,
    /// The beginnings of the paths that requests may have, by whole segments. All paths without it.
    #[schema(value_type = Option<Vec<values::PathPrefix>>, min_items = 1, max_items = 32)]
    paths: Option<Vec<String>>,
    /// The tenant's credentials, which the operator stores. A request gets the one that is for its
    /// host, method and path.
    #[schema(value_type = Option<Vec<values::CredentialName>>, min_items = 1, max_items = 8)]
    credentials: Option<Vec<String>>,
    /// Where the response body is cut.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1_024, maximum = 2_097_152, default = 262_144)]
    max_response_bytes: Option<u32>,
    /// For one request with its redirects.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 120, default = 20)]
    timeout_seconds: Option<u32>,
}

/// The tools, each at most once and none with the name of one of `others`.
pub(super) fn builtin_tools(
    entries: Vec<Object<BuiltinToolEntry>>,
    others: &[ToolDefinition],
    broken: &mut Broken,
) -> Option<Vec<BuiltinTool>> {
    let entries = broken.keep(counted("/builtin_tools", entries, 0..=MAX_ENTRIES))?;
    let mut tools = Vec::new();
    for (place, Object(entry)) in entries.into_iter().enumerate() {
        tools.push(broken.below(&format!("/builtin_tools/{place}"), |broken| {
            entry.tool(broken)
        }));
    }
    let tools: Option<Vec<BuiltinTool>> = tools.into_iter().collect();
    broken.keep(BuiltinTool::check_all(tools?, others))
}

impl BuiltinToolEntry {
    fn tool(self, broken: &mut Broken) -> Option<BuiltinTool> {
        let name = broken.keep(required("/name", self.name.clone()))?;
        match name.as_str() {
            "current_time" => self.plain(BuiltinTool::CurrentTime, broken),
            "calculator" => self.plain(BuiltinTool::Calculator, broken),
            "http_request" => self.http_rules(broken).map(BuiltinTool::HttpRequest),
            _ => broken.keep(Err(Invalid::new(
                "/name",
                format!("must be {}", BuiltinTool::NAMES),
            ))),
        }
    }

    /// A tool that has no settings.
    fn plain(self, tool: BuiltinTool, broken: &mut Broken) -> Option<BuiltinTool> {
        let given = [
            ("/hosts", self.hosts.is_some()),
            ("/allow_http", self.allow_http.is_some()),
            ("/methods", self.methods.is_some()),
            ("/paths", self.paths.is_some()),
            ("/credentials", self.credentials.is_some()),
            ("/max_response_bytes", self.max_response_bytes.is_some()),
            ("/timeout_seconds", self.timeout_seconds.is_some()),
        ];
        let given: Vec<&str> = given
            .into_iter()
            .filter_map(|(field, is_given)| is_given.then_some(field))
            .collect();
        broken.extend(
            given
                .iter()
                .map(|field| Invalid::new(*field, format!("is not for {}", tool.name())))
                .collect(),
        );
        given.is_empty().then_some(tool)
    }

    fn http_rules(self, broken: &mut Broken) -> Option<HttpRules> {
        let hosts = required("/hosts", self.hosts)
            .and_then(|hosts| counted("/hosts", hosts, 1..=MAX_HOSTS));
        let hosts = broken.keep(hosts)?;
        let hosts = each("/hosts", hosts, broken, |host| HostPattern::new(&host));
        let methods = self.methods.map(|methods| {
            each("/methods", methods, broken, |method| {
                named::<HttpMethod>("", &method, METHODS)
            })
        });
        let paths = self.paths.map(|paths| {
            let paths = broken.keep(counted("/paths", paths, 1..=MAX_PATHS))?;
            each("/paths", paths, broken, PathPrefix::new)
        });
        let credentials = self.credentials.map(|names| {
            let names = broken.keep(counted("/credentials", names, 1..=MAX_CREDENTIALS))?;
            each("/credentials", names, broken, CredentialName::new)
        });
        let mut rules = broken.keep(HttpRules::new(hosts?))?;
        if self.allow_http == Some(true) {
            rules.schemes = Schemes::HttpToo;
        }
        if let Some(methods) = methods {
            rules = broken
                .keep(rules.clone().with_methods(methods?))
                .unwrap_or(rules);
        }
        if let Some(paths) = paths {
            rules = broken
                .keep(rules.clone().with_paths(paths?))
                .unwrap_or(rules);
        }
        if let Some(credentials) = credentials {
            rules = broken
                .keep(rules.clone().with_credentials(credentials?))
                .unwrap_or(rules);
        }
        if let Some(bytes) = self.max_response_bytes {
            rules = broken
                .keep(rules.clone().with_max_response_bytes(bytes))
                .unwrap_or(rules);
        }
        if let Some(seconds) = self.timeout_seconds {
            rules = broken
                .keep(rules.clone().with_timeout_seconds(seconds))
                .unwrap_or(rules);
        }
        Some(rules)
    }
}

/// Reads each entry of the list at `field`. `None` if an entry breaks a rule; all broken rules are
/// recorded.
fn each<T>(
    field: &str,
    list: Vec<String>,
    broken: &mut Broken,
    read: impl Fn(String) -> Result<T, Invalid>,
) -> Option<Vec<T>> {
    let mut values = Vec::new();
    for (place, entry) in list.into_iter().enumerate() {
        values.push(broken.below(&format!("{field}/{place}"), |broken| {
            broken.keep(read(entry))
        }));
    }
    values.into_iter().collect()
}
