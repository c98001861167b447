//! The candidates: each generator looks at the facts and says what it predicts.
//!
//! Priors, in nats below a revision swapped in right at the onset: a change is taken to be bad one time in ten; a bad revision
//! acts within about 2 s, a bad version within about 15 s of the moment told; a fault comes by itself once a day
//! per pool. ln(0.1 / 2 s x 86,400 s) is 8.4 and ln(15 / 2) is 2.0.

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::record::CandidateRecord;

use crate::facts::Facts;

pub(crate) mod deployment;
pub(crate) mod fault;
pub(crate) mod key;
pub(crate) mod load;
pub(crate) mod members;
pub(crate) mod revision;
pub(crate) mod spread;
pub(crate) mod storm;

/// A deployment, right at the onset.
const DEPLOYED: f64 = -2.0;
/// What is said against a change that harmed nobody for long ends here: a version can still break late (a leak, a cache
/// that fills).
const LATE_FLOOR: f64 = -12.0;
/// A fault of one backend that comes by itself.
const SPONTANEOUS: f64 = -8.5;
/// A fault of several backends at once that comes by itself: a zone, a dependency.
const SPONTANEOUS_WIDE: f64 = -10.0;
/// Nats for a backend that left traffic through a failing check while what it served was fine.
const OUT_NATS: f64 = 9.0;
/// Names spelled out in a sentence.
const NAMES_MAX: usize = 4;

/// One candidate while it is judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) cause: Cause,
    pub(crate) mechanism: Mechanism,
    pub(crate) subject: Subject,
    pub(crate) score: f64,
    pub(crate) pro: Vec<String>,
    pub(crate) con: Vec<String>,
}

impl Candidate {
    pub(crate) fn new(cause: Cause, mechanism: Mechanism, subject: Subject, prior: f64) -> Self {
        Self {
            cause,
            mechanism,
            subject,
            score: prior,
            pro: Vec::new(),
            con: Vec::new(),
        }
    }

    pub(crate) fn into_record(self) -> CandidateRecord {
        CandidateRecord {
            cause: self.cause,
            mechanism: self.mechanism,
            subject: self.subject,
            score: self.score,
            evidence_for: self.pro,
            evidence_against: self.con,
        }
    }
}

/// Every candidate of `facts`, in no order.
pub(crate) fn all(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut out = vec![nothing(facts)];
    out.extend(revision::candidates(facts));
    out.extend(deployment::candidates(facts));
    out.extend(fault::candidates(facts));
    out.extend(load::candidates(facts));
    out.extend(storm::candidate(facts));
    out.extend(members::candidates(facts));
    out.extend(key::candidates(facts));
    out.extend(spread::drift(facts));
    out
}

/// "Nothing changed": the explanation that every other is measured against.
fn nothing(facts: &Facts<'_>) -> Candidate {
    let pool = facts.evidence.pool.name.clone();
    let mut none = Candidate::new(Cause::Unknown, Mechanism::None, Subject::Pool(pool), 0.0);
    let bad = &facts.bad;
    if bad.is_empty() {
        none.pro
            .push("no backend is slower or fails more than before".to_owned());
    } else {
        none.con.push(format!("{} got worse", names(facts, bad)));
    }
    none
}

/// `web-1, web-2 and 3 more`.
pub(crate) fn names(facts: &Facts<'_>, places: &[usize]) -> String {
    let name = |i: &usize| {
        facts
            .evidence
            .pool
            .backends
            .get(*i)
            .map(|b| b.name.as_str())
    };
    let shown: Vec<&str> = places.iter().take(NAMES_MAX).filter_map(name).collect();
    if places.len() > NAMES_MAX {
        format!("{} and {} more", shown.join(", "), places.len() - NAMES_MAX)
    } else if let Some((last, rest)) = shown.split_last()
        && !rest.is_empty()
    {
        format!("{} and {last}", rest.join(", "))
    } else {
        shown.concat()
    }
}

/// `83 %`, `0.4 %`.
pub(crate) fn percent(fraction: f64) -> String {
    if fraction > 0.0 && fraction < 0.0995 {
        format!("{:.1} %", fraction * 100.0)
    } else {
        format!("{:.0} %", fraction * 100.0)
    }
}

/// How backend `place` got worse: `errors 0.5 % -> 24 %, slow responses 5 % -> 60 %`.
pub(crate) fn worse(facts: &Facts<'_>, place: usize) -> String {
    let Some(backend) = facts.backends.get(place) else {
        return String::new();
    };
    let mut parts = Vec::new();
    for (what, signal) in [("errors", backend.errors), ("slow responses", backend.slow)] {
        if signal.gain_alone() >= super::facts::BAD_NATS {
            parts.push(format!(
                "{what} {} -> {}",
                percent(signal.base),
                percent(signal.rate())
            ));
        }
    }
    parts.join(", ")
}

/// `741 rps, 123 % of its capacity of 600 rps`.
pub(crate) fn load_words(load: f64, capacity: Option<f64>) -> String {
    match capacity {
        Some(c) => format!(
            "{load:.0} rps, {} of its capacity of {c:.0} rps",
            percent(load / c)
        ),
        None => format!("{load:.0} rps"),
    }
}
