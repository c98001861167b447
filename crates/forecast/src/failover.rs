//! Who takes traffic when some are out: backups, levels of priority, panic, and nobody left.
//!
//! A pool falls into groups, each with its part of the traffic; the selection spreads each part within its group.
//! Levels of priority pass on what their healthy part times the overprovisioning does not cover, by the arithmetic of
//! the balancer itself (`balance::levels`): Envoy counts backends and whole percent, Evenkeel weight. What the healthy
//! ones of all levels leave over goes to the degraded ones, level by level; tried on Envoy 1.40. Backups take over when
//! no active backend is left.

use std::collections::BTreeSet;

use evenkeel_balance::Standing;
use evenkeel_balance::levels::{self, Grain};
use evenkeel_balance::subset::{self, Seat};
use evenkeel_balance::zones::{Origins, Spot};
use evenkeel_model::setup::{Backups, Nobody, Pool, Role};

/// Who of a pool takes traffic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turnout {
    /// Groups that take traffic; parts sum to 1. Empty: nobody is left.
    pub(crate) groups: Vec<Group>,
    /// Why others than the healthy active backends take it.
    pub(crate) why: Why,
    /// Healthy active backends of weight 0: they take nothing, though the intent may want them to.
    idle: Vec<usize>,
}

/// Backends that share a part of the traffic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Part of the pool's traffic, above 0, at most 1.
    pub(crate) part: f64,
    /// Indices in file order; never empty.
    pub(crate) members: Vec<usize>,
}

/// Why it is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Healthy active backends take all.
    Usual,
    /// Backups took over.
    Backups,
    /// Too few are healthy: unhealthy ones are used as well.
    Panic,
    /// Nobody is left, or requests are refused when nobody is healthy.
    Nobody,
}

/// A level of priority.
struct Level {
    healthy: Vec<usize>,
    degraded: Vec<usize>,
    /// Unhealthy ones included.
    all: Vec<usize>,
    /// Those that are drained: capacity that is missing where weight is counted.
    drained: Vec<usize>,
}

impl Level {
    /// As the pool counts it, with `able` as its healthy part: backends, or their weight.
    fn counted(&self, pool: &Pool, able: &[usize]) -> levels::Level {
        let sum = |members: &[usize]| -> f64 {
            let weights = members.iter().filter_map(|index| pool.backends.get(*index));
            weights.map(|backend| f64::from(backend.weight)).sum()
        };
        if pool.failover.by_weight {
            levels::Level {
                healthy: sum(able),
                all: sum(&self.all) + sum(&self.drained),
            }
        } else {
            levels::Level {
                healthy: able.len() as f64,
                all: self.all.len() as f64,
            }
        }
    }
}

impl Turnout {
    /// Who of `pool` takes traffic when its backends stand so. Weight 0, disabled and drained take none.
    pub(crate) fn of(pool: &Pool, standing: impl Fn(usize) -> Standing) -> Self {
        let able = |role: Role, index: usize| {
            let backend = pool.backends.get(index);
            backend.is_some_and(|b| b.role == role && b.weight > 0)
                && standing(index) != Standing::Drained
        };
        let indices = 0..pool.backends.len();
        let up = |index: &usize| standing(*index) == Standing::Up;
        let idle = indices.clone().filter(|index| {
            let backend = pool.backends.get(*index);
            backend.is_some_and(|b| b.role == Role::Active && b.weight == 0 && b.priority == 0)
                && up(index)
        });
        let idle: Vec<usize> = idle.collect();
        let turnout = |groups: Vec<Group>, why: Why| Self {
            groups,
            why,
            idle: idle.clone(),
        };
        let active: Vec<usize> = indices.clone().filter(|i| able(Role::Active, *i)).collect();
        let backups: Vec<usize> = indices.filter(|i| able(Role::Backup, *i)).collect();
        let drained: Vec<usize> = (0..pool.backends.len())
            .filter(|i| {
                let backend = pool.backends.get(*i);
                backend.is_some_and(|b| b.role == Role::Active && b.weight > 0)
                    && standing(*i) == Standing::Drained
            })
            .collect();
        let levels = by_priority(pool, &active, &drained, up);
        let healthy_backups: Vec<usize> = backups.iter().copied().filter(|i| up(i)).collect();
        let serves = |level: &Level| !level.healthy.is_empty() || !level.degraded.is_empty();
        let anyone_healthy = levels.iter().any(serves);
        if !anyone_healthy && !healthy_backups.is_empty() {
            let members = match pool.failover.backups {
                Backups::All => healthy_backups,
                Backups::First => healthy_backups.into_iter().take(1).collect(),
            };
            return turnout(vec![Group { part: 1.0, members }], Why::Backups);
        }
        let (groups, panics) = by_level(pool, &levels);
        if !groups.is_empty() {
            let groups = by_zone(pool, in_subset(pool, groups));
            return turnout(groups, if panics { Why::Panic } else { Why::Usual });
        }
        let members = if active.is_empty() { backups } else { active };
        if pool.failover.nobody == Nobody::Refuse || members.is_empty() {
            return turnout(Vec::new(), Why::Nobody);
        }
        turnout(vec![Group { part: 1.0, members }], Why::Panic)
    }

