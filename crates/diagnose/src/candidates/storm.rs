//! Retries that feed on failures: something fails, what failed is tried again, and that overloads those who were well.
//!
//! The balancer's own retries are counted as such. Those of clients come as new requests; they are told from a surge by this:
//! each of them follows a failure, so there can be no more of them than requests that failed, and a surge that a healthy pool
//! sheds is always larger than what it sheds. The storm needs a spark, a backend whose failures its load does not
//! explain, and is judged together with it: both at the price of both priors.
//!
//! Limits: a surge beside such a spark, of about the size of what the spark fails, is taken for the clients' retries.

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::{Pool, Retry};
use evenkeel_model::ids::RevisionId;

use super::fault::group;
use super::revision::set_by;
use super::spread::{Without, load_credit, tell};
use super::{Candidate, SPONTANEOUS, names, percent};
use crate::evidence::{BackendWindow, Window};
use crate::facts::{BackendFacts, Facts, OVERLOAD};
use crate::score::Signal;

/// Prior of a retry storm: retries follow failures of any cause.
const STORM: f64 = -4.0;
/// Retries per request from which on they are a storm.
const STORM_RATIO: f64 = 0.2;
/// Their growth.
const STORM_GROWTH: f64 = 3.0;
/// Growth of the traffic from which on it is worth a question where it comes from.
const GROWTH: f64 = 1.15;
/// Repeats may be this many times the failures that were counted: the windows do not end at the same moment.
const SLACK: f64 = 1.05;
/// A spark fails at least so many times as often as the backend in the middle.
const SPARK: f64 = 1.5;

/// What the retries explain.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Feeding {
    pub(crate) nats: f64,
    /// Whether somebody is overloaded only through them.
    pub(crate) overloads: bool,
}

