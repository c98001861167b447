//! Whom a listener believes who its client is, as a file says it.

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::finding::Severity;
use crate::parse::parse;

fn listening(address: &str, key: &str) -> String {
    SHOP.replacen(
        "address = \"127.0.0.1:8080\"\n",
        &format!("address = \"{address}\"\n{key}\n"),
        1,
    )
}

fn told(key: &str) -> String {
    listening("127.0.0.1:8080", key)
}

#[test]
fn networks_are_read_in_every_form_and_an_older_hash_stays() {
    let plain = good(SHOP);
    assert_eq!(plain.listeners[0].proxy_protocol, None);
    assert!(!to_toml(&plain).contains("proxy_protocol"));
    let config = good(&told(
        "proxy_protocol = { from = [\"10.0.0.0/8\", \"::1\", \"192.0.2.1/32\"] }",
    ));
    let from = &config.listeners[0].proxy_protocol.as_ref().unwrap().from;
    let from: Vec<String> = from.iter().map(ToString::to_string).collect();
    assert_eq!(from, ["10.0.0.0/8", "::1/128", "192.0.2.1/32"]);
    assert_ne!(content_hash(&config), content_hash(&plain));
    assert_eq!(good(&to_toml(&config)), config);
}

#[test]
fn what_names_no_proxy_in_front_is_refused_with_its_place_and_fix() {
    for (value, path, part) in [
        ("{}", "from", "add `from = ["),
        ("{ from = [] }", "from", "`from = [\"10.0.0.0/8\"]`"),
        (
            "{ from = \"10.0.0.0/8\" }",
            "from",
            "`from = [\"10.0.0.0/8\"]`",
        ),
        ("{ from = [\"lb\"] }", "from.0", "like \"10.0.0.0/8\""),
        ("{ from = [7] }", "from.0", "like \"10.0.0.0/8\""),
        ("{ from = [\"::/129\"] }", "from.0", "at most 128"),
        (
            "{ from = [\"10.1.2.3/8\"] }",
            "from.0",
            "\"10.0.0.0/8\" for the network, or \"10.1.2.3\"",
        ),
        ("{ from = [\"::1\", \"::1/128\"] }", "from.1", "remove it"),
    ] {
        let parsed = parse(&told(&format!("proxy_protocol = {value}")), None);
        assert!(parsed.config.is_none(), "{value}");
        let [finding] = &parsed.findings[..] else {
            panic!("{value}: {:?}", parsed.findings);
        };
        let is_there = finding.path.ends_with(path) || path == "from";
        assert!(
            is_there && finding.fix.contains(part),
            "{value}: {finding:?}"
        );
    }
}

#[test]
fn clients_without_an_address_cannot_be_believed() {
    let text = listening(
        "unix:/run/shop.sock",
        "proxy_protocol = { from = [\"10.0.0.0/8\"] }",
    );
    let parsed = parse(&text, None);
    assert!(parsed.config.is_none());
    assert!(parsed.findings[0].message.contains("Unix socket"));
}

#[test]
fn to_believe_everybody_is_a_warning() {
    for network in ["0.0.0.0/0", "::/0"] {
        let text = told(&format!("proxy_protocol = {{ from = [\"{network}\"] }}"));
        let parsed = parse(&text, None);
        let [finding] = &parsed.findings[..] else {
            panic!("{:?}", parsed.findings);
        };
        assert_eq!(finding.severity, Severity::Warning);
        assert!(parsed.config.is_some() && finding.effect.contains("any client address"));
    }
}
