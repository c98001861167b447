//! Totals since the start of the process, for metrics. Tallies are cumulative per worker and epoch; totals
//! add up what each tally brought beyond the one before, so they never fall and survive every reload.

use std::collections::BTreeMap;

use evenkeel_model::ids::{Epoch, Name, WorkerId};
use evenkeel_model::tally::{
    BackendTally, EPOCHS_KEPT, Latency, LatencyTotal, Outcomes, Tally, Waits,
};

/// Totals of one backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackendCounters {
    /// Picks by the algorithm alone.
    pub picks_free: u64,
    /// Picks by cookie or key.
    pub picks_forced: u64,
    /// Picks for a further try.
    pub picks_retry: u64,
    /// What became of the tries.
    pub outcomes: Outcomes,
    /// Requests beyond the objective.
    pub harmed: u64,
    /// Requests slower than the objective.
    pub slow: u64,
    /// Response times.
    pub latency: LatencyTotal,
}

/// Totals of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolCounters {
    /// By backend.
    pub backends: BTreeMap<Name, BackendCounters>,
    /// Requests for which no backend could be picked.
    pub unpicked: u64,
    /// Requests that waited for a backend below its limit.
    pub waits: Waits,
}

/// Totals of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Picks of every kind.
    pub picks: u64,
    /// The same by pool and backend.
    pub backends: BTreeMap<(Name, Name), u64>,
}

type Seen = BTreeMap<(WorkerId, Name), Vec<(Epoch, Vec<BackendTally>)>>;

/// Epochs whose backends are remembered by name: more than a worker ever reports.
const EPOCHS_NAMED: usize = 4 * EPOCHS_KEPT;

/// Backends of a pool that are gone and whose totals are kept: a pool that finds its members could pile them up.
const GONE_KEPT: usize = 1_000;

/// All totals.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) pools: BTreeMap<Name, PoolCounters>,
    pub(crate) workers: BTreeMap<WorkerId, WorkerCounters>,
    /// Response times since somebody last took them away, by pool and backend.
    pub(crate) recent: BTreeMap<Name, BTreeMap<Name, Latency>>,
    seen: Seen,
    unpicked: BTreeMap<(WorkerId, Name), u64>,
    waits: BTreeMap<(WorkerId, Name), Waits>,
    names: BTreeMap<Name, Vec<(Epoch, Vec<Name>)>>,
}

impl Counters {
    /// The backends of an epoch, in file order. Told before any worker counts in it.
    pub(crate) fn epoch(&mut self, pool: &Name, epoch: Epoch, backends: Vec<Name>) {
        let known = self.names.entry(pool.clone()).or_default();
        known.push((epoch, backends));
        let surplus = known.len().saturating_sub(EPOCHS_NAMED);
        known.drain(..surplus);
        let named = |name: &Name| known.iter().any(|(_, backends)| backends.contains(name));
        let gone_kept = |count: usize| count.saturating_sub(GONE_KEPT);
        if let Some(totals) = self.pools.get_mut(pool)
            && gone_kept(totals.backends.len()) > known.last().map_or(0, |(_, b)| b.len())
        {
            totals.backends.retain(|name, _| named(name));
            for worker in self.workers.values_mut() {
                let stays = |(of, name): &(Name, Name)| of != pool || named(name);
                worker.backends.retain(|key, _| stays(key));
            }
        }
    }

