//! Sets the environment variable `VERSION` for the compiler: the commit that a function is built
//! from.
//!
//! It is the build script of only the three functions' crates, so that a commit rebuilds no other
//! crate. Builds for tests have the version `test`: they need no commit, and a commit rebuilds no
//! test.

#![allow(
    clippy::print_stdout,
    reason = "a build script tells cargo by its output"
)]

use std::path::Path;
use std::process::Command;

/// The folders that a function is built from, other than its own; paths are relative to it.
const SOURCES: [&str; 4] = ["..", "../../shared", "../../Cargo.toml", "../../Cargo.lock"];

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by the environment"
)]
fn main() {
    println!("cargo:rerun-if-changed=../version.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        println!("cargo:rustc-env=VERSION=test");
        return;
    }
    // Each commit and each checkout adds a line to the log of HEAD.
    let head = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    let head = head.filter(|log| Path::new(log).exists());
    for path in SOURCES.into_iter().chain(head.as_deref()) {
        println!("cargo:rerun-if-changed={path}");
    }
    let version = git(&[
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
        "--abbrev=12",
    ]);
    println!(
        "cargo:rustc-env=VERSION={}",
        version.as_deref().unwrap_or("unknown")
    );
}

/// The output of git; `None` if there is no git or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|answer| answer.status.success())?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}
