//! One data-plane worker: its own pickers, retry budgets and counts, as in the proxy.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::retry::Budget;
use evenkeel_balance::{Ask, How, Load, Member, Pick, Picker, Spec, Why};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::{Epoch, Name, WorkerId};
use evenkeel_model::rng::Rng;
use evenkeel_model::sketch::{ClientSketch, Frequent};
use evenkeel_model::tally::{
    BackendTally, EPOCHS_KEPT, EpochTally, PoolTally, RouteKey, RouteTally, Tally, Waits,
};

use super::peer::{Peer, PeerRule};

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// By the engine's pool id.
    pub(crate) pools: Vec<WorkerPool>,
    /// By the engine's route id; grows with the first request.
    routes: Vec<RouteCount>,
}

/// Requests that a route matched.
#[derive(Debug, Clone, Copy, Default)]
struct RouteCount {
    requests: u64,
    /// What the last tally said.
    told: u64,
}

#[derive(Debug)]
pub(crate) struct WorkerPool {
    name: Name,
    /// Whether the running configuration has the pool.
    live: bool,
    pub(crate) picker: Chooser,
    pub(crate) budget: Budget,
    pub(crate) clients: ClientSketch,
    pub(crate) frequent: Frequent,
    pub(crate) keys: Frequent,
    pub(crate) unpicked: u64,
    pub(crate) waits: Waits,
    epochs: VecDeque<Cells>,
}

/// Who chooses the backend: Evenkeel's own picker, or the rule of another balancer.
#[derive(Debug)]
pub(crate) enum Chooser {
    Own(Picker),
    Peer(Peer),
}

impl Chooser {
    /// Tells how a try ended that was picked by the algorithm.
    pub(crate) fn answered(&mut self, member: usize, now: Mono, took: Duration, how: How) {
        if let Self::Own(picker) = self {
            picker.answered(member, now, took, how);
        }
    }

    pub(crate) fn pick(&mut self, load: &impl Load, ask: Ask<'_>) -> Option<Pick> {
        match self {
            Self::Own(picker) => picker.pick(load, ask),
            Self::Peer(peer) => {
                let why = ask.why();
                let member = peer.pick(load, ask.tried)?;
                Some(Pick { member, why })
            }
        }
    }
}

impl Chooser {
    /// Whether any member takes traffic.
    pub(crate) fn has_anybody(&self) -> bool {
        let members = match self {
            Self::Own(picker) => picker.members(),
            Self::Peer(peer) => peer.members(),
        };
        members.iter().any(|member| member.effective_weight() > 0)
    }
}

/// The counts of one epoch.
#[derive(Debug)]
struct Cells {
    epoch: Epoch,
    backends: Vec<BackendTally>,
    changed: bool,
}

impl Worker {
    pub(crate) const fn new(id: WorkerId) -> Self {
        Self {
            id,
            pools: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Takes over a pool of a new snapshot; `pool_id` is at most the number of pools known.
    pub(crate) fn swap_pool(
        &mut self,
        pool_id: usize,
        pool: &Pool,
        epoch: Epoch,
        members: &[Member],
        rng: &mut Rng,
        now: Mono,
    ) {
        let spec = Spec::of(pool);
        if let Some(mine) = self.pools.get_mut(pool_id) {
            mine.live = true;
            match &mut mine.picker {
                Chooser::Own(picker) => picker.update(&spec, members),
                Chooser::Peer(peer) => peer.update(members),
            }
            mine.start_epoch(epoch, members.len());
            return;
        }
        let mut mine = WorkerPool {
            name: pool.name.clone(),
            live: true,
            picker: Chooser::Own(Picker::new(spec, members, rng.fork(0))),
            budget: Budget::new(now),
            clients: ClientSketch::default(),
            frequent: Frequent::default(),
            keys: Frequent::default(),
            unpicked: 0,
            waits: Waits::default(),
            epochs: VecDeque::new(),
        };
        mine.start_epoch(epoch, members.len());
        self.pools.push(mine);
    }

    /// From now on a pool chooses by another balancer's rule.
    pub(crate) fn set_rule(&mut self, pool_id: usize, rule: PeerRule, odds: &[f64], rng: Rng) {
        if let Some(mine) = self.pools.get_mut(pool_id) {
            let members = match &mine.picker {
                Chooser::Own(picker) => picker.members().to_vec(),
                Chooser::Peer(peer) => peer.members().to_vec(),
            };
            mine.picker = Chooser::Peer(Peer::new(rule, odds.to_vec(), &members, rng));
        }
    }

    pub(crate) fn retire_pools(&mut self) {
        for pool in &mut self.pools {
            pool.live = false;
        }
    }

    /// Counts a request that a route matched.
    pub(crate) fn matched(&mut self, route: u32) {
        let route = route as usize;
        if self.routes.len() <= route {
            self.routes.resize_with(route + 1, RouteCount::default);
        }
        if let Some(count) = self.routes.get_mut(route) {
            count.requests += 1;
        }
    }

    /// `routes`: the keys by route id.
    pub(crate) fn take_tally(&mut self, at: Mono, routes: &[Arc<RouteKey>]) -> Tally {
        let pools = self
            .pools
            .iter_mut()
            .filter(|pool| pool.live)
            .map(WorkerPool::take)
            .collect();
        let counts = self.routes.iter_mut().zip(routes);
        let changed = counts.filter(|(count, _)| count.told != count.requests);
        let counted = changed.map(|(count, route)| {
            count.told = count.requests;
            RouteTally {
                route: Arc::clone(route),
                requests: count.requests,
            }
        });
        let counted = counted.collect();
        Tally {
            worker: self.id,
            at,
            pools,
            routes: counted,
        }
    }
}

impl WorkerPool {
    /// The counts of a backend in an epoch; `None` when the epoch is no longer kept.
    pub(crate) fn cell(&mut self, epoch: Epoch, member: usize) -> Option<&mut BackendTally> {
        let cells = self.epochs.iter_mut().rev().find(|c| c.epoch == epoch)?;
        cells.changed = true;
        cells.backends.get_mut(member)
    }

    /// Books a pick.
    pub(crate) fn picked(&mut self, epoch: Epoch, pick: Pick) {
        if let Some(cell) = self.cell(epoch, pick.member) {
            match pick.why {
                Why::Free => cell.picks_free += 1,
                Why::Forced => cell.picks_forced += 1,
                Why::Retry => cell.picks_retry += 1,
            }
        }
    }

    fn start_epoch(&mut self, epoch: Epoch, backends: usize) {
        let newest = self.epochs.back();
        if newest.is_some_and(|c| c.epoch == epoch && c.backends.len() == backends) {
            return;
        }
        if self.epochs.len() == EPOCHS_KEPT {
            self.epochs.pop_front();
        }
        self.epochs.push_back(Cells {
            epoch,
            backends: vec![BackendTally::default(); backends],
            changed: true,
        });
    }

    fn take(&mut self) -> PoolTally {
        let newest = self.epochs.back().map(|cells| cells.epoch);
        let epochs = self
            .epochs
            .iter_mut()
            .filter(|cells| cells.changed || Some(cells.epoch) == newest)
            .map(|cells| {
                cells.changed = false;
                EpochTally {
                    epoch: cells.epoch,
                    backends: cells.backends.clone(),
                }
            })
            .collect();
        PoolTally {
            pool: self.name.clone(),
            epochs,
            clients: std::mem::take(&mut self.clients),
            frequent: std::mem::take(&mut self.frequent),
            keys: std::mem::take(&mut self.keys),
            unpicked: self.unpicked,
            waits: self.waits,
        }
    }
}
