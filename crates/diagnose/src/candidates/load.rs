//! Too much for too few: traffic above capacity, backends that are out, retries that feed on failures, a limit.
//!
//! Judged by counterfactual like the revisions: who would be overloaded if the traffic were what it was, if
//! those that are out were in, if nothing were retried?

use evenkeel_balance::Member;
use evenkeel_incident::civil::span;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::Intent;

use super::revision::{limit_lowered_by, unpicked_part};
use super::spread::{Without, load_credit, loads, loads_scaled, tell};
use super::{Candidate, SPONTANEOUS, load_words, names, percent};
use crate::evidence::{BackendWindow, OutFact, OutReason, Window};
use crate::facts::{BackendFacts, Facts, OVERLOAD};
use crate::index::Index;
use crate::score::Signal;

/// Growth of the traffic that stands for a shortfall where no capacity is declared.
const SURGE: f64 = 1.5;
/// Prior of a shortfall without declared capacity.
const UNDECLARED: f64 = -2.0;
/// Prior of a retry storm: retries follow failures of any cause.
const STORM: f64 = -4.0;
/// Retries per request from which on they are a storm, and their growth.
const STORM_RATIO: f64 = 0.2;
/// A cause that lasts (a drain) loses ln 2 of its prior in this time.
const LASTING_DECAY_S: f64 = 60.0;

pub(crate) fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut out = Vec::new();
    out.extend(shortfall(facts));
    for reason in [OutReason::Health, OutReason::Drain, OutReason::Membership] {
        out.extend(missing(facts, reason));
    }
    out.extend(storm(facts));
    out.extend(limit(facts));
    out
}

/// More traffic than all configured backends carry at the intended spread.
fn shortfall(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    let subject = Subject::Pool(evidence.pool.name.clone());
    let mut out = Candidate::new(Cause::CapacityShortfall, Mechanism::None, subject, 0.0);
    let grown = facts
        .rate_before
        .map(|before| facts.rate / before.max(0.01));
    if let Some(capacity) = facts.capacity_all() {
        let intended = planned_shares(facts, capacity);
        let over: Vec<usize> = facts
            .backends
            .iter()
            .zip(&intended)
            .enumerate()
            .filter(|(_, (b, share))| {
                let planned = **share * facts.picks_rate;
                b.capacity.is_some_and(|c| planned >= OVERLOAD * c)
            })
            .map(|(i, _)| i)
            .collect();
        if over.is_empty() {
            out.con.push(format!(
                "spread as intended, {:.0} rps would be {} of the capacity",
                facts.picks_rate,
                percent(facts.picks_rate / capacity)
            ));
            return (facts.picks_rate >= 0.5 * capacity).then_some(out);
        }
        let judged = over.iter().filter_map(|i| facts.backends.get(*i));
        out.score += judged
            .filter(|b| b.overloaded)
            .map(|b| b.bad_nats)
            .sum::<f64>();
        out.pro.push(format!(
            "{} for the whole pool; spread as intended, {} would still be over",
            load_words(facts.picks_rate, Some(capacity)),
            names(facts, &over)
        ));
    } else {
        let world = loads_scaled(facts, facts.picks_rate / grown.filter(|g| *g >= SURGE)?);
        let credit = load_credit(facts, &world);
        out.score += UNDECLARED + credit.nats;
        tell(facts, &credit, &world, "the growth", &mut out);
        out.con
            .push("no capacity is declared, so growth alone speaks for it".to_owned());
    }
    let (_, unpicked) = unpicked_part(facts, Mechanism::None, "full backends", &mut out);
    out.score += unpicked;
    if let Some(grown) = grown {
        out.pro
            .push(format!("traffic is {grown:.1} times what it was"));
    }
    Some(out)
}

/// The spread at which the pool is to carry its traffic. Weights that are their own intent cannot excuse themselves: then
/// it is the spread by capacity.
fn planned_shares(facts: &Facts<'_>, capacity: f64) -> Vec<f64> {
    if facts.evidence.pool.intent == Intent::Weight {
        let share = |b: &BackendFacts| b.capacity.unwrap_or(0.0) / capacity;
        return facts.backends.iter().map(share).collect();
    }
    facts.evidence.pool.intended_shares(|_| true)
}

