//! What people see of deployments.

use evenkeel_model::ids::Name;

use super::compare::{Comparison, Seen, Standing};
use super::{Active, Inner, RolloutState};
use crate::view::{RolloutView, VersionView};

impl Inner {
    /// The newest deployment of each pool, as far as it moves traffic or is in force still.
    pub(crate) fn rollout_views(&self) -> Vec<RolloutView> {
        let running = self.running.record.id;
        let active = self.rollouts.by_pool.values();
        let shown = active.filter(|a| a.record.is_open() || a.record.is_in_force(running));
        shown.map(|active| self.rollout_view(active)).collect()
    }

    fn rollout_view(&self, active: &Active) -> RolloutView {
        let record = &active.record;
        let comparison = &active.comparison;
        let (verdict, reason) = verdict(active);
        let version = |name: &Name, seen: &Seen| {
            let watch = self.pools.get(&record.pool);
            let shares = watch.map(|watch| {
                let backends = watch.pool.backends.iter().zip(&watch.intended);
                let mine = backends.filter(|(b, _)| b.version.as_ref() == Some(name));
                mine.map(|(_, share)| share).sum::<f64>()
            });
            let free = comparison.new.free + comparison.old.free;
            let ms = |q: f64| {
                let us = seen.latency.quantile_us(q);
                us.map(|us| us as f64 / 1_000.0)
            };
            VersionView {
                version: name.clone(),
                intended_share: shares,
                observed_share: (free >= crate::watch::ENOUGH)
                    .then(|| seen.free as f64 / free as f64),
                requests: seen.ended,
                error_rate: seen.error_rate(),
                p50_ms: ms(0.5),
                p99_ms: ms(0.99),
            }
        };
        let watch = self.pools.get(&record.pool);
        RolloutView {
            needed: watch.map_or(0, |watch| Comparison::needed(&watch.pool)),
            versions: vec![
                version(&record.version, &comparison.new),
                version(&record.stable, &comparison.old),
            ],
            held: active.held.clone(),
            verdict,
            reason,
            file_differs: !record.is_open() && record.lifted_by.is_none(),
            record: record.clone(),
        }
    }
}

/// What the comparison says, in a word and in a sentence.
fn verdict(active: &Active) -> (&'static str, String) {
    let record = &active.record;
    let comparison = &active.comparison;
    let words = comparison.in_words(&record.version, &record.stable);
    let word = match (record.state, comparison.standing()) {
        (RolloutState::Aborting | RolloutState::Aborted, _) => {
            return ("aborted", record.why.clone());
        }
        (_, Standing::Worse(_)) => "worse",
        (_, Standing::Doubtful) => "unknown",
        (RolloutState::Running, _) if comparison.new.ended < crate::watch::ENOUGH => "unknown",
        (_, Standing::Alike) => "ok",
    };
    (word, words)
}
