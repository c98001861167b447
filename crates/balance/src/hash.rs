//! Which backend a key belongs to: one [`KeyTable`] per pool, built off the request path and shared by all workers.
//!
//! Three ways to place keys, all of them exact functions of the names and weights of the backends, so that every
//! worker, instance and restart agrees:
//!
//! - `ring_hash`: points on a ring, in proportion to weight; a key goes to the next point (Karger et al. 1997).
//! - `maglev`: a table of prime size that the backends fill in turn (Eisenbud et al. 2016, section 3.4).
//! - `rendezvous`: a table whose every slot goes to the backend of the highest weighted score (Thaler, Ravishankar
//!   1996; weights by exponential variates).
//!
//! Tables hold only who takes traffic: one that is out is not on it, and its keys are where they would be without it.
//! Who is at a limit is passed over at the pick: see [`KeyTable::choose`].
//!
//! Limits: a backend whose weight asks for less than half a point or entry may get none; see [`KeyTable::parts`] for
//! what each really has.

mod bits;
mod maglev;
mod rendezvous;
mod ring;

use std::fmt;

use evenkeel_model::config::{Algorithm, Pool};

use bits::Bits;

use crate::digest::{below, nth};
use crate::member::{Member, full_weights};

/// Slots of a table, at least: the size that the Maglev paper uses. A prime.
const SLOTS: u64 = 65_537;
/// Slots per backend, at least: the part of a backend is then kept to 1 %.
const SLOTS_PER_BACKEND: u64 = 100;
/// Further places that a key is looked up at before the backends are walked one by one.
const PROBES_MAX: u64 = 64;

/// One backend as a table sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat<'a> {
    /// Its name: all that decides where its keys are.
    pub name: &'a str,
    /// Its weight when it takes traffic.
    pub weight: u32,
    /// What its weight would be if nothing shaped it: what decides how fine the table is.
    pub full: u32,
    /// Whether it does.
    pub eligible: bool,
}

impl Seat<'_> {
    const fn effective_weight(&self) -> u32 {
        if self.eligible { self.weight } else { 0 }
    }
}

/// The backends of a pool with the keys that belong to each.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct KeyTable {
    algorithm: Algorithm,
    /// What it was built for.
    made_for: Vec<Member>,
    /// Weights if nothing shaped them.
    full: Vec<u32>,
    places: Places,
    /// Effective weights, for those that walk.
    weights: Vec<u32>,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Places {
    Ring(ring::Ring),
    /// Index of the owner by slot; empty: nobody takes traffic.
    Slots(Vec<u32>),
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable")
            .field("algorithm", &self.algorithm)
            .field("seats", &self.weights.len())
            .field("places", &self.places())
            .finish_non_exhaustive()
    }
}

impl KeyTable {
    /// The table of `members` under `algorithm`; `None` where that does not place keys. O(m log m) for m places: a few
    /// milliseconds for some backends, about a fifth of a second for 10,000 (`--example table_cost`).
    pub fn of(algorithm: Algorithm, members: &[Member]) -> Option<Self> {
        let full = members.iter().map(|member| member.weight).collect();
        Self::made(algorithm, members, full)
    }

    /// The table of `members` of `pool`, whose weights a slow start, levels or zones may shape; `None` where its
    /// algorithm does not place keys. A step of a slow start moves keys to the backend that starts and no others.
    pub fn of_pool(pool: &Pool, members: &[Member]) -> Option<Self> {
        Self::made(pool.algorithm, members, full(pool, members))
    }

    fn made(algorithm: Algorithm, members: &[Member], full: Vec<u32>) -> Option<Self> {
        let seats: Vec<Seat<'_>> = members
            .iter()
            .zip(&full)
            .map(|(member, full)| Seat {
                name: member.name.as_str(),
                weight: member.weight,
                full: *full,
                eligible: member.eligible,
            })
            .collect();
        let mut table = Self::new(algorithm, &seats)?;
        members.clone_into(&mut table.made_for);
        table.full = full;
        Some(table)
    }

