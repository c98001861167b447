//! Live facts: what a running instance sees that a forecast can use, and the load that a configuration implies at
//! present rates.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Standing;
use evenkeel_forecast::{BackendFacts, Facts, Keys, PoolFacts};
use evenkeel_guard::{BackendView, GuardView, HealthView, PoolLoad, PoolRate, PoolView};
use evenkeel_journal::WayBack;
use evenkeel_model::config::Config;
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::parse;
use evenkeel_model::record::RevisionRecord;
use evenkeel_model::setup::Setup;
use evenkeel_model::sketch::{Distinct, Frequent};
use evenkeel_model::tally::{Latency, Tally};

mod routes;

use routes::Routes;
pub use routes::{Leads, RouteCounter};

/// Utilisation of every backend at the rates and with the backends of `pools`. Where load decides the share, the
/// intended one is taken: that is what such an algorithm tends to.
pub fn forecast_load(config: &Config, pools: &[PoolRate]) -> Vec<PoolLoad> {
    pools
        .iter()
        .filter_map(|rate| {
            let pool = config.pool(rate.pool.as_str())?;
            let (members, _) = evenkeel_balance::effective_members(pool, |index| {
                pool.backends
                    .get(index)
                    .is_some_and(|b| rate.eligible.contains(&b.name))
            });
            let shares = evenkeel_balance::expected_shares(pool.algorithm, &members);
            let shares = shares.unwrap_or_else(|| {
                pool.intended_shares(|index| members.get(index).is_some_and(|m| m.eligible))
            });
            let utilisation = pool
                .backends
                .iter()
                .zip(shares)
                .map(|(backend, share)| Some(rate.rps? * share / backend.capacity_rps?));
            Some(PoolLoad {
                pool: pool.name.clone(),
                utilisation: utilisation.collect(),
            })
        })
        .collect()
}

/// Part by which an average forgets in a second: half of it is younger than 42 s.
const FORGET: f64 = 1.0 / 60.0;
/// Seconds after which a backend that is down counts as down in a forecast: a flap is no reason to judge a
/// configuration otherwise.
const DOWN_FOR: u32 = 30;
/// Weight of an average, in seconds, below which it says nothing yet.
const SECONDS_MIN: f64 = 20.0;
/// Fewest requests that a mean response time is told from.
const REQUESTS_MIN: f64 = 30.0;

/// Response times by pool and backend.
type Recent = BTreeMap<Name, BTreeMap<Name, Latency>>;

/// What a running instance sees that a forecast can use: the highest whole minute of each pool and route, who is down,
/// response times and requests in flight of each backend, how many clients come and what part the most frequent of them
/// has, what a rollback would go back to, and when one was last made.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pools: BTreeMap<Name, SeenPool>,
    /// The target of a rollback and what it sets up; kept so that its text is read once.
    target: Option<RevisionId>,
    rollback: Option<Arc<Setup>>,
    routes: Routes,
    pub(crate) way_back: WayBack,
}

#[derive(Debug, Default)]
struct SeenPool {
    seconds: VecDeque<f64>,
    highest_rps: Option<f64>,
    backends: BTreeMap<Name, SeenBackend>,
    /// Clients of this minute, and of the one before.
    clients: (Clients, Clients),
    clients_for: u32,
}

/// Who came in a minute.
#[derive(Debug, Default)]
struct Clients {
    seen: Distinct,
    frequent: Frequent,
}

/// Sums over time that forget, by the second.
#[derive(Debug, Default)]
struct SeenBackend {
    /// Seconds that it is down by now.
    down_for: u32,
    in_flight: Option<u32>,
    /// Requests in flight, requests per second, and how many seconds the sums stand for.
    held: f64,
    rate: f64,
    weight: f64,
    /// Median response time in the last whole minute.
    median: Option<Duration>,
}

impl SeenBackend {
    fn take(&mut self, view: &BackendView) {
        self.down_for = match view.health {
            HealthView::Down => self.down_for.saturating_add(1),
            HealthView::Up | HealthView::Unknown => 0,
        };
        self.in_flight = view.in_flight;
        if let Some((in_flight, rps)) = view.in_flight.zip(view.rps) {
            let keep = 1.0 - FORGET;
            self.held = self.held * keep + f64::from(in_flight);
            self.rate = self.rate * keep + rps;
            self.weight = self.weight * keep + 1.0;
        }
    }

