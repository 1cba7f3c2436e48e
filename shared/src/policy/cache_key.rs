//! The key under which an answer is cached: the same for the same request of the same tenant, in
//! every process.

use std::io;
use std::num::NonZeroU64;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::{AnswerKey, ModelChoice, ModelRequest, Prompt};

/// The version of this form. It goes up with any change of what a key is made of, and of what is
/// stored under it, so that two deployments never misread each other's answers.
const VERSION: u32 = 3;

/// All that could change the answer, whose request it is, and the agent's cache generation. What a call costs, how it is
/// repeated, who waits for it and until when is no part of the request.
#[derive(Serialize)]
struct KeyedRequest<'a> {
    version: u32,
    tenant: &'a str,
    chain: Vec<&'a ModelChoice>,
    prompt: &'a Prompt,
    /// Left out while it is 0, so that the keys from before generations stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<NonZeroU64>,
}

/// The key of the request's answer.
pub fn of(request: &ModelRequest) -> AnswerKey {
    let request = KeyedRequest {
        version: VERSION,
        tenant: request.caller.tenant.as_str(),
        chain: request.chain.iter().collect(),
        prompt: &request.prompt,
        generation: NonZeroU64::new(request.cache_generation),
    };
    AnswerKey::new(digest(&request))
}

/// The digest of the request's JSON. Our fields come in the order of their declaration, and those
/// of schemas in the order in which they were written: models write properties in that order, so
/// that another order is another request.
fn digest(request: &KeyedRequest<'_>) -> [u8; 32] {
    let mut digested = Digested(Sha256::new());
    #[expect(
        clippy::expect_used,
        reason = "a digest takes whatever it is fed, and all names of fields are texts"
    )]
    serde_json::to_writer(&mut digested, request).expect("a request can be written as JSON");
    digested.0.finalize().into()
}

/// The digest of what is written to it.
struct Digested(Sha256);

