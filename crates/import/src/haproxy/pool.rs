//! A backend section as a pool: what its lines and its defaults come to together.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{
    Backend, Backups, Check, Ejection, Failover, Health, Pool, Retry, Role, Selection, Sticky,
    Timeouts, Wait,
};

use crate::haproxy::balance;
use crate::haproxy::build::Tables;
use crate::haproxy::check::Checking;
use crate::haproxy::desk::{At, Desk};
use crate::haproxy::lexer::Word;
use crate::haproxy::proxy::{Inherited, Proxy, RetryOn};
use crate::haproxy::server::{OnError, Server, Settings};

/// Between two checks without `inter`.
const INTER: Duration = Duration::from_secs(2);
/// Good checks without `rise`.
const RISE: u32 = 2;
/// Failed checks without `fall`.
const FALL: u32 = 3;
/// Tries beyond the first without `retries`.
const RETRIES: u32 = 3;
/// Errors that `observe` bears without `error-limit`.
const ERROR_LIMIT: u32 = 10;
/// How long an idle connection to a server is kept at least without `pool-purge-delay`.
const PURGE: Duration = Duration::from_secs(5);

impl Inherited {
    /// A timeout; 0 and none at all are without an end.
    pub(super) fn wait(&self, name: &str) -> Wait {
        match self.timeouts.get(name) {
            Some(time) if time.value > Duration::ZERO => Wait::For(time.value),
            _ => Wait::Endless,
        }
    }

    /// The first of these timeouts that is set.
    pub(super) fn first_wait(&self, names: &[&str]) -> Wait {
        let waits = names.iter().map(|name| self.wait(name));
        waits
            .into_iter()
            .find(|wait| *wait != Wait::Endless)
            .unwrap_or(Wait::Endless)
    }
}

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

/// Makes the pool of `proxy`.
pub(super) fn pool(desk: &mut Desk<'_, '_>, proxy: &Proxy, tables: &Tables<'_>) -> Pool {
    let inherited = &proxy.inherited;
    let path = &proxy.path;
    let in_effect = balance::in_effect(
        desk,
        inherited.balance.as_ref(),
        &inherited.hashing,
        inherited.is_http,
    );
    if let Some(written) = &inherited.balance {
        desk.place(&format!("{path}.algorithm"), &written.range);
    }
    let mut pool = Pool {
        is_http: inherited.is_http,
        selection: in_effect.selection,
        fallback: in_effect.fallback,
        failover: Failover {
            backups: if inherited.allbackups.is_some() {
                Backups::All
            } else {
                Backups::First
            },
            ..Pool::blank("", "").failover
        },
        ..Pool::blank(&proxy.name, path)
    };
    if let Some(all) = &inherited.allbackups {
        desk.place(&format!("{path}.allbackups"), &all.range);
    }
    timeouts(desk, proxy, &mut pool);
    retries(desk, proxy, &mut pool);
    checks(desk, proxy, &mut pool);
    pool.sticky = sticky(desk, proxy, tables);
    let mut ids = Ids::of(desk, proxy);
    for server in &proxy.servers {
        let id = ids.next(server);
        let backend = backend(desk, proxy, server, id, in_effect.is_dynamic, tables, &pool);
        pool.backends.push(backend);
    }
    if let (Some(to), true) = (&proxy.dispatch, proxy.servers.is_empty()) {
        let backend = Backend::blank("dispatch", &format!("{path}.dispatch"), &to.value);
        desk.place(&backend.path, &to.range);
        let check = Check::Never;
        pool.backends.push(Backend { check, ..backend });
    }
    unsure(desk, proxy, &pool, ids.is_sorted);
    pool
}

fn timeouts(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &mut Pool) {
    let inherited = &proxy.inherited;
    let purge = proxy
        .servers
        .iter()
        .find_map(|server| server.settings.purge_delay.as_ref());
    let is_kept = inherited.is_http && !inherited.closes;
    pool.timeouts = Timeouts {
        connect: inherited.wait("connect"),
        response: inherited.wait("server"),
        idle: inherited.wait("server"),
        request: Wait::Endless,
        queue: inherited.first_wait(&["queue", "connect"]),
        keep: is_kept.then(|| Wait::For(purge.map_or(PURGE, |time| time.value))),
    };
    for (name, keys) in [
        ("connect", &["connect"][..]),
        ("server", &["response", "idle"][..]),
        ("queue", &["queue"][..]),
    ] {
        if let Some(time) = inherited.timeouts.get(name) {
            for key in keys {
                desk.place(&format!("{}.timeout.{key}", proxy.path), &time.range);
            }
        }
    }
    if let Some(time) = purge {
        desk.place(&format!("{}.timeout.keep", proxy.path), &time.range);
    }
}

