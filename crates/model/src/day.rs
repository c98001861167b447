//! A day of the calendar, as a waiver's last one: `2027-01-31`, in UTC.
//!
//! Days since 1970 of the proleptic Gregorian calendar, counted from 1 March of year 0 so that the leap day is the last
//! of its year (Howard Hinnant, "chrono-compatible low-level date algorithms"). Years 1970 to 9999.

use std::fmt;
use std::time::Duration;

use crate::clock::Wall;

/// Days from 1 March of year 0 to 1 January 1970.
const MARCH_0000_TO_1970: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// The years that are taken.
const YEARS: std::ops::RangeInclusive<u64> = 1970..=9999;

/// A day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    year: u64,
    month: u64,
    of_month: u64,
}

impl Day {
    /// The day `year`-`month`-`day`; `None`: the calendar has no such day, or it is out of range.
    pub fn new(year: u64, month: u64, day: u64) -> Option<Self> {
        let is_leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u64::from(is_leap),
            _ => 31,
        };
        let is_real =
            YEARS.contains(&year) && (1..=12).contains(&month) && (1..=last).contains(&day);
        is_real.then_some(Self {
            year,
            month,
            of_month: day,
        })
    }

    /// Reads `2027-01-31`, with all its digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next()?;
            let is_number = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u64>().ok().filter(|_| is_number)
        };
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        Self::new(year, month, day).filter(|_| parts.next().is_none())
    }

    /// The day that `at` lies in.
    pub const fn of(at: Wall) -> Self {
        let days = at.0 / DAY_MS + MARCH_0000_TO_1970;
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        // 1,460: last day of a 4-year block; 36,524: of a century; 146,096: of the era.
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march >= 10 {
            from_march - 9
        } else {
            from_march + 3
        };
        Self {
            year: era * 400 + year_of_era + (month <= 2) as u64,
            month,
            of_month: day_of_year - (153 * from_march + 2) / 5 + 1,
        }
    }

    /// The first moment after the day.
    pub fn end(self) -> Wall {
        let is_early = self.month <= 2;
        let year = self.year - u64::from(is_early);
        let from_march = if is_early {
            self.month + 9
        } else {
            self.month - 3
        };
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * from_march + 2) / 5 + self.of_month - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * ERA_DAYS + day_of_era - MARCH_0000_TO_1970;
        Wall((days + 1) * DAY_MS)
    }

    /// The last day of a span that ends before `end`.
    pub fn before(end: Wall) -> Self {
        Self::of(end.minus(Duration::from_millis(1)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{:04}-{:02}-{:02}",
            self.year, self.month, self.of_month
        ))
    }
}

/// A moment to the second as RFC 3339 has it: `2027-01-31T12:00:00Z`.
pub fn time(at: Wall) -> String {
    let of_day = at.0 % DAY_MS / 1_000;
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}Z", Day::of(at))
}

/// Reads what [`time`] writes.
pub fn read_time(text: &str) -> Option<Wall> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':');
    let mut part = |most: u64| {
        let part = parts.next()?;
        let is_number = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let value = part.parse::<u64>().ok().filter(|_| is_number)?;
        (value < most).then_some(value)
    };
    let (hours, minutes, seconds) = (part(24)?, part(60)?, part(60)?);
    let day = Day::parse(day).filter(|_| parts.next().is_none())?;
    let of_day = (hours * 3_600 + minutes * 60 + seconds) * 1_000;
    Some(Wall(day.end().0 - DAY_MS + of_day))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Day, read_time, time};
    use crate::clock::Wall;

    #[test]
    fn days_end_where_the_calendar_says() {
        for (text, end_s) in [
            ("1970-01-01", 86_400),
            ("2000-02-29", 951_868_800),
            ("2027-01-31", 1_801_440_000),
            ("9999-12-31", 253_402_300_800),
        ] {
            assert_eq!(
                Day::parse(text).map(Day::end),
                Some(Wall(end_s * 1_000)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-04-31",
            "2027-1-31",
            "27-01-31",
            "2027-01-31T10:00:00Z",
            "1969-12-31",
            "10000-01-01",
            "+027-01-31",
            "",
            "2027-01",
            "tomorrow",
        ] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "2027-01-31",
            "2027-01-31T24:00:00Z",
            "2027-01-31T10:60:00Z",
            "2027-01-31T10:00:00",
            "2027-01-31T1:00:00Z",
            "2027-02-31T10:00:00Z",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_reads_back_to_the_second(s in 0u64..253_402_300_800) {
            prop_assert_eq!(read_time(&time(Wall(s * 1_000))), Some(Wall(s * 1_000)));
        }

        #[test]
        fn a_day_is_the_day_before_its_end(ms in 0u64..253_402_300_800_000) {
            let day = Day::of(Wall(ms));
            prop_assert_eq!(Day::before(day.end()), day);
            prop_assert!(day.end().0 > ms && day.end().0 - ms <= 86_400_000);
            prop_assert_eq!(Day::parse(&day.to_string()), Some(day));
        }
    }
}
