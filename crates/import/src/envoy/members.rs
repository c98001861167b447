//! The hosts of a cluster: `load_assignment`, locality by locality.
//!
//! A host is known to a hash by `address:port` as it is written (the address after resolution, for a name), or by what
//! `hash_key` in its metadata says. Its zone is the `zone` of its locality, else the region.

use std::collections::BTreeMap;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Backend, Check, Role, Touches};

use crate::BACKENDS_MAX;
use crate::book::{Book, Words};
use crate::envoy::fields::{Fields, WORD_MAX, put, refuse, scalar};
use crate::envoy::node::{Node, Place, Value};

/// Words of `health_status`.
const HEALTH: &[&str] = &[
    "UNKNOWN",
    "HEALTHY",
    "UNHEALTHY",
    "DRAINING",
    "TIMEOUT",
    "DEGRADED",
];
/// Largest priority that Envoy takes.
const PRIORITY_MAX: u64 = 128;

/// A host with its locality.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) backend: Backend,
    /// Index into [`Members::localities`].
    pub(super) locality: usize,
    /// The host's name, for `use_hostname_for_hashing`.
    pub(super) hostname: String,
    /// The address is an IP address or a path rather than a name.
    pub(super) is_resolved: bool,
}

/// A locality.
#[derive(Debug)]
pub(super) struct Locality {
    pub(super) weight: Option<u64>,
    pub(super) weight_place: Option<Place>,
    pub(super) priority: u32,
}

/// All hosts of a cluster.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) hosts: Vec<Member>,
    pub(super) localities: Vec<Locality>,
    /// `overprovisioning_factor`, 1.4 unless set.
    pub(super) overprovisioning: f64,
}

impl Members {
    pub(super) fn none() -> Self {
        Self {
            hosts: Vec::new(),
            localities: Vec::new(),
            overprovisioning: 1.4,
        }
    }
}

/// What is being read, and for whom.
pub(super) struct Roster<'a> {
    /// Path of the cluster.
    pub(super) cluster: &'a str,
    /// The gap that an unknown field is.
    pub(super) touches: Touches,
    /// Hosts of all clusters so far.
    pub(super) count: &'a mut usize,
}

/// The hosts of the `ClusterLoadAssignment` in `fields`.
pub(super) fn read(
    book: &mut Book<'_>,
    roster: &mut Roster<'_>,
    mut fields: Fields<'_>,
) -> Members {
    let mut all = Members::none();
    if let Some(mut policy) = fields.message(book, "policy") {
        if let Some(factor) =
            policy.number(book, "overprovisioning_factor", 1..=u64::from(u32::MAX))
        {
            all.overprovisioning = factor as f64 / 100.0;
            let path = format!("{}.failover.overprovisioning", roster.cluster);
            policy.place(book, "overprovisioning_factor", &path);
        }
        policy.unknown(book, "drop_overloads", &Touches::Routing);
        policy.unknown(book, "weighted_priority_health", &Touches::Resilience);
        policy.close(book, &["endpoint_stale_after"], &Touches::Resilience);
    }
    let mut names = BTreeMap::new();
    let path = fields.at("endpoints");
    for (index, node) in fields.list(book, "endpoints").iter().enumerate() {
        let path = format!("{path}.{index}");
        if let Some(locality) = Fields::open(book, node, &path) {
            read_locality(book, roster, locality, &mut all, &mut names);
        }
    }
    let harmless = ["cluster_name", "@type"];
    let touches = roster.touches.clone();
    fields.close(book, &harmless, &touches);
    all
}

