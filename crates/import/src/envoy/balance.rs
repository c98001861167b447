//! How a cluster chooses a host: `lb_policy` with its settings, or `load_balancing_policy`.
//!
//! Envoy takes the first policy of the list that it knows; so does this reader, with the policies of Envoy itself.
//! Settings of a policy that is not chosen are accepted by Envoy and have no effect, which is noted.

use std::time::Duration;

use evenkeel_model::setup::Touches;

use crate::book::Book;
use crate::envoy::fields::{Fields, put, refuse};
use crate::envoy::node::Place;
use crate::envoy::typed::{Typed, typed};

/// Words of `lb_policy`; the index is the number of the enumeration.
const POLICIES: &[&str] = &[
    "ROUND_ROBIN",
    "LEAST_REQUEST",
    "RING_HASH",
    "RANDOM",
    "",
    "MAGLEV",
    "CLUSTER_PROVIDED",
    "LOAD_BALANCING_POLICY_CONFIG",
];
/// Most points of a ring unless set, and the most that Envoy takes.
const RING_MAX: u64 = 8_388_608;
/// Most entries of a Maglev table that Envoy takes.
const MAGLEV_MAX: u64 = 5_000_011;
/// Part of healthy hosts below which all are used, unless set.
const PANIC: f64 = 0.5;

/// What a cluster says about choosing.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) kind: Kind,
    /// A host's share grows over this time after it joins.
    pub(super) slow_start: Option<(Duration, Place)>,
    /// Localities share by their weights first.
    pub(super) is_by_locality: bool,
    /// Below this part of healthy hosts all are used.
    pub(super) panic_below: f64,
    /// In panic requests are refused.
    pub(super) refuses_in_panic: bool,
    /// A hash knows a host by its name.
    pub(super) by_hostname: bool,
    /// No host takes more than this times the average.
    pub(super) load_factor: Option<f64>,
    /// A setting without effect, with the reason.
    pub(super) idle_setting: Option<(String, String)>,
}

/// The policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    RoundRobin,
    LeastRequest {
        choices: u32,
        bias: f64,
        is_full_scan: bool,
    },
    Random,
    Ring {
        min: u64,
        max: u64,
        is_murmur: bool,
    },
    Maglev {
        size: u64,
    },
    Other(String),
}

impl Balance {
    fn new() -> Self {
        Self {
            kind: Kind::RoundRobin,
            slow_start: None,
            is_by_locality: false,
            panic_below: PANIC,
            refuses_in_panic: false,
            by_hostname: false,
            load_factor: None,
            idle_setting: None,
        }
    }
}

/// Reads what `cluster` says; `pool` is its name.
pub(super) fn read(book: &mut Book<'_>, cluster: &mut Fields<'_>, pool: &str) -> Balance {
    let mut balance = Balance::new();
    let touches = Touches::Pool(pool.to_owned());
    common(book, cluster, &mut balance, &touches);
    let algorithm = cluster.at("algorithm");
    let word = cluster.word(book, "lb_policy", POLICIES);
    cluster.place(book, "lb_policy", &algorithm);
    let word = word.unwrap_or("ROUND_ROBIN");
    if word == "LOAD_BALANCING_POLICY_CONFIG"
        && cluster.take("load_balancing_policy").is_none()
        && let Some(node) = cluster.take("lb_policy")
    {
        let message = format!("`lb_policy` is {word} and there is no `load_balancing_policy`");
        refuse(book, &algorithm, node.place, message);
    }
    cluster.unknown(book, "lb_subset_config", &touches);
    if cluster.take("load_balancing_policy").is_some() {
        cluster.place_key(book, "load_balancing_policy", &algorithm);
        if let Some(policy) = cluster.message(book, "load_balancing_policy") {
            first_known(book, policy, &mut balance, &touches);
        }
        for (_, name) in SETTINGS {
            if cluster.take(name).is_some() {
                let reason = "`load_balancing_policy` is set and decides alone";
                balance.idle_setting = Some(((*name).to_owned(), reason.to_owned()));
            }
        }
        return balance;
    }
    let mut settings_of_word = Fields::empty(&cluster.path);
    for (policy, name) in SETTINGS {
        let Some(settings) = cluster.message(book, name) else {
            continue;
        };
        if *policy == word {
            settings_of_word = settings;
        } else {
            let reason = format!("`lb_policy` is {word}");
            balance.idle_setting = Some(((*name).to_owned(), reason));
        }
    }
    set(book, word, settings_of_word, &mut balance, &touches);
    balance
}

