//! How fast a pool follows what discovery says: who joins joins at once, who goes goes at a bounded rate.
//!
//! A new member can only help, so it is taken in with the answer that names it, and so is a new weight. Taking one away
//! takes capacity away, and the answer that says so may be wrong (a half-written file, a DNS server that lost its zone,
//! a service that collapsed to one address). So within [`WINDOW`] at most a third of the pool leaves (one where a third
//! is less), and the pool keeps `min_healthy` backends that are up. The rest is held, shown, and goes when its turn
//! comes; a member that is named again meanwhile was never gone. A new address for a known name counts as a removal:
//! traffic moves to a place that nobody has seen serve.
//!
//! Members that are down go first. Limits: pure bookkeeping; who asks, and when, is the shell's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::Backend;
use evenkeel_model::ids::Name;

/// The time over which removals are counted.
pub const WINDOW: Duration = Duration::from_secs(30);
/// The part of a pool that may leave within [`WINDOW`], as its divisor.
const PART: usize = 3;

/// The members that one pool has found.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// In the pool now, by name.
    current: BTreeMap<Name, Backend>,
    /// What discovery said last; `None`: nothing yet.
    wanted: Option<BTreeMap<Name, Backend>>,
    /// Moments of the removals of the last [`WINDOW`].
    removals: VecDeque<Mono>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Members that joined.
    pub added: Vec<Name>,
    /// Members that left.
    pub removed: Vec<Name>,
    /// Members whose address, weight, capacity, zone or version is new.
    pub changed: Vec<Name>,
    /// Members that discovery no longer names, or names at another address, and that stay for now.
    pub held: Vec<Name>,
    /// When the next of those held may leave; `None`: nobody is held, or only because the pool needs them.
    pub next: Option<Mono>,
}

impl Step {
    /// Whether the pool is not the one that it was.
    pub fn moves(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }
}

/// What bounds a step.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Declared backends of the pool.
    pub declared: usize,
    /// Declared backends that are up.
    pub declared_up: usize,
    /// Backends that must stay up.
    pub min_healthy: usize,
}

impl Membership {
    /// Starts from members that the pool has already (after a restart, or from before a reload).
    pub fn new(current: impl IntoIterator<Item = Backend>) -> Self {
        let current = current.into_iter().map(|m| (m.name.clone(), m)).collect();
        Self {
            current,
            ..Self::default()
        }
    }

    /// The members now, by name.
    pub fn current(&self) -> impl Iterator<Item = &Backend> {
        self.current.values()
    }

    /// Takes an answer: every member that discovery names. An empty one is an answer too; a failure to get one is not
    /// told here and changes nothing.
    pub fn answer(&mut self, members: impl IntoIterator<Item = Backend>) {
        let wanted = members.into_iter().map(|m| (m.name.clone(), m)).collect();
        self.wanted = Some(wanted);
    }

    /// Goes as far towards the last answer as the bounds allow at `now`; `up` says who takes traffic.
    pub fn step(&mut self, now: Mono, floor: Floor, up: impl Fn(&Name) -> bool) -> Step {
        let mut step = Step::default();
        let Some(wanted) = &self.wanted else {
            return step;
        };
        for (name, member) in wanted {
            match self.current.get_mut(name) {
                None => {
                    self.current.insert(name.clone(), member.clone());
                    step.added.push(name.clone());
                }
                Some(known) if known.address == member.address && known != member => {
                    *known = member.clone();
                    step.changed.push(name.clone());
                }
                Some(_) => {}
            }
        }
        while self
            .removals
            .front()
            .is_some_and(|at| now.since(*at) >= WINDOW)
        {
            self.removals.pop_front();
        }
        // Who joined with this very answer has not been seen to serve, and lets nobody else go sooner.
        let joined: BTreeSet<&Name> = step.added.iter().collect();
        let stood = self.current.len() - joined.len();
        let size = floor.declared + stood + self.removals.len();
        let mut room = (size / PART).max(1).saturating_sub(self.removals.len());
        let mut live = floor.declared_up + self.current.keys().filter(|name| up(name)).count();
        let mut leaving: Vec<(bool, Name)> = self
            .current
            .iter()
            .filter(|(name, member)| {
                wanted
                    .get(*name)
                    .is_none_or(|w| w.address != member.address)
            })
            .map(|(name, _)| (up(name), name.clone()))
            .collect();
        leaving.sort();
        for (is_up, name) in leaving {
            let moved = wanted.get(&name);
            // A member that only moves stays one of the pool.
            let is_last = floor.declared + self.current.len() <= 1 && moved.is_none();
            let too_few = is_up && moved.is_none() && live <= floor.min_healthy;
            if room == 0 || is_last || too_few {
                if !is_last && !too_few {
                    step.next = self.removals.front().map(|at| at.plus(WINDOW));
                }
                step.held.push(name);
                continue;
            }
            room -= 1;
            self.removals.push_back(now);
            if let Some(member) = moved {
                self.current.insert(name.clone(), member.clone());
                step.changed.push(name);
            } else {
                live -= usize::from(is_up);
                self.current.remove(&name);
                step.removed.push(name);
            }
        }
        step
    }
}

#[cfg(test)]
mod tests;