fn read_locality(
    book: &mut Book<'_>,
    roster: &mut Roster<'_>,
    mut fields: Fields<'_>,
    all: &mut Members,
    names: &mut BTreeMap<String, u64>,
) {
    let mut zone = None;
    if let Some(mut locality) = fields.message(book, "locality") {
        let region = locality
            .text(book, "region")
            .filter(|text| !text.is_empty());
        let named = locality.text(book, "zone").filter(|text| !text.is_empty());
        let place = locality.take("zone").or_else(|| locality.take("region"));
        zone = named
            .or(region)
            .map(str::to_owned)
            .zip(place.map(|node| node.place));
        locality.close(book, &["sub_zone"], &Touches::Resilience);
    }
    let weight = fields.number(book, "load_balancing_weight", 1..=u64::from(u32::MAX));
    let priority = fields
        .number(book, "priority", 0..=PRIORITY_MAX)
        .unwrap_or(0);
    all.localities.push(Locality {
        weight,
        weight_place: fields.take("load_balancing_weight").map(|node| node.place),
        priority: u32::try_from(priority).unwrap_or(u32::MAX),
    });
    let priority_place = fields.take("priority").map(|node| node.place);
    let path = fields.at("lb_endpoints");
    for (index, node) in fields.list(book, "lb_endpoints").iter().enumerate() {
        *roster.count += 1;
        if *roster.count > BACKENDS_MAX {
            if *roster.count == BACKENDS_MAX + 1 {
                too_many(book, &path, node);
            }
            break;
        }
        let path = format!("{path}.{index}");
        let Some(host) = Fields::open(book, node, &path) else {
            continue;
        };
        let Some(mut member) = read_host(book, roster, host, names) else {
            continue;
        };
        member.locality = all.localities.len() - 1;
        member.backend.priority = u32::try_from(priority).unwrap_or(u32::MAX);
        if let Some(place) = priority_place {
            put(book, &format!("{}.priority", member.backend.path), place);
        }
        if let Some((zone, place)) = &zone {
            member.backend.zone = Some(zone.clone());
            put(book, &format!("{}.zone", member.backend.path), *place);
        }
        all.hosts.push(member);
    }
    let harmless = ["proximity", "metadata"];
    let touches = roster.touches.clone();
    fields.close(book, &harmless, &touches);
}

fn too_many(book: &mut Book<'_>, path: &str, node: &Node) {
    put(book, path, node.place);
    book.error(
        path,
        Words {
            id: "IMP-05",
            message: format!("there are more than {BACKENDS_MAX} hosts"),
            effect: "the configuration is not judged, because a part of it is missing".to_owned(),
            fix: "check a part of the clusters at a time".to_owned(),
        },
    );
}

/// One `LbEndpoint`.
fn read_host(
    book: &mut Book<'_>,
    roster: &Roster<'_>,
    mut fields: Fields<'_>,
    names: &mut BTreeMap<String, u64>,
) -> Option<Member> {
    if fields.take("endpoint_name").is_some() {
        fields.unknown(book, "endpoint_name", &roster.touches);
        return None;
    }
    let mut endpoint = fields.message(book, "endpoint").unwrap_or_else(|| {
        let path = fields.at("endpoint");
        Fields::empty(&path)
    });
    let hostname = endpoint.text(book, "hostname").unwrap_or("").to_owned();
    let Some(address) = address(book, &mut endpoint, fields.start()) else {
        endpoint.close(book, &[], &Touches::Resilience);
        return None;
    };
    let name = unique(&address.text, names);
    let path = format!("{}.endpoint.{}", roster.cluster, path_segment(&name));
    put(book, &path, address.place);
    let mut backend = Backend::blank(&name, &path, &address.text);
    if let Some(mut check) = endpoint.message(book, "health_check_config") {
        if check.flag(book, "disable_active_health_check") {
            backend.check = Check::Never;
        }
        check.close(
            book,
            &["port_value", "hostname", "address"],
            &Touches::Resilience,
        );
    }
    endpoint.close(book, &["additional_addresses"], &Touches::Resilience);
    if let Some(weight) = fields.number(book, "load_balancing_weight", 1..=u64::from(u32::MAX)) {
        let path = format!("{path}.weight");
        fields.place(book, "load_balancing_weight", &path);
        backend.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        backend.weight_path = Some(path);
    }
    let health = fields.word(book, "health_status", HEALTH);
    fields.place(book, "health_status", &format!("{path}.role"));
    // Such a host takes nothing, but it counts in the percentages and is used in panic; one that drains does neither
    // (measured on 1.40).
    backend.marked_down = matches!(health, Some("UNHEALTHY" | "TIMEOUT"));
    backend.is_degraded = health == Some("DEGRADED");
    if health == Some("DRAINING") {
        backend.role = Role::Disabled;
    }
    metadata(book, &mut fields, &mut backend);
    fields.close(book, &[], &roster.touches);
    Some(Member {
        backend,
        locality: 0,
        hostname: if hostname.is_empty() {
            address.host
        } else {
            hostname
        },
        is_resolved: address.is_resolved,
    })
}

