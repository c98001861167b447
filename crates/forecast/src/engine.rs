//! THE event engine: clients, workers, backends and their faults on a virtual clock.
//!
//! Clients send requests as an open Poisson stream; each request comes over its client's connection to one worker;
//! the worker picks with its own real [`evenkeel_balance::Picker`], retries by the real
//! [`evenkeel_balance::retry::decide`] and counts like the data plane; a backend is so many slots behind one queue.
//! Drills in simulation and the forecast of `least_request` run on it. Same specification and seed, same bits: time
//! is whole nanoseconds, ties go in order of insertion, logarithms come from one library, and every part draws from
//! its own stream of random numbers, so that changing one part leaves the draws of the others alone.
//!
//! Limits: one request at a time per pick, no bodies; connections to backends cost nothing and are never stale;
//! the accept queue and the balancer's own CPU are not modelled; all workers take over a snapshot at the same moment;
//! a backend that two pools name is two backends here.

mod flow;
mod line;
pub mod peer;
mod queue;
mod rate;
mod source;
pub mod spec;
mod station;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::route::{Example, Found, RouteTable};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Config, Pool, RateLimit};
use evenkeel_model::ids::{Epoch, Name, WorkerId};
use evenkeel_model::rng::Rng;
use evenkeel_model::tally::{RouteKey, Tally, Vitals};

use flow::{Request, Try};
use peer::PeerRule;
use queue::{Deadlines, Event, Events, Ref, Slab};
use source::Source;
use spec::{
    BackendKey, BackendModel, Dependency, EngineSpec, Fault, NetworkFault, Probe, RequestKind,
    Snapshot, Stream, Target, Totals,
};
use station::Station;
use worker::Worker;

/// A simulation in progress. See the module.
#[derive(Debug)]
pub struct Engine {
    now: u64,
    events: Events,
    rng: Rng,
    /// Draws of the balancer: pickers of new pools.
    balancer_rng: Rng,
    config: Arc<Config>,
    /// Every pool ever seen; the index is its id here.
    pools: Vec<PoolState>,
    workers: Vec<Worker>,
    /// Every route ever seen; the index is its id here.
    routes: Vec<Arc<RouteKey>>,
    stations: Vec<Station>,
    station_ids: BTreeMap<BackendKey, u32>,
    /// By pool; what is not in it has nothing wrong.
    dependencies: BTreeMap<Name, Dependency>,
    models: BTreeMap<BackendKey, BackendModel>,
    default_model: BackendModel,
    sources: Vec<Source>,
    requests: Slab<Request>,
    tries: Slab<Try>,
    /// Sticky cookies that clients hold: by pool, stream and client the station and when it is forgotten.
    bindings: BTreeMap<(u32, u32, u32), (u32, u64)>,
    /// The balancer itself is down until then.
    down_until: u64,
    totals: Totals,
    /// Rate limits by route id, and what came by route id and key.
    limits: BTreeMap<u32, RateLimit>,
    rates: BTreeMap<(u32, u64), u64>,
}

/// A pool as the balancer runs it.
#[derive(Debug)]
struct PoolState {
    /// As configured; of a pool that is gone, as it was last.
    pool: Pool,
    live: bool,
    epoch: Epoch,
    /// Station of each backend, in file order.
    stations: Vec<u32>,
    deadlines: Deadlines,
    /// Tries in flight, and the requests that wait for one.
    in_flight: u32,
    line: VecDeque<Ref>,
}

/// A name that the engine does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    /// No such stream.
    #[error("there is no stream `{0}`")]
    Stream(Name),
    /// No such pool.
    #[error("there is no pool `{0}`")]
    Pool(Name),
    /// No such backend.
    #[error("there is no backend `{0}/{1}`")]
    Backend(Name, Name),
}

impl Engine {
    /// A simulation at time zero.
    pub fn new(spec: EngineSpec) -> Self {
        let mut rng = Rng::new(spec.seed);
        let balancer_rng = rng.fork(1);
        let mut engine = Self {
            now: 0,
            events: Events::default(),
            balancer_rng,
            config: spec.snapshot.config.clone(),
            pools: Vec::new(),
            workers: (0..spec.workers.max(1))
                .map(|id| Worker::new(WorkerId(id)))
                .collect(),
            routes: Vec::new(),
            stations: Vec::new(),
            station_ids: BTreeMap::new(),
            dependencies: BTreeMap::new(),
            models: spec.models,
            default_model: spec.default_model,
            sources: Vec::new(),
            requests: Slab::default(),
            tries: Slab::default(),
            bindings: BTreeMap::new(),
            down_until: 0,
            totals: Totals::default(),
            limits: BTreeMap::new(),
            rates: BTreeMap::new(),
            rng,
        };
        for stream in spec.streams {
            engine.add_stream(stream);
        }
        engine.swap(&spec.snapshot);
        engine
    }