    /// The intended share of each backend; `None` when nobody should take any.
    pub(crate) fn intended(&self, pool: &Pool) -> Option<Vec<f64>> {
        let mut shares = vec![0.0; pool.backends.len()];
        let whole = [Group {
            part: 1.0,
            members: Vec::new(),
        }];
        let groups = if self.groups.is_empty() {
            &whole[..]
        } else {
            &self.groups[..]
        };
        for (number, group) in groups.iter().enumerate() {
            let mut eligible: BTreeSet<usize> = group.members.iter().copied().collect();
            if number == 0 {
                eligible.extend(&self.idle);
            }
            let mine = pool.intended_shares(|index| eligible.contains(&index));
            for (share, mine) in shares.iter_mut().zip(mine) {
                *share += group.part * mine;
            }
        }
        (shares.iter().sum::<f64>() > 0.0).then_some(shares)
    }
}

fn by_priority(
    pool: &Pool,
    active: &[usize],
    drained: &[usize],
    up: impl Fn(&usize) -> bool,
) -> Vec<Level> {
    let priority = |index: &usize| pool.backends.get(*index).map_or(0, |b| b.priority);
    let numbers: BTreeSet<u32> = active.iter().map(priority).collect();
    let level = |number: u32| {
        let all: Vec<usize> = active
            .iter()
            .copied()
            .filter(|i| priority(i) == number)
            .collect();
        let is_degraded = |i: &usize| pool.backends.get(*i).is_some_and(|b| b.is_degraded);
        let serving = all.iter().copied().filter(|i| up(i));
        let (degraded, healthy) = serving.partition(is_degraded);
        Level {
            healthy,
            degraded,
            all,
            drained: drained
                .iter()
                .copied()
                .filter(|i| priority(i) == number)
                .collect(),
        }
    };
    numbers.into_iter().map(level).collect()
}

