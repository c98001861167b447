//! Arbitrary valid configurations for property tests.
//!
//! Every field takes values over its whole accepted range, names include the ones that need quotes,
//! and a pair of configurations can share most of its content so that differences are small and overlap.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample;

use self::matching::{expectations, matcher};
use self::tunnels::tunnels;
use self::waived::{policy, waivers};
use super::weights::derive;
use crate::config::{
    Adaptive, Address, Admin, AdminToken, Affinity, Algorithm, Backend, Choices, Config, Ejection,
    EscalationLevel, HashKey, Health, HealthCheck, Hedge, HedgeAfter, Here, HttpCheck, Intent,
    Leave, Lifetime, Listener, Locality, LogField, Matcher, Members, MembersSource, NPlusOne,
    Objective, Overload, Place, Pool, Probe, Queue, Receiver, Remedies, Remedy, Reported,
    ReportedSignal, Retry, RetryCause, RetryOn, Role, Route, Session, StickyCookie, Subset,
    Webhook,
};
use crate::ids::Name;
use crate::policy::Waiver;
use crate::units::{ByteSize, Ratio};

mod matching;
mod networks;
mod tls;
mod tracing;
mod tunnels;
mod waived;

/// Few names, so that two configurations name the same things; some need quotes in TOML.
fn name() -> impl Strategy<Value = Name> {
    prop_oneof![4 => "[a-c]", 2 => "[a-b]\\.[0-1]", 1 => "[A-Za-z0-9_.-]{1,63}"]
        .prop_map(|text| Name::new(&text).unwrap())
}

fn file() -> impl Strategy<Value = PathBuf> {
    "[ -~äß€\\t\u{7f}\"\\\\]{1,20}".prop_map(PathBuf::from)
}

fn micros(min: u64, max: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(min),
        min..=max,
        (min / 1_000 + 1..=max / 1_000).prop_map(|ms| ms * 1_000)
    ]
    .prop_map(Duration::from_micros)
}

fn timeout() -> impl Strategy<Value = Duration> {
    micros(1_000, 3_600_000_000)
}

fn ratio(min: u32, max: u32) -> impl Strategy<Value = Ratio> {
    prop_oneof![(min..=max), Just(min), Just(max)].prop_map(Ratio::from_ppm)
}

fn rps() -> impl Strategy<Value = f64> {
    prop_oneof![
        (1u32..5_000).prop_map(f64::from),
        0.001f64..1e9,
        Just(1e9),
        Just(0.001)
    ]
}

fn socket(port_min: u16) -> impl Strategy<Value = SocketAddr> {
    (
        any::<[u8; 4]>(),
        any::<[u16; 8]>(),
        any::<bool>(),
        port_min..=u16::MAX,
    )
        .prop_map(|(v4, v6, is_v6, port)| {
            if is_v6 {
                SocketAddr::from((v6, port))
            } else {
                SocketAddr::from((v4, port))
            }
        })
}

fn address() -> impl Strategy<Value = Address> {
    let host = |address: &Address| address.why_no_host().is_none();
    prop_oneof![
        3 => socket(1).prop_map(Address::Tcp).prop_filter("no host has it", host),
        1 => "/[a-z \"\\\\.]{1,20}".prop_map(|path| Address::Unix(PathBuf::from(path))),
    ]
}

fn backend() -> impl Strategy<Value = Backend> {
    (
        name(),
        address(),
        option::of(0u32..=65_535),
        rps(),
        option::of(name()),
        option::of(name()),
        prop_oneof![3 => Just(0u32), 1 => 1u32..=15],
    )
        .prop_map(
            |(name, address, weight, capacity_rps, zone, version, priority)| Backend {
                name,
                address,
                weight: weight.unwrap_or(1),
                weight_declared: weight.is_some(),
                capacity_rps: Some(capacity_rps),
                priority,
                zone,
                version,
                tls_name: None,
                discovered: false,
            },
        )
}

