//! Deployments: the reflex suspect, so the one that is checked most.
//!
//! A version acts on each request at once and on every backend that runs it. It is credited only with what load
//! does not explain already, by one common new rate over all of its backends: those that run it and are well speak
//! against it, and so do those that do not run it and suffer alike. So do the requests that it served well before the
//! onset; and the longer nothing got worse after it, the less likely it is.

use std::time::Duration;

use evenkeel_incident::civil::span;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Mono;

use super::fault::mechanism;
use super::{Candidate, DEPLOYED, LATE_FLOOR, load_words, names, worse};
use crate::evidence::DeploymentFact;
use crate::facts::{BAD_NATS, BackendFacts, Facts};
use crate::index::Index;
use crate::score::{Signal, group_gain, rate_gain};

/// Deployments judged at most, newest first.
const DEPLOYMENTS_MAX: usize = 8;
/// A version acts on each request: its prior falls by one nat in this many seconds without harm.
const ACTS_WITHIN_S: f64 = 5.0;
/// The moment of a deployment is as told by others: it may be off by this much.
const TOLD_SLACK: Duration = Duration::from_secs(5);

pub(crate) fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut newest: Vec<&DeploymentFact> = facts.evidence.deployments.iter().collect();
    newest.sort_by_key(|d| std::cmp::Reverse((d.at, d.record.id)));
    newest.truncate(DEPLOYMENTS_MAX);
    newest
        .into_iter()
        .map(|deployment| judge(facts, deployment))
        .collect()
}

fn judge(facts: &Facts<'_>, deployment: &DeploymentFact) -> Candidate {
    let record = &deployment.record;
    let onset = facts.evidence.onset;
    // Some backend got it at any moment between begin and end, each as likely: its prior is spread over that time.
    let span_s = deployment.until.since(deployment.at).as_secs_f64();
    let spread = libm::log(1.0 + span_s / ACTS_WITHIN_S);
    let reached = |moment: Mono| moment.clamp(deployment.at, deployment.until.max(deployment.at));
    let age = onset.best.since(reached(onset.best));
    let quiet = onset.lo.since(reached(onset.lo).plus(TOLD_SLACK));
    let waited = -spread - quiet.as_secs_f64() / ACTS_WITHIN_S;
    let subject = Subject::Deployment {
        id: record.id,
        pool: record.pool.clone(),
        version: record.version.clone(),
    };
    let mut out = Candidate::new(Cause::Deployment, Mechanism::Version, subject, DEPLOYED);
    if onset.hi.plus(TOLD_SLACK) < deployment.at {
        out.score = f64::NEG_INFINITY;
        let late = span(deployment.at.since(onset.hi));
        out.con.push(format!(
            "it was made {late} after the latest plausible onset"
        ));
        return out;
    }
    let told = Index::new(record.backends.iter());
    let backends = facts.evidence.pool.backends.iter().enumerate();
    let mut reached: Vec<usize> = backends
        .filter(|(i, b)| record.backends.is_empty() || told.has(&b.name, *i))
        .map(|(i, _)| i)
        .collect();
    if record.is_under_way() {
        out.score -= narrow(facts, &mut reached);
    }
    let pick = |of: fn(&BackendFacts) -> Signal| -> Vec<Signal> {
        let backends = reached.iter().filter_map(|i| facts.backends.get(*i));
        backends.map(of).collect()
    };
    let (failing, slowed) = (pick(BackendFacts::open_errors), pick(|b| b.slow));
    let errors = group_gain(&failing, false);
    let slow = group_gain(&slowed, false);
    let served = served_well(facts, deployment, &reached, (&failing, &slowed));
    out.score += errors + slow + (waited - served).max(LATE_FLOOR);
    if errors > 0.0 || slow > 0.0 {
        out.mechanism = mechanism(facts, &reached, errors, slow);
    }
    let under_way = span_s > 0.0 && age.is_zero() && onset.best >= deployment.at;
    tell(facts, &reached, (!under_way).then_some(age), &mut out);
    if served >= BAD_NATS {
        out.con
            .push("what it served before the onset was as well as ever".to_owned());
    }
    out
}

