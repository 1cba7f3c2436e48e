//! How long a provider wants to be left alone.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::HeaderMap;

use crate::domain::{Timestamp, whole_millis};
use crate::llm::failure::text;

/// The longest wait that a provider can ask for. No task lives longer, so that a longer one makes no difference.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// The wait that the provider asks for: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub(in crate::llm) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let is_wait = |number: &f64| number.is_finite() && *number > 0.0;
    let number = |name| text(headers, name)?.trim().parse::<f64>().ok().filter(is_wait);
    let seconds = number("retry-after-ms").map(|millis| millis / 1_000.0).or_else(|| number("retry-after"));
    let wait = match seconds {
        Some(seconds) => Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())),
        None => date(headers, "retry-after")?.since(date(headers, "date").unwrap_or(now)),
    };
    (!wait.is_zero()).then_some(wait.min(MAX_WAIT))
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
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(retry_after(&headers, START), expected_millis.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn the_wait_is_read_in_milliseconds_or_seconds() {
        check_wait(&[], None);
        check_wait(&[("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after", " 0.5 ")], Some(500));
        check_wait(&[("retry-after-ms", "250")], Some(250));
        check_wait(&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250));
        check_wait(&[("retry-after-ms", "soon"), ("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after-ms", "0"), ("retry-after", "7")], Some(7_000));
    }

    #[test]
    fn a_date_is_read_against_the_answers_own_clock_or_else_ours() {
        const IN_NINE_SECONDS: &str = "Wed, 18 Nov 2026 11:06:49 GMT";
        check_wait(&[("retry-after", IN_NINE_SECONDS)], Some(9_000));
        check_wait(&[("retry-after", "Wednesday, 18-Nov-26 11:06:49 GMT")], Some(9_000));
        check_wait(&[("retry-after", "Wed Nov 18 11:06:49 2026")], Some(9_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "Wed, 18 Nov 2026 11:06:47 GMT")], Some(2_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "yesterday")], Some(9_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "Wed, 18 Nov 2026 11:06:50 GMT")], None);
        check_wait(&[("retry-after", "Wed, 18 Nov 2026 11:06:39 GMT")], None);
    }

    #[test]
    fn no_wait_is_longer_than_any_task() {
        const DAY_MILLIS: u64 = 86_400_000;
        for value in ["86401", "1e300", "1795000000", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            check_wait(&[("retry-after", value)], Some(DAY_MILLIS));
        }
        check_wait(&[("retry-after-ms", "1e12")], Some(DAY_MILLIS));
        check_wait(&[("retry-after", "86399")], Some(DAY_MILLIS - 1_000));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in ["", "0", "-1", "soon", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            check_wait(&[("retry-after", value)], None);
            check_wait(&[("retry-after-ms", value)], None);
        }
    }
}
