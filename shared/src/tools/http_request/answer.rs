//! Reading an answer: text only, and only as much of it as the agent and a conversation take.

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, Url};
use serde_json::json;

use super::allowed_host;
use super::failure::Failure;
use crate::domain::{BoundedText, HttpRules};
use crate::ports::ToolOutput;
use crate::runtime::computed;
use crate::tools::credentials::Scrub;

const MAX_CONTENT_TYPE_CHARS: usize = 100;

/// The bytes of the output without the body: a status, a content type whose characters take at most
/// four bytes each, and names.
const FRAME_BYTES: usize = 1_024;

/// The most bytes of a body by these rules, in a result of so many bytes.
pub(super) fn room(rules: &HttpRules, max_result_bytes: usize) -> usize {
    let most = usize::try_from(rules.max_response_bytes()).unwrap_or(usize::MAX);
    most.min(max_result_bytes.saturating_sub(FRAME_BYTES))
}

/// Reads at most so many bytes of the answer, without what `scrub` removes. What follows after the allowed bytes is never
/// read, but for what shows that a credential was cut in two; the connection is closed.
///
/// The limit holds for the bytes that are read and, without control characters, for the bytes of
/// the body in the output.
pub(super) async fn read(
    mut response: Response,
    most: usize,
    (rules, url): (&HttpRules, &Url),
    scrub: &Scrub,
) -> Result<ToolOutput, Failure> {
    let status = response.status().as_u16();
    let content_type = content_type(response.headers(), scrub);
    let read = most + scrub.longest();
    let (mut body, mut is_cut) = (Vec::new(), false);
    // An answer to HEAD has headers of a body that doesn't come.
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::of(&error, url))?
    {
        check_readable(status, response.headers(), content_type.as_deref())?;
        let room = read - body.len();
        body.extend(chunk.iter().take(room));
        is_cut = is_cut || chunk.len() > room || body.len() > most;
        if chunk.len() > room {
            break;
        }
    }
    let is_error = status >= 400;
    if is_error {
        let host = allowed_host(url, rules);
        tracing::info!(reason = "status", status, host, "tool call failed");
    }
    let text = computed(body.len(), || {
        let body = scrub.clean(body, most);
        let mut text = BoundedText::new(most);
        text.push_bytes(if is_cut {
            without_half_a_character(&body)
        } else {
            &body
        });
        drop(body);
        let truncated = is_cut || text.is_cut();
        let output = json!({ "status": status, "content_type": content_type, "body": text.into_string(), "truncated": truncated });
        output.to_string()
    });
    Ok(ToolOutput {
        is_error,
        source: url.host_str().map(str::to_owned),
        ..ToolOutput::new(text)
    })
}

/// The bytes but for a character at their end that was cut in two.
fn without_half_a_character(bytes: &[u8]) -> &[u8] {
    let half = bytes
        .utf8_chunks()
        .last()
        .map_or(0, |chunk| chunk.invalid().len());
    bytes.get(..bytes.len() - half).unwrap_or(bytes)
}

fn content_type(headers: &HeaderMap, scrub: &Scrub) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    Some(
        String::from_utf8_lossy(&scrub.clean(value.into(), value.len()))
            .chars()
            .take(MAX_CONTENT_TYPE_CHARS)
            .collect(),
    )
}

fn check_readable(
    status: u16,
    headers: &HeaderMap,
    content_type: Option<&str>,
) -> Result<(), Failure> {
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| encoding != "identity")
    {
        return Err(Failure::Compressed { status });
    }
    match content_type {
        Some(content_type) if !is_text(content_type) => Err(Failure::ContentType {
            status,
            content_type: named(content_type).to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The type without its parameters, for a text that is not marked as the host's. The rest, and what is
/// no type, could be sentences.
fn named(content_type: &str) -> &str {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let of_type = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte);
    if essence.bytes().all(of_type) {
        essence
    } else {
        "of another type"
    }
}

fn is_text(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "" | "application/json"
                | "application/xml"
                | "application/x-www-form-urlencoded"
                | "application/x-ndjson"
                | "application/javascript"
        )
}
