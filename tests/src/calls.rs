//! Model calls without a task around them, through the same stack as the executor's.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::sync::Arc;
use std::time::Duration;

use shared::domain::{
    CacheRules, CacheTerms, CacheUse, Caller, Deadline, Message, ModelChain, ModelRef,
    ModelRequest, Prompt, Provider, RetryRules, TaskId, ToolUse,
};
use shared::llm::{self, Access, ApiKey, Layers, Providers, Timeouts};
use shared::policy::{BreakerSettings, CostCaps, DailyCaps};
use shared::ports::clock::SystemClock;
use shared::ports::{CapsOfTask, Clock, Model};
use shared::store::{DynamoAnswerCache, DynamoBudgets, DynamoCircuits};
use shared::testing::SameCaps;

use crate::LocalAws;

/// The executor's stack, on tables of the local AWS, with every provider at `url`.
pub fn stack(
    aws: &LocalAws,
    ephemeral_table: &str,
    state_table: &str,
    url: &str,
) -> Arc<dyn Model> {
    let none = (DailyCaps::default(), CapsOfTask::default());
    stack_with_caps(aws, ephemeral_table, state_table, url, none)
}

/// The same, with the deployment's caps on what may be spent in a day, and with these caps of each
/// tenant and key.
pub fn stack_with_caps(
    aws: &LocalAws,
    ephemeral_table: &str,
    state_table: &str,
    url: &str,
    (daily, own): (DailyCaps, CapsOfTask),
) -> Arc<dyn Model> {
    let access = || Access {
        base_url: url.parse().unwrap(),
        key: ApiKey::Absent,
    };
    let openai_compatible = Some(access());
    let timeouts = Timeouts::default();
    let providers = Providers {
        anthropic: access(),
        openai: access(),
        openai_compatible,
        timeouts,
    };
    let layers = Layers {
        answers: Arc::new(DynamoAnswerCache::new(aws.dynamodb(), ephemeral_table)),
        circuits: Arc::new(DynamoCircuits::new(aws.dynamodb(), ephemeral_table)),
        breaker: BreakerSettings::default().with_open_seconds(2).unwrap(),
        caps: CostCaps {
            budgets: Arc::new(DynamoBudgets::new(aws.dynamodb(), state_table)),
            daily,
            own: Arc::new(SameCaps(own)),
        },
        clock: Arc::new(SystemClock),
    };
    llm::model(&llm::http_client().unwrap(), providers, layers)
}

/// A call of one model of the unreliable provider.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Whose call it is.
    pub tenant: &'a str,
    /// The model.
    pub model: &'a str,
    /// The user's text.
    pub prompt: &'a str,
}

impl Call<'_> {
    /// The request, to be answered within a minute, without the response cache.
    pub fn uncached(&self) -> ModelRequest {
        let now = SystemClock.now();
        let model = ModelRef::new(Provider::OpenAiCompatible, self.model).unwrap();
        ModelRequest {
            chain: ModelChain::only(model.into()),
            prompt: Arc::new(Prompt {
                instructions: "Be brief.".to_owned(),
                messages: vec![Message::user(self.prompt)],
                tools: Vec::new(),
                tool_use: ToolUse::Allowed,
                output_schema: None,
                max_output_tokens: 100,
            }),
            caller: Caller {
                tenant: self.tenant.parse().unwrap(),
                task: TaskId::new(now),
                key: None,
            },
            retry: RetryRules::default(),
            cache: CacheRules::Off,
            cache_use: CacheUse::default(),
            cache_generation: 0,
            task_cap: None,
            task_spent: 0,
            deadline: Deadline::at(now.plus(Duration::from_mins(1))),
            is_last_try: false,
        }
    }

    /// The same, with the response cache.
    pub fn cached(&self) -> ModelRequest {
        ModelRequest {
            cache: CacheRules::On(CacheTerms::default()),
            ..self.uncached()
        }
    }
}