    /// The virtual time.
    pub const fn now(&self) -> Mono {
        Mono(self.now)
    }

    /// What became of all requests so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Simulates up to and including `until`.
    pub fn run_until(&mut self, until: Mono) {
        loop {
            let due = self
                .pools
                .iter()
                .enumerate()
                .filter_map(|(id, pool)| pool.deadlines.next_at().map(|at| (at, id)))
                .min();
            let event_at = self.events.next_at();
            // A deadline at the very moment of an answer goes first, as an expired timer would.
            match (due, event_at) {
                (Some((at, id)), event) if at <= until.0 && event.is_none_or(|e| at <= e) => {
                    self.now = at;
                    if let Some(try_ref) = self.pools[id].deadlines.pop() {
                        self.on_deadline(try_ref);
                    }
                }
                (_, Some(at)) if at <= until.0 => {
                    self.now = at;
                    if let Some(event) = self.events.pop() {
                        self.on_event(event);
                    }
                }
                _ => break,
            }
        }
        self.now = self.now.max(until.0);
    }

    /// The data plane takes over a configuration, an eligibility or new weights, as the control shell hands them
    /// over. Requests in flight go on; cursors and counts are kept. A pool of the configuration without an entry in
    /// the snapshot is not run.
    pub fn swap(&mut self, snapshot: &Snapshot) {
        self.config = snapshot.config.clone();
        for pool in &mut self.pools {
            pool.live = false;
        }
        for worker in &mut self.workers {
            worker.retire_pools();
        }
        for (pool, state) in snapshot.config.pools.iter().zip(&snapshot.pools) {
            let stations = pool
                .backends
                .iter()
                .map(|backend| self.station((pool.name.clone(), backend.name.clone())))
                .collect();
            let known = self.pools.iter().position(|p| p.pool.name == pool.name);
            let id = known.unwrap_or(self.pools.len());
            if let Some(mine) = self.pools.get_mut(id) {
                mine.pool = pool.clone();
                mine.live = true;
                mine.epoch = state.epoch;
                mine.stations = stations;
            } else {
                self.pools.push(PoolState {
                    pool: pool.clone(),
                    live: true,
                    epoch: state.epoch,
                    stations,
                    deadlines: Deadlines::default(),
                    in_flight: 0,
                    line: VecDeque::new(),
                });
            }
            for worker in &mut self.workers {
                let rng = &mut self.balancer_rng;
                worker.swap_pool(id, pool, state.epoch, &state.members, rng, Mono(self.now));
            }
        }
        for id in 0..self.pools.len() as u32 {
            self.offer(id, true);
        }
        self.route_streams();
    }

    /// What each worker counted, as of now; the client windows start anew. None while the balancer is down.
    pub fn take_tallies(&mut self) -> Vec<Tally> {
        if self.now < self.down_until {
            return Vec::new();
        }
        let at = Mono(self.now);
        self.workers
            .iter_mut()
            .map(|worker| worker.take_tally(at, &self.routes))
            .collect()
    }

    /// In-flight and utilisation (slots in use on average since the last call) of every backend, by pool in file order.
    /// Memory is not modelled: `None`.
    pub fn vitals(&mut self) -> Vec<(Name, Vec<Vitals>)> {
        let now = self.now;
        let stations = &mut self.stations;
        let pools = self.pools.iter().filter(|pool| pool.live);
        pools
            .map(|pool| {
                let backends = pool.stations.iter().map(|id| {
                    let station = &mut stations[*id as usize];
                    let used = Some(station.sample_cpu(now));
                    Vitals {
                        in_flight: station.in_flight,
                        // The search is not modelled: its upper bound holds.
                        limit: pool.pool.adaptive.map(|bounds| bounds.max),
                        cpu: used,
                        application: used,
                        ..Vitals::default()
                    }
                });
                (pool.pool.name.clone(), backends.collect())
            })
            .collect()
    }

