//! Decodes the body of a response with status 200 as its bytes arrive; knows no connection and no
//! clock.
//!
//! The first bytes decide whether the body is JSON or an event stream, because servers mislabel
//! both. Once the reason to stop is known, the answer counts, even if the rest of the body is
//! broken. A body that holds no answer fails with words that say what it is.

use std::str;

use super::dialect::{Answer, Fault, Progress, ResponseParser};
use super::failure::{BodyTooLarge, Failure};
use super::finished::{self, Silence};
use super::halves;
use super::sse::{Event, Parser as EventParser};
use super::unreadable::Unreadable;
use super::whole::Whole;
use crate::domain::{ModelRequest, Transfer, Usage};
use crate::ports::ModelErrorKind;
use crate::runtime::computed;

/// The largest whole answer, or event of a stream, that is read.
const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

/// The largest stream that is read: each token comes in an event of some hundred bytes.
const MAX_STREAM_BYTES: usize = 32 * 1_024 * 1_024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Names of events that only keep the connection alive. Their data is ignored.
const KEEP_ALIVES: [&str; 4] = ["ping", "keepalive", "keep-alive", "heartbeat"];

/// What is known of an answer before it arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// How it was requested.
    pub(super) transfer: Transfer,
    /// The most output tokens that were requested.
    pub(super) max_output_tokens: u64,
    /// Whether it may say nothing.
    pub(super) silence: Silence,
}

impl From<&ModelRequest> for Expected {
    fn from(request: &ModelRequest) -> Self {
        let prompt = request.prompt.as_ref();
        Self {
            transfer: request.chain.first().settings.transfer,
            max_output_tokens: prompt.max_output_tokens.into(),
            silence: prompt.into(),
        }
    }
}

/// What some bytes of a body brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A sign of life before the answer begins.
    Waiting,
    /// A part of an answer in one piece.
    Partial,
    /// The end of an answer in one piece: what has arrived is a whole JSON object.
    Complete,
    /// No whole event of a stream that has begun.
    Nothing,
    /// Events of a stream, and how far the last of them got.
    Events(Progress),
}

/// An answer as far as its body has arrived.
pub(super) struct Decoder<R> {
    parser: R,
    expected: Expected,
    /// What the content type says, if there is one.
    label: Option<Transfer>,
    form: Form,
    bytes: usize,
    has_begun: bool,
    is_stopped: bool,
    /// Whether the answer has marks of half characters, which [`finished::join_halves`] joins.
    has_halves: bool,
}

/// What a body turned out to be.
enum Form {
    /// Only blanks so far, or a part of a byte order mark.
    Unknown(Vec<u8>),
    Stream(EventParser),
    Whole(Whole),
}

impl<R: ResponseParser> Decoder<R> {
    pub(super) fn new(expected: Expected) -> Self {
        let form = Form::Unknown(Vec::new());
        let parser = R::default();
        Self {
            parser,
            expected,
            label: None,
            form,
            bytes: 0,
            has_begun: false,
            is_stopped: false,
            has_halves: false,
        }
    }

    /// Takes note of the content type, which only decides where the first bytes do not.
    pub(super) fn label(&mut self, content_type: &str) {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is_stream = essence.eq_ignore_ascii_case("text/event-stream");
        self.label = Some(if is_stream {
            Transfer::Stream
        } else {
            Transfer::Whole
        });
    }

