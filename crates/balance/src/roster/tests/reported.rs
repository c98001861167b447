//! What weights by reported load promise, in a closed loop: shares make load, load makes reports, reports make shares.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use evenkeel_model::tally::{Outcomes, Vitals};
use proptest::prelude::*;

use super::{CHECKED, at, check, close, name, pool, set, shares};
use crate::roster::{REPORTED_LOAD, Roster, follows_reports};

/// A backend of the loop.
#[derive(Debug, Clone)]
struct Machine {
    /// Requests per second at which it is utilised wholly.
    speed: f64,
    /// Utilisation without a request.
    idle: f64,
    /// Part of its requests that it fails, at once and for nothing.
    fails: f64,
    /// Part of its requests that it answers with a 4xx.
    refuses: f64,
    /// Utilisation that it claims.
    claims: Option<f64>,
    reports: bool,
    /// What it reports is the mean of so many seconds.
    lag: usize,
    used: VecDeque<f64>,
    /// What it reported last, and how many seconds ago.
    told: Option<(f64, u64)>,
}

fn machine(speed: f64) -> Machine {
    Machine {
        speed,
        idle: 0.0,
        fails: 0.0,
        refuses: 0.0,
        claims: None,
        reports: true,
        lag: 1,
        used: VecDeque::new(),
        told: None,
    }
}

struct Loop {
    pool: Pool,
    roster: Roster,
    machines: Vec<Machine>,
    rng: Rng,
    second: u64,
    /// Sets of weights so far.
    epochs: u32,
}

impl Loop {
    fn new(pool: Pool, machines: Vec<Machine>, seed: u64) -> Self {
        Self {
            roster: set(&pool),
            pool,
            machines,
            rng: Rng::new(seed),
            second: 0,
            epochs: 0,
        }
    }

    fn shares(&self) -> Vec<f64> {
        shares(&self.roster, &self.pool, self.second * 1_000)
    }

    fn whys(&self) -> Vec<String> {
        let at = at(self.second * 1_000);
        self.roster.lineup(&self.pool, at).whys
    }

    /// Seconds at this rate of random picks; utilisation strays by this part.
    fn run(&mut self, seconds: u64, rate: u32, stray: f64) {
        for _ in 0..seconds {
            self.second += 1;
            let shares = self.shares();
            let mut picks = vec![0u32; shares.len()];
            for _ in 0..rate {
                let mut left = self.rng.unit();
                let found = shares.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                let last = shares.iter().rposition(|share| *share > 0.0);
                picks[found.or(last).unwrap()] += 1;
            }
            let mut vitals = Vec::new();
            for (index, machine) in self.machines.iter_mut().enumerate() {
                let (mut failed, mut refused) = (0, 0);
                for _ in 0..picks[index] {
                    let unit = self.rng.unit();
                    failed += u64::from(unit < machine.fails);
                    refused += u64::from(unit > 1.0 - machine.refuses);
                }
                let fine = f64::from(picks[index]) - (failed + refused) as f64;
                let fine = fine.min(machine.speed);
                let noise = 1.0 + stray * (2.0 * self.rng.unit() - 1.0);
                let used = (machine.idle + fine / machine.speed * noise).min(1.0);
                machine.used.push_back(used);
                if machine.used.len() > machine.lag {
                    machine.used.pop_front();
                }
                let mean = machine.used.iter().sum::<f64>() / machine.used.len() as f64;
                let cpu = machine.claims.unwrap_or(mean);
                // The last report is shown for ten seconds.
                let told = machine.told.map(|(cpu, age)| (cpu, age + 1));
                let speaks = machine.reports && fine > 0.0;
                machine.told =
                    if speaks { Some((cpu, 0)) } else { told }.filter(|told| told.1 <= 10);
                vitals.push(Vitals {
                    cpu: machine.told.map(|told| told.0),
                    age: Duration::from_secs(machine.told.map_or(0, |told| told.1)),
                    ..Vitals::default()
                });
                let outcomes = Outcomes {
                    ok: fine as u64,
                    client_error: refused,
                    server_error: failed,
                    ..Outcomes::default()
                };
                let seat = self.roster.seats.get_mut(&name(index));
                if let Some(seat) = seat {
                    seat.load.count(&outcomes);
                }
            }
            let names: Vec<Name> = (0..vitals.len()).map(name).collect();
            let at = at(self.second * 1_000);
            let told = names.iter().zip(&vitals);
            self.roster.reported(&self.pool, told, at);
            let turns = self.roster.tick(&self.pool, at);
            self.epochs += u32::from(!turns.is_empty());
        }
    }
}

