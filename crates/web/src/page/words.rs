//! Numbers and times as a person reads them. What is unknown is a dash, never 0.

use std::time::Duration;

use evenkeel_model::clock::Wall;

/// Stands for what is unknown.
pub(super) const UNKNOWN: &str = "–";

fn known(value: Option<f64>, word: impl Fn(f64) -> String) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| UNKNOWN.to_owned(), word)
}

/// A fraction in percent with one decimal, without the sign: 0.331 is `33.1`.
pub(super) fn percent(fraction: Option<f64>) -> String {
    known(fraction, |f| format!("{:.1}", f * 100.0))
}

/// A fraction in whole percent: 0.41 is `41 %`.
pub(super) fn whole_percent(fraction: Option<f64>) -> String {
    known(fraction, |f| format!("{:.0} %", f * 100.0))
}

/// A small fraction in percent: up to two decimals below 10 %, so that 0.02 % is not 0.
pub(super) fn rate(fraction: Option<f64>) -> String {
    known(fraction, |f| match f * 100.0 {
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p > 0.0 && p < 0.005 => "< 0.01 %".to_owned(),
        p => {
            let digits = format!("{p:.2}");
            format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
        }
    })
}

/// A difference of shares in points with its sign: `+7.7`, `−0.2`, `0.0`.
pub(super) fn points(gap: Option<f64>) -> String {
    known(gap, |gap| {
        let tenths = (gap * 1_000.0).round() / 10.0;
        if tenths > 0.0 {
            format!("+{tenths:.1}")
        } else if tenths < 0.0 {
            format!("−{:.1}", -tenths)
        } else {
            "0.0".to_owned()
        }
    })
}

/// Milliseconds: `0.8 ms`, `12 ms`, `1.24 s`.
pub(super) fn millis(ms: Option<f64>) -> String {
    known(ms, |ms| match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1_000.0),
    })
}

/// Per second: `0.4`, `101`, `12,400`.
pub(super) fn per_second(rps: Option<f64>) -> String {
    known(rps, |rps| {
        if rps < 9.95 {
            format!("{rps:.1}")
        } else {
            count(rps.round() as u64)
        }
    })
}

/// A count with a comma at each thousand.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time in its largest unit: `12 s`, `4 min`, `3 h`, `5 d`.
pub(super) fn span(length: Duration) -> String {
    match length.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 3_600 => format!("{} min", s / 60),
        s if s < 2 * 86_400 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// How long ago: `12 s ago`.
pub(super) fn ago(now: Wall, at: Wall) -> String {
    format!("{} ago", span(now.since(at)))
}

/// How long until: `4:12`, `1:00:00`; `now` when it is over.
pub(super) fn until(now: Wall, at: Wall) -> String {
    let left = at.since(now).as_secs();
    let (hours, minutes, seconds) = (left / 3_600, left / 60 % 60, left % 60);
    match (hours, left) {
        (_, 0) => "now".to_owned(),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Time of day in UTC: `14:03:22`.
pub(super) fn clock(at: Wall) -> String {
    crate::views::time(at).chars().skip(11).take(8).collect()
}

/// Date and time of day in UTC: `2026-01-31 14:03:22 UTC`.
pub(super) fn date(at: Wall) -> String {
    let text = crate::views::time(at);
    let day: String = text.chars().take(10).collect();
    format!("{day} {} UTC", clock(at))
}

#[cfg(test)]
mod tests {
    use super::{
        UNKNOWN, ago, clock, count, date, millis, per_second, percent, points, rate, until,
    };
    use evenkeel_model::clock::Wall;

    #[test]
    fn the_unknown_is_a_dash_and_never_zero() {
        assert_eq!(percent(None), UNKNOWN);
        assert_eq!(rate(Some(f64::NAN)), UNKNOWN);
        assert_eq!(millis(None), UNKNOWN);
        assert_eq!(percent(Some(0.0)), "0.0");
    }

    #[test]
    fn small_rates_keep_their_digits_and_large_counts_their_commas() {
        assert_eq!(rate(Some(0.000_2)), "0.02 %");
        assert_eq!(rate(Some(0.42)), "42 %");
        assert_eq!(rate(Some(0.0)), "0 %");
        assert_eq!(rate(Some(0.000_01)), "< 0.01 %");
        assert_eq!(rate(Some(0.01)), "1 %");
        assert_eq!(rate(Some(0.024)), "2.4 %");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(per_second(Some(9.96)), "10");
        assert_eq!(per_second(Some(0.44)), "0.4");
        assert_eq!(millis(Some(1_240.0)), "1.24 s");
        assert_eq!(millis(Some(0.83)), "0.8 ms");
    }

    #[test]
    fn a_gap_has_a_sign_unless_it_rounds_to_nothing() {
        assert_eq!(points(Some(0.077)), "+7.7");
        assert_eq!(points(Some(-0.002)), "−0.2");
        assert_eq!(points(Some(-0.000_2)), "0.0");
    }

    #[test]
    fn times_are_utc_and_a_moment_ahead_is_not_ago() {
        let at = Wall(1_767_225_600_000);
        assert_eq!(date(at), "2026-01-01 00:00:00 UTC");
        assert_eq!(clock(Wall(at.0 + 61_000)), "00:01:01");
        assert_eq!(ago(at, Wall(at.0 + 5_000)), "0 s ago");
        assert_eq!(until(at, Wall(at.0 + 252_000)), "4:12");
        assert_eq!(until(Wall(at.0 + 1), at), "now");
    }
}
