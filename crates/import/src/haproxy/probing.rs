//! Checks of servers, and what `observe` sees: of a whole pool, and of a server that differs.

use std::time::Duration;

use evenkeel_model::setup::{Check, Ejection, Health, Pool};

use crate::haproxy::build::Tracked;
use crate::haproxy::check::Checking;
use crate::haproxy::desk::{At, Desk};
use crate::haproxy::inherited::Inherited;
use crate::haproxy::proxy::Proxy;
use crate::haproxy::server::{OnError, Server, Settings};

/// Between two checks without `inter`.
const INTER: Duration = Duration::from_secs(2);
/// Good checks without `rise`.
const RISE: u32 = 2;
/// Failed checks without `fall`.
const FALL: u32 = 3;
/// Errors that `observe` bears without `error-limit`.
const ERROR_LIMIT: u32 = 10;

impl Settings {
    /// The check that these settings make with the kind of `checking`.
    fn health(&self, path: &str, inherited: &Inherited, checking: &Checking) -> Health {
        let interval = self.inter.as_ref().map_or(INTER, |time| time.value);
        Health {
            path: path.to_owned(),
            kind: checking.kind(),
            interval,
            timeout: inherited.wait("check").duration().unwrap_or(interval),
            rise: self.rise.as_ref().map_or(RISE, |count| count.value),
            fall: self.fall.as_ref().map_or(FALL, |count| count.value),
        }
    }
}

/// The pool's check is that of its first checked server; servers that differ carry their own.
pub(super) fn checks(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &mut Pool) {
    let inherited = &proxy.inherited;
    let checking = &inherited.checking;
    if let Some(rule) = &checking.rule
        && checking.kind.is_none()
    {
        desk.unheeded(
            &rule.range,
            "`http-check` is not heeded without `option httpchk`",
            "servers are only checked by a connection",
            "add `option httpchk`",
        );
    }
    let checked = proxy
        .servers
        .iter()
        .find(|server| server.settings.check.is_some());
    let Some((server, check)) = checked.and_then(|s| s.settings.check.as_ref().map(|c| (s, c)))
    else {
        if let (Some(kind), true) = (
            &checking.kind,
            checked.is_none() && is_alone_unchecked(proxy),
        ) {
            desk.unheeded(
                &kind.range,
                "the check is never done, because no server has `check`",
                "a server that fails keeps its share of the requests",
                "add `check` to the servers or to `default-server`",
            );
        }
        return;
    };
    let path = format!("{}.health", proxy.path);
    let settings = &server.settings;
    pool.health = Some(settings.health(&path, inherited, checking));
    let place = checking
        .kind
        .as_ref()
        .map_or(&check.range, |kind| &kind.range);
    desk.place(&path, place);
    place_check(desk, &path, settings, inherited);
    observe(desk, proxy, pool);
}

/// What `observe` of the first server that has it does to all of them.
fn observe(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &mut Pool) {
    let observing = proxy.servers.iter().find_map(|server| {
        let settings = &server.settings;
        let observe = settings.observe.as_ref()?;
        settings.check.as_ref().map(|_| (settings, observe))
    });
    let Some((settings, observe)) = observing else {
        return;
    };
    let limit = settings.error_limit.as_ref();
    let limit = limit.map_or(ERROR_LIMIT, |limit| limit.value);
    let fall = settings.fall.as_ref().map_or(FALL, |fall| fall.value);
    let path = format!("{}.ejection", proxy.path);
    let inherited = &proxy.inherited;
    let health = settings.health(&path, inherited, &inherited.checking);
    let consecutive = match settings.on_error.as_ref().map(|on_error| on_error.value) {
        Some(OnError::MarkDown) => Some(limit),
        // It leaves one failed check to go.
        Some(OnError::SuddenDeath) => Some(limit.saturating_mul(2)),
        Some(OnError::FailCheck) | None => Some(limit.saturating_mul(fall)),
        Some(OnError::FastInter) => None,
    };
    desk.place(&path, &observe.range);
    pool.ejection = Some(Ejection {
        path,
        consecutive,
        lasts: health.interval.saturating_mul(health.rise),
        part_max: 1.0,
        deviations: None,
    });
}

/// Of several servers HC-01 says that none is checked.
fn is_alone_unchecked(proxy: &Proxy) -> bool {
    matches!(proxy.servers.as_slice(), [only] if only.settings.track.is_none())
}

fn place_check(desk: &mut Desk<'_, '_>, path: &str, settings: &Settings, inherited: &Inherited) {
    if let Some(time) = &settings.inter {
        desk.place(&format!("{path}.interval"), &time.range);
    }
    if let Some(time) = inherited.timeouts.get("check") {
        desk.place(&format!("{path}.timeout"), &time.range);
    }
    for (key, count) in [("rise", &settings.rise), ("fall", &settings.fall)] {
        if let Some(count) = count {
            desk.place(&format!("{path}.{key}"), &count.range);
        }
    }
}

/// The check of one server; `tracked`: whom it tracks, where that is found; `backend`: its path.
pub(super) fn check(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    server: &Server,
    tracked: Option<Tracked<'_>>,
    backend: &str,
    pool: &Pool,
) -> Check {
    let path = format!("{backend}.health");
    let (proxy, settings) = match (&server.settings.track, tracked) {
        (None, _) => (proxy, &server.settings),
        (Some(_), Some(tracked)) if !tracked.proxy.inherited.disabled => {
            (tracked.proxy, tracked.settings)
        }
        // A disabled section checks nobody.
        (Some(_), _) => return Check::Never,
    };
    if settings.check.is_none() {
        return Check::Never;
    }
    let own = settings.health(&path, &proxy.inherited, &proxy.inherited.checking);
    let is_same = pool.health.as_ref().is_some_and(|common| {
        let same = Health {
            path: common.path.clone(),
            ..own.clone()
        };
        *common == same
    });
    if is_same {
        return Check::AsPool;
    }
    let place: Option<&At<()>> = server.settings.check.as_ref();
    let tracked = server.settings.track.as_ref().map(|track| &track.range);
    if let Some(range) = tracked.or(place.map(|check| &check.range)) {
        desk.place(&path, range);
    }
    place_check(desk, &path, settings, &proxy.inherited);
    Check::Own(own)
}