const FOLLOWS: &str = "reported = {}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn backends_of_unlike_speed_come_to_be_utilised_alike_without_swinging(
        speeds in proptest::collection::vec(500.0f64..2_000.0, 2..5),
        load in 0.3f64..0.8,
        lag in 1usize..11,
        seed in 0u64..1_000,
    ) {
        let machines = speeds.iter().map(|speed| Machine { lag, ..machine(*speed) });
        let pool = pool(FOLLOWS, &vec![""; speeds.len()]);
        let mut world = Loop::new(pool, machines.collect(), seed);
        let all: f64 = speeds.iter().sum();
        let rate = (load * all) as u32;
        let mut before = world.shares();
        for _ in 0..15 {
            world.run(10, rate, 0.02);
            let now = world.shares();
            for (old, new) in before.iter().zip(&now) {
                prop_assert!(*new <= old * 2.001 && *new >= old / 2.001, "{before:?} {now:?}");
            }
            before = now;
        }
        let settled = world.epochs;
        for _ in 0..20 {
            world.run(10, rate, 0.02);
            for (share, speed) in world.shares().iter().zip(&speeds) {
                let due = speed / all;
                prop_assert!((share / due - 1.0).abs() < 0.25, "{share} of {due}, {speeds:?}");
            }
        }
        prop_assert!(world.epochs - settled <= 6, "{}", world.epochs - settled);
    }

    #[test]
    fn a_backend_that_fails_fast_never_gains_share(
        fails in 0.03f64..=1.0,
        warm in 0u64..10,
        index in 0usize..3,
        seed in 0u64..1_000,
    ) {
        let machines = [300.0, 600.0, 1_200.0].map(machine).to_vec();
        let mut world = Loop::new(pool(FOLLOWS, &["", "", ""]), machines, seed);
        world.run(1 + 10 * warm, 1_000, 0.02);
        let mut before = world.shares()[index];
        world.machines[index].fails = fails;
        for _ in 0..30 {
            world.run(10, 1_000, 0.02);
            let now = world.shares()[index];
            prop_assert!(now <= before * 1.001, "{before} {now}");
            before = now;
        }
        // It is given more again when it is well.
        world.machines[index].fails = 0.0;
        world.run(200, 1_000, 0.02);
        let due = [300.0, 600.0, 1_200.0][index] / 2_100.0;
        prop_assert!((world.shares()[index] / due - 1.0).abs() < 0.25, "{:?}", world.shares());
    }

    #[test]
    fn a_liar_that_fails_a_little_gains_nothing_in_the_long_run(
        part in 0.03f64..0.1,
        with_4xx: bool,
        others in 0.0f64..0.1,
        count in 2usize..11,
        seed in 0u64..1_000_000,
    ) {
        let mut machines = vec![machine(1_000.0); count];
        machines[0].claims = Some(0.01);
        for (index, machine) in machines.iter_mut().enumerate() {
            let part = if index == 0 { part } else { others * part };
            *(if with_4xx { &mut machine.refuses } else { &mut machine.fails }) = part;
        }
        let keys = "reported = { period = \"1s\" }";
        let mut world = Loop::new(pool(keys, &vec![""; count]), machines, seed);
        let (mut sum, mut above) = (0.0, 0);
        for _ in 0..300 {
            world.run(1, 90 * count as u32, 0.05);
            let times = world.shares()[0] * count as f64;
            sum += times;
            above += u32::from(times > 1.05);
        }
        // A start with luck lasts for as long as it takes to see some failures.
        prop_assert!(sum < 300.0 * 1.15 && above < 40, "{} {above} {part} {count}", sum / 300.0);
    }

    #[test]
    fn unlike_backends_that_all_fail_a_little_still_get_their_factors(
        fails in 0.0f64..0.1,
        refuses in 0.0f64..0.5,
        seed in 0u64..1_000_000,
    ) {
        let speeds = [300.0, 600.0, 1_200.0];
        let machines = speeds.map(|speed| Machine { fails, refuses, ..machine(speed) });
        let mut world = Loop::new(pool(FOLLOWS, &["", "", ""]), machines.to_vec(), seed);
        world.run(100, 1_000, 0.02);
        let mut sums = [0.0; 3];
        for _ in 0..50 {
            world.run(10, 1_000, 0.02);
            sums.iter_mut().zip(world.shares()).for_each(|(sum, share)| *sum += share / 50.0);
        }
        for (sum, speed) in sums.iter().zip(speeds) {
            prop_assert!((sum / (speed / 2_100.0) - 1.0).abs() < 0.25, "{sums:?} {fails} {refuses}");
        }
    }

    #[test]
    fn a_backend_that_lies_stays_within_the_bounds(
        claims in 0.0f64..100.0,
        count in 2usize..12,
        seed in 0u64..1_000,
    ) {
        let keys = "reported = { min = 0.5, max = 2 }";
        let mut machines = vec![machine(1_000.0); count];
        machines[0].claims = Some(claims);
        let mut world = Loop::new(pool(keys, &vec![""; count]), machines, seed);
        for _ in 0..20 {
            world.run(10, 1_000, 0.02);
            let even = 1.0 / count as f64;
            for share in world.shares() {
                prop_assert!((0.499 * even..=2.001 * even).contains(&share), "{share} of {even}");
            }
        }
    }
}

