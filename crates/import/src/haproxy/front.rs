//! The addresses of a frontend as listeners, and its rules as their routes.
//!
//! Every address is a listener of its own, because TLS and the port belong to it. The rules are the same for all, so
//! a route stands under one path for every listener; a test of `ssl_fc` or `dst_port` is answered for each of them, and
//! a route that it rules out is left out there.

use std::collections::BTreeSet;
use std::ops::Range;

use evenkeel_model::setup::{Listener, Route, Setup, Touches};

use crate::haproxy::acl::When;
use crate::haproxy::build::Tables;
use crate::haproxy::desk::Desk;
use crate::haproxy::proxy::{Bind, Kind, Proxy, Rule, Stage};
use crate::haproxy::reader::Whole;

/// Most routes over all listeners.
const ROUTES_MAX: usize = 200_000;

/// Names of listeners so far.
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// Those of sections are kept for them.
    pub(super) fn of(whole: &Whole) -> Self {
        let fronts = whole.proxies.iter().filter(|proxy| proxy.kind.has_front());
        Self(fronts.map(|proxy| proxy.name.clone()).collect())
    }

    /// A name for a further address of `proxy`: by its port, else as it is written, else with a number.
    fn further(&mut self, proxy: &Proxy, bind: &Bind, number: usize) -> String {
        let address = &bind.address.value;
        let port = address
            .rsplit_once(':')
            .map_or(&**address, |(_, port)| port);
        let candidates = [
            format!("{}:{port}", proxy.name),
            format!("{}:{address}", proxy.name),
            format!("{}:{address}#{number}", proxy.name),
        ];
        let free = candidates.into_iter().find(|name| !self.0.contains(name));
        let name = free.unwrap_or_else(|| format!("{}#{number}", proxy.name));
        self.0.insert(name.clone());
        name
    }
}

/// A rule with where it leads.
struct Planned<'p> {
    range: Range<usize>,
    whens: Vec<When>,
    /// `None`: answered without a pool.
    target: Option<&'p str>,
}

/// The listeners of a proxy and their routes.
pub(super) fn front(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    tables: &Tables<'_>,
    names: &mut Names,
    setup: &mut Setup,
) {
    let planned = plan(desk, proxy, tables);
    let mut whens = planned.iter().flat_map(|planned| &planned.whens);
    if whens.any(|when| when.host.is_some() || when.path_prefix.is_some()) {
        for rewrite in &proxy.rewrites {
            let because = "the rules of this section look at what it makes of a request";
            desk.unforeseen(&rewrite.text, &rewrite.range, because, Touches::Routing);
        }
    }
    let path = if proxy.kind == Kind::Listen {
        format!("{}.bind", proxy.path)
    } else {
        proxy.path.clone()
    };
    if let (Some(first), Kind::Listen) = (proxy.binds.first(), proxy.kind) {
        desk.place(&path, &first.address.range);
    } else if proxy.binds.is_empty() && proxy.kind == Kind::Frontend {
        let message = format!("frontend `{}` has no `bind`", proxy.name);
        let effect = "no client can reach it";
        desk.unheeded(&proxy.header, &message, effect, "add a `bind`");
    }
    let is_deliberate = planned.iter().all(|planned| planned.target.is_none())
        && (proxy.is_answering || !planned.is_empty())
        && !has_target(proxy);
    for (number, bind) in proxy.binds.iter().enumerate() {
        let listener = if number == 0 {
            listener(desk, proxy, bind, &path, &proxy.name, tables)
        } else {
            let name = names.further(proxy, bind, number);
            let path = format!("{}.bind.{number}", proxy.path);
            desk.place(&path, &bind.address.range);
            listener(desk, proxy, bind, &path, &name, tables)
        };
        let taken = routes(desk, bind, &planned, (&path, &listener.name), setup);
        if is_deliberate && !taken {
            // What it does not answer on purpose it refuses; there is nothing else that could be meant.
            let path = format!("{path}.route.{}", planned.len());
            desk.place(&path, &proxy.header);
            let rest = route(&When::default(), None, (&path, &listener.name));
            setup.routes.push(rest);
        }
        setup.listeners.push(listener);
        if setup.routes.len() > ROUTES_MAX {
            let message = format!("there are more than {ROUTES_MAX} routes");
            desk.too_much(&proxy.header, message);
            return;
        }
    }
}

/// Whether the section names a backend or is one, even if that answers by itself.
fn has_target(proxy: &Proxy) -> bool {
    proxy.inherited.default_backend.is_some() || !proxy.rules.is_empty()
}

