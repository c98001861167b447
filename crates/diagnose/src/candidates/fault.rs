//! Faults that come by themselves: one backend, a zone, something that every backend depends on, a check that flaps.
//!
//! Each is a set of backends with one common new rate of failures or slow responses at a load that does not explain it.

use std::collections::BTreeMap;

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::ids::Name;

use super::{Candidate, OUT_NATS, SPONTANEOUS, SPONTANEOUS_WIDE, load_words, names, worse};
use crate::evidence::{LastTries, OutFact, OutReason};
use crate::facts::{BAD_NATS, BackendFacts, Facts, MOSTLY_LATE};
use crate::index::Index;
use crate::score::{Signal, group_gain};

/// Single backends kept as candidates, worst first.
const BACKENDS_MAX: usize = 3;
/// Zones looked at.
const ZONES_MAX: usize = 16;
/// Times out of traffic in 5 min from which on a check flaps.
const FLAPS_MIN: u32 = 3;
/// Times out of traffic that speak, of one backend and of all.
const FLIPS_MAX: u32 = 6;

pub(crate) fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut out = single(facts);
    out.extend(several(facts));
    out.extend(zones(facts));
    out.extend(dependency(facts));
    out.extend(check(facts));
    out
}

/// Errors and slow responses of a set of backends: nats together, and which of the two says more.
pub(crate) fn group(facts: &Facts<'_>, places: &[usize]) -> (f64, Mechanism) {
    let pick = |of: fn(&BackendFacts) -> Signal| -> Vec<Signal> {
        places
            .iter()
            .filter_map(|i| facts.backends.get(*i))
            .map(of)
            .collect()
    };
    let errors = group_gain(&pick(BackendFacts::open_errors), false);
    let slow = group_gain(&pick(|b| b.slow), false);
    (errors + slow, mechanism(facts, places, errors, slow))
}

/// Which of the two it is. Who is slow fills up and then fails, so the errors of those that serve slowly follow from it.
pub(crate) fn mechanism(facts: &Facts<'_>, places: &[usize], errors: f64, slow: f64) -> Mechanism {
    let group = places.iter().filter_map(|i| facts.backends.get(*i));
    let late = group.map(|b| b.late).filter(|late| late.explained <= 0.0);
    let late: Vec<Signal> = late.collect();
    let sum = |of: fn(&Signal) -> f64| late.iter().map(of).sum::<f64>();
    let is_most = sum(|s| s.hits) >= MOSTLY_LATE * sum(|s| s.tries).max(1.0);
    let is_slow = is_most && group_gain(&late, true) >= BAD_NATS;
    if errors >= slow && !is_slow {
        Mechanism::Errors
    } else {
        Mechanism::Latency
    }
}

fn single(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut ranked: Vec<(usize, f64, Mechanism)> = facts
        .bad
        .iter()
        .map(|place| {
            let (nats, mechanism) = group(facts, &[*place]);
            (*place, nats, mechanism)
        })
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(BACKENDS_MAX);
    ranked
        .into_iter()
        .filter_map(|found| one_backend(facts, found))
        .collect()
}

fn one_backend(
    facts: &Facts<'_>,
    (place, nats, mechanism): (usize, f64, Mechanism),
) -> Option<Candidate> {
    let pool = &facts.evidence.pool;
    let backend = facts.backends.get(place)?;
    let subject = Subject::Backend {
        pool: pool.name.clone(),
        backend: pool.backends.get(place)?.name.clone(),
    };
    let mut one = Candidate::new(Cause::BackendFault, mechanism, subject, SPONTANEOUS + nats);
    let words = load_words(backend.load, backend.capacity);
    if backend.overloaded {
        one.con.push(format!(
            "it carries {words}: load alone explains that it got worse"
        ));
    } else {
        one.pro.push(format!("{} at {words}", worse(facts, place)));
    }
    let others: Vec<usize> = facts.bad.iter().copied().filter(|i| *i != place).collect();
    if others.is_empty() {
        one.pro.push("no other backend got worse".to_owned());
    } else {
        let others = names(facts, &others);
        one.con
            .push(format!("it leaves unexplained that {others} got worse"));
    }
    Some(one)
}

