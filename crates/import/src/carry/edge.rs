//! Listeners and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Listener, Route, Touches};

use super::address::{self, Stays};
use super::paper::{Paper, quoted};
use super::pool::PoolText;
use super::protocol::Protocols;
use super::terms::{self, CLIENT_WAIT_MAX, COUNT_MAX};
use super::{Loss, Work};
use crate::AsideKind;

/// Most routes that Evenkeel accepts.
const ROUTES_MAX: usize = 10_000;
/// Longest prefix that Evenkeel accepts.
const PREFIX_MAX: usize = 1_024;
/// Longest host name (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;
/// Where Evenkeel's admin address is unless the file says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);
const KIND: &str = "listener";

/// Listeners and routes as they will stand in the text.
pub(super) struct Edge {
    admin: Option<SocketAddr>,
    listeners: Vec<Listening>,
    pub(super) routes: Vec<Routing>,
}

struct Listening {
    name: String,
    address: String,
    keys: Vec<(&'static str, String)>,
    remarks: Vec<String>,
}

/// One route, or a comment about one that was left out.
pub(super) enum Routing {
    Route {
        listener: String,
        host: Option<String>,
        prefix: Option<String>,
        pool: String,
    },
    LeftOut(String),
}

impl Edge {
    /// Whether a route leads to `pool`.
    pub(super) fn leads_to(&self, name: &str) -> bool {
        self.routes
            .iter()
            .any(|route| matches!(route, Routing::Route { pool, .. } if pool == name))
    }

    pub(super) fn write(&self, paper: &mut Paper) {
        if let Some(admin) = self.admin {
            paper.table("[admin]");
            paper.key("address", &format!("\"{admin}\""));
        }
        for listener in &self.listeners {
            paper.table(&format!("[listener.{}]", path_segment(&listener.name)));
            for remark in &listener.remarks {
                paper.remark(remark);
            }
            paper.key("address", &quoted(&listener.address));
            for (key, value) in &listener.keys {
                paper.key(key, value);
            }
        }
        for route in &self.routes {
            match route {
                Routing::LeftOut(words) => {
                    paper.blank();
                    paper.remark(words);
                }
                Routing::Route {
                    listener,
                    host,
                    prefix,
                    pool,
                } => {
                    paper.table("[[route]]");
                    paper.key("listener", &quoted(listener));
                    if let Some(host) = host {
                        paper.key("host", &quoted(host));
                    }
                    if let Some(prefix) = prefix {
                        paper.key("path_prefix", &quoted(prefix));
                    }
                    paper.key("pool", &quoted(pool));
                }
            }
        }
    }
}

impl Work<'_> {
    /// Listeners that serve HTTP, and the routes from them to `pools`.
    pub(super) fn edge(&mut self, pools: &[PoolText]) -> Edge {
        let setup = self.setup;
        let names = setup.listeners.iter().map(|l| l.name.as_str());
        self.names.reserve(KIND, names);
        let protocols = Protocols::of(setup, self.asides, self.addresses);
        let mut listeners: Vec<Listening> = Vec::new();
        let mut by_name: BTreeMap<&str, (String, &str)> = BTreeMap::new();
        for listener in &setup.listeners {
            if let Some(spoken) = protocols.on(listener) {
                self.foreign(listener, spoken);
                continue;
            }
            let Some(new) = self.listener(listener) else {
                continue;
            };
            let twin = listeners.iter().find(|l| overlap(&l.address, &new.address));
            if let Some(twin) = twin {
                let twin = twin.name.clone();
                if twin != new.name {
                    self.merged(listener, &twin);
                }
                by_name.insert(&listener.name, (twin, &listener.path));
                continue;
            }
            by_name.insert(&listener.name, (new.name.clone(), &listener.path));
            listeners.push(new);
        }
        let routes = self.routes(&by_name, &protocols, pools);
        let used: BTreeSet<&str> = routes
            .iter()
            .filter_map(|route| match route {
                Routing::Route { listener, .. } => Some(listener.as_str()),
                Routing::LeftOut(_) => None,
            })
            .collect();
        listeners.retain(|listener| used.contains(listener.name.as_str()));
        let is_served = !used.is_empty();
        Edge {
            admin: admin(&listeners),
            routes: if is_served { routes } else { Vec::new() },
            listeners,
        }
    }

