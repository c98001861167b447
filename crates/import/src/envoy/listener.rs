//! Listeners and their filter chains.
//!
//! The timeouts of a listener are those of its first filter chain that has a terminal filter; a chain with a match
//! gives its routes a condition when there are several chains.

use std::collections::BTreeMap;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Listener, Retry, Route, Touches, Wait};

use crate::book::Words;
use crate::envoy::Reading;
use crate::envoy::asides;
use crate::envoy::fields::{Fields, put, refuse, scalar};
use crate::envoy::http;
use crate::envoy::known;
use crate::envoy::link::{Manner, Use};
use crate::envoy::members::address;
use crate::envoy::node::{Node, Place, Value, brief};
use crate::envoy::rbac;
use crate::envoy::route;
use crate::envoy::typed::{Typed, typed};
use crate::envoy::upstream::{self, sketch, wait};

/// One hour, the default of the idle timeouts of connections.
pub(super) const HOUR: Wait = Wait::For(std::time::Duration::from_secs(3_600));

/// A filter chain that is being read.
pub(super) struct Chain<'r> {
    pub(super) listener: &'r mut Listener,
    /// What its match says, when there is more than one chain.
    pub(super) condition: Option<String>,
    /// Names of `server_names` of its match.
    pub(super) server_names: Vec<String>,
    /// Earlier chains have set the listener's timeouts.
    pub(super) is_settled: bool,
    /// A filter refuses every connection.
    pub(super) is_refused: bool,
    /// Routes and findings of the chain are under this path.
    pub(super) path: String,
}

/// Reads the listener `node`, the `index`th of its list.
fn read(reading: &mut Reading<'_, '_>, node: &Node, index: usize) {
    let at = format!("listeners.{index}");
    let Some(mut fields) = Fields::open(reading.book, node, &at) else {
        return;
    };
    let named = fields.text(reading.book, "name").unwrap_or("").to_owned();
    let name = if named.is_empty() {
        format!("#{index}")
    } else {
        named
    };
    let path = format!("listener.{}", path_segment(&name));
    put(
        reading.book,
        &path,
        fields.take("name").map_or(node.place, |name| name.place),
    );
    path.clone_into(&mut fields.path);
    if fields.unknown(reading.book, "api_listener", &Touches::Routing) {
        return;
    }
    let address = if fields.take("address").is_some() {
        address(reading.book, &mut fields, None).map(|address| address.text)
    } else if fields.take("internal_listener").is_some() {
        Some(format!("internal:{name}"))
    } else {
        let message = "a listener needs an `address`".to_owned();
        refuse(reading.book, &path, node.place, message);
        None
    };
    let is_given = address.is_some();
    let mut listener = Listener::blank(&name, &path, &address.unwrap_or_default());
    if is_given {
        let taken = reading
            .addresses
            .insert(listener.address.clone(), name.clone());
        if let Some(other) = taken {
            let message = format!(
                "`{}` is the address of listener `{other}` too",
                listener.address
            );
            refuse(reading.book, &path, node.place, message);
        }
    }
    listener.is_http = false;
    let key = format!("envoy.resource_limits.listener.{name}.connection_limit");
    if let Some((limit, place)) = reading.runtime.get(&key) {
        listener.connections_max = Some(*limit);
        put(reading.book, &format!("{path}.connections_max"), *place);
    }
    listener_filters(reading, &mut fields);
    fields.take("internal_listener");
    fields.unknown(reading.book, "filter_chain_matcher", &Touches::Routing);
    if fields.flag(reading.book, "use_original_dst") {
        fields.unknown(reading.book, "use_original_dst", &Touches::Routing);
    }
    fields.unknown(reading.book, "udp_listener_config", &Touches::Resilience);
    chains(reading, &mut fields, &mut listener);
    fields.close(reading.book, known::LISTENER, &Touches::Routing);
    reading.setup.listeners.push(listener);
}

