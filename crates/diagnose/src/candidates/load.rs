//! Too much for too few: traffic above capacity, backends that are out, a limit.
//!
//! Judged by counterfactual like the revisions: who would be overloaded if the traffic were what it was, if
//! those that are out were in? What may be a repeat of what failed is not counted as traffic (`storm`).

use evenkeel_balance::Member;
use evenkeel_incident::civil::span;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::Intent;

use super::revision::{limit_lowered_by, unpicked_part};
use super::spread::{load_credit, loads, loads_scaled, tell};
use super::storm::{calm_rate, demand};
use super::{Candidate, NAMES_MAX, SPONTANEOUS, load_words, names, percent};
use crate::evidence::{LastTries, LeftFact, OutFact, OutReason};
use crate::facts::{BackendFacts, Facts, OVERLOAD};
use crate::index::Index;

/// Growth of the traffic that stands for a shortfall where no capacity is declared.
const SURGE: f64 = 1.5;
/// Prior of a shortfall without declared capacity.
const UNDECLARED: f64 = -2.0;
/// A cause that lasts (a drain) loses ln 2 of its prior in this time.
const LASTING_DECAY_S: f64 = 60.0;

pub(crate) fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut out = Vec::new();
    out.extend(shortfall(facts));
    for reason in [
        OutReason::Health,
        OutReason::Drain,
        OutReason::Membership,
        OutReason::NeverIn,
    ] {
        out.extend(missing(facts, reason));
    }
    out.extend(limit(facts));
    out
}

/// More traffic than all configured backends carry at the intended spread.
pub(crate) fn shortfall(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    let subject = Subject::Pool(evidence.pool.name.clone());
    let mut out = Candidate::new(Cause::CapacityShortfall, Mechanism::None, subject, 0.0);
    let demand = demand(facts);
    let grown = facts.rate_before.map(|before| demand / before.max(0.01));
    if let Some(capacity) = facts.capacity_all() {
        let intended = planned_shares(facts, capacity);
        let over: Vec<usize> = facts
            .backends
            .iter()
            .zip(&intended)
            .enumerate()
            .filter(|(_, (b, share))| {
                let planned = **share * demand;
                b.capacity.is_some_and(|c| planned >= OVERLOAD * c)
            })
            .map(|(i, _)| i)
            .collect();
        if over.is_empty() {
            out.con.push(format!(
                "spread as intended, {demand:.0} rps would be {} of the capacity",
                percent(demand / capacity)
            ));
            return (demand >= 0.5 * capacity).then_some(out);
        }
        if let Some(before) = facts.rate_before.filter(|b| was_over(facts, &intended, *b)) {
            // Then it is not the traffic that changed.
            out.con.push(format!(
                "{before:.0} rps came before and were carried: there was more to carry them"
            ));
            return Some(out);
        }
        let judged = over.iter().filter_map(|i| facts.backends.get(*i));
        out.score += judged
            .filter(|b| b.overloaded)
            .map(|b| b.bad_nats)
            .sum::<f64>();
        out.pro.push(format!(
            "{} for the whole pool; spread as intended, {} would still be over",
            load_words(demand, Some(capacity)),
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

/// Whether those who are there now could not have carried `rate`, spread by `shares`, either.
fn was_over(facts: &Facts<'_>, shares: &[f64], rate: f64) -> bool {
    let mut pairs = facts.backends.iter().zip(shares);
    pairs.any(|(b, share)| b.capacity.is_some_and(|c| share * rate >= OVERLOAD * c))
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
    let left: &[LeftFact] = match reason {
        OutReason::Membership => &evidence.left,
        _ => &[],
    };
    let since = gone.iter().map(|o| o.since);
    let since = since.chain(left.iter().map(|l| l.since)).max()?;
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
    let mut members: Vec<Member> = newest.members.iter().enumerate().map(restored).collect();
    members.extend(left.iter().map(|l| l.member.clone()));
    let world = loads(facts, newest.algorithm, &members, calm_rate(facts))?;
    let credit = load_credit(facts, &world);
    if credit.caused.is_empty() {
        return None;
    }
    let (cause, mechanism, subject, prior) = blamed(facts, reason, &places)?;
    let age = evidence.onset.best.since(since);
    let decay = libm::log(1.0 + age.as_secs_f64() / LASTING_DECAY_S);
    let is_theirs = reason == OutReason::Health && cause != Cause::HealthCheck;
    let own: f64 = if is_theirs {
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
        OutReason::NeverIn => "is listed and was never found up",
    };
    let mut who = vec![names(facts, &places)];
    who.extend(
        left.iter()
            .take(NAMES_MAX)
            .map(|l| l.member.name.to_string()),
    );
    who.retain(|name| !name.is_empty());
    let who = who.join(", ");
    out.pro
        .push(format!("{who} {verb} since {} before the onset", span(age)));
    tell(facts, &credit, &world, &who, &mut out);
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
    let gone = super::members::gone(facts);
    let broken = super::members::ended_as(facts, |last| last != LastTries::Well);
    let all = |of: &[usize]| places.iter().all(|place| of.contains(place));
    let check = Mechanism::HealthCheck;
    Some(match (reason, places) {
        (OutReason::Drain, _) => (Cause::Drain, Mechanism::None, whole, 0.0),
        (OutReason::Membership | OutReason::NeverIn, _) => {
            (Cause::Membership, Mechanism::Membership, whole, 0.0)
        }
        (OutReason::Health, _) if all(&gone) => {
            let prior = super::members::prior(facts);
            (Cause::Membership, Mechanism::Membership, whole, prior)
        }
        // Of several that are down the first stands for all.
        (OutReason::Health, [one, ..]) if places.len() == 1 || all(&broken) => {
            let subject = Subject::Backend {
                pool: pool.name.clone(),
                backend: pool.backends.get(*one)?.name.clone(),
            };
            let is_bad = facts.backends.get(*one).is_some_and(BackendFacts::is_bad);
            if is_bad || broken.contains(one) {
                let slow = super::members::ended_as(facts, |last| last == LastTries::Slow);
                let mechanism = if slow.contains(one) {
                    Mechanism::Latency
                } else {
                    Mechanism::Errors
                };
                (Cause::BackendFault, mechanism, subject, SPONTANEOUS)
            } else {
                (Cause::HealthCheck, check, subject, SPONTANEOUS)
            }
        }
        (OutReason::Health, _) => (Cause::HealthCheck, check, whole, SPONTANEOUS),
    })
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
