//! What came of a run, and of many.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenario::{Scenario, Stage};

/// What came of one run. Serialises to the JSON of `drill run`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the drill.
    pub drill: String,
    /// Where it ran.
    pub mode: Stage,
    /// Seed of every random choice.
    pub seed: u64,
    /// From the injected fault to the detection of an incident, seconds; `None`: never.
    pub detect_seconds: Option<f64>,
    /// From the injected fault to the start of the first 5 s in which everything was well again; `None`: never.
    pub restore_seconds: Option<f64>,
    /// Requests from the injected fault (or the steady state, if none) to the end.
    pub requests: u64,
    /// Of these, answered 5xx or not at all.
    pub requests_failed: u64,
    /// Of these, failed or slower than the objective.
    pub requests_harmed: u64,
    /// What the incident says last.
    pub diagnosis: Option<Diagnosis>,
    /// What Evenkeel did, in order.
    pub actions: Vec<ActionTaken>,
    /// Incidents that nothing called for, and diagnoses that name what they must not.
    pub false_alarms: u32,
    /// Whether everything that is expected held.
    pub passed: bool,
    /// The run says nothing: no steady state, or the stage could not carry it.
    pub void: bool,
    /// Why it passed or failed, a line each; one text in JSON.
    #[serde(serialize_with = "joined")]
    pub why: Vec<String>,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// What a reader should know about the run itself.
    pub notes: Vec<String>,
    /// Length of the run, seconds of its clock.
    pub seconds: f64,
}

/// Lines as one text, parted by `; `.
fn joined<S: serde::Serializer>(lines: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&lines.join("; "))
}

/// A diagnosis in the words of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What is to be undone.
    pub cause: String,
    /// How it broke things.
    pub mechanism: String,
    /// Whom it concerns, `kind:name`.
    pub subject: Option<String>,
}

/// Something that Evenkeel did about the incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActionTaken {
    /// Seconds from the injected fault (or the steady state).
    pub at_seconds: f64,
    /// `rollback`, `page`, `suggest`, ...
    pub kind: String,
    /// In words.
    pub detail: String,
    /// `done`, `suggested`, `failed: ...`.
    pub outcome: String,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds from the steady state; negative before it.
    pub at_seconds: f64,
    /// In words.
    pub what: String,
}

impl Outcome {
    /// A run that could not be made.
    pub fn void(scenario: &Scenario, mode: Stage, seed: u64, why: String) -> Self {
        Self {
            drill: scenario.name.clone(),
            mode,
            seed,
            detect_seconds: None,
            restore_seconds: None,
            requests: 0,
            requests_failed: 0,
            requests_harmed: 0,
            diagnosis: None,
            actions: Vec::new(),
            false_alarms: 0,
            passed: false,
            void: true,
            why: vec![why],
            timeline: Vec::new(),
            notes: Vec::new(),
            seconds: 0.0,
        }
    }
}

/// What came of many runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Runs that passed.
    pub passed: usize,
    /// Runs.
    pub total: usize,
    /// Share of the runs that must pass.
    pub pass_share: f64,
    /// Whether enough passed: exit code 0.
    pub ok: bool,
    /// Over the runs that detected.
    pub detect_seconds: Spread,
    /// Over the runs that were restored.
    pub restore_seconds: Spread,
    /// How often which cause was diagnosed.
    pub confusion: Vec<Confusion>,
    /// False alarms per hour of all runs together; `None` without any time.
    pub false_alarms_per_hour: Option<f64>,
}

/// Median and 95th percentile; `None` without any value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the runs took at most this.
    pub median: Option<f64>,
    /// 95 % of the runs took at most this.
    pub p95: Option<f64>,
}

/// A row of the confusion table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The cause that the scenario expects; `None`: none, or silence.
    pub expected: Option<String>,
    /// The cause that was diagnosed; `None`: no incident.
    pub diagnosed: Option<String>,
    /// Runs.
    pub count: usize,
}

/// The JSON of `drill run --seeds N`: the runs and their summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each run.
    pub runs: Vec<Outcome>,
    /// All of them.
    pub summary: Summary,
}

impl Summary {
    /// The summary of `runs` of `scenario`.
    pub fn of(runs: &[Outcome], scenario: &Scenario) -> Self {
        let passed = runs.iter().filter(|run| run.passed).count();
        let pass_share = scenario.share_needed(runs.len());
        let expected = scenario.expect.cause.map(|cause| {
            evenkeel_model::blame::Cause::from(cause)
                .as_str()
                .to_owned()
        });
        let mut table: BTreeMap<Option<String>, usize> = BTreeMap::new();
        for run in runs.iter().filter(|run| !run.void) {
            let diagnosed = run.diagnosis.as_ref().map(|d| d.cause.clone());
            *table.entry(diagnosed).or_default() += 1;
        }
        let confusion = table.into_iter().map(|(diagnosed, count)| Confusion {
            expected: expected.clone(),
            diagnosed,
            count,
        });
        let hours = runs.iter().map(|run| run.seconds).sum::<f64>() / 3_600.0;
        let alarms: u32 = runs.iter().map(|run| run.false_alarms).sum();
        Self {
            passed,
            total: runs.len(),
            pass_share,
            ok: !runs.is_empty() && passed as f64 + 1e-9 >= pass_share * runs.len() as f64,
            detect_seconds: Spread::of(runs.iter().filter_map(|run| run.detect_seconds)),
            restore_seconds: Spread::of(runs.iter().filter_map(|run| run.restore_seconds)),
            confusion: confusion.collect(),
            false_alarms_per_hour: (hours > 0.0).then(|| f64::from(alarms) / hours),
        }
    }
}

impl Spread {
    /// Nearest-rank percentiles of `values`.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let rank = |q: f64| {
            let index = (q * values.len() as f64).ceil().max(1.0) as usize - 1;
            values.get(index).copied()
        };
        Self {
            median: rank(0.5),
            p95: rank(0.95),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn percentiles_are_values_that_occurred_and_none_without_any() {
        let spread = Spread::of((1..=20).map(f64::from));
        assert_eq!((spread.median, spread.p95), (Some(10.0), Some(19.0)));
        assert_eq!(Spread::of([].into_iter()).median, None);
    }
}
