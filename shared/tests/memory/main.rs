//! How much memory the largest conversations and journals take, each in a process of its own: its
//! peak is the kernel's (`VmHWM` of proc(5)), and what is left at its end an allocator's that
//! counts.
//!
//! The stores keep what they have compressed, as the real ones do elsewhere, so that they hardly
//! count; all the rest is what a function has in memory: requests go out over HTTP, and the tools'
//! come in that way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers may panic like the test itself, and its processes speak by their output"
)]

mod holds;
mod journal;
mod scenarios;
mod server;

use std::alloc::System;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use shared::runtime;
use shared::testing::memory::peak_mebibytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An executor has 512 MB. Telemetry, the SDK's clients and Lambda's own part take some of it.
const EXECUTOR_MEBIBYTES: u64 = 400;

/// An API function has 256 MB.
const API_MEBIBYTES: u64 = 200;

/// What may be left of the work when it is done: connections, and the stored tasks.
const LEFT_MEBIBYTES: u64 = 24;

/// The longest that tasks may hold each other up, on the processor: without optimization, as tests
/// are built. With all of it on one thread it was 2,500.
const MOST_HOLD_MS: u64 = 600;

/// The variable of the C library that the template sets for the executor.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

/// What is done, and the most that it may take.
const SCENARIOS: [(&str, u64); 4] = [
    ("ten_tasks_of_the_largest_conversations", EXECUTOR_MEBIBYTES),
    ("ten_tasks_that_fill_the_room_together", EXECUTOR_MEBIBYTES),
    (
        "ten_tasks_with_as_many_large_results_as_may_be",
        EXECUTOR_MEBIBYTES,
    ),
    ("clients_of_the_largest_journal", API_MEBIBYTES),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, child, scenario] if child == "child" => play(scenario),
        _ => SCENARIOS.into_iter().for_each(check),
    }
}

/// Plays a scenario in a process of its own.
fn check((scenario, most): (&str, u64)) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env(MMAP_THRESHOLD, mmap_threshold());
    let done = child
        .args(["child", scenario])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(done.status.success(), "{scenario}: {}", done.status);
    let measured: Value = serde_json::from_slice(&done.stdout).unwrap();
    println!("{scenario}: {measured}");
    let peak = measured["peak_mebibytes"].as_u64().unwrap();
    assert!(peak < most, "{scenario} takes {peak} MiB of {most}");
    let left = measured["left_mebibytes"].as_u64().unwrap();
    assert!(left < LEFT_MEBIBYTES, "{scenario} leaves {left} MiB behind");
    let hold = measured["longest_hold_ms"].as_u64().unwrap();
    assert!(
        hold < MOST_HOLD_MS,
        "{scenario}: a task holds the others up for {hold} ms"
    );
}

/// What the template sets it to.
fn mmap_threshold() -> &'static str {
    let template = include_str!("../../../template.yaml");
    let line = template
        .lines()
        .find_map(|line| line.trim().strip_prefix(MMAP_THRESHOLD))
        .unwrap();
    line.split('"').nth(1).unwrap()
}

fn play(scenario: &str) {
    let runtime = runtime::for_tasks().unwrap();
    let holds = holds::watch(&runtime);
    let left = runtime.block_on(async {
        match scenario {
            "ten_tasks_of_the_largest_conversations" => scenarios::conversations(32).await,
            "ten_tasks_that_fill_the_room_together" => scenarios::conversations(3).await,
            "ten_tasks_with_as_many_large_results_as_may_be" => scenarios::results().await,
            "clients_of_the_largest_journal" => scenarios::clients().await,
            other => unreachable!("{other}"),
        }
    });
    let (peak, hold) = (peak_mebibytes("self"), holds.longest());
    println!(
        "{}",
        json!({ "peak_mebibytes": peak, "left_mebibytes": left, "longest_hold_ms": hold.as_millis() })
    );
}

/// What is allocated since then and not yet freed.
fn left_since(begun: &Region<'_, System>) -> u64 {
    let change = begun.change();
    (change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
        / 1_024
        / 1_024) as u64
}
