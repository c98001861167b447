//! `prequal` by what backends say that they hold: believed within bounds, for a while, and never to the harm of those
//! who say nothing.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "indices of these tests' own tables; a test may stop at the first surprise"
)]

use std::time::Duration;

use evenkeel_balance::{Ask, How, Member, PROBES_AT_ONCE_MAX, Picker};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Algorithm;
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(i, weight): (usize, &u32)| Member {
        name: Name::new(&format!("b{i}")).unwrap(),
        weight: *weight,
        eligible: true,
    };
    weights.iter().enumerate().map(member).collect()
}

fn picker(weights: &[u32], seed: u64) -> Picker {
    Picker::new(Algorithm::Prequal.into(), &members(weights), Rng::new(seed))
}

fn at(now: u64) -> Ask<'static> {
    Ask {
        now: Mono(now),
        ..Ask::default()
    }
}

/// A pick per millisecond with one probe each, answered at once by who has something to say; each request is over when
/// the next one comes. Counts the picks after the first `skip`.
fn run(
    picker: &mut Picker,
    count: usize,
    (picks, skip): (u64, u64),
    says: impl Fn(usize) -> Option<u32>,
    ends: impl Fn(usize) -> How,
) -> Vec<u64> {
    let mut counts = vec![0; count];
    for n in 0..picks {
        let now = n * MS;
        let member = picker.pick(&|_: usize| 0, at(now)).unwrap().member;
        counts[member] += u64::from(n >= skip);
        for probed in picker.draw_to_probe(1.0).members() {
            match says(*probed) {
                Some(in_flight) => picker.reported(*probed, Mono(now), in_flight, 0),
                None => picker.silent(*probed),
            }
        }
        // Whoever holds more takes longer.
        let took = Duration::from_millis(5 * (1 + u64::from(says(member).unwrap_or(2))));
        picker.answered(member, Mono(now), took, ends(member));
    }
    counts
}

fn good(_: usize) -> How {
    How::Good
}

#[test]
fn what_others_have_sent_is_seen_though_this_balancer_holds_nothing() {
    for (count, least) in [(2, 0.7), (3, 0.8), (10, 0.9), (100, 0.9)] {
        let mut picker = picker(&vec![1; count], 3);
        // The first half is full of other balancers' requests.
        let half = count / 2;
        let says = |member| Some(if member < half { 30 } else { 2 });
        let counts = run(&mut picker, count, (4_000, 1_000), says, good);
        let part = counts[half..].iter().sum::<u64>() as f64 / 3_000.0;
        assert!(part > least, "{count}: {part}");
    }
}

#[test]
fn a_report_is_gone_by_for_a_second_and_a_probe_that_fails_takes_it_away() {
    let first = |picker: &Picker, now| {
        let picks = (0..200).map(|seed| {
            let mut picker = Picker::clone(picker);
            for _ in 0..seed {
                picker.draw_to_probe(1.0);
            }
            picker.pick(&|_: usize| 0, at(now)).unwrap().member
        });
        picks.filter(|member| *member == 0).count()
    };
    let mut told = picker(&[1; 4], 1);
    for member in 0..4 {
        told.reported(member, Mono(0), if member == 0 { 0 } else { 9 }, 0);
    }
    // Half of four are kept: the newest two.
    for member in [1, 0] {
        told.reported(member, Mono(0), if member == 0 { 0 } else { 9 }, 0);
    }
    assert_eq!(first(&told, 1_000 * MS), 200);
    let later = first(&told, 1_001 * MS);
    assert!((10..190).contains(&later), "{later}");
    told.silent(0);
    let silent = first(&told, MS);
    assert!((10..190).contains(&silent), "{silent}");
}

#[test]
fn one_report_serves_a_few_picks_and_not_all() {
    // Sixteen reports, then nothing more; own counts say nothing either.
    let mut picker = picker(&[1; 100], 5);
    for member in 0..16 {
        picker.reported(member, Mono(0), 5 - u32::from(member == 3), 0);
    }
    let mut counts = [0; 100];
    for _ in 0..1_000 {
        counts[picker.pick(&|_: usize| 0, at(MS)).unwrap().member] += 1;
    }
    let most = counts.iter().max().copied().unwrap();
    assert!(most <= 200, "{most} of 1000");
}

#[test]
fn a_backend_that_says_it_is_idle_gains_nothing_by_failing() {
    for count in [2, 3, 10, 100] {
        for how in [How::Failed, How::Rejected] {
            let mut picker = picker(&vec![1; count], 7);
            let says = |member| Some(if member == 0 { 0 } else { 3 });
            let ends = |member| if member == 0 { how } else { How::Good };
            let picks = 40 * count as u64 + 8_000;
            let counts = run(&mut picker, count, (picks, picks / 4), says, ends);
            let (taken, all) = (counts[0] as f64, counts.iter().sum::<u64>() as f64);
            let fair = all / count as f64;
            assert!(
                taken <= fair * 1.1 + 4.0 * fair.sqrt(),
                "{count} {how:?}: {taken} of {all}"
            );
        }
    }
}