/// Backends that are out, and those that carry their load.
fn missing(facts: &Facts<'_>, reason: OutReason) -> Option<Candidate> {
    let evidence = facts.evidence;
    let gone: Vec<&OutFact> = evidence.out.iter().filter(|o| o.reason == reason).collect();
    let since = gone.iter().map(|o| o.since).max()?;
    let (newest, _) = facts.epochs.last()?;
    let gone = Index::new(gone.iter().map(|o| &o.backend));
    let backends = evidence.pool.backends.iter().enumerate();
    let places: Vec<usize> = backends
        .filter(|(i, b)| gone.has(&b.name, *i))
        .map(|(i, _)| i)
        .collect();
    let restored = |(i, m): (usize, &Member)| Member {
        eligible: m.eligible || gone.has(&m.name, i),
        ..m.clone()
    };
    let members: Vec<Member> = newest.members.iter().enumerate().map(restored).collect();
    let world = loads(facts, newest.algorithm, &members, facts.picks_rate)?;
    let credit = load_credit(facts, &world);
    if credit.caused.is_empty() {
        return None;
    }
    let (cause, mechanism, subject, prior) = blamed(facts, reason, &places)?;
    let age = evidence.onset.best.since(since);
    let decay = libm::log(1.0 + age.as_secs_f64() / LASTING_DECAY_S);
    let own: f64 = if cause == Cause::BackendFault {
        places
            .iter()
            .filter_map(|i| facts.backends.get(*i))
            .map(|b| b.bad_nats)
            .sum()
    } else {
        0.0
    };
    let mut out = Candidate::new(cause, mechanism, subject, prior - decay + credit.nats + own);
    let verb = match reason {
        OutReason::Health => "is out by its health check",
        OutReason::Drain => "is drained",
        OutReason::Membership => "is no longer listed",
    };
    out.pro.push(format!(
        "{} {verb} since {} before the onset",
        names(facts, &places),
        span(age)
    ));
    tell(facts, &credit, &world, &names(facts, &places), &mut out);
    Some(out)
}

/// What is to be undone when `places` are out for `reason`.
fn blamed(
    facts: &Facts<'_>,
    reason: OutReason,
    places: &[usize],
) -> Option<(Cause, Mechanism, Subject, f64)> {
    let pool = &facts.evidence.pool;
    let whole = Subject::Pool(pool.name.clone());
    let check = Mechanism::HealthCheck;
    Some(match (reason, places) {
        (OutReason::Drain, _) => (Cause::Drain, Mechanism::None, whole, 0.0),
        (OutReason::Membership, _) => (Cause::Membership, Mechanism::Membership, whole, 0.0),
        (OutReason::Health, [one]) => {
            let subject = Subject::Backend {
                pool: pool.name.clone(),
                backend: pool.backends.get(*one)?.name.clone(),
            };
            if facts.backends.get(*one).is_some_and(BackendFacts::is_bad) {
                (Cause::BackendFault, Mechanism::Errors, subject, SPONTANEOUS)
            } else {
                (Cause::HealthCheck, check, subject, SPONTANEOUS)
            }
        }
        (OutReason::Health, _) => (Cause::HealthCheck, check, whole, SPONTANEOUS),
    })
}

/// Retries per first try.
pub(crate) fn retries(facts: &Facts<'_>) -> Signal {
    let count = |w: &Window| {
        let first: u64 = w.backends.iter().map(BackendWindow::first_picks).sum();
        let again: u64 = w.backends.iter().map(|b| b.picks_retry).sum();
        (again as f64, (first + again) as f64)
    };
    let (hits, tries) = count(&facts.evidence.after);
    let (old_hits, old_tries) = facts.evidence.before.as_ref().map_or((0.0, 0.0), count);
    Signal {
        hits,
        tries,
        base: (old_hits / old_tries.max(1.0)).clamp(0.01, 0.9),
        explained: 0.0,
    }
}

/// Loads if nothing were tried twice.
pub(crate) fn without_retries(facts: &Facts<'_>) -> Without {
    let windows = facts.evidence.after.backends.iter().zip(&facts.backends);
    let loads = windows
        .map(|(w, b)| b.load * w.first_picks() as f64 / (w.picks() as f64).max(1.0))
        .collect();
    Without { loads }
}

fn storm(facts: &Facts<'_>) -> Option<Candidate> {
    let signal = retries(facts);
    if signal.rate() < STORM_RATIO || signal.rate() < 3.0 * signal.base {
        return None;
    }
    let world = without_retries(facts);
    let credit = load_credit(facts, &world);
    let subject = Subject::Pool(facts.evidence.pool.name.clone());
    let score = STORM + credit.nats;
    let mut out = Candidate::new(Cause::RetryStorm, Mechanism::Retry, subject, score);
    let (base, rate) = (percent(signal.base), percent(signal.rate()));
    out.pro
        .push(format!("retries are {rate} of the tries, {base} before"));
    tell(facts, &credit, &world, "retries", &mut out);
    if credit.caused.is_empty() {
        out.con
            .push("nobody is overloaded by the retries; they follow failures".to_owned());
    }
    Some(out)
}

/// A limit that turns requests away although the backends are well.
fn limit(facts: &Facts<'_>) -> Option<Candidate> {
    let max = facts.evidence.pool.max_in_flight?;
    let subject = Subject::Pool(facts.evidence.pool.name.clone());
    let mut out = Candidate::new(Cause::Limit, Mechanism::Limit, subject, SPONTANEOUS);
    let (_, nats) = unpicked_part(facts, Mechanism::Limit, "the limit", &mut out);
    out.pro.push(format!("max_in_flight is {max}"));
    // A limit does not come by itself: what a revision set is that revision's doing, however the counts fell.
    if let Some(id) = limit_lowered_by(facts) {
        out.con.push(format!("{id} set it that low"));
    } else {
        out.score += nats;
    }
    (nats > 0.0).then_some(out)
}
