//! Reads the tools of an agent, and the rules for their calls.

use serde::Deserialize;
use serde_json::Value;
use shared::domain::agent_tool::{CallRules, ToolKind};
use shared::domain::credential::MAX_CREDENTIALS;
use shared::domain::path_prefix::MAX_PATHS;
use shared::domain::tool_rules::MAX_HOSTS;
use shared::domain::transcript::MAX_TOOLS;
use shared::domain::{
    AgentTool, BuiltinTool, CredentialName, HostPattern, HttpMethod, HttpRules, Invalid,
    PathPrefix, Schemes, ToolDefinition, ToolName,
};
use utoipa::ToSchema;

use super::request::schema;
use crate::body::{Broken, Object, counted, named, required};
use crate::json::whole;
use crate::openapi::values;

/// The most entries of `tools`: those of the client, and each of the platform's once.
const MAX_ENTRIES: usize = MAX_TOOLS + BuiltinTool::COUNT;

/// The most entries of `builtin_tools` that are read. More entries would have a tool twice.
const MAX_BUILTIN_ENTRIES: usize = 8;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH or DELETE";

/// The members that client tools have beside their name.
const OF_CLIENT: &[&str] = &["/description", "/input_schema"];

/// The members that `http_request` has beside its name.
const OF_HTTP_REQUEST: &[&str] = &[
    "/hosts",
    "/allow_http",
    "/methods",
    "/paths",
    "/credentials",
    "/max_response_bytes",
    "/timeout_seconds",
    "/max_result_bytes",
];

/// The members that the platform's other tools have beside their name.
const OF_PLAIN: &[&str] = &["/max_result_bytes"];

/// A tool, and the rules for its calls.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tool)]
pub(super) struct ToolEntry {
    /// Who has it: the client or the platform.
    #[schema(value_type = Option<values::ToolKind>)]
    kind: Option<String>,
    #[schema(value_type = values::ToolName)]
    name: Option<String>,
    /// What it does and when to use it, up to 16 KiB.
    #[schema(max_length = 16_384)]
    description: Option<String>,
    #[schema(value_type = Option<values::JsonSchema>)]
    input_schema: Option<Value>,
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
    /// How many calls of the tool a task may make. Without it, only the task's limits hold.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000)]
    max_calls: Option<u32>,
    /// Where a result is cut. Only for the platform's tools.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 2_048, maximum = 524_288)]
    max_result_bytes: Option<u32>,
}

/// Who has a tool.
#[derive(Clone, Copy)]
enum Owner {
    Client,
    Platform,
}

impl Owner {
    /// The kinds that a list may have whose tools are this owner's unless they say otherwise.
    const fn kinds(self) -> &'static str {
        match self {
            Self::Client => "must be client or builtin",
            Self::Platform => "must be builtin",
        }
    }
}

/// The tools of the lists `tools` and `builtin_tools`, each name once. Earlier versions had the
/// platform's tools in a list of their own.
pub(super) fn tools(
    entries: Vec<Object<ToolEntry>>,
    builtin: Vec<Object<ToolEntry>>,
    broken: &mut Broken,
) -> Option<Vec<AgentTool>> {
    let entries = broken.keep(counted("/tools", entries, 0..=MAX_ENTRIES));
    let builtin = counted("/builtin_tools", builtin, 0..=MAX_BUILTIN_ENTRIES);
    let (entries, builtin) = (entries?, broken.keep(builtin)?);
    let in_first = entries.len();
    let mut tools = Vec::new();
    for (list, entries, owner) in [
        ("/tools", entries, Owner::Client),
        ("/builtin_tools", builtin, Owner::Platform),
    ] {
        for (place, Object(entry)) in entries.into_iter().enumerate() {
            tools.push(broken.below(&format!("{list}/{place}"), |broken| {
                entry.tool(owner, broken)
            }));
        }
    }
    let tools: Option<Vec<AgentTool>> = tools.into_iter().collect();
    broken.keep(AgentTool::check_all(tools?).map_err(|refused| in_its_list(refused, in_first)))
}