/// Adds the routes of one address; whether one of them takes everything.
fn routes(
    desk: &mut Desk<'_, '_>,
    bind: &Bind,
    planned: &[Planned<'_>],
    (path, listener): (&str, &str),
    setup: &mut Setup,
) -> bool {
    let mut takes_all = false;
    for (index, rule) in planned.iter().enumerate() {
        let path = format!("{path}.route.{index}");
        desk.place(&path, &rule.range);
        let whens = rule.whens.iter();
        for when in whens.filter_map(|when| when.at(|local| bind.passes(local))) {
            takes_all |= when.is_always();
            let route = route(&when, rule.target, (&path, listener));
            setup.routes.push(route);
        }
    }
    takes_all
}

fn route(when: &When, target: Option<&str>, (path, listener): (&str, &str)) -> Route {
    let targets = target.map(|name| (name.to_owned(), 1.0));
    Route {
        path: path.to_owned(),
        listener: listener.to_owned(),
        host: when.host.clone(),
        path_prefix: when.path_prefix.clone(),
        whole_segments: false,
        condition: when.condition.clone(),
        matcher: None,
        answer: None,
        edits: evenkeel_model::config::Edits::default(),
        targets: targets.into_iter().collect(),
    }
}

/// The rules of a proxy in the order in which they are tried.
fn plan<'p>(desk: &mut Desk<'_, '_>, proxy: &'p Proxy, tables: &Tables<'p>) -> Vec<Planned<'p>> {
    let inherited = &proxy.inherited;
    let is_heeded = |rule: &&Rule| inherited.is_http || !rule.stage.needs_http();
    let mut rules: Vec<&Rule> = proxy.answers.iter().filter(is_heeded).collect();
    let stats = stats(proxy);
    rules.extend(&stats);
    rules.extend(&proxy.rules);
    rules.sort_by_key(|rule| rule.stage);
    let mut planned = Vec::new();
    for rule in rules {
        let target = rule.target.as_ref();
        let name = target.and_then(|target| tables.target(desk, proxy, target, "use_backend"));
        // The rule of `stats` is made here and leads nowhere.
        let target = name.and_then(|name| tables.name(name));
        planned.push(Planned {
            range: rule.range.clone(),
            whens: rule.whens.clone(),
            target,
        });
    }
    let mut all = |range: &Range<usize>, target| {
        planned.push(Planned {
            range: range.clone(),
            whens: vec![When::default()],
            target,
        });
    };
    if let Some(default) = &inherited.default_backend {
        let target = tables.target(desk, proxy, default, "default_backend");
        all(&default.range, target);
        if proxy.kind == Kind::Listen && !proxy.servers.is_empty() {
            desk.unheeded(
                &default.range,
                "`default_backend` comes before the servers of this `listen`",
                "its servers get nothing",
                "remove `default_backend` or the servers",
            );
        }
    } else if proxy.kind == Kind::Listen && Tables::is_pool(proxy) {
        all(&proxy.header, Some(&proxy.name));
    }
    planned
}

/// Statistics take what begins with their address, query included.
fn stats(proxy: &Proxy) -> Option<Rule> {
    let inherited = &proxy.inherited;
    let uri = inherited.stats.as_ref().filter(|_| inherited.is_http)?;
    let (path, query) = match uri.value.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri.value.as_str(), None),
    };
    let is_all = matches!(path, "" | "/");
    let when = When {
        path_prefix: (!is_all).then(|| path.to_owned()),
        condition: query.map(|query| format!("the query begins with `{query}`")),
        ..When::default()
    };
    Some(Rule {
        stage: Stage::Stats,
        range: uri.range.clone(),
        whens: vec![when],
        target: None,
    })
}

fn listener(
    desk: &mut Desk<'_, '_>,
    proxy: &Proxy,
    bind: &Bind,
    path: &str,
    name: &str,
    tables: &Tables<'_>,
) -> Listener {
    let inherited = &proxy.inherited;
    for (name, key) in [
        ("client", "client"),
        ("http-request", "head"),
        ("http-keep-alive", "idle"),
    ] {
        if let Some(time) = inherited.timeouts.get(name) {
            desk.place(&format!("{path}.timeout.{key}"), &time.range);
        }
    }
    if let Some(most) = &inherited.maxconn {
        desk.place(&format!("{path}.connections_max"), &most.range);
    }
    let most = inherited
        .maxconn
        .as_ref()
        .or(tables.global.maxconn.as_ref());
    Listener {
        is_http: inherited.is_http,
        is_tls: bind.is_tls,
        head_timeout: inherited.first_wait(&["http-request", "client"]),
        client_timeout: inherited.wait("client"),
        idle_timeout: inherited.first_wait(&["http-keep-alive", "http-request", "client"]),
        connections_max: most.map(|most| most.value),
        ..Listener::blank(name, path, &bind.address.value)
    }
}
