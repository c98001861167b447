//! A limit of requests at once that is found out, as a file asks for it.

use super::{SHOP, good};
use crate::canonical::{content_hash, to_toml};
use crate::config::Adaptive;
use crate::parse::parse;
use crate::setup::Setup;

fn with(key: &str) -> String {
    SHOP.replace("[pool.shop.health]", &format!("{key}\n[pool.shop.health]"))
}

#[test]
fn bounds_are_read_with_their_defaults_and_change_the_hash() {
    let plain = good(SHOP);
    assert_eq!(plain.pools[0].adaptive, None);
    for (key, min, max) in [
        ("adaptive = {}", 2, 1_000),
        ("adaptive = { min = 5 }", 5, 1_000),
        ("adaptive = { max = 40 }", 2, 40),
        ("adaptive = { max = 1 }", 1, 1),
        ("adaptive = { min = 2000 }", 2_000, 2_000),
        ("adaptive = { min = 7, max = 7 }", 7, 7),
    ] {
        let config = good(&with(key));
        let adaptive = Adaptive { min, max };
        assert_eq!(config.pools[0].adaptive, Some(adaptive), "{key}");
        assert_ne!(content_hash(&config), content_hash(&plain));
        let text = to_toml(&config);
        assert_eq!(good(&text).pools[0].adaptive, Some(adaptive), "{key}");
        let most = Setup::of(&config).pools[0].backends[0].in_flight_max;
        assert_eq!(most, Some(u64::from(max)));
    }
}

#[test]
fn it_is_not_beside_another_limit_and_has_room_between_its_bounds() {
    for (key, message) in [
        (
            "max_in_flight = 9\nadaptive = {}",
            "`pool.shop` has both `max_in_flight` and `adaptive`",
        ),
        (
            "adaptive = { min = 9, max = 8 }",
            "`pool.shop.adaptive` has `min` = 9, above `max` = 8",
        ),
    ] {
        let parsed = parse(&with(key), None);
        assert!(parsed.config.is_none());
        let said: Vec<_> = parsed
            .findings
            .iter()
            .map(|f| (f.id, &*f.message))
            .collect();
        assert_eq!(said, [("CFG-06", message)]);
    }
}

#[test]
fn a_queue_has_something_to_wait_for_under_it() {
    let parsed = parse(&with("adaptive = {}\nqueue = {}"), None);
    assert_eq!(parsed.findings, []);
}
