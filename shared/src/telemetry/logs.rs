//! Logs: one flat JSON object a line on standard output, which is where Lambda takes them from.
//!
//! Every line has `timestamp` (RFC 3339), `level`, `message`, `service`, `version` and `target`;
//! the fields of the event stand beside them, with the innermost span's `name` and the ids of all
//! spans around it (`context.rs`), so that a line names its request, tenant and task although the
//! code that logs it does not know them. Lambda filters a line by its `level` only if the line also
//! has a `timestamp` (Lambda developer guide, "Configuring advanced logging controls"). If the
//! function's logging configuration says `Text`, lines are written for people: Lambda does not
//! filter them, and the runbook's queries do not find them.

use std::io;
use std::panic::PanicHookInfo;

use json_subscriber::JsonLayer;
use serde_json::json;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

use super::context::WithContext;
use super::held::{HeldLines, Holding};
use super::{OURS, Service, is_ours};
use crate::config::Environment;

/// Targets of libraries whose lines repeat what our own lines say: the invocation's ids, errors
/// and panics.
const ECHOES: [&str; 3] = [
    "lambda_runtime::layers::panic",
    "lambda_runtime::layers::trace",
    "metrics_cloudwatch_embedded",
];

/// The most detailed level that libraries may log. At lower levels they log bodies and headers, and
/// so prompts and keys.
const LIBRARIES: LevelFilter = LevelFilter::INFO;

/// The layer that logs for the function `service` as Lambda's logging configuration says.
pub(super) fn to_stdout<S>(
    service: Service,
    environment: &Environment,
    held: HeldLines,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let level = level(environment);
    if is_text(environment) {
        text_layer(level, held, io::stdout).boxed()
    } else {
        layer(service, level, held, io::stdout).boxed()
    }
}

/// Whether the logging configuration says `Text`. Outside Lambda, the variable is not set and lines
/// are JSON.
fn is_text(environment: &Environment) -> bool {
    environment
        .optional("AWS_LAMBDA_LOG_FORMAT")
        .is_some_and(|format| format.eq_ignore_ascii_case("text"))
}

/// The level of Lambda's logging configuration.
fn level(environment: &Environment) -> LevelFilter {
    let level = environment
        .optional("AWS_LAMBDA_LOG_LEVEL")
        .and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::INFO)
}

/// The layer that logs for the function `service`, at the `level` and above. Our own lines below it
/// are `held`.
pub fn layer<S, W>(
    service: Service,
    level: LevelFilter,
    held: HeldLines,
    writer: W,
) -> impl Layer<S> + Send + Sync + use<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut layer = JsonLayer::new(Holding {
        writer,
        level,
        held,
    });
    layer.with_timer("timestamp", UtcTime::rfc_3339());
    layer.with_level("level");
    layer.with_target("target");
    layer.add_static_field("service", json!(service.name));
    layer.add_static_field("version", json!(service.version));
    layer.with_flattened_event();
    WithContext::new(layer).with_filter(filter(level))
}

/// A layer with lines for people: the spans and their fields before each line's target and message.
fn text_layer<S, W>(
    level: LevelFilter,
    held: HeldLines,
    writer: W,
) -> impl Layer<S> + Send + Sync + use<S, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    fmt::layer()
        .with_ansi(false)
        .with_writer(Holding {
            writer,
            level,
            held,
        })
        .with_filter(filter(level))
}

/// Which spans and lines the layer gets, to write them or to hold them back.
fn filter(level: LevelFilter) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let lines = Targets::new()
        .with_default(level.min(LIBRARIES))
        .with_targets(OURS.map(|target| (target, level.max(LevelFilter::DEBUG))))
        .with_targets(ECHOES.map(|target| (target, LevelFilter::OFF)));
    filter_fn(move |metadata| {
        if metadata.is_span() {
            is_ours(metadata.target())
        } else {
            lines.would_enable(metadata.target(), metadata.level())
        }
    })
}

