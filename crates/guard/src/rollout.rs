//! Deployments: the traffic of a pool moves from one version of its backends to another, step by step, on evidence.
//!
//! One per pool, the newest counts. Each transition is journalled before it takes effect, so that a restart resumes the
//! same step (its evidence begins anew); only the way back does not wait for a disk. A step overlays the weights
//! ([`overlay`]); it ends when the comparison of both versions, the time and the number of requests allow, or undoes itself.
//! What ended stays in force until a revision says the same by itself.
//!
//! Limits: [`STEPS_MAX`] steps; where a capacity is not declared the load is not judged.

mod blame;
pub(crate) mod compare;
mod enter;
pub mod overlay;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_incident::lifecycle::GUARD;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{DeploymentId, Name, RevisionId};
use evenkeel_model::record::{ALL_PPM, Entry, EventSource, RolloutRecord, RolloutState};

use crate::action::{Action, Outcome};
use crate::epoch::Shape;
use crate::event::RequestId;
use crate::refuse;
use crate::state::{Gate, Inner};
use crate::watch::PoolWatch;
use compare::{Comparison, Standing};
pub use enter::STEP_LEAST;
use overlay::{loads, overlaid, percent, says_the_same, weights};

/// Steps of a deployment.
pub const STEPS_MAX: usize = 20;
/// Shortest step unless it is said.
pub const STEP_MIN_DEFAULT: Duration = Duration::from_mins(1);
/// Longest `--step-min`.
pub const STEP_MIN_MAX: Duration = Duration::from_hours(24);

/// The way back takes a quarter of all traffic at once, where the old version can carry it ...
const RETURN_PPM: u32 = ALL_PPM / 4;
/// ... else less, in such parts ...
const RETURN_PART_PPM: u32 = ALL_PPM / 20;
/// ... and rests so long.
const RETURN_EVERY: Duration = Duration::from_secs(2);
/// A version without a backend that lives for so long has failed.
const DOWN_FOR: Duration = Duration::from_secs(10);

/// A deployment and what is seen of it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Active {
    record: RolloutRecord,
    comparison: Comparison,
    /// Since when the step, or the share of the way back, is there.
    since: Mono,
    /// Since when no backend of the new version lives.
    down_since: Option<Mono>,
    /// The next step waits for the journal.
    is_pending: bool,
    /// Why the step goes on.
    held: Vec<String>,
}

impl Active {
    fn new(record: RolloutRecord, now: Mono) -> Self {
        Self {
            record,
            comparison: Comparison::begin(),
            since: now,
            down_since: None,
            is_pending: false,
            held: Vec::new(),
        }
    }
}

/// The newest deployment of each pool.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Rollouts {
    by_pool: BTreeMap<Name, Active>,
    /// The journal has not answered about their start.
    coming: Vec<Name>,
}

impl Rollouts {
    /// Those of the journal at a start.
    pub(crate) fn new(records: Vec<RolloutRecord>, now: Mono) -> Self {
        let active = |record: RolloutRecord| (record.pool.clone(), Active::new(record, now));
        Self {
            by_pool: records.into_iter().map(active).collect(),
            coming: Vec::new(),
        }
    }

    /// `pool` with the weights that its deployment gives it while `running` runs; `None`: none is in force.
    pub(crate) fn overlaid(&self, pool: &Pool, running: RevisionId) -> Option<Pool> {
        overlaid(pool, &self.by_pool.get(&pool.name)?.record, running)
    }

    /// Since when the deployment of `pool` has its share, if it is the one with this number.
    pub(crate) fn step_since(&self, pool: &Name, id: DeploymentId) -> Option<Mono> {
        let active = self.by_pool.get(pool)?;
        (active.record.id == id).then_some(active.since)
    }

