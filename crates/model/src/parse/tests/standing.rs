//! What a file says about who takes traffic at run time: levels, slow start, ejection.

use std::time::Duration;

use super::{SHOP, good};
use crate::canonical::content_hash;
use crate::config::{Algorithm, Reported};
use crate::parse::parse;
use crate::setup::Setup;
use crate::units::Ratio;

#[test]
fn levels_slow_start_and_ejection_are_read_with_their_defaults() {
    let plain = good(SHOP);
    let pool = &plain.pools[0];
    assert!(pool.ejection.is_none() && pool.slow_start.is_none());
    assert!((pool.overprovisioning - 1.4).abs() < 1e-9 && pool.backends[0].priority == 0);
    let text = SHOP.replace(
        "[pool.shop.health]",
        "slow_start = \"30s\"\nejection = {}\n[pool.shop.health]",
    );
    let config = good(&text);
    let pool = &config.pools[0];
    let ejection = pool.ejection.unwrap();
    assert_eq!(pool.slow_start, Some(Duration::from_secs(30)));
    assert_eq!(ejection.consecutive, 5);
    assert_eq!(ejection.success_rate, Ratio::from_percent(30));
    assert_eq!(ejection.latency, None);
    assert_eq!(
        (ejection.time, ejection.time_max),
        (Duration::from_secs(30), Duration::from_mins(5))
    );
    assert_ne!(content_hash(&plain), content_hash(&config));
    // The audit and the forecast see it too: with two of three kept healthy, one may go.
    let setup = Setup::of(&config);
    let told = setup.pools[0].ejection.as_ref().unwrap();
    assert!((told.part_max - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(setup.pools[0].backends[0].slow_start, pool.slow_start);
}

#[test]
fn the_part_of_a_pool_that_may_be_ejected_is_bounded_on_both_sides() {
    for (count, min_healthy, most) in [(1, 1, 0), (2, 1, 1), (3, 2, 1), (3, 3, 0), (10, 1, 3)] {
        let mut pool = good(SHOP).pools.remove(0);
        let backend = pool.backends[0].clone();
        pool.backends = vec![backend; count];
        pool.min_healthy = min_healthy;
        assert_eq!(pool.ejections_max(), most, "{count} {min_healthy}");
    }
}

#[test]
fn what_is_out_of_range_is_refused_with_the_way_to_put_it_right() {
    for (keys, fix) in [
        ("slow_start = \"2h\"", "write a value from 1s to 1h"),
        ("slow_start = 30", "for example \"30s\""),
        (
            "false_alarm_every = \"1h\"",
            "write a value from 1d to 182500d",
        ),
        ("overprovisioning = 0.5", "write a value from 1 to 10"),
        ("ejection = { consecutive = 0 }", "write a value from 1 to"),
        ("ejection = { latency = 1 }", "write a value from 1.5 to"),
        (
            "ejection = { consecutiv = 3 }",
            "did you mean `consecutive`?",
        ),
        ("reported = { max = 0.5 }", "write a value from 1 to 100"),
        ("reported = { min = 0 }", "write a value from 0.01 to 1"),
        (
            "reported = { min = \"0.2\" }",
            "write a number without quotes: `min = 0.2`",
        ),
        ("reported = { min = nan }", "write a number: `min = 1`"),
        ("adaptive = { max = 10.5 }", "write a number: `max = 11`"),
        ("reported = { signal = \"memory\" }", "write one of them"),
        ("reported = { perod = \"10s\" }", "did you mean `period`?"),
        (
            "reported = { period = \"30s\", stale_after = \"10s\" }",
            "write at least 30s",
        ),
        (
            "ejection = { time = \"30s\", time_max = \"10s\" }",
            "write at least 30s",
        ),
    ] {
        let text = SHOP.replace("[pool.shop.health]", &format!("{keys}\n[pool.shop.health]"));
        let findings = parse(&text, None).findings;
        assert!(
            findings.iter().any(|finding| finding.fix.contains(fix)),
            "{keys}: {findings:#?}"
        );
    }
}

#[test]
fn reported_load_shapes_weights_only_where_nothing_else_would_chase_it() {
    let with = |keys: &str| parse(&SHOP.replace("algorithm = \"round_robin\"", keys), None);
    let table = "reported = { period = \"2m\" }";
    let reported = Reported {
        period: Duration::from_mins(2),
        stale_after: Duration::from_mins(2),
        ..Reported::default()
    };
    for algorithm in Algorithm::ALL {
        let key = if algorithm.is_hash() {
            "hash = { path = true }\n"
        } else {
            ""
        };
        let word = algorithm.as_str();
        let parsed = with(&format!("algorithm = \"{word}\"\n{key}{table}"));
        let found: Vec<_> = parsed
            .findings
            .iter()
            .filter(|f| f.id == "CFG-07")
            .collect();
        if let Some(config) = &parsed.config {
            assert_eq!(config.pools[0].reported, Some(reported), "{word}");
            assert!(Setup::of(config).pools[0].follows_reports);
        }
        assert_eq!(found.is_empty(), algorithm.takes_reports(), "{word}");
        for finding in found {
            assert_eq!(finding.path, "pool.shop.reported");
            assert!(finding.fix.contains("round_robin"), "{finding:#?}");
        }
    }
    assert!(!Setup::of(&good(SHOP)).pools[0].follows_reports);
}