/// Reads the listeners `nodes`, numbered from `first`. Of two with the same name the later one counts.
pub(super) fn read_all(reading: &mut Reading<'_, '_>, nodes: &[std::rc::Rc<Node>], first: usize) {
    let name = |node: &Node| match &node.value {
        Value::Map(entries) => {
            let mut names = entries.iter().rev().filter(|(key, _)| key.text == "name");
            names
                .find_map(|(_, node)| scalar(node))
                .map(brief)
                .filter(|name| !name.is_empty())
        }
        _ => None,
    };
    let mut last = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(name) = name(node) {
            last.insert(name, index);
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        let name = name(node);
        if name
            .as_ref()
            .and_then(|name| last.get(name))
            .is_none_or(|last| *last == index)
        {
            read(reading, node, first + index);
            continue;
        }
        let path = format!("listeners.{}", first + index);
        put(reading.book, &path, node.place);
        let words = Words {
            id: "IMP-04",
            message: format!(
                "a later listener is called `{}` too",
                name.unwrap_or_default()
            ),
            effect: "that one silently takes the place of this one, whose address is closed"
                .to_owned(),
            fix: "give each listener a name of its own".to_owned(),
        };
        reading.book.remark(Severity::Warning, &path, words);
    }
}

fn listener_filters(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>) {
    let at = fields.at("listener_filters");
    for (index, node) in fields
        .list(reading.book, "listener_filters")
        .iter()
        .enumerate()
    {
        let at = format!("{at}.{index}");
        let Some(mut filter) = Fields::open(reading.book, node, &at) else {
            continue;
        };
        filter.take("filter_disabled");
        let Some(filter) = typed(reading.book, filter) else {
            continue;
        };
        asides::filter(reading.book, &filter, &at, node.place);
        if !is_known(&filter, known::LISTENER_FILTERS) {
            put(reading.book, &at, node.place);
            let what = format!("listener filter {}", filter.alias);
            reading.book.gap(&at, &what, Touches::Routing);
        }
    }
}

/// Whether the filter is of one of the types in `names`, or, without a type, set up under a name like one of them.
pub(super) fn is_known(filter: &Typed<'_>, names: &[&str]) -> bool {
    let last = filter.name.rsplit('.').next().unwrap_or("");
    if !last.is_empty() {
        return names.contains(&last);
    }
    let alias = filter
        .alias
        .rsplit('.')
        .next()
        .unwrap_or("")
        .replace('_', "");
    names.iter().any(|name| name.eq_ignore_ascii_case(&alias))
}

fn chains(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>, listener: &mut Listener) {
    let mut nodes: Vec<(&Node, String)> = Vec::new();
    for (index, node) in fields
        .list(reading.book, "filter_chains")
        .iter()
        .enumerate()
    {
        nodes.push((node, format!("{}.chain.{index}", listener.path)));
    }
    if let Some(node) = fields.take("default_filter_chain") {
        nodes.push((node, format!("{}.chain.default", listener.path)));
    }
    let are_several = nodes.len() > 1;
    let mut is_settled = false;
    for (node, path) in nodes {
        put(reading.book, &path, node.place);
        let Some(mut fields) = Fields::open(reading.book, node, &path) else {
            continue;
        };
        let mut condition = None;
        let mut server_names = Vec::new();
        if let Some(found) = fields.take("filter_chain_match") {
            condition = Some(format!("filter chain for {}", sketch(found))).filter(|_| are_several);
            if let Some(mut found) = fields.message(reading.book, "filter_chain_match") {
                let names = found.texts(reading.book, "server_names");
                server_names = names.into_iter().map(str::to_ascii_lowercase).collect();
            }
        }
        if let Some(socket) = fields.message(reading.book, "transport_socket") {
            let at = format!("{}.tls", listener.path);
            let is_tls = upstream::socket_tls(reading.book, socket, &at, 0).is_some();
            fields.place_key(reading.book, "transport_socket", &at);
            listener.is_tls |= is_tls;
        }
        let mut chain = Chain {
            listener: &mut *listener,
            condition,
            server_names,
            is_settled,
            is_refused: false,
            path,
        };
        is_settled |= filters(reading, &mut fields, &mut chain);
        let harmless = [
            "use_proxy_proto",
            "metadata",
            "name",
            "on_demand_configuration",
            "transport_socket_connect_timeout",
        ];
        fields.close(reading.book, &harmless, &Touches::Routing);
    }
}