    /// Whether this deployment is compared with the version before it, which did not find it worse: what both
    /// versions suffer from is not its doing.
    pub(crate) fn is_cleared(&self, pool: &Name, id: DeploymentId) -> bool {
        let mut active = self.by_pool.get(pool).into_iter();
        active.any(|active| {
            let record = &active.record;
            let compared = record.state == RolloutState::Running && record.share_ppm < ALL_PPM;
            record.id == id && compared
        })
    }

    /// The deployments that move traffic.
    pub(crate) fn open(&self) -> impl Iterator<Item = &RolloutRecord> {
        let records = self.by_pool.values().map(|active| &active.record);
        records.filter(|record| record.is_open())
    }

    /// Whether a deployment of this pool was let in and waits for the journal.
    pub(crate) fn is_coming(&self, pool: &Name) -> bool {
        self.coming.contains(pool)
    }

    fn open_in(&self, pool: &Name) -> Option<&RolloutRecord> {
        self.open().find(|record| record.pool == *pool)
    }
}

/// What a second says of a step.
enum Judged {
    /// The new version is worse: how, and in words.
    Worse(Mechanism, String),
    /// More is needed.
    Held(Vec<String>),
    /// On to the next.
    Good,
}

impl Inner {
    /// `pool` as it is balanced while the running revision runs.
    pub(crate) fn effective(&self, pool: &Pool) -> Pool {
        let running = self.running.record.id;
        let shaped = self.rollouts.overlaid(pool, running);
        shaped.unwrap_or_else(|| pool.clone())
    }

    /// Once a tick, after the counts of the second.
    pub(crate) fn check_rollouts(&mut self) {
        let open: Vec<Name> = self.rollouts.open().map(|r| r.pool.clone()).collect();
        for pool in open {
            let state = self.rollouts.by_pool.get(&pool).map(|a| a.record.state);
            match state {
                Some(RolloutState::Running) => self.check_step(&pool),
                Some(RolloutState::Aborting) => self.go_back(&pool),
                _ => {}
            }
        }
    }

    fn check_step(&mut self, pool: &Name) {
        let now = self.now;
        let (Some(active), Some(watch)) =
            (self.rollouts.by_pool.get_mut(pool), self.pools.get(pool))
        else {
            return;
        };
        let RolloutRecord {
            version, stable, ..
        } = &active.record;
        if let Some((cells, latency)) = watch.second() {
            let pair = (version, stable);
            active.comparison.tick(&watch.pool, pair, cells, latency);
        }
        let backends = watch.pool.backends.iter();
        let mut takes = backends.filter(|b| b.version.as_ref() == Some(version) && b.weight > 0);
        let down = takes.all(|b| watch.is_out(&b.name));
        active.down_since = down.then(|| active.down_since.unwrap_or(now));
        let Some(active) = self.rollouts.by_pool.get(pool) else {
            return;
        };
        match self.judge_step(active) {
            Judged::Worse(mechanism, words) => self.abort_by_guard(pool, mechanism, words),
            Judged::Held(held) => {
                if let Some(active) = self.rollouts.by_pool.get_mut(pool) {
                    active.held = held;
                }
            }
            Judged::Good => {
                let record = next(&active.record);
                self.move_on(record, None, (EventSource::Controller, GUARD));
            }
        }
    }

    fn judge_step(&self, active: &Active) -> Judged {
        let record = &active.record;
        let RolloutRecord {
            version, stable, ..
        } = record;
        if let Some(why) = self.hold.reason(self.now) {
            return Judged::Held(vec![why]);
        }
        let words = active.comparison.in_words(version, stable);
        let standing = active.comparison.standing();
        if let Standing::Worse(mechanism) = standing {
            let how = match mechanism {
                Mechanism::Latency => "is slower",
                _ => "fails more",
            };
            return Judged::Worse(mechanism, format!("{version} {how}: {words}"));
        }
        let since = active.down_since.map(|since| self.now.since(since));
        if since.is_some_and(|down| down >= DOWN_FOR) {
            let seconds = DOWN_FOR.as_secs();
            let words = format!("no backend of {version} is up for {seconds} s");
            return Judged::Worse(Mechanism::Errors, words);
        }
        if let Some(mechanism) = self.blamed(record) {
            let words = format!("the diagnosis names {version}: {words}");
            return Judged::Worse(mechanism, words);
        }
        let held = self.lacks_of_step(active, standing);
        if held.is_empty() {
            Judged::Good
        } else {
            Judged::Held(held)
        }
    }

