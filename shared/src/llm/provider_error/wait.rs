//! The wait that a provider names: in a header, in a field of its error, or in a sentence.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::domain::{Timestamp, whole_millis};
use crate::llm::token::text;

/// The longest wait that a provider can ask for. No task lives longer, so that a longer one makes
/// no difference.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// The words before a wait in a sentence, in lower case.
const BEFORE: [&str; 8] = [
    "try again in ",
    "try again after ",
    "retry in ",
    "retry after ",
    "retrying in ",
    "please wait ",
    "available in ",
    "resets in ",
];

/// Words that may stand between those and the wait.
const BETWEEN: [&str; 7] = [
    "about ",
    "approximately ",
    "another ",
    "at ",
    "least ",
    "for ",
    "and ",
];

/// The wait that the provider asks for: `retry-after-ms`, else `retry-after` in seconds or as a
/// date.
pub(in crate::llm) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name| text(headers, name)?.trim().parse::<f64>().ok();
    let date = || {
        let wait = date(headers, "retry-after")?.since(date(headers, "date").unwrap_or(now));
        (!wait.is_zero()).then_some(wait.min(MAX_WAIT))
    };
    let millis = number("retry-after-ms").and_then(from_millis);
    millis
        .or_else(|| number("retry-after").and_then(from_seconds))
        .or_else(date)
}

pub(super) fn from_millis(millis: f64) -> Option<Duration> {
    from_seconds(millis / 1_000.0)
}

pub(super) fn from_seconds(seconds: f64) -> Option<Duration> {
    let is_wait = seconds.is_finite() && seconds > 0.0;
    is_wait.then(|| Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())))
}

/// The wait in Google's form of a duration: `"26s"`, or its seconds and nanoseconds.
pub(super) fn in_delay(delay: &Value) -> Option<Duration> {
    match delay {
        Value::String(text) => duration(text),
        Value::Object(fields) => {
            let number = |name: &str| {
                fields
                    .get(name)
                    .and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
            };
            from_seconds(number("seconds").unwrap_or(0.0) + number("nanos").unwrap_or(0.0) / 1e9)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// The wait that a text names, such as "Please try again in 1m2.5s".
pub(super) fn in_words(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    BEFORE.iter().find_map(|before| {
        text.match_indices(before)
            .find_map(|(at, _)| duration(text.get(at + before.len()..)?))
    })
}

/// The duration that a text in lower case begins with: numbers with units, such as `1h30m`, `350ms`
/// or `20 seconds`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        while let Some(after) = BETWEEN.iter().find_map(|word| rest.strip_prefix(word)) {
            rest = after;
        }
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(rest.len());
        let Some((number, unit)) = rest.split_at_checked(digits) else {
            break;
        };
        let unit = unit.trim_start();
        let letters = unit
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(unit.len());
        let Some((unit, after)) = unit.split_at_checked(letters) else {
            break;
        };
        let (Ok(number), Some(unit)) = (number.parse::<f64>(), seconds_of(unit)) else {
            break;
        };
        seconds += number * unit;
        rest = after;
    }
    from_seconds(seconds)
}

/// How many seconds a unit has.
fn seconds_of(unit: &str) -> Option<f64> {
    match unit {
        "ms" | "millisecond" | "milliseconds" => Some(0.001),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600.0),
        "d" | "day" | "days" => Some(86_400.0),
        _ => None,
    }
}

