//! Each rule of the family where it must speak and where it must be silent.

use std::time::Duration;

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Balancer, Pool, Setup, Wait};

use crate::rules::probe::{heads, pool, says, setup, severities};

const fn seconds(s: u64) -> Wait {
    Wait::For(Duration::from_secs(s))
}

fn with(edit: impl Fn(&mut Pool)) -> Setup {
    let mut app = pool("app", 3);
    edit(&mut app);
    setup(Balancer::Haproxy, vec![app])
}

#[test]
fn tmo_01_tells_missing_timeouts_once_for_the_pool_and_once_for_all_listeners() {
    assert!(says(&with(|_| {}), "TMO-01").is_empty());
    let mut bare = with(|p| {
        (p.timeouts.connect, p.timeouts.response, p.timeouts.idle) =
            (Wait::Endless, Wait::Endless, Wait::Endless);
    });
    bare.listeners[0].client_timeout = Wait::Endless;
    let other = evenkeel_model::setup::Listener::blank("tls", "frontend.tls", "*:443");
    bare.listeners.push(other);
    let findings = says(&bare, "TMO-01");
    assert_eq!(
        heads(&findings),
        ["warning frontend.web", "warning backend.app"]
    );
    assert!(findings[0].message.contains("(and 1 more listeners)"));
    assert!(
        findings[1]
            .message
            .ends_with("waits for a connection and for an answer without an end")
    );
    assert_eq!(
        findings[1].fix,
        "add `timeout connect ...` and `timeout server ...` to `defaults`"
    );
    let whole = with(|p| {
        (p.timeouts.response, p.timeouts.idle, p.timeouts.request) =
            (Wait::Endless, Wait::Endless, seconds(9));
    });
    assert!(
        says(&whole, "TMO-01").is_empty(),
        "the whole request is bounded"
    );
    let mut unreached = bare.clone();
    (unreached.balancer, unreached.listeners) = (Balancer::Envoy, Vec::new());
    assert!(
        says(&unreached, "TMO-01").is_empty(),
        "no route leads there"
    );
    assert_eq!(
        heads(&says(&with(|p| p.timeouts.connect = seconds(0)), "TMO-01")),
        ["error backend.app.timeout.connect"]
    );
}

#[test]
fn tmo_02_wants_tries_to_fit_into_the_request() {
    let said = |attempts, each, whole| {
        let edit = |p: &mut Pool| {
            (p.retry.attempts, p.retry.after_sent) = (Some(attempts), true);
            (p.timeouts.response, p.timeouts.request) = (seconds(each), seconds(whole));
        };
        says(&with(edit), "TMO-02")
    };
    assert!(said(1, 15, 30).is_empty() && said(0, 30, 30).is_empty());
    let findings = said(1, 30, 30);
    assert_eq!(severities(&findings), [Severity::Warning]);
    assert!(findings[0].effect.contains("1 of 2 tries"));
    assert_eq!(severities(&said(3, 10, 30)), [Severity::Info]);
    let mut envoy = with(|p| {
        (p.retry.attempts, p.retry.after_sent) = (Some(1), true);
        (p.timeouts.response, p.timeouts.request) = (seconds(30), seconds(30));
    });
    envoy.balancer = Balancer::Envoy;
    assert!(says(&envoy, "TMO-02").is_empty(), "no time per try is set");
    let connect = with(|p| p.timeouts.connect = seconds(20));
    assert_eq!(severities(&says(&connect, "TMO-02")), [Severity::Warning]);
    let hasty = with(|p| p.timeouts.response = Wait::For(Duration::from_millis(1)));
    let findings = says(&hasty, "TMO-02");
    assert!(
        findings[0].effect.contains("longer than 1ms is given up"),
        "{findings:?}"
    );
    let only_connections = with(|p| {
        p.retry.attempts = Some(3);
        p.timeouts.request = seconds(15);
    });
    assert!(says(&only_connections, "TMO-02").is_empty());
}

#[test]
fn tmo_03_knows_how_long_idle_connections_are_kept() {
    let said = |keep, limit: Option<f64>| {
        let edit = |p: &mut Pool| {
            p.timeouts.keep = keep;
            p.policy
                .limits
                .extend(limit.map(|limit| ("TMO-03".to_owned(), limit)));
        };
        says(&with(edit), "TMO-03")
    };
    assert!(said(None, None).is_empty() && said(Some(seconds(60)), None).is_empty());
    let hour = said(Some(seconds(3_600)), None);
    assert_eq!(
        hour[0].message,
        "idle connections of pool `app` are kept for 1h; the limit is 1m"
    );
    assert_eq!(said(Some(Wait::Endless), None).len(), 1);
    assert_eq!(said(Some(seconds(30)), Some(5.0)).len(), 1);
}

#[test]
fn tmo_04_wants_a_queue_bounded_in_time_or_length() {
    let said = |limit: Option<u64>, wait, length| {
        let edit = |p: &mut Pool| {
            p.backends[0].in_flight_max = limit;
            (p.timeouts.queue, p.queue_max) = (wait, length);
        };
        severities(&says(&with(edit), "TMO-04"))
    };
    assert_eq!(said(Some(100), Wait::Endless, None), [Severity::Warning]);
    assert_eq!(said(Some(100), seconds(300), None), [Severity::Info]);
    assert_eq!(said(Some(100), seconds(10), None), []);
    assert_eq!(said(Some(100), Wait::Endless, Some(50)), []);
    assert_eq!(said(None, Wait::Endless, None), [], "nobody ever waits");
}
