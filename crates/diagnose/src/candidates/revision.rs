//! Configuration revisions: each is judged by the world in which only it was not made.
//!
//! Without it, the weights, the algorithm and the members that it changed are what they were (as long as
//! a later revision did not change them again), backends that its health check threw out are back, and requests that its
//! route brought are gone. The part of the evidence that it explains best names the mechanism.

use std::time::Duration;

use evenkeel_balance::{Member, expected_shares};
use evenkeel_incident::civil::span;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::{Algorithm, Backend, BackendTls, Pool};
use evenkeel_model::ids::{Name, RevisionId};

use super::fault::{flips_nats, flips_of};
use super::spread::{Without, load_credit, loads, loads_scaled, share_credit, shares_words, tell};
use super::storm::{calm_rate, feeding, raises, retries};
use super::{Candidate, LATE_FLOOR, names, percent};
use crate::evidence::{BackendWindow, ChangeFact, EpochFact, OutFact, OutReason, Window};
use crate::facts::Facts;
use crate::index::Index;
use crate::score::{Signal, group_gain};

/// Revisions judged at most, newest first.
const CHANGES_MAX: usize = 8;
/// Age at which the prior of a revision has fallen by ln 2.
const DECAY_S: f64 = 30.0;
/// A check acts at once: its prior falls by one nat in this many seconds, and those that it takes to act, without harm.
const CHECK_ACTS_S: f64 = 15.0;
/// Changed keys spelled out.
const PATHS_MAX: usize = 4;
/// Part of the failures that must be of the class that a lower limit brings.
const CLASS_SHARE: f64 = 0.8;
/// Nats that more retries earn at most: failures of any cause bring retries.
const RETRY_NATS_MAX: f64 = 30.0;
/// The heaviest weight where something shapes the declared ones.
const FINE: f64 = 1e6;

pub(crate) fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let changes = facts.evidence.changes.iter().rev().take(CHANGES_MAX);
    changes.map(|change| judge(facts, change)).collect()
}

fn judge(facts: &Facts<'_>, change: &ChangeFact) -> Candidate {
    let onset = facts.evidence.onset;
    let age = onset.best.since(change.at);
    let prior = -libm::log(1.0 + age.as_secs_f64() / DECAY_S);
    let subject = Subject::Revision(change.id);
    let mut out = Candidate::new(Cause::ConfigRevision, Mechanism::None, subject, prior);
    let name = facts.evidence.pool.name.as_str();
    let (Some(after), before) = (change.after.pool(name), change.before.pool(name)) else {
        out.con.push(format!("{} has no pool {name}", change.id));
        return out;
    };
    let touched = Touched::new(before, after, change);
    out.mechanism = touched.first();
    tell_paths(&mut out, change, name);
    if onset.hi < change.at {
        out.score = f64::NEG_INFINITY;
        let late = span(change.at.since(onset.hi));
        out.con.push(format!(
            "it was made {late} after the latest plausible onset"
        ));
        return out;
    }
    tell_age(&mut out, age);
    if out.mechanism == Mechanism::None {
        out.con.push(format!(
            "it changed nothing of how pool {name} is spread or served"
        ));
        return out;
    }
    let mut parts = vec![
        spread_part(facts, change, before, after, &touched, &mut out),
        health_part(facts, change, &touched, &mut out),
        timeout_part(facts, before, after, &mut out),
        retry_part(facts, before, after, &mut out),
        address_part(facts, before, after, &mut out),
    ];
    if touched.limit_lowered {
        let part = unpicked_part(facts, Mechanism::Limit, "the lower limit", &mut out);
        parts.push(part);
    }
    if touched.tls {
        let failed = facts.class(|o| o.connect_failed);
        let nats = class_part(facts, "failed connections", &failed, &mut out);
        parts.push((Mechanism::Tls, nats));
    }
    if touched.routes {
        let signals = facts.class(|o| o.client_error);
        parts.push((Mechanism::Route, group_gain(&signals, true).max(0.0)));
    }
    let best = parts.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((mechanism, _)) = best.filter(|(_, nats)| *nats > 0.0) {
        out.mechanism = mechanism;
    } else {
        out.con
            .push("what it changed explains nothing of what is seen".to_owned());
    }
    out.score += parts.iter().map(|(_, nats)| nats).sum::<f64>();
    out
}

