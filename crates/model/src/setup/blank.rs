//! Parts with the values of a balancer that limits nothing, for readers to fill in.

use crate::config::{Edits, Intent, NPlusOne, Place};
use crate::policy::Policy;
use crate::setup::{
    Backend, Backups, Balancer, Breakers, Check, Failover, Listener, Nobody, Pool, Retry, Role,
    Route, Selection, Setup, Timeouts, Wait,
};

/// Headroom and tolerance of a pool that states none, as in evenkeel.toml.
const FIFTH: f64 = 0.2;

impl Setup {
    /// A balancer without anything in it.
    pub fn blank(balancer: Balancer) -> Self {
        Self {
            balancer,
            workers: None,
            connections_max: None,
            files_max: None,
            admin: None,
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: Vec::new(),
            expectations: Vec::new(),
            waivers: Vec::new(),
            gaps: Vec::new(),
        }
    }
}

impl Listener {
    /// An HTTP listener without timeouts and limits.
    pub fn blank(name: &str, path: &str, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            address: address.to_owned(),
            is_http: true,
            is_tls: false,
            head_timeout: Wait::Endless,
            client_timeout: Wait::Endless,
            idle_timeout: Wait::Endless,
            connections_max: None,
            certificates: Vec::new(),
        }
    }
}

impl Route {
    /// A route of another balancer's file to no pool, for every request on `listener`.
    pub fn blank(path: &str, listener: &str) -> Self {
        Self {
            path: path.to_owned(),
            listener: listener.to_owned(),
            host: None,
            path_prefix: None,
            whole_segments: false,
            condition: None,
            matcher: None,
            answer: None,
            edits: Edits::default(),
            targets: Vec::new(),
        }
    }
}

impl Pool {
    /// An HTTP pool without backends, by weight, without timeouts, limits, checks and retries.
    pub fn blank(name: &str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            is_http: true,
            selection: Selection::ByWeight,
            fallback: None,
            sticky: None,
            failover: Failover {
                backups: Backups::All,
                nobody: Nobody::Refuse,
                panic_below: 0.0,
                overprovisioning: 1.0,
                by_weight: false,
            },
            intent: Intent::Even,
            peak_rps: None,
            headroom: FIFTH,
            tolerance: FIFTH,
            min_healthy: None,
            n_plus_one: NPlusOne::Warn,
            objective: None,
            health: None,
            ejection: None,
            follows_reports: false,
            timeouts: Timeouts {
                connect: Wait::Endless,
                response: Wait::Endless,
                idle: Wait::Endless,
                request: Wait::Endless,
                queue: Wait::Endless,
                keep: None,
            },
            retry: Retry {
                attempts: Some(0),
                budget: None,
                unsafe_methods: false,
                after_sent: false,
            },
            queue_max: None,
            breakers: Breakers::default(),
            keys: None,
            top_key: None,
            place: Place::default(),
            policy: Policy::default(),
            certificates: Vec::new(),
            backends: Vec::new(),
        }
    }
}

impl Backend {
    /// An active backend of weight 1, known to a hash by its address.
    pub fn blank(name: &str, path: &str, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            address: address.to_owned(),
            identity: address.to_owned(),
            weight: 1,
            weight_path: None,
            role: Role::Active,
            priority: 0,
            marked_down: false,
            is_degraded: false,
            follows: None,
            capacity_rps: None,
            zone: None,
            version: None,
            in_flight_max: None,
            limit_per_worker: false,
            slow_start: None,
            check: Check::AsPool,
            passive: None,
            tls_verified: None,
        }
    }
}
