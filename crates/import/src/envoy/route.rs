//! A route configuration into routes.
//!
//! Envoy picks the virtual host with the most specific domain first (exact, `*.suffix`, `prefix.*`, `*`) and never
//! looks into another one, so hosts are written in that order, and one that may match nothing is closed with a route
//! that leads nowhere.

use std::collections::BTreeSet;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{HashKey, Route, Touches};

use crate::book::Book;
use crate::envoy::Reading;
use crate::envoy::action::{self, Inherited};
use crate::envoy::asides;
use crate::envoy::fields::{Fields, put, refuse};
use crate::envoy::http::Web;
use crate::envoy::known;
use crate::envoy::listener::add;
use crate::envoy::matching::{Match, matching};
use crate::envoy::node::{Node, Place};

/// A cluster, its part, where it is named, and the path of that.
pub(super) type Target = (String, f64, Place, String);

/// A virtual host that has been read.
struct Host {
    path: String,
    domains: Vec<String>,
    routes: Vec<Ready>,
}

/// A route without its host.
struct Ready {
    path: String,
    found: Match,
    targets: Vec<Target>,
    /// A filter refuses everybody before it comes to them.
    is_refused: bool,
}

/// Reads the `RouteConfiguration` in `fields`.
pub(super) fn read(reading: &mut Reading<'_, '_>, mut fields: Fields<'_>, web: &Web) {
    let mut is_checked = web.is_checked;
    if fields.take("validate_clusters").is_some() {
        is_checked = fields.flag(reading.book, "validate_clusters");
    }
    fields.unknown(reading.book, "vhds", &Touches::Routing);
    fields.unknown(reading.book, "request_mirror_policies", &Touches::Routing);
    fields.unknown(reading.book, "cluster_specifier_plugins", &Touches::Routing);
    let web = Web {
        listener: web.listener.clone(),
        condition: web.condition.clone(),
        sticky: web.sticky.clone(),
        path: web.path.clone(),
        idle: web.idle,
        is_refused: web.is_refused && fields.take("typed_per_filter_config").is_none(),
        is_checked,
    };
    let mut hosts = Vec::new();
    let mut domains = BTreeSet::new();
    let at = fields.at("virtual_hosts");
    for (index, node) in fields
        .list(reading.book, "virtual_hosts")
        .iter()
        .enumerate()
    {
        let at = format!("{at}.{index}");
        if let Some(host) = Fields::open(reading.book, node, &at) {
            hosts.extend(virtual_host(reading, host, node, &web, &mut domains));
        }
    }
    asides::fields(reading.book, &mut fields, asides::ROUTING);
    fields.close(reading.book, known::ROUTES, &Touches::Routing);
    lay_out(reading, &hosts, &web);
}

fn virtual_host(
    reading: &mut Reading<'_, '_>,
    mut fields: Fields<'_>,
    node: &Node,
    web: &Web,
    taken: &mut BTreeSet<String>,
) -> Option<Host> {
    let name = fields.text(reading.book, "name").unwrap_or("").to_owned();
    if name.is_empty() {
        let message = "a virtual host needs a `name`".to_owned();
        refuse(reading.book, &fields.path, node.place, message);
        return None;
    }
    let path = format!("{}.virtual_host.{}", web.path, path_segment(&name));
    put(
        reading.book,
        &path,
        fields.take("name").map_or(node.place, |name| name.place),
    );
    path.clone_into(&mut fields.path);
    let mut domains = Vec::new();
    for domain in fields.texts(reading.book, "domains") {
        let domain = domain.to_ascii_lowercase();
        if taken.insert(domain.clone()) {
            domains.push(domain);
        } else if let Some(place) = fields.take("domains").map(|node| node.place) {
            let message = format!("the domain `{domain}` stands in two places");
            refuse(reading.book, &format!("{path}.domains"), place, message);
        }
    }
    if fields.take("domains").is_none() {
        let message = format!("the virtual host `{name}` needs `domains`");
        refuse(reading.book, &path, node.place, message);
    }
    let tls = fields.word(
        reading.book,
        "require_tls",
        &["NONE", "EXTERNAL_ONLY", "ALL"],
    );
    if tls.is_some_and(|word| word != "NONE") {
        fields.unknown(reading.book, "require_tls", &Touches::Routing);
    }
    fields.unknown(reading.book, "request_mirror_policies", &Touches::Routing);
    let inherited = Inherited {
        retry: action::retry(reading.book, &mut fields),
        is_anew: fields.take("typed_per_filter_config").is_some(),
    };
    let mut routes = Vec::new();
    for (index, node) in fields.list(reading.book, "routes").iter().enumerate() {
        let at = format!("{path}.route.{index}");
        put(reading.book, &at, node.place);
        if let Some(route) = Fields::open(reading.book, node, &at) {
            routes.extend(one(reading, route, node, web, &inherited));
        }
    }
    asides::fields(reading.book, &mut fields, asides::ROUTING);
    fields.close(reading.book, known::VIRTUAL_HOST, &Touches::Routing);
    Some(Host {
        path,
        domains,
        routes,
    })
}