    /// Mean response time by Little's law: requests in flight over rate. Waiting at the backend is in it.
    fn mean(&self) -> Option<Duration> {
        let is_enough = self.weight >= SECONDS_MIN && self.rate >= REQUESTS_MIN && self.held > 0.0;
        is_enough.then(|| Duration::from_secs_f64(self.held / self.rate))
    }
}

impl SeenPool {
    fn take(&mut self, view: &PoolView, recent: &mut Recent) {
        let mut before = std::mem::take(&mut self.backends);
        let backends = view.backends.iter().map(|backend| {
            let mut seen = before.remove(&backend.name).unwrap_or_default();
            seen.take(backend);
            (backend.name.clone(), seen)
        });
        self.backends = backends.collect();
        self.clients_for += 1;
        if self.clients_for >= 60 {
            self.clients = (Clients::default(), std::mem::take(&mut self.clients.0));
            self.clients_for = 0;
            let recent = recent.remove(&view.name).unwrap_or_default();
            for (name, seen) in &mut self.backends {
                let times = recent
                    .get(name)
                    .filter(|t| t.count() as f64 >= REQUESTS_MIN);
                let median = times.and_then(|times| times.quantile_us(0.5));
                seen.median = median.map(Duration::from_micros);
            }
        }
        let Some(rps) = view.rps else { return };
        self.seconds.push_back(rps);
        if self.seconds.len() > 60 {
            self.seconds.pop_front();
            let mean = self.seconds.iter().sum::<f64>() / 60.0;
            self.highest_rps = Some(self.highest_rps.map_or(mean, |high| high.max(mean)));
        }
    }

    fn facts(&self) -> PoolFacts {
        let down = self
            .backends
            .iter()
            .filter(|(_, seen)| seen.down_for >= DOWN_FOR);
        let backend = |(name, seen): (&Name, &SeenBackend)| {
            let facts = BackendFacts {
                service_mean: seen.mean(),
                service_p50: seen.median,
                in_flight: seen.in_flight,
            };
            (name.to_string(), facts)
        };
        let clients = self.clients.1.seen.estimate();
        let frequent = &self.clients.1.frequent;
        let is_enough = frequent.total() as f64 >= REQUESTS_MIN;
        PoolFacts {
            highest_minute_rps: self.highest_rps,
            standings: down
                .map(|(name, _)| (name.to_string(), Standing::Down))
                .collect(),
            backends: self.backends.iter().map(backend).collect(),
            keys: (clients > 0.0).then_some(Keys {
                distinct: clients,
                top_share: frequent.top_share().filter(|_| is_enough),
            }),
        }
    }
}

impl Seen {
    /// Nothing seen yet of `config`, which runs from now on; `way_back`: as the journal tells it.
    pub(crate) fn new(way_back: WayBack, config: &Config) -> Self {
        let mut seen = Self {
            way_back,
            ..Self::default()
        };
        seen.lead(config);
        seen
    }

    /// Takes the present, once a second.
    pub(crate) fn take(&mut self, view: &GuardView, recent: &mut Recent) {
        let mut before = std::mem::take(&mut self.pools);
        let pools = view.pools.iter().map(|pool| {
            let mut seen = before.remove(&pool.name).unwrap_or_default();
            seen.take(pool, recent);
            (pool.name.clone(), seen)
        });
        self.pools = pools.collect();
        recent.retain(|name, _| self.pools.contains_key(name));
        self.routes.second();
        self.look_back(&view.revisions, view.revision);
    }

    /// Takes where the routes lead from now on. A pool that gets others than before is judged by what those had: its own
    /// highest minute was another traffic's.
    pub(crate) fn lead(&mut self, config: &Config) {
        for (pool, rps) in self.routes.lead(config) {
            if let Some(seen) = self.pools.get_mut(&pool) {
                seen.seconds.clear();
                seen.highest_rps = Some(rps);
            }
        }
    }

