//! Mutations of what is around the events of a stream, and of single bytes.

use super::frame::touch_of;
use super::{Body, Choices, Frame, Mutated, Touch};
use crate::domain::Provider;

/// Changes what is around the events, or around a whole body.
pub(super) fn mutate_framing(
    provider: Provider,
    body: &Body,
    choices: &mut Choices<'_>,
) -> Mutated {
    let Body::Stream(frames) = body else {
        let (bytes, what) = match choices.below(4) {
            0 => (
                [b"\xEF\xBB\xBF", body.bytes().as_slice()].concat(),
                "byte order mark",
            ),
            1 => (
                [b" \r\n", body.bytes().as_slice(), b"\n "].concat(),
                "blanks around",
            ),
            2 => (
                [body.bytes().as_slice(), b"garbage"].concat(),
                "garbage behind",
            ),
            _ => (Vec::new(), "nothing left"),
        };
        return Mutated {
            bytes,
            what: what.to_owned(),
            touch: Touch::Nothing,
        };
    };
    let place = choices.below(frames.len() + 1);
    let mut nameless = frames.clone();
    let mut touch = Touch::Nothing;
    let added: &[u8] = match choices.below(8) {
        0 => b": keep-alive\n\n",
        1 => b"data: \n\n",
        2 => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        3 => b"event: ping\ndata\n\n",
        4 => b"id: 7\nretry: 10\n\n",
        // It can't be read: an error, or too late to matter.
        5 => b"data: {\"gar\n\n",
        6 => {
            nameless
                .iter_mut()
                .filter(|frame| frame.data.get("type").is_some())
                .for_each(|frame| frame.name = None);
            b""
        }
        _ => {
            let rest = frames.get(place..).unwrap_or_default();
            touch = rest
                .iter()
                .map(|frame| touch_of(provider, frame))
                .max()
                .unwrap_or(Touch::Nothing);
            nameless.truncate(place);
            b": cut\n\n"
        }
    };
    let (before, after) = nameless.split_at(place.min(nameless.len()));
    let bytes = |frames: &[Frame]| frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>();
    let what = format!("event {place}: {} before it", added.escape_ascii());
    let mut bytes = [bytes(before), added.to_vec(), bytes(after)].concat();
    if choices.below(4) == 0 {
        bytes.truncate(bytes.trim_ascii_end().len());
    }
    Mutated { bytes, what, touch }
}

/// Drops, doubles, changes or inserts one byte, or cuts the body.
pub(super) fn mutate_bytes(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Mutated {
    let place = choices.below(bytes.len());
    let byte = u8::try_from(choices.below(256)).unwrap_or_default();
    let what = match choices.below(5) {
        0 if !bytes.is_empty() => {
            bytes.remove(place);
            "drop"
        }
        1 => {
            bytes.insert(place, bytes.get(place).copied().unwrap_or(byte));
            "double"
        }
        2 => {
            bytes.insert(place, byte);
            "insert"
        }
        3 => {
            bytes.truncate(place);
            "cut"
        }
        _ => {
            if let Some(changed) = bytes.get_mut(place) {
                *changed = byte;
            }
            "change"
        }
    };
    Mutated {
        bytes,
        what: format!("byte {place}: {what}"),
        touch: Touch::Content,
    }
}
