//! What the loop does when something happens to a backend: health, ejection, slow start.

use std::sync::Arc;

use evenkeel_balance::roster::{At, Change, What};
use evenkeel_guard::{Event, HealthFact, Ramp};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Name;
use evenkeel_model::record::RolloutRecord;

use super::{Shell, name_epochs};
use crate::clock::wall;
use crate::series::Marker;

impl Shell {
    /// Now, on both clocks.
    pub(super) fn at(&self) -> At {
        At {
            mono: self.clock.mono(),
            wall: wall(),
        }
    }

    /// What time and the tallies brought, once a second.
    pub(super) fn look_at_backends(&mut self) {
        let config = Arc::clone(&self.config);
        let changes = self.fleet.tick(&config, self.at());
        self.changed(&changes);
    }

    /// Tells the guard, the log and the history what changed of the backends, then the workers.
    pub(super) fn changed(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for Change { pool, turn } in changes {
            let (backend, detail) = (&turn.backend, &turn.detail);
            let what = match turn.what {
                What::Up => "up",
                What::Down => "down",
                What::Waits => "not up yet",
                What::Ejected => "ejected",
                What::Returned => "back",
                What::Drained => "drained",
                What::Undrained => "undrained",
                // Its steps are many and its end is in the reason of the share.
                What::Warmer => {
                    tracing::debug!(%pool, %backend, detail, "slow start");
                    continue;
                }
                What::Weighed => {
                    tracing::debug!(%pool, %backend, detail, "reported load");
                    continue;
                }
            };
            tracing::info!(%pool, %backend, what, detail, "health");
            if turn.moves_traffic {
                self.series.mark(Marker {
                    at: wall(),
                    kind: "health",
                    text: format!("{backend} {what}"),
                });
            }
        }
        for change in changes {
            if let Some(fact) = HealthFact::of(change) {
                self.step(Event::Health(fact));
            }
        }
        if Change::shows(changes) {
            self.refresh();
        }
        self.publish();
    }

    /// A person drains a backend, or moves the end of its drain.
    pub(super) fn drain(&mut self, pool: &Name, backend: &Name, until: Mono, reason: &str) {
        let change = self.fleet.drain((pool, backend), until, reason);
        self.changed(change.as_slice());
    }

    /// A person ended a drain, or its time is over.
    pub(super) fn undrain(&mut self, pool: &Name, backend: &Name) {
        let config = Arc::clone(&self.config);
        let change = self.fleet.undrain(&config, (pool, backend), self.at());
        self.changed(change.as_slice());
    }

    /// The weights of a pool follow a deployment.
    pub(super) fn follow(&mut self, rollout: RolloutRecord) {
        let (pool, version) = (rollout.pool.clone(), rollout.version.clone());
        let (state, share) = (rollout.state, rollout.share());
        tracing::info!(%pool, %version, %state, share, "deployment");
        self.fleet.follow(rollout);
        self.refresh();
        self.publish();
    }

    /// A revision comes in by parts; with its swap, if that is still to come.
    pub(super) fn come_in(&mut self, ramp: Option<Ramp>) {
        if self.fleet.come_in(ramp, self.revision) {
            self.refresh();
            self.publish();
        }
    }

    /// Publishes changed runtime facts to the workers: the guard knows the epoch before any worker counts in it.
    pub(super) fn refresh(&mut self) {
        let config = Arc::clone(&self.config);
        let at = self.at();
        match self.fleet.snapshot(self.revision, &config, false, at) {
            Ok((snapshot, epochs)) => {
                name_epochs(&mut self.counters, &epochs);
                for epoch in epochs {
                    self.step(Event::EpochStarted(epoch));
                }
                if let Err(error) = self.proxy.swap(snapshot) {
                    tracing::error!(%error, "health not published");
                }
            }
            Err(error) => {
                tracing::error!(%error, "health not published");
                self.fleet.withdraw();
            }
        }
    }
}
