//! Weights as they are in effect.
//!
//! With locality weights Envoy first draws a locality and then a host in it: a host's share is
//! `L / sum of L * w / sum of w in its locality`. The product is written as one whole number per host, exactly where
//! the numbers allow it, else to a millionth.

use evenkeel_model::setup::{Fallback, Pool, Touches};

use crate::book::Book;
use crate::envoy::fields::put;
use crate::envoy::members::Members;

/// Sum of the weights of a priority where they cannot be exact.
const PARTS: f64 = 1e6;

/// Where hosts of one priority have different weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Differ {
    Nowhere,
    /// In some priorities, and not in others that have several hosts.
    InSome,
    Everywhere,
}

/// Where weights differ.
pub(super) fn differ(members: &Members) -> Differ {
    let mut levels: std::collections::BTreeMap<u32, (u32, u32, usize)> =
        std::collections::BTreeMap::new();
    for member in &members.hosts {
        let weight = member.backend.weight;
        let level = levels
            .entry(member.backend.priority)
            .or_insert((weight, weight, 0));
        *level = (level.0.min(weight), level.1.max(weight), level.2 + 1);
    }
    let several = levels.values().filter(|(_, _, count)| *count > 1);
    let (mut equal, mut unequal) = (0, 0);
    for (min, max, _) in several {
        if min == max {
            equal += 1;
        } else {
            unequal += 1;
        }
    }
    match (equal, unequal) {
        (_, 0) => Differ::Nowhere,
        (0, _) => Differ::Everywhere,
        _ => Differ::InSome,
    }
}

/// Multiplies the weights of localities into those of hosts. Whether that changed the shares.
pub(super) fn fold(
    book: &mut Book<'_>,
    members: &mut Members,
    path: &str,
    touches: &Touches,
) -> bool {
    let levels: std::collections::BTreeSet<u32> = members
        .localities
        .iter()
        .map(|locality| locality.priority)
        .collect();
    let mut is_folded = false;
    let mut has_hosts = vec![false; members.localities.len()];
    for member in &members.hosts {
        if let Some(has) = has_hosts.get_mut(member.locality) {
            *has = true;
        }
    }
    for level in levels {
        let localities = members.localities.iter().zip(&has_hosts);
        let used: Vec<bool> = localities
            .map(|(l, has)| *has && l.priority == level)
            .collect();
        if used.iter().filter(|used| **used).count() > 1 {
            fold_level(members, &used);
            is_folded = true;
        }
    }
    if is_folded {
        let at = format!("{path}.localities");
        let place = members
            .localities
            .iter()
            .find_map(|locality| locality.weight_place);
        if let Some(place) = place {
            put(book, &at, place);
        }
        let because = "how load moves between localities when hosts fail is not foreseen";
        book.gap_because(&at, "locality weights", because, touches.clone());
    }
    is_folded
}