/// Policies and the fields of a cluster with their settings.
const SETTINGS: &[(&str, &str)] = &[
    ("ROUND_ROBIN", "round_robin_lb_config"),
    ("LEAST_REQUEST", "least_request_lb_config"),
    ("RING_HASH", "ring_hash_lb_config"),
    ("MAGLEV", "maglev_lb_config"),
    ("CLUSTER_PROVIDED", "original_dst_lb_config"),
];

/// `common_lb_config`.
fn common(book: &mut Book<'_>, cluster: &mut Fields<'_>, balance: &mut Balance, touches: &Touches) {
    let panic = cluster.at("failover.panic_below");
    let Some(mut common) = cluster.message(book, "common_lb_config") else {
        return;
    };
    if let Some(part) = common.percent(book, "healthy_panic_threshold") {
        common.place(book, "healthy_panic_threshold", &panic);
        balance.panic_below = part;
    }
    if let Some(hashing) = common.message(book, "consistent_hashing_lb_config") {
        consistent(book, hashing, balance);
    }
    locality(book, &mut common, balance, touches);
    let harmless = [
        "update_merge_window",
        "close_connections_on_host_set_change",
        "ignore_new_hosts_until_first_hc",
        "override_host_status",
    ];
    common.close(book, &harmless, &Touches::Resilience);
}

/// How localities take part: the fields of `common_lb_config` and of `locality_lb_config`.
fn locality(
    book: &mut Book<'_>,
    fields: &mut Fields<'_>,
    balance: &mut Balance,
    touches: &Touches,
) {
    balance.is_by_locality |= fields.take("locality_weighted_lb_config").is_some();
    if let Some(mut zone) = fields.message(book, "zone_aware_lb_config") {
        balance.refuses_in_panic = zone.flag(book, "fail_traffic_on_panic");
        let harmless = ["routing_enabled", "min_cluster_size"];
        zone.close(book, &harmless, touches);
    }
}

/// `consistent_hashing_lb_config`, whichever message it stands in.
fn consistent(book: &mut Book<'_>, mut hashing: Fields<'_>, balance: &mut Balance) {
    balance.by_hostname = hashing.flag(book, "use_hostname_for_hashing");
    let factor = hashing.number(book, "hash_balance_factor", 100..=u64::from(u32::MAX));
    balance.load_factor = factor.map(|factor| factor as f64 / 100.0);
    hashing.close(book, &[], &Touches::Resilience);
}

/// The first policy of `load_balancing_policy` that Envoy knows.
fn first_known(
    book: &mut Book<'_>,
    mut policy: Fields<'_>,
    balance: &mut Balance,
    touches: &Touches,
) {
    let path = policy.at("policies");
    let mut seen = Vec::new();
    for (index, item) in policy.list(book, "policies").iter().enumerate() {
        let path = format!("{path}.{index}");
        let Some(mut item) = Fields::open(book, item, &path) else {
            continue;
        };
        let Some(extension) = item.message(book, "typed_extension_config") else {
            continue;
        };
        let Some(Typed { name, fields, .. }) = typed(book, extension) else {
            continue;
        };
        let known = match name.rsplit('.').next().unwrap_or("") {
            "RoundRobin" => "ROUND_ROBIN",
            "LeastRequest" => "LEAST_REQUEST",
            "RingHash" => "RING_HASH",
            "Random" => "RANDOM",
            "Maglev" => "MAGLEV",
            "ClusterProvided" => "CLUSTER_PROVIDED",
            _ => {
                let is_of_envoy = name.starts_with("envoy.extensions.load_balancing_policies.");
                seen.push(name);
                if is_of_envoy {
                    break;
                }
                continue;
            }
        };
        set(book, known, fields, balance, touches);
        return;
    }
    let name = seen.pop().unwrap_or_default();
    put_gap(book, &path, &policy, &name, touches);
    balance.kind = Kind::Other(name);
}

fn put_gap(book: &mut Book<'_>, path: &str, policy: &Fields<'_>, name: &str, touches: &Touches) {
    if let Some(place) = policy.start() {
        put(book, path, place);
    }
    book.gap(
        path,
        &format!("load_balancing_policy {name}"),
        touches.clone(),
    );
}

