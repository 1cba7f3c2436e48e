//! The built-in tools: an agent's choice of them, and their definitions for models.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::path_prefix::PathPrefix;
use super::schema::JsonSchema;
use super::tool_rules::{HostPattern, HttpMethod, HttpRules, Schemes};
use super::transcript::{ToolDefinition, ToolName};

/// The most bytes of a tool's result in a conversation.
pub const MAX_TOOL_TEXT_BYTES: usize = 512 * 1_024;

/// A tool that the platform runs itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum BuiltinTool {
    /// Tells the time.
    CurrentTime,
    /// Works out an arithmetic expression.
    Calculator,
    /// Sends an HTTP request.
    HttpRequest(HttpRules),
}

impl BuiltinTool {
    /// The names of all built-in tools, for error messages.
    pub const NAMES: &str = "current_time, calculator or http_request";

    /// How many there are.
    pub const COUNT: usize = 3;

    /// The name by which models call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CurrentTime => "current_time",
            Self::Calculator => "calculator",
            Self::HttpRequest(_) => "http_request",
        }
    }

    /// The tool's definition for models.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "a test checks each name and schema by the rules for them"
    )]
    pub fn definition(&self) -> ToolDefinition {
        let (description, schema) = match self {
            Self::CurrentTime => (CURRENT_TIME.to_owned(), current_time()),
            Self::Calculator => (CALCULATOR.to_owned(), calculator()),
            Self::HttpRequest(rules) => (http_request_description(rules), http_request(rules)),
        };
        ToolDefinition {
            name: ToolName::new(self.name().to_owned()).expect("a valid name"),
            description,
            input_schema: JsonSchema::new(schema).expect("a valid schema"),
        }
    }
}

const CURRENT_TIME: &str = "Tells the current date and time, as RFC 3339, as Unix time in seconds and with the day of the \
                            week. Use it whenever an answer depends on what day or time it is.";

const CALCULATOR: &str = "Works out an arithmetic expression exactly as written. Use it instead of calculating yourself. It knows + - * / % ^, \
     parentheses, decimals such as 1.5 or 2e3, the functions sqrt, abs, round, floor, ceil, ln, log10, exp, sin, cos, tan \
     (angles in radians), min and max (any number of arguments, separated by commas), and pi and e. % is the remainder, \
     and ^ goes before a minus sign: -2^2 is -4.";

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn current_time() -> Value {
    let offset = json!({
        "type": "integer", "minimum": -840, "maximum": 840,
        "description": "Minutes from UTC to the local time that is wanted, such as 120 or -300; 0 when left out.",
    });
    object(&json!({ "utc_offset_minutes": offset }), &[])
}

fn calculator() -> Value {
    let expression = json!({
        "type": "string", "minLength": 1, "maxLength": 1_000,
        "description": "The expression, such as (3 + 4) * sqrt(2).",
    });
    object(&json!({ "expression": expression }), &["expression"])
}

fn http_request_description(rules: &HttpRules) -> String {
    let credentials = if rules.credentials().is_empty() {
        ""
    } else {
        " Requests that need credentials get them from the platform: never set any yourself."
    };
    format!(
        "Sends an HTTP request and returns a JSON object with status, content_type, body (as text) and truncated, which \
         is true where the body has more than {} bytes and was cut. Redirects are followed. Answers must be text, JSON or \
         XML.{credentials}",
        rules.max_response_bytes()
    )
}

