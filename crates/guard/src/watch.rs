//! One pool under watch: its counts, its epoch, its tests and the verdict on each backend.
//!
//! Two nulls. Fidelity: free picks follow the shares that the running configuration implies. Intent: they follow
//! the declared intent over the eligible backends, within the tolerance. A weight typo passes the first and
//! fails the second. Where load decides (`least_request`), load over capacity is tested instead. Harm is
//! tested against the declared objective. All tests of a pool divide one false-alarm budget of ten years, and
//! all start afresh at each epoch, so that an old quiet past does not dilute a new fault.
//!
//! Limits: verdicts need 30 picks in the epoch; a backend at its in-flight limit is passed over for a good reason,
//! so a pool with one at its limit is explained, not judged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::roster::{follows_reports, waits};
use evenkeel_balance::{KeyTable, Member, expected_shares};
use evenkeel_detect::arl::Arl;
use evenkeel_detect::harm::{self, HarmEvidence, HarmTest};
use evenkeel_detect::load::{self, LoadCount, LoadEvidence, LoadTest};
use evenkeel_detect::share::{self, ShareEvidence, ShareTest};
use evenkeel_diagnose::Drift;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Pool, Retry};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::tally::{Latency, Vitals};

use crate::clients::ClientRule;
use crate::counts::{Cell, Counts, Row};
use crate::epoch::{EpochInfo, Shape};
use crate::event::{EpochFact, HealthFact, MemberFact};
use crate::hot::{Hot, Keys};
use crate::members::Discovery;
use crate::ramp::Ramp;
use crate::spread::{PART_WORKERS, PART_ZONES, Spread};
use crate::view::Verdict;

/// Epochs of a pool kept for dating and diagnosis.
const EPOCHS_REMEMBERED: usize = 16;
/// Flips of a backend's health that are remembered.
const FLIPS_KEPT: usize = 32;
/// Parts of the pool's false-alarm budget.
const PART_FIDELITY: f64 = 0.2;
const PART_INTENT: f64 = 0.4;
const PART_LOAD: f64 = 0.6;
const PART_HARM: f64 = 0.2;
/// A pool is judged by its shares or by its load, never by both.
const _: () = {
    let always = PART_HARM + PART_ZONES + PART_WORKERS;
    assert!(PART_FIDELITY + PART_INTENT + always <= 1.0 + f64::EPSILON);
    assert!(PART_LOAD + always <= 1.0 + f64::EPSILON);
};
/// Tolerance of the fidelity test: the data path is exact, the rest is noise of a changing rate.
pub(crate) const FIDELITY_TOLERANCE: f64 = 0.1;
/// Share of requests that may be slower than `objective.p99`.
pub(crate) const SLOW_OBJECTIVE: f64 = 0.01;
/// Picks or requests below which nothing is said.
pub(crate) const ENOUGH: u64 = 30;
/// Seconds of the view's window.
pub(crate) const WINDOW: usize = 10;
/// Part of `max_in_flight` from which a backend counts as being at its limit between two samples.
const AT_LIMIT: f64 = 0.8;

/// What is known of a backend's health.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Health {
    /// Takes traffic.
    pub(crate) up: bool,
    /// Its check found it up at some time.
    pub(crate) was_up: bool,
    /// What the check said.
    pub(crate) detail: String,
    /// Since when.
    pub(crate) since: Mono,
    /// Moments at which it went down, newest last.
    pub(crate) downs: VecDeque<Mono>,
    /// Those of them at which its check took it out, and what the check said then.
    pub(crate) thrown: VecDeque<Mono>,
    pub(crate) said: String,
}

/// The tests of one epoch.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Tests {
    fidelity: Option<ShareTest>,
    intent: Option<ShareTest>,
    load: Option<LoadTest>,
    errors: Option<HarmTest>,
    slow: Option<HarmTest>,
}

/// What the tests said last.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Said {
    pub(crate) fidelity: Option<ShareEvidence>,
    pub(crate) intent: Option<ShareEvidence>,
    pub(crate) load: Option<Vec<LoadEvidence>>,
    pub(crate) errors: Option<HarmEvidence>,
    pub(crate) slow: Option<HarmEvidence>,
}