/// What metadata says about hashing and version; the rest serves subsets and logs, and subsets are a gap of their own.
fn metadata(book: &mut Book<'_>, fields: &mut Fields<'_>, backend: &mut Backend) {
    let Some(mut metadata) = fields.message(book, "metadata") else {
        return;
    };
    if let Some(mut filters) = metadata.message(book, "filter_metadata")
        && let Some(mut balancing) = filters.message(book, "envoy.lb")
    {
        let short = |node: &'_ Node| {
            scalar(node)
                .filter(|text| text.len() <= WORD_MAX)
                .map(str::to_owned)
        };
        if let Some(key) = balancing.take("hash_key").and_then(short) {
            backend.identity = key;
        }
        backend.version = balancing.take("version").and_then(short);
    }
    metadata.close(book, &["typed_filter_metadata"], &Touches::Resilience);
}

/// An address of a configuration.
pub(super) struct Address {
    /// `host:port`, or the path of a socket.
    pub(super) text: String,
    pub(super) host: String,
    pub(super) is_resolved: bool,
    pub(super) place: Place,
}

/// The address in the field `address` of `fields`; `None`, with an error, when there is none.
pub(super) fn address(
    book: &mut Book<'_>,
    fields: &mut Fields<'_>,
    holder: Option<Place>,
) -> Option<Address> {
    let path = fields.path.clone();
    let place = fields.take("address").map(|node| node.place).or(holder);
    let Some(mut address) = fields.message(book, "address") else {
        if let Some(place) = place {
            refuse(book, &path, place, "`address` is missing".to_owned());
        }
        return None;
    };
    let found = if let Some(mut socket) = address.message(book, "socket_address") {
        let host = socket.text(book, "address").unwrap_or("");
        let host_place = socket.take("address").map(|node| node.place);
        let named = socket.text(book, "named_port").map(str::to_owned);
        let port = socket.number(book, "port_value", 0..=65_535);
        if host.is_empty() || (port.is_none() && named.is_none()) {
            let place = host_place.or(socket.start()).or(place)?;
            let message = "a socket address needs `address` and `port_value`".to_owned();
            refuse(book, &socket.path, place, message);
            return None;
        }
        let harmless = [
            "protocol",
            "resolver_name",
            "ipv4_compat",
            "network_namespace_filepath",
        ];
        socket.close(book, &harmless, &Touches::Resilience);
        let ip = host.parse::<std::net::IpAddr>();
        let port = port.map_or_else(|| named.unwrap_or_default(), |port| port.to_string());
        let text = match ip {
            Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        Some(Address {
            text,
            host: host.to_owned(),
            is_resolved: ip.is_ok(),
            place: host_place.or(place)?,
        })
    } else if let Some(mut pipe) = address.message(book, "pipe") {
        let text = pipe.text(book, "path").unwrap_or("").to_owned();
        pipe.close(book, &["mode"], &Touches::Resilience);
        Some(Address {
            host: text.clone(),
            text,
            is_resolved: true,
            place: place?,
        })
    } else {
        internal(book, &mut address, place?)
    };
    address.close(book, &[], &Touches::Resilience);
    found
}

/// The address of an internal listener, or an error.
fn internal(book: &mut Book<'_>, address: &mut Fields<'_>, place: Place) -> Option<Address> {
    let Some(node) = address.take("envoy_internal_address") else {
        let message = "an address needs `socket_address`, `pipe` or `envoy_internal_address`";
        refuse(book, &address.path, place, message.to_owned());
        return None;
    };
    let mut inner = Fields::open(book, node, &address.at("envoy_internal_address"))?;
    let name = inner
        .text(book, "server_listener_name")
        .unwrap_or("")
        .to_owned();
    inner.close(book, &["endpoint_id"], &Touches::Resilience);
    Some(Address {
        text: format!("internal:{name}"),
        host: name,
        is_resolved: true,
        place,
    })
}

/// `name`, or with a number when it was there before.
fn unique(name: &str, names: &mut BTreeMap<String, u64>) -> String {
    let Some(count) = names.get_mut(name) else {
        names.insert(name.to_owned(), 1);
        return name.to_owned();
    };
    *count += 1;
    let numbered = format!("{name}#{count}");
    // Only a name that looks numbered itself can be in the way.
    unique(&numbered, names)
}

/// Whether a node is a map with the key `@type`, as resources in a file of discovery are.
pub(super) fn is_typed(node: &Node) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.text == "@type"))
}