/// Nats against a version that was as bad from the start as it is by now: what it served between its deployment and the onset
/// was fine. None where that was worse already, so that what gets worse by and by clears nobody.
fn served_well(
    facts: &Facts<'_>,
    deployment: &DeploymentFact,
    reached: &[usize],
    now: (&[Signal], &[Signal]),
) -> f64 {
    let Some(quiet) = &deployment.quiet else {
        return 0.0;
    };
    let between = facts.rates_in(quiet, reached);
    let pick = |of: fn(&(Signal, Signal)) -> Signal| between.iter().map(of).collect::<Vec<_>>();
    let then = (pick(|both| both.0), pick(|both| both.1));
    let got_worse = |signals: &[Signal]| group_gain(signals, true) >= BAD_NATS;
    if got_worse(&then.0) || got_worse(&then.1) {
        return 0.0;
    }
    let against = |now: &[Signal], then: &[Signal]| {
        if group_gain(now, false) > 0.0 {
            -rate_gain(then, now).min(0.0)
        } else {
            0.0
        }
    };
    against(now.0, &then.0) + against(now.1, &then.1)
}

/// Nobody told which backends have it by now: those that got worse, and the nats that this choice costs.
fn narrow(facts: &Facts<'_>, reached: &mut Vec<usize>) -> f64 {
    let places = reached.iter().copied();
    let bad: Vec<usize> = places
        .filter(|i| facts.bad.binary_search(i).is_ok())
        .collect();
    if bad.is_empty() {
        return 0.0;
    }
    let all = reached.len() as f64;
    let choices = (1..=bad.len()).map(|k| (all - bad.len() as f64 + k as f64) / k as f64);
    let cost = choices.map(libm::log).sum();
    *reached = bad;
    cost
}

/// `age`: from the last moment at which a backend may have got it to the onset; `None`: it was under way then.
fn tell(facts: &Facts<'_>, reached: &[usize], age: Option<Duration>, out: &mut Candidate) {
    let at = |i: &usize| facts.backends.get(*i);
    let of = |test: &dyn Fn(&BackendFacts) -> bool| -> Vec<usize> {
        reached
            .iter()
            .copied()
            .filter(|i| at(i).is_some_and(test))
            .collect()
    };
    let overloaded = of(&|b| b.is_bad() && b.errors.explained > 0.0);
    let cut = of(&|b| b.is_bad() && b.cut >= 0.5);
    let bad = of(&|b| b.is_bad() && b.open_errors().explained <= 0.0);
    let well = of(&|b| !b.is_bad() && b.out.is_none() && b.load > 0.0);
    for place in overloaded.iter().take(super::NAMES_MAX) {
        if let Some(backend) = at(place) {
            out.con.push(format!(
                "{} carries {}: load alone explains that it got worse, whatever its version",
                names(facts, &[*place]),
                load_words(backend.load, backend.capacity)
            ));
        }
    }
    if !cut.is_empty() {
        out.con.push(format!(
            "{} answers no slower than before: a shortened timeout cuts it off, whatever its version",
            names(facts, &cut)
        ));
    }
    if !well.is_empty() && (!overloaded.is_empty() || !bad.is_empty()) {
        out.con.push(format!(
            "{} got it as well and did not get worse",
            names(facts, &well)
        ));
    }
    let outside: Vec<usize> = facts
        .bad
        .iter()
        .copied()
        .filter(|i| reached.binary_search(i).is_err())
        .collect();
    if !outside.is_empty() {
        out.con.push(format!(
            "{} did not get it and suffer alike",
            names(facts, &outside)
        ));
    }
    if overloaded.is_empty() && bad.is_empty() && cut.is_empty() {
        out.con.push("no backend that got it got worse".to_owned());
    }
    for place in bad.iter().take(super::NAMES_MAX) {
        out.pro.push(format!(
            "{} got worse at a load that does not explain it: {}",
            names(facts, &[*place]),
            worse(facts, *place)
        ));
    }
    match age {
        None => out.pro.push("under way at the onset".to_owned()),
        Some(age) if age < Duration::from_secs(30) => {
            out.pro.push(format!("made {} before the onset", span(age)));
        }
        Some(age) => out.con.push(format!(
            "nothing got worse in the {} between it and the onset",
            span(age)
        )),
    }
}
