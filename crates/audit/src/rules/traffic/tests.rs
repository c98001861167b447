//! Each traffic rule where it must speak and where it must be silent, for set-ups of several balancers.

use evenkeel_forecast::{Facts, Keys, PoolFacts, forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Intent, Locality, Subset};
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::ids::Name;
use evenkeel_model::setup::{
    Among, Backups, Balancer, Cost, Fallback, Gap, Hash, HashKey, HashTable, LeastLoaded, Pool,
    Role, Route, Selection, Setup, Sticky, Tie, Touches, Wait,
};

use crate::rules::probe::{heads, pool, says, says_of, setup, severities};
use crate::{Running, Subject, judge_change};

const ERROR: &[Severity] = &[Severity::Error];
const WARNING: &[Severity] = &[Severity::Warning];
const INFO: &[Severity] = &[Severity::Info];

/// A haproxy.cfg of one pool with these weights.
fn weights(weights: &[u32]) -> Setup {
    let mut pool = pool("app", weights.len());
    for (backend, weight) in pool.backends.iter_mut().zip(weights) {
        backend.weight = *weight;
        backend.weight_path = Some(format!("{}.weight", backend.path));
    }
    routed(setup(Balancer::Haproxy, vec![pool]))
}

fn routed(mut setup: Setup) -> Setup {
    let pools: Vec<String> = setup.pools.iter().map(|pool| pool.name.clone()).collect();
    for pool in pools {
        let condition = Some(format!("if {pool}"));
        let route = route(None, None, &pool);
        setup.routes.push(Route { condition, ..route });
    }
    setup
}

fn route(host: Option<&str>, prefix: Option<&str>, pool: &str) -> Route {
    Route {
        path: format!(
            "frontend.web.{}.{}",
            host.unwrap_or("*"),
            prefix.unwrap_or("")
        ),
        listener: "web".to_owned(),
        host: host.map(str::to_owned),
        path_prefix: prefix.map(str::to_owned),
        whole_segments: false,
        condition: None,
        matcher: None,
        answer: None,
        edits: evenkeel_model::config::Edits::default(),
        targets: vec![(pool.to_owned(), 1.0)],
    }
}

fn with(mut setup: Setup, edit: impl FnOnce(&mut Pool)) -> Setup {
    edit(&mut setup.pools[0]);
    setup
}

#[test]
fn a_weight_of_256_beside_1_is_one_warning_without_capacities_and_an_error_with_them() {
    let typo = weights(&[1, 256, 1]);
    let found = says(&typo, "TRF-02");
    assert_eq!(heads(&found), ["warning backend.app"]);
    assert_eq!(
        found[0].effect,
        "`s2` with weight 256 gets 99.2 % of the weight of the pool"
    );
    assert!(says(&typo, "TRF-01").is_empty());
    let declared = with(typo.clone(), |pool| {
        pool.backends
            .iter_mut()
            .for_each(|b| b.capacity_rps = Some(100.0));
    });
    assert_eq!(severities(&says(&declared, "TRF-02")), ERROR);
    let ignored = with(typo, |pool| pool.selection = Selection::First);
    assert!(says(&ignored, "TRF-02").is_empty());
}

#[test]
fn weights_of_backups_disabled_backends_and_later_levels_are_not_compared() {
    for edit in [
        |pool: &mut Pool| pool.backends[1].role = Role::Backup,
        |pool: &mut Pool| pool.backends[1].role = Role::Disabled,
        |pool: &mut Pool| pool.backends[1].priority = 1,
    ] {
        assert!(says(&with(weights(&[1, 256, 1]), edit), "TRF-02").is_empty());
    }
}

#[test]
fn a_foreign_pool_is_judged_by_intent_once_its_capacities_are_declared() {
    let even = weights(&[2, 1, 1]);
    assert!(says(&even, "TRF-01").is_empty());
    let declared = with(even, |pool| {
        pool.intent = Intent::Capacity;
        pool.backends
            .iter_mut()
            .for_each(|b| b.capacity_rps = Some(100.0));
    });
    assert_eq!(severities(&says(&declared, "TRF-01")), WARNING);
}

