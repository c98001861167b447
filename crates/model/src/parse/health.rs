//! `[pool.NAME.health]`: an active check by HTTP or by a mere connection.

use std::time::Duration;

use toml::de::DeValue;

use super::pool::HOUR;
use super::reader::{Reader, Report, Section};
use super::reference::sub;
use super::typed::Limits;
use super::{keys, text};
use crate::config::{Health, HealthCheck, HttpCheck};
use crate::units::format_duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

pub(super) const CHECK_INTERVAL: Limits<Duration> = Limits {
    min: Duration::from_millis(10),
    max: HOUR,
    outside: "checks would be a load of their own, or a dead backend would keep its traffic",
};
pub(super) const CHECK_TIMEOUT: Limits<Duration> = Limits {
    min: MS,
    max: HOUR,
    outside: "every check would fail and take its backend out, or none would ever",
};
pub(super) const CHECKS_IN_A_ROW: Limits<u32> = Limits {
    min: 1,
    max: 100,
    outside: "a backend would never change its state",
};
pub(super) const STATUS: Limits<u32> = Limits {
    min: 100,
    max: 599,
    outside: "no answer could be good",
};

/// What a check by a connection has no use for.
const OF_HTTP: [&str; 3] = ["path", "host", "expect_status"];

/// The check of the pool `s`; `None`: it has none.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>) -> Option<Health> {
    let s = sub(reader, s, "health", &keys::HEALTH)?;
    let kinds = [("http", false), ("tcp", true)];
    let is_tcp = s.choice(reader, "kind", &kinds).unwrap_or(false);
    if !is_tcp {
        s.require(
            reader,
            "path",
            "there would be nothing to check",
            "path = \"/healthz\"",
        );
    }
    let path = s.read(reader, "path", text::request_path);
    let host = s.read(reader, "host", text::host_header);
    let expect_status = expect_status(reader, &s).unwrap_or((200, 299));
    let interval = s
        .duration(reader, "interval", &CHECK_INTERVAL)
        .unwrap_or(SECOND);
    let interval_down = interval_down(reader, &s, interval);
    let timeout = s
        .timeout(reader, "timeout", &CHECK_TIMEOUT)
        .unwrap_or(interval.min(SECOND));
    let rise = s.integer(reader, "rise", &CHECKS_IN_A_ROW).unwrap_or(2);
    let fall = s.integer(reader, "fall", &CHECKS_IN_A_ROW).unwrap_or(3);
    let check = if is_tcp {
        for key in OF_HTTP {
            not_of_tcp(reader, &s, key);
        }
        HealthCheck::Tcp
    } else {
        HealthCheck::Http(HttpCheck {
            path: path?,
            host,
            expect_status,
        })
    };
    Some(Health {
        check,
        interval,
        interval_down,
        timeout,
        rise,
        fall,
    })
}

/// `interval_down`: at least the interval, so that nobody is asked more often because it is down.
fn interval_down(reader: &mut Reader, s: &Section<'_>, interval: Duration) -> Duration {
    let Some(down) = s.duration(reader, "interval_down", &CHECK_INTERVAL) else {
        return interval;
    };
    if down < interval
        && let Some(found) = s.get(reader, "interval_down")
    {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{}` is {}, shorter than the interval of {}",
                found.path,
                format_duration(down),
                format_duration(interval)
            ),
            effect: "a backend that is down would be checked more often than one that is up"
                .to_owned(),
            fix: format!("write at least {}", format_duration(interval)),
        };
        reader.error(&found.path, found.span, report);
    }
    down
}

fn not_of_tcp(reader: &mut Reader, s: &Section<'_>, key: &str) {
    let Some(found) = s.get(reader, key) else {
        return;
    };
    let report = Report {
        id: "CFG-06",
        message: format!(
            "`{}` is for a check by HTTP, but the kind is `tcp`",
            found.path
        ),
        effect: "nothing would be asked, only a connection be made".to_owned(),
        fix: format!("remove `{key}`, or write `kind = \"http\"`"),
    };
    reader.error(&found.path, found.span, report);
}

/// `200` or `"200-399"`.
fn expect_status(reader: &mut Reader, s: &Section<'_>) -> Option<(u16, u16)> {
    let found = s.get(reader, "expect_status")?;
    if let DeValue::Integer(_) = found.value {
        let status = s.integer(reader, "expect_status", &STATUS)?;
        return u16::try_from(status).ok().map(|status| (status, status));
    }
    s.read(reader, "expect_status", text::statuses)
}
