//! Moments and spans of time as people read them: RFC 3339 in UTC, `3 min 12 s`.
//!
//! A pure room has no calendar library, and records need exactly one conversion: days since 1970 to
//! year, month and day of the proleptic Gregorian calendar. It counts from 1 March of year 0, so that
//! the leap day is the last of its year, in eras of 400 years (the method is Howard Hinnant's,
//! "chrono-compatible low-level date algorithms"). No leap seconds, no time zones, no years before 1970.

use std::time::Duration;

use evenkeel_model::clock::Wall;

/// Days from 1 March of year 0 to 1 January 1970.
const MARCH_0000_TO_1970: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;
/// Milliseconds in a day.
const DAY_MS: u64 = 86_400_000;

/// A date and time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// Year, 1970 and later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999.
    pub millisecond: u64,
}

/// The date and time of `at` in UTC.
pub const fn civil(at: Wall) -> Civil {
    let (days, ms) = (at.0 / DAY_MS + MARCH_0000_TO_1970, at.0 % DAY_MS);
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    // 1,460: last day of a 4-year block; 36,524: of a century; 146,096: of the era.
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let january_or_later = months_from_march >= 10;
    Civil {
        year: era * 400 + year_of_era + january_or_later as u64,
        month: if january_or_later {
            months_from_march - 9
        } else {
            months_from_march + 3
        },
        day: day_of_year - (153 * months_from_march + 2) / 5 + 1,
        hour: ms / 3_600_000,
        minute: ms / 60_000 % 60,
        second: ms / 1_000 % 60,
        millisecond: ms % 1_000,
    }
}

/// `at` as RFC 3339 in UTC with milliseconds: `2026-11-22T16:12:05.123Z`.
pub fn rfc3339(at: Wall) -> String {
    let c = civil(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second, c.millisecond
    )
}

/// `at` for a heading: `2026-11-22 16:12:05 UTC`.
pub fn heading(at: Wall) -> String {
    let c = civil(at);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// A span in at most two units: `850 ms`, `4.2 s`, `3 min 12 s`, `1 h 5 min`, `2 d 3 h`.
pub fn span(d: Duration) -> String {
    let ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let seconds = ms / 1_000;
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0 => format!("{ms} ms"),
        1..60 if ms % 1_000 < 100 => format!("{seconds} s"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_model::clock::Wall;
    use proptest::prelude::*;

    use super::{civil, heading, rfc3339, span};

    #[test]
    fn known_moments_read_as_they_should() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_000_000_000_000, "2001-09-09T01:46:40.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Wall(ms)), text);
        }
        assert_eq!(heading(Wall(1_000_000_000_999)), "2001-09-09 01:46:40 UTC");
    }

    #[test]
    fn every_day_of_eight_hundred_years_follows_the_one_before() {
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..292_194u64 {
            let c = civil(Wall(n * 86_400_000));
            assert_eq!((c.year, c.month, c.day), (year, month, day));
            let last = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn spans_name_at_most_two_units() {
        for (ms, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (5_000, "5 s"),
            (4_250, "4.2 s"),
            (60_000, "1 min"),
            (192_000, "3 min 12 s"),
            (3_900_000, "1 h 5 min"),
            (183_600_000, "2 d 3 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    proptest! {
        #[test]
        fn later_moments_sort_later_as_text(a in 0u64..253_402_300_799_999, b in 0u64..253_402_300_799_999) {
            prop_assert_eq!(rfc3339(Wall(a)).cmp(&rfc3339(Wall(b))), a.cmp(&b));
        }
    }
}