/// One route of a virtual host.
fn one(
    reading: &mut Reading<'_, '_>,
    mut fields: Fields<'_>,
    node: &Node,
    web: &Web,
    inherited: &Inherited,
) -> Option<Ready> {
    let path = fields.path.clone();
    let Some(found) = fields.message(reading.book, "match") else {
        let message = "a route needs a `match`".to_owned();
        refuse(reading.book, &path, node.place, message);
        return None;
    };
    let found = matching(reading.book, found, node.place);
    let elsewhere = [
        "redirect",
        "direct_response",
        "filter_action",
        "non_forwarding_action",
    ];
    let answers = elsewhere
        .iter()
        .filter(|name| fields.take(name).is_some())
        .count();
    let is_anew = inherited.is_anew || fields.take("typed_per_filter_config").is_some();
    let targets = match fields.message(reading.book, "route") {
        Some(action) => action::read(reading, action, &path, web, inherited),
        None if answers == 0 => {
            let message = "a route needs `route`, `redirect` or `direct_response`".to_owned();
            refuse(reading.book, &path, node.place, message);
            Vec::new()
        }
        None => Vec::new(),
    };
    asides::fields(reading.book, &mut fields, asides::ROUTING);
    fields.close(reading.book, known::ROUTE, &Touches::Routing);
    Some(Ready {
        path,
        found,
        targets,
        is_refused: web.is_refused && !is_anew,
    })
}

/// Writes the routes of `hosts` in the order in which Envoy looks at their domains.
fn lay_out(reading: &mut Reading<'_, '_>, hosts: &[Host], web: &Web) {
    let mut domains: Vec<(&str, &Host)> = Vec::new();
    for host in hosts {
        domains.extend(host.domains.iter().map(|domain| (domain.as_str(), host)));
    }
    let rank = |domain: &str| match domain {
        "*" => (3, 0),
        _ if domain.starts_with('*') => (1, usize::MAX - domain.len()),
        _ if domain.ends_with('*') => (2, usize::MAX - domain.len()),
        _ => (0, 0),
    };
    domains.sort_by_key(|(domain, _)| rank(domain));
    let mut written: BTreeSet<(Option<String>, Option<String>, &str)> = BTreeSet::new();
    let count = domains.len();
    for (index, (domain, host)) in domains.into_iter().enumerate() {
        let (name, condition) = of_domain(domain);
        if !written.insert((name.clone(), condition.clone(), &host.path)) {
            continue;
        }
        let condition = both(web.condition.clone(), condition);
        let route = |path: &str, found: Match, targets: &[Target]| Route {
            path: path.to_owned(),
            listener: web.listener.clone(),
            host: name.clone(),
            path_prefix: found.prefix,
            whole_segments: found.whole_segments,
            condition: both(condition.clone(), found.condition),
            matcher: None,
            answer: None,
            edits: evenkeel_model::config::Edits::default(),
            targets: parts(targets),
        };
        for ready in &host.routes {
            let route = route(&ready.path, ready.found.clone(), &ready.targets);
            add(reading, route, ready.is_refused);
        }
        let is_closed = host.routes.iter().any(|ready| ready.found.takes_all());
        if !is_closed && index + 1 < count {
            reading.route(route(&host.path, Match::default(), &[]));
        }
    }
}

/// Host and further condition of a domain.
fn of_domain(domain: &str) -> (Option<String>, Option<String>) {
    if domain == "*" {
        return (None, None);
    }
    let (name, port) = match domain.rsplit_once(':') {
        Some((name, port)) if port == "*" || port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (domain, None),
    };
    let is_plain = match name.strip_prefix("*.") {
        Some(rest) => !rest.contains('*'),
        None => !name.contains('*'),
    };
    if !is_plain || name.is_empty() {
        return (None, Some(format!("host {domain}")));
    }
    let port = port.filter(|port| *port != "*");
    (
        Some(name.to_owned()),
        port.map(|port| format!("port {port}")),
    )
}

/// Both conditions.
pub(super) fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}, {other}")),
        (one, other) => one.or(other),
    }
}

/// Pools with their parts.
pub(super) fn parts(targets: &[Target]) -> Vec<(String, f64)> {
    let used = targets.iter().filter(|(_, part, ..)| *part > 0.0);
    used.map(|(pool, part, ..)| (pool.clone(), *part)).collect()
}

