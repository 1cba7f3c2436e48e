//! Which paths of a host requests may go to.

use serde::{Deserialize, Serialize};

use super::invalid::Invalid;

/// The most prefixes in one rule.
pub const MAX_PATHS: usize = 32;

const MAX_BYTES: usize = 512;

/// A path and everything below it: `/repos/acme` stands for itself and for `/repos/acme/x`, and not
/// for `/repos/acme2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Checks the prefix; its place is the caller's to name. It begins with a slash. It has the
    /// characters that a path may have (RFC 3986, 3.3) but for semicolons and percent-encoded ones, and no
    /// segment of dots only, which URLs do not keep.
    pub fn new(prefix: String) -> Result<Self, Invalid> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte);
        let is_dots =
            |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte == b'.');
        if prefix.starts_with('/')
            && prefix.len() <= MAX_BYTES
            && prefix.bytes().all(allowed)
            && !prefix.split('/').any(is_dots)
            && !prefix.contains("//")
        {
            return Ok(Self(prefix));
        }
        Err(Invalid::new(
            "",
            format!(
                "must be the beginning of a path such as /v1/orders, of at most {MAX_BYTES} bytes"
            ),
        ))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this path of a parsed URL.
    ///
    /// A path that a server may read as another one is never meant.
    pub fn covers(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&self.0) else {
            return false;
        };
        let is_below = self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/');
        is_below && is_unambiguous(path)
    }
}

/// Whether all servers read the same path.
///
/// It has no empty segment, and no parameter of a segment (`;`), which some servers cut off before they
/// resolve `..`. It encodes nothing that means something in a path, nor a character in more bytes
/// than UTF-8 needs.
fn is_unambiguous(path: &str) -> bool {
    const MEANING: [&str; 8] = ["00", "25", "2e", "2f", "3b", "5c", "c0", "c1"];
    let mut codes = path.split('%').skip(1).map(|rest| rest.get(..2));
    !path.contains("//")
        && !path.contains(';')
        && codes.all(|code| {
            code.is_some_and(|code| {
                u8::from_str_radix(code, 16).is_ok()
                    && !MEANING.contains(&code.to_ascii_lowercase().as_str())
            })
        })
}

impl TryFrom<String> for PathPrefix {
    type Error = Invalid;

    fn try_from(prefix: String) -> Result<Self, Self::Error> {
        Self::new(prefix)
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> Self {
        prefix.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PathPrefix {
        PathPrefix::new(text.to_owned()).unwrap()
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_path() {
        for text in ["/", "/v1", "/repos/acme/", "/a.b/c~d", "/x:y@z"] {
            assert_eq!(prefix(text).as_str(), text);
        }
        let long = format!("/{}", "x".repeat(512));
        for text in [
            "", "v1", "/a/../b", "/..", "/./a", "/a//b", "/a%2fb", "/a?b", "/a#b", "/a b", "/é",
            "/a\\b", "/...", "/a;b", &long,
        ] {
            let refused = PathPrefix::new(text.to_owned()).unwrap_err();
            assert_eq!(refused.field, "", "{text}");
        }
    }

    #[test]
    fn a_prefix_stands_for_whole_segments() {
        for (text, path) in [
            ("/", "/"),
            ("/", "/a"),
            ("/v1", "/v1"),
            ("/v1", "/v1/"),
            ("/v1", "/v1/a%20b"),
            ("/v1/", "/v1/a"),
        ] {
            assert!(prefix(text).covers(path), "{text} {path}");
        }
        for (text, path) in [
            ("/v1", "/"),
            ("/v1", "/v10"),
            ("/v1", "/V1"),
            ("/v1/", "/v1"),
            ("/v1", "/v1/..%2fv2"),
            ("/v1", "/v1/%2E%2E/v2"),
            ("/v1", "/v1/..%5Cv2"),
            ("/v1", "/v1/%252e%252e/v2"),
            ("/v1", "/v1//v2"),
            ("/v1", "/v1/a%00"),
            ("/v1", "/v1/..;/v2"),
            ("/v1", "/v1/a;x=1"),
            ("/v1", "/v1/..%3b/v2"),
            ("/v1", "/v1/%c0%ae%c0%ae/v2"),
            ("/v1", "/v1/%u002e"),
            ("/v1", "/v1/a%"),
        ] {
            assert!(!prefix(text).covers(path), "{text} {path}");
        }
    }
}