    /// A listener that expects another protocol than HTTP/1.
    fn foreign(&mut self, listener: &Listener, spoken: &str) {
        self.loss(
            &listener.path,
            Touches::Routing,
            format!("listener `{}` on {}", listener.name, listener.address),
            &format!(
                "its clients speak another protocol (`{spoken}`); Evenkeel speaks plain HTTP/1"
            ),
            "it is left out, with the routes on it: every connection to it would fail",
            "keep this part where it is",
        );
    }

    fn merged(&mut self, listener: &Listener, twin: &str) {
        self.loss(
            &listener.path,
            Touches::Routing,
            format!("listener `{}` on {}", listener.name, listener.address),
            &format!("`{twin}` already listens there, and an address stands once in a file"),
            &format!("its routes stand behind those of `{twin}`"),
            "give the routes a `host`, so that they cannot hide one another",
        );
    }

    fn listener(&mut self, listener: &Listener) -> Option<Listening> {
        let what = format!("listener `{}` on {}", listener.name, listener.address);
        if !listener.is_http {
            self.loss(
                &listener.path,
                Touches::Routing,
                what,
                "it passes on TCP connections; Evenkeel serves HTTP",
                "connections to it are not served",
                "keep this part where it is",
            );
            return None;
        }
        let mut address = match address::listen(&listener.address, self.addresses) {
            Ok(address) => address,
            Err(stays) => {
                self.losses.push(Loss {
                    path: listener.path.clone(),
                    what,
                    why: why(&stays),
                    consequence: "clients that connect to it are not served".to_owned(),
                    alternative: alternative(&stays),
                    touches: Touches::Routing,
                    aside: None,
                });
                return None;
            }
        };
        let mut remarks = Vec::new();
        if listener.is_tls {
            address = on_loopback(&address);
            remarks.push(
                "left out: TLS. It listens on loopback until `tls` is written here.".to_owned(),
            );
            self.loss(
                &listener.path,
                Touches::Routing,
                format!(
                    "TLS of listener `{}` on {}",
                    listener.name, listener.address
                ),
                "certificates and keys are not carried over",
                "NOT PROTECTED: the listener speaks plain HTTP, and is put on loopback for that",
                "write `tls = { certificates = [...] }` and give it its address back",
            );
            self.told_as(AsideKind::Access);
        }
        Some(Listening {
            name: self.names.of(KIND, &listener.name),
            address,
            keys: self.client_terms(listener),
            remarks,
        })
    }

    fn client_terms(&mut self, listener: &Listener) -> Vec<(&'static str, String)> {
        let mut keys = Vec::new();
        let mut cut = Vec::new();
        let client = listener.client_timeout;
        for (key, wait) in [
            ("head_timeout", listener.head_timeout),
            ("body_timeout", client),
            ("idle_timeout", listener.idle_timeout),
            ("write_timeout", client),
        ] {
            let (time, is_same) = terms::wait(wait, CLIENT_WAIT_MAX);
            keys.push((key, terms::duration(time)));
            if !is_same {
                cut.push(format!("{key} = {}", terms::duration(time)));
            }
        }
        if !cut.is_empty() {
            self.loss(
                &listener.path,
                Touches::Resilience,
                format!("timeouts of listener `{}`", listener.name),
                "Evenkeel ends every wait: from 1 ms to 1 day",
                &format!("what stands now: {}", cut.join(", ")),
                "choose what a client may take",
            );
        }
        let most = listener.connections_max.or(self.setup.connections_max);
        if let Some(most) = most {
            keys.push(("connections_max", most.clamp(1, COUNT_MAX).to_string()));
        }
        keys
    }

