//! The live stage: an isolated instance of the real program on free ports, real backends, real sockets.
//!
//! The instance runs on a thread of its own with its state in a temporary directory; nothing of it survives. Faults
//! live in our own backends and end by themselves, so neither root nor cleaning up is needed. Limits: a run ends
//! within [`TIME_MAX`]; rates and capacities are scaled down together to what the machine can carry, and the outcome
//! says so; receivers are taken out, so that a drill pages nobody.

mod actions;
mod members;
mod place;

use std::time::{Duration, Instant, SystemTime};

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Objective;

use crate::Outcome;
use crate::referee::{Counted, Referee, Seen};
use crate::scenario::{Scenario, Stage};
use crate::steps::Steps;

use place::Place;

/// Longest live run, from the start to the outcome.
pub const TIME_MAX: Duration = Duration::from_secs(118);
/// Requests per second of all streams together that one core is trusted to carry: load, balancer and backends.
pub const RATE_PER_CORE: f64 = 150.0;
/// Grain of a change of rate and of the wait for the next step.
const GRAIN: Duration = Duration::from_millis(100);

/// Runs `scenario` on an isolated instance. `progress` is told what happens, a line each.
pub fn run(scenario: &Scenario, seed: u64, progress: &mut dyn FnMut(&str)) -> Outcome {
    if let Some(why) = scenario.missing(Stage::Live) {
        return Outcome::void(scenario, Stage::Live, seed, why);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::void(scenario, Stage::Live, seed, error.to_string()),
    };
    let place = match Place::open(scenario, seed) {
        Ok(place) => place,
        Err(why) => return Outcome::void(scenario, Stage::Live, seed, why),
    };
    runtime.block_on(watch(scenario, seed, place, progress))
}

/// A live run in progress.
struct Clock {
    started: Instant,
}

impl Clock {
    fn now(&self) -> Mono {
        Mono::ZERO.plus(self.started.elapsed())
    }

    fn wall() -> Wall {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Wall(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

async fn watch(
    scenario: &Scenario,
    seed: u64,
    mut place: Place<'_>,
    progress: &mut dyn FnMut(&str),
) -> Outcome {
    let clock = Clock {
        started: Instant::now(),
    };
    let mut referee = Referee::new(scenario, Stage::Live, seed, Clock::wall());
    for note in place.notes() {
        referee.note(note);
    }
    let limit = scenario.steady.within.0.min(TIME_MAX / 2);
    let mut shown = 0;
    while !referee.is_steady() {
        if clock.started.elapsed() >= limit {
            place.close().await;
            return referee.void();
        }
        if !place
            .wait(&clock, clock.now().plus(Duration::from_secs(1)))
            .await
        {
            place.close().await;
            return Outcome::void(scenario, Stage::Live, seed, "interrupted".to_owned());
        }
        second(&mut place, &mut referee);
        shown = tell(&referee, shown, progress);
    }
    let zero = clock.now();
    place.begin(zero);
    let wanted = zero.plus(scenario.duration.0);
    let end = wanted.min(Mono::ZERO.plus(TIME_MAX));
    if end < wanted {
        referee.note(format!(
            "a live run ends within {} s; this one was cut at {:.0} s after the steady state",
            TIME_MAX.as_secs(),
            end.since(zero).as_secs_f64()
        ));
    }
    let mut steps = Steps::new(scenario, zero);
    let mut next = zero.plus(Duration::from_secs(1));
    while clock.now() < end {
        let until = next.min(end);
        while let Some((index, at)) = steps.next_due(until) {
            if !place.wait(&clock, at).await {
                place.close().await;
                return Outcome::void(scenario, Stage::Live, seed, "interrupted".to_owned());
            }
            place.carry_out(index, &clock, &mut referee).await;
            steps.done(index);
            steps.look(&referee, clock.now());
        }
        if !place.wait(&clock, until).await {
            place.close().await;
            return Outcome::void(scenario, Stage::Live, seed, "interrupted".to_owned());
        }
        next = next.max(clock.now()).plus(Duration::from_secs(1));
        second(&mut place, &mut referee);
        steps.look(&referee, clock.now());
        shown = tell(&referee, shown, progress);
    }
    place.close().await;
    referee.finish()
}

fn second(place: &mut Place<'_>, referee: &mut Referee<'_>) {
    let seen: Vec<(Objective, Seen)> = place.seen();
    let counted: Counted = place.counted();
    if let Some(view) = place.view() {
        referee.second(Clock::wall(), &view, &seen, counted);
    }
}

fn tell(referee: &Referee<'_>, shown: usize, progress: &mut dyn FnMut(&str)) -> usize {
    let lines = referee.lines();
    for line in lines.iter().skip(shown) {
        progress(line);
    }
    lines.len()
}
