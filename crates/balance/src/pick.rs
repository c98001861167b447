//! Choosing a backend: one [`Picker`] per worker and pool.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Choices, Pool};
use evenkeel_model::rng::Rng;

use crate::aware::{Aware, Drawn, Field, How};
use crate::hash::KeyTable;
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

    /// Requests in flight at all of `members` together; asked for only under a bounded load. The default adds them up,
    /// which costs O(n): who has many keeps the sum.
    fn total(&self, members: usize) -> u64 {
        (0..members).map(|i| u64::from(self.in_flight(i))).sum()
    }

    /// The most that the member may hold, where that is found out at run time.
    fn limit(&self, _member: usize) -> Option<u32> {
        None
    }

    /// Workers that share the traffic, each with a picker of its own.
    fn workers(&self) -> u32 {
        1
    }
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
    /// Under `least_request`: who is compared.
    pub choices: Choices,
    /// Most requests at once on one backend; beyond it the backend is passed over. `None`: no limit.
    pub max_in_flight: Option<u32>,
    /// Under a hash: no backend takes more by its keys than this times its part of all requests in flight.
    pub bounded_load: Option<f64>,
    /// Under a hash: the table that was built for all workers. `None`: the picker builds its own.
    pub keys: Option<SharedKeys>,
}

impl Spec {
    /// What `pool` declares.
    pub const fn of(pool: &Pool) -> Self {
        Self {
            algorithm: pool.algorithm,
            choices: pool.choices,
            max_in_flight: pool.most_in_flight(),
            bounded_load: pool.affinity.bounded_load,
            keys: None,
        }
    }

    /// With the table that was built for the members that go with it.
    pub fn with_keys(self, keys: Option<&Arc<KeyTable>>) -> Self {
        Self {
            keys: keys.map(|table| SharedKeys(Arc::clone(table))),
            ..self
        }
    }
}

/// A table that several pickers look at. Two are equal when they are the same one.
#[derive(Debug, Clone)]
pub struct SharedKeys(Arc<KeyTable>);

impl PartialEq for SharedKeys {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Algorithm> for Spec {
    /// The algorithm with nothing else declared.
    fn from(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            choices: Choices::DEFAULT,
            max_in_flight: None,
            bounded_load: None,
            keys: None,
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
    /// What the request is known by, as [`crate::digest::key`] gives it; `None`: it has no key, or none is looked at.
    pub key: Option<u64>,
    /// The member that a cookie of the client is bound to. It is taken where it may be, also at weight 0: a weight says
    /// who gets new clients.
    pub bound: Option<usize>,
}

impl Ask<'_> {
    /// Why whoever the algorithm alone picks is picked.
    pub const fn why(&self) -> Why {
        if self.tried.is_empty() {
            Why::Free
        } else {
            Why::Retry
        }
    }
}

/// What was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Index in file order.
    pub member: usize,
    /// Why this one.
    pub why: Why,
}

/// Why a member was picked: only [`Why::Free`] says something of the algorithm's shares, and
/// clients cannot steer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By the algorithm alone.
    Free,
    /// By a key or a cookie of the request.
    Forced,
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
    /// Only under a hash.
    keys: Option<Arc<KeyTable>>,
    /// Only where the load decides.
    aware: Aware,
    rng: Rng,
}

impl Picker {
    /// A picker that starts at a random point of its cycle, drawn from `rng`; give each worker its own.
    pub fn new(spec: Spec, members: &[Member], mut rng: Rng) -> Self {
        let smooth = match spec.algorithm {
            Algorithm::RoundRobin => Smooth::new(members, &mut rng),
            _ => Smooth::default(),
        };
        let mut aware = Aware::default();
        aware.carry(spec.algorithm, members);
        Self {
            keys: keys(&spec, members, None),
            aware,
            spec,
            members: members.to_vec(),
            table: Table::new(members),
            smooth,
            rng,
        }
    }

