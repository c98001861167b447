//! The whole document: the top level, listeners, and what of them contradicts each other.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::operations::{admin, escalation, receiver, webhook};
use super::reader::{Named, Reader, Report, Section};
use super::reference::{bounded, names, sub};
use super::typed::Limits;
use super::{
    BACKENDS_MAX, LISTENERS_MAX, OPERATIONS_MAX, POOLS_MAX, expect, keys, log, networks, place,
    policy, pool, protocols, route, text, tls, tracing,
};
use crate::config::{Address, Config, Lifetime, Listener, Overload, Route};
use crate::ids::Name;
use crate::units::ByteSize;

const DAY: Duration = Duration::from_hours(24);

pub(super) const WORKERS: Limits<u32> = Limits {
    min: 1,
    max: 1_024,
    outside: "no worker would serve, or they would only wait for each other",
};
pub(super) const AUDIT_EVERY: Limits<Duration> = Limits {
    min: Duration::from_secs(1),
    max: Duration::from_hours(365 * 24),
    outside: "audits would never rest, or never come",
};
pub(super) const CLIENT_TIMEOUT: Limits<Duration> = Limits {
    min: Duration::from_millis(1),
    max: DAY,
    outside: "clients would be cut off while they are served, or would hold connections for ever",
};
pub(super) const HEAD_MAX: Limits<ByteSize> = Limits {
    min: ByteSize(1 << 10),
    max: ByteSize(1 << 20),
    outside: "ordinary request heads would be refused, or one client could hold much memory",
};
pub(super) const BODY_MAX: Limits<ByteSize> = Limits {
    min: ByteSize(0),
    max: ByteSize(1 << 50),
    outside: "the limit would never be reached; 0 says so",
};
pub(super) const ACCEPT_RATE: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "no client could connect, or the rate would limit nothing",
};
pub(super) const MEMORY: Limits<ByteSize> = Limits {
    min: ByteSize(16 << 20),
    max: ByteSize(1 << 50),
    outside: "everything would be refused from the start, or nothing ever",
};
pub(super) const CONNECTIONS_MAX: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000,
    outside: "no client could connect, or the limit would limit nothing",
};

pub(super) const LIFETIME: Limits<Duration> = Limits {
    min: Duration::from_millis(100),
    max: DAY,
    outside: "connections would be closed faster than they are of use, or the age would limit nothing",
};
pub(super) const LIFETIME_REQUESTS: Limits<u32> = Limits {
    min: 1,
    max: 1_000_000_000,
    outside: "a connection could take no request",
};