/// The groups of the levels and whether one of them uses unhealthy backends. No groups: nobody can be chosen.
fn by_level(pool: &Pool, levels: &[Level]) -> (Vec<Group>, bool) {
    let over = pool.failover.overprovisioning;
    let grain = if pool.failover.by_weight {
        Grain::Exact
    } else {
        Grain::WholePercent
    };
    // The degraded of the first level come after the healthy of the last.
    let healthy = levels.iter().map(|level| (level, &level.healthy));
    let degraded = levels.iter().map(|level| (level, &level.degraded));
    let sides: Vec<(&Level, &Vec<usize>)> = healthy.chain(degraded).collect();
    let counts: Vec<levels::Level> = sides
        .iter()
        .map(|(level, able)| level.counted(pool, able))
        .collect();
    let covers = |level: &levels::Level| levels::coverage(*level, over, grain);
    let total = counts.iter().map(covers).sum::<f64>();
    let in_panic = |level: &Level| {
        let able: Vec<usize> = level
            .healthy
            .iter()
            .chain(&level.degraded)
            .copied()
            .collect();
        let counted = level.counted(pool, &able);
        total < 1.0 && counted.healthy / counted.all.max(1.0) < pool.failover.panic_below
    };
    if !levels.is_empty() && levels.iter().all(in_panic) {
        return (all_in_panic(pool, levels), true);
    }
    if total <= 0.0 {
        // So few that they count for nothing: the first level that has any takes all.
        let any = sides.iter().find(|(_, able)| !able.is_empty());
        let group = any.map(|(_, able)| Group {
            part: 1.0,
            members: (*able).clone(),
        });
        return (group.into_iter().collect(), false);
    }
    let parts = levels::parts(&counts, over, grain);
    let mut groups = Vec::new();
    let mut panics = false;
    for ((level, able), part) in sides.into_iter().zip(parts) {
        let unhealthy_too = in_panic(level) && pool.failover.nobody == Nobody::UseAll;
        let members = if unhealthy_too { &level.all } else { able };
        if part > 0.0 && !members.is_empty() {
            panics |= unhealthy_too;
            groups.push(Group {
                part,
                members: members.clone(),
            });
        }
    }
    (groups, panics)
}

/// Of the groups of a pool of which its balancer uses a subset, who is in it, by the arithmetic of the balancer itself.
fn in_subset(pool: &Pool, mut groups: Vec<Group>) -> Vec<Group> {
    let Some(subset) = &pool.place.subset else {
        return groups;
    };
    let able: BTreeSet<usize> = groups.iter().flat_map(|g| g.members.clone()).collect();
    let backends = pool.backends.iter().enumerate();
    let seats = backends.map(|(index, backend)| Seat {
        name: &backend.name,
        level: backend.priority,
        takes_part: backend.weight > 0,
        can: able.contains(&index),
    });
    let used = subset::of_levels(subset, &seats.collect::<Vec<_>>());
    for group in &mut groups {
        group
            .members
            .retain(|index| used.get(*index) == Some(&true));
    }
    groups.retain(|group| !group.members.is_empty());
    groups
}

/// The groups of a pool that prefers the zone of its balancer, zone by zone, by the arithmetic of the balancer itself.
fn by_zone(pool: &Pool, groups: Vec<Group>) -> Vec<Group> {
    let Some(locality) = &pool.place.locality else {
        return groups;
    };
    let first = pool.backends.iter().map(|b| b.priority).min().unwrap_or(0);
    let homes = pool.backends.iter().filter(|b| b.priority == first);
    let origins = Origins::new(locality, homes.filter_map(|b| b.zone.as_deref()));
    let min_healthy = pool.min_healthy.unwrap_or(1);
    let mut split = Vec::new();
    for group in groups {
        let members = || {
            let members = group.members.iter();
            members.filter_map(|index| Some((*index, pool.backends.get(*index)?)))
        };
        let spots = members().map(|(_, backend)| Spot {
            zone: backend.zone.as_deref(),
            able: f64::from(backend.weight),
            healthy: 1.0,
        });
        for (zone, part) in origins.split(spots, min_healthy) {
            let inside = members().filter(|(_, backend)| backend.zone.as_deref() == zone);
            let inside: Vec<usize> = inside.map(|(index, _)| index).collect();
            if part > 0.0 && !inside.is_empty() {
                split.push(Group {
                    part: group.part * part,
                    members: inside,
                });
            }
        }
    }
    split
}

