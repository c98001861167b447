//! Requests that are tied to a backend: one key that brings too much, sessions that stay where they are.
//!
//! No setting of weights moves them, so they are judged by the world in which they were not tied: who would be overloaded then?

use evenkeel_balance::Member;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::Algorithm;

use super::spread::{Without, load_credit, loads, tell};
use super::{Candidate, SPONTANEOUS, percent};
use crate::evidence::BackendWindow;
use crate::facts::Facts;

/// Part of the first picks that sessions must force for it to be their doing.
const FORCED_MIN: f64 = 0.5;

pub(crate) fn candidates(facts: &Facts<'_>) -> impl Iterator<Item = Candidate> {
    hot(facts).into_iter().chain(bound(facts))
}

/// One key brings so much that its backend is overloaded.
fn hot(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    let hot = evidence.hot.as_ref()?;
    let backends = &evidence.pool.backends;
    let owner = backends.iter().position(|b| b.name == hot.backend)?;
    let brings = facts.picks_rate * hot.part;
    let others = by_weight(facts, brings)?;
    let mut loads: Vec<f64> = facts.backends.iter().map(|b| b.load).collect();
    if let Some(load) = loads.get_mut(owner) {
        *load = (*load - brings).max(0.0);
    }
    for (load, more) in loads.iter_mut().zip(others.loads) {
        *load += more;
    }
    let without = Without { loads };
    let credit = load_credit(facts, &without);
    let score = SPONTANEOUS + credit.nats;
    let subject = Subject::Key(hot.hash);
    let mut out = Candidate::new(Cause::HotKey, Mechanism::Key, subject, score);
    out.pro.push(format!(
        "one key brings {} of the requests, {brings:.0} rps, all of them to {}",
        percent(hot.part),
        hot.backend
    ));
    tell(facts, &credit, &without, "that key", &mut out);
    if credit.caused.is_empty() {
        out.con.push(format!(
            "{} would be no better off without that key",
            hot.backend
        ));
    }
    Some(out)
}

/// Sessions stay with the backends that they began on, which are full, while others have room.
fn bound(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    evidence.pool.affinity.sticky.as_ref()?;
    let windows = &evidence.after.backends;
    let forced: u64 = windows.iter().map(|w| w.picks_forced).sum();
    let first: u64 = windows.iter().map(BackendWindow::first_picks).sum();
    let part = forced as f64 / (first as f64).max(1.0);
    if part < FORCED_MIN {
        return None;
    }
    let without = by_weight(facts, facts.picks_rate)?;
    let credit = load_credit(facts, &without);
    if credit.caused.is_empty() {
        return None;
    }
    let subject = Subject::Pool(evidence.pool.name.clone());
    let score = SPONTANEOUS + credit.nats;
    let mut out = Candidate::new(Cause::HotKey, Mechanism::Key, subject, score);
    out.pro.push(format!(
        "{} of the requests come with the cookie of a session and stay where it began",
        percent(part)
    ));
    tell(facts, &credit, &without, "sessions that stay", &mut out);
    Some(out)
}

/// What each backend would get of `rate` if nothing tied it, by the members of now.
fn by_weight(facts: &Facts<'_>, rate: f64) -> Option<Without> {
    let (newest, _) = facts.epochs.last()?;
    let members: &[Member] = &newest.members;
    loads(facts, Algorithm::Random, members, rate)
}
