//! Who of a pool takes traffic, and which share each should then get.

use evenkeel_model::config::{Algorithm, Pool};
use evenkeel_model::ids::Name;

/// One backend as a picker sees it. The index in the list is the index in file order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// The backend: its identity over reloads.
    pub name: Name,
    /// Effective weight; 0 takes no traffic.
    pub weight: u32,
    /// Whether it takes traffic now (health, drain).
    pub eligible: bool,
}

impl Member {
    /// The weight that counts: 0 when not eligible.
    pub const fn effective_weight(&self) -> u32 {
        if self.eligible { self.weight } else { 0 }
    }
}

/// What is known of a backend at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Takes traffic.
    Up,
    /// Fails its health check. Takes traffic only when the pool fails open.
    Down,
    /// Taken out by a person. Takes none, not even when the pool fails open.
    Drained,
}

/// Whether a pool had to fall back to backends that are not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailOpen {
    /// Only healthy backends are eligible.
    No,
    /// No backend with weight is healthy, so every one that is not drained is eligible: a wrong
    /// health check must not be an outage.
    Yes,
    /// No backend with weight is left at all (all drained or weight 0): nothing can be picked.
    NobodyLeft,
}

/// The members of `pool` in file order, eligible when `healthy`. When none with weight above 0 is,
/// all of them are ([`FailOpen::Yes`]).
pub fn effective_members(pool: &Pool, healthy: impl Fn(usize) -> bool) -> (Vec<Member>, FailOpen) {
    effective_members_by_standing(pool, |index| {
        if healthy(index) {
            Standing::Up
        } else {
            Standing::Down
        }
    })
}

/// [`effective_members`] where some backends may be drained.
pub fn effective_members_by_standing(
    pool: &Pool,
    standing: impl Fn(usize) -> Standing,
) -> (Vec<Member>, FailOpen) {
    let standings: Vec<Standing> = (0..pool.backends.len()).map(standing).collect();
    let weights: Vec<u32> = pool.backends.iter().map(|b| b.weight).collect();
    let (eligible, fail_open) = standings_to_eligible(&weights, &standings);
    let members = pool
        .backends
        .iter()
        .zip(eligible)
        .map(|(backend, eligible)| Member {
            name: backend.name.clone(),
            weight: backend.weight,
            eligible,
        })
        .collect();
    (members, fail_open)
}

pub(crate) fn standings_to_eligible(
    weights: &[u32],
    standings: &[Standing],
) -> (Vec<bool>, FailOpen) {
    let any = |wanted: Standing| {
        weights
            .iter()
            .zip(standings)
            .any(|(weight, standing)| *weight > 0 && *standing == wanted)
    };
    let fail_open = match (any(Standing::Up), any(Standing::Down)) {
        (true, _) => FailOpen::No,
        (false, true) => FailOpen::Yes,
        (false, false) => FailOpen::NobodyLeft,
    };
    let eligible = standings
        .iter()
        .map(|standing| match standing {
            Standing::Up => true,
            Standing::Down => fail_open == FailOpen::Yes,
            Standing::Drained => false,
        })
        .collect();
    (eligible, fail_open)
}

/// The share of free picks (0..1, file order) that the algorithm gives each member in the long run:
/// weight over the sum of weights of the eligible; under a hash that is how requests without a key fall
/// ([`crate::KeyTable::parts`] has the shares of those with one). `None` where the load decides
/// ([`Algorithm::follows_load`]) and where nobody is eligible. Holds while no member is at its in-flight limit.
pub fn expected_shares(algorithm: Algorithm, members: &[Member]) -> Option<Vec<f64>> {
    match algorithm {
        Algorithm::RoundRobin
        | Algorithm::Random
        | Algorithm::RingHash
        | Algorithm::Maglev
        | Algorithm::Rendezvous => weight_shares(members),
        Algorithm::LeastRequest | Algorithm::PeakEwma | Algorithm::Prequal => {
            // One eligible backend gets everything whatever its load.
            let eligible = members.iter().filter(|m| m.effective_weight() > 0).count();
            if eligible == 1 {
                weight_shares(members)
            } else {
                None
            }
        }
    }
}

fn weight_shares(members: &[Member]) -> Option<Vec<f64>> {
    let total: u64 = members
        .iter()
        .map(|m| u64::from(m.effective_weight()))
        .sum();
    (total > 0).then(|| {
        members
            .iter()
            .map(|m| f64::from(m.effective_weight()) / total as f64)
            .collect()
    })
}

/// What a weight of 1 is where something shapes the weights of a pool that declares these: a power of two, so that it
/// changes no table of keys, and as large as keeps the heaviest below 2^31.
pub(crate) fn unit(declared: impl Iterator<Item = u32>) -> u32 {
    let heaviest = declared.max().unwrap_or(0).max(1);
    1 << (heaviest.leading_zeros() - 1)
}

/// What the weights of `members` would be if nothing shaped them: the `declared` ones in the unit of the effective ones.
pub fn full_weights(declared: impl Iterator<Item = u32> + Clone, members: &[Member]) -> Vec<u32> {
    let mut pairs = members.iter().zip(declared.clone());
    let is_shaped = pairs.any(|(m, weight)| m.effective_weight() > 0 && m.weight != weight);
    let unit = if is_shaped { unit(declared.clone()) } else { 1 };
    declared.map(|weight| weight.saturating_mul(unit)).collect()
}

#[cfg(test)]
mod tests {
    use super::{FailOpen, Member, Standing, full_weights, standings_to_eligible, unit};
    use evenkeel_model::ids::Name;

    #[test]
    fn the_unit_of_shaped_weights_is_a_power_of_two_that_fits() {
        for heaviest in [0, 1, 2, 3, 100, 65_535] {
            let unit = unit([1, heaviest].into_iter());
            assert!(unit.is_power_of_two() && unit > 8_192);
            assert!(u64::from(unit) * u64::from(heaviest) < 1 << 31);
        }
        let member = |weight| Member {
            name: Name::new("x").unwrap(),
            weight,
            eligible: weight > 0,
        };
        let plain = [member(3), member(1), member(0)];
        assert_eq!(full_weights([3, 1, 7].into_iter(), &plain), [3, 1, 7]);
        let unit = unit([3, 1, 7].into_iter());
        let shaped = [member(3 * unit), member(unit / 2), member(0)];
        assert_eq!(
            full_weights([3, 1, 7].into_iter(), &shaped),
            [3 * unit, unit, 7 * unit]
        );
    }

    #[test]
    fn a_pool_fails_open_only_over_backends_that_are_not_drained() {
        use Standing::{Down, Drained, Up};
        let eligible =
            |weights: &[u32], standings: &[Standing]| standings_to_eligible(weights, standings);
        assert_eq!(
            eligible(&[1, 1, 1], &[Up, Down, Drained]),
            (vec![true, false, false], FailOpen::No)
        );
        assert_eq!(
            eligible(&[1, 1, 1], &[Down, Down, Drained]),
            (vec![true, true, false], FailOpen::Yes)
        );
        assert_eq!(
            eligible(&[1, 1], &[Drained, Drained]),
            (vec![false, false], FailOpen::NobodyLeft)
        );
        // A healthy backend of weight 0 takes nothing, so it does not keep the pool closed.
        assert_eq!(
            eligible(&[0, 1], &[Up, Down]),
            (vec![true, true], FailOpen::Yes)
        );
    }
}
