//! Evenkeel's own configuration as a setup.

use std::path::Path;
use std::time::Duration;

use crate::canonical::path_segment;
use crate::config::{self, Algorithm, Choices, Config, RetryCause};
use crate::setup::{
    Among, Backend, Balancer, Certificate, CheckKind, Cost, Ejection, Failover, Gap, Hash, HashKey,
    HashTable, Health, LeastLoaded, Listener, Nobody, Pool, Retry, Route, Selection, Setup, Sticky,
    Tie, Timeouts, Touches, Wait,
};

impl Setup {
    /// What `config` sets up.
    pub fn of(config: &Config) -> Self {
        Self {
            workers: config.workers.map(|workers| u32::from(workers.get())),
            admin: Some(config.admin.address),
            listeners: config
                .listeners
                .iter()
                .map(|declared| listener(config, declared))
                .collect(),
            routes: config.routes.iter().enumerate().map(route).collect(),
            pools: config
                .pools
                .iter()
                .map(|declared| pool(config, declared))
                .collect(),
            expectations: config.expectations.clone(),
            waivers: config.waivers.clone(),
            gaps: config.pools.iter().filter_map(unseen).collect(),
            ..Self::blank(Balancer::Evenkeel)
        }
    }
}

fn listener(config: &Config, listener: &config::Listener) -> Listener {
    let path = format!("listener.{}", path_segment(listener.name.as_str()));
    Listener {
        is_tls: listener.tls.is_some(),
        certificates: certificates(config, listener, &path),
        head_timeout: Wait::For(listener.head_timeout),
        client_timeout: Wait::For(listener.body_timeout),
        idle_timeout: Wait::For(listener.idle_timeout),
        connections_max: Some(u64::from(listener.connections_max)),
        ..Listener::blank(listener.name.as_str(), &path, &listener.address.to_string())
    }
}

fn certificates(config: &Config, listener: &config::Listener, path: &str) -> Vec<Certificate> {
    let Some(tls) = &listener.tls else {
        return Vec::new();
    };
    let own = tls.certificates.iter();
    let own = own.map(|files| certificate(config, &files.chain, path, ("certificates", false)));
    let authorities = tls.client.iter();
    let authorities =
        authorities.map(|client| certificate(config, &client.ca, path, ("client.ca", true)));
    own.chain(authorities).collect()
}

/// What is known of `file`, which `key` of the table `tls` under `path` names.
fn certificate(
    config: &Config,
    file: &Path,
    path: &str,
    (key, is_authority): (&str, bool),
) -> Certificate {
    let seen = config.seen_file(file);
    Certificate {
        file: file.display().to_string(),
        path: format!("{path}.tls.{key}"),
        is_authority,
        names: seen.map(|seen| seen.names.clone()),
        not_after: seen.and_then(|seen| seen.not_after),
    }
}

fn certificates_of_pool(config: &Config, pool: &config::Pool, path: &str) -> Vec<Certificate> {
    let Some(tls) = &pool.tls else {
        return Vec::new();
    };
    let own = tls.certificate.iter();
    let own = own.map(|files| certificate(config, &files.chain, path, ("certificate", false)));
    let authorities = tls.ca.iter();
    let authorities = authorities.map(|ca| certificate(config, ca, path, ("ca", true)));
    own.chain(authorities).collect()
}

fn route((index, route): (usize, &config::Route)) -> Route {
    Route {
        path: format!("route.{index}"),
        listener: route.listener.to_string(),
        host: route.host.clone(),
        path_prefix: Some(route.matcher.path.prefix().to_owned()),
        whole_segments: true,
        condition: route.matcher.condition(),
        matcher: Some(route.matcher.clone()),
        answer: route.target.answer().cloned(),
        edits: route.edits.clone(),
        targets: route
            .target
            .pool()
            .map(|pool| (pool.to_string(), 1.0))
            .into_iter()
            .collect(),
    }
}

/// Members that were not looked for: shares of the pool cannot be told without them.
fn unseen(pool: &config::Pool) -> Option<Gap> {
    let members = pool.members.as_ref()?;
    pool.discovered().next().is_none().then(|| Gap {
        path: format!("pool.{}.members", path_segment(pool.name.as_str())),
        what: format!("members by {}, which were not looked for", members.source),
        touches: Touches::Pool(pool.name.to_string()),
    })
}

