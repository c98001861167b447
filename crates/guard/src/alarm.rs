//! The tests of a pool above their thresholds, in words, and since when.
//!
//! Onsets are dated over the rows of all epochs, not only of the tested one: what began before a swap must not be
//! blamed on it.

use std::time::Duration;

use evenkeel_detect::harm::HarmEvidence;
use evenkeel_detect::load;
use evenkeel_detect::onset::{Onset, TickCount, change_point};
use evenkeel_detect::share::{self, ShareEvidence};
use evenkeel_model::clock::Mono;

use crate::counts::Row;
use crate::epoch::EpochInfo;
use crate::spread::Strayed;
use crate::watch::PoolWatch;

/// Which test alarms.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) enum AlarmKind {
    /// Traffic does not follow the running configuration.
    Fidelity,
    /// Traffic does not follow the intent.
    Intent,
    /// The traffic of a zone is not what is intended for it.
    Zone,
    /// A worker does not do what the others do.
    Worker,
    /// Load is not level.
    Load,
    /// Too many requests fail.
    Errors,
    /// Too many requests are slow.
    Slow,
    /// A health check changes its mind again and again.
    Flapping,
    /// Every check fails although the backends serve well.
    Blind,
    /// What runs is not what the journal says.
    Drift,
    /// The list of its members is not renewed.
    Unlisted,
}

impl AlarmKind {
    /// Harm, not imbalance.
    pub(crate) const fn is_harm(self) -> bool {
        matches!(self, Self::Errors | Self::Slow)
    }
}

/// A test above its threshold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alarm {
    /// Which.
    pub(crate) kind: AlarmKind,
    /// When it began.
    pub(crate) onset: Onset,
    /// In one line, with numbers.
    pub(crate) title: String,
    /// Sample and threshold.
    pub(crate) detail: String,
}

impl PoolWatch {
    /// The tests above their thresholds.
    pub(crate) fn raised(&self) -> Vec<AlarmKind> {
        let share = |said: &Option<ShareEvidence>| said.as_ref().is_some_and(|e| e.alarm);
        let many = self.client_rule.open;
        let harm = |said: &Option<HarmEvidence>| many && said.as_ref().is_some_and(|e| e.alarm);
        let load = self
            .said
            .load
            .as_ref()
            .is_some_and(|l| l.iter().any(|e| is_load_fault(e.verdict)));
        [
            (AlarmKind::Intent, share(&self.said.intent)),
            (AlarmKind::Fidelity, share(&self.said.fidelity)),
            (
                AlarmKind::Zone,
                self.spread.zones(&self.pool.name).is_some(),
            ),
            (AlarmKind::Worker, self.spread.workers(&self.pool).is_some()),
            (AlarmKind::Load, load),
            (AlarmKind::Errors, harm(&self.said.errors)),
            (AlarmKind::Slow, harm(&self.said.slow)),
            (AlarmKind::Flapping, self.flapping),
            (AlarmKind::Blind, self.blind.is_some()),
            (AlarmKind::Drift, self.is_drifting()),
            (AlarmKind::Unlisted, self.unlisted().is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, raised)| raised.then_some(kind))
        .collect()
    }

