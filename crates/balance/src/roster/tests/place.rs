//! Zones and subsets in the lineup.

use evenkeel_model::config::Pool;
use evenkeel_model::ids::Name;

use super::super::{NOT_IN_SUBSET, STANDBY};
use super::{CHECKED, at, check, close, pool, set, shares};

/// A pool with these keys, for an instance in zone `zone`.
fn zoned(zone: &str, keys: &str, backends: &[&str]) -> Pool {
    let mut pool = pool(&format!("{CHECKED}\n{keys}"), backends);
    pool.place.locality = Some(evenkeel_model::config::Locality {
        zone: Name::new(zone).unwrap(),
        origins: Vec::new(),
    });
    pool
}

const SIX: [&str; 6] = [
    "zone = \"a\"",
    "zone = \"a\"",
    "zone = \"b\"",
    "zone = \"b\"",
    "zone = \"c\"",
    "zone = \"c\"",
];

#[test]
fn the_own_zone_takes_what_is_fair_and_the_rest_spills_as_backends_fall_out() {
    let pool = zoned("a", "", &SIX);
    let mut roster = set(&pool);
    let now = |roster: &_| shares(roster, &pool, 0);
    assert!(close(&now(&roster), &[0.5, 0.5, 0.0, 0.0, 0.0, 0.0]));
    let lineup = roster.lineup(&pool, at(0));
    // It takes all by its declared weights: judged like any other.
    assert_eq!(lineup.whys[..2], ["", ""]);
    assert!(lineup.whys[2].starts_with(STANDBY), "{:?}", lineup.whys);
    assert!(!lineup.members[2].eligible && !lineup.is_passing);
    // One of a is out: its zone has a fifth of what serves for a third of what comes in.
    check(&mut roster, &pool, 0, false, 0);
    assert!(close(&now(&roster), &[0.0, 0.6, 0.1, 0.1, 0.1, 0.1]));
    let whys = roster.lineup(&pool, at(0)).whys;
    assert_eq!(
        whys[1],
        "zone a: local, takes 60 %; weight 1, 60.0 % of the pool"
    );
    assert_eq!(
        whys[2],
        "zone b: takes 20 % of what comes in in zone a; weight 1, 10.0 % of the pool"
    );
    check(&mut roster, &pool, 1, false, 0);
    assert!(close(&now(&roster), &[0.0, 0.0, 0.25, 0.25, 0.25, 0.25]));
    // All are out: nobody asks for zones any more.
    (2..6).for_each(|index| drop(check(&mut roster, &pool, index, false, 0)));
    assert!(close(&now(&roster), &[1.0 / 6.0; 6]));
}

#[test]
fn zones_count_within_the_level_that_takes_the_traffic() {
    let later = ["zone = \"a\"\npriority = 1", "zone = \"b\"\npriority = 1"];
    let backends = [SIX[0], SIX[2], later[0], later[1]];
    let pool = zoned("b", "overprovisioning = 1.0", &backends);
    let mut roster = set(&pool);
    assert!(close(&shares(&roster, &pool, 0), &[0.0, 1.0, 0.0, 0.0]));
    // Half of the first level is left; the second takes the other half, for each zone its own.
    check(&mut roster, &pool, 1, false, 0);
    assert!(close(&shares(&roster, &pool, 0), &[0.5, 0.0, 0.0, 0.5]));
}

#[test]
fn a_zone_that_comes_back_slowly_takes_its_traffic_back_as_slowly() {
    let pool = zoned("a", "slow_start = \"10s\"", &SIX[1..4]);
    let mut roster = set(&pool);
    check(&mut roster, &pool, 0, false, 0);
    check(&mut roster, &pool, 0, true, 0);
    let mut last = 0.0;
    for second in 0..=10 {
        roster.tick(&pool, at(second * 1_000));
        let home = shares(&roster, &pool, second * 1_000)[0];
        assert!(home > last && home - last < 0.2, "{second}: {last} {home}");
        last = home;
    }
    // A third of what serves for half of what comes in.
    assert!((last - 2.0 / 3.0).abs() < 1e-6, "{last}");
}

