//! Translates the error messages of serde and `serde_json`, which use Rust's terms, into the terms
//! of JSON. The libraries give only a sentence, so its form is parsed here. The forms are those of
//! `serde::de::Error`; the tests fail if they change.

use std::borrow::Cow;

/// The syntax errors: how the message begins, and what a client reads after "it".
const SYNTAX: [(&str, &str); 16] = [
    ("EOF while parsing", "ends early"),
    (
        "expected value",
        "lacks a value, or has a value that is not JSON",
    ),
    (
        "expected ident",
        "has a word other than true, false and null",
    ),
    ("expected `:`", "lacks a colon after a name"),
    ("expected `,` or", "lacks a comma or a closing bracket"),
    ("expected `\"`", "lacks a quotation mark"),
    ("key must be a string", "has a name without quotation marks"),
    ("trailing comma", "has a comma before a closing bracket"),
    ("trailing characters", "has text after the end of its value"),
    (
        "control character",
        "has a control character in a text, such as a line break; write it as an escape, such as \\n",
    ),
    (
        "lone leading surrogate",
        "has half of a surrogate pair in a text",
    ),
    (
        "unexpected end of hex escape",
        "has half of a surrogate pair in a text",
    ),
    (
        "invalid unicode code point",
        "has an escape that is no character in a text",
    ),
    ("invalid escape", "has an unknown escape in a text"),
    ("number out of range", "has a number that is too large"),
    (
        "recursion limit exceeded",
        "has too many lists and objects inside each other",
    ),
];

/// What a field of an unsigned type takes. Its limit, which is lower than the type's, is a rule of
/// its own.
const NOT_NEGATIVE: &str = "a whole number, 0 or more";

/// The types in serde's messages, and the words for them.
const EXPECTED: [(&str, &str); 20] = [
    ("u8", NOT_NEGATIVE),
    ("u16", NOT_NEGATIVE),
    ("u32", NOT_NEGATIVE),
    ("u64", NOT_NEGATIVE),
    ("usize", NOT_NEGATIVE),
    ("i8", "a whole number from -128 to 127"),
    ("i16", "a whole number from -32768 to 32767"),
    ("i32", "a whole number from -2147483648 to 2147483647"),
    (
        "i64",
        "a whole number from -9223372036854775808 to 9223372036854775807",
    ),
    (
        "isize",
        "a whole number from -9223372036854775808 to 9223372036854775807",
    ),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a string", "a text"),
    ("a borrowed string", "a text"),
    ("a character", "a text of one character"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("an object", "an object"),
    ("unit", "null"),
];

/// What is wrong with a text that is not JSON, to be read after "the body"; with its place.
pub(super) fn of_syntax(message: &str) -> String {
    let (reason, place) = split_place(message);
    let known = SYNTAX
        .iter()
        .find(|(beginning, _)| reason.starts_with(beginning));
    format!(
        "{}{place}",
        known.map_or("has a part that can't be read", |(_, words)| words)
    )
}

/// What is wrong with a value, and the field of an object that it is about, if it is about one. Then
/// the text quotes nothing of the request.
pub(super) fn of_data(message: &str) -> (Option<&str>, String) {
    let (reason, _) = split_place(message);
    if let Some(rest) = reason
        .strip_prefix("invalid type: ")
        .or_else(|| reason.strip_prefix("invalid value: "))
    {
        return (None, of_value(rest));
    }
    if let Some(field) = quoted(reason, "missing field ") {
        return (Some(field), "is required".to_owned());
    }
    if let Some(field) = quoted(reason, "duplicate field ") {
        return (Some(field), "must occur only once".to_owned());
    }
    if let Some(rest) = reason.strip_prefix("unknown field ") {
        let (field, known) = named_and_known(rest);
        let known = if known.is_empty() {
            "nothing".to_owned()
        } else {
            known
        };
        return (Some(field), format!("unknown field; known fields: {known}"));
    }
    if let Some(rest) = reason.strip_prefix("unknown variant ") {
        return (None, format!("must be one of {}", named_and_known(rest).1));
    }
    if let Some((length, form)) = reason
        .strip_prefix("invalid length ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return (
            None,
            format!("must be {}, has {length}", words_for_type(form)),
        );
    }
    (None, reason.to_owned())
}

