//! Moments as clients see them: RFC 3339 in UTC.

use std::time::Duration;

use shared::domain::{Invalid, Period, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The moment as `2026-11-22T11:05:00.120Z`: always with milliseconds, so that the texts sort as
/// the moments.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    let nanos = i128::from(moment.as_millis()) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second, millisecond) = at.time().as_hms_milli();
    format!(
        "{}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z",
        at.date()
    )
}

/// The duration in seconds, the unit of `Retry-After`, rounded up.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The date of the day, counted from the epoch, such as `2026-11-22`.
pub(crate) fn date(day: u64) -> String {
    Period::Day(day).to_string()
}

/// The day of this date, counted from the epoch; `None` if it is before 1970 or not such a date.
pub(crate) fn parse_date(text: &str) -> Option<u64> {
    let is_date = text.len() == "2026-11-22".len();
    let moment = parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|_| is_date);
    moment.map(Timestamp::day)
}

/// The moment that a request has at `field`.
pub(crate) fn moment(field: &str, text: &str) -> Result<Timestamp, Invalid> {
    parse_rfc3339(text).ok_or_else(|| {
        // In the query of a URL, a plus sign means a space.
        let is_unescaped = parse_rfc3339(&text.replace(' ', "+")).is_some();
        let form = if is_unescaped {
            "must be a time such as 2027-01-31T12:00:00Z: in a URL, write + as %2B"
        } else {
            "must be a time such as 2027-01-31T12:00:00Z"
        };
        Invalid::new(field, form)
    })
}

/// The moment in this text; `None` if it is before 1970 or not in RFC 3339.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = moment.unix_timestamp_nanos() / 1_000_000;
    millis.try_into().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_the_same_width() {
        assert_eq!(
            rfc3339(Timestamp::from_millis(1_795_000_000_000)),
            "2026-11-18T11:06:40.000Z"
        );
        assert_eq!(
            rfc3339(Timestamp::from_millis(1_795_000_000_120)),
            "2026-11-18T11:06:40.120Z"
        );
        assert_eq!(
            rfc3339(Timestamp::from_millis(0)),
            "1970-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn a_day_is_shown_by_its_date() {
        assert_eq!(date(20_775), "2026-11-18");
        assert_eq!(date(0), "1970-01-01");
        for (text, day) in [
            ("2026-11-18", Some(20_775)),
            ("1970-01-01", Some(0)),
            ("1969-12-31", None),
            ("2026-02-30", None),
            ("2026-11-18T00:00:00Z", None),
            ("18.11.2026", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), day, "{text}");
        }
    }

    #[test]
    fn a_moment_is_read_in_any_offset() {
        for (text, millis) in [
            ("2026-11-18T11:06:40Z", Some(1_795_000_000_000)),
            ("2026-11-18T12:06:40.5+01:00", Some(1_795_000_000_500)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-11-18", None),
            ("2026-02-30T00:00:00Z", None),
            ("tomorrow", None),
        ] {
            assert_eq!(
                parse_rfc3339(text).map(Timestamp::as_millis),
                millis,
                "{text}"
            );
        }
    }
}
