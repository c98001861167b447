//! TRF-09: whether requests find the pool that is meant for them.

use std::collections::BTreeMap;

use evenkeel_balance::redirect::{location, resolved};
use evenkeel_balance::rewrite::Rewriter;
use evenkeel_balance::route::{Example, Found, Miss, RouteTable};
use evenkeel_model::canonical::path_segment;
use evenkeel_model::config::{Answer, Expectation, Outcome, PathMatch, Sent};
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Listener, Route};

use super::routes::prefix_of;
use crate::rule::{Rule, Subject, Words};

/// TRF-09.
pub(super) const EXPECTED: Rule = Rule {
    id: "TRF-09",
    title: "requests find the pool that is meant for them",
    severity: Severity::Error,
    limit: None,
    text: "\
`[[expect]]` in evenkeel.toml names requests and what must become of each: to which pool it goes, what its
route answers or where that sends the client, that no route takes it (404) or its path is refused (400).
With `path_sent` and `host_sent` it says under which path and host the pool must see it. Each is asked of the
very table that serves requests. An error where one goes elsewhere; it says which route takes it and what it
lacks for the one that was meant.

Besides, a listener should end with a route without host, path and condition: to a pool, or to an answer
of the balancer's own. An info, because refusing what nobody named can be meant.

Why: a route that is put in front, or a condition that is reworded a little, can take a whole class of
requests from its pool, and every check of the form of the file passes. A request that matches nothing is
answered 404 or 503 by the balancer itself, which no backend sees and no log of theirs shows.

Limits: nothing is told of requests that nobody named.

Example: `request = \"GET /api/v2/users\"`, `pool = \"api-2\"`, and `path_prefix = \"/api\"` to pool `api`
stands in front of `path_prefix = \"/api/v2\"`.",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = check_default(subject);
    if subject.setup.expectations.is_empty() {
        return findings;
    }
    let table = RouteTable::of_setup(subject.setup);
    for (index, expectation) in subject.setup.expectations.iter().enumerate() {
        let fields: Vec<(&str, &str)> = expectation
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let asked = Example {
            method: &expectation.method,
            fields: &fields,
            ..Example::get(expectation.host(), expectation.target())
        };
        let Some(listener) = table.listener(expectation.listener.as_str()) else {
            continue;
        };
        let way = Way {
            subject,
            table: &table,
            expectation,
            listener,
            asked,
        };
        findings.extend(way.judge(index));
    }
    findings
}

/// One expectation and the request that it is about.
struct Way<'a> {
    subject: &'a Subject<'a>,
    table: &'a RouteTable,
    expectation: &'a Expectation,
    listener: usize,
    asked: Example<'a>,
}