/// The words for `<found>, expected <form>`. `<found>` may quote the client's value, so only its
/// kind is used. `<form>` comes from our own types.
fn of_value(sentence: &str) -> String {
    let Some((found, form)) = sentence.rsplit_once(", expected ") else {
        return "has another type".to_owned();
    };
    let words = words_for_type(form);
    if words == NOT_NEGATIVE
        && let Some(number) = quoted(found, "integer ").filter(|number| !number.starts_with('-'))
    {
        return format!("must be a lower number than {number}");
    }
    let must = format!("must be {words}");
    match words_for_found(found) {
        Some(found) => format!("{must}, not {found}"),
        None => must,
    }
}

fn words_for_type(form: &str) -> Cow<'_, str> {
    if let Some((_, words)) = EXPECTED.iter().find(|(name, _)| *name == form) {
        return Cow::Borrowed(words);
    }
    if let Some(length) = form
        .strip_prefix("a tuple of size ")
        .or_else(|| form.strip_prefix("an array of length "))
    {
        return Cow::Owned(format!("a list of {length} entries"));
    }
    Cow::Borrowed(if form.starts_with("struct ") {
        "an object"
    } else {
        form
    })
}

/// The words for a value that was found: a number or boolean itself, of any other value the kind.
fn words_for_found(found: &str) -> Option<&str> {
    let kinds = [
        ("string ", "a text"),
        ("sequence", "a list"),
        ("map", "an object"),
        ("null", "null"),
        ("unit", "null"),
    ];
    if let Some((_, kind)) = kinds
        .iter()
        .find(|(beginning, _)| found.starts_with(beginning))
    {
        return Some(kind);
    }
    ["integer ", "floating point ", "boolean "]
        .iter()
        .find_map(|kind| quoted(found, kind))
}

/// The text between backticks after `beginning`, if the message ends there.
fn quoted<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    text.strip_prefix(beginning)?
        .strip_prefix('`')?
        .strip_suffix('`')
}

/// The name in `` `name`, expected `a` or `b` ``, and the names after it.
fn named_and_known(sentence: &str) -> (&str, String) {
    let ends = ["`, expected ", "`, there are no "];
    let end = ends.iter().find_map(|end| sentence.rsplit_once(end));
    let (name, known) = end.unwrap_or((sentence, ""));
    let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    (name.strip_prefix('`').unwrap_or(name), names.join(", "))
}