fn step(from: &Setup, to: &Setup) -> Vec<Finding> {
    let facts = Facts::default();
    let (before, after) = (forecast(from, &facts), forecast(to, &facts));
    let verdict = judge_change(&Subject {
        setup: to,
        origin: &Origin::default(),
        forecast: &after,
        facts: &facts,
        running: Some(Running {
            setup: from,
            forecast: &before,
        }),
        now: Wall(0),
    });
    let findings = verdict.findings.into_iter();
    findings.filter(|finding| finding.id == "TRF-03").collect()
}

#[test]
fn a_change_that_moves_a_share_by_more_than_ten_points_is_a_warning() {
    let even = weights(&[10, 10, 10]);
    // 33.3 to 43.2 %, then to 44.4 %.
    assert!(step(&even, &weights(&[152, 100, 100])).is_empty());
    let moved = step(&even, &weights(&[16, 10, 10]));
    assert_eq!(heads(&moved), ["warning backend.app"]);
    assert_eq!(moved[0].magnitude_ppm, 111_111);
    // A backend that is new comes from 0, one that is gone goes there.
    assert!(
        step(&even, &weights(&[10, 10, 10, 10]))[0]
            .message
            .contains("`s4`")
    );
    assert!(
        step(&weights(&[10, 10, 10, 10]), &even)[0]
            .message
            .contains("`s4`")
    );
    let own = with(weights(&[16, 10, 10]), |pool| {
        pool.policy.limits.insert("TRF-03".to_owned(), 12.0);
    });
    assert!(step(&even, &own).is_empty());
    assert!(says(&weights(&[16, 10, 10]), "TRF-03").is_empty());
}

#[test]
fn a_drain_without_an_end_is_told_once_a_pool_and_left_to_trf_05_when_nobody_is_left() {
    let drained = says(&weights(&[0, 0, 1]), "TRF-04");
    assert_eq!(heads(&drained), ["warning backend.app"]);
    assert_eq!(
        drained[0].effect,
        "1 of 3 backends carry all, 200 % more each than if all 3 did"
    );
    assert!(says(&weights(&[1, 1]), "TRF-04").is_empty());
    assert!(says(&weights(&[0, 0]), "TRF-04").is_empty());
    let sticky = with(weights(&[0, 1]), |pool| {
        pool.sticky = Some(Sticky {
            path: String::new(),
            by: "SRV".to_owned(),
            lasts: Wait::Endless,
            one_key: false,
        });
    });
    assert!(says(&sticky, "TRF-04")[0].effect.contains("bound by `SRV`"));
    let judged = with(weights(&[0, 1]), |pool| pool.intent = Intent::Capacity);
    assert_eq!(severities(&says(&judged, "TRF-04")), INFO);
    let mut locality = with(weights(&[0, 1]), |pool| pool.backends[0].weight_path = None);
    locality.balancer = Balancer::Envoy;
    assert_eq!(
        says(&locality, "TRF-04")[0].message,
        "`s1` of pool `app` gets nothing: its locality has no weight"
    );
}

#[test]
fn a_pool_without_anybody_who_takes_traffic_is_an_error() {
    let role =
        |role: Role| move |pool: &mut Pool| pool.backends.iter_mut().for_each(|b| b.role = role);
    let message = |setup: &Setup| {
        let found = says(setup, "TRF-05");
        assert_eq!(severities(&found), ERROR, "{found:#?}");
        found[0].message.clone()
    };
    assert_eq!(message(&weights(&[])), "pool `app` has no backend");
    assert_eq!(
        message(&weights(&[0, 0])),
        "every backend of pool `app` has weight 0"
    );
    let disabled = with(weights(&[1, 1]), role(Role::Disabled));
    assert_eq!(
        message(&disabled),
        "every backend of pool `app` is disabled"
    );
    let backups = with(weights(&[1, 1]), |pool| {
        role(Role::Backup)(pool);
        pool.failover.backups = Backups::First;
    });
    assert_eq!(
        message(&backups),
        "pool `app` has backups only (2), no active backend"
    );
    let all = with(backups, |pool| pool.failover.backups = Backups::All);
    assert_eq!(severities(&says(&all, "TRF-05")), WARNING);
}

