//! Counterfactual spread: what the shares and loads would be without a candidate, and what that explains.

use evenkeel_balance::{Member, expected_shares};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::config::{Algorithm, Backend};

use super::{Candidate, SPONTANEOUS_WIDE, load_words, names, percent, worse};
use crate::MARGIN_TO_ACT;
use crate::evidence::EpochFact;
use crate::facts::{EpochShares, Facts, LOAD_RISE, OVERLOAD};
use crate::index::Index;
use crate::score::{acceptable, fit_penalty, observed, share_gain};

/// What is seen to differ from the journal is to be undone, whatever else it does.
const SEEN: f64 = 8.0;
/// Load below this share of a declared capacity makes nobody worse.
const LOAD_HARMLESS: f64 = 0.6;

/// A world without a candidate: requests per second that each backend would get, in file order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Without {
    pub(crate) loads: Vec<f64>,
}

/// What a candidate explains by load.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LoadCredit {
    pub(crate) nats: f64,
    /// Backends that are worse because of the load it puts on them.
    pub(crate) caused: Vec<usize>,
}

/// Credits a candidate with the failures of the backends that would not be overloaded without it.
pub(crate) fn load_credit(facts: &Facts<'_>, without: &Without) -> LoadCredit {
    let mut credit = LoadCredit::default();
    for (index, (backend, load)) in facts.backends.iter().zip(&without.loads).enumerate() {
        let could_hurt = match backend.capacity {
            Some(capacity) if backend.overloaded => *load < OVERLOAD * capacity,
            Some(capacity) => backend.load >= LOAD_HARMLESS * capacity,
            None => true,
        };
        if could_hurt && backend.load >= LOAD_RISE * load && backend.is_bad() {
            credit.nats += backend.bad_nats;
            credit.caused.push(index);
        }
    }
    credit
}

/// Says what `credit` means: what each backend carries, would carry, and how it got worse.
pub(crate) fn tell(
    facts: &Facts<'_>,
    credit: &LoadCredit,
    without: &Without,
    who: &str,
    candidate: &mut Candidate,
) {
    for place in credit.caused.iter().take(super::NAMES_MAX) {
        let (Some(backend), Some(load)) = (facts.backends.get(*place), without.loads.get(*place))
        else {
            continue;
        };
        candidate.pro.push(format!(
            "{} carries {}; without {who} it would carry {load:.0} rps; {}",
            names(facts, &[*place]),
            load_words(backend.load, backend.capacity),
            worse(facts, *place)
        ));
    }
}

/// Loads in file order when `algorithm` spreads `rate` over `members`; `None` where the load decides.
pub(crate) fn loads(
    facts: &Facts<'_>,
    algorithm: Algorithm,
    members: &[Member],
    rate: f64,
) -> Option<Without> {
    let shares = expected_shares(algorithm, members)?;
    let backends = &facts.evidence.pool.backends;
    let index = Index::new(members.iter().map(|m| &m.name));
    let share = |(place, backend): (usize, &Backend)| {
        let found = index
            .place(&backend.name, place)
            .and_then(|i| shares.get(i));
        rate * found.copied().unwrap_or(0.0)
    };
    let loads = backends.iter().enumerate().map(share).collect();
    Some(Without { loads })
}

/// Loads when every backend keeps its measured share and the whole takes `rate` picks per second.
pub(crate) fn loads_scaled(facts: &Facts<'_>, rate: f64) -> Without {
    let scale = rate / facts.picks_rate.max(0.01);
    Without {
        loads: facts.backends.iter().map(|b| b.load * scale).collect(),
    }
}

/// Nats by which the picks of `epoch` fit what runs better than what would run without the candidate, as far as what runs is
/// outside the tolerance band around the intent: a spread that was asked for needs no culprit.
pub(crate) fn share_credit(
    facts: &Facts<'_>,
    (epoch, shares): (&EpochFact, &EpochShares),
    without: Option<&[f64]>,
    spread_changed: bool,
) -> f64 {
    let picks = &epoch.picks_free;
    if let Some(with) = &shares.expected {
        let fine = acceptable(with, &shares.intended, &facts.evidence.pool);
        let against_fine = share_gain(picks, with, &fine);
        // Without a closed form for what ran before, what was intended stands for it.
        let against_before = without.map_or(against_fine, |p| share_gain(picks, with, p));
        return if against_fine < 0.0 && against_before < 0.0 {
            against_fine.max(against_before)
        } else {
            against_fine.min(against_before)
        };
    }
    let Some(fitted) = observed(picks).filter(|_| spread_changed) else {
        return 0.0;
    };
    let fine = acceptable(&fitted, &shares.intended, &facts.evidence.pool);
    let against_fine = share_gain(picks, &fitted, &fine);
    let against_before = without.map_or(against_fine, |p| share_gain(picks, &fitted, p));
    (against_fine.min(against_before) - fit_penalty(picks)).max(0.0)
}

