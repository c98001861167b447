//! TRF-16: pools that no request reaches.

use std::collections::BTreeSet;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Listener, Pool, Setup, Touches};

use super::routes;
use crate::rule::{Rule, Subject, Words};
use crate::rules::fold::{Fault, is_literal, reachable, told};

/// TRF-16.
pub(super) const REACHED: Rule = Rule {
    id: "TRF-16",
    title: "requests reach every pool",
    severity: Severity::Error,
    limit: None,
    text: "\
A pool with backends that can take traffic should be led to by a route that can match. One to which no
route leads is a warning; when no route of the whole file leads to any pool, the balancer forwards nothing,
an error. A HAProxy frontend without any route is a warning. A route that hides behind an earlier one leads
nowhere; while other pools are reached, TRF-08 speaks of it. Without a listener (a part of a file), or where
something about routing was not understood, nothing is judged. An info for Envoy, whose filters may use a
cluster that no route names, and for an address in an nginx `proxy_pass` that no request gets to.

Why: backends that look ready in every list carry nothing, and the traffic that was meant for them is
refused or falls on others. It is what a renamed pool, a lost `use_backend` or a redirect for every request
in front of all other rules makes.

Example: an `http-request redirect` or `return` for every request before `default_backend app`: the file
is valid, and `app` gets nothing.",
    check: check_reached,
};

fn check_reached(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let mut findings = without_route(subject);
    findings.extend(unreached(subject, setup));
    findings
}

/// Frontends of HAProxy without a single rule: one that answers by itself on purpose has a rule that says so.
fn without_route(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    if setup.balancer != Balancer::Haproxy || !is_sure(setup) {
        return Vec::new();
    }
    let routed: BTreeSet<&str> = setup.routes.iter().map(|r| r.listener.as_str()).collect();
    let mut told = BTreeSet::new();
    let open = setup.listeners.iter().filter(|listener| {
        // Each `bind` is a listener of its own, with the rules of the whole section.
        let section = listener.path.split(".bind.").next();
        !routed.contains(listener.name.as_str()) && told.insert(section)
    });
    let finding = |listener: &Listener| {
        let words = Words {
            message: format!(
                "listener `{}` forwards nothing: it has no route",
                listener.name
            ),
            effect: "every request to it is answered 503, every connection closed".to_owned(),
            fix: "add a `default_backend`".to_owned(),
        };
        let place = (listener.path.as_str(), listener.path.as_str());
        subject.finding("TRF-16", Severity::Warning, place, 0.0, words)
    };
    open.map(finding).collect()
}

fn unreached(subject: &Subject<'_>, setup: &Setup) -> Vec<Finding> {
    let able: Vec<&Pool> = setup
        .pools
        .iter()
        .filter(|pool| reachable(pool).next().is_some())
        .collect();
    let Some(listener) = setup.listeners.first().filter(|_| !able.is_empty()) else {
        return Vec::new();
    };
    let reached = routes::reached(setup);
    let is_reached = |pool: &&&Pool| reached.contains(pool.name.as_str());
    let is_sure = is_sure(setup);
    let named = named(setup);
    // A filter of Envoy may use a cluster that no route names, but none forwards what a route for it would.
    let is_meant = |pool: &&&Pool| is_sure || named.contains(pool.name.as_str());
    let meant: Vec<&Pool> = able.iter().filter(is_meant).copied().collect();
    let is_known = !meant.is_empty() && routes_are_known(setup);
    if is_known && !meant.iter().any(|pool| is_reached(&pool)) {
        let place = (listener.path.as_str(), listener.path.as_str());
        let words = nothing(setup, &meant);
        let magnitude = meant.len() as f64;
        return vec![subject.finding("TRF-16", Severity::Error, place, magnitude, words)];
    }
    // What was not understood may well lead to a pool: nothing can be said of it then.
    if !routes_are_known(setup) {
        return Vec::new();
    }
    // A route that hides is the matter of TRF-08.
    let orphans = able
        .iter()
        .filter(|pool| !is_reached(pool) && !named.contains(pool.name.as_str()));
    let faults = orphans.map(|pool| orphan(setup, pool, is_sure));
    told(subject, "TRF-16", faults.collect())
}