/// The sentence without ` at line 1 column 2`, and this place.
fn split_place(message: &str) -> (&str, String) {
    match message.rsplit_once(" at line ") {
        Some((reason, place)) => (reason, format!(", at line {place}")),
        None => (message, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::from_str;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Sample {
        a: u32,
        b: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        On,
        Off,
    }

    #[track_caller]
    fn check<T: DeserializeOwned + Debug>(json: &str, field: Option<&str>, words: &str) {
        let message = from_str::<T>(json).unwrap_err().to_string();
        assert_eq!(
            of_data(&message),
            (field, words.to_owned()),
            "{json}: {message}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_said_in_the_words_of_json() {
        check::<u32>(
            r#""x""#,
            None,
            "must be a whole number, 0 or more, not a text",
        );
        check::<u32>(
            r#""x, expected y""#,
            None,
            "must be a whole number, 0 or more, not a text",
        );
        check::<u32>(
            r#""x at line 7""#,
            None,
            "must be a whole number, 0 or more, not a text",
        );
        check::<u32>("-1", None, "must be a whole number, 0 or more, not -1");
        check::<u32>("4294967296", None, "must be a lower number than 4294967296");
        check::<u32>("1.5", None, "must be a whole number, 0 or more, not 1.5");
        check::<u64>("1e30", None, "must be a whole number, 0 or more, not 1e+30");
        check::<i8>(
            "128",
            None,
            "must be a whole number from -128 to 127, not 128",
        );
        check::<f64>("null", None, "must be a number, not null");
        check::<String>("7", None, "must be a text, not 7");
        check::<String>("true", None, "must be a text, not true");
        check::<String>("[]", None, "must be a text, not a list");
        check::<char>(
            r#""xy""#,
            None,
            "must be a text of one character, not a text",
        );
        check::<bool>("{}", None, "must be true or false, not an object");
        check::<Vec<u8>>("{}", None, "must be a list, not an object");
        check::<Vec<u8>>("[256]", None, "must be a lower number than 256");
        check::<Sample>("7", None, "must be an object, not 7");
        check::<()>("7", None, "must be null, not 7");
        check::<(u8, u8)>("7", None, "must be a list of 2 entries, not 7");
        check::<(u8, u8)>("[7]", None, "must be a list of 2 entries, has 1");
        check::<[u8; 2]>("[7]", None, "must be a list of 2 entries, has 1");
    }

    #[test]
    fn fields_and_names_are_said_with_those_that_there_are() {
        check::<Sample>("{}", Some("a"), "is required");
        check::<Sample>(r#"{"a":1,"a":1}"#, Some("a"), "must occur only once");
        check::<Sample>(r#"{"c":1}"#, Some("c"), "unknown field; known fields: a, b");
        check::<Sample>(
            r#"{"`, expected c":1}"#,
            Some("`, expected c"),
            "unknown field; known fields: a, b",
        );
        check::<Nothing>(
            r#"{"c":1}"#,
            Some("c"),
            "unknown field; known fields: nothing",
        );
        check::<Kind>(r#""of""#, None, "must be one of on, off");
        check::<Vec<Kind>>(r#"["on","off","of"]"#, None, "must be one of on, off");
        assert_eq!(
            of_data("of our own at line 1 column 2"),
            (None, "of our own".to_owned())
        );
    }

    /// Texts that are not JSON, and what is said of them.
    const BROKEN: [(&str, &str); 16] = [
        ("{", "ends early, at line 1 column 1"),
        (r#"{"a":"b"#, "ends early, at line 1 column 7"),
        ("[1,", "ends early, at line 1 column 3"),
        (r#"{"a""#, "ends early, at line 1 column 4"),
        (
            r#"{"a":\n}"#,
            "lacks a value, or has a value that is not JSON, at line 1 column 6",
        ),
        (
            "{'a':1}",
            "has a name without quotation marks, at line 1 column 2",
        ),
        (
            "{a:1}",
            "has a name without quotation marks, at line 1 column 2",
        ),
        (
            r#"{"a":nul}"#,
            "has a word other than true, false and null, at line 1 column 9",
        ),
        (
            r#"{"a" 1}"#,
            "lacks a colon after a name, at line 1 column 6",
        ),
        (
            r#"{"a":1 "b":1}"#,
            "lacks a comma or a closing bracket, at line 1 column 8",
        ),
        (
            "[1 2]",
            "lacks a comma or a closing bracket, at line 1 column 4",
        ),
        (
            "[1,]",
            "has a comma before a closing bracket, at line 1 column 4",
        ),
        (
            "{} {}",
            "has text after the end of its value, at line 1 column 4",
        ),
        (
            "[1e999]",
            "has a number that is too large, at line 1 column 6",
        ),
        (
            r#"["\x"]"#,
            "has an unknown escape in a text, at line 1 column 4",
        ),
        (
            r#"["\ud800"]"#,
            "has half of a surrogate pair in a text, at line 1 column 9",
        ),
    ];

    #[test]
    fn a_text_that_is_not_json_is_said_with_its_place() {
        for (json, words) in BROKEN {
            let message = from_str::<serde_json::Value>(json).unwrap_err().to_string();
            assert_eq!(of_syntax(&message), words, "{json}: {message}");
        }
        let message = from_str::<serde_json::Value>("[\"\n\"]")
            .unwrap_err()
            .to_string();
        assert!(
            of_syntax(&message).starts_with("has a control character in a text"),
            "{message}"
        );
        let message = from_str::<serde_json::Value>(&"[".repeat(200))
            .unwrap_err()
            .to_string();
        assert!(
            of_syntax(&message).starts_with("has too many lists"),
            "{message}"
        );
    }
}
