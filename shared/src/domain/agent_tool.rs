//! The tools of an agent, as one list of several kinds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, within};
use super::tool::{BuiltinTool, MAX_TOOL_TEXT_BYTES};
use super::transcript::ToolDefinition;

/// A tool of an agent: who runs it, and the rules for its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTool {
    /// What it is.
    #[serde(flatten)]
    pub kind: ToolKind,
    /// The rules for its calls.
    #[serde(flatten)]
    pub rules: CallRules,
}

/// What a tool is. A new kind is one variant here and one module of `tools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolKind {
    /// The client runs it.
    Client(ToolDefinition),
    /// The platform runs it. Every agent may have it.
    Builtin(BuiltinTool),
}

/// The rules for the calls of one tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRules {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_calls: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_result_bytes: Option<u32>,
}

impl CallRules {
    /// These rules with 1 to 1,000 calls in a task.
    pub fn with_max_calls(self, calls: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_calls: Some(within("/max_calls", calls, 1..=1_000)?),
            ..self
        })
    }

    /// These rules with results of 2 KiB to 512 KiB.
    pub fn with_max_result_bytes(self, bytes: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_result_bytes: Some(within("/max_result_bytes", bytes, 2_048..=524_288)?),
            ..self
        })
    }

    /// The most calls that a task may make, if there is a limit.
    pub const fn max_calls(self) -> Option<u32> {
        self.max_calls
    }

    /// The most bytes of a result: [`MAX_TOOL_TEXT_BYTES`] unless the tool has a limit of its own.
    pub fn result_bytes(self) -> usize {
        let own = self.max_result_bytes.map(usize::try_from);
        own.and_then(Result::ok).unwrap_or(MAX_TOOL_TEXT_BYTES)
    }
}

impl AgentTool {
    /// The name by which models call it.
    pub fn name(&self) -> &str {
        match &self.kind {
            ToolKind::Client(tool) => tool.name.as_str(),
            ToolKind::Builtin(tool) => tool.name(),
        }
    }

    /// The tool as models see it.
    pub fn definition(&self) -> Cow<'_, ToolDefinition> {
        match &self.kind {
            ToolKind::Client(tool) => Cow::Borrowed(tool),
            ToolKind::Builtin(tool) => Cow::Owned(tool.definition()),
        }
    }

    /// Checks the tools at `/tools` together: each name once, and the client's by
    /// [`ToolDefinition::check_all`].
    pub fn check_all(tools: Vec<Self>) -> Result<Vec<Self>, Invalid> {
        for (place, tool) in tools.iter().enumerate() {
            let mut earlier = tools.iter().take(place);
            if earlier.any(|earlier| earlier.name() == tool.name()) {
                let field = format!("/tools/{place}/name");
                return Err(Invalid::new(field, "must not be the name of another tool"));
            }
        }
        let of_client = tools.iter().filter_map(|tool| match &tool.kind {
            ToolKind::Client(tool) => Some(tool),
            ToolKind::Builtin(_) => None,
        });
        ToolDefinition::check_all(&of_client.collect::<Vec<_>>())?;
        Ok(tools)
    }

    /// The tools as the first version knew them, if it can: those of the client, and then those of the
    /// platform, without rules of their own.
    pub(crate) fn in_two_lists(
        tools: &[Self],
    ) -> Option<(Vec<&ToolDefinition>, Vec<&BuiltinTool>)> {
        let (mut client, mut builtin) = (Vec::new(), Vec::new());
        for Self { kind, rules } in tools {
            match kind {
                _ if *rules != CallRules::default() => return None,
                ToolKind::Client(tool) if builtin.is_empty() => client.push(tool),
                ToolKind::Client(_) => return None,
                ToolKind::Builtin(tool) => builtin.push(tool),
            }
        }
        Some((client, builtin))
    }
}

impl From<ToolDefinition> for AgentTool {
    fn from(tool: ToolDefinition) -> Self {
        ToolKind::Client(tool).into()
    }
}

impl From<BuiltinTool> for AgentTool {
    fn from(tool: BuiltinTool) -> Self {
        ToolKind::Builtin(tool).into()
    }
}

impl From<ToolKind> for AgentTool {
    fn from(kind: ToolKind) -> Self {
        Self {
            kind,
            rules: CallRules::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{HostPattern, HttpRules, JsonSchema, ToolName};

    fn client(name: &str) -> AgentTool {
        let schema = json!({ "type": "object", "properties": { "z": {}, "a": {} } });
        let schema = JsonSchema::new(schema).unwrap();
        let name = ToolName::new(name.to_owned()).unwrap();
        ToolDefinition::new(name, "Asks.".to_owned(), schema)
            .unwrap()
            .into()
    }

    fn http() -> AgentTool {
        let host = HostPattern::new("api.example.com").unwrap();
        BuiltinTool::HttpRequest(HttpRules::new(vec![host]).unwrap()).into()
    }

    fn limited(mut tool: AgentTool) -> AgentTool {
        let rules = CallRules::default().with_max_calls(3);
        tool.rules = rules
            .and_then(|rules| rules.with_max_result_bytes(2_048))
            .unwrap();
        tool
    }

    #[test]
    fn a_tool_survives_its_json() {
        for tool in [
            client("ask"),
            http(),
            limited(client("ask")),
            limited(http()),
        ] {
            let text = serde_json::to_string(&tool).unwrap();
            assert_eq!(
                serde_json::from_str::<AgentTool>(&text).unwrap(),
                tool,
                "{text}"
            );
        }
        let text = serde_json::to_string(&limited(client("ask"))).unwrap();
        let expected = r#"{"kind":"client","name":"ask","description":"Asks.","input_schema":{"type":"object","properties":{"z":{},"a":{}}},"max_calls":3,"max_result_bytes":2048}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn two_tools_of_one_name_are_refused() {
        let check = |tools| AgentTool::check_all(tools).map_err(|refused| refused.field);
        let fine = vec![client("ask"), http(), client("look_up")];
        assert_eq!(check(fine.clone()), Ok(fine));
        let twice = [
            vec![client("ask"), client("ask")],
            vec![http(), http()],
            vec![BuiltinTool::Calculator.into(), client("calculator")],
        ];
        for tools in twice {
            assert_eq!(check(tools), Err("/tools/1/name".to_owned()));
        }
    }

    #[test]
    fn only_what_the_first_version_knew_is_in_two_lists() {
        let two = |tools: &[AgentTool]| {
            AgentTool::in_two_lists(tools).map(|(client, builtin)| (client.len(), builtin.len()))
        };
        assert_eq!(two(&[]), Some((0, 0)));
        assert_eq!(two(&[client("a"), client("b"), http()]), Some((2, 1)));
        assert_eq!(two(&[http(), client("a")]), None);
        assert_eq!(two(&[client("a"), limited(http())]), None);
    }

    #[test]
    fn rules_out_of_bounds_are_refused_at_their_field() {
        let rules = CallRules::default();
        for (refused, field) in [
            (rules.with_max_calls(0), "/max_calls"),
            (rules.with_max_calls(1_001), "/max_calls"),
            (rules.with_max_result_bytes(2_047), "/max_result_bytes"),
            (rules.with_max_result_bytes(524_289), "/max_result_bytes"),
        ] {
            assert_eq!(refused.unwrap_err().field, field);
        }
        assert_eq!(rules.result_bytes(), MAX_TOOL_TEXT_BYTES);
        assert_eq!(limited(http()).rules.result_bytes(), 2_048);
    }
}