/// The newest revision not after the onset that lowered the limit on requests in flight to what it is.
pub(crate) fn limit_lowered_by(facts: &Facts<'_>) -> Option<RevisionId> {
    let limit = facts.evidence.pool.max_in_flight;
    set_by(facts, |before, after| {
        after.max_in_flight == limit && lowers_limit(before, after)
    })
}

fn lowers_limit(before: Option<&Pool>, after: &Pool) -> bool {
    let was = |limit: u32| {
        before
            .and_then(|before| before.max_in_flight)
            .is_none_or(|old| limit < old)
    };
    before.is_some() && after.max_in_flight.is_some_and(was)
}

/// The newest revision not after the onset whose pool, before and after it, is as `test` says.
pub(crate) fn set_by(
    facts: &Facts<'_>,
    test: impl Fn(Option<&Pool>, &Pool) -> bool,
) -> Option<RevisionId> {
    let evidence = facts.evidence;
    let name = evidence.pool.name.as_str();
    let is_it = |change: &&ChangeFact| {
        let (before, after) = (change.before.pool(name), change.after.pool(name));
        change.at <= evidence.onset.hi && after.is_some_and(|after| test(before, after))
    };
    let changes = evidence.changes.iter().rev().take(CHANGES_MAX);
    changes.filter(is_it).map(|change| change.id).next()
}

/// Whether a file that `pool` speaks TLS to its backends with is another one by it.
fn renews(change: &ChangeFact, pool: &Pool) -> bool {
    let files = pool.tls.iter().flat_map(BackendTls::files);
    let (before, after) = (&change.before, &change.after);
    let mut files = files.map(|file| (before.seen_file(file), after.seen_file(file)));
    files.any(|(before, after)| before != after)
}

/// What a revision touches in the pool.
#[derive(Debug, Clone, Copy)]
struct Touched {
    algorithm: bool,
    weights: bool,
    members: bool,
    health: bool,
    limit: bool,
    limit_lowered: bool,
    timeouts: bool,
    retry: bool,
    tls: bool,
    routes: bool,
}

impl Touched {
    fn new(before: Option<&Pool>, after: &Pool, change: &ChangeFact) -> Self {
        let routes = change.before.routes != change.after.routes;
        let Some(before) = before else {
            return Self {
                algorithm: false,
                weights: false,
                members: true,
                health: false,
                limit: false,
                limit_lowered: false,
                timeouts: false,
                retry: false,
                tls: false,
                routes,
            };
        };
        let (old, new) = (index_of(before), index_of(after));
        let same = |f: &dyn Fn(&Backend, &Backend) -> bool| {
            after.backends.iter().enumerate().all(|(i, b)| {
                let then = old.place(&b.name, i).and_then(|p| before.backends.get(p));
                then.is_none_or(|then| f(then, b))
            })
        };
        let weight = |a: &Backend, b: &Backend| {
            let bits = |c: Option<f64>| c.map(f64::to_bits);
            a.weight == b.weight && bits(a.capacity_rps) == bits(b.capacity_rps)
        };
        let lacks = |pool: &Pool, index: &Index<'_>| {
            pool.backends
                .iter()
                .enumerate()
                .any(|(i, b)| !index.has(&b.name, i))
        };
        let members =
            lacks(after, &old) || lacks(before, &new) || !same(&|a, b| a.address == b.address);
        Self {
            algorithm: before.algorithm != after.algorithm,
            weights: !same(&weight) || before.intent != after.intent,
            members,
            health: before.health != after.health,
            limit: before.max_in_flight != after.max_in_flight,
            limit_lowered: lowers_limit(Some(before), after),
            timeouts: timeouts(before) != timeouts(after),
            retry: before.retry != after.retry,
            tls: before.tls != after.tls
                || !same(&|a, b| a.tls_name == b.tls_name)
                || renews(change, after),
            routes,
        }
    }

    /// The mechanism by what was touched, as long as nothing else says more.
    const fn first(&self) -> Mechanism {
        if self.algorithm {
            Mechanism::Algorithm
        } else if self.weights {
            Mechanism::Weight
        } else if self.members {
            Mechanism::Membership
        } else if self.health {
            Mechanism::HealthCheck
        } else if self.limit {
            Mechanism::Limit
        } else if self.timeouts {
            Mechanism::Timeout
        } else if self.retry {
            Mechanism::Retry
        } else if self.tls {
            Mechanism::Tls
        } else if self.routes {
            Mechanism::Route
        } else {
            Mechanism::None
        }
    }

    /// Whether the spread of a pool can change by it.
    const fn spread(&self) -> bool {
        self.algorithm || self.weights || self.members
    }
}

