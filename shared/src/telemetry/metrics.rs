//! Metrics: JSON documents in the embedded metric format on standard output, at the end of each
//! invocation (Amazon `CloudWatch` user guide, "Specification: Embedded metric format"). Lambda
//! takes lines without a level for lines of INFO, so that a log level above that would silence
//! them; the template allows none.
//!
//! Of a duration, a document holds the first hundred values; the counts beside them are complete.

use std::io;
use std::sync::OnceLock;

use metrics::Unit;
use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::config::Environment;
use crate::metric;

const NAMESPACE: &str = "AgentPlatform";

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

/// Starts counting for the function called `service`, divided by it and by the `ENVIRONMENT` that
/// it is deployed to. Does nothing if that was done before.
pub(super) fn start(service: &'static str, environment: &Environment) {
    let environment = environment
        .optional("ENVIRONMENT")
        .unwrap_or_else(|| "dev".to_owned());
    let builder = Builder::new().cloudwatch_namespace(NAMESPACE);
    let builder = builder
        .with_dimension("service", service)
        .with_dimension("environment", environment);
    if let Ok(collector) = builder.init() {
        COLLECTOR.get_or_init(|| collector);
        for (name, unit, _) in metric::ALL {
            match unit {
                Unit::Milliseconds | Unit::Percent => metrics::describe_histogram!(name, unit, ""),
                _ => metrics::describe_counter!(name, unit, ""),
            }
        }
        metric::COLD_STARTS.add([], 1);
    }
}

/// Writes what was counted since the last time to standard output.
pub(super) fn flush() {
    if let Err(error) = write_metrics(io::stdout().lock()) {
        tracing::warn!(%error, "metrics could not be written");
    }
}

/// Writes what was counted since the last time, one document a line.
pub fn write_metrics(writer: impl io::Write) -> io::Result<()> {
    COLLECTOR
        .get()
        .map_or(Ok(()), |collector| collector.flush(writer))
}
