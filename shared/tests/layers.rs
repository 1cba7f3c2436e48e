//! Who may import whom, by the table in `docs/architecture.md`, and how long a file may be.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!("../../docs/architecture.md");
const HEAD: &str = "| module | holds | may import | must not name |";

/// No source file may be longer, tests included.
const MAX_LINES: usize = 500;

/// The row of the functions' libraries. A `main.rs` and a `config.rs` wire, and may import all.
const FUNCTIONS: &str = "functions";

/// A row of the table.
struct Rule {
    /// Modules of `shared` that may be imported.
    imports: BTreeSet<&'static str>,
    /// Outside crates that must not be named, by the start of their names.
    forbidden: Vec<&'static str>,
}

/// The table's rows by module. Each module may import itself.
fn rules() -> BTreeMap<&'static str, Rule> {
    let table = ARCHITECTURE.split(HEAD).nth(1).unwrap();
    let rows = table.lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(quoted).collect();
        let module = cells[0][0];
        let rule = Rule {
            imports: cells[2].iter().copied().chain([module]).collect(),
            forbidden: cells[3].clone(),
        };
        (module, rule)
    })
    .collect()
}

/// What stands between backticks.
fn quoted(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let rules = rules();
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut breaches = Vec::new();
    for file in sources(&shared) {
        let source = fs::read_to_string(&file).unwrap();
        let module = first_component(&shared, &file);
        breaches.extend(breaches_of(&rules, &module, "crate", &source, &file));
    }
    for file in sources(&functions()) {
        let wires = file.ends_with("src/main.rs") || file.ends_with("src/config.rs");
        if !wires {
            let source = fs::read_to_string(&file).unwrap();
            breaches.extend(breaches_of(&rules, FUNCTIONS, "shared", &source, &file));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_row_of_the_table_is_a_module() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&shared);
    let modules = files.iter().map(|file| first_component(&shared, file));
    let modules: BTreeSet<_> = modules.chain([FUNCTIONS.to_owned()]).collect();
    let rows: BTreeSet<_> = rules().keys().map(|&module| module.to_owned()).collect();
    assert_eq!(rows, modules);
}

#[test]
fn no_source_file_is_too_long() {
    let shared = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let too_long: Vec<_> = shared
        .into_iter()
        .chain(sources(&functions()))
        .filter(|file| is_too_long(&fs::read_to_string(file).unwrap()))
        .collect();
    assert!(too_long.is_empty(), "over {MAX_LINES} lines: {too_long:?}");
}

#[test]
fn a_file_that_is_too_long_is_found() {
    assert!(!is_too_long(&"\n".repeat(MAX_LINES)));
    assert!(is_too_long(&"\n".repeat(MAX_LINES + 1)));
}

#[test]
fn a_breach_of_each_rule_is_found() {
    // A module that the row does not allow, in an import or in a path.
    check("domain", "use crate::store::Table;", &["crate::store"]);
    check("domain", "fn f() { crate::app::run() }", &["crate::app"]);
    check("config", "use crate::domain::Task;", &["crate::domain"]);
    // A list of modules in one import, which would hide them from this test.
    check("domain", "use crate::{app, domain};", &["crate::{"]);
    // An outside crate.
    check("domain", "use tokio::time::sleep;", &["tokio"]);
    check("app", "let x = aws_sdk_sqs::new();", &["aws_sdk_sqs"]);
    // A function's library, which must not know an adapter or its crate.
    check(FUNCTIONS, "use shared::llm::Stack;", &["shared::llm"]);
    check(FUNCTIONS, "aws_config::load();", &["aws_config"]);
    // A module without a row.
    check("plugins", "", &["a row in the table"]);
    // Product code below the declaration of a test module, and below a test's own items.
    for tests in [
        "#[cfg(test)]\nmod tests;",
        "#[cfg(test)]\nuse crate::testing::at;",
        "#[cfg(test)]\nmod tests {\n    use crate::testing::at;\n}",
        "#[cfg(test)]\n#[path = \"t.rs\"]\nmod tests;",
    ] {
        let source = format!("{tests}\n\nuse crate::store::Table;");
        check("domain", &source, &["crate::store"]);
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    check("app", "use crate::domain::Task;\nuse tokio::time;", &[]);
    check("domain", "use crate::domain::Task;", &[]);
    check(
        FUNCTIONS,
        "use shared::app::Runner;\nuse crate::body::X;",
        &[],
    );
    check(
        "domain",
        "#[cfg(test)]\nmod tests {\n    use crate::testing::at;\n}",
        &[],
    );
    check("ports", "//! Nothing here imports `crate::app`.", &[]);
}

#[track_caller]
fn check(module: &str, source: &str, expected: &[&str]) {
    let root = if module == FUNCTIONS {
        "shared"
    } else {
        "crate"
    };
    let file = Path::new("file.rs");
    let breaches = breaches_of(&rules(), module, root, source, file);
    let expected: Vec<_> = expected
        .iter()
        .map(|offender| breach(file, offender))
        .collect();
    assert_eq!(breaches, expected, "{source}");
}

fn breaches_of(
    rules: &BTreeMap<&str, Rule>,
    module: &str,
    root: &str,
    source: &str,
    file: &Path,
) -> Vec<String> {
    let offenders = match rules.get(module) {
        Some(rule) => offenders(source, root, rule),
        None => vec!["a row in the table".to_owned()],
    };
    offenders
        .iter()
        .map(|offender| breach(file, offender))
        .collect()
}

fn breach(file: &Path, offender: &str) -> String {
    if offender.starts_with("a row") {
        format!("{}: its module needs {offender}", file.display())
    } else {
        format!("{} must not use {offender}", file.display())
    }
}

/// The paths in `source` that start at `root` with a module that the rule does not allow, or at a
/// crate that it forbids.
fn offenders(source: &str, root: &str, rule: &Rule) -> Vec<String> {
    let product = without_tests(source);
    let code = product
        .into_iter()
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
            && !rule.imports.contains(module)
        {
            found.push(format!("{root}::{module}"));
        } else if starts_path && rule.forbidden.iter().any(|name| owner.starts_with(name)) {
            found.push(owner.to_owned());
        }
    }
    found
}

/// The lines of a source without the items below `#[cfg(test)]`. An item ends where rustfmt ends
/// it: with the first line of its own indentation that closes it.
fn without_tests(source: &str) -> Vec<&str> {
    let mut product = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            product.push(line);
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends_item = |line: &&str| {
            let inner = line.strip_prefix(indent).unwrap_or_default();
            inner.ends_with([';', ',', '}']) && !inner.starts_with([' ', '#'])
        };
        lines.find(ends_item);
    }
    product
}

fn is_too_long(source: &str) -> bool {
    source.lines().count() > MAX_LINES
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
