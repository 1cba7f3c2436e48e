//! What is promised of the functions' lines and metrics.

use serde_json::Value;

/// The crates whose lines are ours.
const OURS: [&str; 4] = ["api", "executor", "cleanup", "shared"];

/// Whether a line of a log is of our own code, and not of the Lambda runtime's.
pub fn is_ours(line: &Value) -> bool {
    let krate = line["target"]
        .as_str()
        .and_then(|target| target.split("::").next());
    krate.is_some_and(|krate| OURS.contains(&krate))
}

/// A metric as `docs/metrics.txt` lists it.
pub struct ListedMetric {
    /// Its name.
    pub name: &'static str,
    /// Its unit: `Count`, `Milliseconds` or `Percent`.
    pub unit: &'static str,
    /// The services that may write it.
    pub services: Vec<&'static str>,
    /// Its dimensions, without those of every metric.
    pub besides: Vec<&'static str>,
}

/// All metrics of `docs/metrics.txt`.
pub fn listed_metrics() -> Vec<ListedMetric> {
    let lines = include_str!("../../docs/metrics.txt").lines();
    let rows = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut columns = line.split_whitespace();
            let (name, unit) = (
                columns.next().unwrap_or_default(),
                columns.next().unwrap_or_default(),
            );
            let mut list = || {
                columns
                    .next()
                    .map_or_else(Vec::new, |names| names.split(',').collect())
            };
            ListedMetric {
                name,
                unit,
                services: list(),
                besides: list(),
            }
        });
    rows.collect()
}