/// Configuration drift: the traffic does not follow what the journal says that runs.
pub(crate) fn drift(facts: &Facts<'_>) -> Option<Candidate> {
    let evidence = facts.evidence;
    let mut gain = 0.0;
    for (epoch, shares) in &facts.epochs {
        let (Some(fitted), Some(expected)) = (observed(&epoch.picks_free), &shares.expected) else {
            continue;
        };
        let fine = acceptable(&fitted, &shares.intended, &evidence.pool);
        let picks = &epoch.picks_free;
        let against = share_gain(picks, &fitted, expected).min(share_gain(picks, &fitted, &fine));
        gain += (against - fit_penalty(picks)).max(0.0);
    }
    let (newest, newest_shares) = facts.epochs.last()?;
    let without = loads(facts, newest.algorithm, &newest.members, facts.picks_rate)?;
    let seen = evidence.drift.as_ref();
    if gain <= 0.0 && seen.is_none() {
        return None;
    }
    let prior = if seen.is_some() {
        SEEN
    } else {
        SPONTANEOUS_WIDE
    };
    let subject = seen.and_then(|drift| drift.pushed).map_or_else(
        || Subject::Pool(evidence.pool.name.clone()),
        Subject::Revision,
    );
    let mechanism = seen.map_or(Mechanism::None, |drift| drift.mechanism);
    let mechanism = match mechanism {
        Mechanism::None if ignores_weights((newest, newest_shares)) => Mechanism::Algorithm,
        told => told,
    };
    let mut candidate = Candidate::new(Cause::ConfigDrift, mechanism, subject, prior + gain);
    if gain > 0.0 {
        let credit = load_credit(facts, &without);
        candidate.score += credit.nats;
        let words = shares_words((newest, newest_shares));
        candidate.pro.push(format!(
            "the traffic does not follow {}: {words}",
            newest.revision
        ));
        tell(facts, &credit, &without, "it", &mut candidate);
    }
    match seen {
        Some(seen) => candidate.pro.push(seen.what.clone()),
        None => candidate
            .con
            .push("what runs is what the journal says".to_owned()),
    }
    Some(candidate)
}

/// Whether the picks are level over those that take traffic although the weights are not: the weights are as
/// journalled, so another algorithm runs.
fn ignores_weights((epoch, shares): (&EpochFact, &EpochShares)) -> bool {
    let picks = &epoch.picks_free;
    let (Some(fitted), Some(expected)) = (observed(picks), &shares.expected) else {
        return false;
    };
    let taking = expected.iter().filter(|share| **share > 0.0).count().max(1);
    let level: Vec<f64> = expected
        .iter()
        .map(|share| {
            if *share > 0.0 {
                1.0 / taking as f64
            } else {
                0.0
            }
        })
        .collect();
    share_gain(picks, &level, expected) > MARGIN_TO_ACT
        && share_gain(picks, &fitted, &level) < fit_penalty(picks)
}

/// The backend of `epoch` whose observed share is furthest from the intended one:
/// `web-1 got 82 % of 2,410 picks, expected 83 %, intended 33 %`.
pub(crate) fn shares_words((epoch, shares): (&EpochFact, &EpochShares)) -> String {
    let Some(seen) = observed(&epoch.picks_free) else {
        return "no picks yet".to_owned();
    };
    let intended = &shares.intended;
    let gap = |i: usize| {
        let (s, t) = (
            seen.get(i).copied().unwrap_or(0.0),
            intended.get(i).copied().unwrap_or(0.0),
        );
        (s - t).abs()
    };
    let worst = (0..seen.len()).max_by(|a, b| gap(*a).total_cmp(&gap(*b)));
    let Some((member, place)) = worst.and_then(|i| Some((epoch.members.get(i)?, i))) else {
        return String::new();
    };
    let at = |list: &[f64]| percent(list.get(place).copied().unwrap_or(0.0));
    let expected = shares
        .expected
        .as_ref()
        .map_or_else(String::new, |e| format!(", expected {}", at(e)));
    let total: u64 = epoch.picks_free.iter().sum();
    let (seen, intended) = (at(&seen), at(intended));
    format!(
        "{} got {seen} of {total} picks{expected}, intended {intended}",
        member.name
    )
}
