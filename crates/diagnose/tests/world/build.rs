//! The world: a pool, what happens to it, and the evidence that it leaves.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{Member, expected_shares};
use evenkeel_diagnose::evidence::{ChangedPath, OutFact, OutReason};
use evenkeel_diagnose::{
    BackendWindow, ChangeFact, DeploymentFact, Drift, EpochFact, Evidence, HotKey, LastTries,
    LeftFact, Onset, Unlisted, Window,
};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{
    Address, Admin, Affinity, Algorithm, Backend, Choices, Config, Intent, NPlusOne, Objective,
    Pool, Remedies, Retry, Session,
};
use evenkeel_model::ids::{DeploymentId, Epoch, Name, RevisionId};
use evenkeel_model::record::{DeploymentRecord, Told};
use evenkeel_model::rng::Rng;
use evenkeel_model::sketch::ClientSketch;
use evenkeel_model::units::Ratio;

/// The onset of every fault, seconds after the start.
pub(crate) const ONSET_S: u64 = 2_000;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A pool `shop` of backends `web-1`.. with these weights and capacities; zones a and b in turn.
pub(crate) fn pool(weights: &[u32], capacities: &[Option<f64>]) -> Pool {
    let backends = weights
        .iter()
        .zip(capacities)
        .enumerate()
        .map(|(i, (weight, capacity))| Backend {
            name: name(&format!("web-{}", i + 1)),
            address: Address::Tcp(([127, 0, 0, 1], 8_081 + i as u16).into()),
            weight: *weight,
            weight_declared: true,
            capacity_rps: *capacity,
            priority: 0,
            zone: Some(name(["a", "b"][i % 2])),
            version: Some(name("v1")),
            tls_name: None,
            discovered: false,
        });
    Pool {
        name: name("shop"),
        algorithm: Algorithm::RoundRobin,
        affinity: Affinity::default(),
        choices: Choices::DEFAULT,
        intent: if capacities.iter().all(Option::is_some) {
            Intent::Capacity
        } else {
            Intent::Even
        },
        peak_rps: None,
        headroom: Ratio::from_percent(20),
        tolerance: Ratio::from_percent(20),
        min_healthy: 1,
        n_plus_one: NPlusOne::Warn,
        false_alarm_every: Pool::FALSE_ALARM_EVERY_DEFAULT,
        objective: Objective {
            error_rate: Ratio::from_percent(1),
            p99: Duration::from_millis(500),
        },
        session: Session::ClientAddress,
        health: None,
        ejection: None,
        slow_start: None,
        reported: None,
        remedies: Remedies::default(),
        overprovisioning: Pool::OVERPROVISIONING_DEFAULT,
        place: evenkeel_model::config::Place::default(),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(30),
        tunnels: evenkeel_model::config::Tunnels::default(),
        retry: Retry {
            attempts: 1,
            budget: Ratio::from_percent(20),
            on: evenkeel_model::config::RetryOn::default(),
            unsafe_methods: false,
        },
        hedge: None,
        probe: None,
        tls: None,
        keep: evenkeel_model::config::Lifetime::default(),
        max_in_flight: None,
        adaptive: None,
        max_in_flight_total: None,
        queue: None,
        harmed_clients_min: 20,
        policy: evenkeel_model::policy::Policy::default(),
        members: None,
        backends: backends.collect(),
    }
}

pub(crate) fn config(pool: Pool) -> Config {
    Config {
        here: evenkeel_model::config::Here::default(),
        workers: None,
        watch: false,
        access_log: None,
        access_log_fields: Vec::new(),
        tracing: None,
        admin: Admin {
            address: ([127, 0, 0, 1], 7_700).into(),
            tokens: Vec::new(),
        },
        overload: evenkeel_model::config::Overload::default(),
        audit_every: Duration::from_hours(24),
        waivers: Vec::new(),
        drills_allowed: false,
        listeners: Vec::new(),
        certificates: Vec::new(),
        routes: Vec::new(),
        expectations: Vec::new(),
        pools: vec![pool],
        receivers: Vec::new(),
        webhooks: Vec::new(),
        escalation: Vec::new(),
    }
}

/// What is wrong with a backend after the onset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) slow_factor: f64,
    pub(crate) errors: f64,
    pub(crate) timeouts: f64,
    pub(crate) refuses: f64,
    /// Accepts and never answers: what is there when the diagnosis is made, before any timeout.
    pub(crate) hangs: bool,
}

pub(crate) const WELL: Fault = Fault {
    slow_factor: 1.0,
    errors: 0.002,
    timeouts: 0.0,
    refuses: 0.0,
    hangs: false,
};