fn retries(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &mut Pool) {
    let inherited = &proxy.inherited;
    let on = inherited.retry_on.as_ref().filter(|_| inherited.is_http);
    let on = on.map_or(RetryOn::BeforeSent, |on| on.value);
    let attempts = inherited
        .retries
        .as_ref()
        .map_or(RETRIES, |retries| retries.value);
    pool.retry = Retry {
        attempts: Some(if on == RetryOn::Never { 0 } else { attempts }),
        budget: None,
        // Every method is repeated unless a rule with `disable-l7-retry` spares some.
        unsafe_methods: on == RetryOn::AfterSent && !proxy.spares_some,
        after_sent: on == RetryOn::AfterSent,
    };
    if let Some(retries) = &inherited.retries {
        desk.place(&format!("{}.retry.attempts", proxy.path), &retries.range);
    }
    let declared = inherited.retry_on.as_ref().map(|on| &on.range);
    let declared = declared.or(inherited.retries.as_ref().map(|retries| &retries.range));
    if let Some(range) = declared {
        desk.place(&format!("{}.retry", proxy.path), range);
    }
}

/// The pool's check is that of its first checked server; servers that differ carry their own.
fn checks(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &mut Pool) {
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
    if let (Some(observe), true) = (&settings.observe, settings.check.is_some()) {
        let limit = settings
            .error_limit
            .as_ref()
            .map_or(ERROR_LIMIT, |limit| limit.value);
        let fall = settings.fall.as_ref().map_or(FALL, |fall| fall.value);
        let health = settings.health(&path, inherited, checking);
        let consecutive = match settings.on_error.as_ref().map(|on_error| on_error.value) {
            Some(OnError::MarkDown | OnError::SuddenDeath) => Some(limit),
            Some(OnError::FailCheck) | None => Some(limit.saturating_mul(fall)),
            Some(OnError::FastInter) => None,
        };
        let path = format!("{}.ejection", proxy.path);
        desk.place(&path, &observe.range);
        pool.ejection = Some(Ejection {
            path,
            consecutive,
            lasts: health.interval.saturating_mul(health.rise),
            part_max: 1.0,
            deviations: None,
        });
    }
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

/// Who returns to the server it had.
fn sticky(desk: &mut Desk<'_, '_>, proxy: &Proxy, tables: &Tables<'_>) -> Option<Sticky> {
    let path = format!("{}.sticky", proxy.path);
    let mut sticky = None;
    if let Some(stick) = proxy.sticks.first() {
        let lasts = tables.lasts(desk, proxy, stick);
        desk.place(&path, &stick.range);
        sticky = Some(Sticky {
            path: path.clone(),
            by: stick.value.by.clone(),
            lasts,
            one_key: false,
        });
    }
    if let Some(at) = proxy
        .inherited
        .rdp_cookie
        .as_ref()
        .filter(|_| sticky.is_none())
    {
        desk.place(&path, &at.range);
        sticky = Some(Sticky {
            path: path.clone(),
            by: "rdp-cookie".to_owned(),
            lasts: Wait::Endless,
            one_key: false,
        });
    }
    cookie(desk, proxy, path).or(sticky)
}

fn cookie(desk: &mut Desk<'_, '_>, proxy: &Proxy, path: String) -> Option<Sticky> {
    let cookie = proxy.inherited.cookie.as_ref()?;
    // A backup without a value is common: nobody shall stay with it.
    let active = || {
        let active = proxy.servers.iter();
        active.filter(|server| server.settings.backup.is_none())
    };
    let named = active()
        .filter(|server| server.settings.cookie.is_some())
        .count();
    if !proxy.inherited.is_http {
        desk.unheeded(
            &cookie.range,
            "`cookie` is not heeded in `mode tcp`",
            "no client returns to the server it had",
            "set `mode http`, or remove it",
        );
        return None;
    }
    let all = active().count();
    if named < all && !cookie.value.is_dynamic {
        let message = format!(
            "`cookie {}` is set and {} of {all} servers have no `cookie` value",
            cookie.value.name,
            all - named
        );
        let effect = "no client returns to those servers; whoever was sent there is balanced anew";
        desk.unheeded(
            &cookie.range,
            &message,
            effect,
            "give every server a `cookie` value",
        );
    }
    if named == 0 && !cookie.value.is_dynamic {
        return None;
    }
    desk.place(&path, &cookie.range);
    Some(Sticky {
        path,
        by: format!("cookie {}", cookie.value.name),
        lasts: cookie.value.lasts,
        one_key: false,
    })
}

/// The numbers by which a hash knows servers: their `id`, else the next free one from 1.
struct Ids {
    taken: BTreeSet<u32>,
    next: u32,
    last: u32,
    is_sorted: bool,
}

impl Ids {
    fn of(desk: &mut Desk<'_, '_>, proxy: &Proxy) -> Self {
        let mut taken = BTreeSet::new();
        for id in proxy.servers.iter().filter_map(|server| server.id.as_ref()) {
            if !taken.insert(id.value) {
                let message = format!("`id {}` is taken by another server", id.value);
                desk.refuse(&id.range, message);
            }
        }
        Self {
            taken,
            next: 1,
            last: 0,
            is_sorted: true,
        }
    }

    fn next(&mut self, server: &Server) -> u32 {
        let id = server.id.as_ref().map_or_else(
            || {
                while self.taken.contains(&self.next) {
                    self.next = self.next.saturating_add(1);
                }
                self.next = self.next.saturating_add(1);
                self.next - 1
            },
            |id| id.value,
        );
        self.is_sorted &= id > self.last;
        self.last = id;
        id
    }
}

fn backend(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    server: &Server,
    id: u32,
    is_dynamic: bool,
    tables: &Tables<'_>,
    pool: &Pool,
) -> Backend {
    let settings = &server.settings;
    let path = format!("{}.server.{}", proxy.path, path_segment(&server.name));
    desk.place(&path, &server.range);
    let placed =
        |desk: &mut Desk<'_, '_>, key: &str, range| desk.place(&format!("{path}.{key}"), range);
    let mut weight_path = None;
    if let Some(weight) = &settings.weight {
        placed(desk, "weight", &weight.range);
        weight_path = Some(format!("{path}.weight"));
    }
    if let Some(most) = &settings.maxconn {
        placed(desk, "in_flight_max", &most.range);
    }
    if let Some(most) = &settings.maxqueue {
        placed(desk, "queue_max", &most.range);
    }
    if let Some(ssl) = &settings.ssl {
        placed(
            desk,
            "tls",
            settings
                .verify
                .as_ref()
                .map_or(&ssl.range, |verify| &verify.range),
        );
    }
    let mut slow_start = None;
    if let Some(time) = &settings.slowstart {
        placed(desk, "slow_start", &time.range);
        if is_dynamic && pool.selection != Selection::First {
            slow_start = Some(time.value).filter(|time| *time > Duration::ZERO);
        } else if pool.backends.is_empty() || server.sets(&time.range) {
            desk.unheeded(
                &time.range,
                "`slowstart` is not heeded with an algorithm whose weights are fixed at the start",
                "a server that comes back takes its whole share at once",
                "use `balance roundrobin` or `hash-type consistent`",
            );
        }
    }
    for (key, mark) in [
        ("backup", &settings.backup),
        ("disabled", &settings.disabled),
    ] {
        if let Some(mark) = mark {
            placed(desk, key, &mark.range);
        }
    }
    let is_disabled = settings.disabled.is_some() || proxy.inherited.disabled;
    Backend {
        identity: id.to_string(),
        weight: settings.weight.as_ref().map_or(1, |weight| weight.value),
        weight_path,
        role: match (is_disabled, settings.backup.is_some()) {
            (true, _) => Role::Disabled,
            (false, true) => Role::Backup,
            (false, false) => Role::Active,
        },
        in_flight_max: settings.maxconn.as_ref().map(|most| most.value),
        slow_start,
        check: check(desk, proxy, server, &path, tables, pool),
        tls_verified: settings.ssl.as_ref().map(|_| tables.is_verified(settings)),
        ..Backend::blank(&server.name, &path, &server.address)
    }
}

fn check(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    server: &Server,
    backend: &str,
    tables: &Tables<'_>,
    pool: &Pool,
) -> Check {
    let path = format!("{backend}.health");
    let (proxy, settings) = if let Some(track) = &server.settings.track {
        let Some(tracked) = tables.tracked(desk, proxy, track) else {
            return Check::Never;
        };
        tracked
    } else {
        (proxy, &server.settings)
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

/// What makes the shares uncertain and shows only in the whole.
fn unsure(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &Pool, is_sorted: bool) {
    let noted = |text: String, range: &std::ops::Range<usize>| Word {
        text,
        range: range.clone(),
        is_unknown: false,
    };
    let inherited = &proxy.inherited;
    for (at, what) in [
        (&inherited.state_file, "load-server-state-from-file"),
        (&inherited.prefer_last, "option prefer-last-server"),
    ] {
        if let Some(at) = at {
            desk.gap(&[noted(what.to_owned(), &at.range)], proxy.touches());
        }
    }
    if pool.selection == Selection::First && !is_sorted {
        let what = "balance first with ids out of order".to_owned();
        desk.gap(&[noted(what, &proxy.header)], proxy.touches());
    }
    // A name that DNS answers at run time may stand for another number of servers, with weights of its own.
    let resolved = proxy
        .servers
        .iter()
        .find(|server| server.address.starts_with('_'));
    if let Some(server) = resolved {
        let what = format!("server {} {}", server.name, server.address);
        desk.gap(&[noted(what, &server.range)], proxy.touches());
    }
}