#[test]
fn a_pool_that_nobody_reaches_loses_nothing_and_one_with_a_backup_has_a_second() {
    let mut idle = weights(&[]);
    idle.routes.clear();
    assert_eq!(severities(&says(&idle, "TRF-05")), WARNING);
    assert_eq!(severities(&says(&weights(&[1]), "TRF-05")), WARNING);
    let backed = with(weights(&[1, 1]), |pool| {
        pool.backends[1].role = Role::Backup;
    });
    assert!(says(&backed, "TRF-05").is_empty());
    let many = (0..6).map(|i| pool(&format!("p{i}"), 1)).collect();
    let found = says(&routed(setup(Balancer::Nginx, many)), "TRF-05");
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("the same in 5 more pools"));
}

#[test]
fn a_selection_that_is_silently_replaced_is_a_warning() {
    let fallen = with(weights(&[1, 1]), |pool| {
        pool.fallback = Some(Fallback {
            requested: "balance uri".to_owned(),
            reason: "it needs `mode http`".to_owned(),
        });
    });
    assert_eq!(severities(&says(&fallen, "TRF-06")), WARNING);
    assert!(says(&weights(&[1, 1]), "TRF-06").is_empty());
}

#[test]
fn duplicates_are_one_finding_a_pool_and_a_backup_that_repeats_an_active_one_is_milder() {
    let twice = |first: usize, second: usize| {
        move |pool: &mut Pool| pool.backends[second].address = pool.backends[first].address.clone()
    };
    let found = says(&with(weights(&[1, 1, 1]), twice(0, 1)), "TRF-07");
    assert_eq!(heads(&found), ["error backend.app"]);
    assert!(found[0].effect.starts_with("one server gets 66.7 %"));
    let two = with(with(weights(&[1; 5]), twice(0, 1)), twice(2, 3));
    let found = says(&two, "TRF-07");
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .message
            .ends_with("so have 1 more addresses of the pool")
    );
    let backup = with(weights(&[1, 1, 1]), |pool| {
        twice(0, 1)(pool);
        pool.backends[1].role = Role::Backup;
    });
    assert_eq!(severities(&says(&backup, "TRF-07")), WARNING);
    let disabled = with(backup, |pool| pool.backends[1].role = Role::Disabled);
    assert!(says(&disabled, "TRF-07").is_empty());
}

#[test]
fn one_address_in_two_spellings_is_a_duplicate() {
    let spelt = with(weights(&[1, 1]), |pool| {
        pool.backends[0].address = "[::ffff:10.0.0.2]:80".to_owned();
        pool.backends[1].address = "10.0.0.2:80".to_owned();
    });
    assert_eq!(severities(&says(&spelt, "TRF-07")), ERROR);
}

#[test]
fn active_backends_without_traffic_are_told_as_such_when_backups_take_it() {
    let idle = with(weights(&[0, 1]), |pool| {
        pool.backends[1].role = Role::Backup;
        pool.failover.backups = Backups::All;
    });
    let found = says(&idle, "TRF-05");
    assert_eq!(
        found[0].message,
        "no active backend of pool `app` takes traffic, only its backups (1) do"
    );
}

#[test]
fn a_wildcard_hides_the_hosts_under_it_where_routes_are_tried_in_order() {
    let hidden = |balancer: Balancer, earlier: &str, later: &str| {
        let mut setup = routes(vec![
            route(Some(earlier), None, "a"),
            route(Some(later), Some("/x"), "b"),
        ]);
        setup.balancer = balancer;
        !says(&setup, "TRF-08").is_empty()
    };
    let wild = "*.example.com";
    for balancer in [Balancer::Evenkeel, Balancer::Haproxy] {
        assert!(hidden(balancer, wild, "a.example.com"));
        assert!(hidden(balancer, wild, "b.a.example.com"));
        assert!(hidden(balancer, wild, "*.a.example.com"));
        assert!(!hidden(balancer, wild, "example.com"));
        assert!(!hidden(balancer, wild, "aexample.com"));
        assert!(!hidden(balancer, wild, "*.com"));
    }
    for balancer in [Balancer::Nginx, Balancer::Envoy] {
        assert!(!hidden(balancer, wild, "a.example.com"));
    }
}

