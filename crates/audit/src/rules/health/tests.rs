//! Each rule of the family where it must speak and where it must be silent.

use std::time::Duration;

use evenkeel_forecast::{BackendFacts, Facts, PoolFacts};
use evenkeel_model::finding::{Origin, Severity};
use evenkeel_model::setup::{
    Balancer, Check, CheckKind, Ejection, Health, Nobody, Passive, Pool, Setup,
};

use crate::rules::probe::{heads, pool, says, says_of, setup, severities};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn check(interval_ms: u64, timeout_ms: u64, rise: u32, fall: u32) -> Health {
    Health {
        path: "backend.app.health".to_owned(),
        kind: CheckKind::Http {
            path: "/".to_owned(),
            expect: (200, 299),
        },
        interval: MS(interval_ms),
        timeout: MS(timeout_ms),
        rise,
        fall,
    }
}

/// A pool of `count` backends that `edit` changes, sound but for it.
fn with(count: usize, edit: impl Fn(&mut Pool)) -> Setup {
    let mut app = pool("app", count);
    app.health = Some(check(2_000, 1_000, 2, 3));
    edit(&mut app);
    setup(Balancer::Haproxy, vec![app])
}

fn ejection(consecutive: Option<u32>, part_max: f64, deviations: Option<f64>) -> Ejection {
    Ejection {
        path: "backend.app.ejection".to_owned(),
        consecutive,
        lasts: MS(30_000),
        part_max,
        deviations,
    }
}

#[test]
fn hc_01_wants_every_backend_watched_in_one_way_or_another() {
    assert!(says(&with(3, |_| {}), "HC-01").is_empty());
    assert!(says(&with(1, |p| p.health = None), "HC-01").is_empty());
    let findings = says(&with(4, |p| p.health = None), "HC-01");
    assert_eq!(heads(&findings), ["warning backend.app"]);
    assert!(findings[0].effect.contains("up to 25 %"));
    // The largest share of those that nobody watches, as it is forecast: 5 of 8.
    let uneven = says(
        &with(4, |p| {
            p.health = None;
            p.backends[2].weight = 5;
        }),
        "HC-01",
    );
    assert!(
        uneven[0].effect.contains("up to 62.5 %"),
        "{}",
        uneven[0].effect
    );
    let one = says(&with(3, |p| p.backends[1].check = Check::Never), "HC-01");
    assert!(
        one[0]
            .message
            .starts_with("1 of 3 backends of pool `app` have no health check, `s2`")
    );
    let ejected = with(3, |p| {
        (p.health, p.ejection) = (None, Some(ejection(Some(5), 1.0, None)));
    });
    assert!(says(&ejected, "HC-01").is_empty());
    let passive = with(3, |p| {
        p.health = None;
        p.backends.iter_mut().for_each(|b| {
            b.passive = Some(Passive {
                failures: 1,
                window: MS(10_000),
            });
        });
    });
    assert!(says(&passive, "HC-01").is_empty());
}

#[test]
fn hc_02_wants_100_ms_and_twice_what_requests_take() {
    assert!(
        says(
            &with(2, |p| p.health = Some(check(2_000, 100, 2, 3))),
            "HC-02"
        )
        .is_empty()
    );
    let findings = says(
        &with(2, |p| p.health = Some(check(2_000, 10, 2, 3))),
        "HC-02",
    );
    assert_eq!(
        findings[0].message,
        "a check of pool `app` waits only 10ms; the limit is 100ms"
    );
    assert!(
        findings[0]
            .effect
            .contains("3 late answers in a row take a healthy backend out, 50 %")
    );
    let own = with(2, |p| {
        p.backends[1].check = Check::Own(check(2_000, 10, 2, 3));
    });
    assert_eq!(says(&own, "HC-02").len(), 1);
    let set = with(2, |p| {
        p.health = Some(check(2_000, 10, 2, 3));
        p.policy.limits.insert("HC-02".to_owned(), 5.0);
    });
    assert!(says(&set, "HC-02").is_empty());
    let slow = BackendFacts {
        service_mean: Some(MS(600)),
        ..BackendFacts::default()
    };
    let facts = PoolFacts {
        backends: [("s1".to_owned(), slow)].into(),
        ..PoolFacts::default()
    };
    let facts = Facts {
        pools: [("app".to_owned(), facts)].into(),
        ..Facts::default()
    };
    let findings = says_of(&with(2, |_| {}), &facts, &Origin::default(), "HC-02");
    assert!(
        findings[0].message.ends_with("the limit is 1200ms"),
        "{}",
        findings[0].message
    );
}

#[test]
fn hc_03_warns_of_one_failed_check_and_mentions_two() {
    let said = |rise, fall| {
        says(
            &with(2, |p| p.health = Some(check(1_000, 1_000, rise, fall))),
            "HC-03",
        )
    };
    assert!(said(2, 3).is_empty());
    let findings = said(1, 1);
    assert_eq!(severities(&findings), [Severity::Warning]);
    assert!(
        findings[0].effect.contains("goes out 86.4 times a day"),
        "{}",
        findings[0].effect
    );
    assert_eq!(severities(&said(2, 2)), [Severity::Info]);
    assert_eq!(severities(&said(1, 3)), [Severity::Info]);
    let set = with(2, |p| {
        p.health = Some(check(1_000, 1_000, 2, 3));
        p.policy.limits.insert("HC-03".to_owned(), 5.0);
    });
    assert_eq!(severities(&says(&set, "HC-03")), [Severity::Warning]);
}

