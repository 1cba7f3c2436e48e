//! Who may import whom. The rules are those of `docs/architecture.md`; a breach names the file and
//! the offender.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// No source file may be longer, tests included.
const MAX_LINES: usize = 500;

/// Modules of `shared` and the modules of `shared` that they may import.
const INSIDE: [(&str, &[&str]); 16] = [
    ("domain", &["domain"]),
    ("ports", &["domain", "ports"]),
    (
        "app",
        &["app", "domain", "metric", "policy", "ports", "runtime"],
    ),
    (
        "policy",
        &["domain", "metric", "policy", "ports", "runtime"],
    ),
    ("config", &[]),
    ("metric", &[]),
    ("runtime", &[]),
    ("tls", &[]),
    ("telemetry", &["config", "metric", "telemetry"]),
    (
        "store",
        &["domain", "ports", "runtime", "store", "telemetry", "tls"],
    ),
    ("queue", &["domain", "ports", "queue", "telemetry"]),
    (
        "llm",
        &[
            "domain", "llm", "metric", "policy", "ports", "runtime", "tls",
        ],
    ),
    ("secrets", &["domain", "ports", "secrets"]),
    ("testing", &["domain", "ports", "testing"]),
    (
        "tools",
        &["domain", "metric", "ports", "runtime", "tls", "tools"],
    ),
    ("lib", &[]),
];

/// What a function's library may import of `shared`; its `main.rs` and `config.rs` wire and may
/// import everything.
const IN_FUNCTIONS: &[&str] = &["app", "domain", "metric", "ports", "runtime"];

/// Outside crates that a layer must not name, by the start of the crate's name.
const OUTSIDE: [(&str, &[&str]); 6] = [
    (
        "domain",
        &[
            "async_trait",
            "aws_",
            "axum",
            "http",
            "lambda_",
            "reqwest",
            "tokio",
            "tracing",
        ],
    ),
    (
        "ports",
        &[
            "aws_", "axum", "http", "lambda_", "reqwest", "tokio", "tracing",
        ],
    ),
    (
        "app",
        &["aws_", "axum", "http", "lambda_", "reqwest", "serde_json"],
    ),
    ("testing", &["aws_", "axum", "http", "lambda_", "reqwest"]),
    (
        "functions",
        &["aws_config", "aws_sdk_", "aws_smithy_", "reqwest"],
    ),
    ("policy", &["aws_", "axum", "http", "lambda_", "reqwest"]),
];

#[test]
fn modules_import_only_what_their_layer_may() {
    let allowed: BTreeMap<_, _> = INSIDE.into();
    let forbidden: BTreeMap<_, _> = OUTSIDE.into();
    let mut breaches = Vec::new();
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&shared) {
        let layer = first_component(&shared, &file);
        let Some(allowed) = allowed.get(layer.as_str()) else {
            breaches.push(format!("{}: the layer {layer} has no rule", file.display()));
            continue;
        };
        let forbidden = forbidden.get(layer.as_str()).copied().unwrap_or_default();
        breaches.extend(breaches_in(&file, "crate", allowed, forbidden));
    }
    for file in sources(&functions()) {
        let wires = file.ends_with("src/main.rs") || file.ends_with("src/config.rs");
        if !wires {
            breaches.extend(breaches_in(&file, "shared", IN_FUNCTIONS, OUTSIDE[4].1));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn no_source_file_outgrows_the_reader() {
    let long = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count() > MAX_LINES;
    let shared = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let too_long: Vec<_> = shared
        .into_iter()
        .chain(sources(&functions()))
        .filter(long)
        .collect();
    assert!(too_long.is_empty(), "over {MAX_LINES} lines: {too_long:?}");
}

#[test]
fn a_breach_is_found() {
    check_breaches("domain", "use crate::store::Table;", &["crate::store"]);
    check_breaches("domain", "fn f() { crate::app::run() }", &["crate::app"]);
    check_breaches("domain", "use crate::{app, domain};", &["crate::{"]);
    check_breaches("domain", "use tokio::time::sleep;", &["tokio"]);
    check_breaches(
        "app",
        "let x = aws_sdk_sqs::Client::new(&config);",
        &["aws_sdk_sqs"],
    );
    check_breaches("app", "use crate::domain::Task;\nuse tokio::time;", &[]);
    check_breaches(
        "domain",
        "fn f() {}\n#[cfg(test)]\nmod tests { use crate::testing::at; }",
        &[],
    );
    check_breaches(
        "ports",
        "//! Nothing here imports `crate::app`.\nuse crate::domain::Task;",
        &[],
    );
}

#[track_caller]
fn check_breaches(layer: &str, source: &str, expected: &[&str]) {
    let (inside, outside): (BTreeMap<_, _>, BTreeMap<_, _>) = (INSIDE.into(), OUTSIDE.into());
    assert_eq!(
        offenders(source, "crate", inside[layer], outside[layer]),
        expected,
        "{source}"
    );
}

fn breaches_in(file: &Path, root: &str, allowed: &[&str], forbidden: &[&str]) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let offenders = offenders(&source, root, allowed, forbidden);
    offenders
        .into_iter()
        .map(|offender| format!("{} must not use {offender}", file.display()))
        .collect()
}

/// The paths in `source` that start at `root` with a module not `allowed`, or at a `forbidden`
/// crate.
fn offenders(source: &str, root: &str, allowed: &[&str], forbidden: &[&str]) -> Vec<String> {
    let product = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code = product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for (left, right) in code.flat_map(|line| {
        line.match_indices("::")
            .map(move |(at, _)| line.split_at(at))
    }) {
        let owner = left
            .rsplit(|c: char| !is_name(c))
            .next()
            .unwrap_or_default();
        let starts_path = !left.trim_end_matches(is_name).ends_with("::");
        let right = &right[2..];
        let module = &right[..right.find(|c| !is_name(c)).unwrap_or(right.len())];
        if owner == root && right.starts_with('{') {
            found.push(format!("{root}::{{"));
        } else if owner == root
            && module.starts_with(|c: char| c.is_lowercase())
            && !allowed.contains(&module)
        {
            found.push(format!("{root}::{module}"));
        } else if starts_path && forbidden.iter().any(|name| owner.starts_with(name)) {
            found.push(owner.to_owned());
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn functions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("functions")
}

/// Every Rust file under `root`, but for test folders and build output.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn first_component(root: &Path, file: &Path) -> String {
    let inner = file.strip_prefix(root).unwrap();
    let first = inner
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}
