//! Moments as clients see them: RFC 3339 in UTC.

use shared::domain::Timestamp;
use time::OffsetDateTime;

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
}
