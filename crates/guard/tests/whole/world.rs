//! A whole small world for the guard: the event engine as its data plane, a journal in memory, a shell in thirty
//! lines. Virtual time, seeded, so a failing seed replays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::health::{HealthState, Transition};
use evenkeel_forecast::Engine;
use evenkeel_forecast::engine::spec::{
    BackendModel, EngineSpec, Fault, PoolSnapshot, Snapshot, Stream,
};
use evenkeel_guard::recording::Recorder;
use evenkeel_guard::rollout::overlay::Overlays;
use evenkeel_guard::{
    Action, Boot, DeploymentReport, EpochFact, Event, Guard, GuardView, HealthFact, MemberFact,
    Outcome, PoolVitals, Proposal, RequestId, Restorable, RollbackCommand, Settings,
};
use evenkeel_incident::Notice;
use evenkeel_model::canonical::content_hash;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Config;
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_model::parse::parse;
use evenkeel_model::record::{
    ContentHash, Entry, IncidentRecord, LastAudit, RevisionRecord, RevisionState, Told,
};
use evenkeel_model::tally::Tally;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Wall = Wall(1_767_225_600_000);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Three backends of 600 rps; `weights` and further keys of the pool as given.
pub(crate) fn shop(weights: [u32; 3], algorithm: &str, more: &str) -> Config {
    let backends: String = weights
        .iter()
        .enumerate()
        .map(|(i, weight)| {
            format!(
                "[pool.shop.backend.web-{n}]\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\ncapacity_rps = 600\nversion = \"v1\"\n",
                n = i + 1,
                port = 8081 + i,
            )
        })
        .collect();
    let text = format!(
        "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n\
         [notify.ops]\nurl = \"http://127.0.0.1:9/hook\"\nsecret_file = \"s\"\n\
         [[escalation]]\nname = \"on-call\"\nnotify = [\"ops\"]\nack_within = \"5m\"\n\
         [[escalation]]\nname = \"engineering\"\nnotify = [\"ops\"]\nack_within = \"5m\"\n\
         [pool.shop]\nalgorithm = \"{algorithm}\"\nintent = \"capacity\"\npeak_rps = 900\nmin_healthy = 2\n\
         objective = {{ error_rate = \"1%\", p99 = \"500ms\" }}\n{more}\n{backends}"
    );
    let parsed = parse(&text, None);
    parsed
        .config
        .unwrap_or_else(|| panic!("{:?}", parsed.findings))
}

pub(crate) fn record(id: u64, config: &Config, state: RevisionState) -> RevisionRecord {
    RevisionRecord {
        id: RevisionId(id),
        parent: None,
        hash: content_hash(config),
        text: Arc::from("text"),
        author: "test".to_owned(),
        reason: "test".to_owned(),
        state,
        at: START,
        forced: false,
        confirm_by: None,
        keep_until: None,
        incident: None,
    }
}

/// What a guard starts with after `running` and nothing else.
pub(crate) fn boot_of(running: Restorable) -> Boot {
    Boot {
        workers: 1,
        revisions: vec![running.record.clone()],
        running,
        targets: Vec::new(),
        next_revision: 2,
        next_incident: 1,
        next_deployment: 1,
        incidents: Vec::new(),
        quarantine: Vec::new(),
        deployments: Vec::new(),
        rollouts: Vec::new(),
        drains: Vec::new(),
        rollbacks: Vec::new(),
        epochs: Vec::new(),
        journal_ok: true,
        last_audit: None,
    }
}

pub(crate) struct World {
    pub(crate) guard: Guard,
    pub(crate) recorder: Recorder,
    pub(crate) engine: Engine,
    pub(crate) second: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) revision: RevisionId,
    pub(crate) journal: Vec<Entry>,
    pub(crate) journal_ok: bool,
    pub(crate) notices: Vec<Notice>,
    pub(crate) replies: BTreeMap<u64, Outcome>,
    pub(crate) swaps: Vec<RevisionId>,
    pub(crate) silent_workers: Vec<u16>,
    /// What becomes of a tally on its way to the guard.
    pub(crate) bend: Option<fn(&mut Tally)>,
    /// Brings tallies, in the second given: lost, late, twice.
    pub(crate) courier: Box<dyn FnMut(Tally, u64) -> Vec<Tally>>,
    /// Length of the journal after each commit.
    pub(crate) commits: Vec<usize>,
    /// What ran first.
    pub(crate) first: Arc<Config>,
    /// Every configuration that was handed in, by its hash.
    pub(crate) configs: BTreeMap<ContentHash, Arc<Config>>,
    pub(crate) out: Vec<String>,
    drained: Vec<Name>,
    pub(crate) overlays: Overlays,
    /// What an audit finds.
    pub(crate) findings: Vec<Finding>,
    /// Whether the shell checks health.
    pub(crate) checks: bool,
    health: BTreeMap<(Name, Name), HealthState>,
    epoch: u64,
    next_request: u64,
    /// By how much the wall clock is wrong.
    stepped_ms: i64,
    queue: VecDeque<Event>,
}