fn routes(routes: Vec<Route>) -> Setup {
    let mut setup = setup(Balancer::Haproxy, vec![pool("a", 2), pool("b", 2)]);
    setup.routes = routes;
    setup
}

#[test]
fn a_route_behind_one_that_takes_all_its_requests_is_never_reached() {
    let hidden = |earlier: Route, later: Route| {
        let path = "later".to_owned();
        let both = vec![earlier, Route { path, ..later }];
        !says(&routes(both), "TRF-08").is_empty()
    };
    let on = |host: Option<&str>, prefix: Option<&str>| route(host, prefix, "a");
    let segments = |route: Route| Route {
        whole_segments: true,
        ..route
    };
    let when = |route: Route, condition: &str| Route {
        condition: Some(condition.to_owned()),
        ..route
    };
    assert!(hidden(on(None, None), on(None, Some("/api"))));
    assert!(hidden(on(None, Some("/")), on(Some("x.org"), Some("/api"))));
    assert!(hidden(on(None, Some("/ap")), on(None, Some("/api"))));
    assert!(hidden(
        segments(on(None, Some("/api"))),
        segments(on(None, Some("/api/v1")))
    ));
    assert!(hidden(
        segments(on(None, Some("/api"))),
        segments(on(None, Some("/api")))
    ));
    assert!(hidden(
        when(on(None, None), "{ src ::1 }"),
        when(on(None, None), "{ src ::1 }")
    ));
    assert!(hidden(on(None, None), when(on(None, None), "{ src ::1 }")));

    assert!(!hidden(on(None, Some("/api")), on(None, None)));
    assert!(!hidden(on(Some("x.org"), None), on(Some("y.org"), None)));
    assert!(!hidden(on(Some("x.org"), None), on(None, None)));
    assert!(!hidden(
        segments(on(None, Some("/ap"))),
        on(None, Some("/api"))
    ));
    assert!(!hidden(
        segments(on(None, Some("/api"))),
        on(None, Some("/api"))
    ));
    assert!(!hidden(when(on(None, None), "{ src ::1 }"), on(None, None)));
    assert!(!hidden(
        when(on(None, None), "a"),
        when(on(None, None), "b")
    ));
    let other = Route {
        listener: "other".to_owned(),
        ..on(None, None)
    };
    assert!(!hidden(on(None, None), other));
}

#[test]
fn a_hidden_route_names_both_pools_and_evenkeel_has_its_own_finding_for_equal_ones() {
    let mut setup = routes(vec![route(None, None, "a"), route(None, Some("/api"), "b")]);
    assert_eq!(
        says(&setup, "TRF-08")[0].effect,
        "requests meant for pool `b` go to pool `a`, all of them"
    );
    setup.balancer = Balancer::Evenkeel;
    assert_eq!(severities(&says(&setup, "TRF-08")), WARNING);
    setup.routes[1].path_prefix = None;
    assert!(says(&setup, "TRF-08").is_empty(), "CFG-07 names it");
}

#[test]
fn a_listener_without_a_route_for_the_rest_is_an_info() {
    let api = || route(None, Some("/api"), "a");
    let found = says(&routes(vec![api()]), "TRF-09");
    assert_eq!(heads(&found), ["info frontend.web"]);
    assert!(found[0].effect.contains("503"));
    assert!(says(&routes(vec![api(), route(None, Some("/"), "b")]), "TRF-09").is_empty());
    // CFG-04 has a listener without any route.
    assert!(says(&routes(vec![]), "TRF-09").is_empty());
}

