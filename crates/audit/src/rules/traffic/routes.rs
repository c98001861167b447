//! TRF-08: routes that nothing reaches.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Route, Setup};

use crate::rule::{Rule, Subject, Words};

/// TRF-08.
pub(super) const UNREACHABLE: Rule = Rule {
    id: "TRF-08",
    title: "no route hides behind an earlier one",
    severity: Severity::Warning,
    limit: None,
    text: "\
Routes are tried in order. A route is unreachable when an earlier one of the same listener matches every
request that it would match: no host or the same host, no path or a prefix of its path, and no further
condition, or the very same condition. Of evenkeel.toml methods, headers, cookies, parameters and exact paths
are compared by what they mean: one for GET and POST takes the requests of a later one for GET. In
evenkeel.toml and haproxy.cfg a wildcard such as `*.example.com` takes the requests of the hosts under it
too; nginx and Envoy look for the exact name first. In evenkeel.toml two routes that match the same are
CFG-07 instead. Regular expressions, and the conditions of others, are compared as written.

Why: the rule was written to send something elsewhere, and it never does. A wildcard placed too early
sends the requests of one service to another.

Example: `use_backend api if { path_beg /api }` after an unconditional `use_backend site`: /api goes to
`site`.",
    check: check_unreachable,
};

/// Earlier routes with conditions that one route is compared with, for each host and prefix over it.
const COMPARED_MAX: usize = 1_000;

/// What hides later routes: the condition-free ones by host and prefix, and the others by all three.
#[derive(Default)]
struct Earlier<'r> {
    /// Host, then prefix, to the route and whether it compares whole segments.
    plain: BTreeMap<Option<&'r str>, BTreeMap<&'r str, (&'r Route, bool)>>,
    conditional: BTreeMap<(Option<&'r str>, &'r str, &'r str), &'r Route>,
    /// Those of `conditional` whose meaning is known, by host and prefix.
    meant: BTreeMap<(Option<&'r str>, &'r str), Vec<&'r Route>>,
    /// Those of `plain` for a wildcard, by what follows its `*`; empty where exact names are tried first.
    wild: BTreeMap<&'r str, BTreeMap<&'r str, (&'r Route, bool)>>,
    in_order: bool,
}

impl<'r> Earlier<'r> {
    fn of(setup: &Setup) -> Self {
        Self {
            in_order: matches!(setup.balancer, Balancer::Evenkeel | Balancer::Haproxy),
            ..Self::default()
        }
    }

    /// The route that takes every request of `route`.
    fn hiding(&self, route: &'r Route) -> Option<&'r Route> {
        let prefix = prefix_of(route);
        let host = route.host.as_deref();
        if let Some(condition) = &route.condition
            && let Some(earlier) = self.conditional.get(&(host, prefix, condition.as_str()))
        {
            return Some(earlier);
        }
        self.by_plain(route, host, prefix)
            .or_else(|| self.by_meaning(route, host, prefix))
    }

    /// One without a condition.
    fn by_plain(&self, route: &Route, host: Option<&str>, prefix: &str) -> Option<&'r Route> {
        let plain = hosts_over(host).filter_map(|host| self.plain.get(&host));
        let wild = host.into_iter().flat_map(suffixes);
        let wild = wild.filter_map(|suffix| self.wild.get(suffix));
        let mut all = plain.chain(wild);
        all.find_map(|prefixes| covering(prefixes, route, prefix))
    }

    /// One with a condition that holds whenever that of `route` does.
    fn by_meaning(&self, route: &Route, host: Option<&str>, prefix: &str) -> Option<&'r Route> {
        let matcher = route.matcher.as_ref()?;
        if self.meant.is_empty() {
            return None;
        }
        let wild = host
            .into_iter()
            .flat_map(suffixes)
            .map(|suffix| Some(format!("*{suffix}")));
        let hosts = hosts_over(host).map(|host| host.map(str::to_owned));
        let hosts: Vec<Option<String>> = hosts.chain(wild).collect();
        let ends = std::iter::once(0).chain(prefix.match_indices('/').map(|(at, _)| at));
        let ends: Vec<&str> = ends
            .chain([prefix.len()])
            .filter_map(|end| prefix.get(..end))
            .collect();
        let over = hosts
            .iter()
            .flat_map(|host| ends.iter().map(move |end| (host.as_deref(), *end)));
        over.filter_map(|key| self.meant.get(&key))
            .flat_map(|earlier| earlier.iter().take(COMPARED_MAX))
            .find(|earlier| earlier.matcher.as_ref().is_some_and(|m| m.covers(matcher)))
            .copied()
    }

    fn add(&mut self, route: &'r Route) {
        let (host, prefix) = (route.host.as_deref(), prefix_of(route));
        if let Some(condition) = &route.condition {
            let key = (host, prefix, condition.as_str());
            self.conditional.entry(key).or_insert(route);
            if route.matcher.is_some() {
                self.meant.entry((host, prefix)).or_default().push(route);
            }
        } else {
            if let Some(suffix) = host.filter(|_| self.in_order).and_then(suffix_of) {
                put(self.wild.entry(suffix).or_default(), route, prefix);
            }
            put(self.plain.entry(host).or_default(), route, prefix);
        }
    }
}

/// Of two with one prefix the one that compares characters covers more.
fn put<'r>(prefixes: &mut BTreeMap<&'r str, (&'r Route, bool)>, route: &'r Route, prefix: &'r str) {
    let entry = prefixes
        .entry(prefix)
        .or_insert((route, route.whole_segments));
    if entry.1 && !route.whole_segments {
        *entry = (route, false);
    }
}

/// The route among `prefixes` whose prefix covers that of `route`.
fn covering<'r>(
    prefixes: &BTreeMap<&'r str, (&'r Route, bool)>,
    route: &Route,
    prefix: &str,
) -> Option<&'r Route> {
    let ends = prefix
        .char_indices()
        .map(|(at, _)| at)
        .chain([prefix.len()]);
    ends.filter_map(|end| Some((end, prefixes.get(prefix.get(..end)?)?)))
        .find(|(end, (_, whole_segments))| {
            let rest = prefix.get(*end..).unwrap_or("");
            let head = prefix.get(..*end).unwrap_or("");
            if !*whole_segments || head.is_empty() || head.ends_with('/') {
                return true;
            }
            rest.starts_with('/') || (rest.is_empty() && route.whole_segments)
        })
        .map(|(_, (earlier, _))| *earlier)
}