fn pool(config: &Config, pool: &config::Pool) -> Pool {
    let path = format!("pool.{}", path_segment(pool.name.as_str()));
    let backend = |backend: &config::Backend| {
        let path = format!("{path}.backend.{}", path_segment(backend.name.as_str()));
        let weight_path = backend.weight_declared.then(|| format!("{path}.weight"));
        Backend {
            weight: backend.weight,
            weight_path,
            capacity_rps: backend.capacity_rps,
            zone: backend.zone.as_ref().map(ToString::to_string),
            version: backend.version.as_ref().map(ToString::to_string),
            priority: backend.priority,
            slow_start: pool.slow_start,
            in_flight_max: pool.most_in_flight().map(u64::from),
            tls_verified: pool.tls.as_ref().map(|tls| tls.ca.is_some()),
            ..Backend::blank(backend.name.as_str(), &path, &backend.address.to_string())
        }
    };
    let backends = pool.backends.iter().map(backend).collect();
    Pool {
        selection: selection(pool),
        sticky: pool.affinity.sticky.as_ref().map(|cookie| Sticky {
            path: format!("{path}.sticky"),
            by: format!("cookie {}", cookie.name),
            lasts: Wait::For(cookie.ttl),
            one_key: false,
        }),
        failover: Failover {
            nobody: Nobody::UseAll,
            overprovisioning: pool.overprovisioning,
            by_weight: true,
            ..Pool::blank("", "").failover
        },
        intent: pool.intent,
        peak_rps: pool.peak_rps,
        headroom: pool.headroom.as_f64(),
        tolerance: pool.tolerance.as_f64(),
        min_healthy: Some(pool.min_healthy),
        n_plus_one: pool.n_plus_one,
        objective: Some(pool.objective),
        health: pool.health.as_ref().map(|health| check(health, &path)),
        ejection: pool.ejection.as_ref().map(|e| Ejection {
            path: format!("{path}.ejection"),
            consecutive: Some(e.consecutive),
            lasts: e.time,
            part_max: pool.ejections_max() as f64 / pool.backends.len().max(1) as f64,
            deviations: None,
        }),
        follows_reports: pool.reported.is_some(),
        timeouts: Timeouts {
            connect: Wait::For(pool.connect_timeout),
            response: Wait::For(pool.response_timeout),
            idle: Wait::For(pool.idle_timeout),
            request: Wait::For(pool.request_timeout),
            queue: Wait::For(pool.queue.map_or(Duration::ZERO, |queue| queue.timeout)),
            keep: Some(Wait::For(config::Pool::KEEP_IDLE)),
        },
        retry: retry(&pool.retry),
        // Without a queue a request that finds every backend at its limit is refused at once.
        queue_max: Some(pool.queue.map_or(0, |queue| u64::from(queue.length))),
        place: pool.place.clone(),
        policy: pool.policy.clone(),
        certificates: certificates_of_pool(config, pool, &path),
        backends,
        ..Pool::blank(pool.name.as_str(), &path)
    }
}

fn retry(retry: &config::Retry) -> Retry {
    Retry {
        attempts: Some(retry.attempts),
        budget: Some(retry.budget.as_f64()),
        unsafe_methods: retry.unsafe_methods,
        after_sent: retry.on.causes().any(|cause| cause != RetryCause::Connect),
    }
}

/// What an algorithm of Evenkeel does.
fn selection(pool: &config::Pool) -> Selection {
    match pool.algorithm {
        Algorithm::RoundRobin | Algorithm::Random => Selection::ByWeight,
        Algorithm::LeastRequest => Selection::LeastLoaded(LeastLoaded {
            among: match pool.choices {
                Choices::Drawn(count) => Among::DrawnByWeight(count),
                Choices::All => Among::All,
            },
            cost: Cost::PerWeight,
            tie: match pool.choices {
                Choices::Drawn(_) => Tie::FirstDrawn,
                Choices::All => Tie::ByWeight,
            },
        }),
        Algorithm::RingHash => hash(&pool.affinity, HashTable::EvenkeelRing),
        Algorithm::Maglev => hash(&pool.affinity, HashTable::EvenkeelMaglev),
        Algorithm::Rendezvous => hash(&pool.affinity, HashTable::EvenkeelRendezvous),
        Algorithm::PeakEwma | Algorithm::Prequal => Selection::BySpeed(pool.algorithm),
    }
}

fn hash(affinity: &config::Affinity, table: HashTable) -> Selection {
    let key = match &affinity.hash {
        Some(config::HashKey::Header(name)) => HashKey::Header(name.clone()),
        Some(config::HashKey::Cookie(name)) => HashKey::Cookie(name.clone()),
        Some(config::HashKey::Query(name)) => HashKey::Query(name.clone()),
        Some(config::HashKey::Path) => HashKey::Uri,
        Some(config::HashKey::ClientAddress) => HashKey::ClientAddress,
        // Without a key every pick is by weight.
        None => return Selection::ByWeight,
    };
    Selection::Hash(Hash {
        key,
        table,
        balance_factor: affinity.bounded_load,
    })
}

fn check(health: &config::Health, pool: &str) -> Health {
    Health {
        path: format!("{pool}.health"),
        kind: match &health.check {
            config::HealthCheck::Tcp => CheckKind::Tcp,
            config::HealthCheck::Http(http) => CheckKind::Http {
                path: http.path.clone(),
                expect: http.expect_status,
            },
        },
        interval: health.interval,
        timeout: health.timeout,
        rise: health.rise,
        fall: health.fall,
    }
}
