//! Metrics: JSON documents in the embedded metric format on standard output, at the end of each
//! invocation (Amazon `CloudWatch` user guide, "Specification: Embedded metric format"). Lambda
//! treats lines without a level as INFO. A higher log level would drop the metrics, so the template
//! does not allow one.
//!
//! A document has only the first hundred values of a duration; its counts are complete.

use std::io;
use std::sync::OnceLock;

use metrics::Unit;
use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::config::Environment;
use crate::metric;

const NAMESPACE: &str = "AgentPlatform";

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

/// Starts the metrics of the function `service`. All have the dimensions `service` and
/// `environment`. Does nothing if it was called before.
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

/// Writes the metrics since the last call to standard output.
pub(super) fn flush() {
    if let Err(error) = write_metrics(io::stdout().lock()) {
        tracing::warn!(%error, "metrics could not be written");
    }
}

/// Writes the metrics since the last call, one document a line.
pub fn write_metrics(writer: impl io::Write) -> io::Result<()> {
    COLLECTOR
        .get()
        .map_or(Ok(()), |collector| collector.flush(writer))
}