/// Reads the whole document. Wrong parts are left out; the findings keep the result from being used.
pub(super) fn config(reader: &mut Reader, table: &DeTable<'_>) -> Config {
    let root = reader.root(table, &keys::FILE);
    let receivers_named = bounded(reader, &root, "notify", "receivers", OPERATIONS_MAX);
    let listeners_named = bounded(reader, &root, "listener", "listeners", LISTENERS_MAX);
    let pools_named = bounded(reader, &root, "pool", "pools", POOLS_MAX);
    whole(
        reader,
        &root,
        listeners_named.is_empty(),
        pools_named.is_empty() && needs_pool(&root),
    );
    let (admin, admin_span) = admin(reader, &root);
    let mut addresses = vec![(admin_span, "admin".to_owned(), Address::Tcp(admin.address))];
    let listeners = listeners(reader, &listeners_named, &mut addresses);
    clashes(reader, &addresses);
    let (listener_names, pool_names) = (names(&listeners_named), names(&pools_named));
    let routes = route::read(reader, &root, &listener_names, &pool_names);
    let expectations = expect::read(reader, &root, &listener_names, &pool_names);
    idle_listeners(reader, &listeners_named, &routes);
    let here = place::here(reader, &root);
    let mut budget = BACKENDS_MAX;
    let pools: Vec<_> = pools_named
        .iter()
        .filter_map(|named| pool::read(reader, named, &here, &mut budget))
        .collect();
    tls::files_of_pools(reader, &pools);
    let receivers: Vec<_> = receivers_named
        .iter()
        .filter_map(|named| receiver(reader, named))
        .collect();
    let webhooks = bounded(reader, &root, "webhook", "webhooks", OPERATIONS_MAX)
        .iter()
        .filter_map(|named| webhook(reader, named))
        .collect();
    let audit = sub(reader, &root, "audit", &keys::AUDIT);
    let waivers = audit
        .as_ref()
        .map(|audit| policy::waivers(reader, audit, Some(&pool_names)))
        .unwrap_or_default();
    let drills = sub(reader, &root, "drills", &keys::DRILLS);
    let certificates = tls::seen(reader, &root);
    Config {
        here,
        workers: root
            .integer(reader, "workers", &WORKERS)
            .and_then(|n| u16::try_from(n).ok())
            .and_then(NonZeroU16::new),
        watch: root.boolean(reader, "watch").unwrap_or(false),
        access_log: root.path(reader, "access_log"),
        access_log_fields: log::fields(reader, &root),
        tracing: tracing::read(reader, &root),
        admin,
        overload: overload(reader, &root),
        audit_every: audit
            .and_then(|s| s.duration(reader, "every", &AUDIT_EVERY))
            .unwrap_or(DAY),
        waivers,
        drills_allowed: drills
            .and_then(|s| s.boolean(reader, "allowed"))
            .unwrap_or(false),
        listeners,
        certificates,
        routes,
        expectations,
        pools,
        escalation: escalation(reader, &root, &names(&receivers_named)),
        receivers,
        webhooks,
    }
}

fn overload(reader: &mut Reader, root: &Section<'_>) -> Overload {
    let Some(s) = sub(reader, root, "overload", &keys::OVERLOAD) else {
        return Overload::default();
    };
    Overload {
        memory: s.size(reader, "memory", &MEMORY),
        connections: s.integer(reader, "connections", &CONNECTIONS_MAX),
    }
}

/// A file without these serves nothing.
fn whole(reader: &mut Reader, root: &Section<'_>, no_listener: bool, no_pool: bool) {
    for (key, is_missing, effect, example) in [
        (
            "listener",
            no_listener,
            "nothing would be served",
            "[listener.web]",
        ),
        (
            "pool",
            no_pool,
            "there would be nowhere to send a request",
            "[pool.shop]",
        ),
        (
            "route",
            !root.has("route"),
            "every request would be answered 404",
            "[[route]]",
        ),
    ] {
        if is_missing {
            missing(reader, key, effect, example);
        }
    }
}

/// Whether some route of the file does not answer itself, or there is none.
fn needs_pool(root: &Section<'_>) -> bool {
    let Some(DeValue::Array(routes)) = root.raw("route").map(Spanned::get_ref) else {
        return true;
    };
    let answers = |route: &Spanned<DeValue<'_>>| match route.get_ref() {
        DeValue::Table(keys) => {
            let has = |key| keys.contains_key(key);
            (has("redirect") || has("respond")) && !has("pool")
        }
        _ => false,
    };
    routes.is_empty() || !routes.iter().all(answers)
}

fn missing(reader: &mut Reader, key: &str, effect: &str, example: &str) {
    let report = Report {
        id: "CFG-04",
        message: format!("the file has no {key}"),
        effect: effect.to_owned(),
        fix: format!("add `{example}`"),
    };
    reader.error(key, 0..0, report);
}