pub(crate) struct World {
    pub(crate) rng: Rng,
    /// The pool before all recorded changes and now.
    pub(crate) before: Pool,
    pub(crate) now: Pool,
    pub(crate) rate_before: f64,
    pub(crate) rate: f64,
    pub(crate) faults: Vec<Fault>,
    /// Shares after the onset where the algorithm has no closed form, or that differ from it.
    pub(crate) shares: Option<Vec<f64>>,
    pub(crate) changes: Vec<ChangeFact>,
    pub(crate) deployments: Vec<DeploymentFact>,
    pub(crate) out: Vec<OutFact>,
    /// Part of the requests that finds no backend, and that is tried again.
    pub(crate) unpicked: f64,
    pub(crate) retries: f64,
    pub(crate) seconds: f64,
    pub(crate) drift: Option<Drift>,
    pub(crate) unlisted: Option<Unlisted>,
    pub(crate) left: Vec<LeftFact>,
    pub(crate) hot: Option<HotKey>,
    /// Part of the picks that a cookie or a key forces.
    pub(crate) forced: f64,
}

impl World {
    pub(crate) fn new(seed: u64, pool: Pool, rate: f64) -> Self {
        let count = pool.backends.len();
        let mut rng = Rng::new(seed);
        let seconds = 4.0 + rng.unit() * 8.0;
        Self {
            rng,
            before: pool.clone(),
            now: pool,
            rate_before: rate,
            rate,
            faults: vec![WELL; count],
            shares: None,
            changes: Vec::new(),
            deployments: Vec::new(),
            out: Vec::new(),
            unpicked: 0.0,
            retries: 0.0,
            seconds,
            drift: None,
            unlisted: None,
            left: Vec::new(),
            hot: None,
            forced: 0.0,
        }
    }

    /// A revision `ago` seconds before the onset (negative: after it) that edits the pool as it is by then.
    pub(crate) fn revise(
        &mut self,
        ago: f64,
        path: &str,
        edit: impl FnOnce(&mut Pool),
    ) -> RevisionId {
        let id = RevisionId(self.changes.len() as u64 + 2);
        let before = self.now.clone();
        edit(&mut self.now);
        self.changes.push(ChangeFact {
            id,
            at: moment(-ago),
            before: Arc::new(config(before)),
            after: Arc::new(config(self.now.clone())),
            paths: vec![ChangedPath {
                path: format!("pool.shop.{path}"),
                before: Some("old".to_owned()),
                after: Some("new".to_owned()),
            }],
            automatic_rollback: false,
        });
        id
    }

    pub(crate) fn deploy(&mut self, ago: f64, backends: &[&str]) {
        self.deployments.push(DeploymentFact {
            record: DeploymentRecord {
                id: DeploymentId(self.deployments.len() as u64 + 1),
                pool: name("shop"),
                version: name("v2"),
                backends: backends.iter().map(|b| name(b)).collect(),
                at: Wall(0),
                recorded_at: Wall(0),
                author: "ann".to_owned(),
                note: String::new(),
                ended_at: None,
                told: Some(Told::Finished),
                revision: None,
                messages: Vec::new(),
            },
            at: moment(-ago),
            until: moment(-ago),
            quiet: None,
        });
    }

    /// What the pool did from `from` to `to` (seconds before the onset) after the last deployment.
    pub(crate) fn served(&mut self, (from, to): (f64, f64), faults: &[Fault]) {
        let shares: Vec<f64> = self
            .now
            .backends
            .iter()
            .map(|b| f64::from(b.weight))
            .collect();
        let rate = self.rate_before;
        let window = self.window((-from, -to), rate, &shares, faults, (0.0, 0.0));
        let last = self.deployments.last_mut().unwrap();
        last.quiet = Some(window);
    }

    pub(crate) fn take_out(&mut self, place: usize, reason: OutReason, ago: f64) {
        self.out.push(OutFact {
            backend: self.now.backends[place].name.clone(),
            reason,
            since: moment(-ago),
            flips: 1,
            last: LastTries::Well,
            detail: "404".to_owned(),
        });
    }

    fn members(&self, pool: &Pool, after: bool) -> Vec<Member> {
        let member = |b: &Backend| Member {
            name: b.name.clone(),
            weight: b.weight,
            eligible: !after || self.out.iter().all(|o| o.backend != b.name),
        };
        pool.backends.iter().map(member).collect()
    }