    /// [`KeyTable::of`] for backends that are not members of a running pool, as a forecast has them.
    pub fn new(algorithm: Algorithm, seats: &[Seat<'_>]) -> Option<Self> {
        let places = match algorithm {
            Algorithm::RingHash => Places::Ring(ring::Ring::new(seats)),
            Algorithm::Maglev => Places::Slots(maglev::slots(seats, size(seats.len()))),
            Algorithm::Rendezvous => Places::Slots(rendezvous::slots(seats, size(seats.len()))),
            _ => return None,
        };
        Some(Self {
            algorithm,
            made_for: Vec::new(),
            full: Vec::new(),
            places,
            weights: seats.iter().map(Seat::effective_weight).collect(),
        })
    }

    /// Whether it is the table of `members` under `algorithm`.
    pub fn fits(&self, algorithm: Algorithm, members: &[Member]) -> bool {
        self.algorithm == algorithm && self.made_for == members
    }

    /// Whether it is the table of these members of `pool`.
    pub fn fits_pool(&self, pool: &Pool, members: &[Member]) -> bool {
        self.fits(pool.algorithm, members) && self.full == full(pool, members)
    }

    /// Points of the ring, or slots of the table.
    pub fn places(&self) -> usize {
        match &self.places {
            Places::Ring(ring) => ring.len(),
            Places::Slots(slots) => slots.len(),
        }
    }

    /// About how many places the table of so many backends has: what building it costs.
    pub fn places_of(backends: usize) -> u64 {
        size(backends)
    }

    /// The part (0..1) of the key space that belongs to each backend, in file order: exact, not an estimate. All zero
    /// when nobody takes traffic.
    pub fn parts(&self) -> Vec<f64> {
        match &self.places {
            Places::Ring(ring) => ring.parts(self.weights.len()),
            Places::Slots(slots) => {
                let mut parts = vec![0.0; self.weights.len()];
                for owner in slots {
                    if let Some(part) = parts.get_mut(*owner as usize) {
                        *part += 1.0;
                    }
                }
                let all = slots.len().max(1) as f64;
                parts.iter().map(|count| count / all).collect()
            }
        }
    }

    /// The backend that the key with this hash belongs to; `None`: nobody takes traffic.
    pub fn owner(&self, hash: u64) -> Option<usize> {
        self.choose(hash, |_| true)
    }

    /// The first backend in the order of this key that `may` take it. The order is the same everywhere: the owner, then
    /// on a ring the owners of the points that follow, on a table those of the slots that the key falls on when it is
    /// hashed again. After 64 of them (most of the pool is out of reach) the backends are walked in file order from
    /// one that the key decides, which costs O(n).
    pub fn choose(&self, hash: u64, mut may: impl FnMut(usize) -> bool) -> Option<usize> {
        let near = match &self.places {
            Places::Ring(ring) => ring.from(hash).take(PROBES_MAX as usize).find(|i| may(*i)),
            Places::Slots(slots) => {
                let slot = |probe: u64| {
                    let hash = if probe == 0 { hash } else { nth(hash, probe) };
                    let owner = slots.get(below(hash, slots.len() as u64) as usize)?;
                    Some(*owner as usize)
                };
                (0..PROBES_MAX).map_while(slot).find(|i| may(*i))
            }
        };
        near.or_else(|| self.walk(hash, may))
    }

    fn walk(&self, hash: u64, mut may: impl FnMut(usize) -> bool) -> Option<usize> {
        let count = self.weights.len();
        let start = below(nth(hash, PROBES_MAX), count as u64) as usize;
        (0..count).map(|step| (start + step) % count).find(|i| {
            let weight = self.weights.get(*i).copied().unwrap_or(0);
            weight > 0 && may(*i)
        })
    }
}

fn full(pool: &Pool, members: &[Member]) -> Vec<u32> {
    full_weights(pool.backends.iter().map(|b| b.weight), members)
}

/// Slots of a table for a pool of so many backends, in or out: 65,537, or beyond 655 backends the next prime after a
/// doubling of it. In steps, because another size is another table in which most keys move.
fn size(backends: usize) -> u64 {
    let wanted = backends as u64 * SLOTS_PER_BACKEND;
    let mut size = SLOTS;
    while size < wanted {
        size *= 2;
    }
    // There is a prime below the double of any number (Bertrand).
    (size..2 * size).find(|n| is_prime(*n)).unwrap_or(SLOTS)
}

fn is_prime(n: u64) -> bool {
    n > 1
        && (2..n)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::{is_prime, size};

    #[test]
    fn tables_have_a_prime_number_of_slots_and_enough_of_them() {
        assert_eq!((size(1), size(655), size(656)), (65_537, 65_537, 131_101));
        for backends in [1_000, 3_000, 10_000, 100_000] {
            assert!(is_prime(size(backends)) && size(backends) >= backends as u64 * 100);
        }
    }
}
