//! Members that are not what they should be: the list names hosts that are gone, or lacks those that came.
//!
//! A host that was found and refuses every connection is more likely one that left and is still listed than one that is broken:
//! what finds hosts is there because they come and go. A pool that is too small for its traffic while its list cannot be
//! renewed lacks those that the list would name. Limits: a registry that answers, and names the old hosts while they
//! serve on, looks like a pool that is too small.

use evenkeel_incident::civil::span;
use evenkeel_model::blame::{Cause, Mechanism, Subject};

use super::fault::group;
use super::load::shortfall;
use super::{Candidate, SPONTANEOUS, names};
use crate::evidence::{LastTries, UNLISTED_LONG};
use crate::facts::{BackendFacts, Facts};
use crate::index::Index;

/// Nats for "it left and is still listed" above "it is broken", of a host that was found and refuses.
const LEFT: f64 = 1.0;
/// Nats for a list that was not renewed since before the onset.
const UNLISTED: f64 = 5.0;
/// Part of the tries that must be refused.
const REFUSED: f64 = 0.9;
/// Tries that say something.
const TRIES_MIN: u64 = 5;

/// Places of members that were found and refuse connections.
pub(crate) fn gone(facts: &Facts<'_>) -> Vec<usize> {
    let refused_when_out = ended_as(facts, |last| last == LastTries::Refused);
    let windows = facts.evidence.after.backends.iter();
    let pairs = facts.evidence.pool.backends.iter().zip(windows).enumerate();
    let refuses = pairs.filter(|(place, (backend, window))| {
        let finished = window.finished();
        let refused = window.outcomes.connect_failed as f64 >= REFUSED * finished as f64;
        let is_bad = facts.backends.get(*place).is_some_and(BackendFacts::is_bad);
        let is_refused = is_bad && finished >= TRIES_MIN && refused;
        backend.discovered && (is_refused || refused_when_out.contains(place))
    });
    refuses.map(|(place, _)| place).collect()
}

/// Places of those whose last tries, before their check took them out, came to what `test` says.
pub(crate) fn ended_as(facts: &Facts<'_>, test: impl Fn(LastTries) -> bool) -> Vec<usize> {
    let evidence = facts.evidence;
    let index = Index::new(evidence.pool.backends.iter().map(|b| &b.name));
    let out = evidence.out.iter().enumerate();
    let out = out.filter(|(_, out)| test(out.last));
    out.filter_map(|(i, out)| index.place(&out.backend, i))
        .collect()
}

/// What speaks for `LEFT` above a fault of the hosts.
pub(crate) fn prior(facts: &Facts<'_>) -> f64 {
    SPONTANEOUS + LEFT + not_renewed(facts).map_or(0.0, |_| UNLISTED)
}

/// Since when the list is not renewed, in words, where that began before the fault.
fn not_renewed(facts: &Facts<'_>) -> Option<String> {
    let evidence = facts.evidence;
    let unlisted = evidence.unlisted.as_ref()?;
    (unlisted.since <= evidence.onset.hi).then(|| {
        format!(
            "the list of its members is not renewed since {}: {}",
            span(evidence.now.since(unlisted.since)),
            unlisted.why
        )
    })
}

pub(crate) fn candidates(facts: &Facts<'_>) -> impl Iterator<Item = Candidate> {
    still_listed(facts).into_iter().chain(lacking(facts))
}

fn candidate(facts: &Facts<'_>, score: f64) -> Candidate {
    let subject = Subject::Pool(facts.evidence.pool.name.clone());
    let mut out = Candidate::new(Cause::Membership, Mechanism::Membership, subject, score);
    out.pro.extend(not_renewed(facts));
    out
}

/// Hosts that left and are still listed.
fn still_listed(facts: &Facts<'_>) -> Option<Candidate> {
    let gone = gone(facts);
    let (nats, _) = group(facts, &gone);
    if gone.is_empty() || nats <= 0.0 {
        return None;
    }
    let mut out = candidate(facts, prior(facts) + nats);
    out.pro.push(format!(
        "{} was found by discovery and refuses every connection",
        names(facts, &gone)
    ));
    let others: Vec<usize> = facts
        .bad
        .iter()
        .copied()
        .filter(|i| !gone.contains(i))
        .collect();
    if !others.is_empty() {
        let others = names(facts, &others);
        out.con
            .push(format!("it leaves unexplained that {others} got worse"));
    }
    Some(out)
}

/// Too few for the traffic while the list is not renewed, or that it has not been for long.
fn lacking(facts: &Facts<'_>) -> Option<Candidate> {
    not_renewed(facts)?;
    let evidence = facts.evidence;
    let short = shortfall(facts).filter(|short| short.score > 0.0);
    let unlisted = evidence.unlisted.as_ref()?;
    if short.is_none() && evidence.now.since(unlisted.since) < UNLISTED_LONG {
        return None;
    }
    let score = short.as_ref().map_or(0.0, |short| short.score);
    let mut out = candidate(facts, score + UNLISTED);
    out.pro
        .extend(short.into_iter().flat_map(|short| short.pro));
    Some(out)
}