impl World {
    pub(crate) fn new(seed: u64, rps: f64, config: Config) -> Self {
        let users = Stream::to_pool(name("users"), name("shop"), rps);
        Self::with_streams(seed, vec![users], config)
    }

    pub(crate) fn with_streams(seed: u64, streams: Vec<Stream>, config: Config) -> Self {
        Self::after(seed, streams, config, None)
    }

    /// A world that was audited before it started.
    pub(crate) fn after(
        seed: u64,
        streams: Vec<Stream>,
        config: Config,
        last_audit: Option<LastAudit>,
    ) -> Self {
        let config = Arc::new(config);
        let snapshot = Snapshot::all_up(Arc::clone(&config), Epoch(1));
        let engine = Engine::new(EngineSpec {
            snapshot,
            workers: 2,
            seed,
            streams,
            models: BTreeMap::new(),
            default_model: BackendModel::with_capacity(600.0),
        });
        let mut world = Self {
            guard: Guard::new(Settings::default()),
            recorder: Recorder::default(),
            engine,
            second: 0,
            revision: RevisionId(1),
            journal: Vec::new(),
            journal_ok: true,
            notices: Vec::new(),
            replies: BTreeMap::new(),
            swaps: Vec::new(),
            silent_workers: Vec::new(),
            bend: None,
            courier: Box::new(|tally, _| vec![tally]),
            commits: Vec::new(),
            first: Arc::clone(&config),
            configs: BTreeMap::from([(content_hash(&config), Arc::clone(&config))]),
            out: Vec::new(),
            drained: Vec::new(),
            overlays: Overlays::default(),
            findings: Vec::new(),
            checks: false,
            health: BTreeMap::new(),
            epoch: 1,
            next_request: 1,
            stepped_ms: 0,
            queue: VecDeque::new(),
            config,
        };
        let running = Restorable {
            record: record(1, &world.config, RevisionState::Verified),
            config: Arc::clone(&world.config),
        };
        let boot = Boot {
            workers: 2,
            epochs: world.facts(),
            last_audit,
            ..boot_of(running)
        };
        world.send(Event::Booted(Box::new(boot)));
        world
    }

    pub(crate) fn now(&self) -> Mono {
        Mono::from_secs(self.second)
    }

    pub(crate) fn wall(&self) -> Wall {
        let true_wall = START.plus(Duration::from_secs(self.second));
        Wall(true_wall.0.saturating_add_signed(self.stepped_ms))
    }

