//! Health and epochs of the simulated data plane, kept across revisions by name as the control shell keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_balance::health::HealthState;
use evenkeel_balance::{FailOpen, effective_members};
use evenkeel_forecast::engine::spec::{BackendKey, PoolSnapshot, Probe, Snapshot};
use evenkeel_guard::{EpochFact, HealthFact, MemberFact};
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::{Epoch, Name, RevisionId};

/// Runtime facts of all pools.
#[derive(Debug, Default)]
pub(super) struct Ward {
    health: BTreeMap<BackendKey, (HealthState, String)>,
    epochs: BTreeMap<Name, Epoch>,
}

/// A flip of health, and whether it changes who takes traffic.
#[derive(Debug)]
pub(super) struct Flip {
    pub(super) fact: HealthFact,
    pub(super) moves_traffic: bool,
}

impl Ward {
    /// Starts a new epoch in every pool that `starts` says; the snapshot of `config` and the epochs that began.
    pub(super) fn snapshot(
        &mut self,
        revision: RevisionId,
        config: &Arc<Config>,
        starts: impl Fn(&Pool) -> bool,
    ) -> (Snapshot, Vec<EpochFact>) {
        let mut pools = Vec::new();
        let mut facts = Vec::new();
        for pool in &config.pools {
            let epoch = self.epochs.entry(pool.name.clone()).or_default();
            let begins = starts(pool) || *epoch == Epoch(0);
            if begins {
                epoch.0 += 1;
            }
            let epoch = *epoch;
            let (members, fail_open) = effective_members(pool, |index| self.is_up(pool, index));
            if begins {
                let facts_of = members.iter().map(|member| MemberFact {
                    name: member.name.clone(),
                    weight: member.weight,
                    eligible: member.eligible,
                    why: self.why(pool, &member.name, member.eligible, fail_open),
                });
                facts.push(EpochFact {
                    pool: pool.name.clone(),
                    epoch,
                    revision,
                    members: facts_of.collect(),
                });
            }
            pools.push(PoolSnapshot { epoch, members });
        }
        let snapshot = Snapshot {
            config: Arc::clone(config),
            pools,
        };
        (snapshot, facts)
    }

    /// Takes in a check result; the flip that it completes (the first result counts as one when it is good).
    pub(super) fn observe(
        &mut self,
        config: &Config,
        key: &BackendKey,
        probe: &Probe,
    ) -> Option<Flip> {
        let pool = config.pool(key.0.as_str())?;
        let health = pool.health.as_ref()?;
        pool.backend(key.1.as_str())?;
        let (state, detail) = self.health.entry(key.clone()).or_default();
        let was_known = state.is_known();
        let transition = state.observe(probe.ok, health.rise, health.fall);
        detail.clone_from(&probe.detail);
        if transition.is_none() && (was_known || !probe.ok) {
            return None;
        }
        Some(Flip {
            fact: HealthFact {
                pool: key.0.clone(),
                backend: key.1.clone(),
                up: state.is_up(),
                detail: probe.detail.clone(),
            },
            moves_traffic: transition.is_some(),
        })
    }

    /// Forgets what only the process knew: it was restarted.
    pub(super) fn restart(&mut self) {
        self.health.clear();
    }

    fn is_up(&self, pool: &Pool, index: usize) -> bool {
        let Some(backend) = pool.backends.get(index) else {
            return false;
        };
        if pool.health.is_none() {
            return true;
        }
        self.health
            .get(&(pool.name.clone(), backend.name.clone()))
            .is_none_or(|(state, _)| state.is_up())
    }

    fn why(&self, pool: &Pool, backend: &Name, eligible: bool, fail_open: FailOpen) -> String {
        let detail = self
            .health
            .get(&(pool.name.clone(), backend.clone()))
            .map_or("", |(_, detail)| detail.as_str());
        match (eligible, fail_open) {
            (false, _) => format!("out by its health check: {detail}"),
            (true, FailOpen::Yes) => {
                format!(
                    "every health check of the pool fails, so all backends take traffic: {detail}"
                )
            }
            (true, FailOpen::No | FailOpen::NobodyLeft) => String::new(),
        }
    }
}