pub(super) fn prefix_of(route: &Route) -> &str {
    match route.path_prefix.as_deref() {
        None | Some("/") => "",
        Some(prefix) => prefix,
    }
}

/// `host` itself, and every host.
fn hosts_over(host: Option<&str>) -> impl Iterator<Item = Option<&str>> {
    let itself = host.into_iter().map(Some);
    itself.chain([None])
}

/// `.example.com` of `*.example.com`.
fn suffix_of(host: &str) -> Option<&str> {
    host.strip_prefix('*').filter(|rest| rest.starts_with('.'))
}

/// What follows the `*` of every wildcard that matches whatever `host` matches.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let dots = host.match_indices('.').map(|(at, _)| at);
    // A name that starts with a dot has nothing for the `*` to stand for.
    dots.filter(|at| *at > 0).filter_map(|at| host.get(at..))
}

/// The pools that some route leads to which is not hidden.
pub(super) fn reached(setup: &Setup) -> BTreeSet<&str> {
    let mut by_listener: BTreeMap<&str, Earlier<'_>> = BTreeMap::new();
    let mut reached = BTreeSet::new();
    for route in &setup.routes {
        let earlier = by_listener
            .entry(&route.listener)
            .or_insert_with(|| Earlier::of(setup));
        if earlier.hiding(route).is_none() {
            reached.extend(route.targets.iter().map(|(pool, _)| pool.as_str()));
        }
        earlier.add(route);
    }
    reached
}

fn check_unreachable(subject: &Subject<'_>) -> Vec<Finding> {
    let is_own = subject.setup.balancer == Balancer::Evenkeel;
    let is_told = |route: &Route, hiding: &Route| {
        let same = |of: fn(&Route) -> Option<&str>| of(route) == of(hiding);
        is_own
            && same(|route| route.host.as_deref())
            && same(|route| Some(prefix_of(route)))
            && same(|route| route.condition.as_deref())
    };
    let mut by_listener: BTreeMap<&str, Earlier<'_>> = BTreeMap::new();
    // A route may stand for several hosts or listeners: it is reached when it is for one of them.
    let mut reached = BTreeSet::new();
    let mut hidden = Vec::new();
    for route in &subject.setup.routes {
        let earlier = by_listener
            .entry(&route.listener)
            .or_insert_with(|| Earlier::of(subject.setup));
        match earlier.hiding(route) {
            Some(hiding) => hidden.push((route, hiding)),
            None => drop(reached.insert(route.path.as_str())),
        }
        earlier.add(route);
    }
    let never = hidden
        .into_iter()
        .filter(|(route, hiding)| reached.insert(&route.path) && !is_told(route, hiding));
    never
        .map(|(route, hiding)| unreachable(subject, route, hiding))
        .collect()
}

fn unreachable(subject: &Subject<'_>, route: &Route, hiding: &Route) -> Finding {
    let line = subject.origin.locate(&hiding.path).1.map(|at| at.line);
    let earlier = match line {
        Some(line) => format!("the route in line {line}"),
        None => format!("the route `{}`", hiding.path),
    };
    let words = Words {
        message: format!(
            "this route of listener `{}` ({}) is never reached: {earlier} takes its requests",
            route.listener,
            matches(route)
        ),
        effect: match (target(route), target(hiding)) {
            (meant, got) if meant == got => {
                format!("none while both lead to {got}; a change of this route does nothing")
            }
            (meant, got) => format!("requests meant for {meant} go to {got}, all of them"),
        },
        fix: "put the narrower route first, or remove it".to_owned(),
    };
    let place = (route.path.as_str(), route.path.as_str());
    subject.finding("TRF-08", Severity::Warning, place, 0.0, words)
}

fn matches(route: &Route) -> String {
    let host = route.host.as_deref().unwrap_or("every host");
    let path = route.path_prefix.as_deref().unwrap_or("/");
    match &route.condition {
        Some(condition) => format!("{host}, {path}, {condition}"),
        None => format!("{host}, {path}"),
    }
}

fn target(route: &Route) -> String {
    match route.targets.as_slice() {
        [] => "an answer without a pool".to_owned(),
        [(pool, _)] => format!("pool `{pool}`"),
        [(pool, _), rest @ ..] => format!("pool `{pool}` and {} more", rest.len()),
    }
}
