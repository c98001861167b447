//! What a rule says about a set-up that a test builds.

use evenkeel_forecast::{Facts, forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::setup::{Backend, Balancer, Listener, Pool, Setup, Wait};

use crate::rule::Subject;
use crate::{decided, rules};

/// A pool of `count` backends with all its timeouts.
pub(super) fn pool(name: &str, count: usize) -> Pool {
    let path = format!("backend.{name}");
    let backend = |i: usize| {
        Backend::blank(
            &format!("s{i}"),
            &format!("{path}.server.s{i}"),
            &format!("10.0.0.{i}:80"),
        )
    };
    let mut pool = Pool::blank(name, &path);
    pool.backends = (1..=count).map(backend).collect();
    let wait = |seconds| Wait::For(std::time::Duration::from_secs(seconds));
    pool.timeouts.connect = wait(1);
    pool.timeouts.response = wait(15);
    pool.timeouts.idle = wait(15);
    pool.timeouts.queue = wait(1);
    pool
}

/// `pools` behind one sound listener.
pub(super) fn setup(balancer: Balancer, pools: Vec<Pool>) -> Setup {
    let mut listener = Listener::blank("web", "frontend.web", "10.1.0.1:80");
    let wait = Wait::For(std::time::Duration::from_secs(30));
    (
        listener.head_timeout,
        listener.client_timeout,
        listener.idle_timeout,
    ) = (wait, wait, wait);
    let mut setup = Setup::blank(balancer);
    setup.listeners.push(listener);
    setup.pools = pools;
    setup
}

/// What the rule `id` says by itself.
pub(super) fn says_of(setup: &Setup, facts: &Facts, origin: &Origin, id: &str) -> Vec<Finding> {
    let forecast = forecast(setup, facts);
    let subject = Subject {
        setup,
        origin,
        forecast: &forecast,
        facts,
        running: None,
        now: Wall(0),
    };
    let rule = rules().find(|rule| rule.id == id).unwrap();
    // Among all rules too: what one rule says must survive what is decided afterwards.
    let whole = decided(&subject).into_iter().filter(|f| f.id == id).count();
    let findings = (rule.check)(&subject);
    assert_eq!(whole, findings.len());
    findings
}

pub(super) fn says(setup: &Setup, id: &str) -> Vec<Finding> {
    says_of(setup, &Facts::default(), &Origin::default(), id)
}

/// Severity and path of each finding, as `warning backend.app`.
pub(super) fn heads(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| format!("{} {}", f.severity, f.path))
        .collect()
}

/// The severities alone.
pub(super) fn severities(findings: &[Finding]) -> Vec<Severity> {
    findings.iter().map(|f| f.severity).collect()
}
