//! What requests of a route may be upgraded to, and how long tunnels last, as a file says it.

use std::time::Duration;

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::{Tunnels, Upgrades};
use crate::finding::Severity;
use crate::parse::parse;

fn routed(key: &str) -> String {
    SHOP.replace(
        "path_prefix = \"/\"\n",
        &format!("path_prefix = \"/\"\n{key}\n"),
    )
}

fn pooled(key: &str) -> String {
    SHOP.replace("[pool.shop.health]", &format!("{key}\n[pool.shop.health]"))
}

#[test]
fn web_sockets_pass_unless_a_route_says_otherwise_and_an_older_hash_stays() {
    let plain = good(SHOP);
    assert_eq!(plain.routes[0].upgrades.0, ["websocket"]);
    let same = good(&routed("upgrade = [\"WebSocket\"]"));
    assert_eq!(content_hash(&same), content_hash(&plain));
    assert!(!to_toml(&plain).contains("upgrade") && !to_toml(&plain).contains("tunnel"));
    for (key, names) in [
        ("upgrade = []", vec![]),
        ("upgrade = [\"tcp\", \"SPDY/3.1\"]", vec!["tcp", "spdy/3.1"]),
    ] {
        let config = good(&routed(key));
        assert_eq!(config.routes[0].upgrades.0, names, "{key}");
        assert_ne!(content_hash(&config), content_hash(&plain));
        assert_eq!(good(&to_toml(&config)), config);
    }
}

#[test]
fn protocols_match_in_any_case() {
    let upgrades = Upgrades(vec!["spdy/3.1".to_owned()]);
    assert!(upgrades.allows("SPDY/3.1") && !upgrades.allows("spdy"));
}

#[test]
fn what_may_not_be_tunnelled_or_is_no_protocol_is_refused_with_its_place_and_fix() {
    for (value, path, part) in [
        ("\"websocket\"", "route.0.upgrade", "[\"websocket\"]"),
        ("[\"h2c\"]", "route.0.upgrade.0", "HTTP/1.1"),
        ("[\"tcp\", \"HTTP/2.0\"]", "route.0.upgrade.1", "HTTP/1.1"),
        ("[\"tls/1.0\"]", "route.0.upgrade.0", "HTTP/1.1"),
        ("[\"web socket\"]", "route.0.upgrade.0", "spdy/3.1"),
        ("[\"a/b/c\"]", "route.0.upgrade.0", "spdy/3.1"),
        ("[7]", "route.0.upgrade.0", "spdy/3.1"),
        ("[\"tcp\", \"TCP\"]", "route.0.upgrade.1", "remove it"),
        (
            "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]",
            "route.0.upgrade",
            "upgrade = []",
        ),
    ] {
        let parsed = parse(&routed(&format!("upgrade = {value}")), None);
        let [finding] = parsed.findings.as_slice() else {
            panic!("{value}: {:?}", parsed.findings);
        };
        assert_eq!(finding.severity, Severity::Error, "{value}");
        assert_eq!(finding.path, path, "{value}");
        assert!(finding.fix.contains(part), "{value}: {}", finding.fix);
    }
    let typo = parse(&routed("upgrade = [\"websockets\"]"), None);
    assert_eq!(typo.findings[0].severity, Severity::Warning);
    assert!(typo.findings[0].fix.contains("websocket"));
}

#[test]
fn tunnels_last_as_long_as_the_pool_says_within_bounds() {
    assert_eq!(good(SHOP).pools[0].tunnels, Tunnels::default());
    let config = good(&pooled("tunnel_idle = \"2m\"\ntunnel_drain = \"10s\""));
    let tunnels = Tunnels {
        idle: Duration::from_mins(2),
        drain: Duration::from_secs(10),
    };
    assert_eq!(config.pools[0].tunnels, tunnels);
    assert_eq!(good(&to_toml(&config)), config);
    for key in [
        "tunnel_idle = \"10ms\"",
        "tunnel_idle = \"8d\"",
        "tunnel_drain = 0",
    ] {
        assert!(parse(&pooled(key), None).config.is_none(), "{key}");
    }
}
