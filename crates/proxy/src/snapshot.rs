//! What the workers read: one immutable value of declared configuration and runtime facts.
//!
//! A swap stores a whole new [`Snapshot`]; a request takes one when its head is complete and keeps it to its end. So
//! no request ever sees half of a change, and none is lost to one.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_balance::overload;
use evenkeel_balance::route::RouteTable;
use evenkeel_balance::{KeyTable, Load, Member, Spec};
use evenkeel_model::config::{Config, Listener, Pool, Priority, Target};
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_model::tally::RouteKey;

use crate::edits::RouteEdits;
use crate::gate::Gate;
use crate::gauge::{BackendGauge, Gauges, PoolGauge};
use crate::hedge::HedgeCells;
use crate::probe::ProbeCells;
use crate::rate::RouteLimit;
use crate::sticky::Sticky;
use crate::tls::{Dial, HandshakeCells, Terminator, TlsError};

/// Runtime facts of one pool, as the control shell knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRuntime {
    /// Grows at each change of revision, eligible set or weights; picks and responses are booked to it.
    pub epoch: Epoch,
    /// One per backend in file order, with effective weights, as `balance::effective_members` gives them
    /// (fail-open included).
    pub members: Vec<Member>,
    /// Whom a person drained, in file order; who has no place here is not.
    pub drained: Vec<bool>,
}

/// Why a snapshot cannot be built. A fault of the caller, not of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not one [`PoolRuntime`] per pool.
    #[error("the configuration has {pools} pools, but runtime facts came for {given}")]
    Pools {
        /// Pools of the configuration.
        pools: usize,
        /// Entries given.
        given: usize,
    },
    /// No randomness from the system for the key of sticky cookies.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A listener or a pool cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not the members of the pool.
    #[error("the members given for pool `{pool}` are not its backends in file order")]
    Members {
        /// The pool.
        pool: String,
    },
}

/// One pool in a snapshot.
#[derive(Debug)]
pub struct PoolState {
    /// As declared.
    pub pool: Pool,
    /// The revision that it comes from.
    pub revision: RevisionId,
    /// See [`PoolRuntime::epoch`].
    pub epoch: Epoch,
    /// In file order.
    pub members: Vec<Member>,
    /// In file order; kept over reloads by name.
    pub gauges: Vec<Arc<BackendGauge>>,
    /// Under a hash: whose each key is, built once for all workers.
    pub(crate) keys: Option<Arc<KeyTable>>,
    /// Under a bounded load or a limit of the pool: requests in flight in the whole pool.
    pub(crate) total: Option<Arc<PoolGauge>>,
    /// Whose a client is, where a cookie says so.
    pub(crate) sticky: Option<Sticky>,
    /// Kept over reloads by name.
    pub(crate) gate: Arc<Gate>,
    /// What became of second tries. Kept over reloads by name.
    pub(crate) hedges: Arc<HedgeCells>,
    /// What became of probes. Kept over reloads by name.
    pub(crate) probes: Arc<ProbeCells>,
    /// How each backend is spoken to by TLS, in file order; empty: they speak plain HTTP.
    pub(crate) dials: Vec<Arc<Dial>>,
    /// See [`PoolRuntime::drained`].
    pub(crate) drained: Vec<bool>,
    /// Of the routes that lead here.
    highest: Priority,
}

/// What the backends of a pool hold now.
#[derive(Debug)]
pub(crate) struct PoolLoad<'a> {
    gauges: &'a [Arc<BackendGauge>],
    total: Option<&'a PoolGauge>,
    workers: u32,
    is_adaptive: bool,
}