#[test]
fn a_backend_that_says_it_is_idle_is_believed_no_further_than_the_own_counts() {
    let mut picker = picker(&[1; 4], 9);
    // It holds 20 of this balancer and says 0; the others hold 2.
    let held = |member: usize| if member == 0 { 20 } else { 2 };
    let mut taken = 0;
    for n in 0..2_000 {
        let now = n * MS;
        let member = picker.pick(&held, at(now)).unwrap().member;
        taken += u64::from(member == 0);
        let took = Duration::from_millis(5 * u64::from(1 + held(member)));
        picker.answered(member, Mono(now), took, How::Good);
        for probed in picker.draw_to_probe(1.0).members() {
            let says = if *probed == 0 { 0 } else { 2 };
            picker.reported(*probed, Mono(now), says, held(*probed));
        }
    }
    assert!(taken < 100, "{taken} of 2000");
}

#[test]
fn few_who_report_get_at_most_twice_their_part_and_those_who_do_not_are_not_forgotten() {
    for (seed, reporting) in [(1, 1), (2, 2), (3, 5), (4, 9)] {
        let mut picker = picker(&[1; 10], seed);
        let says = |member| (member < reporting).then_some(2);
        let counts = run(&mut picker, 10, (20_000, 2_000), says, good);
        let part = counts[..reporting].iter().sum::<u64>() as f64 / 18_000.0;
        let least = counts.iter().min().copied().unwrap() as f64 / 18_000.0;
        let fair = reporting as f64 / 10.0;
        assert!(
            part < 2.0 * fair && least > 0.004,
            "{reporting}: {part} {least} {counts:?}"
        );
    }
}

#[test]
fn probes_go_to_different_backends_by_weight_at_the_declared_rate() {
    for (rate, expected) in [(0.3, 300), (1.0, 1_000), (2.5, 2_500)] {
        let mut picker = picker(&[1, 0, 2, 1, 4], 2);
        let mut counts = [0u32; 5];
        for _ in 0..1_000 {
            let drawn = picker.draw_to_probe(rate);
            let mut once = drawn.members().to_vec();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), drawn.members().len());
            drawn
                .members()
                .iter()
                .for_each(|member| counts[*member] += 1);
        }
        let sum: u32 = counts.iter().sum();
        assert!(sum.abs_diff(expected) <= 1, "{rate}: {sum}");
        assert!(counts[1] == 0 && counts[4] > counts[0], "{counts:?}");
    }
}

#[test]
fn a_report_stays_with_its_backend_over_a_reload() {
    let mut picker = picker(&[1; 4], 3);
    picker.reported(1, Mono(0), 9, 0);
    picker.reported(0, Mono(0), 0, 0);
    let reversed: Vec<Member> = members(&[1; 4]).into_iter().rev().collect();
    picker.update(&Algorithm::Prequal.into(), &reversed);
    let mut heard = 0;
    for _ in 0..40 {
        // Half of the draws name somebody who does not report; then it is anybody.
        heard += u32::from(picker.clone().pick(&|_: usize| 0, at(MS)).unwrap().member == 3);
        picker.draw_to_probe(1.0);
    }
    assert!(heard >= 15, "{heard} of 40");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn only_who_may_be_picked_is_whatever_is_reported(
        weights in prop::collection::vec(0u32..4, 1..60), tried in prop::collection::vec(0usize..60, 0..3),
        says in prop::collection::vec((0usize..60, 0u32..50), 0..200), seed: u64,
    ) {
        let mut picker = picker(&weights, seed);
        let may = |i: usize| weights[i] > 0 && !tried.contains(&i);
        let anybody = (0..weights.len()).any(may);
        for (n, (member, in_flight)) in says.into_iter().enumerate() {
            let now = n as u64 * 40 * MS;
            picker.reported(member, Mono(now), in_flight, member as u32);
            let ask = Ask { tried: &tried, ..at(now) };
            let pick = picker.pick(&|i: usize| i as u32 % 3, ask).map(|pick| pick.member);
            prop_assert_eq!(pick.is_some(), anybody);
            prop_assert!(pick.is_none_or(may));
            let probed = picker.draw_to_probe(8.0);
            prop_assert!(probed.members().len() <= PROBES_AT_ONCE_MAX);
            prop_assert!(probed.members().iter().all(|member| weights[*member] > 0));
        }
    }
}