fn health() -> impl Strategy<Value = Health> {
    let http = (
        "/[!-\"$-~]{0,20}",
        option::of("[!-~]{1,20}"),
        (100u16..=599, 100u16..=599),
    )
        .prop_map(|(path, host, (a, b))| {
            HealthCheck::Http(HttpCheck {
                path,
                host,
                expect_status: (a.min(b), a.max(b)),
            })
        });
    (
        prop_oneof![3 => http, 1 => Just(HealthCheck::Tcp)],
        micros(10_000, 3_600_000_000),
        option::of(micros(10_000, 3_600_000_000)),
        timeout(),
        (1u32..=100, 1u32..=100),
    )
        .prop_map(|(check, interval, down, timeout, (rise, fall))| Health {
            check,
            interval,
            interval_down: down.unwrap_or(interval).max(interval),
            timeout,
            rise,
            fall,
        })
}

/// What decides who takes traffic at run time.
type Standing = (
    Option<Health>,
    Option<Ejection>,
    Option<Duration>,
    f64,
    Option<Hedge>,
    Option<Reported>,
    Option<Probe>,
);

fn standing() -> impl Strategy<Value = Standing> {
    let ejection = (
        1u32..=1_000,
        ratio(10_000, 1_000_000),
        option::of(1.5f64..1_000.0),
        micros(1_000_000, 3_600_000_000),
        micros(1_000_000, 3_600_000_000),
    )
        .prop_map(|(consecutive, success_rate, latency, a, b)| Ejection {
            consecutive,
            success_rate,
            latency,
            time: a.min(b),
            time_max: a.max(b),
        });
    let overprovisioning =
        prop_oneof![3 => Just(Pool::OVERPROVISIONING_DEFAULT), 1 => 1.0f64..10.0];
    let slow_start = option::of(micros(1_000_000, 3_600_000_000));
    (
        option::of(health()),
        option::of(ejection),
        slow_start,
        overprovisioning,
        option::of(hedge()),
        option::of(reported()),
        option::of(probe()),
    )
}

fn remedies() -> impl Strategy<Value = Remedies> {
    let leaves = vec(sample::select(&Leave::ALL[..]), Remedy::ALL.len());
    leaves.prop_map(|leaves| {
        let pairs = Remedy::ALL.into_iter().zip(leaves);
        pairs.fold(Remedies::default(), |all, (remedy, leave)| {
            all.with(remedy, leave)
        })
    })
}

fn reported() -> impl Strategy<Value = Reported> {
    let periods = (
        micros(1_000_000, 600_000_000),
        micros(1_000_000, 3_600_000_000),
    );
    let signal = sample::select(ReportedSignal::ALL);
    (
        signal,
        periods,
        0.01f64..=1.0,
        1.0f64..=100.0,
        0.0f64..=100.0,
    )
        .prop_map(
            |(signal, (period, stale), min, max, error_penalty)| Reported {
                signal,
                period,
                min,
                max,
                stale_after: stale.max(period),
                error_penalty,
            },
        )
}

fn retry((attempts, budget, on, unsafe_methods): (u32, Ratio, RetryOn, bool)) -> Retry {
    Retry {
        attempts,
        budget,
        on,
        unsafe_methods,
    }
}

fn probe() -> impl Strategy<Value = Probe> {
    let idle = option::of(micros(250_000, 1_000_000));
    let rate = (10u32..=800).prop_map(|percent| f64::from(percent) / 100.0);
    let all = ("/[!-\"$-~]{0,20}", rate, micros(1_000, 1_000_000), idle);
    all.prop_map(|(path, rate, timeout, idle_interval)| Probe {
        path,
        rate,
        timeout,
        idle_interval,
    })
}

fn hedge() -> impl Strategy<Value = Hedge> {
    let after = prop_oneof![
        micros(1_000, 3_600_000_000).prop_map(HedgeAfter::Time),
        (0usize..5).prop_map(|i| HedgeAfter::Percentile(HedgeAfter::PERCENTILES[i].1)),
    ];
    (after, ratio(1_000, 500_000)).prop_map(|(after, budget)| Hedge { after, budget })
}

fn backends() -> impl Strategy<Value = Vec<Backend>> {
    btree_map(name(), backend(), 1..5).prop_shuffle_values()
}

/// A map's values in arbitrary order, each with its key as its name.
trait ShuffleValues {
    type Item;
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Self::Item>>;
}

