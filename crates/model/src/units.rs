//! Values with their unit: `250ms`, `16KiB`, `20%`. The unit stands in the value, never in the key.

use std::fmt;
use std::time::Duration;

/// A fraction, kept in parts per million so that it compares and hashes exactly. `20%` is 200,000 ppm.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Ratio {
    ppm: u32,
}

/// A number of bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct ByteSize(pub u64);

/// Why a text is not a value of the expected unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error(
        "`{0}` is not a duration; write a number with a unit, such as `250ms`, `10s`, `5m`, `1h`, `1d`"
    )]
    Duration(String),
    /// Not a ratio.
    #[error("`{0}` is not a percentage; write a number with `%`, such as `20%` or `0.5%`")]
    Ratio(String),
    /// Not a size.
    #[error(
        "`{0}` is not a size; write a number with a unit, such as `512B`, `16KiB`, `1MiB`, `2GiB`"
    )]
    ByteSize(String),
}

impl Ratio {
    /// `ppm` parts per million.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self { ppm }
    }

    /// `percent` hundredths.
    pub const fn from_percent(percent: u32) -> Self {
        Self {
            ppm: percent.saturating_mul(10_000),
        }
    }

    /// Parts per million.
    pub const fn ppm(self) -> u32 {
        self.ppm
    }

    /// As a fraction: `20%` is 0.2.
    pub fn as_f64(self) -> f64 {
        f64::from(self.ppm) / 1e6
    }

    /// Reads `20%` or `0.5%`, up to 400,000 %, four decimals.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Ratio(text.to_owned());
        let number = text.trim().strip_suffix('%').ok_or_else(error)?.trim_end();
        let (ppm, rest) = decimal(number, 4).ok_or_else(error)?;
        if !rest.is_empty() {
            return Err(error());
        }
        u32::try_from(ppm)
            .map(|ppm| Self { ppm })
            .map_err(|_out_of_range| error())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.ppm / 10_000, self.ppm % 10_000);
        let text = if part == 0 {
            format!("{whole}%")
        } else {
            format!("{whole}.{}%", format!("{part:04}").trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

impl ByteSize {
    /// Reads `512B`, `16KiB`, `1MiB`, `2GiB`; a bare `0` means none.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::ByteSize(text.to_owned());
        let (number, unit) = split_unit(text.trim()).ok_or_else(error)?;
        let factor: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "" if number == "0" => 1,
            _ => return Err(error()),
        };
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor));
        bytes.map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size))
            .map_or_else(
                || format!("{}B", self.0),
                |(size, unit)| format!("{}{unit}", self.0 / size),
            );
        f.pad(&text)
    }
}

/// Reads `250ms`, `1.5s`, `10m`, `2h`, `1d`; a bare `0` is zero.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::Duration(text.to_owned());
    let (number, unit) = split_unit(text.trim()).ok_or_else(error)?;
    let unit_us: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "" if number == "0" => 1,
        _ => return Err(error()),
    };
    let (thousandths, rest) = decimal(number, 3).ok_or_else(error)?;
    if !rest.is_empty() {
        return Err(error());
    }
    let us = thousandths.checked_mul(unit_us).ok_or_else(error)? / 1_000;
    Ok(Duration::from_micros(us))
}

/// Writes a duration the way [`parse_duration`] reads it, in its largest whole unit.
pub fn format_duration(d: Duration) -> String {
    let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    if us == 0 {
        return "0s".to_owned();
    }
    let units = [
        (86_400_000_000u64, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
    ];
    units
        .into_iter()
        .find(|(size, _)| us.is_multiple_of(*size))
        .map_or_else(
            || format!("{us}us"),
            |(size, unit)| format!("{}{unit}", us / size),
        )
}

/// Splits `16KiB` into `16` and `KiB`; `None` when there is no number in front.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    (!number.is_empty()).then(|| (number, unit.trim_start()))
}

/// Reads a decimal with at most `places` places as an integer of that scale, and returns what is left.
fn decimal(text: &str, places: u32) -> Option<(u64, &str)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (text.contains('.') && !digits(part)) || part.len() > places as usize {
        return None;
    }
    let scale = 10u64.pow(places);
    let part_value = if part.is_empty() {
        0
    } else {
        part.parse::<u64>()
            .ok()?
            .checked_mul(10u64.pow(places - part.len() as u32))?
    };
    let value = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(part_value)?;
    Some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, Ratio, format_duration, parse_duration};
    use std::time::Duration;

    #[test]
    fn values_read_back_as_written() {
        for text in ["20%", "0.5%", "100%", "0.0001%", "0%"] {
            assert_eq!(Ratio::parse(text).unwrap().to_string(), text);
        }
        for text in ["512B", "16KiB", "3MiB", "2GiB"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        for text in ["250ms", "1500us", "10s", "5m", "3h", "2d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(
            parse_duration("1.5s").unwrap(),
            Duration::from_millis(1_500)
        );
    }

    #[test]
    fn a_value_without_its_unit_is_refused() {
        for text in ["20", "%", "x%", "-1%", "1.00001%", "", "99999999999%"] {
            assert!(Ratio::parse(text).is_err(), "{text}");
        }
        for text in [
            "10",
            "10 parsecs",
            "",
            "ms",
            "-1s",
            "1.s",
            "1e3s",
            "99999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["16", "16KB", "1.5KiB", "", "99999999999GiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