/// Two zones of two backends with 100 rps each.
fn zoned(weight_a: u32, weight_b: u32) -> Setup {
    let [a, b] = [weight_a, weight_b];
    with(weights(&[a, a, b, b]), |pool| {
        for (backend, zone) in pool.backends.iter_mut().zip(["a", "a", "b", "b"]) {
            backend.zone = Some(zone.to_owned());
            backend.capacity_rps = Some(100.0);
        }
    })
}

#[test]
fn a_zone_that_gets_more_than_its_part_of_the_capacity_is_a_warning() {
    assert!(says(&zoned(12, 10), "TRF-10").is_empty());
    let found = says(&zoned(13, 10), "TRF-10");
    assert_eq!(heads(&found), ["warning backend.app"]);
    assert_eq!(found[0].magnitude_ppm, 130_435);
    let own = with(zoned(13, 10), |pool| {
        pool.policy.limits.insert("TRF-10".to_owned(), 0.15);
    });
    assert!(says(&own, "TRF-10").is_empty());
    let wrong_already = with(zoned(30, 10), |pool| pool.intent = Intent::Capacity);
    assert_eq!(says(&wrong_already, "TRF-01").len(), 1);
    assert!(says(&wrong_already, "TRF-10").is_empty());
    // What one instance of a pool with zones sends is uneven by design.
    let aware = with(zoned(13, 10), |pool| {
        pool.place.locality = Some(Locality {
            zone: Name::new("a").unwrap(),
            origins: Vec::new(),
        });
    });
    assert!(says(&aware, "TRF-10").is_empty());
    let unknown = with(zoned(30, 10), |pool| pool.backends[0].zone = None);
    assert!(says(&unknown, "TRF-10").is_empty());
}

#[test]
fn a_limit_that_each_worker_keeps_by_itself_is_multiplied() {
    let mut apart = with(weights(&[1, 1]), |pool| {
        for backend in &mut pool.backends {
            backend.limit_per_worker = true;
            backend.in_flight_max = Some(100);
        }
    });
    apart.workers = Some(8);
    let found = says(&apart, "TRF-11");
    assert_eq!(severities(&found), WARNING);
    assert_eq!(
        found[0].effect,
        "`s1` meets up to 800 at once with 8 workers"
    );
    apart.workers = Some(1);
    assert!(says(&apart, "TRF-11").is_empty());
    apart.workers = None;
    assert_eq!(severities(&says(&apart, "TRF-11")), WARNING);
    let unlimited = with(apart, |pool| {
        pool.backends
            .iter_mut()
            .for_each(|b| b.in_flight_max = None);
    });
    assert!(says(&unlimited, "TRF-11").is_empty());
    let by_load = with(unlimited, |pool| {
        pool.selection = Selection::LeastLoaded(LeastLoaded {
            among: Among::All,
            cost: Cost::PerWeight,
            tie: Tie::ByWeight,
        });
    });
    assert_eq!(severities(&says(&by_load, "TRF-11")), INFO);
}

fn hashed(table: HashTable, weight: u32) -> Setup {
    with(weights(&[weight; 10]), |pool| {
        pool.selection = Selection::Hash(Hash {
            key: HashKey::Uri,
            table,
            balance_factor: None,
        });
        for (i, backend) in pool.backends.iter_mut().enumerate() {
            backend.identity = (i + 1).to_string();
        }
    })
}

#[test]
fn a_ring_of_few_points_is_uneven_and_one_of_many_is_not() {
    let found = says(&hashed(HashTable::HaproxyRing, 1), "TRF-12");
    assert_eq!(severities(&found), WARNING);
    assert!(found[0].fix.contains("16 points"));
    assert!(says(&hashed(HashTable::HaproxyRing, 100), "TRF-12").is_empty());
    assert!(says(&hashed(HashTable::HaproxyMap, 1), "TRF-12").is_empty());
    // A subset leaves the others without keys on purpose.
    let part = with(hashed(HashTable::EvenkeelMaglev, 1), |pool| {
        pool.place.subset = Some(Subset {
            size: 5,
            instance: Name::new("lb-1").unwrap(),
        });
    });
    assert!(says(&part, "TRF-12").is_empty());
    // The table's fault is not the weights'.
    let declared = with(hashed(HashTable::HaproxyRing, 1), |pool| {
        pool.intent = Intent::Capacity;
        pool.backends
            .iter_mut()
            .for_each(|b| b.capacity_rps = Some(100.0));
    });
    assert!(says(&declared, "TRF-01").is_empty());
}