/// The network filters of a chain; whether one of them directs traffic.
fn filters(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>, chain: &mut Chain<'_>) -> bool {
    let mut is_terminal = false;
    let at = fields.at("filter");
    for (index, node) in fields.list(reading.book, "filters").iter().enumerate() {
        let at = format!("{at}.{index}");
        put(reading.book, &at, node.place);
        let Some(mut filter) = Fields::open(reading.book, node, &at) else {
            continue;
        };
        if filter.unknown(reading.book, "config_discovery", &Touches::Routing) {
            continue;
        }
        let Some(mut filter) = typed(reading.book, filter) else {
            continue;
        };
        asides::filter(reading.book, &filter, &at, node.place);
        match filter.name.rsplit('.').next().unwrap_or("") {
            "HttpConnectionManager" => {
                http::read(reading, filter.fields, chain);
                is_terminal = true;
            }
            "TcpProxy" => {
                tcp(reading, filter.fields, chain, node.place);
                is_terminal = true;
            }
            "ConnectionLimit" => {
                let limit = filter
                    .fields
                    .number(reading.book, "max_connections", 1..=u64::MAX);
                chain.listener.connections_max = limit;
                let path = format!("{}.connections_max", chain.listener.path);
                filter.fields.place(reading.book, "max_connections", &path);
            }
            "RBAC" => {
                chain.is_refused |= rbac::refuses_all(reading.book, &mut filter.fields);
            }
            _ if is_known(&filter, known::NETWORK_FILTERS) => {}
            _ => {
                let what = format!("network filter {}", filter.alias);
                reading.book.gap(&at, &what, Touches::Routing);
            }
        }
    }
    is_terminal
}

/// Adds `route`; where a filter refuses everybody, behind that answer, so that the clusters it names stay known.
pub(super) fn add(reading: &mut Reading<'_, '_>, route: Route, is_refused: bool) {
    if is_refused && !route.targets.is_empty() {
        reading.route(Route {
            path: format!("{}.refused", route.path),
            targets: Vec::new(),
            ..route.clone()
        });
    }
    reading.route(route);
}

/// A TCP proxy: one route without a path per server name of the chain.
fn tcp(reading: &mut Reading<'_, '_>, mut fields: Fields<'_>, chain: &mut Chain<'_>, place: Place) {
    let book = &mut *reading.book;
    let idle = fields.duration(book, "idle_timeout").map_or(HOUR, wait);
    let idle_place = fields.take("idle_timeout").map(|node| node.place);
    if !chain.is_settled {
        chain.listener.client_timeout = idle;
        chain.listener.idle_timeout = idle;
        fields.place(
            book,
            "idle_timeout",
            &format!("{}.timeout.client", chain.listener.path),
        );
    }
    let tries = fields.number(book, "max_connect_attempts", 1..=u64::from(u32::MAX));
    let tries_place = fields.take("max_connect_attempts").map(|node| node.place);
    let hash = route::hash_keys(book, &mut fields);
    fields.unknown(book, "metadata_match", &Touches::Routing);
    fields.unknown(book, "tunneling_config", &Touches::Routing);
    fields.unknown(book, "on_demand", &Touches::Routing);
    let manner = Manner {
        is_http: false,
        request: (Wait::Endless, None),
        response: (idle, idle_place),
        idle: (idle, idle_place),
        retry: (
            Retry {
                attempts: tries.map(|tries| (tries - 1) as u32).or(Some(0)),
                budget: None,
                unsafe_methods: false,
                after_sent: false,
            },
            tries_place,
        ),
        attempts: tries_place,
        hash,
        sticky: None,
    };
    let path = format!("{}.route", chain.path);
    put(reading.book, &path, place);
    let targets = route::targets(reading, &mut fields, &path);
    fields.close(reading.book, known::TCP_PROXY, &Touches::Routing);
    reading.manners.push(manner);
    for (pool, _, place, path) in &targets {
        reading.uses.push(Use {
            pool: pool.clone(),
            path: path.clone(),
            place: *place,
            is_checked: false,
            manner: reading.manners.len() - 1,
        });
    }
    let names = std::mem::take(&mut chain.server_names);
    let mut hosts: Vec<Option<String>> = names.into_iter().map(Some).collect();
    if hosts.is_empty() {
        hosts.push(None);
    }
    for host in hosts {
        let condition = chain.condition.clone().filter(|_| host.is_none());
        let route = Route {
            host,
            condition,
            targets: route::parts(&targets),
            ..Route::blank(&path, &chain.listener.name)
        };
        add(reading, route, chain.is_refused);
    }
}