    /// Whether the open incident of the pool surely names this deployment, and how it harms. As long as there is
    /// something to compare with, the comparison speaks.
    fn blamed(&self, record: &RolloutRecord) -> Option<Mechanism> {
        if record.share_ppm < ALL_PPM {
            return None;
        }
        let case = self.desk.open_of(&record.pool)?;
        let diagnosis = case.record.diagnosis.as_ref()?;
        let named =
            matches!(&diagnosis.subject, Some(Subject::Deployment { id, .. }) if *id == record.id);
        let sure = diagnosis.cause == Cause::Deployment && case.opinion.is_sure();
        (named && sure).then_some(diagnosis.mechanism)
    }

    /// What a step lacks, in words; empty: it is over.
    fn lacks_of_step(&self, active: &Active, standing: Standing) -> Vec<String> {
        let record = &active.record;
        let mut lacks = Vec::new();
        if active.is_pending {
            lacks.push("the journal's answer".to_owned());
        }
        if !self.ledger.is_ok() {
            lacks.push("a journal that takes entries".to_owned());
        }
        if let Some(case) = self.desk.open_of(&record.pool) {
            let id = case.record.id;
            lacks.push(format!("the end of incident {id} of the pool"));
        }
        if let Some((revision, doing)) = self.in_flight() {
            lacks.push(format!("{revision} is still {doing}"));
        }
        let step_min = Duration::from_millis(record.step_min_ms);
        let left = step_min.saturating_sub(self.now.since(active.since));
        if !left.is_zero() {
            lacks.push(format!("{} s of the step", left.as_secs_f64().ceil()));
        }
        let Some(watch) = self.pools.get(&record.pool) else {
            return lacks;
        };
        let (ended, needed) = (active.comparison.new.ended, Comparison::needed(&watch.pool));
        if ended < needed {
            let version = &record.version;
            lacks.push(format!("requests of {version}: {ended} of {needed}"));
        }
        if standing == Standing::Doubtful {
            lacks.push("evidence: it may be worse, or not".to_owned());
        }
        if watch.objective_missed() == Some(true) {
            lacks.push("the objective of the pool, which is missed".to_owned());
        }
        let next = next(record);
        if next.state == RolloutState::Running
            && let Err(finding) = self.admits_share(watch, &next)
        {
            lacks.push(finding.message);
        }
        lacks
    }

    /// Journals a transition and lets it take effect on the journal's yes.
    fn move_on(
        &mut self,
        mut record: RolloutRecord,
        request: Option<RequestId>,
        (source, actor): (EventSource, &str),
    ) {
        record.since = self.wall;
        if let Some(active) = self.rollouts.by_pool.get_mut(&record.pool) {
            active.is_pending = true;
        }
        let (kind, what) = match record.state {
            RolloutState::Done => ("deploy.done", "has all the traffic for good".to_owned()),
            _ => ("deploy.step", format!("gets {}", percent(record.share_ppm))),
        };
        let RolloutRecord { id, version, .. } = &record;
        let text = match record.why.as_str() {
            "" => format!("{id}: {version} {what}"),
            why => format!("{id}: {version} {what}: {why}"),
        };
        let line = self.rollout_line(&record, (source, kind, actor), text);
        let entries = vec![Entry::Rollout(Box::new(record.clone())), line];
        let record = Box::new(record);
        let gate = Gate::Rollout { request, record };
        self.ledger.gate(entries, gate, &mut self.out);
    }

