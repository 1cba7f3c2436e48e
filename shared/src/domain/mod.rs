//! The platform's nouns and rules, without I/O and without async.
//!
//! A value that exists is valid: constructors return [`Invalid`] for a bad value, and a task
//! changes its state only through the methods of [`Task`]. No code here knows HTTP, AWS or a
//! provider's format.

pub mod agent;
pub mod agent_head;
pub mod agent_tool;
pub mod answer_key;
pub mod api_key;
pub mod arguments;
pub mod bounded_text;
pub mod call;
pub mod caps;
pub mod causes;
pub mod chain;
pub mod circuit;
pub mod conversation;
pub mod count_limits;
pub mod credential;
pub mod deadline;
pub mod failure_code;
pub mod health;
pub mod hex;
pub mod hidden;
pub mod id;
mod inline_id;
pub mod invalid;
pub mod jwt;
pub mod key_shapes;
pub mod limits;
mod metadata;
pub mod outcome;
pub mod patch;
pub mod path_prefix;
pub mod period;
pub mod request_rate;
pub mod rules;
pub mod schema;
pub mod setbacks;
pub mod spend;
mod spend_row;
pub mod status;
pub mod step;
pub mod task;
pub mod tenant;
pub mod time;
pub mod tool;
pub mod tool_rules;
pub mod trace;
pub mod transcript;
pub mod usage;
pub mod wait;

pub use agent::{Agent, AgentConfig, AgentName, AgentVersion, Instructions};
pub use agent_head::{AgentHead, AliasName, AliasRefused, AliasSet, Switch};
pub use agent_tool::{AgentTool, CallRules, ToolKind};
pub use answer_key::AnswerKey;
pub use api_key::{
    ApiKey, ApiToken, Credential, Grace, KEY_PREFIX, KeyId, KeyName, KeyRefusal, KeyTerms, Pepper,
    PepperVersion, PreviousSecret, Scope, Scopes, Seal, SecretHash,
};
pub use arguments::check_arguments;
pub use bounded_text::BoundedText;
pub use call::{
    Caller, FailedAttempt, ModelAnswer, ModelRequest, Origin, Prompt, ProviderError, StopReason,
    ToolUse,
};
pub use caps::{CapChanges, CapKind, Caps};
pub use causes::Causes;
pub use chain::{
    ApiVersion, ModelChain, ModelChoice, ModelRef, ModelSettings, OutputLimitField, Provider,
    ReasoningEffort, Thousandths, Transfer, Unlisted,
};
pub use circuit::{Admission, Circuit, CircuitCause, CircuitState};
pub use conversation::{
    Conversation, MAX_CONVERSATION_BYTES, MAX_TOOL_TEXTS_BYTES, Next, Outline, is_final, journal,
    journal_summaries, may_count,
};
pub use count_limits::{CountLimitChanges, CountLimits, Counted, MaxAgents, MaxKeys};
pub use credential::CredentialName;
pub use deadline::Deadline;
pub use failure_code::FailureCode;
pub use health::{HealthKey, HealthNote, LastFailure, Latency, ModelHealth};
pub use hex::Hex;
pub use hidden::Hidden;
pub use id::{AgentId, ReservationId, TaskId, WorkerId};
pub use invalid::Invalid;
pub use jwt::JwtClaims;
pub use limits::{BudgetScope, LimitBound, LimitChanges, LimitKind, Limits, OnLimit};
pub use metadata::{Metadata, MetadataPair};
pub use outcome::{Failure, Output};
pub use patch::Patch;
pub use path_prefix::PathPrefix;
pub use period::Period;
pub use request_rate::RequestRate;
pub use rules::{CacheMode, CacheRules, CacheTerms, CacheUse, Outage, RetryRules};
pub use schema::JsonSchema;
pub(crate) use schema::{Holds, MOST_REFERENCES, holds, leads_nowhere, target};
pub use setbacks::Setbacks;
pub use spend::{Cost, Spend};
pub use spend_row::{SpendKey, SpendPart, SpendRow};
pub use status::TaskStatus;
pub use step::{Step, StepKind, StepPlace, StepSummary, StepSummaryKind, ToolRunner};
pub use task::{
    Cancellation, Change, ClaimRefused, Event, History, Lease, Overdue, Parkings, ReopenFrom,
    ResumeRefused, Spent, Task, TaskInput, TaskState, WrongState,
};
pub use tenant::{SuspendedTasks, Tenant, TenantId, TenantStatus};
pub use time::{Timestamp, whole_millis};
pub use tool::{BuiltinTool, MAX_TOOL_TEXT_BYTES};
pub use tool_rules::{HostPattern, HttpMethod, HttpRules, Schemes};
pub use trace::TraceHeader;
pub use transcript::{
    AssistantContent, AssistantPart, Message, Original, OutputSchema, PendingCall, ToolCall,
    ToolDefinition, ToolName, ToolResult, UserPart,
};
pub use usage::Usage;
pub use wait::{Wait, WaitReason};
