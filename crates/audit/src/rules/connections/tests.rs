//! Each rule of the family where it must speak and where it must be silent.

use std::time::Duration;

use evenkeel_forecast::{BackendFacts, Facts, PoolFacts};
use evenkeel_model::config::Objective;
use evenkeel_model::finding::{Origin, Severity};
use evenkeel_model::setup::{Balancer, Pool, Route, Setup, Wait};
use evenkeel_model::units::Ratio;

use crate::rules::probe::{heads, pool, says, says_of, setup, severities};

/// A routed pool of three backends that `edit` changes.
fn with(edit: impl Fn(&mut Pool)) -> Setup {
    let mut app = pool("app", 3);
    edit(&mut app);
    let mut setup = setup(Balancer::Nginx, vec![app]);
    setup.routes.push(Route {
        path: "server.0".to_owned(),
        listener: "web".to_owned(),
        host: None,
        path_prefix: None,
        whole_segments: false,
        condition: None,
        matcher: None,
        answer: None,
        edits: evenkeel_model::config::Edits::default(),
        targets: vec![("app".to_owned(), 1.0)],
    });
    setup
}

/// Every backend takes `mean_ms` for a request.
fn timed(mean_ms: u64) -> Facts {
    let backend = BackendFacts {
        service_mean: Some(Duration::from_millis(mean_ms)),
        ..BackendFacts::default()
    };
    let backends = ["s1", "s2", "s3"].map(|name| (name.to_owned(), backend));
    let facts = PoolFacts {
        backends: backends.into(),
        ..PoolFacts::default()
    };
    Facts {
        pools: [("app".to_owned(), facts)].into(),
        ..Facts::default()
    }
}

#[test]
fn con_01_holds_the_limits_against_rate_times_time_with_one_backend_out() {
    let limited = |limit| {
        with(|p| {
            p.peak_rps = Some(900.0);
            p.backends
                .iter_mut()
                .for_each(|b| b.in_flight_max = Some(limit));
        })
    };
    // 900 x 0.1 s = 90 at once, x 1.5 = 135 on two backends.
    let says = |limit, facts: &Facts| says_of(&limited(limit), facts, &Origin::default(), "CON-01");
    assert!(says(68, &timed(100)).is_empty());
    let findings = says(67, &timed(100));
    assert_eq!(heads(&findings), ["warning backend.app"]);
    assert_eq!(findings[0].fix, "allow 68 on each backend");
    assert!(
        says(30, &timed(100))[0]
            .effect
            .starts_with("30 requests at once wait")
    );
    assert!(
        says(67, &Facts::default()).is_empty(),
        "times are not known"
    );
}

#[test]
fn con_02_is_the_time_that_a_client_may_stay_at_the_peak() {
    let mut setup = with(|p| p.peak_rps = Some(900.0));
    setup.connections_max = Some(900);
    assert!(says(&setup, "CON-02").is_empty());
    setup.connections_max = Some(500);
    let findings = says(&setup, "CON-02");
    assert_eq!(heads(&findings), ["warning connections_max"]);
    assert!(findings[0].effect.contains("0.56 s on average"));
    // One narrow place is told once; a listener that is narrower still is another one.
    setup.listeners[0].connections_max = Some(500);
    assert_eq!(says(&setup, "CON-02").len(), 1);
    setup.listeners[0].connections_max = Some(400);
    assert_eq!(says(&setup, "CON-02").len(), 2);
    setup.connections_max = None;
    setup.listeners[0].connections_max = Some(500);
    assert_eq!(
        heads(&says(&setup, "CON-02")),
        ["warning frontend.web.connections_max"]
    );
    setup.routes.clear();
    assert!(says(&setup, "CON-02").is_empty());
}

