//! A cluster into a pool.
//!
//! What routes say about a pool (timeouts, retries, hash keys) is added later by [`crate::envoy::link`]; here the
//! weights become what they are in effect. Weights of localities, where they count, are multiplied into the weights of
//! the hosts; how shares move between localities when hosts fail is then not what Envoy does, and is a gap.

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{
    Among, Breakers, Cost, Failover, Fallback, Hash, HashKey, HashTable, LeastLoaded, Nobody, Pool,
    Selection, Tie, Timeouts, Touches, Wait,
};

use crate::envoy::Reading;
use crate::envoy::balance::{self, Balance, Kind};
use crate::envoy::fields::{Fields, put, refuse, scalar};
use crate::envoy::guards;
use crate::envoy::known;
use crate::envoy::members::{self, Members, Roster};
use crate::envoy::node::Node;
use crate::envoy::upstream;
use crate::envoy::weights;

/// Words of `type`.
const TYPES: &[&str] = &["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"];

/// Reads the clusters `nodes`, numbered from `first`.
pub(super) fn read_all(reading: &mut Reading<'_, '_>, nodes: &[std::rc::Rc<Node>], first: usize) {
    for (index, node) in nodes.iter().enumerate() {
        read(reading, node, first + index);
    }
}

/// Reads the cluster `node`, the `index`th of its list, into a pool.
fn read(reading: &mut Reading<'_, '_>, node: &Node, index: usize) {
    let at = format!("clusters.{index}");
    let Some(mut fields) = Fields::open(reading.book, node, &at) else {
        return;
    };
    let name = fields.text(reading.book, "name").unwrap_or("").to_owned();
    let name_place = fields.take("name").map_or(node.place, |name| name.place);
    if name.is_empty() {
        if fields
            .take("name")
            .is_some_and(|node| scalar(node) != Some(""))
        {
            return;
        }
        let message = "a cluster needs a `name`".to_owned();
        refuse(reading.book, &at, node.place, message);
        return;
    }
    if reading.pools.contains_key(&name) {
        let message = format!("there are two clusters called `{name}`");
        refuse(reading.book, &at, name_place, message);
        return;
    }
    let path = format!("cluster.{}", path_segment(&name));
    put(reading.book, &path, name_place);
    path.clone_into(&mut fields.path);
    let touches = Touches::Pool(name.clone());

    let kind = kind(reading, &mut fields, &touches);
    let balance = balance::read(reading.book, &mut fields, &name);
    let members = hosts(reading, &mut fields, &path, &kind, &touches);
    let limits = guards::breakers(reading.book, &mut fields, &path);
    let connect = fields.some_time(reading.book, "connect_timeout");
    fields.place(
        reading.book,
        "connect_timeout",
        &format!("{path}.timeout.connect"),
    );
    let keep = upstream::keep(reading.book, &mut fields, &path);
    let verified = upstream::tls(reading.book, &mut fields, &path);
    let mut pool = Pool {
        health: guards::health(reading.book, &mut fields, &path),
        ejection: guards::ejection(reading.book, &mut fields, &path, members.hosts.len()),
        queue_max: Some(limits.pending),
        breakers: Breakers {
            connections_max: Some(limits.connections),
            requests_max: Some(limits.requests),
            retries_max: limits.retry_budget.is_none().then_some(limits.retries),
        },
        failover: failover(&balance, &members),
        ..Pool::blank(&name, &path)
    };
    pool.retry.budget = limits.retry_budget;
    pool.timeouts = Timeouts {
        connect: Wait::For(connect.unwrap_or(std::time::Duration::from_secs(5))),
        keep: Some(keep),
        ..pool.timeouts
    };
    fields.close(reading.book, known::CLUSTER, &Touches::Resilience);
    fill(
        reading,
        &mut pool,
        members,
        &balance,
        limits.per_host,
        verified,
    );
    if kind.is_elsewhere || (kind.word == "EDS" && pool.backends.is_empty()) {
        pool.selection = Selection::Other(kind.word.clone());
    }
    reading.pools.insert(name, reading.setup.pools.len());
    reading.setup.pools.push(pool);
}

/// How a cluster gets its hosts.
struct Discovery {
    word: String,
    /// The hosts are not in any file.
    is_elsewhere: bool,
}