/// Logs where a panic happened. Its message is left out, because it may quote a prompt or a key.
pub(super) fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(location, "panicked");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::listen_to;

    /// The lines that are logged at `level`, as text.
    fn logged(level: LevelFilter, say: impl FnOnce()) -> String {
        let (captured, _listening) = listen_to(|log| {
            layer(
                Service::new("executor", "v1"),
                level,
                HeldLines::default(),
                log,
            )
        });
        say();
        captured.text()
    }

    #[test]
    fn a_line_is_flat_and_carries_the_fields_of_its_spans() {
        let line = logged(LevelFilter::INFO, || {
            let _echo =
                tracing::info_span!(target: "lambda_runtime::layers::trace", "invoke", requestId = "r1").entered();
            let _outer = tracing::info_span!(
                "invoke",
                function_request_id = "r1",
                xray_trace_id = "other"
            )
            .entered();
            let _message = tracing::info_span!("message", xray_trace_id = Some("1-2-3")).entered();
            let _inner = tracing::info_span!("task", task_id = "tsk_1").entered();
            let _trace = tracing::info_span!("chat", model = "m").entered();
            let error = io::Error::other("broken pipe");
            tracing::warn!(step = 1, error = %error, "model call failed");
        });
        let mut line: Value = serde_json::from_str(&line).unwrap();
        let timestamp = line["timestamp"].take();
        assert!(
            timestamp
                .as_str()
                .is_some_and(|text| text.ends_with('Z') && text.contains('T')),
            "{timestamp}"
        );
        let expected = json!({
            "timestamp": null, "level": "WARN", "message": "model call failed", "service": "executor", "version": "v1",
            "target": "shared::telemetry::logs::tests", "function_request_id": "r1", "xray_trace_id": "1-2-3", "task_id": "tsk_1", "step": 1,
            "name": "chat", "error": "broken pipe",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn lines_are_text_only_if_the_configuration_says_so() {
        let (captured, _listening) =
            listen_to(|log| text_layer(LevelFilter::INFO, HeldLines::default(), log));
        {
            let _task = tracing::info_span!("task", task_id = "tsk_1").entered();
            tracing::debug!(target: "hyper", "authorization: Bearer sk-1");
            tracing::info!(step = 1, "model answered");
        }
        let (_, line) = captured
            .text()
            .split_once(' ')
            .map(|(at, line)| (at.to_owned(), line.to_owned()))
            .unwrap();
        let expected =
            r#" INFO task{task_id="tsk_1"}: shared::telemetry::logs::tests: model answered step=1"#
                .to_owned();
        assert_eq!(line, expected + "\n");
        let asked = |format| is_text(&Environment::of([("AWS_LAMBDA_LOG_FORMAT", format)]));
        assert_eq!(
            ["Text", "text", "JSON", ""].map(asked),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_warning_or_an_error_releases_what_was_said_before_it() {
        let lines = logged(LevelFilter::INFO, || {
            tracing::debug!("before");
            tracing::debug!(target: "hyper", "authorization: Bearer sk-1");
            tracing::info!("meanwhile");
            tracing::warn!("strange");
            tracing::debug!("after");
            tracing::error!("broken");
            tracing::debug!("at last");
        });
        let message = |line: &str| serde_json::from_str::<Value>(line).unwrap()["message"].clone();
        let messages: Vec<_> = lines.lines().map(message).collect();
        assert_eq!(
            messages,
            ["meanwhile", "before", "strange", "after", "broken"]
        );
        let released: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            (&released["level"], &released["held_level"]),
            (&"INFO".into(), &"DEBUG".into()),
            "Lambda drops others"
        );
    }

    #[test]
    fn a_level_is_for_our_lines_and_libraries_never_tell_secrets() {
        let say = || {
            tracing::debug!("ours");
            tracing::info!(target: "hyper", "connected");
            tracing::debug!(target: "hyper", "authorization: Bearer sk-1");
            tracing::error!(target: "lambda_runtime::layers::panic", "said before");
        };
        let messages = |level| {
            let lines = logged(level, say);
            let parse =
                |line: &str| serde_json::from_str::<Value>(line).unwrap()["message"].clone();
            lines.lines().map(parse).collect::<Vec<_>>()
        };
        assert_eq!(messages(LevelFilter::TRACE), ["ours", "connected"]);
        assert_eq!(messages(LevelFilter::INFO), ["connected"]);
        assert_eq!(messages(LevelFilter::WARN), Vec::<Value>::new());
    }
}