/// Takes over the settings of the policy `word`.
fn set(
    book: &mut Book<'_>,
    word: &str,
    mut fields: Fields<'_>,
    balance: &mut Balance,
    touches: &Touches,
) {
    let harmless: &[&str] = match word {
        "CLUSTER_PROVIDED" => &[
            "use_http_header",
            "http_header_name",
            "upstream_port_override",
            "metadata_key",
        ],
        _ => &[],
    };
    balance.kind = match word {
        "LEAST_REQUEST" => least_request(book, &mut fields),
        "RANDOM" => Kind::Random,
        "RING_HASH" => ring(book, &mut fields),
        "MAGLEV" => maglev(book, &mut fields),
        "CLUSTER_PROVIDED" => Kind::Other("CLUSTER_PROVIDED".to_owned()),
        "LOAD_BALANCING_POLICY_CONFIG" => Kind::Other(word.to_owned()),
        _ => Kind::RoundRobin,
    };
    slow_start(book, &mut fields, balance);
    if matches!(word, "RING_HASH" | "MAGLEV") {
        balance.by_hostname |= fields.flag(book, "use_hostname_for_hashing");
    }
    if let Some(hashing) = fields.message(book, "consistent_hashing_lb_config") {
        consistent(book, hashing, balance);
    }
    if let Some(mut inner) = fields.message(book, "locality_lb_config") {
        locality(book, &mut inner, balance, touches);
        inner.close(book, &[], touches);
    }
    fields.close(book, harmless, touches);
}

fn least_request(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Kind {
    let choices = fields.number(book, "choice_count", 2..=u64::from(u32::MAX));
    let scan = fields.word(book, "selection_method", &["N_CHOICES", "FULL_SCAN"]);
    let bias = match fields.message(book, "active_request_bias") {
        None => 1.0,
        Some(mut bias) => {
            let value = bias.float(book, "default_value").unwrap_or(0.0);
            runtime_key(book, &mut bias);
            bias.close(book, &[], &Touches::Resilience);
            value
        }
    };
    let is_full_scan = scan == Some("FULL_SCAN") || fields.flag(book, "enable_full_scan");
    Kind::LeastRequest {
        choices: choices.map_or(2, |choices| u32::try_from(choices).unwrap_or(u32::MAX)),
        bias,
        is_full_scan,
    }
}

/// A value that runtime may replace is taken as it stands in the file; the key itself changes nothing.
fn runtime_key(book: &mut Book<'_>, fields: &mut Fields<'_>) {
    fields.text(book, "runtime_key");
}

fn ring(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Kind {
    let min = fields.number(book, "minimum_ring_size", 0..=RING_MAX);
    let max = fields.number(book, "maximum_ring_size", 0..=RING_MAX);
    let function = fields.word(
        book,
        "hash_function",
        &["XX_HASH", "MURMUR_HASH_2", "DEFAULT_HASH"],
    );
    let (min, max) = (min.unwrap_or(1024), max.unwrap_or(RING_MAX));
    if min > max
        && let Some(place) = fields.start()
    {
        let message = format!("`minimum_ring_size` {min} is above `maximum_ring_size` {max}");
        refuse(book, &fields.at("minimum_ring_size"), place, message);
    }
    Kind::Ring {
        min,
        max,
        is_murmur: function == Some("MURMUR_HASH_2"),
    }
}

fn maglev(book: &mut Book<'_>, fields: &mut Fields<'_>) -> Kind {
    let size = fields.number(book, "table_size", 0..=MAGLEV_MAX);
    let size = size.filter(|size| *size > 0).unwrap_or(65_537);
    if !is_prime(size)
        && let Some(place) = fields.start()
    {
        let message = format!("`table_size` must be a prime, got {size}");
        refuse(book, &fields.at("table_size"), place, message);
    }
    Kind::Maglev { size }
}

fn slow_start(book: &mut Book<'_>, fields: &mut Fields<'_>, balance: &mut Balance) {
    let Some(mut slow) = fields.message(book, "slow_start_config") else {
        return;
    };
    let window = slow.duration(book, "slow_start_window");
    let place = slow.take("slow_start_window").map(|node| node.place);
    balance.slow_start = window.zip(place);
    // How the share grows within the window: not part of what is judged.
    let harmless = ["aggression", "min_weight_percent"];
    slow.close(book, &harmless, &Touches::Resilience);
}

/// Whether `number`, at most [`MAGLEV_MAX`], is a prime.
fn is_prime(number: u64) -> bool {
    let root = number.isqrt();
    number >= 2 && !(2..=root).any(|divisor| number.is_multiple_of(divisor))
}
