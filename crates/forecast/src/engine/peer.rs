//! How other balancers choose by load, so that the engine can simulate them: HAProxy's `leastconn`, nginx's `least_conn`
//! and `random two`, Envoy's least request with equal and with unequal weights.
//!
//! Written to the documented rules, as plain scans over the pool: a pick costs O(n). Left out: the order in which
//! HAProxy's tree keeps servers of equal load depends on when requests end; here the one that was picked longest ago
//! is first. Limits on requests in flight are not applied.

use evenkeel_balance::{Load, Member};
use evenkeel_model::rng::Rng;
use evenkeel_model::setup::{Among, Cost, LeastLoaded, Tie};

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PeerRule {
    /// The least loaded of all or of some drawn.
    LeastLoaded(LeastLoaded),
    /// In turn in proportion to weight / (in flight + 1)^bias: the earliest deadline first, each deadline set by the
    /// weight at that moment.
    WeightOverLoad {
        /// How strongly the load counts; 0: not at all.
        bias: f64,
    },
}

/// Chooses for one worker and pool.
#[derive(Debug)]
pub(crate) struct Peer {
    rule: PeerRule,
    members: Vec<Member>,
    lanes: Vec<Lane>,
    /// Chances of a draw where they are not the weights; empty: they are.
    odds: Vec<f64>,
    /// Picks made.
    picks: u64,
    /// The moment of the last turn.
    now: f64,
    rng: Rng,
}

/// What a rule remembers of a member.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// The number of the pick that it got last; 0: none.
    last: u64,
    /// Account of smooth weighted round robin among those that tie.
    account: i64,
    /// When its turn comes; `None`: not set yet.
    due: Option<f64>,
}

