//! Logs: one flat JSON object a line on standard output, which is where Lambda takes them from.
//!
//! Every line has `timestamp` (RFC 3339), `level`, `message`, `service` and `target`; the fields of the event and of all
//! spans around it stand beside them, with the innermost span's `name`, so that a line names its request, tenant and
//! task without anyone passing them on.
//! Lambda filters by `level` only lines that have both it and `timestamp` (Lambda developer guide, "Configuring advanced
//! logging controls").

use std::io;

use json_subscriber::JsonLayer;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Environment;

/// Starts logging for the function called `service`, at the level that Lambda's logging configuration says
/// (`AWS_LAMBDA_LOG_LEVEL`, default `INFO`). Does nothing if logging was started before.
pub fn start(service: &'static str, environment: &Environment) {
    let level = environment.optional("AWS_LAMBDA_LOG_LEVEL");
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry().with(level).with(layer(service, io::stdout));
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
}

fn layer<S, W>(service: &'static str, writer: W) -> JsonLayer<S, W>
where
    S: tracing::Subscriber + for<'lookup> tracing_subscriber::registry::LookupSpan<'lookup>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    let mut layer = JsonLayer::new(writer);
    layer.with_timer("timestamp", UtcTime::rfc_3339());
    layer.with_level("level");
    layer.with_target("target");
    layer.add_static_field("service", json!(service));
    layer.with_flattened_event();
    layer.with_top_level_flattened_span_list();
    layer
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_flat_and_carries_the_fields_of_its_spans() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::registry().with(layer("executor", move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let _outer = tracing::info_span!("invoke", function_request_id = "r1").entered();
            let _inner = tracing::info_span!("task", task_id = "tsk_1").entered();
            let error = io::Error::other("broken pipe");
            tracing::warn!(step = 1, error = %error, "model call failed");
        });
        let bytes = captured.0.lock().unwrap().clone();
        let mut line: Value = serde_json::from_slice(&bytes).unwrap();
        let timestamp = line["timestamp"].take();
        assert!(timestamp.as_str().is_some_and(|text| text.ends_with('Z') && text.contains('T')), "{timestamp}");
        let expected = json!({
            "timestamp": null, "level": "WARN", "message": "model call failed", "service": "executor",
            "target": "shared::telemetry::tests", "function_request_id": "r1", "task_id": "tsk_1", "step": 1,
            "name": "task",
            "error": "broken pipe",
        });
        assert_eq!(line, expected);
    }
}
