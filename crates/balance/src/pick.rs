//! Choosing a backend: one [`Picker`] per worker and pool.

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Pool};
use evenkeel_model::rng::Rng;

use crate::member::Member;
use crate::smooth::Smooth;
use crate::table::Table;

/// How far the free picks of one `round_robin` picker may stray from the closed form:
/// `|S_i - n p_i| <= round_robin_bound(p_i, eligible)` for every member i with expected share `p_i = w_i / W`, over any
/// n picks in a row in which the members do not change and nobody is at its limit. `eligible`: members with effective
/// weight above 0. It is `1 + p_i (eligible - 2)`, at least 1; deterministic, not statistical; below 2 when the weights
/// are equal. Counts summed over k workers stray by at most k times as much.
///
/// Proof: in virtual time T each member gets `w_j T + e_j` picks with `|e_j| <= 1`, so n is `W T + sum e_j` and
/// `S_i - n p_i` is `(1 - p_i) e_i - p_i (sum of the other e_j)`.
pub fn round_robin_bound(share: f64, eligible: usize) -> f64 {
    1.0 + share * eligible.saturating_sub(2) as f64
}

/// Turns of members at their limit that one pick may pass over before it draws from the others at random.
const PASSED_OVER_MAX: usize = 8;

/// How many requests each backend holds now, over all workers.
pub trait Load {
    /// Requests in flight at the member with this index.
    fn in_flight(&self, member: usize) -> u32;
}

impl<F: Fn(usize) -> u32> Load for F {
    fn in_flight(&self, member: usize) -> u32 {
        self(member)
    }
}

/// How the backends of a pool are chosen, as declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Most requests at once on one backend; beyond it the backend is passed over. `None`: no limit.
    pub max_in_flight: Option<u32>,
}

impl Spec {
    /// What `pool` declares.
    pub const fn of(pool: &Pool) -> Self {
        Self {
            algorithm: pool.algorithm,
            max_in_flight: pool.max_in_flight,
        }
    }
}

impl From<Algorithm> for Spec {
    /// The algorithm with nothing else declared.
    fn from(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            max_in_flight: None,
        }
    }
}

/// What a pick may look at of its request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The moment of the pick.
    pub now: Mono,
    /// Members that already failed this request; empty for a first try.
    pub tried: &'a [usize],
}

/// What was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Index in file order.
    pub member: usize,
    /// Why this one.
    pub why: Why,
}

/// Why a member was picked: only [`Why::Free`] says something of the algorithm's shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By the algorithm alone.
    Free,
    /// As a further try of the same request.
    Retry,
}

/// Chooses the backend of each request. Picks cost O(log n); they cost O(n) only while most of the pool
/// is at its limit.
#[derive(Debug, Clone)]
pub struct Picker {
    spec: Spec,
    members: Vec<Member>,
    table: Table,
    /// Only under `round_robin`.
    smooth: Smooth,
    rng: Rng,
}

impl Picker {
    /// A picker that starts at a random point of its cycle, drawn from `rng`; give each worker its own.
    pub fn new(spec: Spec, members: &[Member], mut rng: Rng) -> Self {
        let smooth = match spec.algorithm {
            Algorithm::RoundRobin => Smooth::new(members, &mut rng),
            Algorithm::LeastRequest | Algorithm::Random => Smooth::default(),
        };
        Self {
            spec,
            members: members.to_vec(),
            table: Table::new(members),
            smooth,
            rng,
        }
    }

    /// Takes over a new configuration or eligibility, at most once per reload or epoch: O(n log n), and O(n)
    /// when nothing changed. Round-robin accounts are carried over by backend name, also for members that are
    /// out for a while, so that frequent reloads starve nobody.
    pub fn update(&mut self, spec: &Spec, members: &[Member]) {
        if *spec == self.spec && members == self.members {
            return;
        }
        self.smooth = match (spec.algorithm, self.spec.algorithm) {
            (Algorithm::RoundRobin, Algorithm::RoundRobin) => {
                self.smooth.carry(members, &mut self.rng)
            }
            (Algorithm::RoundRobin, _) => Smooth::new(members, &mut self.rng),
            (Algorithm::LeastRequest | Algorithm::Random, _) => Smooth::default(),
        };
        spec.clone_into(&mut self.spec);
        self.table = Table::new(members);
        members.clone_into(&mut self.members);
    }

    /// The members as of the last update, in file order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Chooses a member. Passes over who is tried, not eligible, of weight 0 or at its in-flight limit; `None` when
    /// nobody is left. A pick with `tried` is drawn by weight over the rest and leaves the round-robin accounts alone,
    /// so that a failing backend does not bend the shares of first tries.
    pub fn pick(&mut self, load: &impl Load, ask: Ask<'_>) -> Option<Pick> {
        let limit = self.spec.max_in_flight.unwrap_or(u32::MAX);
        let may = |index: usize| {
            (limit == u32::MAX || load.in_flight(index) < limit) && !ask.tried.contains(&index)
        };
        let why = if ask.tried.is_empty() {
            Why::Free
        } else {
            Why::Retry
        };
        let member = match self.spec.algorithm {
            Algorithm::RoundRobin if why == Why::Free => self.next_in_turn(may),
            Algorithm::RoundRobin | Algorithm::Random => self.table.draw(&mut self.rng, None, may),
            Algorithm::LeastRequest => self.less_loaded_of_two(load, may),
        }?;
        Some(Pick { member, why })
    }

    /// A member at its limit forfeits its turn rather than saving it up: its part falls to the others by weight, and
    /// no burst follows when it is free again.
    fn next_in_turn(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..PASSED_OVER_MAX {
            let index = self.smooth.next()?;
            if may(index) {
                return Some(index);
            }
        }
        self.table.draw(&mut self.rng, None, may)
    }

    fn less_loaded_of_two(
        &mut self,
        load: &impl Load,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = self.table.draw(&mut self.rng, None, &may)?;
        let Some(second) = self.table.draw(&mut self.rng, Some(first), &may) else {
            return Some(first);
        };
        // Requests per weight, compared without division; a tie goes to the first, which was drawn by weight.
        let cost =
            |mine: usize, other: usize| u64::from(load.in_flight(mine)) * self.table.weight(other);
        let second_is_less_loaded = cost(second, first) < cost(first, second);
        Some(if second_is_less_loaded { second } else { first })
    }
}
