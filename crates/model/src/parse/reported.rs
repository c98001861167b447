//! `[pool.NAME.reported]`: how the load that backends report shapes their weights.

use std::time::Duration;

use super::keys;
use super::pool::HOUR;
use super::reader::{Reader, Report, Section};
use super::reference::sub;
use super::typed::Limits;
use crate::config::{Algorithm, Reported, ReportedSignal};
use crate::units::format_duration;

pub(super) const PERIOD: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: Duration::from_mins(10),
    outside: "weights would follow single requests, or too late",
};
pub(super) const LEAST: Limits<f64> = Limits {
    min: 0.01,
    max: 1.0,
    outside: "a backend could be left without traffic, or would have more than its declared weight for nothing",
};
pub(super) const MOST: Limits<f64> = Limits {
    min: 1.0,
    max: 100.0,
    outside: "a backend would have less than its declared weight for nothing, or one that reports nonsense nearly all",
};
pub(super) const STALE_AFTER: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: HOUR,
    outside: "a report would be forgotten at once, or long after it was true",
};
pub(super) const ERROR_PENALTY: Limits<f64> = Limits {
    min: 0.0,
    max: 100.0,
    outside: "failures would be rewarded, or a single one would take all traffic away",
};

/// Reads the table of `s`, a pool that spreads by `algorithm`.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>, algorithm: Algorithm) -> Option<Reported> {
    let table = sub(reader, s, "reported", &keys::REPORTED)?;
    let usual = Reported::default();
    let words: Vec<_> = ReportedSignal::ALL
        .iter()
        .map(|signal| (signal.as_str(), *signal))
        .collect();
    let period = table.duration(reader, "period", &PERIOD);
    let period = period.unwrap_or(usual.period);
    let reported = Reported {
        signal: table
            .choice(reader, "signal", &words)
            .unwrap_or(usual.signal),
        period,
        min: table.number(reader, "min", &LEAST).unwrap_or(usual.min),
        max: table.number(reader, "max", &MOST).unwrap_or(usual.max),
        stale_after: stale_after(reader, &table, period),
        error_penalty: table
            .number(reader, "error_penalty", &ERROR_PENALTY)
            .unwrap_or(usual.error_penalty),
    };
    if algorithm.takes_reports() {
        return Some(reported);
    }
    let why = if algorithm.is_hash() {
        "whose keys would move to other backends with every report"
    } else {
        "which follows the speed of the backends by itself, so two rules would chase each other"
    };
    let report = Report {
        id: "CFG-07",
        message: format!(
            "`{}` is written, but the algorithm is \"{}\", {why}",
            table.path,
            algorithm.as_str()
        ),
        effect: "reported load would make the traffic of every backend unsteady".to_owned(),
        fix: "write `algorithm = \"round_robin\"` (or \"least_request\", \"random\"), or remove `reported`"
            .to_owned(),
    };
    reader.error(&table.path, table.span.clone(), report);
    None
}

/// `stale_after`: at least the period, or every weight would fall back between two looks.
fn stale_after(reader: &mut Reader, table: &Section<'_>, period: Duration) -> Duration {
    let Some(after) = table.duration(reader, "stale_after", &STALE_AFTER) else {
        return Reported::default().stale_after.max(period);
    };
    if let Some(found) = table.get(reader, "stale_after").filter(|_| after < period) {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is {}, shorter than the period of {}",
                found.path,
                format_duration(after),
                format_duration(period)
            ),
            effect: "a report would be forgotten before it is looked at".to_owned(),
            fix: format!(
                "write at least {}, or lower `period`",
                format_duration(period)
            ),
        };
        reader.error(&found.path, found.span, report);
    }
    after
}