/// One pool.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct PoolWatch {
    pub(crate) pool: Pool,
    pub(crate) counts: Counts,
    pub(crate) epochs: VecDeque<EpochInfo>,
    pub(crate) vitals: Vec<Vitals>,
    /// What is known of its members beside who they are.
    pub(crate) discovery: Discovery,
    pub(crate) health: BTreeMap<Name, Health>,
    pub(crate) intended: Vec<f64>,
    /// The shares that free picks should have.
    pub(crate) expected: Option<Vec<f64>>,
    /// Under a hash: the part of the key space that belongs to each backend. Its picks are forced by keys, which clients
    /// choose: they are shown and never judged.
    pub(crate) key_parts: Option<Vec<f64>>,
    /// Whose key is whose, under a hash.
    key_table: Option<Arc<KeyTable>>,
    pub(crate) keys: Keys,
    pub(crate) said: Said,
    pub(crate) verdicts: Vec<Verdict>,
    /// The share tests are suspended for the running epoch: some backend is in slow start or the like.
    pub(crate) overlay: bool,
    /// Whether the harm tests may speak.
    pub(crate) client_rule: ClientRule,
    /// Those that hold as many requests as they may; looked at once a second.
    limited: Vec<usize>,
    /// The hot key and the place of its backend; looked at once a second.
    hot: Option<(Hot, usize)>,
    /// Some check changes its mind again and again; looked at once a second.
    pub(crate) flapping: bool,
    /// Every check fails although the backends serve well, and since when; looked at once a second.
    pub(crate) blind: Option<Mono>,
    /// How what runs differs from the journal, and since when.
    pub(crate) drift: Option<(Drift, Mono)>,
    /// The tests by worker and by zone.
    pub(crate) spread: Spread,
    tests: Option<Tests>,
    shape: Shape,
}