#[test]
fn few_keys_and_a_hot_key_are_warnings_where_the_keys_are_known() {
    let setup = hashed(HashTable::HaproxyMap, 1);
    let known = |distinct: f64, top_share: Option<f64>| {
        let keys = Some(Keys {
            distinct,
            top_share,
        });
        let facts = PoolFacts {
            keys,
            ..PoolFacts::default()
        };
        let mut all = Facts::default();
        all.pools.insert("app".to_owned(), facts);
        let found = says_of(&setup, &all, &Origin::default(), "TRF-12");
        found
            .first()
            .map(|finding| finding.message.clone())
            .unwrap_or_default()
    };
    assert_eq!(known(200.0, Some(0.1)), "");
    assert!(known(199.0, None).contains("the limit is 20"));
    assert!(known(1e6, Some(0.11)).starts_with("one key carries 11 %"));
    let mut declared = setup.clone();
    declared.pools[0].keys = Some(30);
    assert_eq!(severities(&says(&declared, "TRF-12")), WARNING);
}

#[test]
fn a_pool_of_connections_is_an_info() {
    let tcp = with(weights(&[1, 1]), |pool| pool.is_http = false);
    assert_eq!(severities(&says(&tcp, "TRF-13")), INFO);
    assert!(says(&weights(&[1, 1]), "TRF-13").is_empty());
}

#[test]
fn weights_of_a_foreign_file_that_may_be_meant_are_an_info_and_a_slipped_digit_a_warning() {
    assert_eq!(severities(&says(&weights(&[9, 1]), "TRF-02")), INFO);
    assert_eq!(severities(&says(&weights(&[10, 1]), "TRF-02")), WARNING);
    let own = with(weights(&[9, 1]), |pool| {
        pool.policy.limits.insert("TRF-02".to_owned(), 2.0);
    });
    assert_eq!(severities(&says(&own, "TRF-02")), WARNING);
}

#[test]
fn servers_of_one_template_are_no_duplicates_and_discovered_members_are_not_missed() {
    let twice = with(weights(&[1, 1]), |pool| {
        for backend in &mut pool.backends {
            backend.address = "app.internal:80".to_owned();
        }
    });
    let at = |first: usize, second: usize| {
        let [a, b] = [&twice.pools[0].backends[0], &twice.pools[0].backends[1]];
        let spans = [(a.path.clone(), first..9), (b.path.clone(), second..9)];
        Origin::of(None, "0123456789", spans.into())
    };
    let found = |origin| says_of(&twice, &Facts::default(), &origin, "TRF-07").len();
    assert_eq!((found(at(1, 1)), found(at(1, 2))), (0, 1));
    // One address is one server, however often a template counts it.
    let literal = with(twice.clone(), |pool| {
        for backend in &mut pool.backends {
            backend.address = "10.0.0.1:80".to_owned();
        }
    });
    let found = says_of(&literal, &Facts::default(), &at(1, 1), "TRF-07");
    assert_eq!(severities(&found), ERROR);
    let mut discovered = weights(&[]);
    assert_eq!(says(&discovered, "TRF-05").len(), 1);
    discovered.gaps.push(Gap {
        path: String::new(),
        what: "eds".to_owned(),
        touches: Touches::Pool("app".to_owned()),
    });
    assert!(says(&discovered, "TRF-05").is_empty());
}

#[test]
fn a_route_for_two_hosts_is_reached_when_it_is_for_one_of_them() {
    let on = |host: &str, path: &str| Route {
        path: path.to_owned(),
        ..route(Some(host), None, "a")
    };
    let hosts = vec![on("x.org", "r1"), on("x.org", "r2"), on("y.org", "r2")];
    assert!(says(&routes(hosts), "TRF-08").is_empty());
    let hosts = vec![on("x.org", "r1"), on("x.org", "r2"), on("x.org", "r2")];
    assert_eq!(says(&routes(hosts), "TRF-08").len(), 1);
}