/// The clusters that `cluster` or `weighted_clusters` names, for the route at `path`.
pub(super) fn targets(
    reading: &mut Reading<'_, '_>,
    fields: &mut Fields<'_>,
    path: &str,
) -> Vec<Target> {
    let book = &mut *reading.book;
    let at = format!("{path}.cluster");
    if let Some(name) = fields.text(book, "cluster") {
        let place = fields.take("cluster").map(|node| node.place);
        return place
            .map(|place| vec![(name.to_owned(), 1.0, place, at)])
            .unwrap_or_default();
    }
    let Some(mut weighted) = fields.message(book, "weighted_clusters") else {
        return Vec::new();
    };
    let mut targets = Vec::new();
    for (index, node) in weighted.list(book, "clusters").iter().enumerate() {
        let at = format!("{at}.{index}");
        let Some(mut one) = Fields::open(book, node, &at) else {
            continue;
        };
        let weight = one
            .number(book, "weight", 0..=u64::from(u32::MAX))
            .unwrap_or(0);
        one.place(book, "weight", &format!("{at}.weight"));
        one.unknown(book, "cluster_header", &Touches::Routing);
        one.unknown(book, "metadata_match", &Touches::Routing);
        if let Some(name) = one.text(book, "name") {
            targets.push((name.to_owned(), weight as f64, node.place, at));
        }
        let harmless = [
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "typed_per_filter_config",
            "host_rewrite_literal",
        ];
        asides::fields(book, &mut one, asides::ROUTING);
        one.close(book, &harmless, &Touches::Routing);
    }
    let harmless = [
        "total_weight",
        "header_name",
        "random_value_specifier",
        "use_hash_policy",
    ];
    weighted.unknown(book, "runtime_key_prefix", &Touches::Routing);
    if targets.iter().all(|(_, weight, ..)| *weight <= 0.0)
        && let Some(place) = weighted.start()
    {
        let message = "the weights of `weighted_clusters` sum to 0".to_owned();
        refuse(book, &at, place, message);
    }
    weighted.close(book, &harmless, &Touches::Routing);
    targets
}

/// The keys of `hash_policy`: the first when it is terminal, else all of them joined in order.
pub(super) fn hash_keys(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Option<(HashKey, Place)> {
    let mut keys = Vec::new();
    let mut first = None;
    let mut is_terminal = false;
    let at = fields.at("hash_policy");
    for (index, node) in fields.list(book, "hash_policy").iter().enumerate() {
        let at = format!("{at}.{index}");
        put(book, &at, node.place);
        let Some(mut policy) = Fields::open(book, node, &at) else {
            continue;
        };
        first = first.or(Some(node.place));
        let ends = policy.flag(book, "terminal");
        let key = hash_key(book, policy);
        // What follows a terminal key serves requests without it.
        if !is_terminal {
            keys.extend(key);
        }
        is_terminal |= ends;
    }
    let place = first?;
    let key = match keys.as_slice() {
        [] => return None,
        [key] => key.clone(),
        several => {
            let words: Vec<String> = several.iter().map(key_words).collect();
            HashKey::Other(words.join(" and "))
        }
    };
    Some((key, place))
}

fn key_words(key: &HashKey) -> String {
    match key {
        HashKey::ClientAddress => "client address".to_owned(),
        HashKey::Uri => "path".to_owned(),
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query parameter {name}"),
        HashKey::Constant(words) | HashKey::Other(words) => words.clone(),
    }
}

fn hash_key(book: &mut Book<'_>, mut policy: Fields<'_>) -> Option<HashKey> {
    let mut key = None;
    if let Some(mut header) = policy.message(book, "header") {
        let name = header.text(book, "header_name").unwrap_or("");
        key = Some(match name {
            ":path" => HashKey::Uri,
            name => HashKey::Header(name.to_ascii_lowercase()),
        });
        if header.take("regex_rewrite").is_some() {
            key = Some(HashKey::Other(format!("a part of header {name}")));
        }
        header.close(book, &[], &Touches::Routing);
    } else if let Some(mut cookie) = policy.message(book, "cookie") {
        key = cookie
            .text(book, "name")
            .map(|name| HashKey::Cookie(name.to_owned()));
        cookie.close(book, &["ttl", "path", "attributes"], &Touches::Routing);
    } else if let Some(mut query) = policy.message(book, "query_parameter") {
        key = query
            .text(book, "name")
            .map(|name| HashKey::Query(name.to_owned()));
        query.close(book, &[], &Touches::Routing);
    } else if let Some(mut connection) = policy.message(book, "connection_properties") {
        key = connection
            .flag(book, "source_ip")
            .then_some(HashKey::ClientAddress);
        connection.close(book, &[], &Touches::Routing);
    } else if policy.take("source_ip").is_some() {
        key = Some(HashKey::ClientAddress);
    } else if let Some(mut state) = policy.message(book, "filter_state") {
        let name = state.text(book, "key").unwrap_or("");
        key = Some(HashKey::Other(format!("filter state {name}")));
        state.close(book, &[], &Touches::Routing);
    }
    policy.close(book, &["terminal"], &Touches::Routing);
    key
}
