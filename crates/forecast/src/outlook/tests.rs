//! The forecast of Evenkeel's own configurations.

use super::{Method, Out, WORST_CASES, forecast, forecast_without};
use crate::facts::{Facts, PoolFacts};
use evenkeel_balance::Standing;
use evenkeel_model::setup::Setup;

fn name(text: &str) -> String {
    text.to_owned()
}

fn config(pool: &str, backends: &[&str]) -> Setup {
    let mut parts = vec![format!(
        "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npool = \"shop\"\n[pool.shop]\n{pool}\n"
    )];
    for (i, backend) in backends.iter().enumerate() {
        let (n, port) = (i + 1, 9_001 + i);
        parts.push(format!(
            "[pool.shop.backend.web-{n}]\naddress = \"127.0.0.1:{port}\"\n{backend}\n"
        ));
    }
    let text = parts.concat();
    let parsed = evenkeel_model::parse::parse(&text, None);
    let config = parsed.config;
    Setup::of(&config.unwrap_or_else(|| panic!("{:?}", parsed.findings)))
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() < 1e-9)
}

#[test]
fn the_numbers_of_the_contract_hold_together() {
    let backend = "capacity_rps = 600";
    let even = forecast(&config("peak_rps = 900", &[backend; 3]), &Facts::default());
    assert!(
        even.pools[0]
            .backends
            .iter()
            .all(|b| close(b.utilisation, 0.5))
    );
    assert_eq!(even.failures.len(), 3);
    for (case, out) in even.failures.iter().zip(["web-1", "web-2", "web-3"]) {
        assert_eq!(case.out, format!("backend:shop/{out}"));
        assert!(close(case.pools[0].highest_utilisation(), 0.75));
        let gone = case.pools[0].backends.iter().find(|b| b.name == *out);
        assert!(gone.is_some_and(|b| close(b.expected_share, 0.0) && close(b.intended_share, 0.0)));
    }
    let heavy = "capacity_rps = 600\nweight = 10";
    let one = "capacity_rps = 600\nweight = 1";
    let typo = forecast(
        &config("peak_rps = 900", &[heavy, one, one]),
        &Facts::default(),
    );
    let backend = &typo.pools[0].backends[0];
    assert!(close(backend.expected_rps, 750.0) && close(backend.utilisation, 1.25));
    assert!(close(backend.intended_share, 1.0 / 3.0) && close(backend.expected_share, 10.0 / 12.0));
}

#[test]
fn what_is_not_known_is_none() {
    let none = forecast(&config("", &["", ""]), &Facts::default());
    let backend = &none.pools[0].backends[0];
    assert_eq!(
        (none.pools[0].rps, backend.expected_rps, backend.utilisation),
        (None, None, None)
    );
    assert!(close(backend.expected_share, 0.5));
    let load = forecast(
        &config("algorithm = \"least_request\"\npeak_rps = 10", &["", ""]),
        &Facts::default(),
    );
    // Without capacities only the limit for few requests in flight is left, and it says so.
    assert_eq!(load.pools[0].method, Method::LowLoad);
    assert!(close(load.pools[0].backends[0].expected_share, 0.5));
    assert!(load.notes[0].contains("few requests in flight"));
    assert!(close(
        load.failures[0].pools[0].backends[1].expected_share,
        1.0
    ));
}

#[test]
fn without_a_declared_peak_the_highest_minute_counts_with_a_fifth_on_top() {
    let config = config("", &["capacity_rps = 100", "capacity_rps = 100"]);
    let mut facts = Facts::default();
    let seen = PoolFacts {
        highest_minute_rps: Some(100.0),
        ..PoolFacts::default()
    };
    facts.pools.insert(name("shop"), seen);
    assert!(close(forecast(&config, &facts).pools[0].rps, 120.0));
    assert!(close(
        forecast(&config, &facts).pools[0].backends[0].utilisation,
        0.6
    ));
}