#[test]
fn backups_of_which_one_takes_over_are_a_warning_unless_it_can_carry_the_load() {
    let backed = with(weights(&[1, 1, 1, 1]), |pool| {
        pool.backends[2].role = Role::Backup;
        pool.backends[3].role = Role::Backup;
        pool.failover.backups = Backups::First;
    });
    assert_eq!(severities(&says(&backed, "TRF-14")), WARNING);
    let for_one = with(backed.clone(), |pool| pool.backends[1].role = Role::Backup);
    assert!(says(&for_one, "TRF-14").is_empty());
    let all = with(backed.clone(), |pool| pool.failover.backups = Backups::All);
    assert!(says(&all, "TRF-14").is_empty());
    let sized = |capacity: f64| {
        with(backed.clone(), |pool| {
            pool.peak_rps = Some(150.0);
            pool.backends
                .iter_mut()
                .for_each(|b| b.capacity_rps = Some(capacity));
        })
    };
    assert!(says(&sized(150.0), "TRF-14").is_empty());
    let found = says(&sized(100.0), "TRF-14");
    assert_eq!(
        found[0].effect,
        "50 rps of 150 rps at the peak queue up or fail then"
    );
    let both = with(sized(100.0), |pool| pool.failover.backups = Backups::All);
    assert!(says(&both, "TRF-14").is_empty());
}

#[test]
fn own_routes_are_compared_by_what_they_mean_and_those_that_match_the_same_are_left_to_the_parser()
{
    let said = |earlier: &str, later: &str| {
        let text = format!(
            "[listener.web]\naddress = '127.0.0.1:8080'\n[[route]]\nlistener = 'web'\npool = 'a'\n{earlier}\n\
             [[route]]\nlistener = 'web'\npool = 'b'\n{later}\n[[route]]\nlistener = 'web'\npool = 'a'\n\
             [pool.a.backend.x]\naddress = '127.0.0.1:1'\n[pool.b.backend.x]\naddress = '127.0.0.1:2'\n"
        );
        let config = evenkeel_model::parse::parse(&text, None).config.unwrap();
        says(&Setup::of(&config), "TRF-08")
    };
    let found = said(
        "methods = ['GET', 'POST']",
        "path = '/x'\nmethods = ['GET']",
    );
    assert_eq!(heads(&found), ["warning route.1"]);
    assert!(
        found[0].effect.contains("pool `b` go to pool `a`"),
        "{}",
        found[0].effect
    );
    for (earlier, later) in [
        ("path_prefix = '/a'", "path = '/a/b'"),
        ("path = '/a'", "path = '/a'\nheaders = { x = '1' }"),
        ("path_regex = '/a+'", "path_regex = '/a+'\nhost = 'x.org'"),
        (
            "host = '*.x.org'\nheaders = { x = { present = true } }",
            "host = 'a.x.org'\nheaders = { x = '1' }",
        ),
        (
            "path_prefix = '/a'\nquery = { q = { prefix = 'v' } }",
            "path_prefix = '/a/b'\nquery = { q = 'v2' }",
        ),
    ] {
        assert_eq!(
            heads(&said(earlier, later)),
            ["warning route.1"],
            "{earlier} {later}"
        );
        assert!(said(later, earlier).is_empty(), "{later} {earlier}");
    }
    for (earlier, later) in [
        ("methods = ['GET']", "methods = ['GET']"),
        ("methods = ['GET']", ""),
        ("path = '/a'", "path_prefix = '/a'"),
        (
            "path_prefix = '/a'\nmethods = ['GET']",
            "path_prefix = '/ab'\nmethods = ['GET']",
        ),
        ("headers = { x = '1' }", "cookies = { x = '1' }"),
        (
            "headers = { x = { present = false } }",
            "headers = { x = '1' }",
        ),
        (
            "host = 'a.org'\nmethods = ['GET']",
            "host = 'b.org'\nmethods = ['GET']",
        ),
    ] {
        assert!(said(earlier, later).is_empty(), "{earlier} {later}");
    }
}