fn http_request(rules: &HttpRules) -> Value {
    let hosts: Vec<&str> = rules.hosts().iter().map(HostPattern::as_str).collect();
    let methods: Vec<&str> = rules
        .methods()
        .iter()
        .map(|method| method.as_str())
        .collect();
    let scheme = match rules.schemes {
        Schemes::HttpsOnly => "https",
        Schemes::HttpToo => "https or http",
    };
    let paths: Vec<&str> = rules.paths().iter().map(PathPrefix::as_str).collect();
    let below = if paths.is_empty() {
        String::new()
    } else {
        format!("; its path begins with one of: {}", paths.join(", "))
    };
    let mut properties = json!({
        "url": {
            "type": "string", "minLength": 1, "maxLength": 4_096,
            "description": format!("An absolute {scheme} URL of one of these hosts: {}{below}", hosts.join(", ")),
        },
        "method": { "type": "string", "enum": methods, "description": "GET when left out." },
        "headers": {
            "type": "object", "additionalProperties": { "type": "string" }, "maxProperties": 32,
            "description": "Headers of the request, such as Accept.",
        },
        "body": {
            "type": "string", "maxLength": 65_536,
            "description": "The body of the request. Say its type in a Content-Type header.",
        },
    });
    if rules.methods().iter().all(|method| method.is_safe())
        && let Some(properties) = properties.as_object_mut()
    {
        properties.shift_remove("body");
    }
    let required: &[&str] = if rules.allows_method(HttpMethod::Get) {
        &["url"]
    } else {
        &["url", "method"]
    };
    object(&properties, required)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CredentialName;

    fn http(hosts: impl IntoIterator<Item = String>, methods: &[HttpMethod]) -> BuiltinTool {
        let hosts = hosts
            .into_iter()
            .map(|host| HostPattern::new(&host).unwrap())
            .collect();
        let rules = HttpRules::new(hosts).and_then(|rules| rules.with_methods(methods.to_vec()));
        BuiltinTool::HttpRequest(rules.unwrap())
    }

    fn all() -> [BuiltinTool; 5] {
        let long = |number| format!("{number:0>60}.{0}.{0}.{0}.example", "x".repeat(60));
        [
            BuiltinTool::CurrentTime,
            BuiltinTool::Calculator,
            http(["api.example.com".to_owned()], &[HttpMethod::Get]),
            http(["*.example.com".to_owned()], &[HttpMethod::Post]),
            http((0..32).map(long), &[HttpMethod::Get, HttpMethod::Delete]),
        ]
    }

    #[test]
    fn a_definition_keeps_the_rules_for_tools_whatever_its_tool_is_set_to() {
        for tool in all() {
            let ToolDefinition {
                name,
                description,
                input_schema,
            } = tool.definition();
            assert_eq!(name.as_str(), tool.name());
            assert_eq!(input_schema.as_value()["additionalProperties"], false);
            let tool = ToolDefinition::new(name, description, input_schema).unwrap();
            ToolDefinition::check_all(&[&tool]).unwrap();
        }
    }

    #[test]
    fn a_model_learns_where_requests_may_go_and_how() {
        let schema = |tool: &BuiltinTool| tool.definition().input_schema.as_value().clone();
        let [_, _, reads, posts, _] = all();
        let (reads, posts) = (schema(&reads), schema(&posts));
        assert!(
            reads["properties"]["url"]["description"]
                .as_str()
                .unwrap()
                .ends_with("hosts: api.example.com")
        );
        assert_eq!(reads["required"], json!(["url"]));
        assert!(reads["properties"].get("body").is_none());
        assert_eq!(posts["required"], json!(["url", "method"]));
        assert_eq!(posts["properties"]["method"]["enum"], json!(["POST"]));
        assert_eq!(posts["properties"]["body"]["type"], "string");
    }

    #[test]
    fn a_tool_survives_its_json() {
        for tool in all() {
            let text = serde_json::to_string(&tool).unwrap();
            assert_eq!(serde_json::from_str::<BuiltinTool>(&text).unwrap(), tool);
        }
        let rules = serde_json::to_value(&all()[2]).unwrap();
        let expected = json!({
            "name": "http_request", "hosts": ["api.example.com"], "allow_http": false, "methods": ["GET"],
            "max_response_bytes": 262_144, "timeout_seconds": 20,
        });
        assert_eq!(rules, expected);
    }

    #[test]
    fn a_model_learns_which_paths_it_may_ask_and_that_it_needs_no_credentials() {
        let [_, _, reads, _, _] = all();
        let BuiltinTool::HttpRequest(rules) = reads else {
            panic!("{reads:?}")
        };
        let rules = rules
            .with_paths(vec![PathPrefix::new("/v1".to_owned()).unwrap()])
            .and_then(|rules| {
                rules.with_credentials(vec![CredentialName::new("orders".to_owned())?])
            });
        let tool = BuiltinTool::HttpRequest(rules.unwrap());
        let text = serde_json::to_string(&tool).unwrap();
        assert_eq!(serde_json::from_str::<BuiltinTool>(&text).unwrap(), tool);
        let definition = tool.definition();
        assert!(definition.description.ends_with("never set any yourself."));
        let url = &definition.input_schema.as_value()["properties"]["url"]["description"];
        assert!(
            url.as_str().unwrap().ends_with("begins with one of: /v1"),
            "{url}"
        );
    }
}
