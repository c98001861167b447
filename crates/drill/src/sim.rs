//! The simulated stage: the event engine as data plane, the real guard, journal, audit and forecast, a virtual clock.
//!
//! Hundreds of times faster than life and the same for the same seed. The loop here does what the control shell does
//! around the guard; everything that decides is the very code that runs in production. Limits: those of the engine;
//! notices are taken as delivered to nobody; the answer of a forecast or an audit comes within the same moment.

mod actions;
pub(crate) mod behaviour;
mod deployments;
mod drains;
mod members;
mod ward;
mod world;

use evenkeel_model::clock::Mono;

use crate::Outcome;
use crate::referee::Referee;
use crate::scenario::{Scenario, Stage};
use crate::steps::Steps;

use world::World;

/// Runs `scenario` on the virtual clock. The same seed gives the same outcome.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    if let Some(why) = scenario.missing(Stage::Sim) {
        return Outcome::void(scenario, Stage::Sim, seed, why);
    }
    let mut world = match World::new(scenario, seed) {
        Ok(world) => world,
        Err(why) => return Outcome::void(scenario, Stage::Sim, seed, why),
    };
    let mut referee = Referee::new(scenario, Stage::Sim, seed, world.wall());
    let limit = Mono::ZERO.plus(scenario.steady.within.0);
    while !referee.is_steady() {
        if world.now() >= limit {
            return referee.void();
        }
        world.end_second(world.next_second(), &mut referee);
    }
    let zero = world.now();
    world.schedule_traffic(zero);
    let end = zero.plus(scenario.duration.0);
    let mut steps = Steps::new(scenario, zero);
    while world.now() < end {
        let second = world.next_second();
        // A step due at the very end of a second is carried out before that second is judged.
        while let Some((index, at)) = steps.next_due(second) {
            world.advance(at);
            world.carry_out(index, &mut referee);
            steps.done(index);
            steps.look(&referee, world.now());
        }
        world.end_second(second, &mut referee);
        steps.look(&referee, world.now());
    }
    referee.finish()
}