    fn routes(
        &mut self,
        listeners: &BTreeMap<&str, (String, &str)>,
        protocols: &Protocols<'_>,
        pools: &[PoolText],
    ) -> Vec<Routing> {
        let setup = self.setup;
        let mut routes = Vec::new();
        let mut seen = BTreeSet::new();
        for route in &setup.routes {
            if routes.len() >= ROUTES_MAX {
                self.loss(
                    &route.path,
                    Touches::Routing,
                    format!("the routes after the first {ROUTES_MAX}"),
                    "a file holds no more",
                    "requests that they meet are answered 404",
                    "split the configuration",
                );
                break;
            }
            let Some((listener, path)) = listeners.get(route.listener.as_str()) else {
                continue;
            };
            let passed = protocols.through(route, path);
            match self.route(route, listener, passed, pools) {
                Ok(Routing::Route {
                    listener,
                    host,
                    prefix,
                    pool,
                }) => {
                    let key = (listener.clone(), host.clone(), prefix.clone());
                    if seen.insert(key) {
                        routes.push(Routing::Route {
                            listener,
                            host,
                            prefix,
                            pool,
                        });
                    } else {
                        self.hidden(route);
                    }
                }
                Ok(left_out) => routes.push(left_out),
                Err(words) => routes.push(Routing::LeftOut(words)),
            }
        }
        routes
    }

    fn hidden(&mut self, route: &Route) {
        self.loss(
            &route.path,
            Touches::Routing,
            format!("the route to {}", to(route)),
            "an earlier route has the same listener, host and prefix",
            "it gets no request, as the first match wins",
            "remove it in the original, or give it a host or prefix of its own",
        );
    }

    /// A route, or in words what was left out.
    fn route(
        &mut self,
        route: &Route,
        listener: &str,
        passed: Option<&str>,
        pools: &[PoolText],
    ) -> Result<Routing, String> {
        let (target, pool) = match fits(route, passed, pools) {
            Ok(found) => found,
            Err((why, alternative)) => {
                let what = format!("the route {}to {}", when(route), to(route));
                self.loss(
                    &route.path,
                    Touches::Routing,
                    what.as_str(),
                    &why,
                    "requests that meet it go where a later route says",
                    alternative,
                );
                return Err(format!("left out: {what}: {why}"));
            }
        };
        let rest = route.rest();
        if route.targets.len() > 1 || rest > 0.0 {
            let also = if rest > 0.0 {
                format!(", also the {} that no pool answers now", percent(rest))
            } else {
                String::new()
            };
            self.loss(
                &route.path,
                Touches::Routing,
                format!("the split between {}", to(route)),
                "a route of Evenkeel has one pool",
                &format!("all of it goes to `{target}`, the largest part{also}"),
                "put the backends into one pool with weights in these parts",
            );
        }
        if let Some(given) = route.path_prefix.as_deref()
            && given.len() > 1
            && given.ends_with('/')
        {
            self.loss(
                &route.path,
                Touches::Routing,
                format!("paths that begin with `{given}`"),
                "Evenkeel compares whole segments",
                &format!("`{}` itself meets the route as well", short(given)),
                "add an earlier route if that path belongs elsewhere",
            );
        }
        if let Some(given) = route.path_prefix.as_deref()
            && !route.whole_segments
            && !given.ends_with('/')
        {
            self.loss(
                &route.path,
                Touches::Routing,
                format!("paths that begin with `{given}`"),
                "Evenkeel compares whole segments",
                &format!("`{given}x` does not meet the route, `{given}/x` does"),
                "add routes for the other paths, if there are any",
            );
        }
        let prefix = route.path_prefix.as_deref().map(short);
        Ok(Routing::Route {
            listener: listener.to_owned(),
            host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
            prefix: prefix.filter(|prefix| prefix != "/"),
            pool: pool.name.clone(),
        })
    }
}