impl<S> ShuffleValues for S
where
    S: Strategy<Value = std::collections::BTreeMap<Name, Backend>> + 'static,
{
    type Item = Backend;
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Backend>> {
        self.prop_map(|map| {
            map.into_iter()
                .map(|(name, b)| Backend { name, ..b })
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
        .boxed()
    }
}

type Spread = ((Algorithm, Affinity), Intent, Option<f64>, NPlusOne, bool);

/// An algorithm with what it may tie requests by.
fn algorithm() -> impl Strategy<Value = (Algorithm, Affinity)> {
    let key = prop_oneof![
        "[a-z][a-z-]{0,10}".prop_map(HashKey::Header),
        "[a-zA-Z]{1,10}".prop_map(HashKey::Cookie),
        "[a-zA-Z]{1,10}".prop_map(HashKey::Query),
        Just(HashKey::Path),
        Just(HashKey::ClientAddress),
    ];
    let bound = option::of((101u32..=1_000).prop_map(|percent| f64::from(percent) / 100.0));
    let sticky = option::of(
        ("[a-z]{1,10}", 1u64..=1_000_000).prop_map(|(name, seconds)| StickyCookie {
            name,
            ttl: Duration::from_secs(seconds),
        }),
    );
    let all = (sample::select(Algorithm::ALL), key, bound, sticky);
    all.prop_map(|(algorithm, key, bound, sticky)| {
        let mut affinity = Affinity {
            sticky,
            ..Affinity::default()
        };
        if algorithm.is_hash() {
            affinity.hash = Some(key);
            affinity.bounded_load = bound;
        }
        (algorithm, affinity)
    })
}

fn spread() -> impl Strategy<Value = Spread> {
    (
        algorithm(),
        sample::select(Intent::ALL),
        option::of(rps()),
        prop_oneof![Just(NPlusOne::Warn), Just(NPlusOne::Refuse)],
        any::<bool>(),
    )
}

fn subset() -> impl Strategy<Value = RetryOn> {
    let add = |set: RetryOn, cause: RetryCause| set.with(cause);
    sample::subsequence(RetryCause::ALL, 0..=RetryCause::ALL.len())
        .prop_map(move |causes| causes.into_iter().fold(RetryOn::NOTHING, add))
}

type Numbers = (
    Ratio,
    Ratio,
    u32,
    Ratio,
    Duration,
    Option<u32>,
    u32,
    (u32, Ratio, RetryOn, bool),
    Option<Queue>,
);

fn numbers() -> impl Strategy<Value = Numbers> {
    (
        ratio(0, 950_000),
        ratio(1_000, 10_000_000),
        1u32..=4,
        ratio(1, 1_000_000),
        timeout(),
        option::of(1u32..=1_000_000),
        1u32..=1_000_000,
        (0u32..=5, ratio(0, 1_000_000), subset(), any::<bool>()),
        option::of(
            (1u32..=1_000_000, 1u64..=300_000).prop_map(|(length, ms)| Queue {
                length,
                timeout: Duration::from_millis(ms),
            }),
        ),
    )
}

/// How many are compared: where it is asked for at all.
fn choices(algorithm: Algorithm, count: u32) -> Choices {
    match (algorithm, count) {
        (Algorithm::LeastRequest, 1) => Choices::All,
        (Algorithm::LeastRequest, count) => Choices::Drawn(count),
        _ => Choices::DEFAULT,
    }
}

/// A limit that is found out, in some of the pools that declare none.
fn adaptive(declared: Option<u32>, some: u32) -> Option<Adaptive> {
    (declared.is_none() && some.is_multiple_of(2)).then(|| Adaptive {
        min: some.min(500_000),
        max: some.saturating_mul(2).min(1_000_000),
    })
}

/// One pool; its name is replaced by the caller.
fn pool() -> impl Strategy<Value = Pool> {
    let every = micros(86_400_000_000, 15_768_000_000_000_000);
    let every = prop_oneof![3 => Just(Pool::FALSE_ALARM_EVERY_DEFAULT), 1 => every];
    let tls = option::of(tls::backend());
    (pool_without_choices(), remedies(), every, tls).prop_map(
        |(mut pool, remedies, false_alarm_every, tls)| {
            let (tls, own) = tls.map_or((None, None), |(tls, own)| (Some(tls), own));
            // Some have a name of their own.
            let some = pool.backends.iter_mut().step_by(2);
            some.for_each(|backend| backend.tls_name.clone_from(&own));
            Pool {
                false_alarm_every,
                remedies,
                tls,
                ..pool
            }
        },
    )
}

fn objective(error_rate: Ratio, p99: Duration) -> Objective {
    Objective { error_rate, p99 }
}

fn pool_without_choices() -> impl Strategy<Value = Pool> {
    let session = prop_oneof![
        Just(Session::ClientAddress),
        "[a-z!#$%&'*+.^_`|~-]{1,10}".prop_map(Session::Cookie)
    ];
    let timeouts = (timeout(), timeout(), timeout(), timeout());
    (
        spread(),
        numbers(),
        session,
        timeouts,
        standing(),
        policy(),
        (backends(), option::of(members()), lifetime()),
    )
        .prop_map(
            |(spread, n, session, timeouts, standing, policy, (mut backends, members, keep))| {
                let (health, ejection, slow_start, overprovisioning, hedge, reported, probe) =
                    standing;
                let ((algorithm, affinity), intent, peak_rps, n_plus_one, has_capacity) = spread;
                if intent != Intent::Capacity && !has_capacity {
                    // Some declare it, some do not: allowed under every other intent.
                    let some = backends.iter_mut().step_by(2);
                    some.for_each(|b| b.capacity_rps = None);
                }
                // DNS tells no capacity.
                let members = members.filter(|m: &Members| {
                    intent != Intent::Capacity || matches!(m.source, MembersSource::File(_))
                });
                derive(intent, &mut backends);
                Pool {
                    tls: None,
                    name: Name::new("p").unwrap(),
                    choices: choices(algorithm, n.2),
                    probe: probe.filter(|_| algorithm == Algorithm::Prequal),
                    algorithm,
                    affinity,
                    intent,
                    peak_rps,
                    headroom: n.0,
                    tolerance: n.1,
                    min_healthy: n.2,
                    n_plus_one,
                    objective: objective(n.3, n.4),
                    false_alarm_every: Pool::FALSE_ALARM_EVERY_DEFAULT,
                    session,
                    health,
                    ejection,
                    slow_start,
                    reported: reported.filter(|_| algorithm.takes_reports()),
                    remedies: Remedies::default(),
                    overprovisioning,
                    place: Place::default(),
                    connect_timeout: timeouts.0,
                    response_timeout: timeouts.1,
                    idle_timeout: timeouts.2,
                    request_timeout: timeouts.3,
                    tunnels: tunnels(timeouts.0),
                    retry: retry(n.7),
                    hedge,
                    keep,
                    max_in_flight: n.5,
                    adaptive: adaptive(n.5, n.6),
                    max_in_flight_total: n.5.map(|limit| limit / 2 + 1),
                    queue: n.8,
                    harmed_clients_min: n.6,
                    policy,
                    members,
                    backends,
                }
            },
        )
}

fn members() -> impl Strategy<Value = Members> {
    let source = prop_oneof![
        file().prop_map(MembersSource::File),
        ("[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", 1..=u16::MAX)
            .prop_map(|(host, port)| MembersSource::Dns { host, port }),
        "_[a-z]{1,8}\\._tcp\\.[a-z]{1,8}".prop_map(MembersSource::Srv),
    ];
    let ttl = (
        micros(100_000, 3_600_000_000),
        micros(100_000, 3_600_000_000),
    );
    (source, option::of(socket(1)), ttl).prop_map(|(source, resolver, (a, b))| {
        let is_file = matches!(source, MembersSource::File(_));
        let (ttl_min, ttl_max) = if is_file {
            (Members::TTL_MIN, Members::TTL_MAX)
        } else {
            (a.min(b), a.max(b))
        };
        Members {
            source,
            resolver: resolver.filter(|_| !is_file),
            ttl_min,
            ttl_max,
        }
    })
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    (
        option::of(micros(100_000, 86_400_000_000)),
        option::of(1u32..=1_000_000_000),
    )
        .prop_map(|(age_max, requests_max)| Lifetime {
            age_max,
            requests_max,
        })
}

fn listener() -> impl Strategy<Value = Listener> {
    let size = prop_oneof![
        1u64 << 10..=1 << 20,
        (1u64..=1_024).prop_map(|kib| kib << 10)
    ];
    (
        vec(timeout(), 4),
        size,
        0u64..=1 << 50,
        1u32..=1_000_000,
        lifetime(),
        option::of(1u32..=1_000_000),
        option::of(tls::tls()),
    )
        .prop_map(
            |(t, head, body, connections_max, lifetime, accept_rate, tls)| Listener {
                name: Name::new("l").unwrap(),
                address: Address::Unix("/l".into()),
                head_timeout: t[0],
                body_timeout: t[1],
                idle_timeout: t[2],
                write_timeout: t[3],
                head_max: ByteSize(head),
                body_max: ByteSize(body),
                connections_max,
                lifetime,
                accept_rate,
                proxy_protocol: networks::proxied(connections_max),
                tls,
                protocols: networks::protocols(connections_max),
            },
        )
}

/// (host, path, listener, pool): the last two pick among those that exist.
fn route() -> impl Strategy<Value = (Option<String>, Matcher, usize, usize)> {
    (
        option::of("(\\*\\.)?[a-z0-9_-]{1,9}(\\.[a-z]{1,5}){0,2}"),
        matcher(),
        any::<usize>(),
        any::<usize>(),
    )
}

/// What serves operators.
type Operations = (Admin, Vec<Receiver>, Vec<Webhook>, Vec<EscalationLevel>);

fn operations() -> impl Strategy<Value = Operations> {
    let role = prop_oneof![Just(Role::Read), Just(Role::Operate)];
    let tokens = btree_map(name(), (file(), role), 0..3);
    let receivers = btree_map(name(), ("https?://[a-z]{1,5}(/[!-~]{0,9})?", file()), 1..4);
    let levels = vec(
        (
            name(),
            vec(any::<usize>(), 1..3),
            micros(1_000_000, 86_400_000_000),
        ),
        0..3,
    );
    let webhooks = btree_map(name(), file(), 0..3);
    (
        socket(0),
        tokens,
        receivers,
        webhooks,
        levels,
        any::<bool>(),
    )
        .prop_map(|(address, tokens, receivers, webhooks, levels, has)| {
            let tokens = tokens.into_iter();
            let tokens = tokens.map(|(name, (file, role))| AdminToken { name, file, role });
            let admin = Admin {
                address,
                tokens: tokens.collect(),
            };
            if !has {
                return (admin, Vec::new(), Vec::new(), Vec::new());
            }
            let receivers: Vec<Receiver> = receivers
                .into_iter()
                .map(|(name, (url, secret_file))| Receiver {
                    name,
                    url,
                    secret_file,
                })
                .collect();
            let pick = |i: usize| receivers[i % receivers.len()].name.clone();
            let levels = levels
                .into_iter()
                .map(|(name, notify, ack_within)| EscalationLevel {
                    name,
                    notify: notify.into_iter().map(pick).collect(),
                    ack_within,
                })
                .collect();
            let webhooks = webhooks
                .into_iter()
                .map(|(name, secret_file)| Webhook { name, secret_file });
            (admin, receivers, webhooks.collect(), levels)
        })
}

/// Where the instance is, how many pools care in turn, and the parts of the zones.
type Somewhere = (Here, usize, Vec<(Name, Ratio)>);

fn here() -> impl Strategy<Value = Somewhere> {
    let origins = btree_map(name(), ratio(0, 250_000), 0..4)
        .prop_map(|origins| origins.into_iter().collect::<Vec<_>>());
    let here = (option::of(name()), option::of(name()));
    (here, 1usize..4, origins)
        .prop_map(|((zone, instance), every, origins)| (Here { zone, instance }, every, origins))
}

/// `pool` as it may be placed `here`.
fn placed(mut pool: Pool, (here, every, origins): &Somewhere) -> Pool {
    let is_asked = (pool.harmed_clients_min as usize).is_multiple_of(*every);
    if let Some(zone) = here.zone.clone().filter(|_| is_asked) {
        pool.backends
            .iter_mut()
            .for_each(|backend| backend.zone = backend.zone.take().or_else(|| Some(zone.clone())));
        pool.place.locality = Some(Locality {
            zone,
            origins: origins.clone(),
        });
    } else if let Some(instance) = here
        .instance
        .clone()
        .filter(|_| pool.max_in_flight.is_some())
    {
        let size = pool.min_healthy + pool.harmed_clients_min / 16;
        pool.place.subset = Some(Subset { size, instance });
    }
    pool
}

fn overload() -> impl Strategy<Value = Overload> {
    let memory = option::of((16u64 << 20..=1 << 50).prop_map(ByteSize));
    (memory, option::of(1u32..=1_000_000)).prop_map(|(memory, connections)| Overload {
        memory,
        connections,
    })
}

/// Fields of the access log, each once.
fn log_fields() -> impl Strategy<Value = Vec<LogField>> {
    let header = "[a-z][a-z-]{0,8}";
    let names = LogField::WORDS.iter().map(|name| (*name).to_owned());
    let field = prop_oneof![
        sample::select(names.collect::<Vec<_>>()),
        header.prop_map(|name| format!("request_header.{name}")),
        header.prop_map(|name| format!("response_header.{name}")),
    ];
    btree_set(field, 0..5)
        .prop_map(|names| names.iter().filter_map(|name| LogField::of(name)).collect())
}

/// A valid configuration.
pub(crate) fn config() -> impl Strategy<Value = Config> {
    (
        (
            option::of(1u16..=1_024),
            any::<bool>(),
            (option::of(file()), log_fields()),
            micros(1_000_000, 86_400_000_000),
            any::<bool>(),
            waivers(),
            here(),
        ),
        (
            operations(),
            overload(),
            option::of(tracing::tracing()),
            tls::seen(),
        ),
        btree_map(name(), listener(), 1..3),
        vec(route(), 1..4),
        btree_map(name(), pool(), 1..4),
    )
        .prop_map(
            |(top, (operations, overload, tracing, certificates), listeners, routes, pools)| {
                let (admin, receivers, webhooks, escalation) = operations;
                let listeners: Vec<Listener> = listeners
                    .into_iter()
                    .map(|(name, l)| Listener {
                        address: networks::address(&name, l.proxy_protocol.as_ref()),
                        name,
                        ..l
                    })
                    .collect();
                let pools: Vec<Pool> = pools
                    .into_iter()
                    .map(|(name, p)| Pool { name, ..p })
                    .map(|pool| placed(pool, &top.6))
                    .collect();
                let name_pool = |(waiver, pool): (Waiver, Option<usize>)| Waiver {
                    pool: pool.map(|p| pools[p % pools.len()].name.to_string()),
                    ..waiver
                };
                let waivers = top.5.into_iter().map(name_pool).collect();
                let routes: Vec<Route> = routes
                    .into_iter()
                    .map(|drawn| matching::route(drawn, &listeners, &pools))
                    .collect();
                let expectations = expectations(&routes, &pools);
                Config {
                    here: top.6.0,
                    workers: top.0.and_then(NonZeroU16::new),
                    watch: top.1,
                    access_log: top.2.0,
                    access_log_fields: top.2.1,
                    tracing,
                    admin,
                    overload,
                    audit_every: top.3,
                    waivers,
                    drills_allowed: top.4,
                    listeners,
                    certificates,
                    routes,
                    expectations,
                    pools,
                    receivers,
                    webhooks,
                    escalation,
                }
            },
        )
}

/// Two configurations that share about half of their parts.
pub(crate) fn pair() -> impl Strategy<Value = (Config, Config)> {
    (config(), config(), any::<u8>()).prop_map(|(a, mut b, keep)| {
        if keep & 1 != 0 {
            b.admin = a.admin.clone();
        }
        if keep & 2 != 0 {
            (b.receivers, b.escalation) = (a.receivers.clone(), a.escalation.clone());
            b.webhooks = a.webhooks.clone();
        }
        if keep & 4 != 0 {
            (b.listeners, b.routes, b.pools) =
                (a.listeners.clone(), a.routes.clone(), a.pools.clone());
            b.expectations = a.expectations.clone();
            b.waivers = a.waivers.clone();
            b.here = a.here.clone();
            b.waivers.truncate(1);
            b.pools[0].peak_rps = Some(7.0);
            if keep & 8 != 0 {
                b.routes.rotate_left(1);
            }
        }
        (a, b)
    })
}