    /// Takes in the next bytes. Must not be called after [`Progress::Done`] or an error.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<Step, Failure> {
        match self.read(chunk) {
            Err(_) if self.is_stopped => Ok(Step::Events(Progress::Done)),
            step => step,
        }
    }

    /// Ends the body. `end` is the failure that ended the connection, or `Ok` if the body ended by
    /// itself. Returns that failure, unless the answer arrived before it.
    pub(super) fn end(&mut self, end: Result<(), Failure>) -> Result<(), Failure> {
        // A stream that ends before it begins is a stream that was cut.
        let is_stream = self.is_labelled_stream();
        let empty = if is_stream {
            ModelErrorKind::Unavailable
        } else {
            ModelErrorKind::BadAnswer
        };
        match &mut self.form {
            Form::Unknown(_) => end.and(Err(Failure::new(empty, Unreadable::Empty))),
            Form::Whole(body) => {
                let body = std::mem::take(body).into_bytes();
                computed(body.len(), || self.read_whole(&body))
                    .or_else(|failure| end.and(Err(failure)))
            }
            Form::Stream(events) => {
                if let Some(event) = events.finish() {
                    self.read_last(&event)?;
                }
                if self.is_stopped {
                    Ok(())
                } else {
                    end.and_then(|()| self.check_is_stream())
                }
            }
        }
    }

    /// The tokens used, as far as they are known.
    pub(super) fn usage(&self) -> Usage {
        self.parser.usage(self.expected.max_output_tokens)
    }

    /// The answer, if the body has ended well.
    pub(super) fn finish(self) -> Result<Answer, Failure> {
        computed(self.bytes, || {
            let mut answer = self.parser.finish()?;
            if self.has_halves {
                finished::join_halves(&mut answer);
            }
            Ok(finished::settled(answer, self.expected.silence)?)
        })
    }

    fn is_labelled_stream(&self) -> bool {
        self.label.unwrap_or(self.expected.transfer) == Transfer::Stream
    }

    fn read(&mut self, chunk: &[u8]) -> Result<Step, Failure> {
        self.bytes += chunk.len();
        let limit_bytes = match self.form {
            Form::Stream(_) => MAX_STREAM_BYTES,
            Form::Unknown(_) | Form::Whole(_) => MAX_ANSWER_BYTES,
        };
        if self.bytes > limit_bytes {
            return Err(BodyTooLarge { limit_bytes }.into());
        }
        match &mut self.form {
            Form::Stream(_) => self.read_events(chunk),
            Form::Whole(body) => {
                body.extend(chunk);
                Ok(whole(body))
            }
            Form::Unknown(held) if held.is_empty() => self.begin(chunk),
            Form::Unknown(held) => {
                let held = [std::mem::take(held).as_slice(), chunk].concat();
                self.begin(&held)
            }
        }
    }

    /// Takes in the first bytes, and finds out what the body is.
    fn begin(&mut self, start: &[u8]) -> Result<Step, Failure> {
        let start = start.trim_ascii_start();
        let start = start
            .strip_prefix(BYTE_ORDER_MARK)
            .unwrap_or(start)
            .trim_ascii_start();
        match start {
            _ if BYTE_ORDER_MARK.starts_with(start) => self.form = Form::Unknown(start.to_vec()),
            [b'{' | b'[' | b'<', ..] => self.form = Form::Whole(begun(start)),
            // The start of `data`, `event`, `id`, `retry` or a comment.
            [b'd' | b'e' | b'i' | b'r' | b':', ..] => self.form = Form::Stream(event_parser()),
            _ if self.is_labelled_stream() => self.form = Form::Stream(event_parser()),
            _ => self.form = Form::Whole(begun(start)),
        }
        match &self.form {
            Form::Unknown(_) => Ok(Step::Waiting),
            Form::Whole(body) => Ok(whole(body)),
            Form::Stream(_) => self.read_events(start),
        }
    }

    fn read_events(&mut self, chunk: &[u8]) -> Result<Step, Failure> {
        let Self {
            form: Form::Stream(events),
            parser,
            has_begun,
            is_stopped,
            has_halves,
            ..
        } = self
        else {
            return Ok(Step::Nothing);
        };
        let mut step = if *has_begun {
            Step::Nothing
        } else {
            Step::Waiting
        };
        for event in events.feed(chunk) {
            let event = event?;
            if event.data.trim_ascii().is_empty() {
                continue;
            }
            let progress = match read_event(parser, &event, has_halves) {
                Ok(progress) => progress,
                Err(Fault::Malformed(_)) if KEEP_ALIVES.contains(&event.name.as_str()) => continue,
                Err(Fault::Malformed(error)) => {
                    return Err(Failure::new(
                        ModelErrorKind::BadAnswer,
                        Unreadable::event(&error),
                    ));
                }
                Err(fault) => return Err(fault.into()),
            };
            *has_begun = true;
            // Some servers name a reason to stop in every chunk. If more content follows, the model
            // has not stopped.
            *is_stopped = progress != Progress::More;
            step = Step::Events(progress);
            if progress == Progress::Done {
                break;
            }
        }
        Ok(step)
    }

    /// Takes in the last event, which has no blank line after it. If it can't be read, it was cut.
    fn read_last(&mut self, event: &Event) -> Result<(), Failure> {
        match read_event(&mut self.parser, event, &mut self.has_halves) {
            Ok(progress) => {
                self.has_begun = true;
                self.is_stopped |= progress != Progress::More;
                Ok(())
            }
            Err(_) if self.is_stopped => Ok(()),
            Err(Fault::Malformed(_) | Fault::Inconsistent(_) | Fault::Truncated) => Ok(()),
            Err(fault @ (Fault::ProviderError(..) | Fault::Aborted)) => Err(fault.into()),
        }
    }

    fn read_whole(&mut self, body: &[u8]) -> Result<(), Failure> {
        let body = String::from_utf8_lossy(body);
        let mut read = self.parser.whole(&body);
        if let (Err(Fault::Malformed(_)), Some(marked)) = (&read, halves::marked(&body)) {
            self.has_halves = true;
            read = self.parser.whole(&marked);
        }
        match read {
            Ok(()) => Ok(()),
            Err(Fault::Malformed(error)) => Err(Failure::new(
                ModelErrorKind::BadAnswer,
                Unreadable::body(&body, &error),
            )),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Fails if the body only looked like a stream: some other text starts like one.
    fn check_is_stream(&self) -> Result<(), Failure> {
        if self.has_begun || self.is_labelled_stream() {
            return Ok(());
        }
        Err(Failure::new(ModelErrorKind::BadAnswer, Unreadable::Foreign))
    }
}

/// How far an answer in one piece is.
fn whole(body: &Whole) -> Step {
    if body.is_complete() {
        Step::Complete
    } else {
        Step::Partial
    }
}

fn begun(start: &[u8]) -> Whole {
    let mut body = Whole::default();
    body.extend(start);
    body
}

const fn event_parser() -> EventParser {
    EventParser::new(MAX_ANSWER_BYTES)
}

/// Takes in an event. Half characters in it are [marked](halves::marked).
fn read_event(
    parser: &mut impl ResponseParser,
    event: &Event,
    has_halves: &mut bool,
) -> Result<Progress, Fault> {
    computed(event.data.len(), || read_marking(parser, event, has_halves))
}

fn read_marking(
    parser: &mut impl ResponseParser,
    event: &Event,
    has_halves: &mut bool,
) -> Result<Progress, Fault> {
    match parser.event(event) {
        Err(Fault::Malformed(error)) => match halves::marked(&event.data) {
            Some(data) => {
                *has_halves = true;
                parser.event(&Event {
                    name: event.name.clone(),
                    data,
                })
            }
            None => Err(Fault::Malformed(error)),
        },
        read => read,
    }
}
