//! The periods of caps on cost: days and months in UTC.

use std::fmt;

use super::time::Timestamp;

/// A day or a month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// The day that is so many days after January 1, 1970.
    Day(u64),
    /// The month that is so many months after January 1970.
    Month(u64),
}

impl Period {
    /// The day that `now` is in.
    pub const fn day(now: Timestamp) -> Self {
        Self::Day(now.day())
    }

    /// The month that `now` is in.
    pub const fn month(now: Timestamp) -> Self {
        let (year, month, _) = civil(now.day() + DAYS_BEFORE_1970);
        Self::Month((year - 1970) * 12 + month - 1)
    }

    /// When it ends and the next one begins.
    pub const fn end(self) -> Timestamp {
        Timestamp::start_of_day(match self {
            Self::Day(day) => day.saturating_add(1),
            Self::Month(months) => {
                let next = months.saturating_add(1);
                first_day(1970 + next / 12, next % 12 + 1)
            }
        })
    }
}

/// Such as `2026-10-07` and `2026-10`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => {
                let (year, month, day) = civil(day.saturating_add(DAYS_BEFORE_1970));
                write!(f, "{year:04}-{month:02}-{day:02}")
            }
            Self::Month(months) => write!(f, "{:04}-{:02}", 1970 + months / 12, months % 12 + 1),
        }
    }
}

/// Days from March 1 of the year 0 to January 1, 1970.
pub(crate) const DAYS_BEFORE_1970: u64 = 719_468;

/// The year, the month and the day of the month of the day that is so many days after March 1 of
/// the year 0, by the Gregorian calendar. The algorithm is Howard Hinnant's `civil_from_days`
/// ("chrono-Compatible Low-Level Date Algorithms"): years begin in March, so that a leap day is the
/// last of its year, and eras have 400 years.
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_month)
}

/// The first day of a month, as days after the epoch: Howard Hinnant's `days_from_civil`.
const fn first_day(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march_based = (month + 9) % 12;
    let (era, year_of_era) = (year / 400, year % 400);
    let of_year = (153 * march_based + 2) / 5;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_and_month_has_its_name() {
        for (millis, day, month) in [
            (0, "1970-01-01", "1970-01"),
            (951_782_399_999, "2000-02-28", "2000-02"),
            (951_782_400_000, "2000-02-29", "2000-02"),
            (1_709_251_199_999, "2024-02-29", "2024-02"),
            (1_709_251_200_000, "2024-03-01", "2024-03"),
            (1_798_761_599_999, "2026-12-31", "2026-12"),
            (1_798_761_600_000, "2027-01-01", "2027-01"),
            (4_107_542_399_999, "2100-02-28", "2100-02"),
            (4_107_542_400_000, "2100-03-01", "2100-03"),
        ] {
            let now = Timestamp::from_millis(millis);
            assert_eq!(Period::day(now).to_string(), day);
            assert_eq!(Period::month(now).to_string(), month);
        }
    }

    #[test]
    fn a_period_ends_where_the_next_one_begins() {
        for day in 0..150_000 {
            let now = Timestamp::start_of_day(day);
            assert_eq!(Period::day(Period::day(now).end()), Period::Day(day + 1));
            let Period::Month(months) = Period::month(now) else {
                unreachable!("a month is a month");
            };
            let end = Period::Month(months).end();
            assert_eq!(Period::month(end), Period::Month(months + 1));
            let last = Timestamp::start_of_day(end.day() - 1);
            assert_eq!(Period::month(last), Period::Month(months));
        }
    }
}
