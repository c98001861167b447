//! Protocols other than plain HTTP/1 that the original speaks to clients or routes: what would break is left out.
//!
//! What a backend is spoken to in leaves out its pool, which is not decided here. A listener that expects another
//! protocol (PROXY, HTTP/2 without TLS) would refuse everybody, and a route that passes on other upgrades than WebSocket
//! would break the connections that it is there for. A listener with TLS comes along all the same: it is put behind a terminator, which
//! speaks to clients whatever they speak now.
//!
//! Limits: what a line says is told by its first words, as the asides have them; where the place of an upgrade names no
//! route, every route of its server is left out.

use evenkeel_model::setup::{Listener, Route, Setup};

use crate::carry::{Addresses, address};
use crate::{Aside, AsideKind};

/// The protocols of a set-up that would break.
pub(super) struct Protocols<'a> {
    addresses: &'a Addresses,
    of_listeners: Vec<&'a Aside>,
    /// With the configuration path below which they hold.
    of_routes: Vec<(&'a str, &'a Aside)>,
}

impl<'a> Protocols<'a> {
    pub(super) fn of(setup: &Setup, asides: &'a [Aside], addresses: &'a Addresses) -> Self {
        let spoken = asides.iter().filter(|a| a.kind == AsideKind::Protocol);
        let of_listeners = spoken.clone().filter(|a| is_of_listener(a)).collect();
        let passed = spoken.filter(|a| is_upgrade(a));
        let of_routes = passed.map(|a| (scope(setup, &a.path), a)).collect();
        Self {
            addresses,
            of_listeners,
            of_routes,
        }
    }

    /// What clients of `listener` must speak, where that is not plain HTTP/1.
    pub(super) fn on(&self, listener: &Listener) -> Option<&'a str> {
        if listener.is_tls {
            return None;
        }
        let asides = self.of_listeners.iter();
        let found = asides.copied().find(|aside| self.is_at(aside, listener));
        found.map(|aside| aside.what.as_str())
    }

    /// What requests of `route`, which is one of a listener at `listener`, may be upgraded to.
    pub(super) fn through(&self, route: &Route, listener: &str) -> Option<&'a str> {
        let mut passed = self.of_routes.iter();
        let found = passed.find(|(scope, _)| {
            within(&route.path, scope) || (!scope.is_empty() && within(listener, scope))
        });
        found.map(|(_, aside)| aside.what.as_str())
    }

    fn is_at(&self, aside: &Aside, listener: &Listener) -> bool {
        let line = ["listen ", "bind "];
        let words = line.iter().find_map(|name| aside.what.strip_prefix(name));
        let section = section(&aside.path);
        let Some(words) = words else {
            return within(&listener.path, section) || within(&aside.path, &listener.path);
        };
        let given = words.split_once(" .. ").map_or(words, |(given, _)| given);
        let known = |text: &str| address::listen(text.trim(), self.addresses).ok();
        let address = known(&listener.address);
        given.split(',').any(|given| {
            given == listener.address || (address.is_some() && known(given) == address)
        })
    }
}

/// Whether it says what clients speak to a listener.
fn is_of_listener(aside: &Aside) -> bool {
    let begins = ["listen ", "bind ", "codec_type "];
    let holds = [
        "expect-proxy",
        "expect-netscaler-cip",
        "ProxyProtocol",
        "proxy_protocol",
    ];
    begins.iter().any(|word| aside.what.starts_with(word))
        || holds.iter().any(|word| aside.what.contains(word))
}

/// Whether it passes on requests for another protocol on the same connection than WebSocket, which every route here
/// passes on. What nginx passes on is what clients ask for, and that is WebSocket unless somebody says more.
fn is_upgrade(aside: &Aside) -> bool {
    let named = aside.what.strip_prefix("upgrade_configs");
    let is_passed = |word: &str| word.eq_ignore_ascii_case("websocket") || word == "true";
    named.is_some_and(|names| !names.split_whitespace().all(is_passed))
}

/// Whether it is about WebSocket alone, which every route passes on.
pub(super) fn comes_along(aside: &Aside) -> bool {
    let begins = ["proxy_set_header ", "upgrade_configs"];
    let is_about = begins.iter().any(|word| aside.what.starts_with(word));
    aside.kind == AsideKind::Protocol && is_about && !is_upgrade(aside)
}

/// The part of the configuration that what stands at `path` holds for: the nearest block around it that holds a route or
/// is one. A location that names no route is one within another, and then the whole server is meant.
fn scope<'p>(setup: &Setup, path: &'p str) -> &'p str {
    let line = section(path);
    let names = |scope: &str| {
        setup.routes.iter().any(|route| within(&route.path, scope))
            || setup.listeners.iter().any(|l| within(&l.path, scope))
    };
    let mut block = line;
    while let Some((around, _)) = block.rsplit_once('.') {
        block = around;
        if names(block) {
            return block;
        }
        if let Some((server, _)) = block.split_once(".location.") {
            return server;
        }
    }
    ""
}

/// What stands before the number of a line.
fn section(path: &str) -> &str {
    path.rsplit_once(".line.")
        .map_or(path, |(before, _)| before)
}

fn within(path: &str, scope: &str) -> bool {
    let rest = path.strip_prefix(scope);
    scope.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