impl PoolWatch {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool,
            counts: Counts::new(),
            epochs: VecDeque::new(),
            vitals: Vec::new(),
            discovery: Discovery::default(),
            health: BTreeMap::new(),
            intended: Vec::new(),
            expected: None,
            key_parts: None,
            key_table: None,
            keys: Keys::default(),
            said: Said::default(),
            verdicts: Vec::new(),
            overlay: false,
            client_rule: ClientRule::default(),
            limited: Vec::new(),
            hot: None,
            flapping: false,
            blind: None,
            drift: None,
            spread: Spread::default(),
            tests: None,
            shape: Shape::Text,
        }
    }

    /// The shares that status shows as expected.
    pub(crate) fn shown_shares(&self) -> Option<&Vec<f64>> {
        self.key_parts.as_ref().or(self.expected.as_ref())
    }

    /// The hot key of the pool, and the place of the backend that has it; a retry and a bound pass it on.
    pub(crate) const fn hot_key(&self) -> Option<(Hot, usize)> {
        self.hot
    }

    /// What a limit does to the share of the backend at `index`.
    pub(crate) fn limit_reason(&self, index: usize) -> Option<String> {
        let limit = |index: usize| {
            let found = self.vitals.get(index).and_then(|vitals| vitals.limit);
            self.pool.max_in_flight.or(found)
        };
        if self.limited.binary_search(&index).is_ok() {
            let (limit, vitals) = (limit(index)?, self.vitals.get(index));
            let held = vitals.map_or(0, |vitals| vitals.in_flight);
            let where_to = match self.pool.backends.len() {
                1 => "what comes beyond waits or is refused",
                _ => "others take what comes beyond",
            };
            // It is looked at once a second, and a limit is reached in between.
            let place = if held < limit { "close to" } else { "at" };
            return Some(format!(
                "{place} its limit, {held} of {limit} requests in flight: {where_to}"
            ));
        }
        let first = *self.limited.first()?;
        let (limit, first) = (limit(first)?, self.pool.backends.get(first)?);
        let more = match self.limited.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        Some(format!(
            "takes what {}{more} cannot, at the limit of {limit}",
            first.name
        ))
    }

    /// The key that has been hot since `from`, and the place of its backend.
    pub(crate) fn hot_key_since(&self, from: Mono) -> Option<(Hot, usize)> {
        let table = self.key_table.as_ref()?;
        let parts = self.key_parts.iter().flatten();
        let taking = parts.filter(|part| **part > 0.0).count();
        let hot = self.keys.hot(taking, from)?;
        Some((hot, table.owner(hot.key)?))
    }

    /// The picks that a verdict stands on: free ones, or all where keys decide.
    pub(crate) fn judged_picks(&self) -> u64 {
        if self.key_parts.is_some() {
            self.counts.picks()
        } else {
            self.counts.totals().iter().sum()
        }
    }

    /// The running epoch.
    pub(crate) fn epoch(&self) -> Option<&EpochInfo> {
        self.epochs.back()
    }

    /// The configuration of the pool changed; its next epoch follows.
    pub(crate) fn configure(&mut self, pool: Pool, shape: Shape) {
        self.pool = pool;
        self.shape = shape;
    }

    /// How the running revision comes in.
    pub(crate) fn ramp(&self) -> Option<&Ramp> {
        match &self.shape {
            Shape::Ramp(ramp) => Some(&ramp.0),
            Shape::Text | Shape::Deployment => None,
        }
    }

    fn intended_shares(&self, is_in: impl Fn(usize) -> bool) -> Vec<f64> {
        match &self.shape {
            Shape::Ramp(coming) => coming.0.intended(&coming.1, is_in),
            Shape::Text | Shape::Deployment => self.pool.intended_shares(is_in),
        }
    }

    /// A new epoch, or the running one with other reasons. `kept`: a person keeps this revision against the tests, so its
    /// own shares are the intent.
    pub(crate) fn begin(&mut self, fact: EpochFact, kept: bool, now: Mono) {
        if self.retell(&fact) {
            return;
        }
        let stale = self.epoch().is_some_and(|e| e.fact.epoch >= fact.epoch);
        if stale || fact.members.len() != self.pool.backends.len() {
            return;
        }
        let goes_on = self.epoch().is_some_and(|e| is_step(&e.fact, &fact));
        let harm = self.tests.as_ref().filter(|_| goes_on);
        let harm = harm.map(|tests| (tests.errors.clone(), tests.slow.clone()));
        let (said, rule) = (self.said.clone(), self.client_rule.clone());
        self.counts.begin(fact.epoch, fact.members.len());
        self.vitals.resize(fact.members.len(), Vitals::default());
        self.epochs.push_back(EpochInfo {
            fact,
            from: now,
            algorithm: self.pool.algorithm,
            members: Vec::new(),
            declared: Vec::new(),
            comes_in: self.ramp().is_some(),
            shares: (Vec::new(), None),
        });
        if self.epochs.len() > EPOCHS_REMEMBERED {
            self.epochs.pop_front();
        }
        self.retest(kept, now);
        if let (Some((errors, slow)), Some(tests)) = (harm, &mut self.tests) {
            (tests.errors, tests.slow) = (errors, slow);
            (self.said.errors, self.said.slow) = (said.errors, said.slow);
            self.client_rule = rule;
        }
    }

    /// Takes over what is new in words, where the traffic of the running epoch stays as it is: whatever was counted still
    /// stands.
    fn retell(&mut self, fact: &EpochFact) -> bool {
        let running = self.epochs.back_mut();
        let key = |fact: &EpochFact| (fact.epoch, fact.members.len());
        let Some(info) = running.filter(|info| key(&info.fact) == key(fact)) else {
            return false;
        };
        info.fact.clone_from(fact);
        info.declared = self.pool.backends.iter().map(|b| b.weight).collect();
        true
    }

    /// Starts all tests afresh for the running epoch.
    pub(crate) fn retest(&mut self, kept: bool, now: Mono) {
        let Some(info) = self.epochs.back() else {
            return;
        };
        let fact = &info.fact;
        let is_in = |i: usize| fact.members.get(i).is_some_and(MemberFact::is_in);
        // What the configuration says decides, not what the data plane says it does, or an edit that bypasses
        // the guard would explain itself. Slow start and the like are told with a reason and followed.
        let members: Vec<Member> = self
            .pool
            .backends
            .iter()
            .zip(&fact.members)
            .map(|(backend, told)| Member {
                name: backend.name.clone(),
                weight: if told.why.is_empty() {
                    backend.weight
                } else {
                    told.weight
                },
                eligible: told.eligible,
            })
            .collect();
        // The share of a drained one is known, nothing; the others are judged over what is left.
        self.overlay = fact.members.iter().any(|m| m.is_in() && !m.why.is_empty());
        self.expected = expected_shares(self.pool.algorithm, &members);
        let hash = self.pool.affinity.hash.as_ref();
        self.key_table = hash
            .and_then(|_| KeyTable::of_pool(&self.pool, &members))
            .map(Arc::new);
        self.key_parts = self.key_table.as_ref().map(|table| table.parts());
        // Reports shape weights for ever, so they must not explain a wrong one away: what is intended is shaped alike.
        let by_reports = fact.members.iter().any(|m| follows_reports(&m.why));
        let overlay = kept || (self.overlay && !by_reports);
        self.intended = match (&self.expected, overlay) {
            (Some(expected), true) => expected.clone(),
            _ if by_reports => shaped(&self.pool, self.intended_shares(is_in), &members),
            _ => self.intended_shares(is_in),
        };
        let at_first = |told: &MemberFact| {
            if told.why.is_empty() {
                Verdict::Unknown
            } else {
                Verdict::Explained
            }
        };
        self.verdicts = fact.members.iter().map(at_first).collect();
        self.said = Said::default();
        self.client_rule = ClientRule::default();
        self.tests = Some(self.tests_of(&members, now));
        let (expected, intended) = (self.expected.as_deref(), &self.intended);
        self.spread = Spread::new(&self.pool, expected, intended, &self.spread, now);
        if let Some(info) = self.epochs.back_mut() {
            info.members = members;
            info.shares = (self.intended.clone(), self.expected.clone());
            info.declared = self.pool.backends.iter().map(|b| b.weight).collect();
        }
    }

    fn tests_of(&self, members: &[Member], now: Mono) -> Tests {
        let budget = |part: f64| budget(&self.pool, part);
        let tolerance = self.pool.tolerance.as_f64();
        let share = |theta: &[f64], tolerance: f64, part: f64| {
            ShareTest::new(theta, tolerance, budget(part), now).ok()
        };
        let by_load = self.expected.is_none();
        // Where a slow start or a level shapes the weights, a backend is meant to hold that much less or more.
        let pairs = self.pool.backends.iter().zip(members);
        let taking = pairs.filter(|(_, member)| member.effective_weight() > 0);
        let (declared, told) = taking.fold((0.0, 0.0), |(declared, told), (backend, member)| {
            (
                declared + f64::from(backend.weight),
                told + f64::from(member.weight),
            )
        });
        let shape = |weight: u32, member: &Member| {
            f64::from(member.weight) / told * declared / f64::from(weight.max(1))
        };
        let capacity: Vec<f64> = self
            .pool
            .backends
            .iter()
            .zip(members)
            .map(|(backend, member)| match backend.capacity_rps {
                _ if member.effective_weight() == 0 => 0.0,
                Some(capacity) if self.shape != Shape::Deployment => {
                    capacity * shape(backend.weight, member)
                }
                _ => f64::from(member.weight),
            })
            .collect();
        Tests {
            fidelity: self
                .expected
                .as_ref()
                .and_then(|theta| share(theta, FIDELITY_TOLERANCE, PART_FIDELITY)),
            intent: (!by_load)
                .then(|| share(&self.intended, tolerance, PART_INTENT))
                .flatten(),
            load: by_load
                .then(|| LoadTest::new(&capacity, budget(PART_LOAD)).ok())
                .flatten(),
            errors: HarmTest::new(
                self.pool.objective.error_rate.as_f64(),
                budget(PART_HARM / 2.0),
                now,
            )
            .ok(),
            slow: HarmTest::new(SLOW_OBJECTIVE, budget(PART_HARM / 2.0), now).ok(),
        }
    }

    /// A backend's health flipped.
    pub(crate) fn health(&mut self, fact: &HealthFact, now: Mono) {
        let entry = self
            .health
            .entry(fact.backend.clone())
            .or_insert_with(|| Health {
                up: true,
                was_up: false,
                detail: String::new(),
                since: now,
                downs: VecDeque::new(),
                thrown: VecDeque::new(),
                said: String::new(),
            });
        if entry.up && !fact.up {
            keep(&mut entry.downs, now);
            if fact.by_check {
                keep(&mut entry.thrown, now);
                entry.said.clone_from(&fact.detail);
            }
        }
        entry.up = fact.up;
        entry.was_up |= fact.up;
        entry.since = now;
        entry.detail.clone_from(&fact.detail);
    }

    /// Closes the second and runs the tests on it.
    pub(crate) fn tick(&mut self, now: Mono, wall: Wall) {
        self.counts
            .tick(now, wall, self.vitals.iter().map(|v| v.in_flight));
        let single = self.harm_of_single_clients();
        self.counts.set_apart(single);
        let near = |limit: u32| ((f64::from(limit) * AT_LIMIT) as u32).max(1);
        let declared = self.pool.max_in_flight;
        let is_limited = |vitals: &Vitals| {
            let limit = declared.or(vitals.limit);
            limit.is_some_and(|limit| vitals.in_flight >= near(limit))
        };
        let vitals = self.vitals.iter().enumerate();
        let limited = vitals.filter(|(_, vitals)| is_limited(vitals));
        self.limited = limited.map(|(index, _)| index).collect();
        self.hot = self.hot_key_since(Mono::ZERO);
        self.look_at_flaps(now);
        self.look_at_checks(now);
        let (by_worker, stale) = self.counts.take_by_worker();
        // Who waited in the queue is counted under the epoch in which it came.
        let waits = self.pool.queue.map_or(Duration::ZERO, |q| q.timeout);
        if self.epoch().is_some_and(|e| now >= e.from.plus(waits)) {
            self.spread.tick_stale(&stale);
        }
        let (Some(row), Some(tests)) = (self.counts.last(), &mut self.tests) else {
            return;
        };
        let free: Vec<u64> = row.cells.iter().map(|c| u64::from(c.free)).collect();
        // A limit makes the picker pass backends over; such a second says nothing about shares.
        if self.limited.is_empty() {
            if let Some(test) = &mut tests.fidelity {
                self.said.fidelity = Some(test.tick(&free, now));
            }
            if let Some(test) = &mut tests.intent {
                self.said.intent = Some(test.tick(&free, now));
            }
            self.spread.tick(&free, &by_worker, now);
        }
        if let Some(test) = &mut tests.load {
            let counts: Vec<LoadCount> = row.cells.iter().map(load_count).collect();
            self.said.load = Some(test.tick(&counts));
        }
        let mut sum = (u64::from(row.unpicked), u64::from(row.unpicked), 0);
        for cell in &row.cells {
            sum.0 += cell.ended();
            sum.1 += u64::from(cell.harmed.saturating_sub(cell.slow));
            sum.2 += u64::from(cell.slow);
        }
        let (failed, slow) = (
            sum.1.saturating_sub(u64::from(single.0)),
            sum.2.saturating_sub(u64::from(single.1)),
        );
        let ended = sum.0.saturating_sub(row.spared()).max(failed + slow);
        if let Some(test) = &mut tests.errors {
            self.said.errors = Some(test.tick(failed, ended, now));
        }
        if let Some(test) = &mut tests.slow {
            self.said.slow = Some(test.tick(slow, ended, now));
        }
        self.client_rule = self.client_rule(self.harm_since(), now);
        self.judge();
    }

    /// The earliest onset of the harm tests above their thresholds.
    fn harm_since(&self) -> Option<Mono> {
        let tests = [&self.said.errors, &self.said.slow].into_iter().flatten();
        let raised = tests.filter(|e| e.alarm);
        raised
            .map(|e| e.onset.map_or(Mono::ZERO, |onset| onset.lo))
            .min()
    }

    fn judge(&mut self) {
        let picks: u64 = self.counts.totals().iter().sum();
        let verdicts = (0..self.verdicts.len()).map(|index| self.verdict(index, picks));
        self.verdicts = verdicts.collect();
    }

    fn verdict(&self, index: usize, picks: u64) -> Verdict {
        let member = self.epoch().and_then(|e| e.fact.members.get(index));
        let Some(member) = member.filter(|m| m.is_in()) else {
            return Verdict::Explained;
        };
        let of = |said: &Option<ShareEvidence>| {
            let evidence = said.as_ref()?;
            evidence.alarm.then_some(())?;
            match evidence.backends.get(index)?.verdict {
                share::Verdict::Over => Some(Verdict::Over),
                share::Verdict::Under => Some(Verdict::Under),
                share::Verdict::Ok | share::Verdict::Unknown => None,
            }
        };
        let pool = of(&self.said.intent).or_else(|| of(&self.said.fidelity));
        let part = || self.spread.verdict(index).map(|(verdict, _)| verdict);
        if let Some(verdict) = pool.or_else(part) {
            return verdict;
        }
        if let Some(evidence) = self.said.load.as_ref().and_then(|l| l.get(index)) {
            return match evidence.verdict {
                load::Verdict::Ok => Verdict::Ok,
                load::Verdict::Over | load::Verdict::Sinkhole => Verdict::Over,
                load::Verdict::Under => Verdict::Under,
                load::Verdict::Explained => Verdict::Explained,
                // Little in flight at all is no load to level: picks are enough to say that nothing is wrong.
                load::Verdict::Unknown if picks >= ENOUGH => Verdict::Explained,
                load::Verdict::Unknown => Verdict::Unknown,
            };
        }
        let by_keys = self.key_parts.is_some() && self.counts.picks() >= ENOUGH;
        if !member.why.is_empty() || !self.limited.is_empty() || by_keys {
            Verdict::Explained
        } else if picks < ENOUGH {
            Verdict::Unknown
        } else {
            Verdict::Ok
        }
    }

    /// (ended, failed, slow) over the newest `seconds`, older epochs included: what users saw.
    pub(crate) fn seen(&self, seconds: usize) -> (u64, u64, u64) {
        self.sum(seconds, Row::harm)
    }

    fn sum(&self, seconds: usize, of: impl Fn(&Row) -> (u64, u64, u64)) -> (u64, u64, u64) {
        let rows = self.counts.rows().iter().rev().take(seconds);
        rows.map(of).fold((0, 0, 0), |sum, row| {
            (sum.0 + row.0, sum.1 + row.1, sum.2 + row.2)
        })
    }

    /// Whether the objective is missed over the last ten seconds, beyond chance and by the harm of many; `None`:
    /// too little traffic.
    pub(crate) fn objective_missed(&self) -> Option<bool> {
        self.misses(self.sum(WINDOW, Row::harm_of_many))
    }

    /// The same by whoever is harmed: what the numbers beside it show.
    pub(crate) fn objective_missed_by_any(&self) -> Option<bool> {
        self.misses(self.seen(WINDOW))
    }

    fn misses(&self, (ended, failed, slow): (u64, u64, u64)) -> Option<bool> {
        let errors = self.pool.objective.error_rate.as_f64();
        (ended >= ENOUGH)
            .then(|| exceeds(failed, ended, errors) || exceeds(slow, ended, SLOW_OBJECTIVE))
    }

    /// Whether the second closed last was fine: requests, none or few of them harmed, every verdict ok or explained, no
    /// check that flaps, nothing beside the journal, no list of members that is not renewed.
    pub(crate) fn fine(&self) -> bool {
        let (ended, failed, slow) = self.sum(1, Row::harm_of_many);
        let errors = self.pool.objective.error_rate.as_f64();
        ended > 0
            && !self.flapping
            && self.blind.is_none()
            && self.drift.is_none()
            && self.unlisted().is_none()
            && !exceeds(failed, ended, errors)
            && !exceeds(slow, ended, SLOW_OBJECTIVE)
            && self.verdicts.iter().all(|verdict| verdict.is_fine())
            && self.spread.workers(&self.pool).is_none()
    }

    /// Starts the harm tests afresh: harm stopped, and the evidence of its time must not linger.
    pub(crate) fn retest_harm(&mut self, now: Mono) {
        let budget = budget(&self.pool, PART_HARM / 2.0);
        let errors = self.pool.objective.error_rate.as_f64();
        if let Some(tests) = &mut self.tests {
            tests.errors = HarmTest::new(errors, budget, now).ok();
            tests.slow = HarmTest::new(SLOW_OBJECTIVE, budget, now).ok();
            self.said.errors = None;
            self.said.slow = None;
            self.client_rule = ClientRule::default();
        }
    }

    /// Requests harmed in the seconds that ended after `since`.
    pub(crate) fn harmed_since(&self, since: Mono) -> u64 {
        let rows = self.counts.rows().iter().rev().take_while(|r| r.at > since);
        rows.map(|row| {
            let (_, failed, slow) = row.harm();
            failed + slow
        })
        .sum()
    }

    /// What the second closed last counted under the running epoch, by backend; `None`: it holds another one.
    pub(crate) fn second(&self) -> Option<(&[Cell], &[Latency])> {
        let row = self.counts.last()?;
        let is_new = self.epoch().is_some_and(|e| e.fact.epoch == row.epoch);
        is_new.then_some((row.cells.as_slice(), self.counts.last_latency()?))
    }

    /// Whether a harm test is above its threshold, by the harm of many.
    pub(crate) fn harm_alarmed(&self) -> bool {
        let harm = |said: &Option<HarmEvidence>| {
            said.as_ref()
                .is_some_and(|e| e.verdict == harm::Verdict::Harm)
        };
        self.client_rule.open && (harm(&self.said.errors) || harm(&self.said.slow))
    }

    /// Picks per second of each backend over the newest `seconds` of the epoch; `None` before two of them.
    pub(crate) fn rates(&self, seconds: usize) -> Option<Vec<f64>> {
        let (cells, count) = self.counts.window(seconds);
        (count >= 2).then(|| {
            let per_second = |c: &Cell| c.picks() as f64 / count as f64;
            cells.iter().map(per_second).collect()
        })
    }

    /// Picks per second over the newest seconds, whatever epoch they were counted in; `None` before two of them.
    pub(crate) fn rate(&self) -> Option<f64> {
        let rows = || self.counts.rows().iter().rev().take(WINDOW);
        let picks: u64 = rows().flat_map(|row| &row.cells).map(Cell::picks).sum();
        let count = rows().count();
        (count >= 2).then(|| picks as f64 / count as f64)
    }

    /// Tries per second that the present requests would bring if `retry` bounded their repeats; as [`Self::rates`].
    pub(crate) fn tries_under(&self, retry: &Retry, seconds: usize) -> Option<f64> {
        let (cells, count) = self.counts.window(seconds);
        let again: u64 = cells.iter().map(|c| u64::from(c.retry)).sum();
        let first = cells.iter().map(Cell::picks).sum::<u64>() - again;
        let allowed = match retry.attempts {
            0 => 0.0,
            _ => retry.budget.as_f64() * first as f64,
        };
        (count >= 2).then(|| (first as f64 + allowed.min(again as f64)) / count as f64)
    }

    /// The backend furthest above its planned limit: index and utilisation.
    pub(crate) fn overloaded(&self) -> Option<(usize, f64)> {
        let (cells, seconds) = self.counts.window(WINDOW);
        let cells = cells.iter().enumerate();
        cells
            .filter_map(|(index, cell)| Some((index, self.above_plan(index, cell, seconds)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The utilisation of the backend at `index`, which had `cell` in so many seconds, where that is above its planned
    /// limit (capacity less headroom) beyond chance.
    pub(crate) fn above_plan(&self, index: usize, cell: &Cell, seconds: usize) -> Option<f64> {
        let capacity = self.pool.backends.get(index)?.capacity_rps?;
        let picks = cell.picks() as f64;
        let least = (picks - 2.0 * picks.sqrt()).max(0.0) / seconds as f64;
        let planned = capacity * (1.0 - self.pool.headroom.as_f64());
        (seconds >= 2 && least > planned).then(|| picks / seconds as f64 / capacity)
    }

    /// Whether backend `name` is known to be unable to take traffic.
    pub(crate) fn is_out(&self, name: &Name) -> bool {
        let members = self.epoch().map(|e| &e.fact.members);
        members
            .and_then(|m| m.iter().find(|m| m.name == *name))
            .is_some_and(|m| !m.is_in())
    }

    /// Whether backend `name` could take traffic if it had to: one that only waits for a level before its own could.
    pub(crate) fn could_help(&self, name: &Name) -> bool {
        let members = self.epoch().map(|e| &e.fact.members);
        let member = members.and_then(|m| m.iter().find(|m| m.name == *name));
        member.is_none_or(|m| m.is_in() || waits(&m.why))
    }

    /// The revision whose picks are counted.
    pub(crate) fn revision(&self) -> Option<RevisionId> {
        self.epoch().map(|e| e.fact.revision)
    }
}

/// Remembers one more flip.
fn keep(moments: &mut VecDeque<Mono>, now: Mono) {
    moments.push_back(now);
    if moments.len() > FLIPS_KEPT {
        moments.pop_front();
    }
}

/// A part of the false-alarm budget of `pool`, in seconds.
pub(crate) fn budget(pool: &Pool, part: f64) -> Arl {
    let all = Arl::new(pool.false_alarm_every.as_secs_f64());
    all.and_then(|all| all.part(part)).unwrap_or(Arl::TEN_YEARS)
}

/// Shares that are intended, each times what its backend has of its declared weight.
fn shaped(pool: &Pool, intended: Vec<f64>, members: &[Member]) -> Vec<f64> {
    let facts = pool.backends.iter().zip(members).zip(intended);
    let shares = facts.map(|((backend, member), intended)| {
        intended * f64::from(member.effective_weight()) / f64::from(backend.weight.max(1))
    });
    let shares: Vec<f64> = shares.collect();
    let total: f64 = shares.iter().sum();
    if total <= 0.0 {
        return shares;
    }
    shares.iter().map(|share| share / total).collect()
}

/// Whether `new` only takes `old` a step further: the same backends of the same revision take traffic with other weights.
/// Harm has nothing to do with that, and evidence of it that began anew each second would never suffice.
fn is_step(old: &EpochFact, new: &EpochFact) -> bool {
    let pairs = || old.members.iter().zip(&new.members);
    let by_reports = |fact: &EpochFact| fact.members.iter().any(|m| follows_reports(&m.why));
    old.revision == new.revision
        && (old.is_passing || by_reports(old) || by_reports(new))
        && old.members.len() == new.members.len()
        && pairs().all(|(a, b)| a.name == b.name && a.is_in() == b.is_in())
        && pairs().any(|(a, b)| a.weight != b.weight)
}

/// Whether `hits` of `of` exceed `rate` beyond what chance explains (about 1 % one-sided).
pub(crate) fn exceeds(hits: u64, of: u64, rate: f64) -> bool {
    let mean = rate * of as f64;
    hits as f64 > mean + 2.33 * mean.sqrt() + 0.5
}

fn load_count(cell: &Cell) -> LoadCount {
    LoadCount {
        in_flight: cell.in_flight,
        picks: cell.picks(),
        failed: cell.failed(),
        ended: cell.ended(),
    }
}