/// The moment in a header.
fn date(headers: &HeaderMap, name: &str) -> Option<Timestamp> {
    let moment = httpdate::parse_http_date(text(headers, name)?.trim()).ok()?;
    let since_epoch = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(whole_millis(since_epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::START;

    #[track_caller]
    fn check_wait(headers: &[(&'static str, &'static str)], expected_millis: Option<u64>) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        assert_eq!(
            retry_after(&headers, START),
            expected_millis.map(Duration::from_millis),
            "{headers:?}"
        );
    }

    #[test]
    fn the_wait_is_read_in_milliseconds_or_seconds() {
        check_wait(&[], None);
        check_wait(&[("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after", " 0.5 ")], Some(500));
        check_wait(&[("retry-after-ms", "250")], Some(250));
        check_wait(
            &[("retry-after-ms", "250"), ("retry-after", "7")],
            Some(250),
        );
        check_wait(
            &[("retry-after-ms", "soon"), ("retry-after", "7")],
            Some(7_000),
        );
        check_wait(
            &[("retry-after-ms", "0"), ("retry-after", "7")],
            Some(7_000),
        );
    }

    #[test]
    fn a_date_is_read_against_the_answers_own_clock_or_else_ours() {
        const IN_NINE_SECONDS: &str = "Wed, 18 Nov 2026 11:06:49 GMT";
        check_wait(&[("retry-after", IN_NINE_SECONDS)], Some(9_000));
        check_wait(
            &[("retry-after", "Wednesday, 18-Nov-26 11:06:49 GMT")],
            Some(9_000),
        );
        check_wait(&[("retry-after", "Wed Nov 18 11:06:49 2026")], Some(9_000));
        check_wait(
            &[
                ("retry-after", IN_NINE_SECONDS),
                ("date", "Wed, 18 Nov 2026 11:06:47 GMT"),
            ],
            Some(2_000),
        );
        check_wait(
            &[("retry-after", IN_NINE_SECONDS), ("date", "yesterday")],
            Some(9_000),
        );
        check_wait(
            &[
                ("retry-after", IN_NINE_SECONDS),
                ("date", "Wed, 18 Nov 2026 11:06:50 GMT"),
            ],
            None,
        );
        check_wait(&[("retry-after", "Wed, 18 Nov 2026 11:06:39 GMT")], None);
    }

    #[test]
    fn no_wait_is_longer_than_any_task() {
        const DAY_MILLIS: u64 = 86_400_000;
        for value in [
            "86401",
            "1e300",
            "1795000000",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            check_wait(&[("retry-after", value)], Some(DAY_MILLIS));
        }
        check_wait(&[("retry-after-ms", "1e12")], Some(DAY_MILLIS));
        check_wait(&[("retry-after", "86399")], Some(DAY_MILLIS - 1_000));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in [
            "",
            "0",
            "-1",
            "soon",
            "nan",
            "inf",
            "Wed, 21 Oct 2026 07:28:00 GMT",
        ] {
            check_wait(&[("retry-after", value)], None);
            check_wait(&[("retry-after-ms", value)], None);
        }
    }

    #[test]
    fn a_wait_in_words_is_read_in_every_unit() {
        let waits = [
            (
                "Rate limit reached. Please try again in 3.89s. Visit https://x.example",
                3_890,
            ),
            ("Please try again in 1m2.5s.", 62_500),
            ("try again in 6m0s", 360_000),
            ("Try again in 1h30m", 5_400_000),
            ("please retry in 26.5s", 26_500),
            ("Please retry after 20 seconds.", 20_000),
            ("try again in 350ms", 350),
            ("Retry after 1 minute and 30 seconds", 90_000),
            ("please wait about 2 min, 5 requests are left", 120_000),
            ("Try again in at least 1 second", 1_000),
            ("try again in 9999 days", 86_400_000),
        ];
        for (text, millis) in waits {
            assert_eq!(
                in_words(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        let none = [
            "",
            "try again in",
            "try again in a moment",
            "try again in 0s",
            "try again in 5",
            "retry after 3 parsecs",
            "wait 5s",
            "try again in 1e9s",
            "try again in .s",
            "try again in ‑5s",
        ];
        for text in none {
            assert_eq!(in_words(text), None, "{text}");
        }
    }

    #[test]
    fn a_wait_is_read_in_the_fields_of_an_error() {
        use crate::llm::failure::ErrorBody;
        let fields = [
            (r#"{"error":{"retry_after":7}}"#, 7_000),
            (r#"{"error":{"retry_after_ms":"250"}}"#, 250),
            (
                r#"{"error":{"metadata":{"retry_after_seconds":1.5}}}"#,
                1_500,
            ),
            (r#"{"error":{"details":[{"retryDelay":"26.5s"}]}}"#, 26_500),
            (
                r#"{"error":{"details":[{"retryDelay":{"seconds":2,"nanos":500000000}}]}}"#,
                2_500,
            ),
            (r#"{"retryAfter":1e300}"#, 86_400_000),
        ];
        for (body, millis) in fields {
            let wait = ErrorBody::from_body(body.as_bytes()).wait();
            assert_eq!(wait, Some(Duration::from_millis(millis)), "{body}");
        }
        for body in [
            r#"{"retry_after":0}"#,
            r#"{"retry_after":-1}"#,
            r#"{"retry_after":"soon"}"#,
            r#"{"retryDelay":[]}"#,
        ] {
            assert_eq!(ErrorBody::from_body(body.as_bytes()).wait(), None, "{body}");
        }
    }
}
