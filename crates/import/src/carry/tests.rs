//! What is carried over into an evenkeel.toml, and what is said to stay behind.

use std::net::IpAddr;

use evenkeel_model::config::Intent;
use evenkeel_model::finding::{Origin, Severity};
use evenkeel_model::parse::parse;
use evenkeel_model::setup::{
    Backend, Balancer, CheckKind, Hash, HashKey, HashTable, Health, Listener, Nobody, Pool, Role,
    Route, Selection, Setup, Sticky, Touches, Wait,
};
use proptest::prelude::*;
use std::time::Duration;

use super::{Addresses, Carried, carry};
use crate::{Aside, AsideKind};

mod breaks;

fn shop(weights: &[u32]) -> Setup {
    let mut pool = Pool::blank("app", "backend.app");
    for (n, weight) in weights.iter().enumerate() {
        let (name, address) = (format!("s{n}"), format!("10.0.0.{}:80", n + 1));
        pool.backends.push(Backend {
            weight: *weight,
            ..Backend::blank(&name, &format!("backend.app.{name}"), &address)
        });
    }
    Setup {
        listeners: vec![Listener::blank("fe", "frontend.fe", "*:8080")],
        routes: vec![Route {
            path: "frontend.fe.default_backend".to_owned(),
            listener: "fe".to_owned(),
            host: None,
            path_prefix: None,
            whole_segments: false,
            condition: None,
            matcher: None,
            answer: None,
            edits: evenkeel_model::config::Edits::default(),
            targets: vec![("app".to_owned(), 1.0)],
        }],
        pools: vec![pool],
        ..Setup::blank(Balancer::Haproxy)
    }
}

fn carried(setup: &Setup) -> Carried {
    carry(setup, &Origin::default(), &[], &Addresses::new())
}

/// The set-up that the text makes, which must be a configuration.
fn back(carried: &Carried) -> Setup {
    let text = carried.text.as_deref().unwrap_or_default();
    let parsed = parse(text, None);
    let errors: Vec<_> = parsed
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .collect();
    let config = parsed.config.filter(|_| errors.is_empty());
    Setup::of(&config.unwrap_or_else(|| panic!("{errors:#?}\n{text}")))
}

fn lost<'a>(carried: &'a Carried, what: &str) -> &'a super::Loss {
    let mut losses = carried.losses.iter();
    losses
        .find(|loss| loss.what.contains(what))
        .unwrap_or_else(|| panic!("no loss of `{what}`: {:#?}", carried.losses))
}

/// Expected share of each backend by pool.
fn shares(setup: &Setup) -> Vec<Vec<Option<f64>>> {
    let forecast = evenkeel_forecast::forecast(setup, &evenkeel_forecast::Facts::default());
    let of = |pool: &evenkeel_forecast::PoolForecast| {
        pool.backends.iter().map(|b| b.expected_share).collect()
    };
    forecast.pools.iter().map(of).collect()
}

#[test]
fn weights_and_addresses_come_along_and_give_the_same_shares() {
    let setup = shop(&[5, 3, 1]);
    let carried = carried(&setup);
    let new = back(&carried);
    assert_eq!(shares(&new), shares(&setup));
    assert_eq!(new.listeners[0].address, "0.0.0.0:8080");
    assert_eq!(new.pools[0].backends[2].address, "10.0.0.3:80");
    assert!(
        !carried
            .losses
            .iter()
            .any(|l| matches!(l.touches, Touches::Pool(_)))
    );
    // Endless waits have no counterpart, and the reader of the report is told.
    assert!(
        lost(&carried, "timeouts of pool `app`")
            .consequence
            .contains("1h")
    );
}

#[test]
fn a_backend_known_by_name_is_left_out_aloud_unless_its_address_is_given() {
    let mut setup = shop(&[1, 1]);
    setup.pools[0].backends[1].address = "web.internal:80".to_owned();
    let without = carried(&setup);
    let loss = lost(&without, "web.internal");
    assert_eq!(loss.touches, Touches::Pool("app".to_owned()));
    assert!(
        loss.alternative.contains("--resolve web.internal="),
        "{loss:?}"
    );
    assert_eq!(back(&without).pools[0].backends.len(), 1);
    let text = without.text.unwrap();
    assert!(
        text.contains("# left out: backend `s1` (web.internal:80), weight 1"),
        "{text}"
    );
    let known = [("web.internal".to_owned(), IpAddr::from([10, 0, 0, 9]))];
    let with = carry(&setup, &Origin::default(), &[], &known.into());
    assert_eq!(back(&with).pools[0].backends[1].address, "10.0.0.9:80");
    assert!(!with.losses.iter().any(|l| l.what.contains("web.internal")));
}

