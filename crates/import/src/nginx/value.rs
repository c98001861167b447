//! Times, counts and switches as nginx writes them.

use std::time::Duration;

/// Units in the order in which they may follow each other, in milliseconds.
const UNITS: &[(&str, u64)] = &[
    ("y", 365 * 24 * 3_600_000),
    ("M", 30 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A time such as `90`, `1m30s`, `1h 30m`, `500ms`; a number without a unit is seconds. `None`: nginx refuses it.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut rest = text.trim_matches(' ');
    if rest.is_empty() {
        return None;
    }
    let mut total_ms = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(..letters)?;
        rest = rest.get(letters..)?;
        let unit = if unit.is_empty() { "s" } else { unit };
        let index = UNITS.iter().position(|(name, _)| *name == unit)?;
        if index < next_unit {
            return None;
        }
        next_unit = index + 1;
        let (_, unit_ms) = UNITS.get(index)?;
        total_ms = total_ms.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = rest.trim_start_matches(' ');
    }
    // nginx counts in a signed number.
    i64::try_from(total_ms).ok()?;
    Some(Duration::from_millis(total_ms))
}

/// A time in whole seconds, as `fail_timeout` takes it.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    time(text).filter(|_| !text.ends_with("ms"))
}

/// A count of decimal digits.
pub(super) fn count(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: Option<u64> = is_digits.then(|| text.parse().ok()).flatten();
    value.filter(|value| i64::try_from(*value).is_ok())
}

/// `on` or `off`, in any case.
pub(super) fn switch(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("on") {
        Some(true)
    } else if text.eq_ignore_ascii_case("off") {
        Some(false)
    } else {
        None
    }
}

/// A port, 1 to 65,535.
pub(super) fn port(text: &str) -> Option<u16> {
    count(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, port, seconds, time};

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        assert_eq!(time("90"), Some(Duration::from_secs(90)));
        assert_eq!(time("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(time("1h 30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(time("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(time("1M"), Some(Duration::from_secs(2_592_000)));
        for wrong in [
            "",
            "x",
            "1x",
            "s",
            "30s1m",
            "1.5s",
            "-1",
            "99999999999999999999",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        assert_eq!(seconds("500ms"), None);
    }

    #[test]
    fn counts_and_ports_have_bounds() {
        assert_eq!(count("12"), Some(12));
        assert_eq!(count("+1"), None);
        assert_eq!(port("0"), None);
        assert_eq!(port("65536"), None);
        assert_eq!(port("65535"), Some(65_535));
    }
}
