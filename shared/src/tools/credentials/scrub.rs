//! Removes credentials from answers: some services say again what they were sent.

use std::cmp::Reverse;

use serde_json::Value;

/// What stands in the place of a credential.
pub(in crate::tools) const MARK: &str = "[credential]";

/// The forms in which credentials may be said again.
#[derive(derive_more::Debug, Clone, Default)]
#[debug("Scrub({} forms)", forms.len())]
pub(in crate::tools) struct Scrub {
    /// The longest first.
    forms: Vec<Vec<u8>>,
}

impl Scrub {
    /// Removes these texts: as they are, in base64 (RFC 4648, both alphabets), percent-encoded, and
    /// as writers of JSON and HTML escape them.
    pub(in crate::tools) fn of<const N: usize>(secrets: [&str; N]) -> Self {
        let mut scrub = Self::default();
        scrub.extend(secrets.iter().flat_map(|secret| forms(secret)));
        scrub
    }

    /// Removes also what `other` removes.
    pub(in crate::tools) fn add(&mut self, other: &Self) {
        self.extend(other.forms.iter().cloned());
    }

    fn extend(&mut self, forms: impl IntoIterator<Item = Vec<u8>>) {
        self.forms.extend(forms);
        self.forms
            .sort_by(|one, other| (Reverse(one.len()), one).cmp(&(Reverse(other.len()), other)));
        self.forms.dedup();
    }

    /// The bytes of the longest form: so many bytes after a cut show what was cut in two.
    pub(in crate::tools) fn longest(&self) -> usize {
        self.forms.first().map_or(0, Vec::len)
    }

    /// The first `most` of the bytes. Each credential that begins there is replaced, also one that
    /// ends after them.
    pub(in crate::tools) fn clean(&self, mut bytes: Vec<u8>, most: usize) -> Vec<u8> {
        if self.forms.is_empty() {
            bytes.truncate(most);
            return bytes;
        }
        let mut begins = [false; 256];
        for first in self.forms.iter().filter_map(|form| form.first()) {
            if let Some(begins) = begins.get_mut(usize::from(*first)) {
                *begins = true;
            }
        }
        let mut clean = Vec::with_capacity(bytes.len().min(most));
        let mut rest = bytes.as_slice();
        while let [first, after @ ..] = rest
            && bytes.len() - rest.len() < most
        {
            let may_begin = begins
                .get(usize::from(*first))
                .is_some_and(|begins| *begins);
            let found = if may_begin {
                self.forms
                    .iter()
                    .find_map(|form| rest.strip_prefix(form.as_slice()))
            } else {
                None
            };
            rest = if let Some(behind) = found {
                clean.extend(MARK.as_bytes());
                behind
            } else {
                clean.push(*first);
                after
            };
        }
        clean
    }

    /// Whether one of the credentials is in the bytes, in letters of any case: a URL's host has no
    /// other.
    pub(in crate::tools) fn is_in(&self, bytes: &[u8]) -> bool {
        let is_here = |form: &Vec<u8>| {
            let mut windows = bytes.windows(form.len());
            windows.any(|window| window.eq_ignore_ascii_case(form))
        };
        self.forms.iter().any(is_here)
    }
}

fn forms(secret: &str) -> Vec<Vec<u8>> {
    let encoded = base64(secret);
    let unpadded = encoded.trim_end_matches('=');
    let percent = percent_encoded(secret);
    let json = Value::from(secret).to_string();
    let json = json
        .strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'));
    let json = json.unwrap_or_default();
    let escaped = ESCAPES.map(|escapes| {
        let escape = |character: char| {
            let found = escapes.iter().find(|(from, _)| *from == character);
            found.map_or_else(|| character.to_string(), |(_, to)| (*to).to_owned())
        };
        secret.chars().map(escape).collect::<String>()
    });
    let forms = [
        secret.to_owned(),
        unpadded.to_owned(),
        unpadded.replace('+', "-").replace('/', "_"),
        lower_escapes(&percent),
        percent,
        json.to_owned(),
    ];
    forms
        .into_iter()
        .chain(escaped)
        .map(String::into_bytes)
        .collect()
}

