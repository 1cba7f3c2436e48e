//! A model that answers by a script.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{lock, samples};
use crate::domain::{ModelAnswer, ModelRequest};
use crate::ports::model::ModelErrorKind;
use crate::ports::{Model, ModelError};

/// What a scripted model does with one question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers.
    Answer(ModelAnswer),
    /// Fails at once.
    Fail(ModelErrorKind),
    /// Stays silent until the caller's timeout.
    Hang,
    /// Panics, as a defect would.
    Panic,
}

/// One question as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub request: ModelRequest,
    /// How long the caller was willing to wait.
    pub timeout: Duration,
}

/// A model that answers by a script and remembers what it was asked. Past the script's end it repeats the input, so
/// that a test of many tasks can tell their answers apart.
#[derive(Debug)]
pub struct ScriptedModel {
    script: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    begun: watch::Sender<usize>,
    held: watch::Sender<bool>,
}

impl Default for ScriptedModel {
    fn default() -> Self {
        Self::new([])
    }
}

impl ScriptedModel {
    /// Does each of `script` once, in order.
    pub fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            begun: watch::Sender::new(0),
            held: watch::Sender::new(false),
        }
    }

    /// Adds to the script's end.
    pub fn then(&self, reply: Reply) {
        lock(&self.script).push_back(reply);
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// Keeps every question open, present and future ones, until [`ScriptedModel::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Ends [`ScriptedModel::hold`].
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Waits until `times` questions have been asked in total, answered or not.
    pub async fn until_asked(&self, times: usize) {
        // The sender lives as long as `self`, so the wait can't fail.
        drop(self.begun.subscribe().wait_for(|begun| *begun >= times).await);
    }

    fn record(&self, request: &ModelRequest, timeout: Duration) -> Option<Reply> {
        lock(&self.asked).push(Asked { request: request.clone(), timeout });
        let reply = lock(&self.script).pop_front();
        self.begun.send_modify(|begun| *begun += 1);
        reply
    }

    async fn until_released(&self) {
        drop(self.held.subscribe().wait_for(|held| !held).await);
    }
}

#[async_trait]
impl Model for ScriptedModel {
    async fn ask(&self, request: &ModelRequest, timeout: Duration) -> Result<ModelAnswer, ModelError> {
        let reply = self.record(request, timeout).unwrap_or_else(|| Reply::Answer(samples::answer(&request.input)));
        let failed = |kind| {
            let provider = request.model.provider();
            Err(ModelError { provider, kind, status: None, request_id: None, source: None })
        };
        if tokio::time::timeout(timeout, self.until_released()).await.is_err() {
            return failed(ModelErrorKind::Timeout);
        }
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::Fail(kind) => failed(kind),
            Reply::Hang => {
                tokio::time::sleep(timeout).await;
                failed(ModelErrorKind::Timeout)
            }
            #[expect(clippy::panic, reason = "the script asks for it")]
            Reply::Panic => panic!("the script panics here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn the_script_comes_first_and_then_the_echo() {
        let model = ScriptedModel::new([Reply::Fail(ModelErrorKind::Unavailable)]);
        let request = samples::question("hello");
        assert_eq!(model.ask(&request, MINUTE).await.unwrap_err().kind, ModelErrorKind::Unavailable);
        assert_eq!(model.ask(&request, MINUTE).await.unwrap().text, "hello");
        assert_eq!(model.asked(), vec![Asked { request, timeout: MINUTE }; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_question_ends_with_its_release_or_its_timeout() {
        let model = Arc::new(ScriptedModel::default());
        model.hold();
        let asking = tokio::spawn({
            let model = Arc::clone(&model);
            async move { model.ask(&samples::question("hello"), MINUTE).await }
        });
        model.until_asked(1).await;
        assert!(!asking.is_finished());
        model.release();
        assert_eq!(asking.await.unwrap().unwrap().text, "hello");
        model.hold();
        let kind = model.ask(&samples::question("hello"), MINUTE).await.unwrap_err().kind;
        assert_eq!(kind, ModelErrorKind::Timeout);
    }
}