impl Way<'_> {
    fn judge(&self, index: usize) -> Option<Finding> {
        let found = self.table.find(self.listener, &self.asked);
        let sent = self.sent(found);
        let pool = match (found, &sent) {
            (Found::Route { pool, .. }, Some(_)) => self.subject.setup.pools.get(pool),
            _ => None,
        };
        let answer = self.answer(found);
        let is_met = match &self.expectation.outcome {
            Outcome::Pool(meant) => {
                pool.is_some_and(|pool| pool.name == meant.as_str())
                    && sent.as_ref().is_some_and(|sent| self.fits(sent))
            }
            Outcome::NoRoute => answer == Some((404, None)),
            Outcome::Ambiguous => answer == Some((400, None)),
            Outcome::Status(meant) => answer.as_ref().is_some_and(|(status, _)| status == meant),
            Outcome::Redirect { to, status: meant } => answer.as_ref().is_some_and(|answer| {
                let is_there = answer.1.as_deref().map(|at| self.whole(at)) == Some(self.whole(to));
                is_there && meant.is_none_or(|meant| answer.0 == meant)
            }),
        };
        if is_met {
            return None;
        }
        let goes = match found {
            Found::Route { route, .. } => {
                self.way(route, pool.map(|pool| pool.name.as_str()), sent)
            }
            Found::Answer { route } => {
                let named = self.named(route);
                match answer.unwrap_or_default() {
                    (status, Some(to)) => format!("is redirected to `{to}` ({status}) by {named}"),
                    (status, None) => format!("is answered {status} by {named}"),
                }
            }
            Found::Nothing => "is answered 404: no route takes it".to_owned(),
            Found::Ambiguous => format!("is answered 400: {}", self.ambiguity()),
        };
        let meant = match &self.expectation.outcome {
            Outcome::Pool(pool) => {
                format!("is meant for pool `{pool}`{}", seen(&self.expectation.sent))
            }
            Outcome::NoRoute => "is meant for no route".to_owned(),
            Outcome::Ambiguous => "is meant to be refused for its path".to_owned(),
            Outcome::Status(status) => format!("is meant to be answered {status}"),
            Outcome::Redirect { to, status } => {
                let with = status.map_or(String::new(), |status| format!(" ({status})"));
                format!("is meant to be redirected to `{to}`{with}")
            }
        };
        let Expectation { method, url, .. } = self.expectation;
        let words = Words {
            message: format!("`{method} {url}` {meant} but {goes}{}", self.why_not(found)),
            effect: match pool {
                Some(pool) => format!("requests like it reach pool `{}`", pool.name),
                None => "requests like it reach no backend".to_owned(),
            },
            fix: "put the route that is meant first and in reach of it, or change the expectation if it no longer \
                  holds"
                .to_owned(),
        };
        let place = (self.identity(), format!("expect.{index}"));
        let place = (place.0.as_str(), place.1.as_str());
        Some(
            self.subject
                .finding("TRF-09", Severity::Error, place, 1.0, words),
        )
    }

    /// What the backend sees of the request; `None`: no backend sees it.
    fn sent(&self, found: Found) -> Option<Sent> {
        let Found::Route { route, .. } = found else {
            return None;
        };
        let route = self.subject.setup.routes.get(route)?;
        let asked = self.asked.path;
        let path = match (&route.edits.path, &route.matcher) {
            (Some(edit), Some(matcher)) => Rewriter::new(edit, &matcher.path).path(asked).ok()?,
            _ => None,
        };
        let host = route.edits.host.as_deref().or(self.asked.host);
        Some(Sent {
            path: Some(path.unwrap_or_else(|| asked.to_owned())),
            host: host.map(str::to_ascii_lowercase),
        })
    }

    fn fits(&self, sent: &Sent) -> bool {
        let Sent { path, host } = &self.expectation.sent;
        let is = |meant: &Option<String>, is: &Option<String>| meant.is_none() || meant == is;
        is(path, &sent.path) && is(host, &sent.host)
    }

    /// Where a route leads, with what of it is asked for.
    fn way(&self, route: usize, pool: Option<&str>, sent: Option<Sent>) -> String {
        let named = self.named(route);
        let (Some(pool), Some(sent)) = (pool, sent) else {
            return format!(
                "is answered 400: what {named} makes of its path could be read as another path"
            );
        };
        let asked = &self.expectation.sent;
        let shown = Sent {
            path: sent.path.filter(|_| asked.path.is_some()),
            host: sent.host.filter(|_| asked.host.is_some()),
        };
        format!("goes to pool `{pool}`{} by {named}", seen(&shown))
    }

    /// What the balancer itself answers: a status, and where it sends the client.
    fn answer(&self, found: Found) -> Option<(u16, Option<String>)> {
        let route = match found {
            Found::Route { .. } => return self.sent(found).is_none().then_some((400, None)),
            Found::Nothing => return Some((404, None)),
            Found::Ambiguous => return Some((400, None)),
            Found::Answer { route } => self.subject.setup.routes.get(route)?,
        };
        match (route.answer.as_ref()?, &route.matcher) {
            (Answer::Redirect(redirect), Some(matcher)) => {
                let to = location(redirect, &matcher.path, &self.asked);
                Some(match to {
                    Some(to) => (redirect.status, Some(to)),
                    None => (400, None),
                })
            }
            (answer, _) => Some((answer.status(), None)),
        }
    }

    /// A location as a whole URL, where the request is one to a host.
    fn whole(&self, location: &str) -> String {
        let scheme = if self.expectation.url.starts_with("https:") {
            "https"
        } else {
            "http"
        };
        match self.expectation.host() {
            Some(host) => resolved(location, scheme, host),
            None => location.to_owned(),
        }
    }

    /// All that was written: one that moved down the file is the same, and one in its place is another.
    fn identity(&self) -> String {
        let Expectation {
            listener,
            method,
            url,
            headers,
            outcome,
            sent,
        } = self.expectation;
        let ends = match outcome {
            Outcome::Pool(pool) => format!("pool={pool}{}", seen(sent)),
            Outcome::Redirect { to, status } => {
                format!("redirect={to} {}", status.unwrap_or_default())
            }
            other => format!("status={}", other.status().unwrap_or_default()),
        };
        let fields = headers
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let begins = [format!("{listener} {method} {url}")].into_iter();
        let text: Vec<String> = begins.chain(fields).chain([ends]).collect();
        format!("expect.{}", path_segment(&text.join(" ")))
    }

    /// Why no route that leads where it is meant to go takes the request.
    fn why_not(&self, found: Found) -> String {
        let outcome = &self.expectation.outcome;
        let (leads, what): (&dyn Fn(&Route) -> bool, _) = match outcome {
            Outcome::Pool(meant) => (
                &|route| {
                    let mut pools = route.targets.iter();
                    pools.any(|(pool, _)| *pool == meant.as_str())
                },
                format!("leads to pool `{meant}`"),
            ),
            Outcome::Status(meant) => (
                &|route| route.answer.as_ref().map(Answer::status) == Some(*meant),
                format!("answers {meant}"),
            ),
            Outcome::Redirect { .. } => (
                &|route| matches!(route.answer, Some(Answer::Redirect(_))),
                "redirects".to_owned(),
            ),
            Outcome::NoRoute | Outcome::Ambiguous => return String::new(),
        };
        let is_so = |route: usize| self.subject.setup.routes.get(route).is_some_and(leads);
        match found {
            Found::Ambiguous => return String::new(),
            // It is the route that is meant, and says another thing.
            Found::Answer { route } | Found::Route { route, .. } if is_so(route) => {
                return String::new();
            }
            _ => {}
        }
        let routes = self.subject.setup.routes.iter().enumerate();
        let to_it = routes.filter(|(_, route)| {
            let is_here = route.listener == self.expectation.listener.as_str();
            is_here && leads(route)
        });
        // The nearest of several: the one that lacks least, and of these the first.
        let missing =
            to_it.map(|(index, _)| (index, self.table.miss(self.listener, &self.asked, index)));
        let Some((route, miss)) = missing.min_by_key(|(_, miss)| far(*miss)) else {
            let listener = &self.expectation.listener;
            return format!("; no route of listener `{listener}` {what}");
        };
        let named = self.named(route);
        match miss {
            None => format!("; {named} takes it too, and comes later"),
            Some(miss) => format!("; {named} does not take it: {}", self.lacks(miss, route)),
        }
    }

    /// What a route asks for that the request does not have.
    fn lacks(&self, miss: Miss<'_>, route: usize) -> String {
        let route = self.subject.setup.routes.get(route);
        let matcher = route.and_then(|route| route.matcher.as_ref());
        match miss {
            Miss::Host => {
                let host = route.and_then(|route| route.host.as_deref());
                format!("it is for host `{}`", host.unwrap_or_default())
            }
            Miss::Path => match matcher.map(|matcher| &matcher.path) {
                Some(PathMatch::Prefix(path)) => format!("it is for paths under `{path}`"),
                Some(PathMatch::Exact(path)) => format!("it is for path `{path}` only"),
                Some(PathMatch::Regex(pattern)) => {
                    format!("it is for paths that match `{}`", pattern.as_str())
                }
                None => "it is for other paths".to_owned(),
            },
            Miss::Method => {
                let methods = matcher.map(|matcher| matcher.methods.join(", "));
                format!("it is for {} only", methods.unwrap_or_default())
            }
            Miss::Header(name) => format!("what it asks of header `{name}` does not hold"),
            Miss::Cookie(name) => format!("what it asks of cookie `{name}` does not hold"),
            Miss::Query(name) => format!("what it asks of parameter `{name}` does not hold"),
        }
    }

    fn ambiguity(&self) -> String {
        let Some((sent, reading, other)) = self.table.ambiguity(self.listener, &self.asked) else {
            return "its path can be read in two ways".to_owned();
        };
        let taken = |route: Option<usize>| match route {
            Some(route) => self.named(route),
            None => "no route".to_owned(),
        };
        format!(
            "{} takes its path as sent, and {} takes `{reading}`, as other servers read it",
            taken(sent),
            taken(other)
        )
    }

    /// A route by its line, where that is known.
    fn named(&self, route: usize) -> String {
        let routes = &self.subject.setup.routes;
        let path = routes.get(route).map_or("", |route| route.path.as_str());
        match self.subject.origin.locate(path).1 {
            Some(at) => format!("the route in line {}", at.line),
            None => format!("the route `{path}`"),
        }
    }
}