const fn timeouts(pool: &Pool) -> [Duration; 4] {
    [
        pool.connect_timeout,
        pool.response_timeout,
        pool.request_timeout,
        pool.idle_timeout,
    ]
}

fn index_of(pool: &Pool) -> Index<'_> {
    Index::new(pool.backends.iter().map(|b| &b.name))
}

/// The members of `epoch` as they would be without `change`, and the algorithm.
fn without(
    change: &ChangeFact,
    pool: &str,
    epoch: &EpochFact,
    restored: &[usize],
) -> (Algorithm, Vec<Member>) {
    let (before, after) = (change.before.pool(pool), change.after.pool(pool));
    let (old, new) = (before.map(index_of), after.map(index_of));
    let weight = |pool: Option<&Pool>, index: &Option<Index<'_>>, name: &Name, hint: usize| {
        let place = index.as_ref()?.place(name, hint)?;
        Some(pool?.backends.get(place)?.weight)
    };
    let mut members = epoch.members.clone();
    let comes_in = epoch.comes_in && epoch.revision == change.id;
    // In declared weights; what shapes them comes after.
    let shape = epoch.shape();
    for (member, declared) in members.iter_mut().zip(&epoch.declared) {
        member.weight = *declared;
    }
    for (i, member) in members.iter_mut().enumerate() {
        let then = weight(before, &old, &member.name, i);
        match (then, weight(after, &new, &member.name, i)) {
            (Some(then), Some(_)) if comes_in => member.weight = then,
            (Some(then), Some(now)) if member.weight == now => member.weight = then,
            (None, Some(_)) => member.eligible = false,
            _ => {}
        }
        if restored.binary_search(&i).is_ok() {
            member.eligible = true;
        }
    }
    let known = Index::new(epoch.members.iter().map(|m| &m.name));
    let backends = before.iter().flat_map(|p| &p.backends).enumerate();
    let gone = backends.filter(|(i, b)| !known.has(&b.name, *i));
    members.extend(gone.map(|(_, b)| Member {
        name: b.name.clone(),
        weight: b.weight,
        eligible: true,
    }));
    if let Some(shape) = shape {
        reshape(&mut members, &shape);
    }
    let algorithm = match (before, after) {
        (Some(b), Some(a)) if a.algorithm == epoch.algorithm => b.algorithm,
        _ => epoch.algorithm,
    };
    (algorithm, members)
}

/// Gives each member the part of its weight that `shape` says; those beyond it have what is usual.
fn reshape(members: &mut [Member], shape: &[f64]) {
    let taking = shape.iter().filter(|part| **part > 0.0);
    let usual = taking.clone().sum::<f64>() / taking.count().max(1) as f64;
    let part = |index: usize| shape.get(index).copied().unwrap_or(usual);
    let weights = members.iter().enumerate();
    let weights = weights.map(|(i, m)| f64::from(m.weight) * part(i));
    let weights: Vec<f64> = weights.collect();
    let most = weights.iter().copied().fold(0.0, f64::max);
    if most > 0.0 {
        for (member, weight) in members.iter_mut().zip(weights) {
            member.weight = (weight / most * FINE).round() as u32;
        }
    }
}

/// Backends that the health check of this revision threw out although what they served was fine; ascending.
fn thrown_out(facts: &Facts<'_>, change: &ChangeFact) -> Vec<usize> {
    let evidence = facts.evidence;
    let index = index_of(&evidence.pool);
    let thrown = |o: &&OutFact| o.reason == OutReason::Health && o.since >= change.at;
    let fine = |i: &usize| {
        let backend = facts.backends.get(*i);
        backend.is_some_and(|b| !b.is_bad() || b.overloaded)
    };
    let out = evidence.out.iter().filter(thrown);
    let mut places: Vec<usize> = out
        .enumerate()
        .filter_map(|(i, o)| index.place(&o.backend, i))
        .filter(fine)
        .collect();
    places.sort_unstable();
    places
}