/// Folds the localities that `used` marks, which have one priority.
fn fold_level(members: &mut Members, used: &[bool]) {
    let is_used = |locality: usize| used.get(locality).is_some_and(|used| *used);
    let mut sums = vec![0_u128; used.len()];
    for member in members
        .hosts
        .iter()
        .filter(|member| is_used(member.locality))
    {
        if let Some(sum) = sums.get_mut(member.locality) {
            *sum += u128::from(member.backend.weight);
        }
    }
    let multiple = sums
        .iter()
        .filter(|sum| **sum > 0)
        .try_fold(1_u128, |all, sum| {
            (all / gcd(all, *sum))
                .checked_mul(*sum)
                .filter(|all| *all < 1 << 60)
        });
    let mut exact: Vec<(usize, f64, Option<u128>)> = Vec::new();
    for (index, member) in members.hosts.iter().enumerate() {
        let locality = member.locality;
        let (Some(sum), true) = (sums.get(locality), is_used(locality)) else {
            continue;
        };
        let weight = members
            .localities
            .get(locality)
            .and_then(|l| l.weight)
            .unwrap_or(0);
        let own = u128::from(member.backend.weight);
        let float = weight as f64 * own as f64 / *sum as f64;
        let whole = multiple.map(|multiple| u128::from(weight) * own * (multiple / sum));
        exact.push((index, float, whole));
    }
    let divisor = exact
        .iter()
        .filter_map(|(_, _, whole)| *whole)
        .fold(0, gcd)
        .max(1);
    let fits = exact
        .iter()
        .all(|(_, _, whole)| whole.is_some_and(|whole| whole / divisor <= u128::from(u32::MAX)));
    let total: f64 = exact.iter().map(|(_, float, _)| float).sum();
    for (index, float, whole) in exact {
        let Some(member) = members.hosts.get_mut(index) else {
            continue;
        };
        member.backend.weight = match whole {
            Some(whole) if fits => u32::try_from(whole / divisor).unwrap_or(u32::MAX),
            _ if total > 0.0 => (float / total * PARTS).round() as u32,
            _ => 0,
        };
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Weights of localities that Envoy accepts and does not use are a fall-back of `pool`.
pub(super) fn note_idle_localities(book: &mut Book<'_>, pool: &mut Pool, members: &Members) {
    let weighted = members
        .localities
        .iter()
        .filter_map(|l| l.weight.zip(l.weight_place));
    let weights: Vec<_> = weighted.collect();
    if weights.is_empty() || members.localities.len() < 2 {
        return;
    }
    if let Some((_, place)) = weights.first() {
        put(book, &format!("{}.localities", pool.path), *place);
    }
    pool.fallback = Some(Fallback {
        requested: "load_balancing_weight of localities".to_owned(),
        reason: "without `locality_weighted_lb_config` Envoy ignores them".to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use evenkeel_model::setup::Backend;

    use super::{Differ, differ, fold_level};
    use crate::envoy::members::{Locality, Member, Members};

    fn members(localities: &[(u64, &[u32])]) -> Members {
        let mut all = Members::none();
        for (index, (weight, hosts)) in localities.iter().enumerate() {
            all.localities.push(Locality {
                weight: Some(*weight),
                weight_place: None,
                priority: 0,
            });
            for host in *hosts {
                let name = format!("{index}-{}", all.hosts.len());
                let mut backend = Backend::blank(&name, &name, &name);
                backend.weight = *host;
                all.hosts.push(Member {
                    backend,
                    locality: index,
                    hostname: name,
                    is_resolved: true,
                });
            }
        }
        all
    }

    fn weights(members: &Members) -> Vec<u32> {
        members
            .hosts
            .iter()
            .map(|member| member.backend.weight)
            .collect()
    }

    #[test]
    fn a_host_has_its_part_of_its_locality() {
        let mut two = members(&[(3, &[1, 1]), (1, &[1, 2, 1])]);
        fold_level(&mut two, &[true, true]);
        // 3/4 over two hosts, 1/4 over 1:2:1.
        assert_eq!(weights(&two), [6, 6, 1, 2, 1]);
    }

    #[test]
    fn weights_without_a_common_multiple_are_right_to_a_millionth() {
        let primes = [4_294_967_291, 4_294_967_279, 4_294_967_231];
        let hosts = [[primes[0], 2], [primes[1], 2], [primes[2], 2]];
        let mut three = members(&[(1, &hosts[0]), (1, &hosts[1]), (2, &hosts[2])]);
        fold_level(&mut three, &[true, true, true]);
        assert_eq!(weights(&three), [250_000, 0, 250_000, 0, 500_000, 0]);
    }

    #[test]
    fn weights_differ_by_priority() {
        let mut all = members(&[(1, &[1, 1, 1, 2])]);
        assert_eq!(differ(&all), Differ::Everywhere);
        for member in all.hosts.iter_mut().skip(2) {
            member.backend.priority = 1;
        }
        assert_eq!(differ(&all), Differ::InSome);
        all.hosts.pop();
        assert_eq!(differ(&all), Differ::Nowhere);
    }
}