impl Load for PoolLoad<'_> {
    fn in_flight(&self, member: usize) -> u32 {
        let gauge = self.gauges.get(member);
        gauge.map_or(u32::MAX, |gauge| gauge.in_flight())
    }

    fn limit(&self, member: usize) -> Option<u32> {
        let gauge = self.gauges.get(member).filter(|_| self.is_adaptive);
        gauge.map(|gauge| gauge.found().level())
    }

    fn workers(&self) -> u32 {
        self.workers
    }

    fn total(&self, members: usize) -> u64 {
        match self.total {
            Some(total) => u64::from(total.in_flight()),
            None => (0..members).map(|i| u64::from(self.in_flight(i))).sum(),
        }
    }
}

/// What of a listener is not declared.
#[derive(Debug)]
pub(crate) struct Edge {
    /// `None`: it speaks plain HTTP.
    pub(crate) terminator: Option<Arc<Terminator>>,
    /// Kept over reloads by name.
    pub(crate) handshakes: Arc<HandshakeCells>,
}

/// Everything that a worker needs to serve requests.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision that `config` is.
    pub revision: RevisionId,
    /// As declared.
    pub config: Arc<Config>,
    /// In file order.
    pub pools: Vec<Arc<PoolState>>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    /// By listener in file order.
    pub(crate) edges: Vec<Edge>,
    pub(crate) routes: RouteTable,
    /// By route in file order.
    pub(crate) route_keys: Vec<Arc<RouteKey>>,
    /// By route in file order; `None`: it changes nothing.
    edits: Vec<Option<Box<RouteEdits>>>,
    /// By route in file order.
    pub(crate) limits: Vec<Option<RouteLimit>>,
}

