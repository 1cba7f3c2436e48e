//! The schemas of single values that requests and responses share. Each stands for a type of the
//! domain, which knows nothing of schemas.

use serde_json::json;
use shared::domain;
use shared::domain::id::{AgentKind, Kind, TaskKind, WorkerKind};
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::names::names_of;

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident: $schema:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let description = [$($doc),+].map(str::trim).join("\n");
                let schema: ObjectBuilder = $schema;
                schema.description(Some(description)).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

values! {
    /// The id of an agent.
    AgentId: id(AgentKind::PREFIX);
    /// The id of a task.
    TaskId: id(TaskKind::PREFIX);
    /// One worker's hold of a task.
    WorkerId: id(WorkerKind::PREFIX);
    /// The id of an API key.
    KeyId: text("^key_[a-z2-7]{12}$");
    /// The id of a tenant.
    TenantId: text("^[a-z0-9-]{1,64}$");
    /// The name of an alias.
    AliasName: text("^[A-Za-z0-9_-]{1,64}$");
    /// A number that the platform gave, from 1.
    Number: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(u32::MAX));
    /// A moment: RFC 3339, in UTC, with milliseconds.
    Time: text(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// A moment: RFC 3339, with any offset.
    Moment: ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// A day in UTC.
    Date: text(r"^\d{4}-\d{2}-\d{2}$").format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)));
    /// Up to 16 pairs that a client notes for its own use.
    Metadata: metadata().max_properties(Some(16));
    /// One pair of metadata.
    MetadataPair: metadata().min_properties(Some(1)).max_properties(Some(1));
    /// One pair of metadata: its key, a colon and its value.
    MetadataText: text("^[A-Za-z0-9._-]{1,64}:.{0,512}$");
    /// A client's name for a submission.
    IdempotencyKey: text("^[ -~]{1,255}$");
    /// States of tasks, with commas between them.
    TaskStatuses: text(&format!("^({0})(,({0}))*$", names_of::<domain::TaskStatus>().join("|")));
    /// What usage is grouped by.
    UsageGrouping: one_of::<crate::usage::GroupBy>().default(Some(json!("day")));
    /// Which tasks come first.
    TaskOrder: names(&["newest", "oldest"]).default(Some(json!("newest")));
    /// A name for people, without control characters and not blank.
    Name: text(NAME).min_length(Some(1)).max_length(Some(64));
    /// The name of a tool or a schema.
    ToolName: text("^[A-Za-z0-9_-]{1,64}$");
    /// A JSON Schema of an object, up to 32 KiB, which refers only to places in itself.
    JsonSchema: ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("type", names(&["object"]))
        .required("type")
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    /// An OpenAPI document.
    OpenApi: ObjectBuilder::new()
        .property("openapi", text("^3[.]1[.]"))
        .required("openapi")
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
    /// Who serves models.
    Provider: one_of::<domain::Provider>();
    /// What happens to a call of a model: `closed`: it is made; `suspected`: it is made, and says
    /// whether the provider means a very long wait; `open`: it is not made before `until`, and then
    /// it may probe the model; `half_open`: one call at a time probes the model; `unknown`: this
    /// version cannot read the record.
    CircuitState: names(&["closed", "suspected", "open", "half_open", "unknown"]);
    /// Why a circuit does not let all calls through.
    CircuitCause: names(&["outage", "bad_answer", "rate_limit"]);
    /// How hard a model thinks before it answers.
    ReasoningEffort: one_of::<domain::ReasoningEffort>();
    /// The older version of Anthropic's API.
    ApiVersion: names(&["2023-06-01"]);
    /// The field in which a server takes the output limit.
    OutputLimitField: names(&["max_tokens", "max_completion_tokens"]);
    /// The name of a model, as its provider names it.
    ModelName: text("^[!-~]{1,128}$");
    /// The name of a host, or `*.` and a name for all names below it. No IP address.
    HostPattern: text(HOST).max_length(Some(255));
    /// The beginning of a path: whole segments, nothing percent-encoded.
    PathPrefix: text(r"^/$|^(/\.*[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+/?$").max_length(Some(512));
    /// The name of a credential of the tenant.
    CredentialName: text("^[a-z0-9-]{1,64}$");
    /// Whether answers are cached.
    CacheSwitch: names(&["on", "off"]);
    /// What happens to a task that reaches a limit.
    OnLimit: one_of::<domain::OnLimit>().default(Some(json!("pause")));
    /// What a task does when all models are unavailable.
    Outage: one_of::<domain::Outage>().default(Some(json!("wait")));
    /// Whether and how a task uses the response cache.
    CacheMode: one_of::<domain::CacheMode>().default(Some(json!("default")));
    /// Something that a key may do.
    Scope: one_of::<domain::Scope>();
    /// Whether a tenant may use the API, or is deleted.
    TenantStatus: one_of::<domain::TenantStatus>();
    /// Whether a tenant may use the API from now on.
    NewTenantStatus: names(&["active", "suspended"]);
    /// What happens to the tasks of a suspended tenant that have not ended.
    SuspendedTasks: one_of::<domain::SuspendedTasks>();
    /// The state of a task.
    TaskStatus: one_of::<domain::TaskStatus>();
    /// What a task waits for.
    WaitReason: one_of::<domain::WaitReason>();
    /// A limit that a task reached.
    LimitKind: one_of::<domain::LimitKind>();
    /// Why a task or a model call failed.
    FailureCode: one_of::<domain::FailureCode>();
    /// Why a model stopped writing.
    StopReason: one_of::<domain::StopReason>();
    /// Who ran a tool.
    ToolRunner: one_of::<domain::ToolRunner>();
    /// Where an answer comes from.
    Origin: names(&["provider", "cache", "stale", "single_flight"]);
    /// A tool of the platform's, in a list of earlier versions.
    BuiltinTool: ObjectBuilder::new();
    /// Who has a tool.
    ToolKind: names(&["client", "builtin"]);
    /// A method of HTTP.
    HttpMethod: one_of::<domain::HttpMethod>();
    /// A number of tokens, by class. Cached and reasoning tokens are parts of the first two.
    Usage: counts(&[
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    ]);
    /// Where a retried task begins: after its last recorded step, or with a new run.
    RetryFrom: names(&["checkpoint", "start"]).default(Some(json!("checkpoint")));
    /// Whether a model accepts sampling parameters: always, with another setting only, or never.
    SamplingUse: names(&["accepted", "conditional", "refused"]);
    /// The kind of a problem.
    ProblemCode: names(crate::problem::CODES);
    /// A transition of a task.
    Event: event();
}

