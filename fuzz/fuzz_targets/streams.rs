//! Whatever a provider streams and however it is cut: the same answer or the same error, and no
//! panic.
//!
//! The bytes of the input are the stream, or they choose a recorded exchange and what goes wrong
//! with it.

#![no_main]

use std::sync::LazyLock;

use fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use shared::domain::{ModelRef, Provider};
use shared::llm::decoding::{decode, decode_whole};
use shared::llm::mutation::{Choices, Recorded, recorded};

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(recorded);

fuzz_target!(|input: (u8, [u8; 8], &[u8])| {
    let (choice, sizes, bytes) = input;
    match RECORDED.get(usize::from(choice)) {
        Some(exchange) => {
            let mutated = exchange.mutated(&mut Choices::new(bytes));
            check(exchange.provider, &sizes, &mutated.bytes);
        }
        None => {
            let providers = [
                Provider::Anthropic,
                Provider::OpenAi,
                Provider::OpenAiCompatible,
            ];
            check(providers[usize::from(choice) % 3], &sizes, bytes);
        }
    }
});

fn check(provider: Provider, sizes: &[u8; 8], stream: &[u8]) {
    let model = ModelRef::new(provider, "m").unwrap();
    let whole = decode(&model, [stream]);
    let in_pieces = decode(&model, pieces(stream, sizes));
    match (whole, in_pieces) {
        (Ok(whole), Ok(in_pieces)) => {
            assert_eq!(whole.usage, in_pieces.usage);
            assert_eq!(whole.stop_reason, in_pieces.stop_reason);
            // Calls without an id get a new one each time, so only their number is compared.
            assert_eq!(whole.content.len(), in_pieces.content.len());
        }
        (Err(whole), Err(in_pieces)) => {
            assert_eq!(whole.kind, in_pieces.kind);
            assert_eq!(whole.spend, in_pieces.spend);
        }
        (whole, in_pieces) => panic!(
            "{} whole, but {} in pieces",
            whole.is_ok(),
            in_pieces.is_ok()
        ),
    }
    drop(decode_whole(&model, stream));
}
