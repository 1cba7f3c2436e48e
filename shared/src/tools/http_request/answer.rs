//! Reading an answer: text only, and only as much of it as the agent allows.

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, Url};
use serde_json::json;

use super::failure::Failure;
use crate::domain::HttpRules;
use crate::ports::ToolOutput;

const MAX_CONTENT_TYPE_CHARS: usize = 100;

/// Reads the answer. What follows after the allowed bytes is never read; the connection is closed.
pub(super) async fn read(mut response: Response, rules: &HttpRules, url: &Url) -> Result<ToolOutput, Failure> {
    let status = response.status().as_u16();
    let content_type = content_type(response.headers());
    let (mut body, mut is_cut) = (Vec::new(), false);
    // An answer to HEAD has headers of a body that doesn't come.
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error, url))? {
        check_readable(status, response.headers(), content_type.as_deref())?;
        let room = usize::try_from(rules.max_response_bytes()).unwrap_or(usize::MAX) - body.len();
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            is_cut = true;
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    // A character may have been cut in two.
    let text = if is_cut { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
    let output = json!({ "status": status, "content_type": content_type, "body": text, "truncated": is_cut });
    Ok(ToolOutput { text: output.to_string(), is_error: status >= 400 })
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_CONTENT_TYPE_CHARS).collect())
}

fn check_readable(status: u16, headers: &HeaderMap, content_type: Option<&str>) -> Result<(), Failure> {
    if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(Failure::Compressed { status });
    }
    match content_type {
        Some(content_type) if !is_text(content_type) => {
            Err(Failure::ContentType { status, content_type: content_type.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
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