    /// Somebody sets the wall clock.
    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        self.stepped_ms += by_ms;
        self.send(Event::ClockStep { by_ms });
    }

    fn facts(&self) -> Vec<EpochFact> {
        let out = &self.out;
        let member = |backend: &evenkeel_model::config::Backend| {
            let is_drained = self.drained.contains(&backend.name);
            let is_out = is_drained || out.iter().any(|o| backend.name == o.as_str());
            MemberFact {
                name: backend.name.clone(),
                weight: backend.weight,
                eligible: !is_out,
                drained: is_drained,
                why: match (is_drained, is_out) {
                    (true, _) => "drained until 12:00:00 UTC: new disk",
                    (false, true) => "health: down",
                    (false, false) => "",
                }
                .to_owned(),
            }
        };
        let shaped = self.overlays.overlaid(&self.config, self.revision);
        let reasons = self.overlays.reasons(&self.config, self.revision);
        let fact = |pool: &evenkeel_model::config::Pool| {
            let reason = reasons.get(&pool.name);
            let mut fact = EpochFact {
                pool: pool.name.clone(),
                epoch: Epoch(self.epoch),
                revision: self.revision,
                members: pool.backends.iter().map(member).collect(),
                is_passing: false,
            };
            for member in fact.members.iter_mut().filter(|m| m.is_in()) {
                member.why = reason.cloned().unwrap_or_default();
            }
            fact
        };
        shaped.pools.iter().map(fact).collect()
    }

    /// Hands the running configuration and eligibility to the engine under a new epoch.
    fn reload(&mut self) -> Vec<EpochFact> {
        self.epoch += 1;
        let mut out = self.out.clone();
        out.extend(self.drained.iter().map(ToString::to_string));
        let config = self.overlays.overlaid(&self.config, self.revision);
        let pools = config.pools.iter().map(|pool| PoolSnapshot {
            epoch: Epoch(self.epoch),
            members: evenkeel_balance::effective_members(pool, |i| {
                !out.iter().any(|o| pool.backends[i].name == o.as_str())
            })
            .0,
        });
        let pools = pools.collect();
        let snapshot = Snapshot { config, pools };
        self.engine.swap(&snapshot);
        self.facts()
    }

    /// Takes backends out of rotation (and puts all others back).
    pub(crate) fn take_out(&mut self, out: &[&str]) {
        self.out = out.iter().map(|o| (*o).to_owned()).collect();
        for fact in self.reload() {
            self.send(Event::EpochStarted(fact));
        }
    }

    /// The running epochs are told again, with `why` for those that are out.
    pub(crate) fn retell(&mut self, why: &str) {
        for mut fact in self.facts() {
            let out = fact.members.iter_mut().filter(|m| !m.eligible);
            out.for_each(|member| why.clone_into(&mut member.why));
            self.send(Event::EpochStarted(fact));
        }
    }

    /// What runs is changed past the guard.
    pub(crate) fn edit_past_the_guard(&mut self, config: Config) {
        let kept = std::mem::replace(&mut self.config, Arc::new(config));
        for fact in self.reload() {
            self.send(Event::EpochStarted(fact));
        }
        self.config = kept;
    }

    /// Gives the guard an event and carries out what it says, until nothing is left.
    pub(crate) fn send(&mut self, event: Event) {
        self.send_all([event]);
    }

    /// The same for several at once: the second comes before the first has its answer from the journal.
    pub(crate) fn send_all<const N: usize>(&mut self, events: [Event; N]) {
        self.queue.extend(events);
        while let Some(event) = self.queue.pop_front() {
            let (now, wall) = (self.now(), self.wall());
            for action in self.recorder.step(&mut self.guard, event, now, wall) {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Commit { token, entries } => {
                let result = if self.journal_ok {
                    self.journal.extend(entries);
                    self.commits.push(self.journal.len());
                    Ok(())
                } else {
                    Err("disk full".to_owned())
                };
                self.queue.push_back(Event::Committed { token, result });
            }
            Action::Swap {
                revision, config, ..
            } => {
                self.config = config;
                self.revision = revision;
                self.swaps.push(revision);
                let epochs = self.reload();
                self.queue.push_back(Event::Swapped { revision, epochs });
            }
            Action::Drain { backend, .. } => {
                self.drained.push(backend);
                self.begin_epochs();
            }
            Action::Undrain { backend, .. } => {
                self.drained.retain(|name| *name != backend);
                self.begin_epochs();
            }
            Action::Overlay { deployment } => {
                self.overlays.follow(*deployment);
                self.begin_epochs();
            }
            Action::Ramp { ramp } => {
                let ramp = ramp.map(|ramp| *ramp);
                if self.overlays.come_in(ramp, self.revision) {
                    self.begin_epochs();
                }
            }
            Action::RequestForecast { .. } => {}
            Action::RequestAudit { token, .. } => {
                let findings = self.findings.clone();
                self.queue.push_back(Event::Audited { token, findings });
            }
            Action::Notify { notice, .. } => self.notices.push(*notice),
            Action::Reply { request, outcome } => {
                self.replies.insert(request.0, *outcome);
            }
        }
    }

    fn begin_epochs(&mut self) {
        for fact in self.reload() {
            self.queue.push_back(Event::EpochStarted(fact));
        }
    }

    /// Lets `seconds` pass.
    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            let now = self.now();
            self.engine.run_until(now);
            for mut tally in self.engine.take_tallies() {
                if let Some(bend) = self.bend {
                    bend(&mut tally);
                }
                if !self.silent_workers.contains(&tally.worker.0) {
                    for tally in (self.courier)(tally, self.second) {
                        self.send(Event::Tally(tally));
                    }
                }
            }
            let vitals = self.engine.vitals().into_iter();
            let vitals = vitals.map(|(pool, backends)| PoolVitals { pool, backends });
            let vitals = vitals.collect();
            self.send(Event::Vitals(vitals));
            if self.checks {
                self.check_health();
            }
            self.send(Event::Tick);
        }
    }

    fn check_health(&mut self) {
        let config = Arc::clone(&self.config);
        let mut flipped = false;
        for pool in &config.pools {
            let Some(check) = &pool.health else { continue };
            for backend in &pool.backends {
                let probe = self.engine.probe(&pool.name, &backend.name).unwrap();
                let probe = probe.expect("a pool with a check");
                let key = (pool.name.clone(), backend.name.clone());
                let state = self.health.entry(key).or_default();
                if let Some(flip) = state.observe(probe.ok, check.rise, check.fall) {
                    flipped = true;
                    self.send(Event::Health(HealthFact {
                        by_check: true,
                        pool: pool.name.clone(),
                        backend: backend.name.clone(),
                        up: flip == Transition::Up,
                        detail: probe.detail,
                    }));
                }
            }
            let down = pool.backends.iter().filter(|b| {
                let state = self.health.get(&(pool.name.clone(), b.name.clone()));
                state.is_some_and(|s| !s.is_up())
            });
            let down: Vec<String> = down.map(|b| b.name.to_string()).collect();
            if flipped {
                // Nobody healthy: everybody takes traffic.
                self.out = if down.len() == pool.backends.len() {
                    Vec::new()
                } else {
                    down
                };
            }
        }
        if flipped {
            for fact in self.reload() {
                self.send(Event::EpochStarted(fact));
            }
        }
    }

    /// Runs until `done` or `limit` seconds have passed; the seconds it took.
    pub(crate) fn run_until(&mut self, limit: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let start = self.second;
        while self.second - start < limit {
            self.run(1);
            if done(self) {
                return Some(self.second - start);
            }
        }
        None
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn proposal(&mut self, config: Config) -> Proposal {
        let config = Arc::new(config);
        let hash = content_hash(&config);
        self.configs.insert(hash, Arc::clone(&config));
        let request = self.request();
        Proposal {
            request,
            ..self.plain_proposal(&config)
        }
    }

    /// A proposal that nobody asked for yet.
    pub(crate) fn plain_proposal(&self, config: &Arc<Config>) -> Proposal {
        Proposal {
            request: RequestId(0),
            hash: content_hash(config),
            config: Arc::clone(config),
            text: Arc::from("text"),
            findings: Vec::new(),
            blocking: Vec::new(),
            judged_against: self.revision,
            base: None,
            author: "ann".to_owned(),
            reason: "tuning".to_owned(),
            force: true,
            confirm_within: None,
            keep: None,
        }
    }

    /// A revision of the journal, to go back to.
    pub(crate) fn restorable(&self, id: RevisionId) -> Restorable {
        let of_id = |entry: &&Entry| matches!(entry, Entry::Revision(r) if r.id == id);
        let record = match self.journal.iter().find(of_id) {
            Some(Entry::Revision(record)) => record.clone(),
            _ => record(id.0, &self.first, RevisionState::Verified),
        };
        let config = Arc::clone(&self.configs[&record.hash]);
        Restorable { record, config }
    }

    /// A person confirms what runs.
    pub(crate) fn confirm(&mut self) {
        let request = self.request();
        self.send(Event::Confirm {
            request,
            revision: None,
            author: "ann".to_owned(),
        });
    }

    /// `apply --force --reason`.
    pub(crate) fn apply(&mut self, config: Config) -> Outcome {
        let proposal = self.proposal(config);
        self.propose(proposal)
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Outcome {
        let request = proposal.request;
        self.send(Event::Propose(Box::new(proposal)));
        self.replies.get(&request.0).cloned().expect("an answer")
    }

    pub(crate) fn rollback(&mut self, to: Option<Restorable>) -> Outcome {
        let request = self.request();
        let command = RollbackCommand {
            request,
            to,
            author: "ann".to_owned(),
            reason: "test".to_owned(),
            force: false,
        };
        self.send(Event::Rollback(Box::new(command)));
        self.replies.get(&request.0).cloned().expect("an answer")
    }

    pub(crate) fn deploy(&mut self, version: &str) {
        self.deploy_to(version, &[]);
    }

    /// `version` on these backends, on all when empty.
    pub(crate) fn deploy_to(&mut self, version: &str, backends: &[&str]) {
        let report = DeploymentReport {
            request: self.request(),
            pool: name("shop"),
            version: name(version),
            backends: backends.iter().map(|b| name(b)).collect(),
            at: None,
            told: Told::Finished,
            author: "ci".to_owned(),
            note: "release".to_owned(),
            message: None,
        };
        self.send(Event::DeploymentSeen(Box::new(report)));
    }

    pub(crate) fn fault(&mut self, backend: &str, fault: Fault) {
        self.engine
            .set_fault(&(name("shop"), name(backend)), fault)
            .unwrap();
    }

    /// The default backend, changed.
    pub(crate) fn model(change: impl Fn(&mut BackendModel)) -> BackendModel {
        let mut model = BackendModel::with_capacity(600.0);
        change(&mut model);
        model
    }

    /// Every backend of the shop behaves like `model`.
    pub(crate) fn set_models(&mut self, model: &BackendModel) {
        for backend in &self.config.pools[0].backends {
            let key = (name("shop"), backend.name.clone());
            self.engine.set_model(&key, model.clone());
        }
    }

    pub(crate) fn view(&self) -> GuardView {
        self.guard.view(self.now(), self.wall()).expect("booted")
    }

    pub(crate) fn incidents(&self) -> Vec<IncidentRecord> {
        self.view().incidents
    }

    pub(crate) fn state_of(&self, id: u64) -> RevisionState {
        let revisions = self.view().revisions;
        let found = revisions.iter().find(|r| r.id == RevisionId(id));
        found.expect("known revision").state
    }
}
