//! Smooth weighted round robin by earliest eligible virtual deadline (EEVDF), O(log n) per pick.
//!
//! Each member is owed `w / W` of every pick. Its k-th pick becomes ready when it is owed more than k - 1 picks and is due
//! when it is owed k; of those ready, the one due first is picked. That is the proportionate-fair schedule of Baruah
//! et al. 1996 on one server, which keeps every member within one pick of what it is owed at every moment, for any
//! number of members. Plain deadline order (without the ready condition) would let n light members be served ahead
//! of a heavy one, n picks in a row.
//!
//! Every picker starts at a random point of the cycle, so that many workers, or many reloads, do not all begin with
//! the same backend (first-pick bias: gRPC proposal A58, Envoy issue 31378). On a change of the members, what each is
//! ahead or behind is carried over by name; a member that is out keeps its account for when it returns.
//!
//! Limits: the start draws which members are ahead so that each is ahead by 0 on average; right after a change of
//! members or weights the carried accounts may have to be cut to keep the bound.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

use crate::member::Member;

/// Picks after which positions are counted from zero again, long before 53 bits run out.
const REBASE_PICKS: u64 = 1 << 32;
/// Picks that may be overdue together right after a start or a change.
const OVERDUE_MAX: f64 = 1.0;

#[derive(Debug, Clone, Default)]
pub(crate) struct Smooth {
    lanes: Vec<Lane>,
    /// Members whose next pick is ready, earliest due first.
    ready: BinaryHeap<Turn>,
    /// Members whose next pick is not ready yet, earliest ready first.
    waiting: BinaryHeap<Turn>,
    /// Picks made since the positions were set.
    picks: u64,
}

/// One member's account.
#[derive(Debug, Clone)]
struct Lane {
    name: Name,
    /// W / w: picks of the pool per pick of this member; 0 when it takes none.
    step: f64,
    /// Picks it was ahead of what it was owed (negative: behind) when the positions were set.
    ahead: f64,
    /// Picks it got since.
    got: u64,
    /// Order among equal deadlines, random once per member: file order would favour the first at every start.
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

impl Lane {
    fn ready_at(&self) -> f64 {
        (self.got as f64 + self.ahead) * self.step
    }

    fn due_at(&self) -> f64 {
        (self.got as f64 + self.ahead + 1.0) * self.step
    }

    /// Picks ahead of what it is owed after `picks` picks of the pool.
    fn ahead_after(&self, picks: u64) -> f64 {
        if self.step > 0.0 {
            self.got as f64 + self.ahead - picks as f64 / self.step
        } else {
            self.ahead
        }
    }
}

impl Smooth {
    /// Starts at a random point of the cycle.
    pub(crate) fn new(members: &[Member], rng: &mut Rng) -> Self {
        let total: u64 = members
            .iter()
            .map(|m| u64::from(m.effective_weight()))
            .sum();
        let lanes = members
            .iter()
            .map(|m| Lane {
                name: m.name.clone(),
                step: step(m, total),
                ahead: 0.0,
                got: 0,
                tie: rng.next_u64(),
            })
            .collect();
        let mut smooth = Self {
            lanes,
            ..Self::default()
        };
        let point = rng.below(total);
        let owed: Vec<f64> = members
            .iter()
            .map(|m| {
                let owed = u128::from(point) * u128::from(m.effective_weight());
                owed.checked_rem(u128::from(total))
                    .map_or(0.0, |rest| rest as f64 / total as f64)
            })
            .collect();
        // Of those owed a part of a pick, some have had that pick already: drawn systematically in the order in which
        // the picks are due, so that never more than one is overdue.
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| {
            smooth
                .due_order(&owed, *a)
                .total_cmp(&smooth.due_order(&owed, *b))
                .then_with(|| smooth.tie(*a).cmp(&smooth.tie(*b)))
        });
        let mut sum = rng.unit();
        for index in order {
            let Some((lane, owed)) = smooth.lanes.get_mut(index).zip(owed.get(index)) else {
                continue;
            };
            let before = sum;
            sum += owed;
            let had = sum.floor() > before.floor();
            lane.ahead = if had { 1.0 - owed } else { -owed };
        }
        smooth.queue_all();
        smooth
    }

