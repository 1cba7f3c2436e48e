//! The shell example of `docs/api.md` exports a whole task.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use shared::domain::{StepKind, TaskId, ToolRunner};
use shared::ports::Journal;
use shared::testing::{Reply, ScriptedModel, samples};
use tokio::net::TcpListener;

use crate::lifecycle::ask_human;
use crate::platform::{KEY, Platform};

/// Every kind of character that JSON or a shell treats in its own way.
const ODD: &str = "\u{1}\"\\n\n\r\t %s $x `y` 🦀é\u{2028}";

/// The example, as the page has it.
fn example() -> &'static str {
    let page = include_str!("../../../../docs/api.md");
    let (_, rest) = page.split_once("**Exporting a task.**").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// Runs the example for a task of this platform, which a server offers meanwhile.
async fn export(platform: &Platform, task: &str, folder: &Path) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, platform.router.clone()).into_future());
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", example()])
        .current_dir(folder)
        .env("API_URL", url)
        .env("API_KEY", KEY)
        .env("TASK_ID", task);
    let output = tokio::task::spawn_blocking(move || shell.output()).await;
    server.abort();
    output.unwrap().unwrap()
}

/// An empty folder for what a test exports.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn the_documented_export_of_a_task_loses_nothing() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let input = ODD.repeat(1_000);
    let task = platform.submit(&agent, &input).await;
    let (task, answer) = (
        task["id"].as_str().unwrap(),
        format!("{ODD}{}", "\u{1}".repeat(950_000)),
    );
    let reply = Reply::Answer(samples::answer(&answer));
    platform.drain(ScriptedModel::new([reply])).await;
    // Steps that a list cuts: a long result, and more calls than it shows.
    let id: TaskId = task.parse().unwrap();
    let result = ODD.repeat(10_000);
    let step = samples::tool_step(id, 2, ToolRunner::Platform, &result);
    platform.store.append(&step).await.unwrap();
    let calls = (0..1_200).map(|number| ask_human(&format!("{number}{ODD}")));
    let mut step = samples::step(id, 3, "");
    step.kind = StepKind::ModelCall {
        requested: samples::model(),
        answer: samples::answer_calling(calls),
    };
    platform.store.append(&step).await.unwrap();
    for number in 4..8 {
        step = samples::tool_step(id, number, ToolRunner::Client, &number.to_string());
        platform.store.append(&step).await.unwrap();
    }

    let folder = folder("export");
    let output = export(&platform, task, &folder).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let shown: Value =
        serde_json::from_slice(&std::fs::read(folder.join("task.json")).unwrap()).unwrap();
    assert!(shown["input"] == input && shown["output_truncated"] == true);
    assert!(std::fs::read_to_string(folder.join("output.txt")).unwrap() == answer);
    let history = lines(&folder.join("history.jsonl"));
    assert_eq!(history.len(), 3, "{history:?}");
    let steps = lines(&folder.join("steps.jsonl"));
    let numbers: Vec<&Value> = steps.iter().map(|step| &step["number"]).collect();
    assert_eq!(json!(numbers), json!((1..8).collect::<Vec<_>>()));
    assert!(steps[0]["text"] == answer && steps[1]["text"] == result);
    let calls = steps[2]["tool_calls"].as_array().unwrap();
    assert_eq!(
        (calls.len(), &calls[1_199]["id"]),
        (1_200, &json!(format!("1199{ODD}")))
    );
    assert!(
        steps
            .iter()
            .all(|step| !step.to_string().contains("_truncated"))
    );
    std::fs::remove_dir_all(folder).unwrap();
}