/// The target of a route and its pool, or why there is none, and what to do instead.
fn fits<'r, 'p>(
    route: &'r Route,
    passed: Option<&str>,
    pools: &'p [PoolText],
) -> Result<(&'r str, &'p PoolText), (String, &'static str)> {
    if let Some(condition) = &route.condition {
        let why = format!("Evenkeel routes by host and path prefix, not by `{condition}`");
        return Err((why, "express it by host or path, or keep it in front"));
    }
    if !sound_host(route.host.as_deref()) || !sound_prefix(route.path_prefix.as_deref()) {
        let why = "its host or prefix has a form that Evenkeel does not accept";
        let form = "write the host as `shop.example.com` or `*.example.com`";
        return Err((why.to_owned(), form));
    }
    if let Some(passed) = passed.filter(|_| !route.targets.is_empty()) {
        let why = format!("it passes on another protocol (`{passed}`), which Evenkeel does not");
        let plain = "keep it in front; or remove that line if nobody uses it, and import again";
        return Err((why, plain));
    }
    let heaviest = route.targets.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((target, _)) = heaviest else {
        let why = "it answers without a backend, which Evenkeel does not";
        return Err((
            why.to_owned(),
            "let a backend answer it, or keep it in front",
        ));
    };
    match pools.iter().find(|pool| pool.original == *target) {
        Some(pool) => Ok((target, pool)),
        None => Err((
            "its pool is not carried over".to_owned(),
            "see what became of the pool",
        )),
    }
}

/// The pools of a route in words.
fn to(route: &Route) -> String {
    let names: Vec<String> = route
        .parts()
        .map(|(pool, part)| {
            if part < 1.0 {
                format!("`{pool}` ({})", percent(part))
            } else {
                format!("`{pool}`")
            }
        })
        .collect();
    if names.is_empty() {
        "no pool".to_owned()
    } else {
        names.join(", ")
    }
}

/// A part of 1 in words, to a hundredth of a percent.
fn percent(part: f64) -> String {
    format!("{} %", (part * 10_000.0).round() / 100.0)
}

fn when(route: &Route) -> String {
    let (host, prefix) = (route.host.as_deref(), route.path_prefix.as_deref());
    match (host, prefix) {
        (None, None | Some("/")) => String::new(),
        (host, prefix) => format!("`{}{}` ", host.unwrap_or(""), prefix.unwrap_or("/")),
    }
}

/// As the parser keeps it: without a slash at the end.
fn short(prefix: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => "/".to_owned(),
        short => short.to_owned(),
    }
}

fn sound_host(host: Option<&str>) -> bool {
    let label = |label: &str| {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(fine)
    };
    host.is_none_or(|host| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        host.len() <= HOST_MAX && name.split('.').all(label)
    })
}

fn sound_prefix(prefix: Option<&str>) -> bool {
    prefix.is_none_or(|prefix| {
        let fine = |b: u8| b.is_ascii_graphic() && b != b'#' && b != b'?';
        prefix.starts_with('/') && prefix.len() <= PREFIX_MAX && prefix.bytes().all(fine)
    })
}

fn why(stays: &Stays) -> String {
    match stays {
        Stays::Name(name) => {
            format!("`{name}` is a host name; names are not resolved in this version")
        }
        Stays::Form => "its address has a form that Evenkeel does not accept".to_owned(),
    }
}

fn alternative(stays: &Stays) -> String {
    match stays {
        Stays::Name(name) => format!("give its address: `--resolve {name}=192.0.2.1`"),
        Stays::Form => "write it as an IP address with a port".to_owned(),
    }
}

pub(super) fn reasons(stays: &Stays) -> (String, String) {
    (why(stays), alternative(stays))
}

fn on_loopback(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(socket) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), socket.port()).to_string(),
        Err(_unix) => address.to_owned(),
    }
}

/// The admin address, where its default would clash with a listener.
fn admin(listeners: &[Listening]) -> Option<SocketAddr> {
    let is_free = |admin: &SocketAddr| {
        let text = admin.to_string();
        !listeners.iter().any(|l| overlap(&l.address, &text))
    };
    if is_free(&ADMIN) {
        return None;
    }
    let ports = (ADMIN.port()..u16::MAX).map(|port| SocketAddr::new(ADMIN.ip(), port));
    ports.into_iter().find(is_free)
}

/// Whether two addresses would clash, as the parser judges it.
fn overlap(a: &str, b: &str) -> bool {
    match (a.parse::<SocketAddr>(), b.parse::<SocketAddr>()) {
        (Ok(a), Ok(b)) => {
            let same_family = a.is_ipv4() == b.is_ipv4();
            let any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || (same_family && any))
        }
        _ => a == b,
    }
}
