//! How streams end that are not by the book, in every dialect where it can occur.

use super::deviations::{complete, events, stand_in, stream_of};
use super::stand_in::{Reply, STAND_INS, Then};
use crate::domain::Provider;
use crate::ports::ModelErrorKind;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_answer_whose_stop_reason_is_known_is_taken_however_its_stream_ends() {
    for stand_in in STAND_INS {
        let expected = stand_in.reply(stand_in.streamed()).await.unwrap();
        let complete = complete(&stand_in);
        let closed = format!("{complete}\n\n");
        let malformed = format!("{closed}data: {{\"canary\n\ndata: canary\n\n");
        let replies = [
            ("no end", Reply::stream(&[&closed], Then::End)),
            ("cut", Reply::stream(&[&closed], Then::Close)),
            ("silent", Reply::stream(&[&closed], Then::Hold)),
            (
                "comments",
                Reply::stream(&[closed.as_str(), ": ping\n\n"], Then::Drip)
                    .slowly(Duration::from_millis(20)),
            ),
            ("malformed", Reply::stream(&[&malformed], Then::Close)),
            ("babble", Reply::stream(&[&closed], Then::Babble)),
            ("no blank line", Reply::stream(&[complete], Then::End)),
            (
                "no blank line, cut",
                Reply::stream(&[complete], Then::Close),
            ),
            (
                "no blank line, an end of line",
                Reply::stream(&[format!("{complete}\n")], Then::End),
            ),
        ];
        for (what, reply) in replies {
            let start = Instant::now();
            assert_eq!(
                stand_in.reply(reply).await.unwrap(),
                expected,
                "{what} {:?}",
                stand_in.provider
            );
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{what} {:?}",
                stand_in.provider
            );
        }
    }
}

#[tokio::test]
async fn usage_is_waited_for_after_the_reason_to_stop() {
    let chat = stand_in(Provider::OpenAiCompatible);
    let stop =
        stream_of(&[json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]})]);
    let usage =
        stream_of(&[json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})]);
    let late = Reply::stream(&[stop.as_str(), ": ping\n\n", usage.as_str()], Then::Hold);
    let answer = chat
        .reply(late.slowly(Duration::from_millis(400)))
        .await
        .unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.usage.output_tokens),
        ("x", 2)
    );
    let start = Instant::now();
    assert_eq!(
        chat.reply(Reply::stream(&[stop], Then::Hold))
            .await
            .unwrap()
            .text(),
        "x"
    );
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn text_after_the_reason_to_stop_still_counts() {
    let chat = stand_in(Provider::OpenAiCompatible);
    let chunk =
        |text: &str| json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]});
    assert_eq!(
        events(&chat, &[chunk("a"), chunk("b")])
            .await
            .unwrap()
            .text(),
        "ab"
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_in_its_last_event_is_unavailable() {
    for stand_in in STAND_INS {
        let text = complete(&stand_in);
        let cut = if stand_in.provider == Provider::OpenAi {
            text.len() - 1
        } else {
            text.len() / 2
        };
        for then in [Then::End, Then::Close] {
            let error = stand_in
                .reply(Reply::stream(&[&text.as_bytes()[..cut]], then))
                .await
                .unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Unavailable);
        }
    }
}