/// Whether routes alone lead to pools, and all of them were understood.
pub(super) fn is_sure(setup: &Setup) -> bool {
    routes_are_known(setup) && setup.balancer != Balancer::Envoy
}

/// Whether all that decides which requests reach which pool was understood.
fn routes_are_known(setup: &Setup) -> bool {
    !setup.gaps.iter().any(|gap| gap.touches == Touches::Routing)
}

/// The pools that some route names, hidden or not.
pub(super) fn named(setup: &Setup) -> BTreeSet<&str> {
    let targets = setup.routes.iter().flat_map(|route| &route.targets);
    targets.map(|(pool, _)| pool.as_str()).collect()
}

fn nothing(setup: &Setup, able: &[&Pool]) -> Words {
    let count = able.len();
    let backends: usize = able.iter().map(|pool| pool.backends.len()).sum();
    let which = match able {
        [only] => format!("pool `{}`", only.name),
        _ => format!("any of the {count} pools"),
    };
    let why = if named(setup).is_empty() {
        "no route leads to a pool"
    } else {
        "every route to a pool hides behind one that answers without"
    };
    Words {
        message: format!("no request reaches {which}: {why}"),
        effect: format!("0 % of the requests are forwarded; {backends} backends carry nothing"),
        fix: "put the routes to pools first, or give the answer in front of them a condition"
            .to_owned(),
    }
}