    /// Takes over a new configuration or eligibility, at most once per reload or epoch: O(n log n), and O(n)
    /// when nothing changed. Round-robin accounts and what is known of speeds and failures are carried over by backend name, also for members that are
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
            _ => Smooth::default(),
        };
        self.keys = keys(spec, members, self.keys.take());
        self.aware.carry(spec.algorithm, members);
        spec.clone_into(&mut self.spec);
        self.table = Table::new(members);
        members.clone_into(&mut self.members);
    }

    /// The members as of the last update, in file order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Chooses a member. Passes over who is tried, not eligible, of weight 0 or at its in-flight limit; `None` when
    /// nobody is left. Who is bound to a member that takes traffic gets it. A pick with `tried` is drawn by weight over
    /// the rest and leaves the round-robin accounts alone, so that a failing backend does not bend the shares of first
    /// tries; with a key it goes to the next in the order of that key.
    pub fn pick(&mut self, load: &impl Load, ask: Ask<'_>) -> Option<Pick> {
        let limit = self.spec.max_in_flight.unwrap_or(u32::MAX);
        let may = |index: usize| {
            let limit = limit.min(load.limit(index).unwrap_or(u32::MAX));
            (limit == u32::MAX || load.in_flight(index) < limit) && !ask.tried.contains(&index)
        };
        let why = ask.why();
        let bound = ask.bound.filter(|index| {
            let member = self.members.get(*index);
            member.is_some_and(|member| member.eligible) && may(*index)
        });
        if let (Some(member), Why::Free) = (bound, why) {
            let why = Why::Forced;
            return Some(Pick { member, why });
        }
        if let (Some(key), Some(table)) = (ask.key, &self.keys) {
            let member = self.by_key(table, key, load, may)?;
            let why = if why == Why::Free { Why::Forced } else { why };
            return Some(Pick { member, why });
        }
        let member = match self.spec.algorithm {
            Algorithm::RoundRobin if why == Why::Free => self.next_in_turn(may),
            Algorithm::RoundRobin
            | Algorithm::Random
            | Algorithm::RingHash
            | Algorithm::Maglev
            | Algorithm::Rendezvous => self.table.draw(&mut self.rng, None, may),
            Algorithm::LeastRequest | Algorithm::PeakEwma | Algorithm::Prequal => {
                let field = Field {
                    algorithm: self.spec.algorithm,
                    choices: self.spec.choices,
                    table: &self.table,
                    load,
                    now: ask.now,
                };
                self.aware.choose(&field, &mut self.rng, may)
            }
        }?;
        Some(Pick { member, why })
    }

    /// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018, arXiv 1608.01350): with m requests in
    /// flight and this one, a backend of weight w of W holds at most `ceil(factor (m + 1) w / W)`. The bounds add up to
    /// more than m, so somebody has room; where counts of other workers changed meanwhile and nobody seems to, the bound
    /// gives way rather than the request.
    fn by_key(
        &self,
        table: &KeyTable,
        key: u64,
        load: &impl Load,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let Some(factor) = self.spec.bounded_load else {
            return table.choose(key, may);
        };
        let all = (load.total(self.members.len()) + 1) as f64;
        let per_weight = factor * all / self.table.total().max(1) as f64;
        let has_room = |index: usize| {
            let bound = (per_weight * self.table.weight(index) as f64).ceil();
            f64::from(load.in_flight(index)) < bound
        };
        let within = table.choose(key, |index| has_room(index) && may(index));
        within.or_else(|| table.choose(key, may))
    }

    /// Tells how a try ended that this picker chose by its algorithm ([`Why::Free`] or [`Why::Retry`]), `took` after its
    /// pick: the time to the response head or to the failure. O(1); nothing where the load has no say.
    pub fn answered(&mut self, member: usize, now: Mono, took: Duration, how: How) {
        self.aware.answered(member, now, took, how);
    }

    /// Takes in how many requests a member says that it holds, in an answer or to a probe; `own`: how many of this
    /// balancer's it holds now. O(1); nothing but under `prequal`.
    pub fn reported(&mut self, member: usize, now: Mono, in_flight: u32, own: u32) {
        if self.spec.algorithm == Algorithm::Prequal {
            let (table, rng) = (&self.table, &mut self.rng);
            let counts = (in_flight, own);
            self.aware.reported(member, now, counts, table, rng);
        }
    }

    /// A probe of a member came to nothing.
    pub fn silent(&mut self, member: usize) {
        self.aware.forget(member);
    }

    /// The members to probe for one request, `rate` in the mean: different ones, drawn by weight.
    pub fn draw_to_probe(&mut self, rate: f64) -> Drawn {
        self.aware.draw_to_probe(rate, &self.table, &mut self.rng)
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
}

/// The table for `members`: the shared one, the one there is if it still fits, else a new one.
fn keys(spec: &Spec, members: &[Member], old: Option<Arc<KeyTable>>) -> Option<Arc<KeyTable>> {
    if let Some(SharedKeys(shared)) = &spec.keys {
        return Some(Arc::clone(shared));
    }
    let old = old.filter(|table| table.fits(spec.algorithm, members));
    old.or_else(|| KeyTable::of(spec.algorithm, members).map(Arc::new))
}
