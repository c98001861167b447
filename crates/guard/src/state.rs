//! The guard itself: its state and the dispatch of events.

use evenkeel_model::clock::{Mono, Wall};

use crate::Settings;
use crate::action::Action;
use crate::event::Event;
use crate::view::GuardView;

/// The control loop. One per instance.
#[derive(Debug)]
pub struct Guard {
    settings: Settings,
}

impl Guard {
    /// A guard that waits for `Event::Booted`.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Takes one event at `now` and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: Mono, wall: Wall) -> Vec<Action> {
        let (_, _, _) = (event, now, wall);
        Vec::new()
    }

    /// Everything for status, page and metrics; `None` before `Event::Booted`.
    pub fn view(&self, now: Mono, wall: Wall) -> Option<GuardView> {
        let (_, _, _) = (now, wall, &self.settings);
        None
    }
}