    /// Adds what `tally` brings beyond the last one of the same worker.
    pub(crate) fn add(&mut self, tally: &Tally) {
        for pool in &tally.pools {
            let key = (tally.worker, pool.pool.clone());
            let totals = self.pools.entry(pool.pool.clone()).or_default();
            let unpicked = self.unpicked.entry(key.clone()).or_default();
            totals.unpicked += pool.unpicked.saturating_sub(*unpicked);
            *unpicked = pool.unpicked;
            let waits = self.waits.entry(key.clone()).or_default();
            totals.waits = totals.waits.plus_since(&pool.waits, waits);
            *waits = pool.waits;
            let seen = self.seen.entry(key).or_default();
            let recent = self.recent.entry(pool.pool.clone()).or_default();
            for epoch in &pool.epochs {
                let known = self
                    .names
                    .get(&pool.pool)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let Some((_, names)) = known.iter().find(|(known, _)| *known == epoch.epoch) else {
                    continue;
                };
                let place = seen.iter().position(|(known, _)| *known == epoch.epoch);
                let before = place
                    .and_then(|i| seen.get(i))
                    .map(|(_, cells)| cells.as_slice());
                for (index, (name, now)) in names.iter().zip(&epoch.backends).enumerate() {
                    let earlier = before.and_then(|cells| cells.get(index));
                    let total = totals.backends.entry(name.clone()).or_default();
                    let none = BackendTally::default();
                    let earlier = earlier.unwrap_or(&none);
                    let latency = now.latency.since(&earlier.latency);
                    recent.entry(name.clone()).or_default().add(&latency);
                    let picks = add(total, now, earlier);
                    let worker = self.workers.entry(tally.worker).or_default();
                    worker.picks += picks;
                    let key = (pool.pool.clone(), name.clone());
                    *worker.backends.entry(key).or_default() += picks;
                }
                match place.and_then(|i| seen.get_mut(i)) {
                    Some(entry) => entry.1.clone_from(&epoch.backends),
                    None => seen.push((epoch.epoch, epoch.backends.clone())),
                }
            }
            let surplus = seen.len().saturating_sub(EPOCHS_KEPT);
            seen.drain(..surplus);
        }
    }
}

/// Adds the difference; returns the picks that it holds.
fn add(total: &mut BackendCounters, now: &BackendTally, before: &BackendTally) -> u64 {
    let free = now.picks_free.saturating_sub(before.picks_free);
    let forced = now.picks_forced.saturating_sub(before.picks_forced);
    let retry = now.picks_retry.saturating_sub(before.picks_retry);
    total.picks_free += free;
    total.picks_forced += forced;
    total.picks_retry += retry;
    total.harmed += now.harmed.saturating_sub(before.harmed);
    total.slow += now.slow.saturating_sub(before.slow);
    total.latency.take(&now.latency.since(&before.latency));
    total.outcomes = total.outcomes.plus(&now.outcomes.since(&before.outcomes));
    free + forced + retry
}

#[cfg(test)]
mod tests {
    use super::Counters;
    use evenkeel_model::clock::Mono;
    use evenkeel_model::ids::{Epoch, Name, WorkerId};
    use evenkeel_model::sketch::{ClientSketch, Frequent};
    use evenkeel_model::tally::{BackendTally, EpochTally, PoolTally, Tally};

    fn tally(worker: u16, epochs: &[(u64, u64)]) -> Tally {
        let name = Name::new("shop").unwrap();
        let epoch = |(epoch, picks): &(u64, u64)| EpochTally {
            epoch: Epoch(*epoch),
            backends: vec![BackendTally {
                picks_free: *picks,
                ..BackendTally::default()
            }],
        };
        Tally {
            worker: WorkerId(worker),
            at: Mono::ZERO,
            pools: vec![PoolTally {
                pool: name.clone(),
                epochs: epochs.iter().map(epoch).collect(),
                clients: ClientSketch::default(),
                frequent: Frequent::default(),
                keys: Frequent::default(),
                unpicked: 0,
                waits: evenkeel_model::tally::Waits::default(),
            }],
            routes: Vec::new(),
        }
    }

    #[test]
    fn totals_add_up_over_workers_epochs_and_lost_tallies_and_never_fall() {
        let mut counters = Counters::default();
        let name = Name::new("shop").unwrap();
        counters.epoch(&name, Epoch(1), vec![name.clone()]);
        counters.epoch(&name, Epoch(2), vec![name.clone()]);
        counters.add(&tally(0, &[(1, 10)]));
        counters.add(&tally(1, &[(1, 5)]));
        counters.add(&tally(0, &[(1, 10)]));
        counters.add(&tally(0, &[(1, 40), (2, 7)]));
        let total = counters.pools["shop"].backends["shop"].picks_free;
        assert_eq!(total, 40 + 7 + 5);
        assert_eq!(counters.workers[&WorkerId(0)].picks, 47);
    }
}