/// Errors of TRF-09 about an expectation, in a file with another one that holds.
fn said(expect: &str) -> Vec<String> {
    let text = format!(
        "[listener.web]\naddress = '127.0.0.1:8080'\n\
         [[route]]\nlistener = 'web'\npath_prefix = '/api'\npool = 'api'\n\
         [[route]]\nlistener = 'web'\npath_prefix = '/api/v2'\npool = 'next'\n\
         [[route]]\nlistener = 'web'\nhost = 'beta.test'\nmethods = ['GET']\nheaders = {{ x-a = '1' }}\npool = 'next'\n\
         [[route]]\nlistener = 'web'\npath = '/shop'\npool = 'shop'\n\
         [pool.api.backend.x]\naddress = '127.0.0.1:1'\n[pool.next.backend.x]\naddress = '127.0.0.1:2'\n\
         [pool.shop.backend.x]\naddress = '127.0.0.1:3'\n[pool.idle.backend.x]\naddress = '127.0.0.1:4'\n\
         [[expect]]\nrequest = 'GET /api/users'\npool = 'api'\n[[expect]]\n{expect}\n"
    );
    let parsed = evenkeel_model::parse::parse(&text, None);
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{:#?}", parsed.findings));
    let mut found = says(&Setup::of(&config), "TRF-09");
    found.retain(|finding| finding.severity == Severity::Error);
    assert!(
        found
            .iter()
            .all(|finding| finding.path.starts_with("expect.\"web ")),
        "{found:#?}"
    );
    found.into_iter().map(|finding| finding.message).collect()
}

#[test]
fn an_expected_request_that_goes_elsewhere_is_an_error_with_the_route_that_takes_it_and_why() {
    for met in [
        "request = 'GET http://beta.test/x'\nheaders = { X-A = '1' }\npool = 'next'",
        "request = 'GET /nowhere'\nstatus = 404",
        "request = 'GET /x/../api'\nstatus = 400",
        "request = 'POST https://other.test:8443/shop?x=1'\npool = 'shop'",
    ] {
        assert_eq!(said(met), [""; 0], "{met}");
    }
    for (wrong, why) in [
        (
            "request = 'GET /api/v2/users'\npool = 'next'",
            "`GET /api/v2/users` is meant for pool `next` but goes to pool `api` by the route `route.0`; the route \
             `route.1` takes it too, and comes later",
        ),
        (
            "request = 'GET http://beta.test/x'\npool = 'next'",
            "`GET http://beta.test/x` is meant for pool `next` but is answered 404: no route takes it; the route \
             `route.2` does not take it: what it asks of header `x-a` does not hold",
        ),
        (
            "request = 'PUT http://beta.test/x'\npool = 'next'",
            "`PUT http://beta.test/x` is meant for pool `next` but is answered 404: no route takes it; the route \
             `route.2` does not take it: it is for GET only",
        ),
        (
            "request = 'GET /shop/'\npool = 'shop'",
            "`GET /shop/` is meant for pool `shop` but is answered 404: no route takes it; the route `route.3` does not \
             take it: it is for path `/shop` only",
        ),
        (
            "request = 'GET /shop'\npool = 'idle'",
            "`GET /shop` is meant for pool `idle` but goes to pool `shop` by the route `route.3`; no route of listener \
             `web` leads to pool `idle`",
        ),
        (
            "request = 'GET /shop'\nstatus = 404",
            "`GET /shop` is meant for no route but goes to pool `shop` by the route `route.3`",
        ),
        (
            "request = 'GET /shop/..;/api'\npool = 'api'",
            "`GET /shop/..;/api` is meant for pool `api` but is answered 400: no route takes its path as sent, and the \
             route `route.0` takes `/api`, as other servers read it",
        ),
    ] {
        assert_eq!(said(wrong), [why], "{wrong}");
    }
}
