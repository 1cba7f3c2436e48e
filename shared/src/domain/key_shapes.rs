//! The shapes of well-known keys, so that a key that somebody writes into an agent is refused.
//!
//! A text of an agent goes to every model of its chain and is read by everybody who may read agents.
//! The shapes are those that the issuers document or that secret scanners look for
//! (<https://docs.github.com/en/code-security/secret-scanning>).

use std::collections::BTreeSet;

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

const PRIVATE_KEY: [&str; 2] = ["-----BEGIN", "PRIVATE KEY-----"];

/// Checks that no key of a well-known shape is in the text at this field of an agent.
pub fn check_no_key(field: &str, text: &str) -> Result<(), Invalid> {
    let Some(issuer) = key_in(text) else {
        return Ok(());
    };
    let reason = format!(
        "must not have a key in it, and this looks like a key of {issuer}: every model and everybody who may read agents \
         would get it. Have the operator store it as a credential, and name the credential in http_request"
    );
    Err(Invalid::new(field, reason))
}

/// Whose key the text has in it, if it has one of a well-known shape.
fn key_in(text: &str) -> Option<&'static str> {
    if let [Some(begin), Some(end)] = PRIVATE_KEY.map(|mark| text.find(mark))
        && begin < end
    {
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
/// characters, and words with dashes have small letters and no digit.
fn is_random(text: &str) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let has_small = text.bytes().any(|byte| byte.is_ascii_lowercase());
    let seen: BTreeSet<u8> = text.bytes().collect();
    (has_digit || !has_small) && seen.len() >= 8
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
        let pem = format!("x -----BEGIN RSA {}\nMIIE", "PRIVATE KEY-----");
        assert_eq!(key_in(&pem), Some("a TLS or SSH server"));
    }

    #[test]
    fn the_error_names_the_field_and_the_issuer_and_not_the_key() {
        let key = key("ghp_", 36);
        let refused = check_no_key("/instructions", &format!("Use {key}.")).unwrap_err();
        assert_eq!(refused.field, "/instructions");
        assert!(refused.reason.contains("GitHub") && !refused.reason.contains(&key));
        assert_eq!(check_no_key("/instructions", "Be brief."), Ok(()));
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
        ] {
            assert_eq!(key_in(text), None, "{text}");
        }
        let within = format!("x{}", key("AKIA", 16));
        assert_eq!(key_in(&within), None);
    }
}