/// Several backends at once that nothing known joins, at the price of a fault each of the first two: the first in the file
/// stands for all.
fn several(facts: &Facts<'_>) -> Option<Candidate> {
    let alone = |place: &usize| group(facts, std::slice::from_ref(place)).0;
    let mut ranked: Vec<(usize, f64)> = facts.bad.iter().map(|i| (*i, alone(i))).collect();
    ranked.retain(|(_, nats)| *nats >= BAD_NATS);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut places: Vec<usize> = Vec::new();
    let mut most = (0.0, Mechanism::None);
    for (place, _) in ranked {
        places.push(place);
        let found = group(facts, &places);
        if found.0 <= most.0 {
            places.pop();
            break;
        }
        most = found;
    }
    places.sort_unstable();
    let pool = &facts.evidence.pool;
    let [first, _, ..] = places.as_slice() else {
        return None;
    };
    let subject = Subject::Backend {
        pool: pool.name.clone(),
        backend: pool.backends.get(*first)?.name.clone(),
    };
    let score = 2.0 * SPONTANEOUS + most.0;
    let mut out = Candidate::new(Cause::BackendFault, most.1, subject, score);
    for place in places.iter().take(super::NAMES_MAX) {
        let load = facts
            .backends
            .get(*place)
            .map(|b| load_words(b.load, b.capacity));
        let (who, how) = (names(facts, &[*place]), worse(facts, *place));
        out.pro
            .push(format!("{who}: {how} at {}", load.unwrap_or_default()));
    }
    let all = names(facts, &places);
    out.con.push(format!("{all} would have to break at once"));
    Some(out)
}

fn zones(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut zones: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
    for (place, backend) in facts.evidence.pool.backends.iter().enumerate() {
        if let Some(zone) = &backend.zone {
            zones.entry(zone).or_default().push(place);
        }
    }
    if zones.len() < 2 {
        return Vec::new();
    }
    let judged = zones
        .into_iter()
        .take(ZONES_MAX)
        .filter_map(|(zone, places)| {
            let all_bad = places
                .iter()
                .all(|i| facts.backends.get(*i).is_some_and(BackendFacts::is_bad));
            if places.len() < 2 || !all_bad {
                return None;
            }
            let (nats, _) = group(facts, &places);
            let subject = Subject::Zone(zone.clone());
            let prior = SPONTANEOUS_WIDE;
            let mut one = Candidate::new(Cause::Network, Mechanism::Zone, subject, prior + nats);
            one.pro.push(format!(
                "every backend of zone {zone} got worse: {}",
                names(facts, &places)
            ));
            Some(one)
        });
    judged.collect()
}

fn dependency(facts: &Facts<'_>) -> Option<Candidate> {
    let serving: Vec<usize> = (0..facts.backends.len())
        .filter(|i| facts.backends.get(*i).is_some_and(|b| b.load > 0.0))
        .collect();
    let all_bad = serving
        .iter()
        .all(|i| facts.backends.get(*i).is_some_and(BackendFacts::is_bad));
    if serving.len() < 2 || !all_bad {
        return None;
    }
    let (nats, mechanism) = group(facts, &serving);
    let subject = Subject::Pool(facts.evidence.pool.name.clone());
    let score = SPONTANEOUS_WIDE + nats;
    let mut one = Candidate::new(Cause::Dependency, mechanism, subject, score);
    one.pro.push(format!(
        "all {} backends in traffic got worse together",
        serving.len()
    ));
    if serving.iter().any(|i| {
        facts
            .backends
            .get(*i)
            .is_some_and(|b| b.errors.explained > 0.0)
    }) {
        one.con.push("load explains part of it".to_owned());
    }
    Some(one)
}

/// Times that its check took a backend out, as far as they speak.
pub(crate) fn flips_of(out: &OutFact) -> u32 {
    out.flips.clamp(1, FLIPS_MAX)
}

/// Nats for backends that left traffic `flips` times through a failing check while what they served was fine.
pub(crate) fn flips_nats(flips: u32) -> f64 {
    OUT_NATS * f64::from(flips.min(FLIPS_MAX))
}

/// A health check that throws out backends that serve well, without a change of the check.
fn check(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    let mut flips = 0;
    let mut places = Vec::new();
    let index = Index::new(evidence.pool.backends.iter().map(|b| &b.name));
    for thrown in evidence
        .out
        .iter()
        .filter(|o| o.reason == OutReason::Health && o.last == LastTries::Well)
    {
        let place = index.place(&thrown.backend, places.len());
        let well = |i: &usize| facts.backends.get(*i).is_some_and(|b| !b.is_bad());
        if let Some(place) = place.filter(well) {
            places.push(place);
            flips += flips_of(thrown);
        }
    }
    places.sort_unstable();
    let first = places
        .first()
        .and_then(|i| evidence.pool.backends.get(*i))?;
    let subject = if places.len() == 1 {
        Subject::Backend {
            pool: evidence.pool.name.clone(),
            backend: first.name.clone(),
        }
    } else {
        Subject::Pool(evidence.pool.name.clone())
    };
    let score = SPONTANEOUS + flips_nats(flips);
    let mut one = Candidate::new(Cause::HealthCheck, Mechanism::HealthCheck, subject, score);
    one.pro.push(format!(
        "{} went out of traffic {flips} times by its check while what it served was fine",
        names(facts, &places)
    ));
    if flips < FLAPS_MIN {
        one.con.push("it may simply be down now".to_owned());
    }
    Some(one)
}