#[test]
fn backups_disabled_servers_stickiness_and_hashes_are_reported_with_their_consequence() {
    let mut setup = shop(&[1, 1, 1, 1]);
    let pool = &mut setup.pools[0];
    pool.backends[1].role = Role::Backup;
    pool.backends[2].role = Role::Disabled;
    pool.backends[3].tls_verified = Some(false);
    pool.sticky = Some(Sticky {
        path: "backend.app.sticky".to_owned(),
        by: "cookie SRV".to_owned(),
        lasts: Wait::Endless,
        one_key: false,
    });
    pool.selection = Selection::Hash(Hash {
        key: HashKey::Uri,
        table: HashTable::HaproxyMap,
        balance_factor: None,
    });
    pool.failover.nobody = Nobody::Refuse;
    let carried = carried(&setup);
    for what in [
        "`s1`",
        "`s2`",
        "`s3`",
        "stickiness by cookie SRV",
        "the table of the hash",
        "refusing",
    ] {
        assert!(!lost(&carried, what).consequence.is_empty());
    }
    let pool = &back(&carried).pools[0];
    assert_eq!(pool.backends.len(), 1);
    assert!(
        matches!(&pool.selection, Selection::Hash(h) if h.key == HashKey::Uri && h.table == HashTable::EvenkeelMaglev)
    );
}

#[test]
fn a_hash_keeps_its_key_and_its_bound_and_one_without_a_like_key_is_said_to_be_lost() {
    let mut setup = shop(&[1, 1]);
    let hash = |key, balance_factor| {
        Selection::Hash(Hash {
            key,
            table: HashTable::EnvoyMaglev { size: 65_537 },
            balance_factor,
        })
    };
    setup.pools[0].selection = hash(HashKey::Header("x-user".to_owned()), Some(1.25));
    let pool = &back(&carried(&setup)).pools[0];
    let Selection::Hash(kept) = &pool.selection else {
        panic!("{:?}", pool.selection);
    };
    assert_eq!(kept.key, HashKey::Header("x-user".to_owned()));
    assert_eq!(kept.balance_factor, Some(1.25));
    for key in [
        HashKey::Other("hdr_ip(x)".to_owned()),
        HashKey::Header("a b\"".to_owned()),
    ] {
        setup.pools[0].selection = hash(key, None);
        let carried = carried(&setup);
        assert!(!lost(&carried, "choosing by a hash").consequence.is_empty());
        assert_eq!(back(&carried).pools[0].selection, Selection::ByWeight);
    }
}

#[test]
fn a_route_that_would_take_too_much_is_left_out() {
    let mut setup = shop(&[1]);
    let plain = setup.routes[0].clone();
    let conditional = Route {
        condition: Some("src 10.0.0.0/8".to_owned()),
        ..plain.clone()
    };
    let split = Route {
        host: Some("a.example.com".to_owned()),
        targets: vec![("app".to_owned(), 1.0), ("gone".to_owned(), 0.5)],
        ..plain.clone()
    };
    let answer = Route {
        path_prefix: Some("/old".to_owned()),
        targets: Vec::new(),
        ..plain.clone()
    };
    setup.routes = vec![conditional, split, answer, plain];
    let carried = carried(&setup);
    assert_eq!(back(&carried).routes.len(), 2);
    assert!(
        lost(&carried, "the split between")
            .consequence
            .contains("`app`")
    );
    let text = carried.text.as_deref().unwrap_or_default();
    assert!(
        text.contains("# left out: the route to `app`: Evenkeel routes by host and path"),
        "{text}"
    );
    assert!(
        text.contains("# left out: the route `/old` to no pool"),
        "{text}"
    );
}

#[test]
fn the_part_of_a_split_that_no_pool_answers_is_told_in_percent() {
    let mut setup = shop(&[1]);
    let part = 0.333;
    setup.routes[0].targets = vec![("app".to_owned(), part)];
    let carried = carried(&setup);
    let loss = lost(&carried, "the split between `app` (33.3 %)");
    let told = "also the 66.7 % that no pool answers now";
    assert!(loss.consequence.contains(told), "{}", loss.consequence);
}

#[test]
fn names_are_rewritten_one_for_one_and_listed() {
    let mut setup = shop(&[1, 1, 1]);
    for (backend, name) in setup.pools[0]
        .backends
        .iter_mut()
        .zip(["a b", "a/b", "a-b"])
    {
        name.clone_into(&mut backend.name);
    }
    let carried = carried(&setup);
    let names: Vec<String> = back(&carried).pools[0]
        .backends
        .iter()
        .map(|b| b.name.clone())
        .collect();
    assert_eq!(names, ["a-b-2", "a-b-3", "a-b"]);
    assert_eq!(carried.renamed.len(), 2);
}

#[test]
fn where_nothing_can_be_served_there_is_no_text() {
    let mut setup = shop(&[1]);
    setup.listeners[0].is_http = false;
    let carried = carried(&setup);
    assert_eq!(carried.text, None);
    assert!(lost(&carried, "listener `fe`").why.contains("TCP"));
}