impl Peer {
    pub(crate) fn new(rule: PeerRule, odds: Vec<f64>, members: &[Member], rng: Rng) -> Self {
        Self {
            rule,
            members: members.to_vec(),
            lanes: vec![Lane::default(); members.len()],
            odds,
            picks: 0,
            now: 0.0,
            rng,
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes over members; what is remembered stays when they are the same.
    pub(crate) fn update(&mut self, members: &[Member]) {
        if self.members != members {
            members.clone_into(&mut self.members);
            self.lanes = vec![Lane::default(); members.len()];
        }
    }

    /// Chooses a member, passing over those in `tried` and those that take no traffic.
    pub(crate) fn pick(&mut self, load: &impl Load, tried: &[usize]) -> Option<usize> {
        self.picks += 1;
        let able: Vec<usize> = (0..self.members.len())
            .filter(|index| self.weight(*index) > 0 && !tried.contains(index))
            .collect();
        let chosen = match self.rule {
            PeerRule::LeastLoaded(rule) => self.least(rule, &able, load),
            PeerRule::WeightOverLoad { bias } => self.by_turn(bias, &able, load),
        }?;
        if let Some(lane) = self.lanes.get_mut(chosen) {
            lane.last = self.picks;
        }
        Some(chosen)
    }

    fn weight(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, Member::effective_weight)
    }

    fn least(&mut self, rule: LeastLoaded, able: &[usize], load: &impl Load) -> Option<usize> {
        let drawn: Vec<usize> = match rule.among {
            Among::All => able.to_vec(),
            Among::DrawnByWeight(count) => self.draw_by_weight(able, count),
            Among::DrawnEqually(count) => self.draw_equally(able, count),
            Among::DrawnFromRing(count) => self.draw_by_odds(able, count),
        };
        let cost = |index: usize| {
            let held = u64::from(load.in_flight(index));
            match rule.cost {
                Cost::PerWeight => (held, self.weight(index)),
                Cost::PlusOnePerWeight if held == 0 => (0, 1),
                Cost::PlusOnePerWeight => (held + 1, self.weight(index)),
                Cost::Plain => (held, 1),
            }
        };
        // Fractions, compared without division.
        let is_less = |a: (u64, u32), b: (u64, u32)| a.0 * u64::from(b.1) < b.0 * u64::from(a.1);
        let mut best: Vec<usize> = Vec::new();
        for index in drawn {
            match best.first() {
                Some(first) if is_less(cost(*first), cost(index)) => {}
                Some(first) if !is_less(cost(index), cost(*first)) => best.push(index),
                _ => best = vec![index],
            }
        }
        match rule.tie {
            Tie::FirstDrawn => best.first().copied(),
            Tie::LastDrawn => best.last().copied(),
            Tie::InTurn => best
                .into_iter()
                .min_by_key(|index| self.lanes.get(*index).map_or(0, |lane| lane.last)),
            Tie::ByWeight => self.smooth(&best),
        }
    }

    /// Smooth weighted round robin among `tied`.
    fn smooth(&mut self, tied: &[usize]) -> Option<usize> {
        if tied.len() < 2 {
            return tied.first().copied();
        }
        let mut total = 0;
        let mut best: Option<(i64, usize)> = None;
        for index in tied {
            let weight = i64::from(self.weight(*index));
            total += weight;
            let lane = self.lanes.get_mut(*index)?;
            lane.account += weight;
            if best.is_none_or(|(account, _)| lane.account > account) {
                best = Some((lane.account, *index));
            }
        }
        let (_, chosen) = best?;
        self.lanes.get_mut(chosen)?.account -= total;
        Some(chosen)
    }

    fn draw_by_weight(&mut self, able: &[usize], count: u32) -> Vec<usize> {
        let mut left: Vec<usize> = able.to_vec();
        let mut drawn = Vec::new();
        while drawn.len() < count as usize && !left.is_empty() {
            let weights: Vec<f64> = left
                .iter()
                .map(|index| f64::from(self.weight(*index)))
                .collect();
            let Some(place) = self.rng.weighted(&weights) else {
                break;
            };
            drawn.push(left.remove(place));
        }
        drawn
    }

    fn draw_equally(&mut self, able: &[usize], count: u32) -> Vec<usize> {
        let draws = 0..count;
        let rng = &mut self.rng;
        draws
            .filter_map(|_| able.get(rng.below(able.len() as u64) as usize).copied())
            .collect()
    }

    /// Possibly one twice; by weight where no odds are set.
    fn draw_by_odds(&mut self, able: &[usize], count: u32) -> Vec<usize> {
        let odds = |index: &usize| match self.odds.get(*index) {
            Some(odds) => *odds,
            None => f64::from(self.weight(*index)),
        };
        let odds: Vec<f64> = able.iter().map(odds).collect();
        let rng = &mut self.rng;
        (0..count)
            .filter_map(|_| able.get(rng.weighted(&odds)?).copied())
            .collect()
    }

    fn by_turn(&mut self, bias: f64, able: &[usize], load: &impl Load) -> Option<usize> {
        let step = |peer: &Self, index: usize| {
            let held = f64::from(load.in_flight(index)) + 1.0;
            libm::pow(held, bias.max(0.0)) / f64::from(peer.weight(index)).max(1.0)
        };
        let mut next: Option<(f64, usize)> = None;
        for index in able {
            let first = step(self, *index) * self.rng_if_new(*index);
            let now = self.now;
            let lane = self.lanes.get_mut(*index)?;
            let due = *lane.due.get_or_insert(now + first);
            if next.is_none_or(|(earliest, _)| due < earliest) {
                next = Some((due, *index));
            }
        }
        let (due, chosen) = next?;
        self.now = due;
        let after = due + step(self, chosen);
        self.lanes.get_mut(chosen)?.due = Some(after);
        Some(chosen)
    }

    /// A random phase for a member that has no turn yet, so that nobody is first because it is heavy; 1 else.
    fn rng_if_new(&mut self, index: usize) -> f64 {
        match self.lanes.get(index) {
            Some(lane) if lane.due.is_none() => self.rng.unit(),
            _ => 1.0,
        }
    }
}