    /// A transition is on disk.
    pub(crate) fn rollout_written(&mut self, record: RolloutRecord) -> Outcome {
        self.rollouts.coming.retain(|pool| *pool != record.pool);
        let known = self.rollouts.by_pool.get_mut(&record.pool);
        if let Some(active) = known.filter(|active| active.record.id == record.id) {
            active.is_pending = false;
            // An abort does not wait for the journal, so it may have come first.
            if active.record.state != RolloutState::Running {
                return Outcome::Rollout(Box::new(active.record.clone()));
            }
        }
        self.enter_rollout(record.clone());
        if record.state == RolloutState::Done {
            self.lift_rollouts();
        }
        Outcome::Rollout(Box::new(record))
    }

    /// A transition does not come about.
    pub(crate) fn rollout_not_written(&mut self, pool: &Name) {
        self.rollouts.coming.retain(|coming| coming != pool);
        if let Some(active) = self.rollouts.by_pool.get_mut(pool) {
            active.is_pending = false;
        }
    }

    /// The record counts from now on: the pool is watched by it and the data plane is told.
    fn enter_rollout(&mut self, record: RolloutRecord) {
        let (now, pool) = (self.now, record.pool.clone());
        let deployment = Box::new(record.clone());
        match self.rollouts.by_pool.get_mut(&pool) {
            Some(active) if active.record.id == record.id => {
                active.record = record;
                active.since = now;
                active.held.clear();
                active.comparison.step();
            }
            _ => {
                let active = Active::new(record, now);
                self.rollouts.by_pool.insert(pool.clone(), active);
            }
        }
        self.watch_as_balanced(&pool);
        self.outlook.stale = true;
        self.out.push(Action::Overlay { deployment });
    }

    /// The watch of a pool sees the weights that are in force.
    pub(crate) fn watch_as_balanced(&mut self, name: &Name) {
        let Some(pool) = self.running.config.pool(name.as_str()) else {
            return;
        };
        let (pool, shape) = self.balanced(pool);
        if let Some(watch) = self.pools.get_mut(name) {
            watch.configure(pool, shape);
        }
    }

    /// `pool` of the running text as it is balanced, and what shapes it.
    pub(crate) fn balanced(&self, pool: &Pool) -> (Pool, Shape) {
        let running = self.running.record.id;
        if let Some(shaped) = self.rollouts.overlaid(pool, running) {
            return (shaped, Shape::Deployment);
        }
        let ramp = self.coming_in(running);
        match ramp.and_then(|ramp| Some((ramp.shaped(pool)?, ramp.clone()))) {
            Some((shaped, ramp)) => (shaped, Shape::Ramp(Box::new((ramp, pool.clone())))),
            None => (pool.clone(), Shape::Text),
        }
    }

    fn abort_by_guard(&mut self, pool: &Name, mechanism: Mechanism, words: String) {
        let Some(active) = self.rollouts.by_pool.get(pool) else {
            return;
        };
        let (record, since) = (active.record.clone(), active.since);
        let incident = self.blame_deployment(&record, (mechanism, &words), since);
        let record = RolloutRecord { incident, ..record };
        self.abort(record, words, (EventSource::Controller, GUARD));
    }

    /// Traffic begins to go back at once; the journal is told and not waited for.
    fn abort(&mut self, record: RolloutRecord, why: String, (source, actor): (EventSource, &str)) {
        let record = RolloutRecord {
            state: RolloutState::Aborting,
            since: self.wall,
            why,
            ..record
        };
        let RolloutRecord {
            id,
            pool,
            version,
            stable,
            why,
            ..
        } = &record;
        let text = format!("{id}: {version} is aborted, traffic goes back to {stable}: {why}");
        let line = self.rollout_line(&record, (source, "deploy.aborted", actor), text);
        let pool = pool.clone();
        self.record(vec![Entry::Rollout(Box::new(record.clone())), line]);
        self.enter_rollout(record);
        self.return_traffic(&pool);
    }