/// Every level is below the panic threshold: all backends are used, each level by how many it has.
fn all_in_panic(pool: &Pool, levels: &[Level]) -> Vec<Group> {
    if pool.failover.nobody == Nobody::Refuse {
        return Vec::new();
    }
    let total: usize = levels.iter().map(|level| level.all.len()).sum();
    let group = |level: &Level| Group {
        part: level.all.len() as f64 / total.max(1) as f64,
        members: level.all.clone(),
    };
    levels.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use evenkeel_balance::Standing::{self, Down, Drained, Up};
    use evenkeel_model::config::{Locality, Subset};
    use evenkeel_model::ids::Name;
    use evenkeel_model::setup::{Backend, Backups, Failover, Nobody, Pool, Role};

    use super::{Turnout, Why};

    fn pool(backends: &[(Role, u32)], failover: Failover) -> Pool {
        let backend = |(number, (role, priority)): (usize, &(Role, u32))| Backend {
            role: *role,
            priority: *priority,
            ..Backend::blank(&format!("b{number}"), "b", "127.0.0.1:1")
        };
        Pool {
            failover,
            backends: backends.iter().enumerate().map(backend).collect(),
            ..Pool::blank("p", "p")
        }
    }

    fn envoy() -> Failover {
        Failover {
            nobody: Nobody::UseAll,
            panic_below: 0.5,
            overprovisioning: 1.4,
            ..plain(Backups::All)
        }
    }

    fn plain(backups: Backups) -> Failover {
        Failover {
            backups,
            ..Pool::blank("", "").failover
        }
    }

    /// The groups as part and members, and why.
    fn groups(pool: &Pool, standings: &[Standing]) -> (Vec<(f64, Vec<usize>)>, Why) {
        let turnout = Turnout::of(pool, |index| standings[index]);
        let groups = turnout.groups.into_iter().map(|g| (g.part, g.members));
        (groups.collect(), turnout.why)
    }

    #[test]
    fn backups_take_over_when_no_active_backend_is_left_one_or_all() {
        let roles = [
            (Role::Active, 0),
            (Role::Backup, 0),
            (Role::Backup, 0),
            (Role::Disabled, 0),
        ];
        let all = pool(&roles, plain(Backups::All));
        let first = pool(&roles, plain(Backups::First));
        assert_eq!(groups(&all, &[Up; 4]), (vec![(1.0, vec![0])], Why::Usual));
        let gone = [Down, Up, Up, Up];
        assert_eq!(groups(&all, &gone), (vec![(1.0, vec![1, 2])], Why::Backups));
        assert_eq!(groups(&first, &gone), (vec![(1.0, vec![1])], Why::Backups));
        let first_gone = [Down, Down, Up, Up];
        assert_eq!(groups(&first, &first_gone).0, [(1.0, vec![2])]);
        assert_eq!(groups(&all, &[Down; 4]), (Vec::new(), Why::Nobody));
    }

    #[test]
    fn levels_spill_as_the_table_of_envoy_says() {
        // Healthy percent of the first level and its load, the second level being whole.
        for (healthy, load) in [(100, 1.0), (72, 1.0), (71, 0.99), (50, 0.7), (25, 0.35)] {
            let mut roles = vec![(Role::Active, 0); 100];
            roles.extend([(Role::Active, 1); 10]);
            let standings: Vec<Standing> = (0..110)
                .map(|n| if n < 100 && n >= healthy { Down } else { Up })
                .collect();
            let (groups, _) = groups(&pool(&roles, envoy()), &standings);
            assert!((groups[0].0 - load).abs() < 1e-9, "{healthy}: {groups:?}");
            assert!((groups.iter().map(|g| g.0).sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_zone_of_the_instance_comes_first_as_in_the_balancer_itself() {
        let mut pool = pool(&[(Role::Active, 0); 6], plain(Backups::All));
        for (index, backend) in pool.backends.iter_mut().enumerate() {
            backend.zone = Some(["a", "b", "c"][index / 2].to_owned());
        }
        pool.place.locality = Some(Locality {
            zone: Name::new("a").unwrap(),
            origins: Vec::new(),
        });
        assert_eq!(groups(&pool, &[Up; 6]).0, [(1.0, vec![0, 1])]);
        let (one_out, _) = groups(&pool, &[Up, Down, Up, Up, Up, Up]);
        let parts: Vec<f64> = one_out.iter().map(|(part, _)| *part).collect();
        let members: Vec<_> = one_out.into_iter().map(|(_, members)| members).collect();
        assert_eq!(members, [vec![0], vec![2, 3], vec![4, 5]]);
        let expected = [0.6, 0.2, 0.2];
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(parts.iter().zip(&expected).all(close), "{parts:?}");
        let (zone_out, _) = groups(&pool, &[Down, Down, Up, Up, Up, Up]);
        assert_eq!(zone_out, [(0.5, vec![2, 3]), (0.5, vec![4, 5])]);
        // What is intended follows: the deviation from it is no fault.
        let turnout = Turnout::of(&pool, |index| if index == 1 { Down } else { Up });
        let intended = turnout.intended(&pool).unwrap();
        assert!((intended[0] - 0.6).abs() < 1e-9 && (intended[2] - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_subset_takes_all_and_who_is_out_is_replaced() {
        let mut pool = pool(&[(Role::Active, 0); 9], plain(Backups::All));
        pool.place.subset = Some(Subset {
            size: 3,
            instance: Name::new("lb-1").unwrap(),
        });
        let (groups_now, _) = groups(&pool, &[Up; 9]);
        let mine = groups_now[0].1.clone();
        assert!((groups_now.len(), mine.len(), groups_now[0].0) == (1, 3, 1.0));
        let standings: Vec<Standing> = (0..9)
            .map(|n| if n == mine[0] { Down } else { Up })
            .collect();
        let (groups_then, _) = groups(&pool, &standings);
        assert!(groups_then[0].1.len() == 3 && !groups_then[0].1.contains(&mine[0]));
        let turnout = Turnout::of(&pool, |_| Up);
        assert!((turnout.intended(&pool).unwrap()[mine[0]] - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn degraded_backends_take_what_the_healthy_ones_are_too_few_for() {
        let with = |count: usize, degraded: &[usize]| {
            let mut pool = pool(&vec![(Role::Active, 0); count], envoy());
            for index in degraded {
                pool.backends[*index].is_degraded = true;
            }
            pool
        };
        // Envoy 1.40 gave 32.1, 32.1, 0 and 35.9 %, and 92.6 to 7.4 %.
        let (half, why) = groups(&with(4, &[0, 1]), &[Up, Up, Down, Up]);
        assert_eq!(why, Why::Usual);
        assert_eq!(half, [(0.35, vec![3]), (0.65, vec![0, 1])]);
        let (third, _) = groups(&with(3, &[1]), &[Up; 3]);
        let members: Vec<_> = third.iter().map(|(_, members)| members.clone()).collect();
        assert_eq!(members, [vec![0, 2], vec![1]]);
        assert!((third[0].0 - 0.93).abs() < 1e-9 && (third[1].0 - 0.07).abs() < 1e-9);
        // With nobody healthy they take all, and where the healthy ones suffice nothing.
        assert_eq!(groups(&with(2, &[0, 1]), &[Up; 2]).0, [(1.0, vec![0, 1])]);
        assert_eq!(groups(&with(4, &[0]), &[Up; 4]).0, [(1.0, vec![1, 2, 3])]);
    }

    #[test]
    fn below_the_panic_threshold_unhealthy_backends_are_used_as_well() {
        let pool = pool(&[(Role::Active, 0); 4], envoy());
        let (half, why) = groups(&pool, &[Up, Up, Down, Down]);
        assert_eq!((half, why), (vec![(1.0, vec![0, 1])], Why::Usual));
        let (all, why) = groups(&pool, &[Up, Down, Down, Drained]);
        assert_eq!((all, why), (vec![(1.0, vec![0, 1, 2])], Why::Panic));
    }

    #[test]
    fn a_single_healthy_backend_of_very_many_takes_all() {
        let pool = pool(&[(Role::Active, 0); 300], plain(Backups::All));
        let standings: Vec<Standing> = (0..300).map(|n| if n == 7 { Up } else { Down }).collect();
        assert_eq!(
            groups(&pool, &standings),
            (vec![(1.0, vec![7])], Why::Usual)
        );
    }
}