    pub(crate) fn evidence(mut self) -> Evidence {
        let onset = moment(0.0);
        let members = self.members(&self.now.clone(), true);
        let by_weight: Vec<f64> = members
            .iter()
            .map(|m| f64::from(m.effective_weight()))
            .collect();
        let shares = self
            .shares
            .clone()
            .or_else(|| expected_shares(self.now.algorithm, &members))
            .unwrap_or(by_weight);
        let old = self.members(&self.before.clone(), false);
        let old_shares: Vec<f64> = old.iter().map(|m| f64::from(m.weight)).collect();
        let well = vec![WELL; old.len()];
        let before = self.window(
            (-11.0, -1.0),
            self.rate_before,
            &old_shares,
            &well,
            (0.0, 0.0),
        );
        let (faults, seconds, extra) = (
            self.faults.clone(),
            self.seconds,
            (self.unpicked, self.retries),
        );
        let after = self.window((0.0, seconds), self.rate, &shares, &faults, extra);
        let revision = self.changes.last().map_or(RevisionId(1), |c| c.id);
        let slack = 0.3 + self.rng.unit();
        Evidence {
            revision,
            now: moment(seconds),
            onset: Onset {
                lo: onset.minus(Duration::from_secs_f64(slack)),
                best: onset,
                hi: onset.plus(Duration::from_secs_f64(slack)),
            },
            before: Some(before),
            epochs: vec![EpochFact {
                epoch: Epoch(4),
                revision,
                algorithm: self.now.algorithm,
                from: onset,
                declared: members.iter().map(|m| m.weight).collect(),
                comes_in: false,
                members,
                picks_free: after.backends.iter().map(|b| b.picks_free).collect(),
            }],
            after,
            changes: self.changes,
            deployments: self.deployments,
            out: self.out,
            clients: ClientSketch::default(),
            drift: self.drift,
            unlisted: self.unlisted,
            left: self.left,
            hot: self.hot,
            pool: self.now,
        }
    }

    fn window(
        &mut self,
        (from, to): (f64, f64),
        rate: f64,
        shares: &[f64],
        faults: &[Fault],
        (unpicked, retries): (f64, f64),
    ) -> Window {
        let mut out = Window {
            from: moment(from),
            to: moment(to),
            backends: vec![BackendWindow::default(); shares.len()],
            unpicked: 0,
            elsewhere: 0,
        };
        let total: f64 = shares.iter().sum();
        let level = vec![1.0; shares.len()];
        let capacities: Vec<Option<f64>> =
            self.now.backends.iter().map(|b| b.capacity_rps).collect();
        let loads: Vec<f64> = shares
            .iter()
            .map(|s| s / total * rate * (1.0 + retries))
            .collect();
        let mut at = from;
        loop {
            at += self.rng.exponential(1.0 / rate);
            if at >= to {
                return out;
            }
            if self.rng.unit() < unpicked {
                out.unpicked += 1;
                continue;
            }
            let mut tries = 1 + u32::from(self.rng.unit() < retries);
            while tries > 0 {
                // What nothing ties is picked by weight, here level.
                let forced = self.forced > 0.0 && self.rng.unit() < self.forced;
                let by = if self.forced > 0.0 && !forced {
                    &level
                } else {
                    shares
                };
                let Some(place) = self.rng.weighted(by) else {
                    break;
                };
                let load = loads[place] / capacities[place].unwrap_or(600.0);
                let window = &mut out.backends[place];
                match (tries > 1, forced) {
                    (true, _) => window.picks_retry += 1,
                    (false, true) => window.picks_forced += 1,
                    (false, false) => window.picks_free += 1,
                }
                self.serve(window, load, faults[place]);
                tries -= 1;
            }
        }
    }

    /// One try at a backend: it queues as its load nears capacity and refuses what is beyond.
    fn serve(&mut self, window: &mut BackendWindow, load: f64, fault: Fault) {
        if fault.hangs {
            window.in_flight += 0.5;
            return;
        }
        let u = self.rng.unit();
        let overflow = (load - 1.0).max(0.0) / load.max(0.01);
        let outcomes = &mut window.outcomes;
        if u < fault.refuses {
            outcomes.connect_failed += 1;
            return;
        } else if u < fault.refuses + fault.timeouts {
            outcomes.timeout += 1;
            return;
        }
        if u < fault.refuses + fault.timeouts + fault.errors + overflow {
            outcomes.server_error += 1;
            window.latency.record(2_000);
            return;
        }
        outcomes.ok += 1;
        let queue = if load >= 1.0 {
            40.0
        } else {
            1.0 + 3.0 * load.powi(4)
        };
        let ms = 3.0 + self.rng.exponential(7.0 * queue * fault.slow_factor);
        window.latency.record((ms * 1_000.0) as u64);
    }
}

pub(crate) fn moment(seconds_from_onset: f64) -> Mono {
    Mono(((ONSET_S as f64 + seconds_from_onset) * 1e9) as u64)
}