#[test]
fn hc_05_is_for_balancers_that_refuse_when_all_checks_fail() {
    assert_eq!(
        severities(&says(&with(2, |_| {}), "HC-05")),
        [Severity::Info]
    );
    assert!(says(&with(2, |p| p.failover.nobody = Nobody::UseAll), "HC-05").is_empty());
    let tcp = with(2, |p| {
        p.health = Some(Health {
            kind: CheckKind::Tcp,
            ..check(2_000, 1_000, 2, 3)
        });
    });
    assert!(says(&tcp, "HC-05").is_empty());
}

#[test]
fn hc_05_speaks_of_a_page_or_a_deep_check_and_not_of_every_check() {
    let said = |path: &str| {
        let path = path.to_owned();
        let asked = with(2, |p| {
            let expect = (200, 299);
            let kind = CheckKind::Http {
                path: path.clone(),
                expect,
            };
            p.health = Some(Health {
                kind,
                ..check(2_000, 1_000, 2, 3)
            });
        });
        !says(&asked, "HC-05").is_empty()
    };
    assert!(
        ["/", "/?x=1", "/health/deep", "/check-DB"]
            .iter()
            .all(|path| said(path))
    );
    assert!(
        !["/healthz", "/ready", "/debug/health", "/static/ok.txt"]
            .iter()
            .any(|path| said(path))
    );
}

#[test]
fn hc_06_compares_the_load_just_above_the_threshold_with_the_capacity() {
    let loaded = |peak: f64, below: f64| {
        with(6, |p| {
            p.failover.panic_below = below;
            p.peak_rps = Some(peak);
            p.backends
                .iter_mut()
                .for_each(|b| b.capacity_rps = Some(100.0));
        })
    };
    assert!(says(&loaded(300.0, 0.5), "HC-06").is_empty());
    let findings = says(&loaded(360.0, 0.5), "HC-06");
    assert_eq!(severities(&findings), [Severity::Warning]);
    assert!(
        findings[0].effect.contains("would carry 120 %"),
        "{}",
        findings[0].effect
    );
    assert!(says(&loaded(360.0, 0.6), "HC-06").is_empty());
    let hidden = with(6, |p| p.failover.panic_below = 0.5);
    assert_eq!(severities(&says(&hidden, "HC-06")), [Severity::Info]);
    let spans = [("backend.app.failover.panic_below".to_owned(), 0..1)].into();
    let origin = Origin::of(None, "x", spans);
    assert!(says_of(&hidden, &Facts::default(), &origin, "HC-06").is_empty());
}

#[test]
fn hc_07_finds_ejection_that_can_never_happen() {
    let said = |count, ejection: Ejection, is_checked: bool| {
        let edit = |p: &mut Pool| {
            p.ejection = Some(ejection.clone());
            p.health = p.health.take().filter(|_| is_checked);
        };
        says(&with(count, edit), "HC-07")
    };
    let findings = said(3, ejection(Some(5), 0.1, Some(1.9)), false);
    assert_eq!(severities(&findings), [Severity::Warning]);
    assert!(
        findings[0]
            .message
            .ends_with("3 backends x 10 % rounds down to 0")
    );
    assert_eq!(
        severities(&said(3, ejection(Some(5), 0.1, None), true)),
        [Severity::Info]
    );
    assert!(said(10, ejection(Some(5), 0.1, Some(1.9)), false).is_empty());
    assert!(said(3, ejection(Some(5), 1.0, None), false).is_empty());
    let findings = said(4, ejection(None, 1.0, Some(1.9)), false);
    assert!(
        findings[0]
            .message
            .contains("at most 1.73 deviations off, 1.9 are asked for")
    );
    assert!(said(5, ejection(None, 1.0, Some(1.9)), false).is_empty());
}

#[test]
fn hc_08_is_failures_that_nobody_counts() {
    let said = |count, failures| {
        let edit = |p: &mut Pool| {
            p.health = None;
            p.backends.iter_mut().for_each(|b| {
                b.passive = Some(Passive {
                    failures,
                    window: MS(10_000),
                });
            });
        };
        says(&with(count, edit), "HC-08")
    };
    let findings = said(3, 0);
    assert_eq!(heads(&findings), ["warning backend.app"]);
    assert!(
        findings[0].effect.contains("each waits up to 1s"),
        "{}",
        findings[0].effect
    );
    assert!(said(3, 1).is_empty() && said(1, 0).is_empty());
}

#[test]
fn hc_09_counts_what_a_dead_backend_still_gets() {
    let slow = with(3, |p| {
        p.health = Some(check(30_000, 5_000, 2, 5));
        p.peak_rps = Some(900.0);
    });
    let findings = says(&slow, "HC-09");
    assert_eq!(
        findings[0].message,
        "a dead backend of pool `app` stays in for up to 155s; the limit is 30s"
    );
    assert!(
        findings[0].effect.contains("46500 at the peak"),
        "{}",
        findings[0].effect
    );
    assert!(says(&with(3, |_| {}), "HC-09").is_empty());
    let ejected = with(3, |p| {
        p.health = Some(check(30_000, 5_000, 2, 5));
        p.ejection = Some(ejection(Some(5), 1.0, None));
    });
    assert!(says(&ejected, "HC-09").is_empty());
}
