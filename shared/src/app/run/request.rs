//! The next request to a model.

use std::sync::Arc;

use super::tools::definitions;
use super::work::Work;
use crate::app::outcome::is_last_try;
use crate::domain::{Caller, Message, ModelRequest, Prompt, TaskInput, ToolUse, UserPart};
use crate::ports::AgentOfTask;

/// The text that a model gets when its task's time is nearly over.
const WRAP_UP: &str =
    "The time for this task is nearly over. Give your final answer now, with what you have.";

impl Work<'_> {
    /// The request to the agent's models for the next step.
    pub(super) fn request(&self, found: &AgentOfTask, input: &TaskInput) -> ModelRequest {
        let agent = &found.agent;
        let (config, spec, limits) = (
            &agent.config,
            self.held.task.spec(),
            self.held.task.limits(),
        );
        let mut messages = self.conversation.messages(input);
        let tool_use = if self.held.wraps_up() {
            ToolUse::Forbidden
        } else {
            ToolUse::Allowed
        };
        if tool_use == ToolUse::Forbidden {
            append_text(&mut messages, WRAP_UP);
        }
        let prompt = Prompt {
            instructions: config.instructions.as_str().to_owned(),
            messages,
            tools: definitions(agent).collect(),
            tool_use,
            output_schema: config.output_schema.clone(),
            max_output_tokens: limits.max_output_tokens(),
        };
        ModelRequest {
            chain: config.models.clone(),
            prompt: Arc::new(prompt),
            caller: Caller {
                tenant: spec.tenant.clone(),
                task: spec.id,
                key: spec.submitted_by,
            },
            retry: config.retry,
            cache: config.cache.unwrap_or(self.held.runner.cache),
            cache_use: spec.cache_use,
            cache_generation: found.cache_generation,
            task_cap: limits.max_cost_micro_usd(),
            task_spent: self.held.task.spend().cost.micro_usd,
            deadline: self.held.step_deadline(),
            is_last_try: is_last_try(&self.held.task, self.held.runner.clock.now()),
        }
    }
}

/// Adds a text to the conversation's last message if that is the user's, and else in a new message.
fn append_text(messages: &mut Vec<Message>, text: &str) {
    match messages.last_mut() {
        Some(Message::User(parts)) => parts.push(UserPart::Text(text.to_owned())),
        Some(Message::Assistant(_) | Message::ToolResults(_)) | None => {
            messages.push(Message::user(text));
        }
    }
}