    /// Takes who came and by which routes, from the counts of a worker.
    pub(crate) fn take_tally(&mut self, tally: &Tally) {
        for pool in &tally.pools {
            if let Some(seen) = self.pools.get_mut(&pool.pool) {
                seen.clients.0.seen.merge(&pool.clients.seen);
                seen.clients.0.frequent.merge(&pool.frequent);
            }
        }
        self.routes.take(tally.worker, &tally.routes);
    }

    /// Requests by route.
    pub(crate) fn routes(&self) -> Vec<RouteCounter> {
        self.routes.counters()
    }

    /// The newest older revision that had evidence once is what a rollback goes back to.
    fn look_back(&mut self, revisions: &[RevisionRecord], running: RevisionId) {
        let target = evenkeel_guard::boot::targets(revisions, running).pop();
        if self.target == target {
            return;
        }
        self.target = target;
        let record = revisions.iter().find(|record| Some(record.id) == target);
        let config = record.and_then(|record| parse::parse(&record.text, None).config);
        self.rollback = config.map(|config| Arc::new(Setup::of(&config)));
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            pools: self
                .pools
                .iter()
                .map(|(name, seen)| (name.to_string(), seen.facts()))
                .collect(),
            routes: self.routes.facts(),
            rollback_target: self.rollback.clone(),
            rehearsed_at: self.way_back.walked_at,
            recorded_since: self.way_back.since,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use evenkeel_balance::Standing;
    use evenkeel_guard::{BackendView, HealthView, PoolView, Verdict};
    use evenkeel_model::canonical::content_hash;
    use evenkeel_model::clock::{Mono, Wall};
    use evenkeel_model::config::{Algorithm, Intent};
    use evenkeel_model::ids::{Name, RevisionId, WorkerId};
    use evenkeel_model::parse::parse;
    use evenkeel_model::record::{RevisionRecord, RevisionState};

    use evenkeel_model::sketch::{ClientSketch, Frequent};
    use evenkeel_model::tally::{Latency, PoolTally, Tally};

    use super::{DOWN_FOR, Seen, SeenPool};

    fn backend(name: &str, rps: f64, in_flight: u32, health: HealthView) -> BackendView {
        BackendView {
            name: Name::new(name).unwrap(),
            weight: 1,
            capacity_rps: None,
            zone: None,
            version: None,
            intended_share: None,
            expected_share: None,
            observed_share: None,
            ci_low: None,
            ci_high: None,
            verdict: Verdict::Ok,
            reason: String::new(),
            rps: Some(rps),
            utilisation: None,
            p50_ms: None,
            p99_ms: None,
            error_rate: None,
            in_flight: Some(in_flight),
            in_flight_limit: None,
            cpu: None,
            memory: None,
            health,
            health_detail: String::new(),
        }
    }

    fn second(backends: Vec<BackendView>) -> PoolView {
        PoolView {
            hot_key: None,
            members: None,
            name: Name::new("p").unwrap(),
            algorithm: Algorithm::RoundRobin,
            intent: Intent::Even,
            epoch: None,
            rps: backends.iter().map(|b| b.rps).sum(),
            refused_rps: 0.0,
            error_rate: None,
            harmed_rate: None,
            p50_ms: None,
            p99_ms: None,
            objective_met: None,
            incident: None,
            backends,
        }
    }

    #[test]
    fn a_minute_of_traffic_gives_the_peak_and_mean_response_times() {
        let mut seen = SeenPool::default();
        let mut times = Latency::default();
        let few = times.clone();
        (0..100).for_each(|_| times.record(12_000));
        let names = [("a", times), ("b", few)];
        let names = names.map(|(name, times)| (Name::new(name).unwrap(), times));
        let mut recent = BTreeMap::from([(Name::new("p").unwrap(), BTreeMap::from(names))]);
        let view = |busy: u32| {
            let (a, b) = (HealthView::Up, HealthView::Unknown);
            second(vec![backend("a", 100.0, busy, a), backend("b", 0.0, 0, b)])
        };
        for _ in 0..10 {
            seen.take(&view(4), &mut recent);
        }
        assert_eq!(seen.facts().backends["a"].service_mean, None);
        for _ in 0..60 {
            seen.take(&view(4), &mut recent);
        }
        let facts = seen.facts();
        assert_eq!(facts.highest_minute_rps, Some(100.0));
        let mean = facts.backends["a"].service_mean.unwrap().as_secs_f64();
        assert!((mean - 0.04).abs() < 1e-9, "{mean}");
        assert_eq!(facts.backends["b"].service_mean, None);
        let median = facts.backends["a"].service_p50.unwrap().as_secs_f64();
        assert!((median - 0.012).abs() < 0.002, "{median}");
        assert_eq!(facts.backends["b"].service_p50, None);
        assert!(recent.is_empty(), "the next minute begins anew");
        assert_eq!((facts.backends["a"].in_flight, facts.keys), (Some(4), None));
    }

    #[test]
    fn the_most_frequent_client_has_its_part_over_workers_once_the_minute_is_over() {
        let mut seen = Seen::default();
        let pool = Name::new("p").unwrap();
        seen.pools.insert(pool.clone(), SeenPool::default());
        for worker in 0..2 {
            let (mut clients, mut frequent) = (ClientSketch::default(), Frequent::default());
            for n in 0..100u64 {
                let hash = if n % 4 == 0 { 7 } else { (n % 10) << 32 };
                clients.record(hash, false);
                frequent.record(hash);
            }
            seen.take_tally(&Tally {
                worker: WorkerId(worker),
                at: Mono::ZERO,
                pools: vec![PoolTally {
                    pool: pool.clone(),
                    epochs: Vec::new(),
                    clients,
                    frequent,
                    keys: Frequent::default(),
                    unpicked: 0,
                    waits: evenkeel_model::tally::Waits::default(),
                }],
                routes: Vec::new(),
            });
        }
        let pool = seen.pools.get_mut("p").unwrap();
        assert_eq!(pool.facts().keys, None);
        (0..60).for_each(|_| pool.take(&second(Vec::new()), &mut BTreeMap::new()));
        let keys = pool.facts().keys.unwrap();
        assert!((keys.top_share.unwrap() - 0.25).abs() < 0.04, "{keys:?}");
    }

    #[test]
    fn a_backend_counts_as_down_when_it_has_been_for_a_while() {
        let mut seen = SeenPool::default();
        let down = second(vec![backend("a", 1.0, 0, HealthView::Down)]);
        for _ in 1..DOWN_FOR {
            seen.take(&down, &mut BTreeMap::new());
        }
        assert!(seen.facts().standings.is_empty());
        seen.take(&down, &mut BTreeMap::new());
        assert_eq!(seen.facts().standings["a"], Standing::Down);
        let up = second(vec![backend("a", 1.0, 0, HealthView::Up)]);
        seen.take(&up, &mut BTreeMap::new());
        assert!(seen.facts().standings.is_empty());
    }

    fn revision(number: u64, state: RevisionState, pool: &str) -> RevisionRecord {
        let text = format!(
            "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"{pool}\"\n[pool.{pool}.backend.b]\naddress = \"127.0.0.1:2\"\n"
        );
        let config = parse(&text, None).config.unwrap();
        RevisionRecord {
            id: RevisionId(number),
            parent: None,
            hash: content_hash(&config),
            text: Arc::from(text),
            author: String::new(),
            reason: String::new(),
            state,
            at: Wall(0),
            forced: false,
            confirm_by: None,
            keep_until: None,
            incident: None,
        }
    }

    #[test]
    fn the_rollback_target_is_the_newest_older_revision_with_evidence() {
        let mut seen = Seen::default();
        let revisions = [
            revision(1, RevisionState::Superseded, "one"),
            revision(2, RevisionState::RolledBack, "two"),
            revision(3, RevisionState::Verifying, "three"),
        ];
        seen.look_back(&revisions[..1], RevisionId(1));
        assert_eq!(seen.facts().rollback_target, None);
        seen.look_back(&revisions, RevisionId(3));
        let target = seen.facts().rollback_target.unwrap();
        assert_eq!(target.pools[0].name, "one");
    }
}