fn spread_part(
    facts: &Facts<'_>,
    change: &ChangeFact,
    before: Option<&Pool>,
    after: &Pool,
    touched: &Touched,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    let name = facts.evidence.pool.name.as_str();
    let restored = if touched.health {
        thrown_out(facts, change)
    } else {
        Vec::new()
    };
    let mut nats = 0.0;
    if touched.spread() && before.is_some() {
        for (epoch, seen) in facts.epochs.iter().filter(|(e, _)| e.revision >= change.id) {
            let (algorithm, members) = without(change, name, epoch, &[]);
            let shares = expected_shares(algorithm, &members);
            nats += share_credit(facts, (epoch, seen), shares.as_deref(), touched.spread());
        }
    }
    let newest = facts.epochs.iter().rfind(|(e, _)| e.revision >= change.id);
    if nats > 0.0
        && let Some((epoch, seen)) = newest
    {
        let words = shares_words((epoch, seen));
        out.pro.push(format!("it explains the spread: {words}"));
    } else if touched.spread() {
        out.con
            .push("the spread is within tolerance of the intent, or was so before it".to_owned());
    }
    let rate_before = facts.rate_before.unwrap_or(facts.rate);
    let more = touched.routes && facts.rate > 1.1 * rate_before;
    if touched.spread() || !restored.is_empty() || more {
        let world = newest.and_then(|(epoch, _)| {
            let (algorithm, members) = without(change, name, epoch, &restored);
            loads(facts, algorithm, &members, calm_rate(facts))
        });
        let world = if more {
            loads_scaled(facts, facts.picks_rate * rate_before / facts.rate.max(0.01))
        } else {
            world.unwrap_or_else(|| before_world(facts))
        };
        let credit = load_credit(facts, &world);
        tell(facts, &credit, &world, &change.id.to_string(), out);
        nats += credit.nats;
    }
    let mechanism = if touched.algorithm && before.is_some_and(|b| b.algorithm != after.algorithm) {
        Mechanism::Algorithm
    } else if touched.weights {
        Mechanism::Weight
    } else if touched.members {
        Mechanism::Membership
    } else if !restored.is_empty() {
        Mechanism::HealthCheck
    } else {
        Mechanism::Route
    };
    (mechanism, nats)
}

/// The loads before, as the world without a change whose shares have no closed form.
fn before_world(facts: &Facts<'_>) -> Without {
    let grown = facts
        .rate_before
        .map_or(1.0, |before| facts.rate / before.max(0.01));
    let loads = facts
        .backends
        .iter()
        .map(|b| b.load_before.map_or(b.load, |load| load * grown))
        .collect();
    Without { loads }
}

fn health_part(
    facts: &Facts<'_>,
    change: &ChangeFact,
    touched: &Touched,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    if !touched.health {
        return (Mechanism::HealthCheck, 0.0);
    }
    let thrown = thrown_out(facts, change);
    if thrown.is_empty() {
        out.con
            .push("no backend that served well left traffic since it".to_owned());
        return (Mechanism::HealthCheck, 0.0);
    }
    let evidence = facts.evidence;
    let failed = || {
        evidence
            .out
            .iter()
            .filter(|o| o.reason == OutReason::Health)
    };
    let detail = failed().next().map_or("", |o| o.detail.as_str());
    out.pro.push(format!(
        "since it {} failed the check ({detail}) while what they served was fine",
        names(facts, &thrown)
    ));
    let (_, unpicked) = unpicked_part(facts, Mechanism::HealthCheck, "the failing check", out);
    let index = index_of(&evidence.pool);
    let of_thrown = |o: &&OutFact| {
        let place = index.place(&o.backend, 0);
        place.is_some_and(|place| thrown.binary_search(&place).is_ok())
    };
    let flips = failed().filter(of_thrown).map(flips_of).sum();
    // A check acts as soon as it has failed often enough; one that passed for long is not why it fails now.
    let check = evidence.pool.health.as_ref();
    let acts = check.map_or(Duration::ZERO, |h| h.interval * h.fall);
    let age = evidence.onset.best.since(change.at).as_secs_f64();
    let late = (-age / (CHECK_ACTS_S + acts.as_secs_f64())).max(LATE_FLOOR);
    (Mechanism::HealthCheck, flips_nats(flips) + unpicked + late)
}

