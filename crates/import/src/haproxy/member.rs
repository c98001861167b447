//! One server as a backend of its pool.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Backend, Pool, Role, Selection};

use crate::haproxy::build::Tables;
use crate::haproxy::desk::Desk;
use crate::haproxy::probing;
use crate::haproxy::proxy::Proxy;
use crate::haproxy::server::Server;

/// The numbers by which a hash knows servers: their `id`, else the first free one from their place in the section on,
/// which is 1 for the first. Tried on HAProxy 2.6: behind `id 7` and `id 1234` follow 3 and 4.
pub(super) struct Ids {
    taken: BTreeSet<u32>,
    next: u32,
    last: u32,
    /// Whether they rise in file order.
    pub(super) is_sorted: bool,
}

impl Ids {
    pub(super) fn of(desk: &mut Desk<'_, '_>, proxy: &Proxy) -> Self {
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

    pub(super) fn next(&mut self, server: &Server) -> u32 {
        let id = if let Some(id) = &server.id {
            id.value
        } else {
            while self.taken.contains(&self.next) {
                self.next = self.next.saturating_add(1);
            }
            self.next
        };
        // HAProxy counts on past servers that bring an `id` as well.
        self.next = self.next.saturating_add(1);
        self.is_sorted &= id > self.last;
        self.last = id;
        id
    }
}

/// Makes the backend of `server`.
pub(super) fn backend(
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
    let track = settings.track.as_ref();
    let tracked = track.and_then(|track| tables.tracked(desk, proxy, track));
    // Whoever tracks a server that is out is out with it.
    let is_disabled = settings.disabled.is_some()
        || proxy.inherited.disabled
        || tracked.is_some_and(|tracked| tracked.is_disabled);
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
        follows: tracked.map(|tracked| (tracked.proxy.name.clone(), tracked.name.to_owned())),
        check: probing::check(desk, proxy, server, tracked, &path, pool),
        tls_verified: settings.ssl.as_ref().map(|_| tables.is_verified(settings)),
        ..Backend::blank(&server.name, &path, &server.address)
    }
}
