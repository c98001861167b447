//! What clients of a listener may speak, as a file says it.

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::Protocols;
use crate::finding::Severity;
use crate::parse::parse;

fn speaking(keys: &str) -> String {
    SHOP.replacen(
        "address = \"127.0.0.1:8080\"\n",
        &format!("address = \"127.0.0.1:8080\"\n{keys}\n"),
        1,
    )
}

#[test]
fn http_1_is_spoken_unless_more_is_said_and_an_older_hash_stays() {
    let plain = good(SHOP);
    assert_eq!(plain.listeners[0].protocols, Protocols::default());
    assert!(!to_toml(&plain).contains("protocols"));
    let same = good(&speaking("protocols = [\"http/1.1\"]"));
    assert_eq!(content_hash(&same), content_hash(&plain));
    for (keys, http1, http2, streams_max) in [
        ("protocols = [\"http/1.1\", \"h2\"]", true, true, 100),
        ("protocols = [\"h2\"]\nstreams_max = 7", false, true, 7),
    ] {
        let config = good(&speaking(keys));
        let expected = Protocols {
            http1,
            http2,
            streams_max,
        };
        assert_eq!(config.listeners[0].protocols, expected);
        assert_ne!(content_hash(&config), content_hash(&plain));
        assert_eq!(good(&to_toml(&config)), config);
    }
}

#[test]
fn what_is_no_protocol_is_refused_with_its_place_and_fix() {
    for (keys, path, part) in [
        ("protocols = []", "protocols", "protocols = [\"http/1.1\"]"),
        (
            "protocols = \"h2\"",
            "protocols",
            "protocols = [\"http/1.1\"]",
        ),
        ("protocols = [\"h2c\"]", "protocols.0", "mean \"h2\""),
        ("protocols = [\"h2\", \"h2\"]", "protocols.1", "remove it"),
        ("protocols = [\"h2\"]\nstreams_max = 0", "streams_max", "1"),
        (
            "protocols = [\"h2\"]\nstreams_max = 1001",
            "streams_max",
            "1000",
        ),
    ] {
        let parsed = parse(&speaking(keys), None);
        assert!(parsed.config.is_none(), "{keys}");
        let [finding] = &parsed.findings[..] else {
            panic!("{keys}: {:?}", parsed.findings);
        };
        assert!(
            finding.path.ends_with(path) && finding.fix.contains(part),
            "{keys}: {finding:?}"
        );
    }
}

#[test]
fn a_limit_of_streams_where_none_are_is_a_warning() {
    let parsed = parse(&speaking("streams_max = 50"), None);
    let [finding] = &parsed.findings[..] else {
        panic!("{:?}", parsed.findings);
    };
    assert_eq!(finding.severity, Severity::Warning);
    assert!(parsed.config.is_some() && finding.message.contains("HTTP/2"));
}