#[test]
fn a_tls_listener_is_not_put_before_the_world_without_tls() {
    let mut setup = shop(&[1]);
    setup.listeners[0].is_tls = true;
    assert_eq!(
        back(&carried(&setup)).listeners[0].address,
        "127.0.0.1:8080"
    );
}

#[test]
fn listeners_on_one_address_become_one_and_the_admin_address_keeps_clear() {
    let mut setup = shop(&[1]);
    setup.listeners[0].address = "127.0.0.1:7700".to_owned();
    setup
        .listeners
        .push(Listener::blank("b", "frontend.b", ":7700"));
    setup.routes.push(Route {
        listener: "b".to_owned(),
        host: Some("b.example.com".to_owned()),
        ..setup.routes[0].clone()
    });
    let new = back(&carried(&setup));
    assert_eq!((new.listeners.len(), new.routes.len()), (1, 2));
    assert_eq!(new.admin.map(|a| a.port()), Some(7701));
}

#[test]
fn a_check_by_http_or_by_connection_comes_along_and_any_other_becomes_one_that_any_answer_passes() {
    let mut setup = shop(&[1, 1]);
    let check = |kind| Health {
        path: "backend.app.health".to_owned(),
        kind,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    };
    let http = CheckKind::Http {
        path: "/up".to_owned(),
        expect: (200, 399),
    };
    setup.pools[0].health = Some(check(http.clone()));
    let health = back(&carried(&setup)).pools[0].health.clone();
    assert_eq!(
        health.map(|h| (h.kind, h.interval)),
        Some((http, Duration::from_secs(2)))
    );
    setup.pools[0].health = Some(check(CheckKind::Tcp));
    let tcp = carried(&setup);
    let health = back(&tcp).pools[0].health.clone();
    assert_eq!(health.map(|h| h.kind), Some(CheckKind::Tcp));
    assert!(
        tcp.losses
            .iter()
            .all(|loss| !loss.what.contains("who is dead"))
    );
    setup.pools[0].health = Some(check(CheckKind::Other("redis-check".to_owned())));
    let carried = carried(&setup);
    let health = back(&carried).pools[0].health.clone();
    let any = CheckKind::Http {
        path: "/".to_owned(),
        expect: (100, 599),
    };
    assert_eq!(
        health.map(|h| (h.kind, h.interval)),
        Some((any, Duration::from_secs(2)))
    );
    let told = lost(&carried, "who is dead");
    assert!(told.consequence.contains("any answer"), "{told:?}");
}

#[test]
fn access_rules_are_told_first_and_stand_at_the_top_of_the_text() {
    let aside = |what: &str, kind| Aside {
        path: "frontend.fe.line.1".to_owned(),
        what: what.to_owned(),
        kind,
    };
    let asides = [
        aside("set-header X", AsideKind::Rewrite),
        aside("proto h2", AsideKind::Protocol),
        aside("deny", AsideKind::Access),
        aside("deny", AsideKind::Access),
    ];
    let carried = carry(&shop(&[1]), &Origin::default(), &asides, &Addresses::new());
    let told: Vec<_> = carried.losses.iter().filter_map(|l| l.aside).collect();
    assert_eq!(
        told,
        [AsideKind::Access, AsideKind::Protocol, AsideKind::Rewrite]
    );
    assert!(lost(&carried, "deny").what.contains("2 times"));
    let text = carried.text.as_deref().unwrap();
    assert!(text.contains("# NOT PROTECTED"), "{text}");
    assert!(text.contains("#   `deny` (2 times)"), "{text}");
}

#[test]
fn a_pool_that_speaks_another_protocol_does_not_become_one_of_http() {
    let fcgi = Aside {
        path: "backend.app".to_owned(),
        what: "fastcgi_pass".to_owned(),
        kind: AsideKind::Protocol,
    };
    let carried = carry(&shop(&[1]), &Origin::default(), &[fcgi], &Addresses::new());
    assert_eq!(carried.text, None);
    assert!(lost(&carried, "pool `app`").why.contains("fastcgi_pass"));
}

#[test]
fn unequal_weights_are_the_intent_and_a_weight_of_zero_stays_behind() {
    let carried = carried(&shop(&[5, 3, 0]));
    let pool = back(&carried).pools[0].clone();
    assert_eq!((pool.intent, pool.backends.len()), (Intent::Weight, 2));
    assert_eq!(lost(&carried, "`s2`").why, "its weight is 0");
    assert!(!carried.text.unwrap().contains("budget = \"100%\""));
}

