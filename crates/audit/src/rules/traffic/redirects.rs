//! TRF-17: redirects after which a client arrives somewhere.

use std::collections::BTreeSet;

use evenkeel_balance::redirect::{location, resolved};
use evenkeel_balance::route::{Example, Found, RouteTable};
use evenkeel_model::config::{Answer, Field, Matcher, NewPath, PathMatch, Redirect, ValueMatch};
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Listener, Route};

use crate::rule::{Rule, Subject, Words};

/// TRF-17.
pub(super) const ARRIVES: Rule = Rule {
    id: "TRF-17",
    title: "redirects do not lead back to themselves",
    severity: Severity::Error,
    limit: None,
    text: "\
A client that follows a redirect should get to something else. Of each redirect in evenkeel.toml a request
that its route takes is followed through the very table that serves requests. An error where the client
comes back to the route again and again; a warning where that hangs on a host which no route names, because
it may be another machine's.

Why: browsers give up after some 20 rounds and show an error; nothing of the site is reachable, and each
visitor makes 20 requests.

Limits: another scheme than the listener's, and another port, count as elsewhere. So a redirect to https
behind something that ends TLS and speaks http to this listener is not seen. Routes with a regular
expression in a condition, or with one as their path that does not fit the new path, are not judged.

Example: a route without `host` and `redirect = { host = \"www.example.com\" }`, which takes the requests to
www.example.com too.",
    check,
};

/// What browsers follow.
const HOPS_MAX: usize = 20;
/// A host that a route for every host takes.
const ANY_HOST: &str = "host.example";

fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    let redirects = |route: &Route| matches!(route.answer, Some(Answer::Redirect(_)));
    if !setup.routes.iter().any(redirects) {
        return Vec::new();
    }
    let table = RouteTable::of_setup(setup);
    let routes = setup.routes.iter().enumerate();
    let findings = routes
        .filter(|(_, route)| redirects(route))
        .filter_map(|(index, route)| {
            let listener = setup.listeners.iter().find(|l| l.name == route.listener)?;
            let follow = Follow {
                subject,
                table: &table,
                listener,
                at: table.listener(&route.listener)?,
            };
            let asked = Asked::of(route)?;
            let back = asked
                .into_iter()
                .find_map(|asked| follow.back(asked, index))?;
            Some(follow.finding(route, &back))
        });
    findings.collect()
}

/// A request on its way from one redirect to the next.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    host: String,
    method: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
}

/// A client that comes back.
struct Back {
    /// What it asked for first.
    asked: Asked,
    /// Where it was sent first.
    to: String,
    /// A host on the way that no route names.
    unnamed: Option<String>,
}

struct Follow<'a> {
    subject: &'a Subject<'a>,
    table: &'a RouteTable,
    listener: &'a Listener,
    at: usize,
}

impl Asked {
    /// Requests that `route` takes; `None`: none is known.
    fn of(route: &Route) -> Option<Vec<Self>> {
        let matcher = route.matcher.as_ref()?;
        let host = match route.host.as_deref() {
            None => ANY_HOST.to_owned(),
            Some(host) => host.replace('*', "any"),
        };
        let one = |path: String| {
            let cookies = values(&matcher.cookies)?;
            let cookies = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let cookies: Vec<String> = cookies.collect();
            let mut fields = values(&matcher.headers)?;
            if !cookies.is_empty() {
                fields.push(("cookie".to_owned(), cookies.join("; ")));
            }
            let query = values(&matcher.query)?;
            let query = query.iter().map(|(name, value)| format!("{name}={value}"));
            let query: Vec<String> = query.collect();
            let method = matcher.methods.first();
            Some(Self {
                host: host.clone(),
                method: method.map_or_else(|| "GET".to_owned(), Clone::clone),
                path,
                query: (!query.is_empty()).then(|| query.join("&")),
                fields,
            })
        };
        paths(matcher, route.answer.as_ref())
            .into_iter()
            .map(one)
            .collect()
    }

    fn example<'a>(&'a self, fields: &'a [(&'a str, &'a str)]) -> Example<'a> {
        Example {
            host: Some(&self.host),
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            fields,
        }
    }

    /// What a client asks for that is sent to `url`.
    fn next(&self, url: &str, status: u16) -> Self {
        let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let is_get = match status {
            303 => self.method != "HEAD",
            301 | 302 => self.method == "POST",
            _ => false,
        };
        Self {
            host: host.to_owned(),
            method: if is_get {
                "GET".to_owned()
            } else {
                self.method.clone()
            },
            path: path.to_owned(),
            query,
            fields: self.fields.clone(),
        }
    }
}

