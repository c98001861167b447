//! Rates by route: what moves with them, and that nothing moves without them.

use std::sync::Arc;

use evenkeel_model::setup::Setup;
use evenkeel_model::tally::RouteKey;
use proptest::prelude::*;

use crate::facts::{Facts, PoolFacts, RouteFacts};
use crate::outlook::Out;
use crate::outlook::{CaseKind, Forecast, forecast, forecast_without};

/// A set-up of two pools, of one backend of 100 requests per second each, with these routes: host and path, and
/// after `#` the one method that they take.
fn setup(routes: &[(&str, &str)]) -> Setup {
    let mut parts = vec!["[listener.web]\naddress = \"127.0.0.1:8080\"\n".to_owned()];
    for (matched, pool) in routes {
        let (host, prefix) = matched.split_once('/').unwrap();
        let host = match host {
            "" => String::new(),
            host => format!("host = \"{host}\"\n"),
        };
        let (prefix, methods) = match prefix.split_once('#') {
            Some((prefix, method)) => (prefix, format!("methods = [\"{method}\"]\n")),
            None => (prefix, String::new()),
        };
        parts.push(format!(
            "[[route]]\nlistener = \"web\"\n{host}path_prefix = \"/{prefix}\"\n{methods}pool = \"{pool}\"\n"
        ));
    }
    for (n, pool) in ["shop", "cart"].iter().enumerate() {
        parts.push(format!(
            "[pool.{pool}]\nalgorithm = \"least_request\"\n[pool.{pool}.backend.b]\naddress = \"127.0.0.1:90{n}1\"\ncapacity_rps = 100\n"
        ));
    }
    let text = parts.concat();
    let parsed = evenkeel_model::parse::parse(&text, None);
    let config = parsed.config;
    Setup::of(&config.unwrap_or_else(|| panic!("{text}\n{:?}", parsed.findings)))
}

fn key(matched: &str) -> RouteKey {
    let (host, prefix) = matched.split_once('/').unwrap();
    let (prefix, method) = match prefix.split_once('#') {
        Some((prefix, method)) => (prefix, Some(method)),
        None => (prefix, None),
    };
    RouteKey {
        listener: "web".to_owned(),
        host: (!host.is_empty()).then(|| host.to_owned()),
        path_prefix: format!("/{prefix}"),
        condition: method.map(|method| format!("methods = [\"{method}\"]")),
    }
}

/// An instance that runs `routes` and counted these rates by them.
fn running(routes: &[(&str, &str)], rates: &[f64]) -> Facts {
    let mut facts = Facts::default();
    for ((matched, pool), rps) in routes.iter().zip(rates) {
        let seen = RouteFacts {
            highest_minute_rps: *rps,
            pool: Some((*pool).to_owned()),
        };
        facts.routes.insert(key(matched), seen);
        let pool: &mut PoolFacts = facts.pools.entry((*pool).to_owned()).or_default();
        *pool.highest_minute_rps.get_or_insert(0.0) += rps;
    }
    facts
}

fn rps(forecast: &Forecast, pool: &str) -> f64 {
    forecast.pool(pool).unwrap().rps.unwrap()
}

const NOW: [(&str, &str); 2] = [("/cart", "cart"), ("/", "shop")];

#[test]
fn routes_that_move_take_their_rates_along() {
    let facts = running(&NOW, &[40.0, 50.0]);
    let both = setup(&[("/cart", "shop"), ("/", "shop")]);
    let after = forecast(&both, &facts);
    assert!((rps(&after, "shop") - 90.0 * 1.2).abs() < 1e-9);
    assert!(rps(&after, "cart").abs() < 1e-9);
    let shop = &after.pool("shop").unwrap().backends[0];
    assert!((shop.utilisation.unwrap() - 1.08).abs() < 1e-9);
    assert_eq!(
        after.pool("cart").unwrap().backends[0].utilisation,
        Some(0.0)
    );
    assert!(
        after.notes[0].contains("pool `shop`: its rate is the sum"),
        "{:?}",
        after.notes
    );
    assert!(!after.notes[0].contains("counts as 0"));
    let out = Out::Backend {
        pool: "shop".to_owned(),
        backend: "b".to_owned(),
    };
    let without = forecast_without(&both, &facts, &out).unwrap();
    assert!((without.pools[0].rps.unwrap() - 108.0).abs() < 1e-9);
}

#[test]
fn a_condition_keeps_its_requests_wherever_it_leads_and_takes_no_part_of_others() {
    let facts = running(&[("/cart#POST", "cart"), ("/cart", "shop")], &[40.0, 50.0]);
    for (routes, shop, cart) in [
        (vec![("/#POST", "shop"), ("/", "cart")], 40.0, 50.0),
        (vec![("/", "shop")], 90.0, 0.0),
        // What part of them are a GET is not known.
        (vec![("/#GET", "cart"), ("/", "shop")], 90.0, 0.0),
    ] {
        let after = forecast(&setup(&routes), &facts);
        let got = (rps(&after, "shop") / 1.2, rps(&after, "cart") / 1.2);
        assert!(
            (got.0 - shop).abs() < 1e-9 && (got.1 - cart).abs() < 1e-9,
            "{routes:?}: {got:?}"
        );
    }
}

