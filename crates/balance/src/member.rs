//! Who of a pool takes traffic, and which share each should then get.

use evenkeel_model::config::{Algorithm, Pool};
use evenkeel_model::ids::Name;

/// One backend as a picker sees it. The index in the list is the index in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::{FailOpen, Standing, standings_to_eligible};

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
