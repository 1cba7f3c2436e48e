//! The fields of spans that log lines carry.
//!
//! A span holds what the trace needs as well. Of its fields, only those in [`CONTEXT`] get into the
//! lines within it: the ids by which lines are searched and joined.

use std::fmt::Debug;

use json_subscriber::{FieldWriter, JsonLayer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The fields of spans that the lines within them carry.
const CONTEXT: [&str; 15] = [
    "agent_id",
    "caller_key_id",
    "caller_subject",
    "client_request_id",
    "function_request_id",
    "hop",
    "key_id",
    "message_id",
    "receives",
    "request_id",
    "step",
    "subject_tenant_id",
    "task_id",
    "tenant_id",
    "xray_trace_id",
];

/// What a span's lines carry.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let Some(name) = CONTEXT.iter().find(|name| **name == field.name()) else {
            return;
        };
        self.0.retain(|(known, _)| known != name);
        self.0.push((name, value.into()));
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if CONTEXT.contains(&field.name()) {
            self.set(field, format!("{value:?}"));
        }
    }
}

/// Writes lines with [`CONTEXT`] and keeps no other field of a span.
pub(super) struct WithContext<S, W>(JsonLayer<S, W>)
where
    S: Subscriber + for<'span> LookupSpan<'span>;

impl<S, W> WithContext<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    /// The layer whose lines have the context of their spans.
    pub(super) fn new(mut lines: JsonLayer<S, W>) -> Self {
        lines.add_multiple_dynamic_fields(write);
        Self(lines)
    }
}

impl<S, W> Layer<S> for WithContext<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.0.on_register_dispatch(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.0.on_event(event, context);
    }
}

/// Writes the innermost span's name, and each field once: the event's own value, or else the value
/// of the innermost span that has one.
fn write<S>(event: &Event<'_>, context: &Context<'_, S>, line: &mut FieldWriter<'_>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(spans) = context.event_scope(event) else {
        return;
    };
    let mut written: Vec<&str> = event.fields().map(|field| field.name()).collect();
    let mut name = Some("name");
    for span in spans {
        // A value that can't be serialized is left out; there is none among these.
        if let Some(name) = name.take() {
            line.write_field(name, span.name()).ok();
        }
        let extensions = span.extensions();
        let Some(Fields(fields)) = extensions.get::<Fields>() else {
            continue;
        };
        for (field, value) in fields {
            if !written.contains(field) {
                line.write_field(field, value).ok();
                written.push(field);
            }
        }
    }
}
