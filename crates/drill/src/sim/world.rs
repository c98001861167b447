//! A whole world in memory: engine, guard, journal, and what is due next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::roster::{At, Change};
use evenkeel_forecast::engine::spec::{BackendKey, EngineSpec, Fault, Snapshot};
use evenkeel_forecast::{Engine, Facts};
use evenkeel_guard::{
    Action, Boot, Event, Guard, GuardView, HealthFact, Outcome as Reply, PoolVitals, RequestId,
    Restorable, Settings,
};
use evenkeel_journal::{Append as _, AppendError, MemoryJournal, Read as _};
use evenkeel_model::canonical::content_hash;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Config, Objective};
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_model::record::{Entry, RevisionRecord, RevisionState};
use evenkeel_model::tally::Tally;

use super::behaviour;
use super::members::{Follower, followers};
use super::ward::Ward;
use crate::dial::{Dial, Turn};
use crate::referee::{Counted, Referee, Seen};
use crate::scenario::{Scenario, Traffic, USERS};

/// 2026-01-01T00:00:00Z: when every simulation begins.
const START: Wall = Wall(1_767_225_600_000);
/// Data-plane workers where the configuration names none.
const WORKERS: u16 = 2;
/// Grain of a change of rate.
const RAMP_STEP: Duration = Duration::from_millis(250);
/// Seconds between two attempts to write after the journal failed, as in the control shell.
const PROBE_EVERY: u64 = 2;

/// What happens next by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A health check of this backend begins.
    Probe(BackendKey),
    /// Its answer is there.
    Probed(BackendKey, bool, String),
    /// A stream takes this rate (milli-requests per second).
    Rate(Name, u64),
    /// A stream begins.
    Stream(Name),
    /// A change undoes itself.
    Undo(u64),
    /// The balancer is back.
    Back,
}

/// What undoes itself.
#[derive(Debug, Clone)]
pub(super) enum Undo {
    Fault(u64, Vec<BackendKey>),
    Dependency(Name),
    Network(Vec<BackendKey>),
    Traffic(Name, Turn),
    Journal,
}

pub(super) struct World<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) engine: Engine,
    pub(super) guard: Guard,
    pub(super) journal: MemoryJournal,
    pub(super) ward: Ward,
    /// What the journal says runs, and what the data plane really runs.
    pub(super) config: Arc<Config>,
    pub(super) plane: Arc<Config>,
    pub(super) revision: RevisionId,
    /// Of which revision the data plane says that it runs it.
    pub(super) plane_revision: RevisionId,
    pub(super) workers: u16,
    now: Mono,
    due: BinaryHeap<Reverse<(Mono, u64, Due)>>,
    sequence: u64,
    queue: VecDeque<Event>,
    pub(super) replies: BTreeMap<RequestId, Reply>,
    next_request: u64,
    journal_ok: bool,
    pub(super) is_down: bool,
    /// Effects of versions, and faults that act, by backend.
    pub(super) releases: BTreeMap<BackendKey, Fault>,
    pub(super) faults: Vec<(u64, BackendKey, Fault)>,
    pub(super) undo: BTreeMap<u64, Undo>,
    pub(super) dials: BTreeMap<Name, Dial>,
    /// Pools that find their members.
    pub(super) followers: BTreeMap<Name, Follower>,
    /// Cumulative (ended, failed, slow) by pool, worker and epoch at the last tally.
    seen: BTreeMap<(Name, u16, Epoch), Seen>,
    unpicked: BTreeMap<(Name, u16), u64>,
    this_second: BTreeMap<Name, Seen>,
}