#[test]
fn three_speeds_get_their_shares_within_six_periods_and_noise_moves_nothing_then() {
    let machines = [250.0, 500.0, 1_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(FOLLOWS, &["", "", ""]), machines, 1);
    world.run(61, 1_000, 0.05);
    for (share, due) in world.shares().iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert!((share / due - 1.0).abs() < 0.1, "{:?}", world.shares());
    }
    let settled = world.epochs;
    assert!(settled <= 6, "{settled}");
    world.run(1_000, 1_000, 0.05);
    assert!(world.epochs - settled <= 3, "{}", world.epochs - settled);
}

#[test]
fn an_idle_pool_keeps_its_weights() {
    let machines = [100_000.0, 400_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(FOLLOWS, &["", ""]), machines, 1);
    world.run(100, 1_000, 0.5);
    assert_eq!(world.epochs, 0);
    // So does one in which hardly a request comes.
    let machines = [1.0, 4.0].map(machine).to_vec();
    let mut world = Loop::new(pool(FOLLOWS, &["", ""]), machines, 1);
    world.run(100, 1, 0.5);
    assert_eq!(world.epochs, 0);
}

#[test]
fn without_reports_the_declared_weights_hold_again() {
    let keys = "reported = { period = \"5s\", stale_after = \"20s\" }";
    let machines = [250.0, 500.0, 1_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(keys, &["weight = 2", "", ""]), machines, 1);
    world.run(60, 1_000, 0.02);
    assert!(world.shares()[2] > 0.5, "{:?}", world.shares());
    world.machines[2].reports = false;
    world.run(15, 1_000, 0.02);
    assert!(world.shares()[2] > 0.5, "{:?}", world.shares());
    // Who says nothing has its declared part, whatever the others say.
    world.run(25, 1_000, 0.02);
    assert!(
        (world.shares()[2] - 0.25).abs() < 1e-6,
        "{:?}",
        world.shares()
    );
    let whys = world.whys();
    assert!(whys[2].contains("none, so its declared weight"), "{whys:?}");
    world.machines.iter_mut().for_each(|m| m.reports = false);
    world.run(50, 1_000, 0.02);
    let lineup = world.roster.lineup(&world.pool, at(world.second * 1_000));
    let weights: Vec<u32> = lineup.members.iter().map(|m| m.weight).collect();
    assert_eq!(weights, [2, 1, 1]);
    assert!(
        lineup.whys.iter().all(String::is_empty),
        "{:?}",
        lineup.whys
    );
}

#[test]
fn a_report_is_stale_by_its_own_age_though_it_is_still_shown() {
    let keys = "reported = { period = \"1s\", stale_after = \"3s\" }";
    let machines = [250.0, 1_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(keys, &["", ""]), machines, 1);
    world.run(30, 600, 0.02);
    assert!(world.shares()[1] > 0.7, "{:?}", world.shares());
    world.machines[1].reports = false;
    world.run(3, 600, 0.02);
    assert!(world.shares()[1] > 0.7, "{:?}", world.shares());
    world.run(1, 600, 0.02);
    let shares = world.shares();
    assert!((shares[1] - 0.5).abs() < 1e-6, "{shares:?}");
}

