//! Tools that answer by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{TokioClock, lock};
use crate::ports::{Clock, ToolOutput, ToolRequest, Tools};

/// What scripted tools do with one request.
#[derive(Debug, Clone)]
pub enum ToolReply {
    /// Say this.
    Output(ToolOutput),
    /// Stay silent until the request's deadline.
    Hang,
    /// Panic, as a defect would.
    Panic,
}

/// Tools that answer by a script and remember their calls. Past the script's end they
/// repeat the arguments, so that a test of many calls can tell their results apart.
pub struct ScriptedTools {
    clock: Arc<dyn Clock>,
    script: Mutex<VecDeque<ToolReply>>,
    requests: Mutex<Vec<ToolRequest>>,
    begun: watch::Sender<usize>,
}

impl Default for ScriptedTools {
    fn default() -> Self {
        Self::new([])
    }
}

impl ScriptedTools {
    /// Do each of `script` once, in order.
    pub fn new(script: impl IntoIterator<Item = ToolReply>) -> Self {
        Self {
            clock: Arc::new(TokioClock::default()),
            script: Mutex::new(script.into_iter().collect()),
            requests: Mutex::default(),
            begun: watch::Sender::new(0),
        }
    }

    /// These tools, reading deadlines off `clock` instead of tokio's.
    #[must_use]
    pub fn on(self, clock: impl Clock + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Adds to the script's end.
    pub fn then(&self, reply: ToolReply) {
        lock(&self.script).push_back(reply);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ToolRequest> {
        lock(&self.requests).clone()
    }

    /// Waits until `times` requests have been made in total, answered or not.
    pub async fn until_run(&self, times: usize) {
        // The sender lives as long as `self`, so the wait can't fail.
        drop(
            self.begun
                .subscribe()
                .wait_for(|begun| *begun >= times)
                .await,
        );
    }

    fn record(&self, request: &ToolRequest) -> Option<ToolReply> {
        lock(&self.requests).push(request.clone());
        let reply = lock(&self.script).pop_front();
        self.begun.send_modify(|begun| *begun += 1);
        reply
    }
}

#[async_trait]
impl Tools for ScriptedTools {
    async fn run(&self, request: &ToolRequest) -> ToolOutput {
        let reply = self.record(request);
        match reply
            .unwrap_or_else(|| ToolReply::Output(ToolOutput::new(request.arguments.to_string())))
        {
            ToolReply::Output(output) => output,
            ToolReply::Hang => {
                tokio::time::sleep(request.deadline.left(self.clock.now())).await;
                ToolOutput::error("the tool did not come to an end in time")
            }
            #[expect(clippy::panic, reason = "the script asks for it")]
            ToolReply::Panic => panic!("the script panics here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{BuiltinTool, Deadline};
    use crate::testing::samples;

    fn request(number: u32) -> ToolRequest {
        ToolRequest {
            tenant: samples::tenant("acme"),
            tool: BuiltinTool::Calculator,
            arguments: json!({ "expression": number.to_string() }),
            idempotency_key: "key".to_owned(),
            max_result_bytes: 1_024,
            deadline: Deadline::at(samples::after(60)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_script_comes_first_and_then_the_echo() {
        let tools =
            ScriptedTools::new([ToolReply::Output(ToolOutput::error("no")), ToolReply::Hang]);
        assert_eq!(tools.run(&request(1)).await, ToolOutput::error("no"));
        let begun = tokio::time::Instant::now();
        assert!(tools.run(&request(2)).await.is_error);
        assert_eq!(begun.elapsed().as_secs(), 60);
        assert_eq!(
            tools.run(&request(3)).await,
            ToolOutput::new(r#"{"expression":"3"}"#)
        );
        tools.until_run(3).await;
        assert_eq!(tools.requests(), [request(1), request(2), request(3)]);
    }
}