impl Snapshot {
    /// Puts a configuration and its runtime facts (one per pool, in file order) together.
    pub fn new(
        revision: RevisionId,
        config: Arc<Config>,
        runtime: Vec<PoolRuntime>,
        gauges: &Gauges,
    ) -> Result<Self, SnapshotError> {
        if runtime.len() != config.pools.len() {
            return Err(SnapshotError::Pools {
                pools: config.pools.len(),
                given: runtime.len(),
            });
        }
        let states = config.pools.iter().zip(runtime);
        let mut highest: BTreeMap<&Name, Priority> = BTreeMap::new();
        for route in &config.routes {
            if let Target::Pool(pool) = &route.target {
                let known = highest.entry(pool).or_insert(route.priority);
                *known = route.priority.max(*known);
            }
        }
        let pools = states
            .map(|(pool, facts)| {
                let highest = highest.get(&pool.name).copied().unwrap_or_default();
                let facts = (facts, gauges.dials(pool, &config)?);
                PoolState::new(pool, revision, facts, gauges, highest).map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let edge = |listener: &Listener| {
            Ok(Edge {
                terminator: gauges.terminator(listener, &config)?,
                handshakes: gauges.handshakes(&listener.name),
            })
        };
        let edges = config.listeners.iter().map(edge);
        Ok(Self {
            revision,
            pools,
            edges: edges.collect::<Result<_, TlsError>>()?,
            listeners: config.listeners.iter().cloned().map(Arc::new).collect(),
            routes: RouteTable::new(&config),
            edits: config.routes.iter().map(RouteEdits::of).collect(),
            limits: config
                .routes
                .iter()
                .map(|route| RouteLimit::of(route, gauges))
                .collect(),
            route_keys: config
                .routes
                .iter()
                .map(RouteKey::of)
                .map(Arc::new)
                .collect(),
            config,
        })
    }
}

impl Snapshot {
    /// How often requests may come on the route.
    pub(crate) fn limit(&self, route: usize) -> Option<&RouteLimit> {
        self.limits.get(route)?.as_ref()
    }

    /// What the route changes in heads.
    pub(crate) fn edits(&self, route: usize) -> Option<&RouteEdits> {
        self.edits.get(route)?.as_deref()
    }

    /// Whether requests of the route may be upgraded to `protocol`.
    pub(crate) fn upgrades(&self, route: usize, protocol: &str) -> bool {
        let route = self.config.routes.get(route);
        route.is_some_and(|route| route.upgrades.allows(protocol))
    }

    /// Tells the tunnels of every backend here whether it is on its way out; `before` had them all as staying.
    pub(crate) fn mark_leaving(&self, before: Option<&Self>) {
        for state in before.iter().flat_map(|snapshot| &snapshot.pools) {
            for gauge in &state.gauges {
                gauge.tunnels().set_leaving(true);
            }
        }
        for state in &self.pools {
            for (index, gauge) in state.gauges.iter().enumerate() {
                let is_drained = state.drained.get(index) == Some(&true);
                gauge.tunnels().set_leaving(is_drained);
            }
        }
    }

    /// Who is refused first when there is too much.
    pub(crate) fn priority(&self, route: usize) -> Priority {
        let route = self.config.routes.get(route);
        route.map(|route| route.priority).unwrap_or_default()
    }
}

impl PoolState {
    /// What its backends hold now, over so many workers.
    pub(crate) fn load(&self, workers: usize) -> PoolLoad<'_> {
        PoolLoad {
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            gauges: &self.gauges,
            total: self.total.as_deref(),
            is_adaptive: self.pool.adaptive.is_some(),
        }
    }

    /// What a picker of it needs to know besides the members.
    pub(crate) fn spec(&self) -> Spec {
        Spec::of(&self.pool).with_keys(self.keys.as_ref())
    }

    fn new(
        pool: &Pool,
        revision: RevisionId,
        (facts, dials): (PoolRuntime, Vec<Arc<Dial>>),
        gauges: &Gauges,
        highest: Priority,
    ) -> Result<Self, SnapshotError> {
        let names = pool.backends.iter().map(|backend| &backend.name);
        if !names.eq(facts.members.iter().map(|member| &member.name)) {
            return Err(SnapshotError::Members {
                pool: pool.name.to_string(),
            });
        }
        let keys = match &pool.affinity.hash {
            Some(_) => gauges.keys(pool, &facts.members),
            None => None,
        };
        let cookie = pool.affinity.sticky.as_ref();
        let sticky = cookie
            .map(|cookie| Ok(Sticky::new(&gauges.sticky_key()?, pool, cookie)))
            .transpose()
            .map_err(SnapshotError::Random)?;
        let bounded = pool.affinity.bounded_load.is_some();
        let counted = bounded || pool.max_in_flight_total.is_some();
        let total = counted.then(|| gauges.pool(&pool.name));
        let gate = gauges.gate(&pool.name);
        let hedges = gauges.hedges(&pool.name);
        let probes = gauges.probes(&pool.name);
        let gauges: Vec<_> = pool
            .backends
            .iter()
            .map(|backend| gauges.get(&pool.name, &backend.name))
            .collect();
        if let Some(bounds) = pool.adaptive {
            for gauge in &gauges {
                gauge.found().bound(bounds);
            }
        }
        Ok(Self {
            keys,
            total,
            sticky,
            pool: pool.clone(),
            revision,
            epoch: facts.epoch,
            members: facts.members,
            drained: facts.drained,
            gauges,
            gate,
            hedges,
            probes,
            dials,
            highest,
        })
    }

    /// Whether requests of `priority` leave room to others.
    pub(crate) const fn gives_way(&self, priority: Priority) -> bool {
        overload::part(priority, self.highest) < 100
    }

    /// What requests of `priority` may use of the pool's limit.
    pub(crate) fn total_limit(&self, priority: Priority) -> Option<u32> {
        let limit = self.pool.max_in_flight_total;
        limit.map(|limit| overload::limit(limit, priority, self.highest))
    }

    /// What requests of `priority` may use of a line of so many.
    pub(crate) const fn line_limit(&self, length: u32, priority: Priority) -> u32 {
        overload::limit(length, priority, self.highest)
    }

    /// Whether the pool as a whole is below `limit`.
    pub(crate) fn has_room(&self, limit: Option<u32>) -> bool {
        let (Some(limit), Some(total)) = (limit, &self.total) else {
            return true;
        };
        total.in_flight() < limit
    }
}
