//! The rosters of all pools, with their epochs, and what the tallies say of their backends.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Config, Pool};
use evenkeel_model::ids::{Epoch, Name, WorkerId};
use evenkeel_model::tally::{BackendTally, EPOCHS_KEPT, Outcomes, PoolTally, Tally, Vitals};

use super::{At, Lineup, Roster, Stand, Turn, What};

/// Epochs whose backends are remembered by name: a tally may tell of any that a worker still counts for.
const EPOCHS_NAMED: usize = 2 * EPOCHS_KEPT;

/// Something happened to a backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The pool.
    pub pool: Name,
    /// What happened.
    pub turn: Turn,
}

impl Change {
    /// Whether `changes` are seen in a lineup: they move traffic, or give another reason for what takes none.
    pub fn shows(changes: &[Self]) -> bool {
        let shows =
            |turn: &Turn| turn.moves_traffic || matches!(turn.what, What::Waits | What::Drained);
        changes.iter().any(|change| shows(&change.turn))
    }
}

/// One pool at the start of an epoch, or in the middle of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether it begins now.
    pub begins: bool,
    /// Whether there is something to tell of it: it begins, or its reasons are other ones.
    pub is_news: bool,
    /// Who takes traffic.
    pub lineup: Lineup,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    roster: Roster,
    epoch: Epoch,
    /// Backends in file order, by epoch, newest last.
    named: VecDeque<(Epoch, Vec<Name>)>,
    /// Where its backends are, and who takes which part of its traffic, as it was told last.
    told: Option<(Vec<Address>, Lineup)>,
    /// What each worker had counted by its last tally.
    counted: BTreeMap<(WorkerId, Epoch), Vec<BackendTally>>,
}

/// The rosters of all pools of an instance.
#[derive(Debug, Clone, Default)]
pub struct Rosters {
    pools: BTreeMap<Name, Entry>,
    /// Drains of backends that are not there now: they hold if the backend comes back before their end.
    parked: BTreeMap<(Name, Name), (Mono, String)>,
    /// Why the weights of a pool are others than the file gives it.
    reasons: BTreeMap<Name, String>,
}

impl Rosters {
    /// The lineup of every pool of `config` in file order. A new epoch begins in every pool where other backends take
    /// traffic or with other weights, and in all if it is a new revision: what changes of those that take nothing must
    /// not take the evidence of the others away. Forgets pools and backends that are gone.
    pub fn rounds(&mut self, config: &Config, is_revision: bool, at: At) -> Vec<Round> {
        self.park(config, at);
        self.pools
            .retain(|name, _| config.pool(name.as_str()).is_some());
        let (parked, reasons) = (&mut self.parked, &self.reasons);
        let round = |pool: &Pool| {
            let entry = self.pools.entry(pool.name.clone()).or_default();
            entry.roster.configure(pool, at);
            parked.retain(|(of, backend), (until, reason)| {
                let is_back = *of == pool.name && pool.backend(backend.as_str()).is_some();
                !(is_back && entry.roster.drain(backend, *until, reason).is_some())
            });
            let reason = reasons.get(&pool.name).map_or("", String::as_str);
            entry.round(pool, reason, is_revision, at)
        };
        config.pools.iter().map(round).collect()
    }

    /// Why the weights of which pools are others than their file gives them, from the next rounds on.
    pub fn explain(&mut self, reasons: BTreeMap<Name, String>) {
        self.reasons = reasons;
    }

    /// The last rounds did not come into force: with the next ones an epoch begins in every pool.
    pub fn withdraw(&mut self) {
        self.pools.values_mut().for_each(|entry| entry.told = None);
    }

    /// Puts the drains of backends that `config` does not have aside, and forgets those that are over.
    fn park(&mut self, config: &Config, at: At) {
        for (name, entry) in &self.pools {
            let pool = config.pool(name.as_str());
            let is_gone =
                |backend: &Name| pool.is_none_or(|p| p.backend(backend.as_str()).is_none());
            for (backend, until, reason) in entry.roster.drains() {
                if is_gone(backend) {
                    let key = (name.clone(), backend.clone());
                    self.parked.insert(key, (until, reason.to_owned()));
                }
            }
        }
        self.parked.retain(|_, (until, _)| *until > at.mono);
    }

    /// Whether nothing keeps this backend of `pool` from traffic: neither its checks, nor its answers, nor a person.
    pub fn is_up(&self, pool: &Pool, index: usize) -> bool {
        let entry = self.pools.get(&pool.name);
        entry.is_none_or(|entry| entry.roster.stand(pool, index) == Stand::Up)
    }

    /// Whether its checks have taken `backend` of `pool` out.
    pub fn is_checked_down(&self, pool: &Name, backend: &Name) -> bool {
        let entry = self.pools.get(pool);
        entry.is_some_and(|entry| entry.roster.is_checked_down(backend))
    }

    /// Takes in a check result: see [`Roster::checked`].
    pub fn checked(
        &mut self,
        config: &Config,
        (pool, backend): (&Name, &Name),
        result: (bool, &str),
        at: At,
    ) -> Option<Change> {
        let declared = config.pool(pool.as_str())?;
        let roster = &mut self.pools.get_mut(pool)?.roster;
        let turn = roster.checked(declared, backend, result, at)?;
        Some(Change {
            pool: pool.clone(),
            turn,
        })
    }

