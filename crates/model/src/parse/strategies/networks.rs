//! Proxies in front of listeners and what is spoken there, for the property tests.

use crate::config::{Address, Network, Protocols, ProxyProtocol};
use crate::ids::Name;

/// None, one network, or several.
pub(super) fn proxied(which: u32) -> Option<ProxyProtocol> {
    let texts = ["10.0.0.0/8", "fd00::/8", "192.0.2.1", "::1"];
    let from: Vec<Network> = texts
        .iter()
        .skip(which as usize % 5)
        .map(|text| text.parse().unwrap())
        .collect();
    (!from.is_empty()).then_some(ProxyProtocol { from })
}

/// Sockets that do not clash; one that a proxy in front talks to is no Unix socket.
pub(super) fn address(name: &Name, proxied: Option<&ProxyProtocol>) -> Address {
    match proxied {
        Some(_) => Address::Tcp("127.0.0.1:0".parse().unwrap()),
        None => Address::Unix(format!("/{name}").into()),
    }
}

/// Each of what may be spoken, with and without a limit of its own.
pub(super) fn protocols(which: u32) -> Protocols {
    Protocols {
        http1: !which.is_multiple_of(3),
        http2: which.is_multiple_of(3) || which.is_multiple_of(2),
        streams_max: 100 + which % 5,
    }
}
