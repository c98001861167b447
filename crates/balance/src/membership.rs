//! How fast a pool follows what discovery says: who joins joins at once, who goes goes at a bounded rate.
//!
//! A new member can only help, so it is taken in with the answer that names it, and so is a new weight. Taking one away
//! takes capacity away, and the answer that says so may be wrong (a half-written file, a DNS server that lost its zone,
//! a service that collapsed to one address). So within [`WINDOW`] at most a third of the pool leaves (one where a third
//! is less), and of the level that takes traffic at most a third of the weight that is up, so that a heavy member counts
//! for what it carries; and the level that then takes traffic has `min_healthy` backends that are up. The rest is held, shown, and goes when its turn
//! comes; a member that is named again meanwhile was never gone. A new address for a known name counts as a removal:
//! traffic moves to a place that nobody has seen serve.
//!
//! Members that are down go first, then those of the last level, then the lightest. Limits: of levels that share traffic
//! only the first counts as the one that takes it; pure bookkeeping; who asks, and when, is the shell's.

use std::cmp::Reverse;
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
    /// The removals of the last [`WINDOW`].
    removals: VecDeque<Removal>,
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

/// A declared backend of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its level of priority.
    pub level: u32,
    /// Its weight.
    pub weight: u32,
    /// Whether it takes traffic, or would.
    pub is_up: bool,
}

/// What bounds a step.
#[derive(Debug, Clone, Copy)]
pub struct Floor<'a> {
    /// The declared backends of the pool.
    pub declared: &'a [Peer],
    /// Backends that must stay up.
    pub min_healthy: usize,
}

/// A removal of the last [`WINDOW`].
#[derive(Debug, Clone, Copy)]
struct Removal {
    at: Mono,
    level: u32,
    /// Of one that was up.
    weight: u64,
}

/// Who is up, by level.
#[derive(Debug, Default)]
struct Live(BTreeMap<u32, (usize, u64)>);

impl Live {
    fn of(peers: impl Iterator<Item = Peer>) -> Self {
        let mut live = Self::default();
        peers.for_each(|peer| live.add(peer));
        live
    }

    /// The level that takes traffic, how many of it are up, and their weight.
    fn first(&self) -> Option<(u32, usize, u64)> {
        let mut levels = self.0.iter().filter(|(_, (heads, _))| *heads > 0);
        levels
            .next()
            .map(|(level, (heads, weight))| (*level, *heads, *weight))
    }

    fn remove(&mut self, peer: Peer) {
        if let Some((heads, weight)) = self.0.get_mut(&peer.level).filter(|_| peer.counts()) {
            *heads = heads.saturating_sub(1);
            *weight = weight.saturating_sub(u64::from(peer.weight));
        }
    }

    fn add(&mut self, peer: Peer) {
        if peer.counts() {
            let (heads, weight) = self.0.entry(peer.level).or_default();
            *heads += 1;
            *weight += u64::from(peer.weight);
        }
    }
}

impl Peer {
    const fn counts(self) -> bool {
        self.is_up && self.weight > 0
    }

    fn of(member: &Backend, is_up: bool) -> Self {
        Self {
            level: member.priority,
            weight: member.weight,
            is_up,
        }
    }
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

    /// Goes as far towards the last answer as the bounds allow at `now`; `up` says who takes traffic, or would.
    pub fn step(&mut self, now: Mono, floor: Floor<'_>, up: impl Fn(&Name) -> bool) -> Step {
        let mut step = Step::default();
        let Some(wanted) = self.wanted.take() else {
            return step;
        };
        self.join(&wanted, &mut step);
        while self
            .removals
            .front()
            .is_some_and(|removal| now.since(removal.at) >= WINDOW)
        {
            self.removals.pop_front();
        }
        self.leave(&wanted, &mut step, (now, floor), up);
        self.wanted = Some(wanted);
        step
    }

    fn join(&mut self, wanted: &BTreeMap<Name, Backend>, step: &mut Step) {
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
    }

    /// Lets those go that `wanted` does not name, or names at another address.
    fn leave(
        &mut self,
        wanted: &BTreeMap<Name, Backend>,
        step: &mut Step,
        (now, floor): (Mono, Floor<'_>),
        up: impl Fn(&Name) -> bool,
    ) {
        // Who joined with this very answer has not been seen to serve, and lets nobody else go sooner.
        let joined: BTreeSet<&Name> = step.added.iter().collect();
        let stood = self
            .current
            .iter()
            .filter(|(name, _)| !joined.contains(name));
        let stood = stood.map(|(name, member)| (name, Peer::of(member, up(name))));
        let stood: Vec<(&Name, Peer)> = stood.collect();
        let size = floor.declared.len() + stood.len() + self.removals.len();
        let mut room = (size / PART).max(1).saturating_sub(self.removals.len());
        let peers = stood.iter().map(|(_, peer)| *peer);
        let mut live = Live::of(floor.declared.iter().copied().chain(peers));
        let goes = |name: &Name| {
            let address = wanted.get(name).map(|member| &member.address);
            address != self.current.get(name).map(|member| &member.address)
        };
        let leaving = stood.into_iter().filter(|(name, _)| goes(name));
        let mut leaving: Vec<(Peer, Name)> = leaving.map(|(n, peer)| (peer, n.clone())).collect();
        leaving.sort_by_key(|(peer, name)| {
            (peer.is_up, Reverse(peer.level), peer.weight, name.clone())
        });
        for (peer, name) in leaving {
            let moved = wanted.get(&name);
            // A member that only moves stays one of the pool.
            let is_last = floor.declared.len() + self.current.len() <= 1 && moved.is_none();
            let is_needed = is_last || moved.is_none() && Self::needs(peer, &mut live, floor);
            if room == 0 || is_needed || self.is_heavy(peer, &live) {
                if !is_needed {
                    step.next = self.removals.front().map(|removal| removal.at.plus(WINDOW));
                }
                step.held.push(name);
                continue;
            }
            room -= 1;
            let weight = if peer.counts() {
                u64::from(peer.weight)
            } else {
                0
            };
            let level = peer.level;
            self.removals.push_back(Removal {
                at: now,
                level,
                weight,
            });
            live.remove(peer);
            if let Some(member) = moved {
                self.current.insert(name.clone(), member.clone());
                step.changed.push(name);
            } else {
                self.current.remove(&name);
                step.removed.push(name);
            }
        }
    }

    /// Whether the level that takes traffic without `peer` has too few that are up.
    fn needs(peer: Peer, live: &mut Live, floor: Floor<'_>) -> bool {
        if !peer.counts() {
            return false;
        }
        live.remove(peer);
        let left = live.first().map_or(0, |(_, heads, _)| heads);
        live.add(peer);
        left < floor.min_healthy
    }

    /// Whether `peer` would take more than a third of the weight of the level that takes traffic within [`WINDOW`]; the
    /// first may.
    fn is_heavy(&self, peer: Peer, live: &Live) -> bool {
        let Some((level, _, weight)) = live.first().filter(|_| peer.counts()) else {
            return false;
        };
        let gone = self
            .removals
            .iter()
            .filter(|removal| removal.level == level);
        let gone: u64 = gone.map(|removal| removal.weight).sum();
        let part = (weight + gone) / PART as u64;
        peer.level == level && gone > 0 && gone + u64::from(peer.weight) > part
    }
}

#[cfg(test)]
mod tests;