/// A name for people: no control characters, and something that is no white space.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// At least two labels; the last one is no number.
const HOST: &str = r"^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$";

fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
}

fn metadata() -> ObjectBuilder {
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(512));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(text("^[A-Za-z0-9._-]{1,64}$")))
        .additional_properties(Some(AdditionalProperties::RefOr(value.into())))
}

fn id(prefix: &str) -> ObjectBuilder {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    text(&format!("^{prefix}{uuid}$"))
}

fn one_of<T: for<'de> serde::Deserialize<'de>>() -> ObjectBuilder {
    names(names_of::<T>())
}

fn names(names: &'static [&'static str]) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names.iter().copied()))
}

/// A count, from 0.
fn count() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
}

fn counts(names: &[&str]) -> ObjectBuilder {
    names.iter().fold(ObjectBuilder::new(), |object, name| {
        object.property(*name, count()).required(*name)
    })
}

const EVENTS: &[&str] = &[
    "submitted",
    "claimed",
    "parked",
    "handed_over",
    "requeued",
    "resent",
    "awakened",
    "input_required",
    "answered",
    "paused",
    "resumed",
    "cancel_requested",
    "canceled",
    "completed",
    "failed",
    "timed_out",
    "reopened",
];

fn event() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("event", names(EVENTS))
        .required("event")
        .property("worker", WorkerId::schema())
        .property("reason", WaitReason::schema())
        .property("until", Time::schema())
        .property("hop", count())
        .property("limit", LimitKind::schema())
        .property("code", FailureCode::schema())
        .property("base", count())
        .property(
            "lost",
            ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .description(Some("Its worker was lost.")),
        )
}