    /// Takes in what a worker counted, for the pools that eject or follow reports.
    pub fn counted(&mut self, config: &Config, tally: &Tally) {
        for counted in &tally.pools {
            let Some(pool) = config.pool(counted.pool.as_str()) else {
                continue;
            };
            let asks = pool.ejection.is_some() || pool.reported.is_some();
            if let Some(entry) = self.pools.get_mut(&counted.pool).filter(|_| asks) {
                entry.count(pool, tally.worker, counted);
            }
        }
    }

    /// Takes in what the backends of `pool` report, once a second, before [`Rosters::tick`].
    pub fn reported<'v>(
        &mut self,
        config: &Config,
        pool: &Name,
        vitals: impl IntoIterator<Item = (&'v Name, &'v Vitals)>,
        at: At,
    ) {
        let declared = config.pool(pool.as_str());
        if let Some((declared, entry)) = declared.zip(self.pools.get_mut(pool)) {
            entry.roster.reported(declared, vitals, at);
        }
    }

    /// What time brought in every pool; call it once a second, after the tallies.
    pub fn tick(&mut self, config: &Config, at: At) -> Vec<Change> {
        let mut changes = Vec::new();
        for pool in &config.pools {
            if let Some(entry) = self.pools.get_mut(&pool.name) {
                let turns = entry.roster.tick(pool, at).into_iter();
                changes.extend(turns.map(|turn| Change {
                    pool: pool.name.clone(),
                    turn,
                }));
            }
        }
        changes
    }

    /// Drains a backend: see [`Roster::drain`]. `None`: it is not there; the drain begins when it comes, which is how those
    /// of before a start are told.
    pub fn drain(
        &mut self,
        (pool, backend): (&Name, &Name),
        until: Mono,
        reason: &str,
    ) -> Option<Change> {
        let entry = self.pools.get_mut(pool);
        let turn = entry.and_then(|entry| entry.roster.drain(backend, until, reason));
        if turn.is_none() {
            let key = (pool.clone(), backend.clone());
            self.parked.insert(key, (until, reason.to_owned()));
        }
        Some(Change {
            pool: pool.clone(),
            turn: turn?,
        })
    }

    /// Ends a drain: see [`Roster::undrain`].
    pub fn undrain(
        &mut self,
        config: &Config,
        (pool, backend): (&Name, &Name),
        at: At,
    ) -> Option<Change> {
        self.parked.remove(&(pool.clone(), backend.clone()));
        let declared = config.pool(pool.as_str())?;
        let turn = self
            .pools
            .get_mut(pool)?
            .roster
            .undrain(declared, backend, at)?;
        Some(Change {
            pool: pool.clone(),
            turn,
        })
    }

    /// The next moment at which something changes by itself; `None`: nothing is under way.
    pub fn next_change(&self, config: &Config) -> Option<Mono> {
        let of_pool = |pool: &Pool| self.pools.get(&pool.name)?.roster.next_change(pool);
        config.pools.iter().filter_map(of_pool).min()
    }

    /// Forgets what only this process knew, as a restart does; epochs go on.
    pub fn restart(&mut self) {
        self.parked.clear();
        for entry in self.pools.values_mut() {
            entry.roster = Roster::default();
            entry.counted.clear();
            entry.told = None;
        }
    }
}

impl Entry {
    fn round(&mut self, pool: &Pool, reason: &str, is_revision: bool, at: At) -> Round {
        let addresses = pool.backends.iter().map(|b| b.address.clone()).collect();
        let mut lineup = self.roster.lineup(pool, at);
        lineup.explain(reason);
        let now = (addresses, lineup);
        let is_same = |told: &(Vec<Address>, Lineup)| {
            told.0 == now.0 && told.1.is_same_traffic(&now.1) && !is_revision
        };
        let begins = !self.told.as_ref().is_some_and(is_same);
        if begins {
            self.begin(pool);
        }
        let is_news = begins || self.told.as_ref() != Some(&now);
        let lineup = now.1.clone();
        self.told = Some(now);
        Round {
            epoch: self.epoch,
            begins,
            is_news,
            lineup,
        }
    }

    fn begin(&mut self, pool: &Pool) {
        self.epoch.0 += 1;
        let names = pool.backends.iter().map(|b| b.name.clone()).collect();
        self.named.push_back((self.epoch, names));
        if self.named.len() > EPOCHS_NAMED {
            self.named.pop_front();
        }
        let oldest = self.named.front().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.counted.retain(|(_, epoch), _| *epoch >= oldest);
    }

    fn count(&mut self, pool: &Pool, worker: WorkerId, tally: &PoolTally) {
        for told in &tally.epochs {
            let known = self.named.iter().find(|(epoch, _)| *epoch == told.epoch);
            let Some((_, names)) = known else { continue };
            let before = self.counted.get(&(worker, told.epoch));
            // What an old epoch counted before anybody looked is not of this second.
            let is_known = before.is_some() || told.epoch == self.epoch;
            for (index, (name, now)) in names.iter().zip(&told.backends).enumerate() {
                if let Some(seat) = self.roster.seats.get_mut(name).filter(|_| is_known) {
                    let old = before.and_then(|cells| cells.get(index));
                    if pool.ejection.is_some() {
                        seat.window.now().add(now, old);
                    }
                    let before = old.map_or_else(Outcomes::default, |old| old.outcomes);
                    seat.load.count(&now.outcomes.since(&before));
                }
            }
            self.counted
                .insert((worker, told.epoch), told.backends.clone());
        }
    }
}