#[test]
fn con_03_compares_connections_with_open_files() {
    let mut setup = with(|_| {});
    let mut said = |balancer, connections, files| {
        (setup.balancer, setup.connections_max, setup.files_max) = (balancer, connections, files);
        says(&setup, "CON-03").len()
    };
    assert_eq!(said(Balancer::Nginx, Some(10_000), Some(1_024)), 1);
    assert_eq!(said(Balancer::Nginx, Some(10_000), Some(10_001)), 0);
    assert_eq!(said(Balancer::Haproxy, Some(10_000), Some(10_001)), 1);
    assert_eq!(said(Balancer::Haproxy, Some(10_000), Some(20_001)), 0);
    assert_eq!(said(Balancer::Haproxy, Some(10_000), None), 0);
}

#[test]
fn con_04_proposes_the_limit_that_capacity_and_objective_give() {
    let capacity = |p: &mut Pool| {
        p.backends
            .iter_mut()
            .for_each(|b| b.capacity_rps = Some(600.0));
    };
    let open = with(|p| {
        capacity(p);
        p.objective = Some(Objective {
            error_rate: Ratio::from_percent(1),
            p99: Duration::from_millis(500),
        });
    });
    let findings = says(&open, "CON-04");
    assert_eq!(severities(&findings), [Severity::Info]);
    assert!(
        findings[0].fix.starts_with("write `max_conns=300`"),
        "{}",
        findings[0].fix
    );
    let mut judged = open.clone();
    judged.pools[0].peak_rps = Some(900.0);
    assert!(
        says(&judged, "CON-04").is_empty(),
        "the load itself is judged"
    );
    assert!(says(&with(|_| {}), "CON-04").is_empty());
    let limited = with(|p| {
        capacity(p);
        p.backends
            .iter_mut()
            .for_each(|b| b.in_flight_max = Some(5));
    });
    assert!(says(&limited, "CON-04").is_empty());
}

#[test]
fn con_05_counts_the_ports_that_closed_connections_hold() {
    let said = |peak: f64, keep| {
        let edit = |p: &mut Pool| (p.peak_rps, p.timeouts.keep) = (Some(peak), keep);
        says(&with(edit), "CON-05")
    };
    assert!(said(1_410.0, None).is_empty());
    let findings = said(1_800.0, None);
    assert_eq!(heads(&findings), ["warning backend.app"]);
    assert!(
        findings[0].message.contains("36000 ports of 28232"),
        "{}",
        findings[0].message
    );
    assert!(said(1_800.0, Some(Wait::Endless)).is_empty());
    let local = with(|p| {
        p.peak_rps = Some(1_800.0);
        p.backends
            .iter_mut()
            .for_each(|b| b.address = "unix:/run/app".to_owned());
    });
    assert!(says(&local, "CON-05").is_empty());
}

#[test]
fn con_06_shows_hidden_breakers_and_warns_of_tight_ones() {
    let limited = |peak: Option<f64>, p99_ms: Option<u64>| {
        with(|p| {
            p.breakers.requests_max = Some(1_024);
            p.peak_rps = peak;
            p.objective = p99_ms.map(|ms| Objective {
                error_rate: Ratio::from_percent(1),
                p99: Duration::from_millis(ms),
            });
        })
    };
    let findings = says(&limited(Some(900.0), None), "CON-06");
    assert_eq!(severities(&findings), [Severity::Info]);
    assert!(
        findings[0].effect.contains("once answers take 1.14 s"),
        "{}",
        findings[0].effect
    );
    assert_eq!(
        severities(&says(&limited(Some(5_000.0), Some(500)), "CON-06")),
        [Severity::Warning]
    );
    let declared = [("backend.app.breakers.requests_max".to_owned(), 0..1)].into();
    let declared = Origin::of(None, "x", declared);
    let with_facts = |facts: &Facts| {
        severities(&says_of(
            &limited(Some(5_000.0), None),
            facts,
            &declared,
            "CON-06",
        ))
    };
    assert_eq!(with_facts(&Facts::default()), []);
    assert_eq!(with_facts(&timed(200)), [Severity::Warning]);
    assert_eq!(with_facts(&timed(100)), []);
    assert!(says(&with(|_| {}), "CON-06").is_empty());
}
