//! The simulated stage: the event engine as data plane, the real guard, journal, audit and forecast, a virtual clock.
//!
//! Hundreds of times faster than life and the same for the same seed. The loop here does what the control shell does
//! around the guard; everything that decides is the very code that runs in production. Limits: those of the engine;
//! notices are taken as delivered to nobody; the answer of a forecast or an audit comes within the same moment.

mod actions;
mod behaviour;
mod ward;
mod world;

use evenkeel_model::clock::Mono;

use crate::Outcome;
use crate::referee::Referee;
use crate::scenario::{Condition, Scenario, Stage};

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
        world.until_next_second(&mut referee);
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
        world.until_next_second(&mut referee);
        steps.look(&referee, world.now());
    }
    referee.finish()
}

/// Which steps are still to come, and when.
struct Steps<'s> {
    scenario: &'s Scenario,
    /// When each step is due; `None`: its condition does not hold yet, or it was carried out.
    due: Vec<Option<Mono>>,
    waiting: Vec<bool>,
    carried_out: Vec<bool>,
}

impl<'s> Steps<'s> {
    fn new(scenario: &'s Scenario, zero: Mono) -> Self {
        let due = scenario
            .step
            .iter()
            .map(|step| step.at.map(|at| zero.plus(at.0)));
        Self {
            due: due.collect(),
            waiting: scenario
                .step
                .iter()
                .map(|step| step.after.is_some())
                .collect(),
            carried_out: vec![false; scenario.step.len()],
            scenario,
        }
    }

    /// The next step that is due by `until`: the earliest, in file order.
    fn next_due(&self, until: Mono) -> Option<(usize, Mono)> {
        let due = self.due.iter().enumerate();
        due.filter_map(|(index, at)| at.map(|at| (index, at)))
            .filter(|(_, at)| *at <= until)
            .min_by_key(|(index, at)| (*at, *index))
    }

    fn done(&mut self, index: usize) {
        if let Some(due) = self.due.get_mut(index) {
            *due = None;
        }
        if let Some(done) = self.carried_out.get_mut(index) {
            *done = true;
        }
    }

    /// Makes steps due whose condition holds now.
    fn look(&mut self, referee: &Referee<'_>, now: Mono) {
        for (index, step) in self.scenario.step.iter().enumerate() {
            let Some(condition) = step
                .after
                .filter(|_| self.waiting.get(index) == Some(&true))
            else {
                continue;
            };
            let holds = match condition {
                Condition::Previous => index == 0 || self.carried_out.get(index - 1) == Some(&true),
                other => referee.holds(other),
            };
            if holds {
                let delay = step.delay.unwrap_or_default();
                if let (Some(due), Some(waiting)) =
                    (self.due.get_mut(index), self.waiting.get_mut(index))
                {
                    *due = Some(now.plus(delay.0));
                    *waiting = false;
                }
            }
        }
    }
}