/// The rule at its place in the body, whose first list has so many tools.
fn in_its_list(refused: Invalid, in_first: usize) -> Invalid {
    let place = refused.field.strip_prefix("/tools/");
    let place = place.and_then(|place| place.strip_suffix("/name")?.parse::<usize>().ok());
    match place.and_then(|place| place.checked_sub(in_first)) {
        Some(place) => Invalid::new(format!("/builtin_tools/{place}/name"), refused.reason),
        None => refused,
    }
}

impl ToolEntry {
    fn tool(self, owner: Owner, broken: &mut Broken) -> Option<AgentTool> {
        let owner = match self.kind.as_deref() {
            None => Ok(owner),
            Some("builtin") => Ok(Owner::Platform),
            Some("client") if matches!(owner, Owner::Client) => Ok(Owner::Client),
            Some(_) => Err(Invalid::new("/kind", owner.kinds())),
        };
        let owner = broken.keep(owner)?;
        let rules = self.rules(broken);
        let kind = match owner {
            Owner::Client => self.client(broken).map(ToolKind::Client),
            Owner::Platform => self.builtin(broken).map(ToolKind::Builtin),
        };
        kind.map(|kind| AgentTool { kind, rules })
    }

    fn rules(&self, broken: &mut Broken) -> CallRules {
        let mut rules = CallRules::default();
        if let Some(calls) = self.max_calls {
            rules = broken.keep(rules.with_max_calls(calls)).unwrap_or(rules);
        }
        if let Some(bytes) = self.max_result_bytes {
            rules = broken
                .keep(rules.with_max_result_bytes(bytes))
                .unwrap_or(rules);
        }
        rules
    }

    fn client(self, broken: &mut Broken) -> Option<ToolDefinition> {
        let has_only = self.has_only(
            OF_CLIENT,
            "a client tool; set kind if it is another",
            broken,
        );
        let name = broken.keep(required("/name", self.name).and_then(ToolName::new));
        let schema = schema("/input_schema", self.input_schema, broken);
        let description = self.description.unwrap_or_default();
        let tool = broken.keep(ToolDefinition::new(name?, description, schema?));
        tool.filter(|_| has_only)
    }

    fn builtin(self, broken: &mut Broken) -> Option<BuiltinTool> {
        let name = broken.keep(required("/name", self.name.clone()))?;
        let (tool, members) = match name.as_str() {
            "current_time" => (Some(BuiltinTool::CurrentTime), OF_PLAIN),
            "calculator" => (Some(BuiltinTool::Calculator), OF_PLAIN),
            "http_request" => (None, OF_HTTP_REQUEST),
            _ => {
                let reason = format!("must be {}", BuiltinTool::NAMES);
                return broken.keep(Err(Invalid::new("/name", reason)));
            }
        };
        if !self.has_only(members, &name, broken) {
            return None;
        }
        tool.or_else(|| self.http_rules(broken).map(BuiltinTool::HttpRequest))
    }

    /// Whether it has no other members than these, beside those that every tool has.
    fn has_only(&self, members: &[&str], tool: &str, broken: &mut Broken) -> bool {
        let given = [
            ("/description", self.description.is_some()),
            ("/input_schema", self.input_schema.is_some()),
            ("/hosts", self.hosts.is_some()),
            ("/allow_http", self.allow_http.is_some()),
            ("/methods", self.methods.is_some()),
            ("/paths", self.paths.is_some()),
            ("/credentials", self.credentials.is_some()),
            ("/max_response_bytes", self.max_response_bytes.is_some()),
            ("/timeout_seconds", self.timeout_seconds.is_some()),
            ("/max_result_bytes", self.max_result_bytes.is_some()),
        ];
        let others: Vec<Invalid> = given
            .into_iter()
            .filter(|(field, is_given)| *is_given && !members.contains(field))
            .map(|(field, _)| Invalid::new(field, format!("is not for {tool}")))
            .collect();
        let has_only = others.is_empty();
        broken.extend(others);
        has_only
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