fn kind(reading: &mut Reading<'_, '_>, fields: &mut Fields<'_>, touches: &Touches) -> Discovery {
    let book = &mut *reading.book;
    if let Some(mut custom) = fields.message(book, "cluster_type") {
        let name = custom.text(book, "name").unwrap_or("").to_owned();
        let word = match name.as_str() {
            "envoy.cluster.static" => "STATIC",
            "envoy.cluster.strict_dns" => "STRICT_DNS",
            "envoy.cluster.logical_dns" => "LOGICAL_DNS",
            "envoy.cluster.eds" => "EDS",
            "envoy.cluster.original_dst" => "ORIGINAL_DST",
            _ => {
                let path = fields.at("cluster_type");
                fields.place_key(book, "cluster_type", &path);
                book.gap(&path, &format!("cluster_type {name}"), touches.clone());
                return Discovery {
                    word: name,
                    is_elsewhere: true,
                };
            }
        };
        return discovery(word);
    }
    let word = fields.word(book, "type", TYPES).unwrap_or("STATIC");
    if word == "ORIGINAL_DST" {
        let path = fields.at("type");
        fields.place(book, "type", &path);
        book.gap(&path, "type ORIGINAL_DST", touches.clone());
    }
    discovery(word)
}

fn discovery(word: &str) -> Discovery {
    Discovery {
        word: word.to_owned(),
        is_elsewhere: word == "ORIGINAL_DST",
    }
}

/// The hosts of the cluster at `path`.
fn hosts(
    reading: &mut Reading<'_, '_>,
    fields: &mut Fields<'_>,
    path: &str,
    kind: &Discovery,
    touches: &Touches,
) -> Members {
    let mut roster = Roster {
        cluster: path,
        touches: touches.clone(),
        count: &mut reading.hosts,
    };
    if kind.word == "EDS" {
        return super::discovery::endpoints(reading.book, fields, &mut roster);
    }
    let policy = fields.take("lb_policy");
    let is_provided = policy.is_some_and(|node| scalar(node) == Some("CLUSTER_PROVIDED"));
    if let Some(node) = policy.filter(|_| is_provided && !kind.is_elsewhere) {
        let message = format!("a {} cluster provides no policy of its own", kind.word);
        refuse(reading.book, &fields.at("algorithm"), node.place, message);
    }
    if let Some(place) = fields.take("eds_cluster_config").map(|node| node.place) {
        let message = format!("`eds_cluster_config` is set in a {} cluster", kind.word);
        refuse(
            reading.book,
            &fields.at("eds_cluster_config"),
            place,
            message,
        );
    }
    let members = match fields.message(reading.book, "load_assignment") {
        Some(assignment) => members::read(reading.book, &mut roster, assignment),
        None => Members::none(),
    };
    check_names(reading, fields, &members, kind, touches);
    members
}

/// What Envoy asks of addresses by the kind of the cluster.
fn check_names(
    reading: &mut Reading<'_, '_>,
    fields: &mut Fields<'_>,
    members: &Members,
    kind: &Discovery,
    touches: &Touches,
) {
    let book = &mut *reading.book;
    let path = fields.path.clone();
    match kind.word.as_str() {
        "STATIC" => {
            for member in members.hosts.iter().filter(|member| !member.is_resolved) {
                let path = &member.backend.path;
                let words = crate::book::Words {
                    id: "IMP-04",
                    message: format!(
                        "`{}` is no IP address, which a STATIC cluster needs",
                        member.backend.address
                    ),
                    effect: "Envoy refuses the configuration".to_owned(),
                    fix: "set `type: STRICT_DNS`".to_owned(),
                };
                book.error(path, words);
            }
        }
        "LOGICAL_DNS" if members.hosts.len() != 1 || members.localities.len() != 1 => {
            let place = fields
                .take("load_assignment")
                .or_else(|| fields.take("name"));
            if let Some(place) = place.map(|node| node.place) {
                let message = format!(
                    "a LOGICAL_DNS cluster has one locality with one host, this one has {} hosts",
                    members.hosts.len()
                );
                refuse(book, &format!("{path}.load_assignment"), place, message);
            }
        }
        "STRICT_DNS" if members.hosts.len() > 1 && members.hosts.iter().any(|m| !m.is_resolved) => {
            let at = format!("{path}.type");
            fields.place(book, "type", &at);
            book.unknowable(
                &at,
                "STRICT_DNS",
                "its members are the addresses that DNS gives, each with the weight of its name; one for each name is assumed",
                touches.clone(),
            );
        }
        "STRICT_DNS" | "LOGICAL_DNS" if members.hosts.iter().any(|m| !m.is_resolved) => {
            let at = format!("{path}.type");
            fields.place(book, "type", &at);
            let because = match kind.word.as_str() {
                "STRICT_DNS" => "its members are the addresses that DNS gives; one is assumed",
                _ => "its member is the address that DNS gives first at the time",
            };
            book.unknowable(&at, &kind.word, because, Touches::Resilience);
        }
        _ => {}
    }
}

fn failover(balance: &Balance, members: &Members) -> Failover {
    let uses_all = balance.panic_below > 0.0 && !balance.refuses_in_panic;
    Failover {
        nobody: if uses_all {
            Nobody::UseAll
        } else {
            Nobody::Refuse
        },
        panic_below: if uses_all { balance.panic_below } else { 0.0 },
        overprovisioning: members.overprovisioning,
        ..Pool::blank("", "").failover
    }
}