    /// Every test above its threshold.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let shares = [
            (AlarmKind::Intent, &self.said.intent),
            (AlarmKind::Fidelity, &self.said.fidelity),
        ];
        for (kind, said) in shares {
            if let Some(evidence) = said.as_ref().filter(|e| e.alarm) {
                alarms.extend(self.share_alarm(kind, evidence));
            }
        }
        let parts = [
            (AlarmKind::Zone, self.spread.zones(&self.pool.name)),
            (AlarmKind::Worker, self.spread.workers(&self.pool)),
        ];
        for (kind, strayed) in parts {
            alarms.extend(strayed.map(|strayed| self.part_alarm(kind, strayed)));
        }
        alarms.extend(self.load_alarm());
        let harms = [
            (AlarmKind::Errors, &self.said.errors),
            (AlarmKind::Slow, &self.said.slow),
        ];
        for (kind, said) in harms {
            if let Some(evidence) = said.as_ref().filter(|e| e.alarm && self.client_rule.open) {
                alarms.push(self.harm_alarm(kind, evidence));
            }
        }
        alarms.extend(self.flap_alarm());
        alarms.extend(self.blind_alarm());
        alarms.extend(self.drift_alarm());
        alarms.extend(self.unlisted_alarm());
        alarms
    }

    fn share_alarm(&self, kind: AlarmKind, evidence: &ShareEvidence) -> Option<Alarm> {
        let strength = |b: &share::BackendEvidence| b.log_over.max(b.log_under);
        let named = evidence
            .backends
            .iter()
            .enumerate()
            .filter(|(_, b)| matches!(b.verdict, share::Verdict::Over | share::Verdict::Under));
        // Who gets too much is what people have to know; who gets too little follows from it.
        let (index, backend) = named.max_by(|a, b| {
            let over = |x: &share::BackendEvidence| x.verdict == share::Verdict::Over;
            (over(a.1).cmp(&over(b.1))).then(strength(a.1).total_cmp(&strength(b.1)))
        })?;
        let (what, theta) = match kind {
            AlarmKind::Fidelity => ("its configuration gives it", self.expected.as_ref()?),
            _ => ("intended", &self.intended),
        };
        let name = &self.pool.backends.get(index)?.name;
        let picks = self.counts.totals().get(index).copied().unwrap_or(0);
        let shown = backend
            .share
            .unwrap_or(picks as f64 / evidence.picks.max(1) as f64);
        Some(Alarm {
            kind,
            onset: self.date(|row| (self.free_as_now(row, index, kind), None)),
            title: format!(
                "{name} of pool `{}` gets {:.0} % of the traffic, {what} {:.0} %",
                self.pool.name,
                shown * 100.0,
                theta.get(index).copied().unwrap_or(0.0) * 100.0
            ),
            detail: format!(
                "{} test: {:.1} nats at a threshold of {:.1} over {} picks",
                if kind == AlarmKind::Fidelity {
                    "fidelity"
                } else {
                    "intent"
                },
                evidence.log_e,
                evidence.log_threshold,
                evidence.picks
            ),
        })
    }

    fn part_alarm(&self, kind: AlarmKind, strayed: Strayed) -> Alarm {
        let since = self.epoch().map_or(Mono::ZERO, |epoch| epoch.from);
        let now = self.counts.last().map_or(since, |row| row.at);
        let unknown = Onset {
            lo: since,
            best: since,
            hi: now,
        };
        Alarm {
            kind,
            onset: strayed.onset.unwrap_or(unknown),
            title: strayed.title,
            detail: strayed.detail,
        }
    }

    fn load_alarm(&self) -> Option<Alarm> {
        let said = self.said.load.as_ref()?;
        let mut judged = said.iter().enumerate();
        let (index, evidence) = judged.find(|(_, e)| is_load_fault(e.verdict))?;
        let name = &self.pool.backends.get(index)?.name;
        let kind = AlarmKind::Load;
        Some(Alarm {
            kind,
            onset: self.date(|row| (self.free_as_now(row, index, kind), None)),
            title: format!("{name} of pool `{}` {evidence}", self.pool.name),
            detail: format!(
                "load test: {:.1} nats for its load, {:.1} for its failures",
                evidence.log_load, evidence.log_failures
            ),
        })
    }

    fn harm_alarm(&self, kind: AlarmKind, evidence: &HarmEvidence) -> Alarm {
        let rate = evidence.rate.unwrap_or(0.0) * 100.0;
        let objective = evidence.objective * 100.0;
        let pool = &self.pool.name;
        let title = if kind == AlarmKind::Errors {
            format!("pool `{pool}` fails {rate:.1} % of its requests, objective {objective:.1} %")
        } else {
            let limit = self.pool.objective.p99.as_millis();
            format!("pool `{pool}` answers {rate:.1} % of its requests slower than {limit} ms")
        };
        let errors = kind == AlarmKind::Errors;
        Alarm {
            kind,
            onset: self.date(|row| {
                let (ended, failed, slow) = row.harm_of_many();
                (if errors { failed } else { slow }, Some(ended))
            }),
            title,
            detail: format!(
                "harm test: {:.1} nats at a threshold of {:.1} over {} requests",
                evidence.log_e, evidence.log_threshold, evidence.requests
            ),
        }
    }

    /// The free picks of a backend in `row`, had its part (as the test of `kind` sees it) been what it is now: that others left or came back
    /// changed its share by right, and is no onset.
    fn free_as_now(&self, row: &Row, index: usize, kind: AlarmKind) -> u64 {
        let hits = row.free_of(index);
        let mut epochs = self.epochs.iter().rev();
        let then = epochs.find(|epoch| epoch.fact.epoch == row.epoch);
        let due = |epoch: &EpochInfo| epoch.due(kind, index);
        let (Some(then), Some(now)) = (then.and_then(due), self.epoch().and_then(due)) else {
            return hits;
        };
        let free = row.free();
        let as_now = if then > 0.0 {
            hits as f64 * now / then
        } else {
            free as f64 * now
        };
        (as_now.round() as u64).min(free)
    }

    /// When the counts that `pick` takes from a row (hits, out of; free picks by default) changed, over all epochs
    /// of the same backends.
    fn date(&self, pick: impl Fn(&Row) -> (u64, Option<u64>)) -> Onset {
        let size = self.pool.backends.len();
        let rows = self.counts.rows();
        let same = rows.iter().rev().take_while(|r| r.cells.len() == size);
        let skip = rows.len() - same.count();
        let ticks: Vec<TickCount> = rows
            .iter()
            .skip(skip)
            .map(|row| {
                let (hits, of) = pick(row);
                TickCount {
                    at: row.at,
                    hits,
                    of: of.unwrap_or_else(|| row.free()),
                }
            })
            .collect();
        let end = ticks.last().map_or(Mono::ZERO, |t| t.at);
        let since = ticks
            .first()
            .map_or(Mono::ZERO, |t| t.at.minus(Duration::from_secs(1)));
        change_point(&ticks, since).unwrap_or(Onset {
            lo: since,
            best: end,
            hi: end,
        })
    }
}

const fn is_load_fault(verdict: load::Verdict) -> bool {
    matches!(
        verdict,
        load::Verdict::Over | load::Verdict::Under | load::Verdict::Sinkhole
    )
}