impl io::Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        CacheMode, CacheRules, CacheTerms, CacheUse, Caller, Deadline, Message, ModelChain,
        ModelRef, ModelSettings, OutputSchema, Provider, ReasoningEffort, RetryRules, TaskId,
        Thousandths, ToolDefinition, ToolName, Transfer, UserPart,
    };
    use crate::testing::samples;

    fn tool(name: &str, schema: &str) -> ToolDefinition {
        ToolDefinition {
            name: ToolName::new(name.to_owned()).unwrap(),
            description: "Tells the weather".to_owned(),
            input_schema: serde_json::from_str(schema).unwrap(),
        }
    }

    fn with_prompt(change: impl FnOnce(&mut Prompt)) -> ModelRequest {
        let mut prompt = samples::prompt("hello");
        change(&mut prompt);
        ModelRequest {
            prompt: Arc::new(prompt),
            ..samples::model_request("hello")
        }
    }

    fn with_chain(choices: Vec<ModelChoice>) -> ModelRequest {
        ModelRequest {
            chain: ModelChain::new(choices).unwrap(),
            ..samples::model_request("hello")
        }
    }

    fn set(change: impl FnOnce(&mut ModelSettings)) -> ModelRequest {
        let mut choice = ModelChoice::from(samples::model());
        change(&mut choice.settings);
        with_chain(vec![choice])
    }

    #[test]
    fn a_key_is_the_same_in_every_process() {
        let request = with_prompt(|prompt| {
            prompt
                .tools
                .push(tool("weather", r#"{"type":"object","a":{"z":1,"b":2}}"#));
        });
        assert_eq!(
            of(&request).to_string(),
            "ec3a8656901183106f45b4ba17f819aa7a9ddf82784606b44862c3a60ca4c832"
        );
    }

    #[test]
    fn the_order_of_a_schemas_properties_is_part_of_the_request() {
        let [first, second] = [
            r#"{"properties":{"reasoning":{},"answer":{}}}"#,
            r#"{"properties":{"answer":{},"reasoning":{}}}"#,
        ];
        let with_tool = |schema| with_prompt(|prompt| prompt.tools.push(tool("weather", schema)));
        let with_form = |schema| {
            with_prompt(|prompt| {
                let ToolDefinition {
                    name, input_schema, ..
                } = tool("answer", schema);
                prompt.output_schema = Some(OutputSchema {
                    name,
                    schema: input_schema,
                });
            })
        };
        assert_eq!(of(&with_tool(first)), of(&with_tool(first)));
        assert_ne!(of(&with_tool(first)), of(&with_tool(second)));
        assert_ne!(of(&with_form(first)), of(&with_form(second)));
    }

    #[test]
    fn whatever_could_change_the_answer_changes_the_key() {
        let other = || ModelRef::new(Provider::OpenAi, "claude-sonnet-5-5").unwrap();
        let model = || ModelChoice::from(samples::model());
        let caller = |tenant| Caller {
            tenant: samples::tenant(tenant),
            task: TaskId::new(samples::START),
            key: None,
        };
        let requests = [
            samples::model_request("hello"),
            samples::model_request("hello "),
            ModelRequest {
                caller: caller("acme-2"),
                ..samples::model_request("hello")
            },
            ModelRequest {
                cache_generation: 1,
                ..samples::model_request("hello")
            },
            ModelRequest {
                cache_generation: 2,
                ..samples::model_request("hello")
            },
            with_chain(vec![other().into()]),
            with_chain(vec![model(), other().into()]),
            with_chain(vec![other().into(), model()]),
            set(|settings| settings.temperature = Some(Thousandths(0))),
            set(|settings| settings.temperature = Some(Thousandths(700))),
            set(|settings| settings.top_p = Some(Thousandths(700))),
            set(|settings| settings.reasoning_effort = Some(ReasoningEffort::Low)),
            set(|settings| settings.reasoning_effort = Some(ReasoningEffort::High)),
            set(|settings| settings.transfer = Transfer::Whole),
            with_prompt(|prompt| prompt.instructions.clear()),
            with_prompt(|prompt| prompt.messages.push(Message::user("hello"))),
            with_prompt(|prompt| {
                prompt.messages = vec![Message::Assistant(vec![samples::said("hello")])];
            }),
            with_prompt(|prompt| {
                prompt.messages = vec![Message::User(vec![UserPart::ImageUrl("hello".to_owned())])];
            }),
            with_prompt(|prompt| prompt.tools.push(tool("weather", "{}"))),
            with_prompt(|prompt| prompt.tools.push(tool("whether", "{}"))),
            with_prompt(|prompt| prompt.tools.push(tool("weather", r#"{"type":"object"}"#))),
            with_prompt(|prompt| {
                let ToolDefinition {
                    name, input_schema, ..
                } = tool("weather", "{}");
                prompt.output_schema = Some(OutputSchema {
                    name,
                    schema: input_schema,
                });
            }),
            with_prompt(|prompt| prompt.max_output_tokens += 1),
        ];
        let keys: BTreeSet<AnswerKey> = requests.iter().map(of).collect();
        assert_eq!(keys.len(), requests.len());
    }

    #[test]
    fn the_terms_of_a_call_do_not_change_the_key() {
        let request = samples::model_request("hello");
        let id = TaskId::derived([7; 16]);
        let changed = ModelRequest {
            caller: Caller {
                task: id,
                key: Some(samples::token().id()),
                ..request.caller.clone()
            },
            retry: RetryRules::default().with_max_attempts(9).unwrap(),
            cache: CacheRules::On(CacheTerms::default()),
            cache_use: CacheUse {
                mode: CacheMode::Refresh,
                max_age: Some(Duration::from_secs(1)),
            },
            task_cap: Some(1),
            deadline: Deadline::at(samples::after(1)),
            ..request.clone()
        };
        assert_eq!(of(&changed), of(&request));
    }

    proptest! {
        /// No text can be moved from one part of the request to another without changing the key.
        #[test]
        fn different_texts_have_different_keys(
            one in ("\\PC{0,8}", "\\PC{0,8}"), two in ("\\PC{0,8}", "\\PC{0,8}"),
        ) {
            let request = |(instructions, input): &(String, String)| with_prompt(|prompt| {
                prompt.instructions.clone_from(instructions);
                prompt.messages = vec![Message::user(input.as_str())];
            });
            prop_assert_eq!(of(&request(&one)) == of(&request(&two)), one == two);
        }
    }
}