fn timeout_part(
    facts: &Facts<'_>,
    before: Option<&Pool>,
    after: &Pool,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    let Some(before) = before else {
        return (Mechanism::Timeout, 0.0);
    };
    let lower = |of: &dyn Fn(&Pool) -> Duration| of(after) < of(before);
    let mut nats = 0.0;
    if lower(&|p| p.response_timeout) || lower(&|p| p.request_timeout) || lower(&|p| p.idle_timeout)
    {
        let cut = facts.backends.iter().map(|b| b.cut).fold(0.0, f64::max);
        // As far as what was slower before makes up for them: a timeout that nobody reached before cuts nobody off.
        // How long a response pauses is not counted, so an idle timeout is credited in full.
        let judged = facts.evidence.before.is_some() && !lower(&|p| p.idle_timeout);
        let part = if judged { cut } else { 1.0 };
        if part > 0.0 {
            nats += part * class_part(facts, "timeouts", &facts.class(|o| o.timeout), out);
        } else {
            out.con
                .push("no response before took as long as the shorter timeout".to_owned());
        }
    }
    if lower(&|p| p.connect_timeout) {
        nats += class_part(
            facts,
            "failed connections",
            &facts.class(|o| o.connect_failed),
            out,
        );
    }
    (Mechanism::Timeout, nats)
}

/// Failures of one class, `signals`, that a lower limit brings: credited when they are most of the failures.
fn class_part(facts: &Facts<'_>, what: &str, signals: &[Signal], out: &mut Candidate) -> f64 {
    let sum = |signals: &mut dyn Iterator<Item = Signal>| {
        signals.fold((0.0, 0.0), |sum, s| (sum.0 + s.hits, sum.1 + s.tries))
    };
    let (hits, tries) = sum(&mut signals.iter().copied());
    let (failed, _) = sum(&mut facts.backends.iter().map(|b| b.errors));
    if hits < CLASS_SHARE * failed {
        return 0.0;
    }
    let errors: Vec<Signal> = facts.backends.iter().map(|b| b.errors).collect();
    let nats = group_gain(&errors, false).max(0.0);
    if nats > 0.0 {
        let base = percent(signals.first().map_or(0.0, |s| s.base));
        let rate = percent(hits / tries.max(1.0));
        let all = facts.backends.len();
        out.pro.push(format!(
            "it shortened the time after which {what} are counted: {base} -> {rate} over {all} backends"
        ));
    }
    nats
}

fn retry_part(
    facts: &Facts<'_>,
    before: Option<&Pool>,
    after: &Pool,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    let Some(before) = before.filter(|before| before.retry != after.retry) else {
        return (Mechanism::Retry, 0.0);
    };
    if !raises(&before.retry, &after.retry) {
        return (Mechanism::Retry, no_longer_retried(facts, out));
    }
    let signal = retries(facts);
    let nats = signal.gain_alone().clamp(0.0, RETRY_NATS_MAX);
    if nats > 0.0 {
        out.pro.push(format!(
            "retries per request {} -> {}",
            percent(signal.base),
            percent(signal.rate())
        ));
    }
    (
        Mechanism::Retry,
        nats + feeding(facts, "the retries", out).nats,
    )
}