impl<'s> World<'s> {
    pub(super) fn new(scenario: &'s Scenario, seed: u64) -> Result<Self, String> {
        let text: Arc<str> = Arc::from(scenario.config.text.as_deref().unwrap_or(""));
        let parsed = evenkeel_model::parse::parse(&text, None);
        let mut config = parsed.config.ok_or("the configuration is not valid")?;
        let followers = followers(scenario, &mut config)?;
        let config = Arc::new(config);
        let workers = config.workers.map_or(WORKERS, std::num::NonZero::get);
        let revision = RevisionId(1);
        let mut ward = Ward::default();
        let (snapshot, epochs) = ward.snapshot(revision, &config, true, At::default());
        let journal = MemoryJournal::default();
        let record = RevisionRecord {
            id: revision,
            parent: None,
            hash: content_hash(&config),
            text,
            author: "drill".to_owned(),
            reason: "first start".to_owned(),
            state: RevisionState::Verified,
            at: START,
            forced: false,
            confirm_by: None,
            keep_until: None,
            incident: None,
        };
        let mut world = Self {
            engine: engine(scenario, &config, snapshot, workers, seed),
            guard: Guard::new(Settings { drill: true }),
            journal,
            ward,
            plane: Arc::clone(&config),
            config,
            revision,
            plane_revision: revision,
            workers,
            now: Mono::ZERO,
            due: BinaryHeap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            replies: BTreeMap::new(),
            next_request: 1,
            journal_ok: true,
            is_down: false,
            releases: BTreeMap::new(),
            faults: Vec::new(),
            undo: BTreeMap::new(),
            dials: BTreeMap::new(),
            followers,
            seen: BTreeMap::new(),
            unpicked: BTreeMap::new(),
            this_second: BTreeMap::new(),
            scenario,
        };
        for (name, traffic) in scenario.streams() {
            let name = Name::new(name).map_err(|e| format!("stream `{name}`: {e}"))?;
            world.dials.insert(name, Dial::of(traffic));
        }
        world
            .journal
            .append(&[Entry::Revision(record.clone())], START)
            .map_err(|e| e.to_string())?;
        world.schedule_probes();
        let running = Restorable {
            record,
            config: Arc::clone(&world.config),
        };
        world.boot(running, epochs)?;
        Ok(world)
    }

    /// Boots a guard from the journal.
    pub(super) fn boot(
        &mut self,
        running: Restorable,
        epochs: Vec<evenkeel_guard::EpochFact>,
    ) -> Result<(), String> {
        let state = self.journal.state().map_err(|e| e.to_string())?;
        let revisions: Vec<RevisionRecord> = state.revisions.values().cloned().collect();
        let targets = evenkeel_guard::boot::targets(&revisions, running.record.id);
        let targets = targets
            .into_iter()
            .filter_map(|id| restore(state.revisions.get(&id)?));
        let boot = Boot {
            workers: self.workers,
            targets: targets.collect(),
            running,
            revisions,
            next_revision: state.revisions.keys().next_back().map_or(1, |id| id.0 + 1),
            next_incident: state.incidents.keys().next_back().map_or(1, |id| id.0 + 1),
            next_deployment: state
                .deployments
                .keys()
                .next_back()
                .map_or(1, |id| id.0 + 1),
            incidents: state.open_incidents().cloned().collect(),
            quarantine: state.quarantine.iter().map(|(h, i)| (*h, *i)).collect(),
            deployments: state.deployments.values().cloned().collect(),
            rollouts: state.rollouts.values().cloned().collect(),
            drains: state.drains.values().cloned().collect(),
            rollbacks: Vec::new(),
            epochs,
            journal_ok: self.journal_ok,
            last_audit: None,
        };
        self.send(Event::Booted(Box::new(boot)));
        Ok(())
    }

    pub(super) const fn now(&self) -> Mono {
        self.now
    }

    pub(super) fn wall(&self) -> Wall {
        START.plus(Duration::from_nanos(self.now.0))
    }

    /// The end of the second under way.
    pub(super) const fn next_second(&self) -> Mono {
        Mono::from_secs(self.now.0 / 1_000_000_000 + 1)
    }

    pub(super) fn view(&self) -> Option<GuardView> {
        self.guard.view(self.now, self.wall())
    }

    /// Requests so far, as the clients saw them.
    pub(super) fn counted(&self) -> Counted {
        let totals = self.engine.totals();
        Counted {
            requests: totals.ok + totals.client_error + totals.failed + totals.aborted,
            failed: totals.failed,
            harmed: totals.failed + totals.slow,
        }
    }

    pub(super) fn schedule(&mut self, at: Mono, due: Due) {
        self.sequence += 1;
        self.due.push(Reverse((at, self.sequence, due)));
    }

