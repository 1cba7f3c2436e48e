//! Traces: spans that are sent to the X-Ray daemon as they end.
//!
//! Each span is one small datagram to the daemon that runs beside the function, so nothing is left
//! to send when the function is frozen. Lambda decides whether a trace is recorded. Spans of
//! other traces, and spans without a trace, are not sent. The field [`PARENT`] of a span names its
//! parent, instead of the spans around it: a task's work belongs to the task's trace, not to the
//! invocation's.
//!
//! Spans are never of the kind `SERVER`: X-Ray would show each as a function of its own. All others
//! become subsegments of the function's own segment, which Lambda sends.

use std::borrow::Cow;
use std::net::{AddrParseError, SocketAddr};
use std::{fmt, io};

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context as TraceContext, KeyValue};
use opentelemetry_aws::trace::XrayIdGenerator;
use opentelemetry_aws::trace::xray_propagator::{span_context_from_str, span_context_to_string};
use opentelemetry_aws::xray_exporter::daemon_client::XrayDaemonClient;
use opentelemetry_aws::xray_exporter::{SegmentTranslator, XrayExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{Service, is_ours, semconv};

/// The field of a span with the X-Ray tracing header of its parent.
pub const PARENT: &str = "xray_parent";

/// The fields that are for the log only, or for this layer.
const NOT_SENT: [&str; 3] = [PARENT, "xray_trace_id", "client_request_id"];

/// The attributes that X-Ray can search by.
const ANNOTATIONS: [&str; 5] = [
    "task_id",
    "agent_id",
    "tenant_id",
    "linked_trace_id",
    "function_request_id",
];

/// The most bytes of a span's name.
const MAX_NAME: usize = 200;

/// Why no spans can be sent to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The daemon's address is not valid.
    #[error("AWS_XRAY_DAEMON_ADDRESS must be an IP address with a port")]
    Address(#[from] AddrParseError),
    /// The system gave no socket.
    #[error("no socket for the X-Ray daemon")]
    Socket(#[from] io::Error),
}

/// The layer that sends our spans to the daemon at `address`.
pub fn to_daemon<S>(
    service: Service,
    address: &str,
) -> Result<impl Layer<S> + Send + Sync + use<S>, TraceError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let daemon = XrayDaemonClient::new(address.parse::<SocketAddr>()?)?;
    let annotations = ANNOTATIONS.iter().map(ToString::to_string);
    let translator = SegmentTranslator::new()
        .with_indexed_attrs(annotations)
        .metadata_all_attrs();
    let provider = SdkTracerProvider::builder()
        .with_id_generator(XrayIdGenerator::default())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
        .with_simple_exporter(Named(XrayExporter::new(daemon).with_translator(translator)))
        .with_resource(resource(service))
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service.name))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false);
    Ok(Parents.and_then(spans).with_filter(filter_fn(|metadata| {
        metadata.is_span() && is_ours(metadata.target())
    })))
}

/// The function's name and version, which every span has.
fn resource(service: Service) -> Resource {
    let version = KeyValue::new("service.version", service.version);
    Resource::builder_empty()
        .with_service_name(service.name)
        .with_attribute(version)
        .build()
}

/// The tracing header for a child of `span` in another process. `None` if there are no traces.
pub fn header_of(span: &Span) -> Option<String> {
    span_context_to_string(span.context().span().span_context())
}

/// Changes spans before they are sent: leaves out [`NOT_SENT`], and gives names that the
/// conventions and X-Ray require.
#[derive(Debug)]
struct Named<E>(E);

impl<E: SpanExporter> SpanExporter for Named<E> {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        for span in &mut batch {
            span.attributes
                .retain(|attribute| !NOT_SENT.contains(&attribute.key.as_str()));
            semconv::translate(span);
            fit(&mut span.name);
        }
        self.0.export(batch)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Removes characters that X-Ray does not allow in a name, such as the braces of `/v1/tasks/{id}`:
/// the exporter would drop the whole span (X-Ray developer guide, "Segment fields"). X-Ray allows
/// all letters; this keeps only those of ASCII.
fn fit(name: &mut Cow<'static, str>) {
    let fits = |c: &char| c.is_ascii_alphanumeric() || " _.:/%&#=+-@".contains(*c);
    if name.len() > MAX_NAME || !name.chars().all(|c| fits(&c)) {
        *name = name.chars().filter(fits).take(MAX_NAME).collect();
    }
}

/// Sets the parent of spans that have the field [`PARENT`].
struct Parents;

/// The header of a span's remote parent, until the span is entered.
struct Remote(String);

impl<S> Layer<S> for Parents
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(field) = attributes.metadata().fields().field(PARENT) else {
            return;
        };
        let mut found = Header { field, text: None };
        attributes.record(&mut found);
        if let (Some(header), Some(span)) = (found.text, context.span(id)) {
            span.extensions_mut().insert(Remote(header));
        }
    }

    /// Sets the parent. That is possible until the first child or the end of the span starts it.
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let remote = context
            .span(id)
            .and_then(|span| span.extensions_mut().remove::<Remote>());
        if let Some(parent) = remote.and_then(|Remote(header)| span_context_from_str(&header)) {
            // Fails only for a span that is started already; it keeps its parent.
            drop(Span::current().set_parent(TraceContext::new().with_remote_span_context(parent)));
        }
    }
}

/// Finds the text of one field.
struct Header {
    field: Field,
    text: Option<String>,
}

impl Visit for Header {
    fn record_str(&mut self, field: &Field, value: &str) {
        if *field == self.field {
            self.text = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::testing::{XrayDaemon, listen};

    /// A trace that began just now: the daemon refuses old ones.
    #[expect(
        clippy::disallowed_methods,
        reason = "what is tested goes by the real time"
    )]
    fn root() -> String {
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        format!("1-{seconds:08x}-bd862e3fe1be46a994272793")
    }

