//! Faults of the control plane itself: evidence that is lost, late or told twice, a wall clock that jumps, a kill after
//! any entry. Nothing is decided without evidence and nothing that was decided is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_guard::{Action, Boot, Event, Guard, Outcome, RequestId, Restorable, Settings, boot};
use evenkeel_journal::State;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::{RevisionId, WorkerId};
use evenkeel_model::record::{Entry, RevisionRecord, RevisionState};
use evenkeel_model::rng::Rng;
use evenkeel_model::tally::Tally;

use crate::world::{START, World, boot_of, record, shop};

const EVEN: [u32; 3] = [1, 1, 1];
const TYPO: [u32; 3] = [10, 1, 1];

/// Loses one tally in ten, brings one in ten late (by up to three seconds) and one in ten again.
fn bad_courier(seed: u64) -> impl FnMut(Tally, u64) -> Vec<Tally> {
    let mut rng = Rng::new(seed);
    let mut late: Vec<(u64, Tally)> = Vec::new();
    move |tally, second| {
        let (due, kept) = std::mem::take(&mut late)
            .into_iter()
            .partition(|(at, _)| *at <= second);
        late = kept;
        let due: Vec<(u64, Tally)> = due;
        let mut brought = Vec::new();
        match rng.below(10) {
            0 => {}
            1 => late.push((second + 1 + rng.below(3), tally)),
            2 => brought.extend([tally.clone(), tally]),
            _ => brought.push(tally),
        }
        brought.extend(due.into_iter().map(|(_, tally)| tally));
        brought
    }
}

#[test]
fn tallies_that_are_lost_late_or_told_twice_raise_nothing_and_hide_nothing() {
    for (seed, algorithm) in (0..4).zip(["round_robin", "random"].into_iter().cycle()) {
        let mut world = World::new(seed, 900.0, shop(EVEN, algorithm, ""));
        world.courier = Box::new(bad_courier(seed));
        world.run(300);
        let incidents = world.incidents();
        assert!(incidents.is_empty(), "{algorithm} {seed}: {incidents:#?}");
        let rates = world.view().pools[0]
            .backends
            .iter()
            .map(|b| b.rps)
            .collect::<Vec<_>>();
        let sum: f64 = rates.iter().flatten().sum();
        assert!(sum < 1.15 * 900.0, "{algorithm} {seed}: {rates:?}");
        world.apply(shop(TYPO, algorithm, ""));
        let undone = world.run_until(90, |w| w.swaps == [RevisionId(2), RevisionId(1)]);
        assert!(
            undone.is_some(),
            "{algorithm} {seed}: {:#?}",
            world.incidents()
        );
    }
}

#[test]
fn what_is_told_again_changes_nothing_at_all() {
    let mut plain = World::new(3, 900.0, shop(EVEN, "random", ""));
    let mut echo = World::new(3, 900.0, shop(EVEN, "random", ""));
    let mut before: BTreeMap<WorkerId, Tally> = BTreeMap::new();
    echo.courier = Box::new(move |tally, _| {
        let old = before.insert(tally.worker, tally.clone());
        let all = [Some(tally.clone()), Some(tally), old];
        all.into_iter().flatten().collect()
    });
    for world in [&mut plain, &mut echo] {
        world.run(40);
        world.apply(shop(TYPO, "random", ""));
        world.run(40);
    }
    assert_eq!(echo.view(), plain.view());
    assert_eq!(echo.journal, plain.journal);
}

#[test]
fn a_wall_clock_that_jumps_by_hours_undoes_no_good_change_and_keeps_no_bad_one() {
    let hour = 3_600_000;
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed, 900.0, shop(EVEN, "round_robin", ""));
        let mut jump = |world: &mut World| {
            let hours = 1 + rng.below(30) as i64;
            world.step_clock(if rng.below(2) == 0 { hours } else { -hours } * hour);
        };
        world.run(30);
        jump(&mut world);
        world.run(30);
        let mut good = world.proposal(shop([11, 10, 10], "round_robin", ""));
        good.confirm_within = Some(Duration::from_mins(4));
        world.propose(good);
        for _ in 0..4 {
            world.run(40);
            jump(&mut world);
        }
        assert_eq!(
            world.swaps,
            [RevisionId(2)],
            "{seed}: the time to confirm is not over"
        );
        world.confirm();
        world.run(30);
        assert!(
            world.incidents().is_empty(),
            "{seed}: {:#?}",
            world.incidents()
        );
        world.apply(shop(TYPO, "round_robin", ""));
        world.run(1);
        assert_eq!(world.swaps.len(), 2, "{seed}: not undone yet");
        jump(&mut world);
        let undone = world.run_until(40, |w| w.swaps.len() == 3);
        assert!(
            undone.is_some_and(|s| s >= 7),
            "{seed}: held first, undone then: {undone:?}"
        );
        assert_eq!(world.swaps[2], RevisionId(2), "{seed}");
        let incident = &world.incidents()[0];
        let story = [
            incident.fault_at,
            Some(incident.detected_at),
            incident.mitigated_at,
        ];
        let told: Vec<Wall> = story.into_iter().flatten().collect();
        assert!(told.is_sorted(), "{seed}: {told:?}");
    }
}

