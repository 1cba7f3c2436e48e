//! Falls back from a model that is out of service to the next model of the chain.
//!
//! Two results lead to the next model. One is an outage. The other is an answer that reached the
//! output limit before its first word: the model reasoned too long, and another model may reason
//! less. If no other model answers, that answer is the result, as in a chain of one model.
//!
//! A request that one model refuses, such as a bad request, or that a cap on cost forbids, does not
//! go to another model. If all models are out of service, the error lists every attempt and says
//! when to try again: at the earliest moment that a model named, or maybe sooner if another model
//! named none.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;

use super::attempt_log::AttemptLog;
use crate::domain::{Causes, ModelAnswer, ModelRef, ModelRequest, ProviderError, StopReason, Wait};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{Model, ModelError, ModelErrorKind, OpenCircuit, Recovery};

/// Calls the models of the request's chain in order, each as if it were the only model.
pub struct Fallback {
    inner: Arc<dyn Model>,
}

impl Fallback {
    /// Calls `inner` with one model at a time.
    pub fn new(inner: Arc<dyn Model>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Model for Fallback {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let mut failed = AttemptLog::default();
        let mut recovery_times = RecoveryTimes::default();
        // The first answer that was cut before its first word, and its place in the log.
        let mut cut: Option<(ModelAnswer, usize)> = None;
        let mut choice = request.chain.first();
        let mut position = 1;
        let mut others = request.chain.iter().skip(1);
        loop {
            let (provider, model) = (choice.model.provider().as_str(), choice.model.name());
            let span = tracing::info_span!("model of chain", position, provider, model);
            let error = match self
                .inner
                .call(&request.to_only(choice))
                .instrument(span)
                .await
            {
                Ok(answer) if is_cut_before_its_first_word(&answer) && others.len() > 0 => {
                    let error = wordless(&answer);
                    cut.get_or_insert_with(|| (answer, failed.count() + error.earlier.len()));
                    error
                }
                Ok(answer) => return Ok(failed.before_answer(answer)),
                Err(error) => error,
            };
            let is_outage = error.is_outage();
            recovery_times.add(&error);
            let next = others.next().filter(|_| is_outage);
            let Some(next) = next else {
                if let Some((answer, place)) = cut {
                    failed.add(&error);
                    return Ok(failed.around_answer(answer, place));
                }
                let error = if is_outage {
                    recovery_times.all_out(error)
                } else {
                    error
                };
                return Err(failed.before_error(error));
            };
            log_fallback(&error, &next.model);
            failed.add(&error);
            choice = next;
            position += 1;
        }
    }
}

fn is_cut_before_its_first_word(answer: &ModelAnswer) -> bool {
    answer.stop_reason == StopReason::MaxTokens
        && answer.text().trim().is_empty()
        && answer.tool_calls().next().is_none()
}

/// The answer as a failed attempt, with its cost and that call's earlier attempts.
fn wordless(answer: &ModelAnswer) -> ModelError {
    let words = "the answer ended at max_output_tokens before its first word";
    let said = ProviderError {
        message: Some(words.to_owned()),
        ..ProviderError::default()
    };
    ModelError {
        request_id: answer.request_id.clone(),
        said: Some(Box::new(said)),
        spend: answer.spend,
        earlier: answer.failed.clone(),
        source: Some(words.into()),
        ..ModelError::new(answer.model.clone(), ModelErrorKind::BadAnswer)
    }
}

/// When models that are out of service may answer again.
#[derive(Default)]
struct RecoveryTimes {
    /// The earliest moment that a model named.
    named: Option<Wait>,
    /// Whether a model that may answer again named no moment.
    has_unnamed: bool,
    /// Of the circuits that refused calls, the one that admits calls first.
    circuit: Option<Box<OpenCircuit>>,
}

impl RecoveryTimes {
    fn add(&mut self, error: &ModelError) {
        let circuits = self.circuit.take().into_iter().chain(error.circuit.clone());
        self.circuit = circuits.min_by_key(|circuit| circuit.until);
        match error.recovery {
            Some(Recovery { wait, maybe_sooner }) => {
                self.named = Some(self.named.map_or(wait, |named| named.or_sooner(wait)));
                self.has_unnamed |= maybe_sooner;
            }
            None => self.has_unnamed |= error.should_retry != Some(false),
        }
    }

    /// The error of a chain whose models are all out of service.
    fn all_out(self, last: ModelError) -> ModelError {
        let recovery = self.named.map(|wait| Recovery {
            wait,
            maybe_sooner: self.has_unnamed,
        });
        // If a model forbids a retry, that holds only for that model.
        let should_retry = last
            .should_retry
            .filter(|_| recovery.is_none() && !self.has_unnamed);
        ModelError {
            should_retry,
            recovery,
            circuit: self.circuit,
            ..last
        }
    }
}

fn log_fallback(error: &ModelError, to: &ModelRef) {
    let said = ProviderError::or_nothing(error.said.as_deref());
    tracing::warn!(
        provider = error.model.provider().as_str(),
        model = error.model.name(),
        provider_status = error.status,
        provider_request_id = error.request_id,
        provider_code = said.code,
        provider_param = said.param,
        provider_message = said.message,
        error = %Causes(error),
        %to,
        "model call falls back"
    );
    metric::FALLBACKS.add(PriceTable::current().labels(to), 1);
}

#[cfg(test)]
mod tests;
