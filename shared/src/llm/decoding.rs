//! For tests and fuzzing: what a provider's client makes of some bytes, without a connection.

use super::anthropic::Anthropic;
use super::chat::Chat;
use super::decoder::{Decoder, Expected, Step};
use super::dialect::{Dialect, Progress};
use super::failure::Exchange;
use super::finished::Silence;
use super::openai::OpenAi;
use crate::domain::{ModelAnswer, ModelRef, Provider, Transfer};
use crate::ports::ModelError;

/// The answer of `model` that comes as a stream in these pieces.
pub fn decode<'a>(
    model: &ModelRef,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ModelAnswer, Box<ModelError>> {
    decode_requested(model, Transfer::Stream, pieces)
}

/// The answer of `model` that comes in one piece.
pub fn decode_whole(model: &ModelRef, body: &[u8]) -> Result<ModelAnswer, Box<ModelError>> {
    decode_requested(model, Transfer::Whole, [body])
}

fn decode_requested<'a>(
    model: &ModelRef,
    transfer: Transfer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ModelAnswer, Box<ModelError>> {
    match model.provider() {
        Provider::Anthropic => decode_as::<Anthropic>(model, transfer, pieces),
        Provider::OpenAi => decode_as::<OpenAi>(model, transfer, pieces),
        Provider::OpenAiCompatible => decode_as::<Chat>(model, transfer, pieces),
    }
}

fn decode_as<'a, D: Dialect>(
    model: &ModelRef,
    transfer: Transfer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ModelAnswer, Box<ModelError>> {
    let mut exchange = Exchange::new(model.clone());
    let expected = Expected {
        transfer,
        max_output_tokens: u64::MAX,
        silence: Silence::Refused,
    };
    let mut decoder = Decoder::<D::ResponseParser>::new(expected);
    let mut end = Ok(());
    for piece in pieces {
        match decoder.feed(piece) {
            Ok(Step::Events(Progress::Done)) => break,
            Ok(
                Step::Waiting | Step::Partial | Step::Complete | Step::Nothing | Step::Events(_),
            ) => {}
            Err(failure) => {
                end = Err(failure);
                break;
            }
        }
    }
    let end = decoder.end(end);
    exchange.spend.usage = decoder.usage();
    match end.and_then(|()| decoder.finish()) {
        Ok(answer) => Ok(exchange.succeed(answer)),
        Err(failure) => Err(Box::new(exchange.fail(failure))),
    }
}