fn orphan<'a>(setup: &Setup, pool: &'a Pool, is_sure: bool) -> Fault<'a> {
    let name = &pool.name;
    let severity = if is_sure && !is_literal(setup, pool) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let message = if is_sure {
        format!("no route leads to pool `{name}`")
    } else {
        format!("no route that was understood leads to pool `{name}`")
    };
    let count = pool.backends.len();
    let (effect, fix) = match (is_sure, count) {
        (true, 1) => (
            "its backend gets no request".to_owned(),
            "lead a route to it, or remove it",
        ),
        (true, n) => (
            format!("its {n} backends get no request"),
            "lead a route to it, or remove it",
        ),
        (false, _) => (
            "it gets no request by a route; a filter or another cluster may use it".to_owned(),
            "lead a route to it if it is meant to have requests",
        ),
    };
    let words = Words {
        message,
        effect,
        fix: fix.to_owned(),
    };
    Fault {
        pool,
        severity,
        at: pool.path.clone(),
        kind: String::new(),
        magnitude: 0.0,
        words,
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_forecast::{Facts, forecast};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::finding::{Origin, Severity};
    use evenkeel_model::setup::{Balancer, Gap, Listener, Pool, Route, Setup, Touches};

    use crate::rules::probe::{heads, pool, says, setup, severities};
    use crate::{Subject, audit};

    fn route(prefix: Option<&str>, pool: Option<&str>) -> Route {
        Route {
            path: format!("frontend.web.{}", pool.unwrap_or("answer")),
            listener: "web".to_owned(),
            host: None,
            path_prefix: prefix.map(str::to_owned),
            whole_segments: false,
            condition: None,
            matcher: None,
            answer: None,
            edits: evenkeel_model::config::Edits::default(),
            targets: pool
                .into_iter()
                .map(|name| (name.to_owned(), 1.0))
                .collect(),
        }
    }

    fn routed(balancer: Balancer, routes: Vec<Route>) -> Setup {
        let mut setup = setup(balancer, vec![pool("a", 2), pool("b", 1)]);
        setup.routes = routes;
        setup
    }

    #[test]
    fn a_pool_that_no_route_names_is_a_warning_and_its_single_backend_no_second_one() {
        let orphan = routed(Balancer::Haproxy, vec![route(None, Some("a"))]);
        assert_eq!(heads(&says(&orphan, "TRF-16")), ["warning backend.b"]);
        assert!(says(&orphan, "TRF-05").is_empty());
        let both = routed(
            Balancer::Haproxy,
            vec![route(Some("/b"), Some("b")), route(None, Some("a"))],
        );
        assert!(says(&both, "TRF-16").is_empty());
        assert_eq!(severities(&says(&both, "TRF-05")), [Severity::Warning]);
    }

    #[test]
    fn what_may_be_reached_in_another_way_or_names_no_pool_of_its_own_is_an_info() {
        let orphan = |balancer| routed(balancer, vec![route(None, Some("a"))]);
        let info = [Severity::Info];
        assert_eq!(severities(&says(&orphan(Balancer::Envoy), "TRF-16")), info);
        let mut dynamic = orphan(Balancer::Haproxy);
        dynamic.gaps.push(Gap {
            path: "frontend.web".to_owned(),
            what: "use_backend %[hdr(host)]".to_owned(),
            touches: Touches::Routing,
        });
        assert!(says(&dynamic, "TRF-16").is_empty());
        let mut literal = orphan(Balancer::Nginx);
        literal.pools[1].path = "proxy_pass.b".to_owned();
        assert_eq!(severities(&says(&literal, "TRF-16")), info);
        literal.routes.push(route(Some("/b"), Some("b")));
        literal.routes.swap(0, 1);
        assert_eq!(severities(&says(&literal, "TRF-05")), info);
    }

    #[test]
    fn an_envoy_that_answers_in_front_of_the_cluster_that_its_route_names_forwards_nothing() {
        let shut = routed(
            Balancer::Envoy,
            vec![route(None, None), route(None, Some("a"))],
        );
        let found = says(&shut, "TRF-16");
        assert_eq!(heads(&found), ["error frontend.web"]);
        assert!(found[0].message.starts_with("no request reaches pool `a`"));
        // Nothing but answers: the clusters may be for filters.
        let answers = routed(Balancer::Envoy, vec![route(None, None)]);
        let found = severities(&says(&answers, "TRF-16"));
        assert!(found.iter().all(|severity| *severity == Severity::Info));
        let other = routed(Balancer::Envoy, vec![route(None, Some("a"))]);
        let found = says(&other, "TRF-16");
        assert_eq!(heads(&found), ["info backend.b"]);
        assert!(!found[0].fix.contains("remove"), "{}", found[0].fix);
    }

    #[test]
    fn an_answer_in_front_of_everything_is_one_error_and_a_part_of_a_file_none() {
        let hidden = vec![route(None, None), route(None, Some("a"))];
        let nothing = routed(Balancer::Haproxy, hidden);
        let found = says(&nothing, "TRF-16");
        assert_eq!(heads(&found), ["error frontend.web"]);
        assert!(
            found[0]
                .message
                .ends_with("hides behind one that answers without")
        );
        // The route that hides is told with it.
        assert_eq!(says(&nothing, "TRF-08").len(), 1);
        let (facts, origin) = (Facts::default(), Origin::default());
        let whole = audit(&Subject {
            setup: &nothing,
            origin: &origin,
            forecast: &forecast(&nothing, &facts),
            facts: &facts,
            running: None,
            now: Wall(0),
        });
        let hidden = whole.iter().find(|finding| finding.id == "TRF-08");
        assert_eq!(hidden.and_then(|finding| finding.effect_of), Some("TRF-16"));
        let error = whole.iter().find(|finding| finding.id == "TRF-16").unwrap();
        assert!(
            error.effect.contains("TRF-08: this route"),
            "{}",
            error.effect
        );
        let part = Setup {
            listeners: Vec::new(),
            ..nothing
        };
        assert!(says(&part, "TRF-16").is_empty());
    }

    #[test]
    fn a_frontend_without_a_route_is_told_once_for_all_its_addresses() {
        let mut open = routed(
            Balancer::Haproxy,
            vec![route(None, Some("a")), route(Some("/b"), Some("b"))],
        );
        for (name, path) in [("old", "frontend.old"), ("old:443", "frontend.old.bind.1")] {
            open.listeners.push(Listener::blank(name, path, "*:81"));
        }
        let found = says(&open, "TRF-16");
        assert!(heads(&found).contains(&"warning frontend.old".to_owned()));
        assert_eq!(found.iter().filter(|f| f.path.contains("old")).count(), 1);
        let answers: Vec<Pool> = Vec::new();
        let mut redirect = setup(Balancer::Haproxy, answers);
        redirect.routes = vec![route(None, None)];
        assert!(says(&redirect, "TRF-16").is_empty());
    }
}