/// Failures that were tried again before and reach the clients now.
fn no_longer_retried(facts: &Facts<'_>, out: &mut Candidate) -> f64 {
    let evidence = facts.evidence;
    let count = |window: &Window| {
        let sum = |of: fn(&BackendWindow) -> u64| window.backends.iter().map(of).sum::<u64>();
        (
            sum(|b| b.harmed) as f64,
            sum(BackendWindow::first_picks) as f64,
        )
    };
    let Some((old_hits, old_tries)) = evidence.before.as_ref().map(count) else {
        return 0.0;
    };
    let (hits, tries) = count(&evidence.after);
    let signal = Signal {
        hits,
        tries,
        base: (old_hits / old_tries.max(1.0)).clamp(0.005, 0.9),
        explained: 0.0,
    };
    // Somebody failed before as much as now: what is new is that clients see it.
    let is_old = facts.bad.is_empty() && retries(facts).base > signal.rate() / 2.0;
    let nats = if is_old { harmed_now(facts) } else { 0.0 };
    if nats > 0.0 {
        out.pro.push(format!(
            "backends fail no more than before, but it is no longer tried again: harmed {} -> {}",
            percent(signal.base),
            percent(signal.rate())
        ));
    }
    nats
}

/// Nats for the requests that each backend harms now and did not harm before.
fn harmed_now(facts: &Facts<'_>) -> f64 {
    let evidence = facts.evidence;
    let Some(before) = &evidence.before else {
        return 0.0;
    };
    let pairs = evidence.after.backends.iter().zip(&before.backends);
    let signal = |(now, then): (&BackendWindow, &BackendWindow)| Signal {
        hits: now.harmed as f64,
        tries: now.first_picks() as f64,
        base: (then.harmed as f64 / (then.first_picks() as f64).max(1.0)).clamp(0.005, 0.9),
        explained: 0.0,
    };
    let gains = pairs.map(|pair| signal(pair).gain_alone().max(0.0));
    gains.sum()
}

/// Backends that are new or have a new address, and fail.
fn address_part(
    facts: &Facts<'_>,
    before: Option<&Pool>,
    after: &Pool,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    let old = before.map(index_of);
    let new = index_of(after);
    let moved = |i: usize, b: &Backend| {
        let place = old.as_ref().and_then(|index| index.place(&b.name, i));
        let then = before
            .zip(place)
            .and_then(|(pool, p)| Some(&pool.backends.get(p)?.address));
        let now = new
            .place(&b.name, i)
            .and_then(|p| Some(&after.backends.get(p)?.address));
        now.is_some() && then != now
    };
    let backends = facts.evidence.pool.backends.iter().enumerate();
    let moved: Vec<usize> = backends
        .filter(|(i, b)| moved(*i, b))
        .map(|(i, _)| i)
        .collect();
    let signals: Vec<Signal> = moved
        .iter()
        .filter_map(|i| facts.backends.get(*i))
        .map(|b| b.errors)
        .collect();
    let nats = group_gain(&signals, false).max(0.0);
    if nats > 0.0 {
        out.pro.push(format!(
            "{} got a new address with it and fails",
            names(facts, &moved)
        ));
    }
    (Mechanism::Membership, nats)
}

/// Requests that found no backend.
pub(crate) fn unpicked_part(
    facts: &Facts<'_>,
    mechanism: Mechanism,
    by: &str,
    out: &mut Candidate,
) -> (Mechanism, f64) {
    let nats = facts.unpicked.gain_alone().max(0.0);
    if nats > 0.0 {
        let (base, rate) = (percent(facts.unpicked.base), percent(facts.unpicked.rate()));
        out.pro.push(format!(
            "requests without a backend {base} -> {rate}, through {by}"
        ));
    }
    (mechanism, nats)
}

fn tell_paths(out: &mut Candidate, change: &ChangeFact, pool: &str) {
    let own = change.paths.iter().filter(|p| {
        let rest = p.path.strip_prefix("pool.").unwrap_or(&p.path);
        !p.path.starts_with("pool.") || rest.trim_start_matches('"').starts_with(pool)
    });
    for path in own.take(PATHS_MAX) {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        let (old, new) = (word(&path.before), word(&path.after));
        out.pro.push(format!(
            "{} changed {}: {old} -> {new}",
            change.id, path.path
        ));
    }
    if change.automatic_rollback {
        out.con
            .push("it restored what had run well before".to_owned());
    }
}

fn tell_age(out: &mut Candidate, age: Duration) {
    if age < Duration::from_secs(10) {
        out.pro
            .push(format!("swapped in {} before the onset", span(age)));
    } else if age > Duration::from_mins(1) {
        out.con
            .push(format!("swapped in {} before the onset", span(age)));
    }
}