#[test]
fn a_prefix_that_ends_in_a_slash_is_said_to_take_the_path_without_it() {
    let mut setup = shop(&[1]);
    setup.routes[0].path_prefix = Some("/api/".to_owned());
    let carried = carried(&setup);
    let told = &lost(&carried, "`/api/`").consequence;
    assert!(told.contains("`/api` itself"), "{told}");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "\\PC{0,12}",
        Just("a\"b\\".to_owned()),
        Just("x\ny".to_owned()),
        "[a-z.-]{60,80}",
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "10\\.0\\.0\\.[1-9]:[1-9][0-9]{1,3}",
        1 => "\\[::1\\]:[1-9][0-9]{1,3}",
        1 => "[a-z]{1,5}:80",
        1 => "unix@/run/[a-z]{1,5}",
        1 => "\\PC{0,12}",
    ]
}

prop_compose! {
    fn backends()(of in prop::collection::vec(
        (text(), address(), 0u32..100_000, 0u8..4, prop::option::of(0.0f64..2e9)), 0..6,
    )) -> Vec<Backend> {
        let mut backends: Vec<Backend> = Vec::new();
        for (name, address, weight, role, capacity_rps) in of {
            if backends.iter().any(|b| b.name == name) {
                continue;
            }
            let role = match role {
                0 => Role::Backup,
                1 => Role::Disabled,
                _ => Role::Active,
            };
            backends.push(Backend {
                weight,
                role,
                capacity_rps,
                ..Backend::blank(&name, "b", &address)
            });
        }
        backends
    }
}

prop_compose! {
    fn setups()(
        pools in prop::collection::vec((text(), backends()), 1..4),
        listeners in prop::collection::vec((text(), address(), any::<bool>()), 1..4),
        routes in prop::collection::vec(
            (0usize..3, 0usize..3, prop::option::of(text()), prop::option::of(text())), 1..9,
        ),
        waits in (0u64..10_000_000, 0u64..10_000_000),
    ) -> Setup {
        let mut setup = Setup::blank(Balancer::Nginx);
        for (name, backends) in pools {
            if setup.pool(&name).is_none() {
                let mut pool = Pool::blank(&name, "p");
                pool.timeouts.connect = Wait::For(Duration::from_millis(waits.0));
                pool.timeouts.response = Wait::For(Duration::from_millis(waits.1));
                pool.backends = backends;
                setup.pools.push(pool);
            }
        }
        for (name, address, tls) in listeners {
            if !setup.listeners.iter().any(|l| l.name == name) {
                let mut listener = Listener::blank(&name, "l", &address);
                listener.is_tls = tls;
                setup.listeners.push(listener);
            }
        }
        for (listener, pool, host, prefix) in routes {
            let (Some(listener), Some(pool)) = (setup.listeners.get(listener), setup.pools.get(pool)) else {
                continue;
            };
            setup.routes.push(Route {
                path: "r".to_owned(),
                listener: listener.name.clone(),
                host,
                path_prefix: prefix.map(|p| format!("/{p}")),
                whole_segments: true,
                condition: None,
                matcher: None,
                answer: None,
                edits: evenkeel_model::config::Edits::default(),
                targets: vec![(pool.name.clone(), 1.0)],
            });
        }
        setup
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_the_text_is_a_configuration_with_the_shares_that_are_not_reported_lost(
        setup in setups(),
    ) {
        let carried = carried(&setup);
        // Nothing to serve is one of the answers, and often the right one here.
        let Some(text) = carried.text.as_deref() else {
            return Ok(());
        };
        let parsed = parse(text, None);
        let errors: Vec<_> = parsed.findings.iter().filter(|f| f.severity == Severity::Error).collect();
        prop_assert!(errors.is_empty(), "{errors:#?}\n{text}");
        let new = Setup::of(&parsed.config.unwrap());
        let name = |pool: &str| {
            let renamed = carried.renamed.iter().find(|r| r.kind == "pool" && r.from == pool);
            renamed.map_or(pool.to_owned(), |r| r.to.clone())
        };
        for pool in &setup.pools {
            let is_lost = carried.losses.iter().any(|l| l.touches == Touches::Pool(pool.name.clone()));
            if is_lost {
                continue;
            }
            let of = |setup: &Setup, name: &str| {
                let index = setup.pools.iter().position(|p| p.name == name);
                let shares = index.and_then(|index| shares(setup).into_iter().nth(index));
                let positive = |share: &f64| *share > 0.0;
                shares.unwrap_or_default().into_iter().flatten().filter(positive).collect::<Vec<_>>()
            };
            let (old, new) = (of(&setup, &pool.name), of(&new, &name(&pool.name)));
            // A pool whose weights are all 0 has no shares; Evenkeel's fail-open gives it some.
            if !old.is_empty() {
                prop_assert_eq!(old.len(), new.len());
                for (a, b) in old.iter().zip(&new) {
                    prop_assert!((a - b).abs() < 1e-9, "{} {}", a, b);
                }
            }
        }
    }
}