/// The journal of a change that is verified, confirmed and rolled back by a person, and of one that undoes itself.
fn busy() -> World {
    let mut world = World::new(5, 900.0, shop(EVEN, "round_robin", ""));
    world.run(15);
    let mut good = world.proposal(shop([11, 10, 10], "round_robin", ""));
    good.confirm_within = Some(Duration::from_mins(1));
    world.propose(good);
    world.run(30);
    world.confirm();
    world.run(15);
    world.apply(shop(TYPO, "round_robin", ""));
    world.run(60);
    let back = world.restorable(RevisionId(1));
    world.rollback(Some(back));
    world.run(40);
    assert_eq!(
        world.swaps,
        [2, 3, 2, 1].map(RevisionId),
        "{:#?}",
        world.incidents()
    );
    world
}

/// What a start after a kill runs: the state that the first `length` entries tell of.
fn after_a_kill(world: &World, length: usize) -> (State, Option<RevisionId>) {
    let mut state = State::default();
    let baseline = record(1, &world.first, RevisionState::Verified);
    state.fold(&Entry::Revision(baseline));
    for entry in &world.journal[..length] {
        state.fold(entry);
    }
    let revisions: Vec<RevisionRecord> = state.revisions.values().cloned().collect();
    let selected = boot::select(&revisions);
    (state, selected)
}

#[test]
fn a_kill_after_any_commit_boots_what_had_evidence_and_forgets_nothing() {
    let world = busy();
    let mut booted = Vec::new();
    for length in [0].into_iter().chain(world.commits.clone()) {
        let (state, selected) = after_a_kill(&world, length);
        let selected = selected.unwrap_or_else(|| panic!("nothing boots after {length}"));
        let chosen = state.revisions[&selected].clone();
        let was_undone = matches!(
            chosen.state,
            RevisionState::Applying | RevisionState::RollingBack | RevisionState::RolledBack
        );
        assert!(!was_undone, "{length}: {chosen:?}");
        assert!(!state.quarantine.contains_key(&chosen.hash), "{length}");
        if let Some(verified) = state.verified() {
            assert_eq!(selected, verified.id, "{length}");
        }
        let entries = restarted(&world, &state, selected);
        let mut again = state.clone();
        for entry in &entries {
            again.fold(entry);
        }
        let revisions: Vec<RevisionRecord> = again.revisions.values().cloned().collect();
        assert_eq!(
            boot::select(&revisions),
            Some(selected),
            "{length}: a second kill"
        );
        let left = |r: &&RevisionRecord| r.id != selected && r.state == RevisionState::Applying;
        assert_eq!(revisions.iter().find(left), None, "{length}");
        booted.push(selected.0);
    }
    booted.dedup();
    println!("{} kills; booted {booted:?}", world.commits.len() + 1);
    // The typo (3) never; what a person rolled back to runs as soon as the rollback is on record.
    assert_eq!(booted, [1, 2, 1]);
}

/// Boots a guard from `state` and asks it for what is refused: what it writes at the start.
fn restarted(world: &World, state: &State, selected: RevisionId) -> Vec<Entry> {
    let mut guard = Guard::new(Settings::default());
    let chosen = &state.revisions[&selected];
    let next = |newest: Option<u64>| newest.unwrap_or(0) + 1;
    let boot = Boot {
        revisions: state.revisions.values().cloned().collect(),
        next_revision: next(state.revisions.keys().next_back().map(|id| id.0)),
        next_incident: next(state.incidents.keys().next_back().map(|id| id.0)),
        incidents: state.open_incidents().cloned().collect(),
        quarantine: state.quarantine.iter().map(|(h, i)| (*h, *i)).collect(),
        ..boot_of(Restorable {
            record: chosen.clone(),
            config: Arc::clone(&world.configs[&chosen.hash]),
        })
    };
    let mut actions = guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, START);
    actions.extend(guard.step(Event::Tick, Mono::from_secs(1), START));
    let swapped = actions.iter().find(|a| matches!(a, Action::Swap { .. }));
    assert_eq!(swapped, None, "nothing is done before there is evidence");
    let view = guard.view(Mono::from_secs(1), START).unwrap();
    assert_eq!(view.revision, selected);
    assert_eq!(view.incidents.len(), state.open_incidents().count());
    for hash in state.quarantine.keys() {
        let mut proposal = world.plain_proposal(&world.configs[hash]);
        proposal.request = RequestId(9_999);
        proposal.judged_against = selected;
        proposal.force = false;
        let answer = guard.step(
            Event::Propose(Box::new(proposal)),
            Mono::from_secs(1),
            START,
        );
        let refused = answer.iter().any(|action| match action {
            Action::Reply { outcome, .. } => match &**outcome {
                Outcome::Refused(refusal) => refusal.findings[0].id == "CHG-02",
                _ => false,
            },
            _ => false,
        });
        assert!(refused, "{selected}: {answer:#?}");
    }
    let commits = actions.into_iter().filter_map(|action| match action {
        Action::Commit { entries, .. } => Some(entries),
        _ => None,
    });
    commits.flatten().collect()
}