/// Backends, selection and fall-back of `pool`.
fn fill(
    reading: &mut Reading<'_, '_>,
    pool: &mut Pool,
    mut members: Members,
    balance: &Balance,
    per_host: Option<u64>,
    verified: Option<bool>,
) {
    let touches = Touches::Pool(pool.name.clone());
    if let Some((setting, reason)) = &balance.idle_setting {
        pool.fallback = Some(Fallback {
            requested: setting.clone(),
            reason: reason.clone(),
        });
    }
    let is_folded = if balance.is_by_locality {
        weights::fold(reading.book, &mut members, &pool.path, &touches)
    } else {
        weights::note_idle_localities(reading.book, pool, &members);
        false
    };
    if let Some(local) = &reading.local_cluster
        && !balance.is_by_locality
        && *local != pool.name
        && members.localities.len() > 1
    {
        reading.book.gap_because(
            &pool.path,
            "zone aware routing",
            "with `local_cluster_name` Envoy prefers hosts of its own zone",
            touches.clone(),
        );
    }
    let by_level = weights::differ(&members);
    if matches!(balance.kind, Kind::LeastRequest { .. }) && by_level == weights::Differ::InSome {
        reading.book.gap_because(
            &pool.path,
            "LEAST_REQUEST",
            "weights differ in some priorities and not in others, and Envoy chooses by another method in each",
            touches.clone(),
        );
    }
    let is_uneven = is_folded || by_level != weights::Differ::Nowhere;
    pool.selection = selection(pool, balance, is_uneven);
    hash_with_degraded(reading, pool, &members);
    for member in members.hosts {
        let mut backend = member.backend;
        if balance.by_hostname {
            backend.identity = member.hostname;
        }
        backend.in_flight_max = per_host;
        backend.tls_verified = verified;
        if let Some((window, place)) = balance.slow_start.filter(|(window, _)| !window.is_zero()) {
            backend.slow_start = Some(window);
            put(reading.book, &format!("{}.slow_start", backend.path), place);
        }
        pool.backends.push(backend);
    }
}

/// A hash gives degraded hosts nothing while a healthy one is in their level (tried on Envoy 1.40), and what they get
/// without one is not worked out here.
fn hash_with_degraded(reading: &mut Reading<'_, '_>, pool: &mut Pool, members: &Members) {
    let degraded = members.hosts.iter().find(|host| host.backend.is_degraded);
    let (Some(host), Selection::Hash(_)) = (degraded, &pool.selection) else {
        return;
    };
    let what = "a hash over hosts that are DEGRADED";
    let because = "who takes their part depends on who is healthy beside them";
    let touches = Touches::Pool(pool.name.clone());
    let at = format!("{}.role", host.backend.path);
    reading.book.gap_because(&at, what, because, touches);
    pool.selection = Selection::Other(what.to_owned());
}

/// What `balance` does with weights that are equal or not.
fn selection(pool: &mut Pool, balance: &Balance, is_uneven: bool) -> Selection {
    let drawn = |among: Among| {
        Selection::LeastLoaded(LeastLoaded {
            among,
            cost: Cost::Plain,
            tie: match among {
                Among::All => Tie::InTurn,
                Among::DrawnByWeight(_) | Among::DrawnEqually(_) | Among::DrawnFromRing(_) => {
                    Tie::FirstDrawn
                }
            },
        })
    };
    let hash = |table: HashTable| {
        Selection::Hash(Hash {
            key: HashKey::Other("at random for each request".to_owned()),
            table,
            balance_factor: balance.load_factor,
        })
    };
    match &balance.kind {
        Kind::LeastRequest { bias, .. } if is_uneven => Selection::WeightOverLoad { bias: *bias },
        Kind::LeastRequest {
            is_full_scan: true, ..
        } => drawn(Among::All),
        Kind::LeastRequest { choices, .. } => drawn(Among::DrawnEqually(*choices)),
        Kind::Random if is_uneven => {
            pool.fallback = Some(Fallback {
                requested: "load_balancing_weight".to_owned(),
                reason: "RANDOM ignores the weights of hosts".to_owned(),
            });
            drawn(Among::DrawnEqually(1))
        }
        Kind::RoundRobin | Kind::Random => Selection::ByWeight,
        Kind::Ring {
            min,
            max,
            is_murmur,
        } => hash(HashTable::EnvoyRing {
            min: *min,
            max: *max,
            murmur: *is_murmur,
        }),
        Kind::Maglev { size } => hash(HashTable::EnvoyMaglev { size: *size }),
        Kind::Other(name) => Selection::Other(name.clone()),
    }
}