#[test]
fn who_is_bound_to_a_backend_in_another_zone_stays() {
    let pool = zoned("a", "sticky = { cookie = \"ek\" }", &SIX);
    let lineup = set(&pool).lineup(&pool, at(0));
    assert!(lineup.members.iter().all(|member| member.eligible));
    assert!(lineup.members[2..].iter().all(|member| member.weight == 0));
    assert!(close(
        &shares(&set(&pool), &pool, 0),
        &[0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    ));
    assert!(lineup.whys[2].starts_with(STANDBY));
}

/// A pool with these keys and so many backends on each of two levels, for instance `lb-2` with a subset of three.
fn part(keys: &str, count: usize) -> Pool {
    let backends: Vec<&str> = (0..2 * count)
        .map(|index| if index < count { "" } else { "priority = 1" })
        .collect();
    let mut pool = pool(&format!("{CHECKED}\n{keys}"), &backends);
    pool.place.subset = Some(evenkeel_model::config::Subset {
        size: 3,
        instance: Name::new("lb-2").unwrap(),
    });
    pool
}

fn takers(shares: &[f64]) -> Vec<usize> {
    (0..shares.len()).filter(|i| shares[*i] > 0.0).collect()
}

#[test]
fn only_the_subset_takes_traffic_and_who_is_out_is_replaced() {
    let pool = part("", 8);
    let mut roster = set(&pool);
    let before = shares(&roster, &pool, 0);
    let mine = takers(&before);
    assert_eq!(mine.len(), 3);
    assert!(
        mine.iter()
            .all(|i| *i < 8 && (before[*i] - 1.0 / 3.0).abs() < 1e-9)
    );
    let lineup = roster.lineup(&pool, at(0));
    for (index, why) in lineup.whys.iter().enumerate() {
        let expected = match index {
            i if mine.contains(&i) => "",
            0..8 => NOT_IN_SUBSET,
            _ => "standby: priority 1, and the levels before it carry the load",
        };
        assert_eq!(why, expected);
        assert_eq!(lineup.members[index].weight, 1);
    }
    check(&mut roster, &pool, mine[0], false, 0);
    let now = takers(&shares(&roster, &pool, 0));
    assert!(now.len() == 3 && now.iter().all(|i| *i < 8 && *i != mine[0]));
    assert!(now.contains(&mine[1]) && now.contains(&mine[2]));
    check(&mut roster, &pool, mine[0], true, 0);
    assert_eq!(takers(&shares(&roster, &pool, 0)), mine);
}

#[test]
fn a_level_covers_by_all_of_its_backends_whoever_uses_them() {
    let pool = part("overprovisioning = 1.0", 8);
    let mut roster = set(&pool);
    // Six of eight: three quarters stay on the first level, for three backends.
    let mine = takers(&shares(&roster, &pool, 0));
    let others: Vec<usize> = (0..8).filter(|i| !mine.contains(i)).collect();
    for index in &others[..2] {
        check(&mut roster, &pool, *index, false, 0);
    }
    let now = shares(&roster, &pool, 0);
    assert!(
        (now[..8].iter().sum::<f64>() - 0.75).abs() < 1e-6,
        "{now:?}"
    );
    assert_eq!(takers(&now[8..]).len(), 3);
    assert!(mine.iter().all(|i| (now[*i] - 0.25).abs() < 1e-6));
}

#[test]
fn a_pool_that_fails_open_knows_no_subset() {
    let pool = part("", 4);
    let mut roster = set(&pool);
    (0..8).for_each(|index| drop(check(&mut roster, &pool, index, false, 0)));
    assert!(close(&shares(&roster, &pool, 0), &[0.125; 8]));
}
