//! An agent as its client wants it, and the rules that its models, tools and limits must follow.

use crate::domain::{AgentConfig, Invalid, Provider, Switch, Timestamp, ToolKind, Unlisted};
use crate::policy::admission::{Admission, CompatibleServer, output_refusals};
use crate::policy::schemas;

/// An agent as its client wants it, in the right form; its models are not checked yet.
#[derive(Debug, Clone)]
pub struct AgentDraft {
    /// What it does.
    pub config: AgentConfig,
    /// For each model of its chain, whether it may be unknown to the price table.
    pub unlisted: Vec<Unlisted>,
    /// Whether it works.
    pub switch: Switch,
}

impl AgentDraft {
    /// Fails with every rule of the chain's models and providers that the draft breaks. One of these
    /// `providers` must serve each model, it must be known unless its owner allows otherwise, have a
    /// price where a cap needs one, and take its settings; and its provider must take the tools and
    /// limits, as far as they can't be repaired without a change of meaning.
    pub(super) fn admit(&self, providers: &[Provider], now: Timestamp) -> Result<(), Vec<Invalid>> {
        let config = &self.config;
        let compatible_server = if providers.contains(&Provider::OpenAiCompatible) {
            CompatibleServer::Present
        } else {
            CompatibleServer::Absent
        };
        let admission = Admission {
            now,
            max_cost_micro_usd: config.limits.max_cost_micro_usd(),
            compatible_server,
        };
        let mut refused = Vec::new();
        for (place, (choice, unlisted)) in config.models.iter().zip(&self.unlisted).enumerate() {
            let of_model = admission.refusals(choice, *unlisted);
            refused.extend(below(&format!("/models/{place}"), of_model));
        }
        let max_output_tokens = config.limits.max_output_tokens();
        refused.extend(output_refusals(&config.models, max_output_tokens, now));
        for (place, tool) in config.tools.iter().enumerate() {
            let ToolKind::Client(tool) = &tool.kind else {
                continue;
            };
            let of_tool = schemas::refusals(tool.input_schema.as_value(), &config.models);
            refused.extend(below(&format!("/tools/{place}/input_schema"), of_tool));
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(refused)
        }
    }
}

/// Broken rules of the value at `place`, at pointers from the root.
pub(super) fn below(place: &str, refused: Vec<Invalid>) -> impl Iterator<Item = Invalid> {
    refused
        .into_iter()
        .map(move |Invalid { field, reason }| Invalid::new(format!("{place}{field}"), reason))
}