    /// Health checks of every backend of the running configuration, spread over the first interval.
    pub(super) fn schedule_probes(&mut self) {
        let config = Arc::clone(&self.plane);
        for pool in &config.pools {
            let Some(health) = &pool.health else { continue };
            let count = pool.backends.len().max(1) as u32;
            for (index, backend) in pool.backends.iter().enumerate() {
                let key = (pool.name.clone(), backend.name.clone());
                let known = self.due.iter().any(|Reverse((_, _, due))| match due {
                    Due::Probe(k) | Due::Probed(k, ..) => *k == key,
                    _ => false,
                });
                if !known {
                    let at = self.now.plus(health.interval / count * index as u32);
                    self.schedule(at, Due::Probe(key));
                }
            }
        }
    }

    /// Rates and streams that the scenario names by time from the steady state.
    pub(super) fn schedule_traffic(&mut self, zero: Mono) {
        let scenario = self.scenario;
        for (name, traffic) in scenario.streams() {
            let Ok(name) = Name::new(name) else { continue };
            if let Some(start) = traffic.start {
                self.schedule(zero.plus(start.0), Due::Stream(name.clone()));
            }
            let mut from = traffic.rate;
            for change in &traffic.change {
                self.ramp(
                    &name,
                    zero.plus(change.at.0),
                    from,
                    change.rate,
                    change.over.0,
                );
                from = change.rate;
            }
        }
    }

    /// A straight way from one rate to another.
    pub(super) fn ramp(&mut self, stream: &Name, at: Mono, from: f64, to: f64, over: Duration) {
        let steps = (over.as_secs_f64() / RAMP_STEP.as_secs_f64())
            .ceil()
            .clamp(1.0, 1e5) as u32;
        for step in 1..=steps {
            let part = f64::from(step) / f64::from(steps);
            let rate = from + (to - from) * part;
            let at = at.plus(over / steps * (step - u32::from(over.is_zero())));
            self.schedule(at, Due::Rate(stream.clone(), (rate * 1e3) as u64));
        }
    }

