//! A backend section as a pool: what its lines and its defaults come to together.

use std::ops::Range;
use std::time::Duration;

use evenkeel_model::setup::{
    Backend, Backups, Check, Failover, HashKey, Pool, Retry, Selection, Timeouts, Wait,
};

use crate::haproxy::balance;
use crate::haproxy::build::Tables;
use crate::haproxy::desk::{Desk, shorten};
use crate::haproxy::inherited::{Inherited, RetryOn};
use crate::haproxy::keys::{self, Values};
use crate::haproxy::member::{self, Ids};
use crate::haproxy::probed;
use crate::haproxy::probing;
use crate::haproxy::proxy::Proxy;
use crate::haproxy::sticky::sticky;

/// Tries beyond the first without `retries`.
const RETRIES: u32 = 3;
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
    probing::checks(desk, proxy, &mut pool);
    pool.sticky = sticky(desk, proxy, tables);
    keys(desk, proxy, tables, &mut pool);
    let mut ids = Ids::of(desk, proxy);
    for server in &proxy.servers {
        let id = ids.next(server);
        let backend = member::backend(desk, proxy, server, id, in_effect.is_dynamic, tables, &pool);
        pool.backends.push(backend);
    }
    if let (Some(to), true) = (&proxy.dispatch, proxy.servers.is_empty()) {
        let backend = Backend::blank("dispatch", &format!("{path}.dispatch"), &to.value);
        desk.place(&backend.path, &to.range);
        let check = Check::Never;
        pool.backends.push(Backend { check, ..backend });
    }
    let mut servers = proxy.servers.iter();
    if servers.any(|server| server.settings.is_weight_unknown) {
        pool.selection = Selection::Other("a weight that the environment sets".to_owned());
    }
    probed::check(desk, proxy);
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

/// What is known of the distinct keys: that there is one, or a bound where there can be only a few.
fn keys(desk: &mut Desk<'_, '_>, proxy: &Proxy, tables: &Tables<'_>, pool: &mut Pool) {
    let mut bounds = Vec::new();
    if let Selection::Hash(hash) = &mut pool.selection
        && let Some(balance) = &proxy.inherited.balance
    {
        match tables.values(proxy, &balance.value.variety) {
            Values::One(value) => hash.key = HashKey::Constant(value),
            Values::AtMost(count) => bounds.push(count),
            Values::Any => {
                if let HashKey::Other(written) = &hash.key
                    && keys::is_merged(written)
                {
                    let what = format!("balance {}", balance.value.written);
                    let because = "its key has few values, and the requests decide how many come";
                    desk.unknowable(&what, &balance.range, because, proxy.touches());
                }
            }
        }
    }
    if let Some(stick) = proxy.sticks.first()
        && let Values::AtMost(count) = tables.values(proxy, &stick.value.variety)
    {
        bounds.push(count);
    }
    pool.keys = bounds.into_iter().min();
}

/// What makes the shares uncertain and shows only in the whole.
fn unsure(desk: &mut Desk<'_, '_>, proxy: &Proxy, pool: &Pool, is_sorted: bool) {
    if pool.selection == Selection::First && !is_sorted {
        let because = "servers fill up by their ids, and are judged in file order";
        let what = "balance first with ids out of order";
        desk.unforeseen(what, &proxy.header, because, proxy.touches());
    }
    let inherited = &proxy.inherited;
    let mut unknowable = |what: &str, range: &Range<usize>, because: &str| {
        desk.unknowable(what, range, because, proxy.touches());
    };
    if let Some(at) = &inherited.state_file {
        let because = "weights and states come from another file";
        unknowable("load-server-state-from-file", &at.range, because);
    }
    if let Some(at) = &inherited.prefer_last {
        let because = "how long clients keep their connections is theirs to say";
        unknowable("option prefer-last-server", &at.range, because);
    }
    // A name that DNS answers at run time may stand for another number of servers, with weights of its own.
    let mut servers = proxy.servers.iter();
    if let Some(server) = servers.find(|server| server.address.starts_with('_')) {
        let what = format!(
            "server {} {}",
            shorten(&server.name),
            shorten(&server.address)
        );
        let because = "DNS answers with weights and ports";
        unknowable(&what, &server.range, because);
    }
}