#[test]
fn the_reason_says_what_keeps_a_factor_down() {
    for (fails, refuses, word) in [(0.1, 0.0, "fails more"), (0.0, 0.1, "more 4xx")] {
        let mut machines = [250.0, 500.0, 1_000.0].map(machine).to_vec();
        machines[0] = Machine {
            fails,
            refuses,
            ..machines[0].clone()
        };
        let mut world = Loop::new(pool(FOLLOWS, &["", "", ""]), machines, 1);
        world.run(100, 600, 0.02);
        let whys = world.whys();
        assert!(
            whys[0].contains(word) && !whys[1].contains("no more"),
            "{whys:?}"
        );
    }
}

#[test]
fn a_reload_keeps_the_factors_by_name_and_who_is_new_starts_at_the_mean() {
    let machines = [250.0, 1_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(FOLLOWS, &["", ""]), machines, 1);
    world.run(100, 600, 0.02);
    let before = world.shares();
    assert!(before[0] < 0.25, "{before:?}");
    let more = pool(FOLLOWS, &["", "", ""]);
    world.roster.configure(&more, at(101_000));
    let three = shares(&world.roster, &more, 101_000);
    assert!((three[2] - 1.0 / 3.0).abs() < 0.02, "{three:?}");
    assert!((three[0] / three[1] - before[0] / before[1]).abs() < 1e-6);
    // Another address is another backend, and without the table nothing is left of it.
    let mut moved = more.clone();
    let other = moved.backends[2].address.clone();
    moved.backends[0].address = other;
    world.roster.configure(&moved, at(102_000));
    let now = shares(&world.roster, &moved, 102_000);
    assert!(
        now[0] > three[0] && (now[0] - now[2]).abs() < 1e-6,
        "{now:?}"
    );
    let plain = pool("", &["", "", ""]);
    world.roster.configure(&plain, at(103_000));
    assert!(close(
        &shares(&world.roster, &plain, 103_000),
        &[1.0 / 3.0; 3]
    ));
    world.roster.configure(&more, at(104_000));
    assert!(close(
        &shares(&world.roster, &more, 104_000),
        &[1.0 / 3.0; 3]
    ));
}

#[test]
fn the_reason_says_what_was_reported_and_stands_by_its_weight() {
    let machines = [250.0, 1_000.0].map(machine).to_vec();
    let mut world = Loop::new(pool(FOLLOWS, &["", ""]), machines, 1);
    assert!(world.whys().iter().all(String::is_empty));
    world.run(101, 600, 0.02);
    let whys = world.whys();
    for why in &whys {
        assert!(
            why.starts_with(REPORTED_LOAD) && follows_reports(why),
            "{whys:?}"
        );
    }
    assert!(
        whys[0].contains("times its weight; weight 1, 2"),
        "{whys:?}"
    );
    let lineup = world.roster.lineup(&world.pool, at(101_000));
    assert!(!lineup.is_passing);
    let next = world.roster.next_change(&world.pool);
    assert_eq!(next, Some(Mono::from_secs(111)));
}

#[test]
fn a_level_keeps_its_part_and_who_is_out_its_factor() {
    let keys = format!("{CHECKED}\n{FOLLOWS}\noverprovisioning = 1");
    let pool = pool(&keys, &["", "", "priority = 1", "priority = 1"]);
    let machines = [250.0, 1_000.0, 250.0, 250.0].map(machine).to_vec();
    let mut world = Loop::new(pool, machines, 1);
    world.run(101, 600, 0.02);
    let before = world.shares();
    assert!(before[0] < 0.25 && before[2].abs() < 1e-9, "{before:?}");
    let pool = world.pool.clone();
    // The stronger half of the first level is out: by weight that is a half of it, not four fifths.
    check(&mut world.roster, &pool, 1, false, 101_500);
    assert!(close(&world.shares(), &[0.5, 0.0, 0.25, 0.25]));
    world.run(100, 600, 0.02);
    check(&mut world.roster, &pool, 1, true, 202_000);
    let now = world.shares();
    assert!(now[1] > 1.5 * now[0], "{now:?}");
}