    /// Lets time pass until `until`, with everything that is due by itself.
    pub(super) fn advance(&mut self, until: Mono) {
        while let Some(Reverse((at, _, _))) = self.due.peek() {
            if *at > until {
                break;
            }
            let Some(Reverse((at, _, due))) = self.due.pop() else {
                break;
            };
            self.engine.run_until(at);
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.engine.run_until(until);
        self.now = self.now.max(until);
    }

    /// Lets the second end at `end`: tallies, vitals, tick, and the referee looks.
    pub(super) fn end_second(&mut self, end: Mono, referee: &mut Referee<'_>) {
        self.advance(end);
        self.this_second.clear();
        for tally in self.engine.take_tallies() {
            self.count(&tally);
            let plane = Arc::clone(&self.plane);
            self.ward.counted(&plane, &tally);
            self.send(Event::Tally(tally));
        }
        if !self.is_down {
            let vitals = self.engine.vitals().into_iter();
            let vitals = vitals.map(|(pool, backends)| PoolVitals { pool, backends });
            let vitals: Vec<PoolVitals> = vitals.collect();
            let plane = Arc::clone(&self.plane);
            for told in &vitals {
                self.ward.reported(&plane, told, self.at());
            }
            self.send(Event::Vitals(vitals));
            let changes = self.ward.tick(&plane, self.at());
            self.changed(&changes);
            self.look_for_members();
            self.send(Event::Tick);
            self.probe_journal();
        }
        let seen: Vec<(Objective, Seen)> = self
            .plane
            .pools
            .iter()
            .filter_map(|pool| Some((pool.objective, *self.this_second.get(&pool.name)?)))
            .collect();
        if let Some(view) = self.view().filter(|_| !self.is_down) {
            referee.second(self.wall(), &view, &seen, self.counted());
        }
    }

    /// Adds up what a tally says about its last second.
    fn count(&mut self, tally: &Tally) {
        for pool in &tally.pools {
            let sum = self.this_second.entry(pool.pool.clone()).or_default();
            let worker = tally.worker.0;
            let before = self
                .unpicked
                .insert((pool.pool.clone(), worker), pool.unpicked);
            let unpicked = pool.unpicked.saturating_sub(before.unwrap_or(0));
            sum.ended += unpicked;
            sum.failed += unpicked;
            for epoch in &pool.epochs {
                let mut all = Seen::default();
                for backend in &epoch.backends {
                    let outcomes = backend.outcomes;
                    all.ended += outcomes.total() - outcomes.unknown();
                    all.failed += backend.harmed - backend.slow;
                    all.slow += backend.slow;
                }
                let key = (pool.pool.clone(), worker, epoch.epoch);
                let old = self.seen.insert(key, all).unwrap_or_default();
                sum.ended += all.ended.saturating_sub(old.ended);
                sum.failed += all.failed.saturating_sub(old.failed);
                sum.slow += all.slow.saturating_sub(old.slow);
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Probe(key) => self.probe(key),
            Due::Probed(key, ok, detail) => self.probed(&key, ok, detail),
            Due::Rate(stream, milli) => {
                let rate = milli as f64 / 1e3;
                if self.engine.set_rate(&stream, rate).is_ok()
                    && let Some(dial) = self.dials.get_mut(&stream)
                {
                    dial.rate = rate;
                }
            }
            Due::Stream(name) => {
                let traffic = self.traffic(&name);
                if let Some(stream) =
                    traffic.and_then(|t| behaviour::stream(&name, t, &self.config))
                {
                    self.engine.add_stream(stream);
                }
            }
            Due::Undo(id) => {
                if let Some(undo) = self.undo.remove(&id) {
                    self.undo_now(undo);
                }
            }
            Due::Back => self.back(),
        }
    }

    pub(super) fn traffic(&self, name: &Name) -> Option<&'s Traffic> {
        if *name == *USERS {
            Some(&self.scenario.traffic)
        } else {
            self.scenario.stream.get(name.as_str())
        }
    }

    fn probe(&mut self, key: BackendKey) {
        let plane = Arc::clone(&self.plane);
        let health = plane
            .pool(key.0.as_str())
            .filter(|pool| pool.backend(key.1.as_str()).is_some())
            .and_then(|pool| pool.health.as_ref());
        let Some(health) = health else {
            return; // no longer configured: its checks end
        };
        if !self.is_down
            && let Ok(Some(probe)) = self.engine.probe(&key.0, &key.1)
        {
            let at = self.now.plus(probe.took);
            self.schedule(at, Due::Probed(key.clone(), probe.ok, probe.detail));
        }
        let interval = if self.ward.is_checked_down(&key) {
            health.interval_down
        } else {
            health.interval
        };
        self.schedule(self.now.plus(interval), Due::Probe(key));
    }

    fn probed(&mut self, key: &BackendKey, ok: bool, detail: String) {
        if self.is_down {
            return;
        }
        let probe = evenkeel_forecast::engine::spec::Probe {
            ok,
            took: Duration::ZERO,
            detail,
        };
        let plane = Arc::clone(&self.plane);
        let change = self.ward.observe(&plane, key, &probe, self.at());
        self.changed(change.as_slice());
    }

    /// Tells the guard what changed of the backends, then the data plane.
    fn changed(&mut self, changes: &[Change]) {
        for change in changes {
            if let Some(fact) = HealthFact::of(change) {
                self.send(Event::Health(fact));
            }
        }
        if Change::shows(changes) {
            self.refresh(false);
        }
    }

    /// Now, on both clocks.
    pub(super) fn at(&self) -> At {
        At {
            mono: self.now,
            wall: self.wall(),
        }
    }

    /// Hands changed runtime facts to the data plane; the guard knows the epoch first.
    pub(super) fn refresh(&mut self, is_revision: bool) {
        let plane = Arc::clone(&self.plane);
        let (snapshot, epochs) =
            self.ward
                .snapshot(self.plane_revision, &plane, is_revision, self.at());
        for epoch in epochs {
            self.send(Event::EpochStarted(epoch));
        }
        self.engine.swap(&snapshot);
    }

    /// Gives the guard an event and carries out what it says, until nothing is left.
    pub(super) fn send(&mut self, event: Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            for action in self.guard.step(event, self.now, self.wall()) {
                self.obey(action);
            }
        }
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Commit { token, entries } => {
                let result = self.journal.append(&entries, self.wall());
                self.journal_says(result.as_ref().err());
                let result = result.map_err(|error| error.to_string());
                self.queue.push_back(Event::Committed { token, result });
            }
            Action::Swap {
                revision, config, ..
            } => {
                for pool in &config.pools {
                    for index in 0..pool.backends.len() {
                        self.introduce(pool, index);
                    }
                }
                let (snapshot, epochs) = self.ward.snapshot(revision, &config, true, self.at());
                self.engine.swap(&snapshot);
                self.plane = Arc::clone(&config);
                self.config = config;
                self.revision = revision;
                self.plane_revision = revision;
                self.schedule_probes();
                self.queue.push_back(Event::Swapped { revision, epochs });
            }
            Action::Drain {
                pool,
                backend,
                until,
                reason,
            } => {
                self.ward.drain((&pool, &backend), until, &reason);
                self.refresh(false);
            }
            Action::Undrain { pool, backend } => {
                let plane = Arc::clone(&self.plane);
                self.ward.undrain(&plane, (&pool, &backend), self.at());
                self.refresh(false);
            }
            Action::Overlay { deployment } => {
                self.ward.follow(*deployment);
                self.refresh(false);
            }
            Action::Ramp { ramp } => {
                if self.ward.come_in(ramp.map(|ramp| *ramp), self.revision) {
                    self.refresh(false);
                }
            }
            Action::RequestForecast {
                token,
                config,
                pools,
            } => {
                let pools = evenkeel_control::forecast_load(&config, &pools);
                self.queue.push_back(Event::ForecastReady { token, pools });
            }
            Action::RequestAudit { token, text, .. } => {
                let (facts, now) = (Facts::default(), self.wall());
                let judged = evenkeel_control::judge::judge(&text, None, None, &facts, now);
                let findings = judged.findings;
                self.queue.push_back(Event::Audited { token, findings });
            }
            Action::Notify { .. } => {}
            Action::Reply { request, outcome } => {
                self.replies.insert(request, *outcome);
            }
        }
    }

    /// Tells the engine how a backend behaves that it has not seen yet.
    pub(super) fn introduce(&mut self, pool: &evenkeel_model::config::Pool, index: usize) {
        let Some(backend) = pool.backends.get(index) else {
            return;
        };
        let known = self
            .plane
            .pool(pool.name.as_str())
            .is_some_and(|p| p.backend(backend.name.as_str()).is_some());
        if !known && let Some(model) = behaviour::model(self.scenario, pool, index) {
            self.engine
                .set_model(&(pool.name.clone(), backend.name.clone()), model);
        }
    }

    fn journal_says(&mut self, error: Option<&AppendError>) {
        let ok = error.is_none();
        if ok != self.journal_ok {
            self.journal_ok = ok;
            let detail = error.map(ToString::to_string).unwrap_or_default();
            self.queue.push_back(Event::Journal { ok, detail });
        }
    }

    /// While the journal fails, tries now and then whether it takes entries again.
    fn probe_journal(&mut self) {
        let second = self.now.0 / 1_000_000_000;
        if self.journal_ok || !second.is_multiple_of(PROBE_EVERY) {
            return;
        }
        let result = self.journal.append(&[], self.wall());
        self.journal_says(result.as_ref().err());
        if let Some(event) = self.queue.pop_front() {
            self.send(event);
        }
    }
}

/// A revision that can be put in place.
pub(super) fn restore(record: &RevisionRecord) -> Option<Restorable> {
    let config = evenkeel_model::parse::parse(&record.text, None).config?;
    Some(Restorable {
        record: record.clone(),
        config: Arc::new(config),
    })
}

fn engine(
    scenario: &Scenario,
    config: &Config,
    snapshot: Snapshot,
    workers: u16,
    seed: u64,
) -> Engine {
    let mut models = BTreeMap::new();
    for pool in &config.pools {
        for (index, backend) in pool.backends.iter().enumerate() {
            if let Some(model) = behaviour::model(scenario, pool, index) {
                models.insert((pool.name.clone(), backend.name.clone()), model);
            }
        }
    }
    let streams = scenario
        .streams()
        .filter(|(_, traffic)| traffic.start.is_none());
    let streams = streams
        .filter_map(|(name, traffic)| behaviour::stream(&Name::new(name).ok()?, traffic, config));
    Engine::new(EngineSpec {
        snapshot,
        workers,
        seed,
        streams: streams.collect(),
        models,
        default_model: evenkeel_forecast::engine::spec::BackendModel::with_capacity(
            behaviour::CAPACITY_DEFAULT,
        ),
    })
}