fn listeners(
    reader: &mut Reader,
    named: &[Named<'_>],
    addresses: &mut Vec<(Range<usize>, String, Address)>,
) -> Vec<Listener> {
    let mut listeners = Vec::with_capacity(named.len());
    let mut budget = tls::CERTIFICATES_MAX;
    for named in named {
        let Some(s) = reader.section(named.path.clone(), named.value, &keys::LISTENER) else {
            continue;
        };
        s.require(
            reader,
            "address",
            "no client could connect",
            "address = \"127.0.0.1:8080\"",
        );
        let span = s.get(reader, "address").map_or(0..0, |found| found.span);
        let address = s.read(reader, "address", text::address);
        let mut timeout = |key, default_s| {
            s.timeout(reader, key, &CLIENT_TIMEOUT)
                .unwrap_or(Duration::from_secs(default_s))
        };
        let (head_timeout, body_timeout) =
            (timeout("head_timeout", 10), timeout("body_timeout", 30));
        let (idle_timeout, write_timeout) =
            (timeout("idle_timeout", 60), timeout("write_timeout", 30));
        let head_max = s
            .size(reader, "head_max", &HEAD_MAX)
            .unwrap_or(ByteSize(16 << 10));
        let body_max = s.size(reader, "body_max", &BODY_MAX).unwrap_or(ByteSize(0));
        let connections_max = s
            .integer(reader, "connections_max", &CONNECTIONS_MAX)
            .unwrap_or(10_000);
        let lifetime = Lifetime {
            age_max: s.duration(reader, "connection_max_age", &LIFETIME),
            requests_max: s.integer(reader, "connection_max_requests", &LIFETIME_REQUESTS),
        };
        let accept_rate = s.integer(reader, "accept_rate", &ACCEPT_RATE);
        let proxy_protocol = networks::proxy_protocol(reader, &s, address.as_ref());
        let tls = tls::tls(reader, &s, &mut budget);
        let protocols = protocols::protocols(reader, &s);
        let Some(address) = address else { continue };
        addresses.push((span, named.path.clone(), address.clone()));
        let Some(name) = named.name.clone() else {
            continue;
        };
        listeners.push(Listener {
            name,
            address,
            head_timeout,
            body_timeout,
            idle_timeout,
            write_timeout,
            head_max,
            body_max,
            connections_max,
            lifetime,
            accept_rate,
            proxy_protocol,
            tls,
            protocols,
        });
    }
    listeners
}

/// Two sockets on one address: the second would fail to bind, or the kernel would split clients between them.
fn clashes(reader: &mut Reader, addresses: &[(Range<usize>, String, Address)]) {
    for (i, (span, path, address)) in addresses.iter().enumerate() {
        let earlier = addresses
            .iter()
            .take(i)
            .find(|(_, _, other)| overlap(address, other));
        let Some((_, other_path, other)) = earlier else {
            continue;
        };
        let report = Report {
            id: "CFG-07",
            message: format!(
                "`{path}.address` {address} clashes with `{other_path}.address` {other}"
            ),
            effect: "only one of the two could listen there".to_owned(),
            fix: "give one of them another port".to_owned(),
        };
        // The admin address may be a default that stands nowhere; the listener's always has a place.
        reader.error(&format!("{path}.address"), span.clone(), report);
    }
}

fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Unix(a), Address::Unix(b)) => a == b,
        (Address::Tcp(a), Address::Tcp(b)) => {
            let same_family = a.is_ipv4() == b.is_ipv4();
            let any = a.ip().is_unspecified() || b.ip().is_unspecified();
            // Port 0 is a free port of the kernel's choice, different each time.
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || (same_family && any))
        }
        _ => false,
    }
}

/// A listener that no route names answers every request with 404: worth a word, not a refusal.
fn idle_listeners(reader: &mut Reader, listeners: &[Named<'_>], routes: &[Route]) {
    let used: BTreeSet<&Name> = routes.iter().map(|route| &route.listener).collect();
    // With an error in the routes the list is not complete, and the warning could be wrong.
    if reader.has_errors() {
        return;
    }
    for named in listeners {
        if named.name.as_ref().is_some_and(|name| !used.contains(name)) {
            let report = Report {
                id: "CFG-04",
                message: format!("no route names `{}`", named.path),
                effect: "every request there is answered 404".to_owned(),
                fix: "add a `[[route]]` for it or remove the listener".to_owned(),
            };
            reader.warning(&named.path, named.value.span(), report);
        }
    }
}
