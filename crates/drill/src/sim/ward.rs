//! Health, ejections, slow starts and epochs of the simulated data plane: the rosters that the control shell runs, handed
//! to the event engine.

use std::sync::Arc;

use evenkeel_balance::roster::{At, Change, Rosters};
use evenkeel_forecast::engine::spec::{BackendKey, PoolSnapshot, Probe, Snapshot};
use evenkeel_guard::rollout::overlay::Overlays;
use evenkeel_guard::{EpochFact, PoolVitals, Ramp};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::RolloutRecord;
use evenkeel_model::tally::Tally;

/// Runtime facts of all pools.
#[derive(Debug, Default)]
pub(super) struct Ward {
    rosters: Rosters,
    overlays: Overlays,
}

impl Ward {
    /// The snapshot of `config`, with the epochs that begin and those of which there is something new to tell.
    pub(super) fn snapshot(
        &mut self,
        revision: RevisionId,
        config: &Arc<Config>,
        is_revision: bool,
        at: At,
    ) -> (Snapshot, Vec<EpochFact>) {
        let shaped = self.overlays.overlaid(config, revision);
        self.rosters
            .explain(self.overlays.reasons(config, revision));
        let rounds = self.rosters.rounds(&shaped, is_revision, at);
        let news = config.pools.iter().zip(&rounds).filter(|(_, r)| r.is_news);
        let facts = news
            .map(|(pool, round)| EpochFact::of(pool, round.epoch, revision, &round.lineup))
            .collect();
        let pools = rounds.into_iter().map(|round| PoolSnapshot {
            epoch: round.epoch,
            members: round.lineup.members,
        });
        let snapshot = Snapshot {
            config: shaped,
            pools: pools.collect(),
        };
        (snapshot, facts)
    }

    /// The weights of a pool follow this deployment from the next snapshot on.
    pub(super) fn follow(&mut self, rollout: RolloutRecord) {
        self.overlays.follow(rollout);
    }

    /// As [`Overlays::come_in`], from the next snapshot on.
    pub(super) fn come_in(&mut self, ramp: Option<Ramp>, running: RevisionId) -> bool {
        self.overlays.come_in(ramp, running)
    }

    /// Takes in a check result; the flip that it completes (the first result counts as one when it is good).
    pub(super) fn observe(
        &mut self,
        config: &Config,
        key: &BackendKey,
        probe: &Probe,
        at: At,
    ) -> Option<Change> {
        let said = (probe.ok, probe.detail.as_str());
        self.rosters.checked(config, (&key.0, &key.1), said, at)
    }

    /// Whether the backend at `index` of `pool` takes traffic, or would.
    pub(super) fn is_up(&self, pool: &Pool, index: usize) -> bool {
        self.rosters.is_up(pool, index)
    }

    /// Whether its checks have taken the backend out.
    pub(super) fn is_checked_down(&self, key: &BackendKey) -> bool {
        self.rosters.is_checked_down(&key.0, &key.1)
    }

    /// Takes in what a worker counted.
    pub(super) fn counted(&mut self, config: &Config, tally: &Tally) {
        self.rosters.counted(config, tally);
    }

    /// Takes in what the backends of a pool report, in file order.
    pub(super) fn reported(&mut self, config: &Config, told: &PoolVitals, at: At) {
        let pool = config.pool(told.pool.as_str());
        let names = pool.iter().flat_map(|pool| &pool.backends);
        let vitals = names.map(|backend| &backend.name).zip(&told.backends);
        self.rosters.reported(config, &told.pool, vitals, at);
    }

    /// What time brought; once a second.
    pub(super) fn tick(&mut self, config: &Config, at: At) -> Vec<Change> {
        self.rosters.tick(config, at)
    }

    /// Drains a backend until then.
    pub(super) fn drain(&mut self, whom: (&Name, &Name), until: Mono, reason: &str) {
        let change = self.rosters.drain(whom, until, reason);
        drop(change); // the whole pool gets a new epoch anyway
    }

    /// Ends a drain.
    pub(super) fn undrain(&mut self, config: &Config, whom: (&Name, &Name), at: At) {
        let change = self.rosters.undrain(config, whom, at);
        drop(change);
    }

    /// Forgets what only the process knew: it was restarted.
    pub(super) fn restart(&mut self, running: RevisionId) {
        self.rosters.restart();
        self.overlays.come_in(None, running);
    }
}
