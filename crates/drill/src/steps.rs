//! Which step of a scenario is due when, by the clock or by a condition. The same on both stages.

use evenkeel_model::clock::Mono;

use crate::referee::Referee;
use crate::scenario::{Condition, Scenario};

/// Which steps are still to come, and when.
pub(crate) struct Steps<'s> {
    scenario: &'s Scenario,
    /// When each step is due; `None`: its condition does not hold yet, or it was carried out.
    due: Vec<Option<Mono>>,
    waiting: Vec<bool>,
    carried_out: Vec<bool>,
}

impl<'s> Steps<'s> {
    pub(crate) fn new(scenario: &'s Scenario, zero: Mono) -> Self {
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
    pub(crate) fn next_due(&self, until: Mono) -> Option<(usize, Mono)> {
        let due = self.due.iter().enumerate();
        due.filter_map(|(index, at)| at.map(|at| (index, at)))
            .filter(|(_, at)| *at <= until)
            .min_by_key(|(index, at)| (*at, *index))
    }

    pub(crate) fn done(&mut self, index: usize) {
        if let Some(due) = self.due.get_mut(index) {
            *due = None;
        }
        if let Some(done) = self.carried_out.get_mut(index) {
            *done = true;
        }
    }

    /// Makes steps due whose condition holds now.
    pub(crate) fn look(&mut self, referee: &Referee<'_>, now: Mono) {
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
