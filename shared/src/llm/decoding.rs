//! For tests and fuzzing: what a provider's client makes of some bytes, without a connection.

use super::anthropic::Anthropic;
use super::chat::Chat;
use super::dialect::{Dialect, Progress, Reading};
use super::failure::{Exchange, Failure};
use super::openai::OpenAi;
use super::sse::Parser;
use crate::domain::{ModelAnswer, ModelRef, Provider};
use crate::ports::ModelError;

/// The answer of `model` that comes as a stream in these pieces.
pub fn decode<'a>(
    model: &ModelRef,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<ModelAnswer, Box<ModelError>> {
    match model.provider() {
        Provider::Anthropic => decode_as::<Anthropic>(model, |reading| read(reading, pieces)),
        Provider::OpenAi => decode_as::<OpenAi>(model, |reading| read(reading, pieces)),
        Provider::OpenAiCompatible => decode_as::<Chat>(model, |reading| read(reading, pieces)),
    }
}

/// The answer of `model` that comes in one piece.
pub fn decode_whole(model: &ModelRef, body: &[u8]) -> Result<ModelAnswer, Box<ModelError>> {
    match model.provider() {
        Provider::Anthropic => decode_as::<Anthropic>(model, |reading| Ok(reading.whole(body)?)),
        Provider::OpenAi => decode_as::<OpenAi>(model, |reading| Ok(reading.whole(body)?)),
        Provider::OpenAiCompatible => decode_as::<Chat>(model, |reading| Ok(reading.whole(body)?)),
    }
}

fn decode_as<D: Dialect>(
    model: &ModelRef,
    read: impl FnOnce(&mut D::Reading) -> Result<(), Failure>,
) -> Result<ModelAnswer, Box<ModelError>> {
    let (mut exchange, mut reading) = (Exchange::new(model.clone()), D::Reading::default());
    let read = read(&mut reading);
    exchange.spend.usage = reading.usage();
    match read.and_then(|()| Ok(reading.finish()?)) {
        Ok(answer) => Ok(exchange.succeed(answer)),
        Err(failure) => Err(Box::new(exchange.fail(failure))),
    }
}

fn read<'a>(reading: &mut impl Reading, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Failure> {
    let mut parser = Parser::new(usize::MAX);
    for piece in pieces {
        for event in parser.feed(piece) {
            if reading.event(&event?)? == Progress::Done {
                return Ok(());
            }
        }
    }
    Ok(())
}