    /// Checks the health of a backend now by the running configuration. `Ok(None)`: its pool has no health check.
    pub fn probe(&mut self, pool: &Name, backend: &Name) -> Result<Option<Probe>, UnknownName> {
        let state = self
            .pools
            .iter()
            .find(|p| p.live && p.pool.name == *pool)
            .ok_or_else(|| UnknownName::Pool(pool.clone()))?;
        let station = self
            .station_ids
            .get(&(pool.clone(), backend.clone()))
            .and_then(|id| self.stations.get_mut(*id as usize))
            .ok_or_else(|| UnknownName::Backend(pool.clone(), backend.clone()))?;
        let health = state.pool.health.as_ref();
        Ok(health.map(|health| station.probe(health, self.now)))
    }

    /// Adds clients that start sending now.
    pub fn add_stream(&mut self, stream: Stream) {
        let label = self.sources.len() as u64;
        let rng = self.rng.fork(0x5747_0000 + label);
        self.sources.push(Source::new(stream, rng));
        self.route_streams();
        self.schedule_arrival(label as u32);
    }

    /// New requests per second of a stream from now on; 0 stops it.
    pub fn set_rate(&mut self, stream: &Name, rate_rps: f64) -> Result<(), UnknownName> {
        let index = self.stream(stream)?;
        self.sources[index as usize].set_rate(rate_rps);
        self.schedule_arrival(index);
        Ok(())
    }

    /// Skew of a stream's requests over its clients from now on (Zipf exponent; 0: none).
    pub fn set_skew(&mut self, stream: &Name, exponent: f64) -> Result<(), UnknownName> {
        let index = self.stream(stream)?;
        self.sources[index as usize].set_skew(exponent);
        Ok(())
    }

    /// Skew of a stream's requests over its keys from now on; without keys nothing changes.
    pub fn set_key_skew(&mut self, stream: &Name, exponent: f64) -> Result<(), UnknownName> {
        let index = self.stream(stream)?;
        self.sources[index as usize].set_key_skew(exponent);
        Ok(())
    }

    /// What the clients of a stream do after a failure from now on.
    pub fn set_client_retry(
        &mut self,
        stream: &Name,
        retry: spec::ClientRetry,
    ) -> Result<(), UnknownName> {
        let index = self.stream(stream)?;
        self.sources[index as usize].retry = retry;
        Ok(())
    }

    /// What is wrong with a backend from now on; `Fault::default()` heals it.
    pub fn set_fault(&mut self, backend: &BackendKey, fault: Fault) -> Result<(), UnknownName> {
        let now = self.now;
        self.station_mut(backend)?.set_fault(fault, now);
        Ok(())
    }

    /// What is wrong with a backend now.
    pub fn fault(&self, backend: &BackendKey) -> Result<Fault, UnknownName> {
        let id = self
            .station_ids
            .get(backend)
            .ok_or_else(|| UnknownName::Backend(backend.0.clone(), backend.1.clone()))?;
        Ok(self.stations[*id as usize].fault.clone())
    }

    /// What is wrong on the way to a backend from now on; `NetworkFault::default()` heals it.
    pub fn set_network(
        &mut self,
        backend: &BackendKey,
        network: NetworkFault,
    ) -> Result<(), UnknownName> {
        self.station_mut(backend)?.network = network;
        Ok(())
    }

    /// What all backends of a pool suffer from a shared dependency from now on; the default heals it.
    pub fn set_dependency(
        &mut self,
        pool: &Name,
        dependency: Dependency,
    ) -> Result<(), UnknownName> {
        if !self.pools.iter().any(|p| p.pool.name == *pool) {
            return Err(UnknownName::Pool(pool.clone()));
        }
        for (key, id) in &self.station_ids {
            if key.0 == *pool {
                self.stations[*id as usize].dependency = dependency;
            }
        }
        self.dependencies.insert(pool.clone(), dependency);
        Ok(())
    }

    /// Every worker chooses the backends of a pool by another balancer's rule from now on. A restart of the balancer
    /// goes back to the configured algorithm. `odds`: chances of a draw from the ring, in file order.
    pub fn set_rule(
        &mut self,
        pool: &Name,
        rule: PeerRule,
        odds: &[f64],
    ) -> Result<(), UnknownName> {
        let id = self
            .pools
            .iter()
            .position(|p| p.live && p.pool.name == *pool);
        let id = id.ok_or_else(|| UnknownName::Pool(pool.clone()))?;
        for worker in &mut self.workers {
            worker.set_rule(id, rule, odds, self.balancer_rng.fork(1));
        }
        Ok(())
    }

