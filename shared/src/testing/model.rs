//! A model that answers by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{TokioClock, lock, samples};
use crate::domain::{Message, ModelAnswer, ModelRequest, Spend, UserPart};
use crate::ports::{Clock, Model, ModelError, ModelErrorKind, Recovery};

/// What a scripted model does with one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers.
    Answer(ModelAnswer),
    /// Fails at once.
    Fail(ModelErrorKind),
    /// Fails at once; another call may succeed then.
    FailUntil(ModelErrorKind, Recovery),
    /// Fails at once, with these particulars.
    FailWith {
        /// What the caller can do about it.
        kind: ModelErrorKind,
        /// The HTTP status.
        status: Option<u16>,
        /// The provider's own word on another try.
        should_retry: Option<bool>,
        /// The wait that the provider asks for.
        retry_after: Option<Duration>,
        /// What it cost.
        spend: Spend,
    },
    /// Stays silent until the request's deadline.
    Hang,
    /// Panics, as a defect would.
    Panic,
}

/// What went wrong in a call, and when another one may succeed: what tests compare of an error.
pub type Failed = (ModelErrorKind, Option<Recovery>);

/// What tests compare of an error.
pub fn failed_of(error: &ModelError) -> Failed {
    (error.kind.clone(), error.recovery)
}

impl From<Failed> for Reply {
    fn from((kind, recovery): Failed) -> Self {
        match recovery {
            Some(recovery) => Self::FailUntil(kind, recovery),
            None => Self::Fail(kind),
        }
    }
}

/// A model that answers by a script and remembers its requests. Past the script's end it
/// repeats the input, so that a test of many tasks can tell their answers apart.
pub struct ScriptedModel {
    clock: Arc<dyn Clock>,
    script: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<ModelRequest>>,
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
            clock: Arc::new(TokioClock::default()),
            script: Mutex::new(script.into_iter().collect()),
            requests: Mutex::default(),
            begun: watch::Sender::new(0),
            held: watch::Sender::new(false),
        }
    }

    /// This model, reading deadlines off `clock` instead of tokio's.
    #[must_use]
    pub fn on(self, clock: impl Clock + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Adds to the script's end.
    pub fn then(&self, reply: Reply) {
        lock(&self.script).push_back(reply);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ModelRequest> {
        lock(&self.requests).clone()
    }

    /// Keeps every request open, present and future ones, until [`ScriptedModel::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Ends [`ScriptedModel::hold`].
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Waits until the model has been called `times` times in total, answered or not.
    pub async fn until_called(&self, times: usize) {
        // The sender lives as long as `self`, so the wait can't fail.
        drop(
            self.begun
                .subscribe()
                .wait_for(|begun| *begun >= times)
                .await,
        );
    }

    fn record(&self, request: &ModelRequest) -> Option<Reply> {
        lock(&self.requests).push(request.clone());
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
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let reply = self
            .record(request)
            .unwrap_or_else(|| Reply::Answer(echo(request)));
        let failed = |kind| {
            let spend = Spend {
                attempts: 1,
                ..Spend::default()
            };
            ModelError {
                spend,
                ..ModelError::new(request.model().clone(), kind)
            }
        };
        let timeout = request.deadline.left(self.clock.now());
        if tokio::time::timeout(timeout, self.until_released())
            .await
            .is_err()
        {
            return Err(failed(ModelErrorKind::Timeout));
        }
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::Fail(kind) => Err(failed(kind)),
            Reply::FailUntil(kind, recovery) => Err(failed(kind).with_recovery(recovery)),
            Reply::FailWith {
                kind,
                status,
                should_retry,
                retry_after,
                spend,
            } => {
                let failed = ModelError::new(request.model().clone(), kind);
                Err(ModelError {
                    status,
                    should_retry,
                    retry_after,
                    spend,
                    ..failed
                })
            }
            Reply::Hang => {
                tokio::time::sleep(timeout).await;
                Err(failed(ModelErrorKind::Timeout))
            }
            #[expect(clippy::panic, reason = "the script asks for it")]
            Reply::Panic => panic!("the script panics here"),
        }
    }
}

/// An answer that says what the user said last.
fn echo(request: &ModelRequest) -> ModelAnswer {
    let said = request
        .prompt
        .messages
        .iter()
        .rev()
        .find_map(|message| match message {
            Message::User(parts) => parts.iter().find_map(|part| match part {
                UserPart::Text(text) => Some(text.as_str()),
                UserPart::ImageUrl(_) | UserPart::Image { .. } => None,
            }),
            Message::Assistant(_) | Message::ToolResults(_) => None,
        });
    ModelAnswer {
        model: request.model().clone(),
        ..samples::answer(said.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

    #[tokio::test]
    async fn the_script_comes_first_and_then_the_echo() {
        let model = ScriptedModel::new([Reply::Fail(UNAVAILABLE)]);
        let request = samples::model_request("hello");
        assert_eq!(model.call(&request).await.unwrap_err().kind, UNAVAILABLE);
        assert_eq!(model.call(&request).await.unwrap().text(), "hello");
        assert_eq!(model.requests(), vec![request; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_request_ends_with_its_release_or_its_timeout() {
        let model = Arc::new(ScriptedModel::default());
        model.hold();
        let call = tokio::spawn({
            let model = Arc::clone(&model);
            async move { model.call(&samples::model_request("hello")).await }
        });
        model.until_called(1).await;
        assert!(!call.is_finished());
        model.release();
        assert_eq!(call.await.unwrap().unwrap().text(), "hello");
        model.hold();
        let kind = model
            .call(&samples::model_request("hello"))
            .await
            .unwrap_err()
            .kind;
        assert_eq!(kind, ModelErrorKind::Timeout);
    }
}
