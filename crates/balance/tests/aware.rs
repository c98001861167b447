//! Choosing by load and speed: who gains, who loses, and that nobody gains by failing.
//!
//! A small queueing model drives the real pickers: Poisson arrivals, exponential service, every backend with as many
//! slots as it needs unless said otherwise.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "indices of these tests' own tables; a test may stop at the first surprise"
)]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use evenkeel_balance::{Ask, How, Load, Member, Picker, Spec};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Choices};
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

struct Held<'a>(&'a [u32], u32);

impl Load for Held<'_> {
    fn in_flight(&self, member: usize) -> u32 {
        self.0[member]
    }

    fn workers(&self) -> u32 {
        self.1
    }
}

/// Backends of a run: seconds that each needs, and how its answers end.
struct Run {
    service: Vec<f64>,
    how: Vec<How>,
    weights: Vec<u32>,
    rate: f64,
    workers: u64,
    picks: usize,
}

impl Run {
    fn alike(count: usize, in_flight: f64) -> Self {
        Self {
            service: vec![0.02; count],
            how: vec![How::Good; count],
            weights: vec![1; count],
            rate: in_flight / 0.02,
            workers: 1,
            picks: 8_000,
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |(i, weight): (usize, &u32)| Member {
            name: Name::new(&format!("b{i}")).unwrap(),
            weight: *weight,
            eligible: true,
        };
        self.weights.iter().enumerate().map(member).collect()
    }

    /// The share of each backend over the second half.
    fn shares(&self, spec: &Spec, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        let members = self.members();
        let mut pickers: Vec<Picker> = (0..self.workers)
            .map(|_| Picker::new(spec.clone(), &members, rng.fork(1)))
            .collect();
        let mut held = vec![0u32; members.len()];
        let mut ends: BinaryHeap<Reverse<(u64, usize, usize, u64)>> = BinaryHeap::new();
        let mut counts = vec![0u32; members.len()];
        let mut now = 0u64;
        for n in 0..self.picks {
            now += (rng.exponential(1.0 / self.rate) * 1e9) as u64;
            while let Some(Reverse((at, member, worker, from))) = ends.peek().copied() {
                if at > now {
                    break;
                }
                ends.pop();
                held[member] -= 1;
                let took = Duration::from_nanos(at - from);
                pickers[worker].answered(member, Mono(at), took, self.how[member]);
            }
            let worker = rng.below(self.workers) as usize;
            let ask = Ask {
                now: Mono(now),
                ..Ask::default()
            };
            let load = Held(&held, self.workers as u32);
            let member = pickers[worker].pick(&load, ask).unwrap().member;
            held[member] += 1;
            counts[member] += u32::from(n >= self.picks / 2);
            let took = (rng.exponential(self.service[member]) * 1e9) as u64 + 1;
            ends.push(Reverse((now + took, member, worker, now)));
        }
        let all = self.picks - self.picks / 2;
        counts.iter().map(|c| f64::from(*c) / all as f64).collect()
    }
}

fn by_load() -> Vec<Spec> {
    let mut specs: Vec<Spec> = Algorithm::ALL
        .iter()
        .filter(|a| a.follows_load())
        .map(|a| Spec::from(*a))
        .collect();
    for choices in [Choices::Drawn(5), Choices::All] {
        specs.push(Spec {
            choices,
            ..Spec::from(Algorithm::LeastRequest)
        });
    }
    specs
}

#[test]
fn a_backend_that_fails_fast_gains_no_share_at_any_load() {
    for (seed, spec) in by_load().iter().enumerate() {
        for count in [2usize, 3, 10, 100] {
            for per_backend in [0.02, 0.3, 1.0, 8.0] {
                for (workers, how) in [(1, How::Failed), (8, How::Failed), (1, How::Rejected)] {
                    let mut run = Run::alike(count, per_backend * count as f64);
                    // Long enough to be past the start, where nobody has answered yet.
                    run.picks = run.picks.max((per_backend * count as f64) as usize * 25);
                    run.workers = workers;
                    run.service[0] = 0.001;
                    run.how[0] = how;
                    let share = run.shares(spec, seed as u64)[0];
                    let fair = 1.0 / count as f64;
                    let noise = 4.0 * (fair / (run.picks as f64 / 2.0)).sqrt();
                    assert!(
                        share <= fair * 1.05 + noise,
                        "{spec:?} {count} {per_backend} {workers} {how:?}: {share}"
                    );
                }
            }
        }
    }
}

#[test]
fn backends_that_are_alike_get_alike() {
    for (seed, spec) in by_load().iter().enumerate() {
        for in_flight in [0.1, 3.0, 30.0] {
            for share in Run::alike(5, in_flight).shares(spec, seed as u64) {
                assert!((share - 0.2).abs() < 0.06, "{spec:?} {in_flight}: {share}");
            }
        }
    }
}

#[test]
fn a_slow_backend_gets_less_and_not_nothing() {
    for (seed, spec) in by_load().iter().enumerate() {
        let mut run = Run::alike(10, 30.0);
        run.service[3] = 0.08;
        let share = run.shares(spec, seed as u64)[3];
        assert!((0.000_5..0.07).contains(&share), "{spec:?}: {share}");
    }
}

#[test]
fn an_idle_slow_backend_gets_prequals_picks_only_once_the_fast_one_is_much_fuller() {
    let members = Run::alike(2, 1.0).members();
    let mut picker = Picker::new(Algorithm::Prequal.into(), &members, Rng::new(2));
    let mut at = 0;
    let mut pick = |picker: &mut Picker, held: [u32; 2]| {
        at += 1_000_000;
        let ask = Ask {
            now: Mono(at),
            ..Ask::default()
        };
        let member = picker.pick(&Held(&held, 1), ask).unwrap().member;
        // The first takes four times as long, however little it holds.
        let took = Duration::from_millis([80, 20][member]);
        picker.answered(member, Mono(at), took, How::Good);
        member
    };
    // Both are met, whoever is full by turns.
    for n in 0..200 {
        pick(&mut picker, if n % 2 == 0 { [1, 4] } else { [4, 1] });
    }
    let slow = |picker: &Picker, held, pick: &mut dyn FnMut(&mut Picker, [u32; 2]) -> usize| {
        let mut picker = picker.clone();
        (0..20).filter(|_| pick(&mut picker, held) == 0).count()
    };
    assert_eq!(slow(&picker, [0, 5], &mut pick), 0);
    assert!(slow(&picker, [0, 40], &mut pick) > 0);
}

#[test]
fn a_backend_that_got_well_gets_its_share_back() {
    for spec in by_load() {
        let members = Run::alike(4, 1.0).members();
        let mut picker = Picker::new(spec.clone(), &members, Rng::new(5));
        let mut counts = [0u32; 4];
        for n in 0..40_000u64 {
            let now = Mono(n * 1_000_000);
            let ask = Ask {
                now,
                ..Ask::default()
            };
            let member = picker.pick(&Held(&[0; 4], 1), ask).unwrap().member;
            let ill = n < 1_000 && member == 0;
            let how = if ill { How::Failed } else { How::Good };
            let took = if ill { 300 } else { 10 };
            picker.answered(member, now, Duration::from_millis(took), how);
            counts[member] += u32::from(n >= 35_000);
        }
        assert!(counts[0] > 5_000 / 4 / 2, "{spec:?}: {counts:?}");
    }
}

#[test]
fn a_new_backend_neither_starves_nor_draws_everything() {
    for (seed, spec) in by_load().iter().enumerate() {
        let members = Run::alike(6, 1.0).members();
        let mut picker = Picker::new(spec.clone(), &members[..5], Rng::new(seed as u64));
        let mut first = 0;
        for n in 0..4_000u64 {
            if n == 2_000 {
                picker.update(spec, &members);
            }
            let now = Mono(n * 1_000_000);
            let ask = Ask {
                now,
                ..Ask::default()
            };
            let member = picker.pick(&Held(&[1; 6], 1), ask).unwrap().member;
            let took = Duration::from_micros(18_000 + (n * 7_919) % 4_000);
            picker.answered(member, now, took, How::Good);
            first += u32::from((2_000..2_300).contains(&n) && member == 5);
        }
        assert!((5..=150).contains(&first), "{spec:?}: {first} of 300");
    }
}

#[test]
fn what_is_known_of_a_backend_stays_with_its_name_over_a_reload() {
    let members = Run::alike(2, 1.0).members();
    let reversed: Vec<Member> = members.iter().rev().cloned().collect();
    let spec = Spec::from(Algorithm::PeakEwma);
    let mut picker = Picker::new(spec.clone(), &members, Rng::new(1));
    for n in 0..100 {
        picker.answered(0, Mono(n), Duration::from_millis(10), How::Good);
        picker.answered(1, Mono(n), Duration::from_millis(90), How::Good);
    }
    picker.update(&spec, &reversed);
    for _ in 0..100 {
        let ask = Ask {
            now: Mono(200),
            ..Ask::default()
        };
        // b0, the fast one, is second now.
        assert_eq!(picker.pick(&Held(&[0, 0], 1), ask).unwrap().member, 1);
    }
}

#[test]
fn weights_scale_what_is_in_flight_under_every_algorithm() {
    // Many in flight, equal speeds: a backend of weight 3 carries three times as much: half of all for two of eight.
    for (seed, spec) in by_load().iter().enumerate() {
        let mut run = Run::alike(8, 160.0);
        run.weights = vec![3, 1, 1, 1, 3, 1, 1, 1];
        let shares = run.shares(spec, seed as u64);
        let heavy = shares[0] + shares[4];
        // Prequal goes by speed first; its weights only draw and say who is hot.
        let least = if spec.algorithm == Algorithm::Prequal {
            0.35
        } else {
            0.42
        };
        assert!((least..0.58).contains(&heavy), "{spec:?}: {heavy}");
    }
}

#[test]
fn as_many_are_compared_as_are_declared() {
    // Only one of ten is idle. It is found by all, and by d of n in d / n of the picks.
    let load = |i: usize| if i == 7 { 0 } else { 5 };
    let members = Run::alike(10, 1.0).members();
    for (choices, odds) in [
        (Choices::Drawn(2), 0.2),
        (Choices::Drawn(3), 0.3),
        (Choices::Drawn(10), 1.0),
        (Choices::All, 1.0),
    ] {
        let spec = Spec {
            choices,
            ..Spec::from(Algorithm::LeastRequest)
        };
        let mut picker = Picker::new(spec, &members, Rng::new(3));
        let hits = (0..10_000).filter(|_| picker.pick(&load, Ask::default()).unwrap().member == 7);
        let share = hits.count() as f64 / 10_000.0;
        assert!((share - odds).abs() < 0.02, "{choices}: {share}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn only_who_may_be_picked_is(
        weights in prop::collection::vec(0u32..5, 1..200), out in prop::collection::vec(any::<bool>(), 200),
        tried in prop::collection::vec(0usize..200, 0..5), which in 0usize..5, seed: u64,
    ) {
        let specs = by_load();
        let spec = &specs[which % specs.len()];
        let mut members = Run { weights, ..Run::alike(1, 1.0) }.members();
        for (member, out) in members.iter_mut().zip(out) {
            member.eligible = !out;
        }
        let may: BTreeSet<usize> = (0..members.len())
            .filter(|i| members[*i].effective_weight() > 0 && !tried.contains(i))
            .collect();
        let mut picker = Picker::new(spec.clone(), &members, Rng::new(seed));
        for n in 0..50u64 {
            let ask = Ask { now: Mono(n), tried: &tried, ..Ask::default() };
            let pick = picker.pick(&|i: usize| i as u32 % 3, ask).map(|p| p.member);
            prop_assert_eq!(pick.is_some(), !may.is_empty());
            if let Some(member) = pick {
                prop_assert!(may.contains(&member));
                let how = if n % 3 == 0 { How::Failed } else { How::Good };
                picker.answered(member, Mono(n), Duration::from_millis(n), how);
            }
        }
    }
}

#[test]
fn a_backend_that_never_answered_is_not_flooded() {
    for count in [2usize, 4, 8] {
        let members: Vec<Member> = (0..count)
            .map(|i| Member {
                name: Name::new(&format!("b{i}")).unwrap(),
                weight: 1,
                eligible: true,
            })
            .collect();
        let mut picker = Picker::new(Algorithm::Prequal.into(), &members, Rng::new(7));
        let mut held = vec![0u32; count];
        // 200 a second for five seconds: all answer after 20 ms, but the first, which does not.
        let mut ends: std::collections::VecDeque<(u64, usize)> = std::collections::VecDeque::new();
        for n in 0..1_000u64 {
            let ms = n * 5;
            while let Some((at, member)) = ends.front().copied().filter(|(at, _)| *at <= ms) {
                ends.pop_front();
                held[member] -= 1;
                let now = Mono(at * 1_000_000);
                picker.answered(member, now, Duration::from_millis(20), How::Good);
            }
            let ask = Ask {
                now: Mono(ms * 1_000_000),
                ..Ask::default()
            };
            let in_flight = |member: usize| held[member];
            let member = picker.pick(&in_flight, ask).unwrap().member;
            held[member] += 1;
            if member > 0 {
                ends.push_back((ms + 20, member));
            }
        }
        assert!(held[0] <= 40, "{} held of {count} backends", held[0]);
    }
}