    /// How a backend behaves from now on, also one that the configuration does not have yet. What it holds stays.
    pub fn set_model(&mut self, backend: &BackendKey, model: BackendModel) {
        if let Ok(station) = self.station_mut(backend) {
            station.model = model.clone();
        }
        self.models.insert(backend.clone(), model);
    }

    /// A backend restarts: what it holds is reset, connections are refused for `down_for`, then it is cold.
    pub fn restart_backend(
        &mut self,
        backend: &BackendKey,
        down_for: Duration,
    ) -> Result<(), UnknownName> {
        let now = self.now;
        self.station_mut(backend)?.restart(now, nanos(down_for));
        let id = self.station_ids.get(backend).copied();
        self.reset_tries_at(id.unwrap_or(u32::MAX));
        Ok(())
    }

    /// The balancer is killed and comes back after `down_for`: requests in flight and new ones meanwhile fail, counts
    /// start at zero, pickers at a random point.
    pub fn restart_balancer(&mut self, down_for: Duration, snapshot: &Snapshot) {
        self.drop_all_requests();
        self.down_until = self.now.saturating_add(nanos(down_for));
        for worker in &mut self.workers {
            *worker = Worker::new(worker.id);
        }
        self.pools.clear();
        self.swap(snapshot);
    }

    fn stream(&self, name: &Name) -> Result<u32, UnknownName> {
        self.sources
            .iter()
            .position(|source| source.name == *name)
            .map(|index| index as u32)
            .ok_or_else(|| UnknownName::Stream(name.clone()))
    }

    fn station_mut(&mut self, key: &BackendKey) -> Result<&mut Station, UnknownName> {
        self.station_ids
            .get(key)
            .and_then(|id| self.stations.get_mut(*id as usize))
            .ok_or_else(|| UnknownName::Backend(key.0.clone(), key.1.clone()))
    }

    /// The station of a backend, built when it is first seen.
    fn station(&mut self, key: BackendKey) -> u32 {
        if let Some(id) = self.station_ids.get(&key) {
            return *id;
        }
        let id = self.stations.len() as u32;
        let model = self.models.get(&key).unwrap_or(&self.default_model).clone();
        let rng = self.rng.fork(0x0057_A710 + u64::from(id));
        let mut station = Station::new(model, rng, self.now);
        station.dependency = self.dependencies.get(&key.0).copied().unwrap_or_default();
        self.stations.push(station);
        self.station_ids.insert(key, id);
        id
    }

    /// Which route and pool each kind of request goes to under the present routes.
    fn route_streams(&mut self) {
        let table = RouteTable::new(&self.config);
        let config = &self.config;
        let id_of = |name: &Name| {
            let id = self
                .pools
                .iter()
                .position(|p| p.live && p.pool.name == *name);
            id.map(|id| id as u32)
        };
        let routes = &mut self.routes;
        self.limits.clear();
        for route in &config.routes {
            if let Some(limit) = &route.rate_limit {
                let id = route_id(routes, RouteKey::of(route));
                self.limits.insert(id, limit.clone());
            }
        }
        let mut route = |listener: &Name, kind: &RequestKind| {
            let listener = table.listener(listener.as_str())?;
            let asked = Example::get(kind.host.as_deref(), &kind.path);
            let Found::Route { route, pool } = table.find(listener, &asked) else {
                return None;
            };
            let pool = id_of(&config.pools.get(pool)?.name)?;
            Some((
                pool,
                route_id(routes, RouteKey::of(config.routes.get(route)?)),
            ))
        };
        for source in &mut self.sources {
            let goes = source.kinds.iter().map(|kind| match &source.target {
                Target::Pool(name) => (id_of(name), None),
                Target::Listener(listener) => route(listener, kind).unzip(),
            });
            (source.pools, source.routes) = goes.collect();
            if let Target::Listener(name) = &source.target {
                let listener = config.listener(name.as_str());
                source.in_flight_max = listener.map_or(0, |l| l.connections_max);
            }
        }
    }

    fn schedule_arrival(&mut self, stream: u32) {
        let source = &mut self.sources[stream as usize];
        let generation = source.generation;
        if let Some(gap) = source.gap_ns() {
            let at = self.now.saturating_add(gap);
            self.events.add(at, Event::Arrival { stream, generation });
        }
    }
}

/// The id of a route, a new one when it was never seen.
fn route_id(routes: &mut Vec<Arc<RouteKey>>, key: RouteKey) -> u32 {
    let known = routes.iter().position(|known| **known == key);
    let id = known.unwrap_or(routes.len());
    if known.is_none() {
        routes.push(Arc::new(key));
    }
    id as u32
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