/// What writers of JSON and HTML escape beyond what JSON asks for: PHP; Gson; Go and Rails; .NET; and
/// the two usual forms of HTML.
const ESCAPES: [&[(char, &str)]; 6] = [
    &[('/', "\\/"), ('"', "\\\""), ('\\', "\\\\")],
    &[
        ('=', "\\u003d"),
        ('&', "\\u0026"),
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('\'', "\\u0027"),
        ('"', "\\\""),
        ('\\', "\\\\"),
    ],
    &[
        ('&', "\\u0026"),
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('"', "\\\""),
        ('\\', "\\\\"),
    ],
    &[
        ('+', "\\u002B"),
        ('&', "\\u0026"),
        ('<', "\\u003C"),
        ('>', "\\u003E"),
        ('\'', "\\u0027"),
        ('"', "\\u0022"),
        ('`', "\\u0060"),
        ('\\', "\\\\"),
    ],
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#39;"),
    ],
    &[
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&#34;"),
        ('\'', "&#x27;"),
        ('/', "&#x2F;"),
    ],
];

/// The text in base64, padded.
pub(super) fn base64(text: &str) -> String {
    aws_smithy_types::base64::encode(text)
}

/// The text with every byte encoded that is not unreserved (RFC 3986, 2.3).
pub(in crate::tools) fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

/// The same with the hexadecimal digits of its escapes in lower case.
fn lower_escapes(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |lower, part| {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        format!("{lower}%{}{rest}", code.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "gh/p+T0ken=&\"x\"";

    fn clean(text: &str) -> String {
        String::from_utf8(Scrub::of([SECRET]).clean(text.into(), text.len())).unwrap()
    }

    #[test]
    fn a_credential_is_removed_in_each_form() {
        for form in [
            SECRET.to_owned(),
            base64(SECRET),
            "Z2gvcCtUMGtlbj0mIngi".to_owned(),
            "gh%2Fp%2BT0ken%3D%26%22x%22".to_owned(),
            "gh%2fp%2bT0ken%3d%26%22x%22".to_owned(),
            "gh/p+T0ken=&\\\"x\\\"".to_owned(),
            "gh\\/p+T0ken=&\\\"x\\\"".to_owned(),
            "gh/p+T0ken\\u003d\\u0026\\\"x\\\"".to_owned(),
            "gh/p+T0ken=\\u0026\\\"x\\\"".to_owned(),
            "gh/p\\u002BT0ken=\\u0026\\u0022x\\u0022".to_owned(),
            "gh/p+T0ken=&amp;&quot;x&quot;".to_owned(),
            "gh&#x2F;p+T0ken=&amp;&#34;x&#34;".to_owned(),
        ] {
            assert_eq!(
                clean(&format!("a {form} b {form}")),
                format!("a {MARK} b {MARK}"),
                "{form}"
            );
        }
        assert_eq!(clean("gh/p+T0ke"), "gh/p+T0ke");
        assert_eq!(Scrub::default().clean("any".into(), 2), b"an");
    }

    #[test]
    fn a_credential_that_a_limit_cuts_in_two_is_removed() {
        let scrub = Scrub::of(["secret-value"]);
        let clean = |most| scrub.clean("12345 secret-value and more".into(), most);
        for most in 7..=18 {
            assert_eq!(clean(most), b"12345 [credential]", "{most}");
        }
        assert_eq!(clean(6), b"12345 ");
        assert_eq!(clean(20), b"12345 [credential] a");
        assert!(scrub.longest() >= 12);
    }

    #[test]
    fn the_longest_form_goes_first() {
        let scrub = Scrub::of(["token-123", "Bearer token-123"]);
        assert_eq!(
            scrub.clean("Bearer token-123!".into(), 99),
            b"[credential]!"
        );
        assert!(scrub.is_in(b"x TOKEN-123") && !scrub.is_in(b"x token-12"));
    }
}
