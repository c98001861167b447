//! Smooth weighted round robin by earliest deadline, O(log n) per pick.
//!
//! Every member comes up once per `W / w` picks of virtual time, and the next pick goes to whoever comes up first. Weights
//! 5, 1, 1 give a a b a a c a, never a a a a a b c.
//!
//! **Start.** Schedulers that start all members together serve the heavy ones first, after every start of every worker
//! (first-pick bias: Envoy issue 31378, gRPC proposal A58). A phase drawn at random per member, as A58 does, still
//! favours the heavy: a random moment falls more often into the long gaps. Here the first pick is drawn by weight
//! and the other phases uniformly, which is the schedule as seen from a random one of its picks (its Palm distribution,
//! invariant under shifting by one pick). So every pick of a fresh picker, the first, the second, the k-th, goes to
//! member i with probability `w_i / W` exactly.
//!
//! **Change.** What is left of a member's turn is carried over by name as a fraction, also while it is out.
//! Nothing is reset, so reloads after every few picks starve nobody (nginx and Caddy reset: the light ones get nothing).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

use crate::member::Member;

/// Virtual time (in picks) after which it is counted from zero again, long before 53 bits run short.
const REBASE_AT: f64 = (1u64 << 24) as f64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Smooth {
    lanes: Vec<Lane>,
    /// Whoever has weight, earliest first.
    turns: BinaryHeap<Turn>,
    /// Virtual time: the moment of the last pick.
    now: f64,
}

#[derive(Debug, Clone)]
struct Lane {
    name: Name,
    /// W / w: picks of the pool per pick of this member; 0 when it takes none.
    step: f64,
    /// When its turn comes; for a member without weight the part of a step (0..=1) that was left.
    at: f64,
    /// Order among equal moments, random once per member.
    tie: u64,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    at: f64,
    tie: u64,
    member: usize,
}

impl Ord for Turn {
    /// Reversed: the heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |t: &Self| (t.tie, t.member);
        other
            .at
            .total_cmp(&self.at)
            .then_with(|| key(other).cmp(&key(self)))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl Smooth {
    /// Starts at a random pick of the schedule.
    pub(crate) fn new(members: &[Member], rng: &mut Rng) -> Self {
        let weights: Vec<f64> = members
            .iter()
            .map(|m| f64::from(m.effective_weight()))
            .collect();
        let first = rng.weighted(&weights);
        let total = total_weight(members);
        let lanes = members
            .iter()
            .enumerate()
            .map(|(index, m)| {
                let left = if Some(index) == first {
                    0.0
                } else {
                    rng.unit()
                };
                Lane::new(m, total, left, rng.next_u64())
            })
            .collect();
        Self::from_lanes(lanes)
    }

    /// Takes over the members of a new configuration or eligibility; what is left of a turn goes with the name.
    pub(crate) fn carry(&self, members: &[Member], rng: &mut Rng) -> Self {
        let known: BTreeMap<&Name, &Lane> = self.lanes.iter().map(|l| (&l.name, l)).collect();
        if !members.iter().any(|m| known.contains_key(&m.name)) {
            return Self::new(members, rng);
        }
        let total = total_weight(members);
        let lanes = members
            .iter()
            .map(|m| match known.get(&m.name) {
                Some(lane) => Lane::new(m, total, lane.left(self.now), lane.tie),
                None => Lane::new(m, total, rng.unit(), rng.next_u64()),
            })
            .collect();
        Self::from_lanes(lanes)
    }

    /// The next member in turn; its turn counts as taken. `None` when nobody has weight.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let mut turn = self.turns.peek_mut()?;
        let lane = self.lanes.get_mut(turn.member)?;
        let member = turn.member;
        self.now = turn.at;
        lane.at = turn.at + lane.step;
        turn.at = lane.at;
        drop(turn);
        if self.now >= REBASE_AT {
            self.rebase();
        }
        Some(member)
    }

    fn from_lanes(lanes: Vec<Lane>) -> Self {
        let turns = turns(&lanes);
        Self {
            lanes,
            turns,
            now: 0.0,
        }
    }

    fn rebase(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.step > 0.0) {
            lane.at -= self.now;
        }
        self.now = 0.0;
        self.turns = turns(&self.lanes);
    }
}

impl Lane {
    fn new(member: &Member, total: f64, left: f64, tie: u64) -> Self {
        let weight = f64::from(member.effective_weight());
        let step = if weight > 0.0 { total / weight } else { 0.0 };
        Self {
            name: member.name.clone(),
            step,
            at: if step > 0.0 { left * step } else { left },
            tie,
        }
    }

    /// The part of a step (0..=1) that is left until its turn.
    fn left(&self, now: f64) -> f64 {
        if self.step > 0.0 {
            ((self.at - now) / self.step).clamp(0.0, 1.0)
        } else {
            self.at
        }
    }
}

fn turns(lanes: &[Lane]) -> BinaryHeap<Turn> {
    lanes
        .iter()
        .enumerate()
        .filter(|(_, lane)| lane.step > 0.0)
        .map(|(member, lane)| Turn {
            at: lane.at,
            tie: lane.tie,
            member,
        })
        .collect()
}

fn total_weight(members: &[Member]) -> f64 {
    members
        .iter()
        .map(|m| f64::from(m.effective_weight()))
        .sum()
}
