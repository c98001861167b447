//! Each rule of the family where it must speak and where it must be silent.

use std::time::Duration;

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Balancer, Listener, Pool, Retry, Route, Setup, Wait};

use crate::rules::probe::{heads, pool, says, setup, severities};

fn with(count: usize, retry: Retry, edit: impl Fn(&mut Pool)) -> Setup {
    let mut app = pool("app", count);
    app.retry = retry;
    edit(&mut app);
    setup(Balancer::Nginx, vec![app])
}

const fn retry(attempts: Option<u32>, budget: Option<f64>, after_sent: bool) -> Retry {
    Retry {
        attempts,
        budget,
        unsafe_methods: false,
        after_sent,
    }
}

#[test]
fn rty_01_wants_a_budget_where_answers_are_retried() {
    let said = |retry| severities(&says(&with(3, retry, |_| {}), "RTY-01"));
    assert_eq!(said(retry(Some(3), None, true)), [Severity::Warning]);
    assert_eq!(
        said(retry(Some(1), None, true)),
        [],
        "nginx knows no budget"
    );
    let mut envoy = with(3, retry(Some(1), None, true), |_| {});
    envoy.balancer = Balancer::Envoy;
    assert_eq!(severities(&says(&envoy, "RTY-01")), [Severity::Info]);
    assert_eq!(said(retry(Some(1), Some(0.5), true)), [Severity::Warning]);
    assert_eq!(said(retry(Some(3), Some(0.2), true)), []);
    assert_eq!(said(retry(Some(3), None, false)), []);
    assert_eq!(said(retry(Some(0), None, true)), []);
    let bounded = with(3, retry(Some(3), None, true), |p| {
        p.breakers.retries_max = Some(3);
    });
    assert!(says(&bounded, "RTY-01").is_empty());
    let text = &says(&with(3, retry(Some(3), None, true), |_| {}), "RTY-01")[0].effect;
    assert!(text.contains("up to 4 times that load"));
}

#[test]
fn rty_02_multiplies_the_tries_of_pools_that_lead_into_each_other() {
    let said = |attempts| {
        says(
            &with(2, retry(Some(attempts), None, false), |_| {}),
            "RTY-02",
        )
    };
    assert!(said(3).is_empty());
    assert!(
        said(100)[0]
            .message
            .contains("tried up to 101 times; the limit is 4")
    );
    let twice = with(2, retry(Some(100), None, true), |_| {});
    assert!(says(&twice, "RTY-02").is_empty(), "RTY-01 names it");
    let mut front = pool("front", 1);
    front.backends[0].address = "127.0.0.1:8081".to_owned();
    let mut back = pool("back", 2);
    (front.retry.attempts, back.retry.attempts) = (Some(2), Some(2));
    let mut both = setup(Balancer::Haproxy, vec![front, back]);
    both.listeners
        .push(Listener::blank("inner", "frontend.inner", "*:8081"));
    both.routes.push(Route {
        path: "frontend.inner.route.0".to_owned(),
        listener: "inner".to_owned(),
        host: None,
        path_prefix: None,
        whole_segments: false,
        condition: None,
        matcher: None,
        answer: None,
        edits: evenkeel_model::config::Edits::default(),
        targets: vec![("back".to_owned(), 1.0)],
    });
    let findings = says(&both, "RTY-02");
    assert_eq!(heads(&findings), ["warning backend.front"]);
    assert!(findings[0].message.contains("9 times over 2 layers"));
    both.routes[0].targets[0].0 = "front".to_owned();
    assert!(says(&both, "RTY-02").is_empty(), "a circle ends");
}

#[test]
fn rty_03_counts_the_servers_that_one_request_may_reach() {
    let unlimited = retry(None, None, true);
    let findings = says(&with(6, unlimited, |_| {}), "RTY-03");
    assert!(
        findings[0]
            .effect
            .ends_with("reaches all 6 and is held for up to 90s"),
        "{}",
        findings[0].effect
    );
    assert!(says(&with(3, unlimited, |_| {}), "RTY-03").is_empty());
    assert!(says(&with(6, retry(Some(2), None, true), |_| {}), "RTY-03").is_empty());
    let timed = with(6, unlimited, |p| {
        p.timeouts.request = Wait::For(Duration::from_secs(10));
    });
    assert!(says(&timed, "RTY-03").is_empty());
}

#[test]
fn rty_04_is_about_requests_that_must_not_be_repeated() {
    let twice = |retry: Retry| {
        says(
            &with(
                3,
                Retry {
                    unsafe_methods: true,
                    ..retry
                },
                |_| {},
            ),
            "RTY-04",
        )
    };
    assert!(
        twice(retry(Some(2), None, true))[0]
            .effect
            .ends_with("up to 3 times")
    );
    assert_eq!(twice(retry(None, None, true)).len(), 1);
    let with_backup = with(
        2,
        Retry {
            unsafe_methods: true,
            ..retry(None, None, true)
        },
        |p| p.backends[1].role = evenkeel_model::setup::Role::Backup,
    );
    let found = says(&with_backup, "RTY-04");
    assert!(
        found[0].effect.ends_with("up to 2 times"),
        "a backup is tried, too"
    );
    assert!(twice(retry(Some(0), None, true)).is_empty());
    assert!(twice(retry(Some(2), None, false)).is_empty());
    assert!(says(&with(3, retry(Some(2), None, true), |_| {}), "RTY-04").is_empty());
}