#[test]
fn a_route_that_is_gone_leaves_its_requests_to_the_first_that_takes_all_of_them() {
    let facts = running(&[("/cart", "cart"), ("www.x.com/", "shop")], &[40.0, 50.0]);
    for (routes, shop, cart) in [
        (vec![("/", "shop")], 90.0, 0.0),
        // Only requests of one host: what part of `/cart` they are is not known, so it adds nothing.
        (
            vec![("*.x.com/", "cart"), ("www.x.com/", "shop")],
            0.0,
            50.0,
        ),
        (vec![("/car", "shop"), ("/cart", "cart")], 0.0, 40.0),
        (vec![("/cart/", "shop")], 40.0, 0.0),
    ] {
        let after = forecast(&setup(&routes), &facts);
        let got = (rps(&after, "shop") / 1.2, rps(&after, "cart") / 1.2);
        assert!(
            (got.0 - shop).abs() < 1e-9 && (got.1 - cart).abs() < 1e-9,
            "{routes:?}: {got:?}"
        );
    }
}

#[test]
fn a_route_that_was_never_seen_counts_as_nothing_and_is_named() {
    let facts = running(&NOW, &[40.0, 50.0]);
    let after = forecast(
        &setup(&[("/new", "shop"), ("/cart", "shop"), ("/", "shop")]),
        &facts,
    );
    assert!((rps(&after, "shop") - 108.0).abs() < 1e-9);
    assert!(
        after.notes[0].ends_with("no request was seen by `web /new`, which counts as 0"),
        "{:?}",
        after.notes
    );
    // Beside the routes that go there already it changes nothing.
    let beside = setup(&[("/new", "shop"), ("/cart", "cart"), ("/", "shop")]);
    assert!((rps(&forecast(&beside, &facts), "shop") - 60.0).abs() < 1e-9);
}

#[test]
fn a_declared_peak_goes_before_the_routes() {
    let facts = running(&NOW, &[40.0, 50.0]);
    let mut both = setup(&[("/cart", "shop"), ("/", "shop")]);
    both.pools[0].peak_rps = Some(70.0);
    let after = forecast(&both, &facts);
    assert!((rps(&after, "shop") - 70.0).abs() < 1e-9);
    assert!(
        !after
            .notes
            .iter()
            .any(|note| note.contains("`shop`: its rate"))
    );
}

#[test]
fn a_rollback_is_judged_by_where_its_own_routes_lead() {
    let mut facts = running(&NOW, &[40.0, 50.0]);
    facts.rollback_target = Some(Arc::new(setup(&[("/", "cart")])));
    let case = |setup: &Setup| {
        let after = forecast(setup, &facts);
        let mut cases = after.cases.into_iter();
        cases
            .find(|case| case.case == CaseKind::RollbackTarget)
            .unwrap()
    };
    // Whatever the change at hand does with the routes.
    for candidate in [setup(&NOW), setup(&[("/cart", "shop"), ("/", "shop")])] {
        let case = case(&candidate);
        let cart = case.pools.iter().find(|pool| pool.name == "cart").unwrap();
        assert!((cart.rps.unwrap() - 108.0).abs() < 1e-9, "{cart:?}");
    }
}

proptest! {
    #[test]
    fn without_moved_routes_nothing_changes_and_no_request_is_lost_or_made(
        rates in proptest::collection::vec(0.0f64..200.0, 4),
        now in proptest::collection::vec(any::<bool>(), 4),
        then in proptest::collection::vec(any::<bool>(), 4),
    ) {
        let matched = ["a.com/x", "a.com/", "/y", "/"];
        let to = |to_cart: &[bool]| -> Vec<(&str, &str)> {
            let pool = |cart: bool| if cart { "cart" } else { "shop" };
            matched.iter().zip(to_cart).map(|(m, cart)| (*m, pool(*cart))).collect()
        };
        let facts = running(&to(&now), &rates);
        let blind = Facts { routes: std::collections::BTreeMap::new(), ..facts.clone() };
        let same = setup(&to(&now));
        prop_assert_eq!(forecast(&same, &facts), forecast(&same, &blind));
        let after = forecast(&setup(&to(&then)), &facts);
        let total: f64 = after.pools.iter().filter_map(|pool| pool.rps).sum();
        prop_assert!((total - rates.iter().sum::<f64>() * 1.2).abs() < 1e-6);
    }
}