    /// Takes over the members of a new configuration or eligibility; accounts go with the name.
    pub(crate) fn carry(&self, members: &[Member], rng: &mut Rng) -> Self {
        let known: BTreeMap<&Name, &Lane> = self.lanes.iter().map(|l| (&l.name, l)).collect();
        if !members.iter().any(|m| known.contains_key(&m.name)) {
            return Self::new(members, rng);
        }
        let total: u64 = members
            .iter()
            .map(|m| u64::from(m.effective_weight()))
            .sum();
        let lanes: Vec<Lane> = members
            .iter()
            .map(|m| {
                let (ahead, tie) = match known.get(&m.name) {
                    Some(lane) => (lane.ahead_after(self.picks), lane.tie),
                    None => (random_account(rng), rng.next_u64()),
                };
                Lane {
                    name: m.name.clone(),
                    step: step(m, total),
                    ahead,
                    got: 0,
                    tie,
                }
            })
            .collect();
        let mut smooth = Self {
            lanes,
            ..Self::default()
        };
        smooth.balance_accounts();
        smooth.queue_all();
        smooth
    }

    /// The next member in turn; its turn counts as taken. `None` when nobody has weight.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let end_of_pick = (self.picks + 1) as f64;
        while let Some(turn) = self.waiting.peek().copied() {
            if turn.at >= end_of_pick {
                break;
            }
            self.waiting.pop();
            if let Some(lane) = self.lanes.get(turn.member) {
                self.ready.push(Turn {
                    at: lane.due_at(),
                    ..turn
                });
            }
        }
        let turn = self.ready.pop().or_else(|| self.waiting.pop())?;
        self.picks += 1;
        let lane = self.lanes.get_mut(turn.member)?;
        lane.got += 1;
        self.waiting.push(Turn {
            at: lane.ready_at(),
            ..turn
        });
        if self.picks >= REBASE_PICKS {
            self.rebase();
        }
        Some(turn.member)
    }

    fn rebase(&mut self) {
        for lane in &mut self.lanes {
            lane.ahead = lane.ahead_after(self.picks);
            lane.got = 0;
        }
        self.picks = 0;
        self.queue_all();
    }

    fn queue_all(&mut self) {
        self.ready.clear();
        self.waiting = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.step > 0.0)
            .map(|(member, lane)| Turn {
                at: lane.ready_at(),
                tie: lane.tie,
                member,
            })
            .collect();
    }

    fn due_order(&self, owed: &[f64], index: usize) -> f64 {
        let step = self.lanes.get(index).map_or(0.0, |lane| lane.step);
        (1.0 - owed.get(index).copied().unwrap_or(0.0)) * step
    }

    fn tie(&self, index: usize) -> u64 {
        self.lanes.get(index).map_or(0, |lane| lane.tie)
    }

    /// Makes carried accounts a state from which the schedule keeps its bound: they sum to zero, each is within one
    /// pick, and in the order of their deadlines never more than [`OVERDUE_MAX`] picks are owed together.
    fn balance_accounts(&mut self) {
        let live = |lane: &&mut Lane| lane.step > 0.0;
        let sum: f64 = self.lanes.iter_mut().filter(live).map(|l| l.ahead).sum();
        for lane in self.lanes.iter_mut().filter(live) {
            lane.ahead = (lane.ahead - sum / lane.step).clamp(-1.0, 1.0);
        }
        let due = |lane: &Lane| {
            let rest = if lane.ahead < 0.0 {
                1.0 + lane.ahead
            } else {
                lane.ahead
            };
            rest * lane.step
        };
        let mut order: Vec<&mut Lane> = self.lanes.iter_mut().filter(live).collect();
        order.sort_by(|a, b| due(a).total_cmp(&due(b)).then_with(|| a.tie.cmp(&b.tie)));
        let mut overdue = 0.0;
        for lane in order {
            overdue -= lane.ahead;
            if overdue > OVERDUE_MAX {
                lane.ahead += overdue - OVERDUE_MAX;
                overdue = OVERDUE_MAX;
            }
        }
    }
}

fn step(member: &Member, total: u64) -> f64 {
    match member.effective_weight() {
        0 => 0.0,
        weight => total as f64 / f64::from(weight),
    }
}

/// The account of somebody at a random moment of a smooth schedule: mean 0, triangular on -1..1.
fn random_account(rng: &mut Rng) -> f64 {
    let owed = rng.unit();
    if rng.unit() < owed { 1.0 - owed } else { -owed }
}