#[test]
fn backends_that_are_down_or_drained_give_their_share_to_the_others() {
    let config = config("peak_rps = 900", &["capacity_rps = 600"; 3]);
    let mut facts = Facts::default();
    let mut pool = PoolFacts::default();
    pool.standings.insert(name("web-1"), Standing::Down);
    facts.pools.insert(name("shop"), pool.clone());
    let down = forecast(&config, &facts);
    assert!(close(down.pools[0].highest_utilisation(), 0.75));
    assert!(close(down.failures[1].pools[0].highest_utilisation(), 1.5));
    // Nobody healthy: fail-open over those that are not drained.
    pool.standings.insert(name("web-2"), Standing::Down);
    pool.standings.insert(name("web-3"), Standing::Drained);
    facts.pools.insert(name("shop"), pool);
    let open = forecast(&config, &facts);
    assert!(close(open.pools[0].backends[0].expected_share, 0.5));
    assert!(close(open.pools[0].backends[2].expected_share, 0.0));
    // What is out is gone, it takes nothing even when the rest of the pool fails open.
    let out = &open.failures[0].pools[0];
    assert!(
        close(out.backends[0].expected_share, 0.0) && close(out.backends[1].expected_share, 1.0)
    );
}

#[test]
fn a_zone_can_be_out_as_a_whole() {
    let (a, b) = (
        "capacity_rps = 600\nzone = \"a\"",
        "capacity_rps = 600\nzone = \"b\"",
    );
    let config = config("peak_rps = 900", &[a, a, b]);
    let case = forecast_without(&config, &Facts::default(), &Out::Zone(name("a"))).unwrap();
    assert_eq!(case.out, "zone:a");
    assert!(close(case.pools[0].backends[2].utilisation, 1.5));
    assert_eq!(
        forecast_without(&config, &Facts::default(), &Out::Zone(name("c"))),
        None
    );
}

#[test]
fn a_very_large_pool_shows_the_losses_that_weigh_most_and_says_so() {
    let mut backends = vec!["capacity_rps = 100\nweight = 1"; 100];
    backends[40] = "capacity_rps = 100\nweight = 9";
    backends[70] = "capacity_rps = 100\nweight = 7";
    let config = config("peak_rps = 100", &backends);
    let forecast = forecast(&config, &Facts::default());
    let outs: Vec<&str> = forecast
        .failures
        .iter()
        .map(|case| case.out.as_str())
        .collect();
    assert_eq!(
        outs,
        [
            "backend:shop/web-1",
            "backend:shop/web-41",
            "backend:shop/web-71"
        ]
    );
    assert!(outs.len() == WORST_CASES && forecast.notes[0].contains("worst cases"));
    // The highest utilisation that any single loss causes is among those shown.
    let highest = |out: &str| {
        let out = Out::Backend {
            pool: name("shop"),
            backend: name(out),
        };
        let case = forecast_without(&config, &Facts::default(), &out).unwrap();
        case.pools[0].highest_utilisation().unwrap()
    };
    let any = (1..=100)
        .map(|n| highest(&format!("web-{n}")))
        .fold(0.0, f64::max);
    let shown = forecast
        .failures
        .iter()
        .filter_map(|c| c.pools[0].highest_utilisation())
        .fold(0.0, f64::max);
    assert!((any - shown).abs() < 1e-12, "{any} {shown}");
}

#[test]
fn least_request_is_estimated_the_same_way_every_time() {
    let pool = "algorithm = \"least_request\"\npeak_rps = 900";
    let even = config(pool, &["capacity_rps = 600"; 3]);
    let first = forecast(&even, &Facts::default());
    assert_eq!(first, forecast(&even, &Facts::default()));
    for backend in &first.pools[0].backends {
        assert!(
            (backend.expected_share.unwrap() - 1.0 / 3.0).abs() < 0.02,
            "{first:?}"
        );
    }
    assert!((first.failures[0].pools[0].backends[1].utilisation.unwrap() - 0.75).abs() < 0.04);
    // Backends that are alike share evenly at any load; nothing is left to estimate.
    assert_eq!(first.pools[0].method, Method::ClosedForm);
    // Under load a weight of 10 gets more than the others, but less than weights alone would give it.
    let (heavy, one) = (
        "capacity_rps = 600\nweight = 10",
        "capacity_rps = 600\nweight = 1",
    );
    let typo = forecast(&config(pool, &[heavy, one, one]), &Facts::default());
    assert_eq!(typo.pools[0].method, Method::Simulated);
    assert!(typo.notes[0].contains("estimated"));
    let share = typo.pools[0].backends[0].expected_share.unwrap();
    assert!(share > 0.5 && share < 10.0 / 12.0, "{share}");
}
