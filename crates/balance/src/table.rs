//! Weighted draws from a cumulative table: O(log n) per draw.
//!
//! A draw that hits somebody who may not be picked is repeated a few times and then replaced by one pass over
//! the members, so a draw is always exact by weight over those who may be picked, and always ends.

use evenkeel_model::rng::Rng;

use crate::member::Member;

/// Draws from the table before the members are walked one by one.
const DRAWS_MAX: usize = 8;

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Sum of effective weights up to and including each member.
    cumulative: Vec<u64>,
}

impl Table {
    pub(crate) fn new(members: &[Member]) -> Self {
        let cumulative = members
            .iter()
            .scan(0u64, |sum, member| {
                *sum += u64::from(member.effective_weight());
                Some(*sum)
            })
            .collect();
        Self { cumulative }
    }

    /// Sum of all effective weights.
    pub(crate) fn total(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// Effective weight of a member.
    pub(crate) fn weight(&self, index: usize) -> u64 {
        self.end(index) - self.start(index)
    }

    /// A member with weight that `may` be picked and is not `except`, drawn by weight.
    pub(crate) fn draw(
        &self,
        rng: &mut Rng,
        except: Option<usize>,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (gap_start, gap) = except.map_or((u64::MAX, 0), |i| (self.start(i), self.weight(i)));
        let total = self.total() - gap;
        if total == 0 {
            return None;
        }
        for _ in 0..DRAWS_MAX {
            let mut point = rng.below(total);
            if point >= gap_start {
                point += gap;
            }
            let index = self.cumulative.partition_point(|end| *end <= point);
            if may(index) {
                return Some(index);
            }
        }
        self.walk(rng, |index| Some(index) != except && may(index))
    }

    /// One pass over all members (reservoir sampling by weight).
    fn walk(&self, rng: &mut Rng, may: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut chosen, mut sum) = (None, 0u64);
        for index in 0..self.cumulative.len() {
            let weight = self.weight(index);
            if weight > 0 && may(index) {
                sum += weight;
                if rng.below(sum) < weight {
                    chosen = Some(index);
                }
            }
        }
        chosen
    }

    fn start(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .and_then(|before| self.cumulative.get(before))
            .copied()
            .unwrap_or(0)
    }

    fn end(&self, index: usize) -> u64 {
        self.cumulative.get(index).copied().unwrap_or(0)
    }
}