/// With which path and host, as far as that is said.
fn seen(sent: &Sent) -> String {
    let path = sent.path.as_ref();
    let host = sent.host.as_ref();
    let path = path.map_or_else(String::new, |path| format!(" as `{path}`"));
    path + &host.map_or_else(String::new, |host| format!(" for host `{host}`"))
}

/// How far a request is from a route: what is compared first is farthest.
const fn far(miss: Option<Miss<'_>>) -> u8 {
    match miss {
        None => 0,
        Some(Miss::Header(_) | Miss::Cookie(_) | Miss::Query(_)) => 1,
        Some(Miss::Method) => 2,
        Some(Miss::Path) => 3,
        Some(Miss::Host) => 4,
    }
}

fn check_default(subject: &Subject<'_>) -> Vec<Finding> {
    let mut routed: BTreeMap<&str, bool> = BTreeMap::new();
    for route in &subject.setup.routes {
        let takes_all =
            route.host.is_none() && prefix_of(route).is_empty() && route.condition.is_none();
        *routed.entry(&route.listener).or_default() |= takes_all;
    }
    let listeners = subject.setup.listeners.iter();
    let open = listeners.filter(|l| routed.get(l.name.as_str()) == Some(&false));
    open.map(|listener| no_default(subject, listener)).collect()
}

fn no_default(subject: &Subject<'_>, listener: &Listener) -> Finding {
    let status = match subject.setup.balancer {
        Balancer::Haproxy => "503",
        Balancer::Evenkeel | Balancer::Nginx | Balancer::Envoy => "404",
    };
    let words = Words {
        message: format!(
            "listener `{}` has no route for all other requests",
            listener.name
        ),
        effect: format!("what no route names is answered {status} by the balancer itself"),
        fix: "end with a route for every host and path, or leave it so if this is meant".to_owned(),
    };
    let place = (listener.path.as_str(), listener.path.as_str());
    subject.finding("TRF-09", Severity::Info, place, 0.0, words)
}