    /// Once a tick on the way back.
    fn go_back(&mut self, pool: &Name) {
        let active = self.rollouts.by_pool.get(pool);
        if active.is_some_and(|active| self.now.since(active.since) >= RETURN_EVERY) {
            self.return_traffic(pool);
        }
    }

    /// The next part of the traffic goes back, as much as the old version can carry.
    fn return_traffic(&mut self, pool: &Name) {
        let (Some(active), Some(watch)) = (self.rollouts.by_pool.get(pool), self.pools.get(pool))
        else {
            return;
        };
        let record = &active.record;
        let share_ppm = self.can_return(watch, record);
        let RolloutRecord {
            version, stable, ..
        } = record;
        if share_ppm > 0 && share_ppm == record.share_ppm {
            let held = format!("{stable} cannot carry more now, {version} keeps the rest");
            if let Some(active) = self.rollouts.by_pool.get_mut(pool) {
                active.held = vec![held];
                active.since = self.now;
            }
            return;
        }
        let mut record = RolloutRecord {
            share_ppm,
            ..record.clone()
        };
        let mut entries = Vec::new();
        if share_ppm == 0 {
            record.state = RolloutState::Aborted;
            record.since = self.wall;
            let text = format!("{}: {stable} has all the traffic again", record.id);
            let whose = (EventSource::Controller, "deploy.returned", GUARD);
            entries.push(self.rollout_line(&record, whose, text));
        }
        entries.push(Entry::Rollout(Box::new(record.clone())));
        self.record(entries);
        let is_over = record.state == RolloutState::Aborted;
        self.enter_rollout(record);
        if is_over {
            self.lift_rollouts();
        }
    }

    /// What the new version has after the next part of the way back.
    fn can_return(&self, watch: &PoolWatch, record: &RolloutRecord) -> u32 {
        let declared = self.running.config.pool(record.pool.as_str());
        let Some((declared, now)) =
            declared.zip(declared.and_then(|declared| weights(declared, record, record.share_ppm)))
        else {
            return 0; // one of the versions is gone
        };
        let lives = |name: &Name| self.lives(watch, name);
        let is_old = |name: &Name| {
            let backend = declared.backend(name.as_str());
            backend.is_some_and(|(_, b)| b.version.as_ref() == Some(&record.stable))
        };
        if !declared
            .backends
            .iter()
            .any(|b| is_old(&b.name) && lives(&b.name))
        {
            return record.share_ppm;
        }
        let rps = watch.rate().unwrap_or(0.0);
        let highest = |weights: &[u32]| {
            let loads = loads(declared, weights, rps, lives)?;
            let old = loads.iter().filter(|load| is_old(&load.backend));
            Some(old.map(|load| load.utilisation).fold(0.0, f64::max))
        };
        let limit = 1.0 - declared.headroom.as_f64();
        let limit = highest(&now).map_or(limit, |now| now.max(limit));
        let mut parts = (0..RETURN_PPM / RETURN_PART_PPM).map(|n| n * RETURN_PART_PPM);
        let share = |less: u32| record.share_ppm.saturating_sub(RETURN_PPM - less);
        let fits = |share: u32| {
            let weights = weights(declared, record, share);
            let load = weights.and_then(|weights| highest(&weights));
            load.is_none_or(|load| load <= limit + 1e-9)
        };
        let found = parts.find(|less| fits(share(*less)));
        found.map_or(record.share_ppm, share)
    }

    /// Whether the backend could take traffic if it had to.
    fn lives(&self, watch: &PoolWatch, name: &Name) -> bool {
        !self.drains.holds(&watch.pool.name, name) && watch.could_help(name)
    }

