//! Recordings: what was decided is decided again, bit for bit, and what is not the same is seen.

use std::time::Duration;

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::recording::{Recorder, ReplayError, SEGMENT_SPAN, replay};
use evenkeel_model::ids::IncidentId;
use evenkeel_model::record::IncidentStatus;

use crate::world::{World, shop};

/// A typo is undone, and the incident resolved.
fn incident(algorithm: &str, seed: u64) -> World {
    let mut world = World::new(seed, 900.0, shop([1, 1, 1], algorithm, ""));
    world.run(700);
    world.apply(shop([10, 1, 1], algorithm, ""));
    let over = |w: &World| {
        w.incidents()
            .iter()
            .any(|i| i.status == IncidentStatus::Resolved)
    };
    assert!(world.run_until(300, over).is_some());
    world
}

#[test]
fn a_recorded_incident_is_decided_again_bit_for_bit() {
    for (seed, algorithm) in ["round_robin", "random", "least_request"]
        .iter()
        .enumerate()
    {
        let mut world = incident(algorithm, seed as u64);
        assert!(world.recorder.take_changed().contains(&IncidentId(1)));
        assert_eq!(world.recorder.open().count(), 0);
        let again = replay(&world.recorder.recording()).unwrap();
        assert_eq!(again.difference, None, "{algorithm}");
        assert_eq!(again.incidents, [IncidentId(1)]);
        let span = Duration::from_millis(again.to.0 - again.from.0);
        assert!(span >= SEGMENT_SPAN && span <= 4 * SEGMENT_SPAN, "{span:?}");
        assert!(
            again.compared >= 1 && again.actions > 5 && !again.is_cut,
            "{again:?}"
        );
    }
}

#[test]
fn quiet_time_is_forgotten_and_an_open_incident_is_kept_from_before_its_beginning() {
    let mut world = World::new(1, 200.0, shop([1, 1, 1], "random", ""));
    world.run(3_600);
    let quiet = world.recorder.recording();
    let span = |bytes: &[u8]| {
        let again = replay(bytes).unwrap();
        assert_eq!(again.difference, None);
        Duration::from_millis(again.to.0 - again.from.0)
    };
    assert!(span(&quiet) <= 2 * SEGMENT_SPAN);
    let failing = Fault {
        error_rate: 0.3,
        ..Fault::default()
    };
    world.fault("web-3", failing);
    let opened = world.run_until(120, |w| w.recorder.open().next().is_some());
    assert!(opened.is_some());
    world.run(1_800);
    let long = world.recorder.recording();
    assert!(span(&long) >= Duration::from_mins(30), "{:?}", span(&long));
    assert!(long.len() < 64 << 20);
}

#[test]
fn another_decision_is_seen_with_the_event_and_both_answers() {
    let world = incident("random", 3);
    let bytes = world.recorder.recording();
    // A guard that was told something else decides something else, or something that nobody can be told.
    let mut seen = 0;
    for at in (bytes.len() / 2..bytes.len()).step_by(bytes.len() / 100) {
        let mut other = bytes.clone();
        other[at] ^= 1;
        match replay(&other) {
            Err(_) => seen += 1,
            Ok(again) => {
                if let Some(difference) = again.difference {
                    assert!(difference.event > 0 && difference.recorded != difference.replayed);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5, "{seen} of 50");
}

#[test]
fn what_is_no_recording_is_refused_with_the_reason() {
    assert_eq!(replay(b"hello"), Err(ReplayError::NoRecording));
    let world = incident("random", 4);
    let bytes = world.recorder.recording();
    let half = &bytes[..bytes.len() / 2];
    assert_eq!(replay(half), Err(ReplayError::Unreadable("its segments")));
    let version = env!("CARGO_PKG_VERSION");
    let at = bytes
        .windows(version.len())
        .position(|w| w == version.as_bytes());
    let mut other = bytes.clone();
    other[at.unwrap()] = b'9';
    let told = replay(&other).unwrap_err().to_string();
    assert!(told.contains("replay it with that"), "{told}");
    let empty = Recorder::default().recording();
    assert_eq!(replay(&empty).map(|again| again.events), Ok(0));
}