/// Paths that `matcher` may take.
fn paths(matcher: &Matcher, answer: Option<&Answer>) -> Vec<String> {
    match (&matcher.path, answer) {
        (PathMatch::Prefix(prefix), _) => {
            let prefix = prefix.trim_end_matches('/');
            vec![format!("{prefix}/"), format!("{prefix}/x")]
        }
        (PathMatch::Exact(path), _) => vec![path.clone()],
        // Whether it takes what it leads to is all that can be asked of it.
        (PathMatch::Regex(_), Some(Answer::Redirect(redirect))) => match &redirect.path {
            Some(NewPath::Whole(path)) => vec![path.clone()],
            _ => Vec::new(),
        },
        (PathMatch::Regex(_), _) => Vec::new(),
    }
}

/// Names with values that hold; `None`: some value is not known.
fn values(fields: &[Field]) -> Option<Vec<(String, String)>> {
    let known = fields
        .iter()
        .filter(|field| field.value != ValueMatch::Absent);
    let each = known.map(|field| match &field.value {
        ValueMatch::Exact(text) | ValueMatch::Prefix(text) => {
            Some((field.name.clone(), text.clone()))
        }
        ValueMatch::Present => Some((field.name.clone(), "x".to_owned())),
        ValueMatch::Regex(_) | ValueMatch::Absent => None,
    });
    each.collect()
}

impl Follow<'_> {
    /// How a client that asks so comes back to the route `index`; `None`: it gets somewhere.
    fn back(&self, first: Asked, index: usize) -> Option<Back> {
        let mut asked = first.clone();
        let mut to = None;
        let mut unnamed = None;
        let mut seen = BTreeSet::new();
        let mut visits = 0;
        for _ in 0..HOPS_MAX {
            let (route, redirect) = self.taken(&asked)?;
            if route == index {
                visits += 1;
            } else if visits == 0 {
                return None;
            }
            let url = self.sent(&asked, route, redirect)?;
            let next = asked.next(&url, redirect.status);
            if redirect.host.is_some() && !self.is_named(&next.host) {
                unnamed = Some(next.host.clone());
            }
            to.get_or_insert(url);
            if !seen.insert(std::mem::replace(&mut asked, next)) {
                break;
            }
        }
        (visits > 1).then_some(Back {
            asked: first,
            to: to?,
            unnamed,
        })
    }

    /// The redirect that takes a request, by its place.
    fn taken(&self, asked: &Asked) -> Option<(usize, &Redirect)> {
        let fields = asked.fields.iter();
        let fields: Vec<(&str, &str)> = fields
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let Found::Answer { route } = self.table.find(self.at, &asked.example(&fields)) else {
            return None;
        };
        match self.subject.setup.routes.get(route)?.answer.as_ref()? {
            Answer::Redirect(redirect) => Some((route, redirect)),
            Answer::Respond(_) => None,
        }
    }

    /// The URL that a client is sent to; `None`: one that leads elsewhere.
    fn sent(&self, asked: &Asked, route: usize, redirect: &Redirect) -> Option<String> {
        let own = if self.listener.is_tls {
            "https"
        } else {
            "http"
        };
        let port = self.listener.address.rsplit_once(':');
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        let is_own = |given: u16| port == Some(given);
        let leaves = redirect.scheme.is_some_and(|scheme| scheme.as_str() != own)
            || redirect.port.is_some_and(|port| !is_own(port.get()));
        if leaves {
            return None;
        }
        let matcher = self.subject.setup.routes.get(route)?.matcher.as_ref()?;
        let to = location(redirect, &matcher.path, &asked.example(&[]))?;
        Some(resolved(&to, own, &asked.host))
    }

    fn is_named(&self, host: &str) -> bool {
        let routes = self.subject.setup.routes.iter();
        let mut hosts = routes
            .filter(|route| route.listener == self.listener.name)
            .filter_map(|route| route.host.as_deref());
        hosts.any(|named| {
            let is_under = |suffix: &str| host.len() > suffix.len() && host.ends_with(suffix);
            named == host || named.strip_prefix('*').is_some_and(is_under)
        })
    }

    fn finding(&self, route: &Route, back: &Back) -> Finding {
        let Asked { host, path, .. } = &back.asked;
        let from = if host == ANY_HOST {
            path.clone()
        } else {
            format!("{host}{path}")
        };
        let to = back.to.replacen(&format!("http://{ANY_HOST}/"), "/", 1);
        let (severity, effect) = match &back.unnamed {
            None => (
                Severity::Error,
                "clients give up after some 20 rounds".to_owned(),
            ),
            Some(host) => (
                Severity::Warning,
                format!("where `{host}` is this listener, clients give up after some 20 rounds"),
            ),
        };
        let words = Words {
            message: format!(
                "`{from}` is redirected to `{to}` and from there back, again and again"
            ),
            effect,
            fix: "give the route the hosts or paths that are to be left, or put the route for what is to be reached \
                  in front of it"
                .to_owned(),
        };
        let at = format!("{}.redirect", route.path);
        self.subject
            .finding("TRF-17", severity, (&route.path, &at), 0.0, words)
    }
}