    /// The documents that a daemon gets of what is said.
    fn sent(say: impl FnOnce()) -> Vec<Value> {
        let daemon = XrayDaemon::start().unwrap();
        let layer = to_daemon(Service::new("executor", "v1"), &daemon.address().unwrap()).unwrap();
        let _listening = listen(tracing_subscriber::registry().with(layer));
        say();
        daemon.spans()
    }

    #[test]
    fn spans_go_on_from_the_header_with_their_names_and_annotations() {
        let root = root();
        let header = format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=1");
        let documents = sent(|| {
            let _log = tracing::info_span!("invoke", function_request_id = "r1").entered();
            let _other = tracing::info_span!("sweep").entered();
            let task = tracing::info_span!(
                "invoke_agent",
                xray_parent = header,
                task_id = "tsk_1",
                agent_id = "agt_1"
            );
            let _task = task.entered();
            let chat = tracing::info_span!(
                "chat",
                model = "m",
                otel.status_code = tracing::field::Empty
            );
            chat.record("otel.status_code", "error");
            let _chat = chat.entered();
            tracing::error!("not a span");
        });
        let [chat, task] = &documents[..] else {
            panic!("{documents:?}")
        };
        assert_eq!(
            (&task["name"], &task["parent_id"]),
            (&"invoke_agent agt_1".into(), &"53995c3f42cd8ad8".into())
        );
        assert_eq!(
            (&chat["name"], &chat["parent_id"]),
            (&"chat m".into(), &task["id"])
        );
        assert_eq!(
            (&chat["type"], &task["type"]),
            (&"subsegment".into(), &"subsegment".into())
        );
        assert!(
            documents
                .iter()
                .all(|document| document["trace_id"] == root[..]),
            "{documents:?}"
        );
        assert_eq!(
            task["annotations"],
            serde_json::json!({ "task_id": "tsk_1", "agent_id": "agt_1" })
        );
        assert_eq!(chat["metadata"]["gen_ai.request.model"], "m", "{chat}");
        assert!(
            documents
                .iter()
                .all(|span| span["metadata"]["service.version"] == "v1"),
            "{documents:?}"
        );
        assert_eq!(chat["fault"], true, "{chat}");
        assert!(!task.to_string().contains(PARENT), "{task}");
    }

    #[test]
    fn numbers_are_numbers_and_a_status_says_whose_fault_it_is() {
        let header = format!("Root={};Parent=53995c3f42cd8ad8;Sampled=1", root());
        let documents = sent(|| {
            let attempt = tracing::info_span!(
                "model attempt",
                xray_parent = header,
                attempt = 2_u32,
                input_tokens = 9_u64,
                status_code = 429_u16,
                tenant_id = "7",
                otel.status_code = "error"
            );
            let _attempt = attempt.entered();
        });
        let [attempt] = &documents[..] else {
            panic!("{documents:?}")
        };
        assert_eq!(
            (
                &attempt["metadata"]["attempt"],
                &attempt["metadata"]["gen_ai.usage.input_tokens"]
            ),
            (&2.into(), &9.into())
        );
        assert_eq!(
            attempt["annotations"],
            serde_json::json!({ "tenant_id": "7" })
        );
        assert_eq!(
            attempt["http"],
            serde_json::json!({ "response": { "status": 429 } })
        );
        assert_eq!(
            (&attempt["throttle"], &attempt["fault"]),
            (&true.into(), &Value::Null)
        );
    }

    #[test]
    fn a_name_that_x_ray_does_not_take_is_made_fit() {
        let header = format!("Root={};Parent=53995c3f42cd8ad8;Sampled=1", root());
        let name = |name: &str| {
            let say = || {
                let span = tracing::info_span!("request", xray_parent = header, otel.name = name);
                drop(span.entered());
            };
            sent(say)[0]["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name("GET /v1/tasks/{id}"), "GET /v1/tasks/id");
        assert_eq!(
            name("chat models/ll\u{e4}ma[8b]:x@1"),
            "chat models/llma8b:x@1"
        );
        assert_eq!(name(&"x".repeat(201)), "x".repeat(200));
    }

    #[test]
    fn what_is_not_to_be_recorded_is_not_sent() {
        let spans = |header: Option<&str>| {
            let _outer = tracing::info_span!("request", xray_parent = header).entered();
            let _inner = tracing::info_span!("chat").entered();
        };
        let unsampled = format!("Root={};Parent=53995c3f42cd8ad8;Sampled=0", root());
        let headers = [None, Some("rubbish"), Some(unsampled.as_str())];
        for header in headers {
            assert_eq!(sent(|| spans(header)), Vec::<Value>::new(), "{header:?}");
        }
    }

    #[test]
    fn a_continuation_of_a_span_gets_its_header() {
        let root = root();
        let parent = format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=1");
        let mut header = None;
        let documents = sent(|| {
            let _outer = tracing::info_span!("request", xray_parent = parent).entered();
            header = header_of(&tracing::info_span!("SQS.SendMessage"));
        });
        let expected = format!(
            "Root={root};Parent={};Sampled=1",
            documents[0]["id"].as_str().unwrap()
        );
        assert_eq!(header, Some(expected));
        assert_eq!(header_of(&Span::none()), None);
    }

    #[test]
    fn an_address_that_is_none_is_said() {
        assert!(matches!(
            to_daemon::<tracing_subscriber::Registry>(Service::new("api", "v1"), "daemon").err(),
            Some(TraceError::Address(_))
        ));
    }
}
