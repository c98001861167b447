//! Where servers are checked, and two faults of it: no port at all, and one address for several servers.
//!
//! Tried on HAProxy 2.6: a checked server needs a port of its own, by `port`, by `addr` or by a rule that connects;
//! without one the whole file is refused. A socket in the file system and a record that DNS answers with ports need none.
//!
//! Limits: what a rule of `tcp-check` or `http-check` connects to is not read; where there is one, nothing is said.

use std::collections::BTreeMap;

use crate::haproxy::check::Kind;
use crate::haproxy::desk::{Desk, shorten};
use crate::haproxy::proxy::Proxy;
use crate::haproxy::server::Server;

/// Says what is wrong with where the servers of `proxy` are checked.
pub(super) fn check(desk: &mut Desk<'_, '_>, proxy: &Proxy) {
    let checking = &proxy.inherited.checking;
    let kind = checking.kind.as_ref().map(|kind| &kind.value);
    let is_external = matches!(kind, Some(Kind::Other(kind)) if kind == "external-check");
    if proxy.inherited.disabled || checking.connects || is_external {
        return;
    }
    let mut first: BTreeMap<(&str, u64), &Server> = BTreeMap::new();
    let mut twins: Vec<(&Server, &Server)> = Vec::new();
    for server in proxy.servers.iter().filter(|s| s.settings.check.is_some()) {
        let Some((host, port)) = target(server) else {
            continue;
        };
        if port == 0 {
            let message = format!(
                "server `{}` is checked and has neither a port nor a check port",
                shorten(&server.name)
            );
            desk.refuse(&server.range, message);
            continue;
        }
        let known = *first.entry((host, port)).or_insert(server);
        if known.address != server.address {
            twins.push((known, server));
        }
    }
    let Some((one, two)) = twins.first() else {
        return;
    };
    let more = match twins.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more like them"),
    };
    let (host, port) = target(two).unwrap_or_default();
    let message = format!(
        "servers `{}` and `{}` are both checked at {}:{port}{more}",
        shorten(&one.name),
        shorten(&two.name),
        shorten(host)
    );
    let settings = &two.settings;
    let range = settings.check_addr.as_ref().map(|addr| &addr.range);
    let range = range.or(settings.check_port.as_ref().map(|port| &port.range));
    desk.unheeded(
        range.unwrap_or(&two.range),
        &message,
        "one of them that fails is not noticed while that address answers, and keeps its share",
        "check each server where it serves: remove `addr` and `port`, or write its own",
    );
}

/// Host and port that a server is checked at, port 0 where there is none; `None`: no telling, or no port is needed.
fn target(server: &Server) -> Option<(&str, u64)> {
    let settings = &server.settings;
    let addr = settings.check_addr.as_ref().map(|addr| addr.value.as_str());
    let own = addr.unwrap_or(&server.address);
    let has_family = |text: &str| text.contains('@') && !text.starts_with("ipv");
    let is_elsewhere =
        |text: &str| text.starts_with(['/', '_']) || text.contains('$') || has_family(text);
    if is_elsewhere(own) || is_elsewhere(&server.address) {
        return None;
    }
    let host = own.rsplit_once('@').map_or(own, |(_, host)| host);
    let (host, of_addr) = split(host);
    let (_, of_server) = split(&server.address);
    let by_setting = settings.check_port.as_ref().map_or(0, |port| port.value);
    let ports = [by_setting, of_addr, of_server];
    let port = ports.into_iter().find(|port| *port > 0).unwrap_or(0);
    Some((host, port))
}

/// Host and port, 0 without one; a port with a sign is one that is mapped, which no check knows.
fn split(address: &str) -> (&str, u64) {
    let Some((host, port)) = address.rsplit_once(':') else {
        return (address, 0);
    };
    if port.ends_with(']') {
        return (address, 0);
    }
    let is_number = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u64>().ok().filter(|_| is_number);
    (host, port.unwrap_or(0))
}
