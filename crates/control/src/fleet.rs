//! What is true at run time: health and epochs of every backend and pool, kept across revisions by name.
//!
//! A revision is what was declared; this is the other half of a snapshot. A reload, a rollback and a restart of the
//! checks keep it: only a backend whose address changed starts over as unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_balance::health::HealthState;
use evenkeel_balance::{FailOpen, effective_members};
use evenkeel_guard::{EpochFact, HealthFact, MemberFact};
use evenkeel_model::config::{Address, Config, Pool};
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_proxy::check::CheckResult;
use evenkeel_proxy::{Gauges, PoolRuntime, Snapshot, SnapshotError, StickyKey};

/// Health of one backend.
#[derive(Debug, Clone)]
struct Checked {
    address: Address,
    state: HealthState,
    detail: String,
}

/// Runtime facts of all pools.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    gauges: Gauges,
    health: BTreeMap<(Name, Name), Checked>,
    epochs: BTreeMap<Name, Epoch>,
}

/// A flip of health, and whether it changes who takes traffic.
#[derive(Debug)]
pub(crate) struct Flip {
    pub(crate) fact: HealthFact,
    pub(crate) moves_traffic: bool,
}

impl Fleet {
    /// A fleet of which nothing is known, whose sticky cookies are signed with `key`.
    pub(crate) fn new(key: StickyKey) -> Self {
        Self {
            gauges: Gauges::with_sticky_key(key),
            ..Self::default()
        }
    }

    /// Starts a new epoch in every pool that `starts` says and builds the snapshot of `config`.
    pub(crate) fn snapshot(
        &mut self,
        revision: RevisionId,
        config: &Arc<Config>,
        starts: impl Fn(&Pool) -> bool,
    ) -> Result<(Snapshot, Vec<EpochFact>), SnapshotError> {
        self.forget_all_but(config);
        let mut runtime = Vec::with_capacity(config.pools.len());
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
                let members = pool.backends.iter().zip(&members).map(|(backend, member)| {
                    let why = self.why(pool, &backend.name, member.eligible, fail_open);
                    MemberFact {
                        name: member.name.clone(),
                        weight: member.weight,
                        eligible: member.eligible,
                        why,
                    }
                });
                let members = members.collect();
                facts.push(EpochFact {
                    pool: pool.name.clone(),
                    epoch,
                    revision,
                    members,
                });
            }
            runtime.push(PoolRuntime { epoch, members });
        }
        let snapshot = Snapshot::new(revision, Arc::clone(config), runtime, &self.gauges)?;
        Ok((snapshot, facts))
    }

    /// Takes in a check result; returns the flip that it completes (the first result counts as one).
    pub(crate) fn observe(&mut self, config: &Config, result: &CheckResult) -> Option<Flip> {
        let pool = config.pool(result.pool.as_str())?;
        let health = pool.health.as_ref()?;
        let (_, backend) = pool.backend(result.backend.as_str())?;
        let key = (pool.name.clone(), backend.name.clone());
        let fresh = || Checked {
            address: backend.address.clone(),
            state: HealthState::new(),
            detail: String::new(),
        };
        let checked = self.health.entry(key).or_insert_with(fresh);
        if checked.address != backend.address {
            *checked = fresh();
        }
        let was_known = checked.state.is_known();
        let transition = checked.state.observe(result.ok, health.rise, health.fall);
        checked.detail.clone_from(&result.detail);
        if transition.is_none() && (was_known || !result.ok) {
            return None;
        }
        Some(Flip {
            fact: HealthFact {
                pool: pool.name.clone(),
                backend: backend.name.clone(),
                up: checked.state.is_up(),
                detail: result.detail.clone(),
            },
            moves_traffic: transition.is_some(),
        })
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
            .is_none_or(|checked| checked.address != backend.address || checked.state.is_up())
    }

    fn why(&self, pool: &Pool, backend: &Name, eligible: bool, fail_open: FailOpen) -> String {
        let detail = self
            .health
            .get(&(pool.name.clone(), backend.clone()))
            .map_or("", |checked| checked.detail.as_str());
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

    /// Drops the health of backends that are no longer configured.
    fn forget_all_but(&mut self, config: &Config) {
        self.health.retain(|(pool, backend), _| {
            config
                .pool(pool.as_str())
                .is_some_and(|p| p.backend(backend.as_str()).is_some())
        });
    }
}