    /// Whether enough backends would take traffic in this state and could carry the peak.
    fn admits_share(&self, watch: &PoolWatch, record: &RolloutRecord) -> Result<(), Box<Finding>> {
        let declared = self.running.config.pool(record.pool.as_str());
        let then = declared.and_then(|pool| weights(pool, record, record.share_ppm));
        let Some((declared, then)) = declared.zip(then) else {
            return Ok(());
        };
        let lives = |name: &Name| self.lives(watch, name);
        let pairs = declared.backends.iter().zip(&then);
        let live = pairs.filter(|(b, weight)| **weight > 0 && lives(&b.name));
        let live = live.count();
        if live < declared.min_healthy.max(1) as usize {
            let (pool, needed) = (record.pool.as_str(), declared.min_healthy);
            return Err(refuse::too_few_live(pool, live, needed));
        }
        if record.forced {
            return Ok(());
        }
        let peak = [declared.peak_rps, watch.rate()].into_iter().flatten();
        let rps = peak.fold(0.0, f64::max);
        let now: Vec<u32> = watch.pool.backends.iter().map(|b| b.weight).collect();
        let highest = |weights: &[u32]| {
            let loads = loads(declared, weights, rps, lives)?.into_iter();
            loads.max_by(|a, b| a.utilisation.total_cmp(&b.utilisation))
        };
        let limit = 1.0 - declared.headroom.as_f64();
        let today = highest(&now).map_or(0.0, |load| load.utilisation);
        match highest(&then) {
            Some(load) if load.utilisation > limit.max(today) + 1e-9 => {
                Err(refuse::step_overloads(record, &load, (rps, limit)))
            }
            _ => Ok(()),
        }
    }

    /// What ended and is said by the running text itself is in force no longer, from this revision on. What moves
    /// traffic between versions of which one is gone has ended.
    pub(crate) fn lift_rollouts(&mut self) {
        let running = self.running.record.id;
        let mut lifted = Vec::new();
        for active in self.rollouts.by_pool.values_mut() {
            let record = &mut active.record;
            let pool = self.running.config.pool(record.pool.as_str());
            let is_gone = pool
                .is_none_or(|pool| pool.members.is_none() && weights(pool, record, 0).is_none());
            if is_gone && record.is_open() {
                record.state = RolloutState::Aborted;
                record.since = self.wall;
                record.why = format!("{running} has no backends of both versions");
            }
            let is_said = pool.is_none_or(|pool| says_the_same(pool, record));
            if is_said && record.lifted_by.is_none() {
                record.lifted_by = Some(running);
                lifted.push(record.clone());
            }
        }
        for record in lifted {
            let RolloutRecord { id, pool, .. } = &record;
            let text = format!("{id}: {running} says the same, so it decides the shares again");
            let whose = (EventSource::Controller, "deploy.lifted", GUARD);
            let line = self.rollout_line(&record, whose, text);
            let pool = pool.clone();
            let deployment = Box::new(record.clone());
            self.record(vec![Entry::Rollout(Box::new(record)), line]);
            self.watch_as_balanced(&pool);
            self.out.push(Action::Overlay { deployment });
        }
    }

    fn rollout_line(
        &self,
        record: &RolloutRecord,
        (source, kind, actor): (EventSource, &str, &str),
        text: String,
    ) -> Entry {
        let mut line = self.event(source, kind, actor, text);
        line.subject = format!("deployment:{}/{}", record.pool, record.version);
        line.incident = self.desk.open_of(&record.pool).map(|case| case.record.id);
        Entry::Event(line)
    }
}

/// The step after the one that `record` is in; after the last one it is done.
fn next(record: &RolloutRecord) -> RolloutRecord {
    let mut next = record.clone();
    next.why = String::new();
    match record.steps.get(record.step + 1) {
        Some(share_ppm) => {
            next.step = record.step + 1;
            next.share_ppm = *share_ppm;
        }
        None => next.state = RolloutState::Done,
    }
    next
}
