//! The shapes of well-known keys, so that a key that somebody writes into an agent is refused.
//!
//! A text of an agent goes to every model of its chain and is read by everybody who may read agents.
//! The shapes are those that the issuers document or that secret scanners look for
//! (<https://docs.github.com/en/code-security/secret-scanning>).

use std::collections::BTreeSet;

use serde_json::Value;

use super::invalid::Invalid;

/// A key's shape: what it begins with, the fewest characters that follow, and whose it is.
struct Shape {
    prefix: &'static str,
    least: usize,
    issuer: &'static str,
}

const fn shape(prefix: &'static str, least: usize, issuer: &'static str) -> Shape {
    Shape {
        prefix,
        least,
        issuer,
    }
}

const SHAPES: [Shape; 24] = [
    shape("sk-ant-", 20, "Anthropic"),
    shape("sk-proj-", 20, "OpenAI"),
    shape("sk-", 32, "OpenAI"),
    shape("ghp_", 30, "GitHub"),
    shape("gho_", 30, "GitHub"),
    shape("ghu_", 30, "GitHub"),
    shape("ghs_", 30, "GitHub"),
    shape("ghr_", 30, "GitHub"),
    shape("github_pat_", 30, "GitHub"),
    shape("glpat-", 16, "GitLab"),
    shape("AKIA", 16, "AWS"),
    shape("ASIA", 16, "AWS"),
    shape("AIza", 30, "Google"),
    shape("ya29.", 20, "Google"),
    shape("xoxb-", 16, "Slack"),
    shape("xoxp-", 16, "Slack"),
    shape("xoxa-", 16, "Slack"),
    shape("xapp-", 16, "Slack"),
    shape("sk_live_", 16, "Stripe"),
    shape("rk_live_", 16, "Stripe"),
    shape("SG.", 40, "SendGrid"),
    shape("npm_", 30, "npm"),
    shape("hf_", 30, "Hugging Face"),
    shape("shpat_", 30, "Shopify"),
];

/// What stands before the base64 of a private key (RFC 7468).
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// The fewest characters that a key has in a row without a dash, an underscore or a dot: names of
/// things have shorter words.
const MIN_RUN: usize = 12;

/// Checks that no key of a well-known shape is in the text at this field of an agent.
pub fn check_no_key(field: &str, text: &str) -> Result<(), Invalid> {
    let Some(issuer) = key_in(text) else {
        return Ok(());
    };
    let reason = format!(
        "looks like a key of {issuer}, which all models and readers of the agent would get: have it stored as a credential, \
         and name that in http_request"
    );
    Err(Invalid::new(field, reason))
}

/// The same for all texts in a JSON schema.
pub fn check_no_key_within(field: &str, schema: &Value) -> Result<(), Invalid> {
    match schema {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check_no_key(field, text),
        Value::Array(entries) => entries
            .iter()
            .try_for_each(|entry| check_no_key_within(field, entry)),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            check_no_key(field, name)?;
            check_no_key_within(field, member)
        }),
    }
}

/// Whose key the text has in it, if it has one of a well-known shape.
fn key_in(text: &str) -> Option<&'static str> {
    let of_private_key = text.split(PRIVATE_KEY).skip(1).any(begins_with_base64);
    if of_private_key {
        return Some("a TLS or SSH server");
    }
    let of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !of_key(c)).find_map(issuer)
}

/// The issuer of the key that this word is.
fn issuer(word: &str) -> Option<&'static str> {
    let found = SHAPES.iter().find(|shape| {
        let rest = word.strip_prefix(shape.prefix);
        rest.is_some_and(|rest| rest.len() >= shape.least && is_random(rest))
    });
    found.map(|shape| shape.issuer)
}

/// Whether the text could be drawn at random. A placeholder such as `xxxxxxxx` has few different
/// characters, and words have small letters and no digit.
fn is_random(text: &str) -> bool {
    let mut runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.any(|run| {
        let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
        let has_small = run.bytes().any(|byte| byte.is_ascii_lowercase());
        let seen: BTreeSet<u8> = run.bytes().collect();
        run.len() >= MIN_RUN && (has_digit || !has_small) && seen.len() >= 8
    }) && !text.ends_with("EXAMPLE")
}

/// Whether the base64 of a key follows, perhaps after line breaks, written as such or escaped.
fn begins_with_base64(text: &str) -> bool {
    let text =
        text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '\\' | 'n' | 'r'));
    let of_key = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    text.chars().take_while(of_key).count() >= 40
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joined here, so that a scanner of this file finds no key.
    fn key(prefix: &str, length: usize) -> String {
        let random = "9aB3dE5fG7hJ1kL2mN4pQ6rS8tU0vW".chars().cycle();
        format!("{prefix}{}", random.take(length).collect::<String>())
    }

    #[test]
    fn keys_of_well_known_shapes_are_found_wherever_they_stand() {
        for Shape {
            prefix,
            least,
            issuer,
        } in &SHAPES
        {
            let key = key(prefix, *least);
            for text in [
                key.clone(),
                format!("Use \"{key}\", please."),
                format!("Authorization: Bearer {key}\n"),
                format!("https://example.com/?key={key}&x=1"),
            ] {
                assert_eq!(key_in(&text), Some(*issuer), "{text}");
            }
        }
        let pem = format!(
            "x -----BEGIN RSA {PRIVATE_KEY}\n{}",
            "MIIEowIBAAKCAQEA".repeat(4)
        );
        assert_eq!(key_in(&pem), Some("a TLS or SSH server"));
    }

    #[test]
    fn the_error_names_the_field_and_the_issuer_and_not_the_key() {
        let key = key("ghp_", 36);
        let refused = check_no_key("/instructions", &format!("Use {key}.")).unwrap_err();
        assert_eq!(refused.field, "/instructions");
        assert!(refused.reason.contains("GitHub") && !refused.reason.contains(&key));
        assert_eq!(check_no_key("/instructions", "Be brief."), Ok(()));
        let schema =
            serde_json::json!({ "properties": { "a": { "enum": [1, format!("\n{key}")] } } });
        assert_eq!(check_no_key_within("/s", &schema).unwrap_err().field, "/s");
        assert_eq!(
            check_no_key_within("/s", &serde_json::json!({ key: {} }))
                .unwrap_err()
                .field,
            "/s"
        );
    }

    #[test]
    fn texts_about_keys_are_no_keys() {
        for text in [
            "",
            "Keys begin with sk- or ghp_; never ask for one.",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-your-api-key-goes-here-and-nowhere-else-please",
            "sk-1234",
            "AKIA",
            "task-force-2027-with-many-members-and-aims",
            "Send the -----BEGIN CERTIFICATE----- part only.",
            "Never repeat -----BEGIN RSA PRIVATE KEY----- blocks.",
            "hf_internal_testing_tiny_random_llama_2_7b",
            "sk-learn-version-1.4.2-random-forest-classifier",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert_eq!(key_in(text), None, "{text}");
        }
        let within = format!("x{}", key("AKIA", 16));
        assert_eq!(key_in(&within), None);
    }
}
