//! The tool `current_time`: the time in RFC 3339 and in Unix seconds, and the weekday.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::Timestamp;
use crate::domain::period::{DAYS_BEFORE_1970, civil};
use crate::ports::ToolOutput;

/// From UTC-14 to UTC+14, in minutes: no zone on Earth is farther from UTC.
const OFFSETS: std::ops::RangeInclusive<i32> = -840..=840;

/// The days of the week from 1 January 1970, a Thursday.
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    utc_offset_minutes: i32,
}

/// The result of a call at `now`.
pub(super) fn run(arguments: &Value, now: Timestamp) -> ToolOutput {
    match Arguments::deserialize(arguments) {
        Ok(Arguments {
            utc_offset_minutes: offset,
        }) if OFFSETS.contains(&offset) => output(now, offset),
        Ok(_) | Err(_) => {
            ToolOutput::error("utc_offset_minutes must be a whole number from -840 to 840")
        }
    }
}

fn output(now: Timestamp, offset_minutes: i32) -> ToolOutput {
    let unix_seconds = i64::try_from(now.as_millis() / 1_000).unwrap_or(i64::MAX / 2);
    let local = unix_seconds + i64::from(offset_minutes) * 60;
    let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = civil(DAYS_BEFORE_1970.saturating_add_signed(days));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let rfc3339 = format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}",
        zone(offset_minutes)
    );
    let weekday = usize::try_from(days.rem_euclid(7))
        .ok()
        .and_then(|place| DAYS.get(place))
        .copied();
    ToolOutput::new(
        json!({ "rfc3339": rfc3339, "unix_seconds": unix_seconds, "weekday": weekday }).to_string(),
    )
}

fn zone(offset_minutes: i32) -> String {
    match offset_minutes {
        0 => "Z".to_owned(),
        offset => {
            let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
            format!("{sign}{:02}:{:02}", size / 60, size % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::START;

    #[track_caller]
    fn check(seconds: u64, arguments: &Value, rfc3339: &str, weekday: &str) {
        let output = run(arguments, Timestamp::from_millis(seconds * 1_000 + 999));
        let expected = json!({ "rfc3339": rfc3339, "unix_seconds": seconds, "weekday": weekday });
        assert_eq!(output, ToolOutput::new(expected.to_string()));
    }

    #[test]
    fn a_moment_is_shown_in_utc_or_at_an_offset() {
        let now = START.as_millis() / 1_000;
        check(now, &json!({}), "2026-11-18T11:06:40Z", "Wednesday");
        check(
            now,
            &json!({ "utc_offset_minutes": 330 }),
            "2026-11-18T16:36:40+05:30",
            "Wednesday",
        );
        check(
            now,
            &json!({ "utc_offset_minutes": 780 }),
            "2026-11-19T00:06:40+13:00",
            "Thursday",
        );
        check(
            now,
            &json!({ "utc_offset_minutes": -690 }),
            "2026-11-17T23:36:40-11:30",
            "Tuesday",
        );
        check(
            0,
            &json!({ "utc_offset_minutes": -60 }),
            "1969-12-31T23:00:00-01:00",
            "Wednesday",
        );
        check(951_827_696, &json!({}), "2000-02-29T12:34:56Z", "Tuesday");
        check(4_107_542_399, &json!({}), "2100-02-28T23:59:59Z", "Sunday");
        check(4_107_542_400, &json!({}), "2100-03-01T00:00:00Z", "Monday");
    }

    #[test]
    fn an_offset_that_no_clock_has_is_refused() {
        for offset in [
            json!(841),
            json!(-841),
            json!(1.5),
            json!("60"),
            json!(1e12),
        ] {
            assert!(run(&json!({ "utc_offset_minutes": offset }), START).is_error);
        }
        assert!(run(&json!({ "timezone": "Europe/Berlin" }), START).is_error);
        assert!(!output(Timestamp::from_millis(u64::MAX), 840).is_error);
    }
}
