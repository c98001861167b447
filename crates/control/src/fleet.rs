//! What is true at run time, kept across revisions by name: the rosters of all pools, and the gauges of their backends.
//!
//! A revision is what was declared; this is the other half of a snapshot. Health, ejections, slow starts, priorities and
//! epochs are decided by `balance::roster`, the same code that the simulation runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use evenkeel_balance::roster::{At, Change, Rosters};
use evenkeel_guard::rollout::overlay::Overlays;
use evenkeel_guard::{EpochFact, Ramp};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::RolloutRecord;
use evenkeel_model::tally::{Tally, Vitals};
use evenkeel_proxy::check::CheckResult;
use evenkeel_proxy::tls::KeyRing;
use evenkeel_proxy::{Gauges, PoolRuntime, Snapshot, SnapshotError, StickyKey};

/// Runtime facts of all pools.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    gauges: Gauges,
    rosters: Rosters,
    overlays: Overlays,
}

impl Fleet {
    /// A fleet of which nothing is known, whose sticky cookies are signed with `key` and whose certificates `ring` holds.
    pub(crate) fn new(key: StickyKey, ring: KeyRing) -> Self {
        Self {
            gauges: Gauges::with_keys(key, ring),
            ..Self::default()
        }
    }

    /// The snapshot of `config`, with the epochs that begin and those of which there is something new to tell:
    /// see [`Rosters::rounds`].
    pub(crate) fn snapshot(
        &mut self,
        revision: RevisionId,
        config: &Arc<Config>,
        is_revision: bool,
        at: At,
    ) -> Result<(Snapshot, Vec<EpochFact>), SnapshotError> {
        self.forget_all_but(config);
        let shaped = self.overlays.overlaid(config, revision);
        self.rosters
            .explain(self.overlays.reasons(config, revision));
        let rounds = self.rosters.rounds(&shaped, is_revision, at);
        let news = config.pools.iter().zip(&rounds).filter(|(_, r)| r.is_news);
        let facts = news
            .map(|(pool, round)| EpochFact::of(pool, round.epoch, revision, &round.lineup))
            .collect();
        let runtime = rounds.into_iter().map(|round| PoolRuntime {
            epoch: round.epoch,
            members: round.lineup.members,
            drained: round.lineup.drained,
        });
        let runtime = runtime.collect();
        let snapshot = Snapshot::new(revision, shaped, runtime, &self.gauges)?;
        Ok((snapshot, facts))
    }

    /// The last snapshot did not come into force.
    pub(crate) fn withdraw(&mut self) {
        self.rosters.withdraw();
    }

    /// The weights of a pool follow this deployment from the next snapshot on.
    pub(crate) fn follow(&mut self, rollout: RolloutRecord) {
        self.overlays.follow(rollout);
    }

    /// As [`Overlays::come_in`], from the next snapshot on.
    pub(crate) fn come_in(&mut self, ramp: Option<Ramp>, running: RevisionId) -> bool {
        self.overlays.come_in(ramp, running)
    }

    /// `config` as it is balanced while `revision` runs.
    pub(crate) fn overlaid(&self, config: &Arc<Config>, revision: RevisionId) -> Arc<Config> {
        self.overlays.overlaid(config, revision)
    }

    /// Takes in a check result; returns the flip that it completes (the first good result counts as one).
    pub(crate) fn observe(
        &mut self,
        config: &Config,
        result: &CheckResult,
        at: At,
    ) -> Option<Change> {
        let key = (&result.pool, &result.backend);
        let said = (result.ok, result.detail.as_str());
        self.rosters.checked(config, key, said, at)
    }

    /// Takes in what a worker counted.
    pub(crate) fn counted(&mut self, config: &Config, tally: &Tally) {
        self.rosters.counted(config, tally);
    }

    /// Takes in what the backends of a pool report.
    pub(crate) fn reported(
        &mut self,
        config: &Config,
        (pool, backends): (&Name, &[(Name, Vitals)]),
        at: At,
    ) {
        let vitals = backends.iter().map(|(name, vitals)| (name, vitals));
        self.rosters.reported(config, pool, vitals, at);
    }

    /// Drains a backend until then, now or when it comes.
    pub(crate) fn drain(
        &mut self,
        backend: (&Name, &Name),
        until: Mono,
        reason: &str,
    ) -> Option<Change> {
        self.rosters.drain(backend, until, reason)
    }

    /// Ends a drain.
    pub(crate) fn undrain(
        &mut self,
        config: &Config,
        backend: (&Name, &Name),
        at: At,
    ) -> Option<Change> {
        self.rosters.undrain(config, backend, at)
    }

    /// What time brought; once a second.
    pub(crate) fn tick(&mut self, config: &Config, at: At) -> Vec<Change> {
        self.rosters.tick(config, at)
    }
    /// Whether nothing keeps a backend from traffic: neither its checks nor its answers nor a person.
    pub(crate) fn is_up(&self, pool: &Pool, index: usize) -> bool {
        self.rosters.is_up(pool, index)
    }

    /// Drops the gauges of backends that are no longer in the configuration.
    fn forget_all_but(&mut self, config: &Config) {
        let pools = config.pools.iter();
        let known: BTreeSet<(&Name, &Name)> = pools
            .flat_map(|pool| pool.backends.iter().map(move |b| (&pool.name, &b.name)))
            .collect();
        self.gauges
            .retain(|pool, backend| known.contains(&(pool, backend)));
    }
}