/// Retries among the tries.
pub(crate) fn retries(facts: &Facts<'_>) -> Signal {
    let count = |w: &Window| {
        let again: u64 = w.backends.iter().map(|b| b.picks_retry).sum();
        (again as f64, first_picks(w) + again as f64)
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

fn first_picks(window: &Window) -> f64 {
    let first = window.backends.iter().map(BackendWindow::first_picks);
    first.sum::<u64>() as f64
}

/// Requests per second that nobody repeated, as far as is known: those that came before, where all that came beyond them can
/// be clients that try again.
pub(crate) fn demand(facts: &Facts<'_>) -> f64 {
    let Some(before) = facts.rate_before.filter(|_| !sparks(facts).is_empty()) else {
        return facts.rate;
    };
    let window = &facts.evidence.after;
    let tries = window.backends.iter();
    let failed: u64 = tries.map(|w| w.outcomes.failed()).sum();
    let again: u64 = window.backends.iter().map(|b| b.picks_retry).sum();
    let seen = (failed + window.unpicked).saturating_sub(again) as f64;
    let seen = seen / window.length().as_secs_f64();
    let more = facts.rate - before;
    if facts.rate > GROWTH * before && more <= SLACK * seen {
        before
    } else {
        facts.rate
    }
}

/// Picks per second of a world in which nobody is overloaded: repeats that only follow an overload, which is there without them,
/// would not be made.
pub(crate) fn calm_rate(facts: &Facts<'_>) -> f64 {
    let windows = facts.evidence.after.backends.iter().zip(&facts.backends);
    let mut over = windows.filter(|(w, b)| {
        let first = b.load * w.first_picks() as f64 / (w.picks() as f64).max(1.0);
        b.overloaded && b.capacity.is_some_and(|c| first >= OVERLOAD * c)
    });
    if over.next().is_none() {
        return facts.picks_rate;
    }
    let usual = facts.rate / (1.0 - retries(facts).base);
    usual.min(facts.picks_rate)
}

/// Backends that fail or are slow beyond what their load makes of the others as well.
fn sparks(facts: &Facts<'_>) -> Vec<usize> {
    let beyond = |of: fn(&BackendFacts) -> f64| -> Vec<bool> {
        let rates: Vec<f64> = facts.backends.iter().map(of).collect();
        let mut sorted = rates.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len().saturating_sub(1) / 2).copied();
        let most = SPARK * middle.unwrap_or_default();
        rates.iter().map(|rate| *rate > most).collect()
    };
    let (fail, slow) = (beyond(|b| b.errors.rate()), beyond(|b| b.slow.rate()));
    let is_spark = |i: &usize| {
        let open = facts.backends.get(*i);
        let open = open.is_some_and(|b| b.open_errors().explained <= 0.0);
        open || fail.get(*i) == Some(&true) || slow.get(*i) == Some(&true)
    };
    facts.bad.iter().copied().filter(is_spark).collect()
}

/// What is explained by tries that would not have been made without retries; told to `out`.
pub(crate) fn feeding(facts: &Facts<'_>, who: &str, out: &mut Candidate) -> Feeding {
    let own = demand(facts) / facts.rate.max(0.01);
    let windows = facts.evidence.after.backends.iter().zip(&facts.backends);
    let loads = windows
        .map(|(w, b)| own * b.load * w.first_picks() as f64 / (w.picks() as f64).max(1.0))
        .collect();
    let world = Without { loads };
    let credit = load_credit(facts, &world);
    if credit.caused.is_empty() {
        return Feeding::default();
    }
    tell(facts, &credit, &world, who, out);
    let sparks: Vec<usize> = sparks(facts)
        .into_iter()
        .filter(|i| !credit.caused.contains(i))
        .collect();
    let overloads = credit.caused.iter().any(|i| {
        let backend = facts.backends.get(*i);
        backend.is_some_and(|b| b.capacity.is_none_or(|c| b.load >= OVERLOAD * c))
    });
    let (nats, _) = group(facts, &sparks);
    let lit = nats + SPONTANEOUS;
    if lit > 0.0 && overloads {
        out.pro
            .push(format!("{} set it off", names(facts, &sparks)));
    }
    Feeding {
        nats: credit.nats + if overloads { lit.max(0.0) } else { 0.0 },
        overloads,
    }
}

/// Whether `after` allows more tries than `before`.
pub(crate) fn raises(before: &Retry, after: &Retry) -> bool {
    after.attempts > before.attempts
        || after.budget > before.budget
        || after.unsafe_methods && !before.unsafe_methods
        || after.on != before.on
}

/// The newest revision not after the onset that allowed the retries there are.
fn allowed_by(facts: &Facts<'_>) -> Option<RevisionId> {
    let now = &facts.evidence.pool.retry;
    set_by(facts, |before: Option<&Pool>, after: &Pool| {
        after.retry == *now && before.is_some_and(|before| raises(&before.retry, &after.retry))
    })
}

pub(crate) fn candidate(facts: &Facts<'_>) -> Option<Candidate> {
    let signal = retries(facts);
    let by_balancer = signal.rate() >= STORM_RATIO && signal.rate() >= STORM_GROWTH * signal.base;
    let demand = demand(facts);
    let by_clients = demand < facts.rate;
    if !by_balancer && !by_clients {
        return None;
    }
    let subject = Subject::Pool(facts.evidence.pool.name.clone());
    let mut out = Candidate::new(Cause::RetryStorm, Mechanism::Retry, subject, STORM);
    if by_balancer {
        let (base, rate) = (percent(signal.base), percent(signal.rate()));
        out.pro
            .push(format!("retries are {rate} of the tries, {base} before"));
    }
    if by_clients {
        out.pro.push(format!(
            "{:.0} rps came before and {:.0} rps come now, no more beyond than fail: clients try again",
            demand, facts.rate
        ));
    }
    let feeding = feeding(facts, "retries", &mut out);
    // A budget does not lift itself: what a revision allowed is that revision's doing.
    match allowed_by(facts).filter(|_| !by_clients) {
        Some(id) => out.con.push(format!("{id} allowed them")),
        None => out.score += feeding.nats,
    }
    if !feeding.overloads {
        out.con
            .push("nobody is overloaded by the retries; they follow failures".to_owned());
    }
    Some(out)
}
