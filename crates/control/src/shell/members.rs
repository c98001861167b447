//! What the loop does with members that were found: the guard is told, then checks and workers.

use std::sync::Arc;

use evenkeel_guard::{Event, MembersFact};
use evenkeel_model::ids::Name;

use super::Shell;
use crate::clock::wall;
use crate::members::Answer;
use crate::series::Marker;

impl Shell {
    /// A look gave an answer, or failed.
    pub(super) fn found(&mut self, answer: Answer) {
        if let Some(pool) = self.members.take(answer) {
            self.move_members(&pool);
        }
    }

    /// Lets members go whose turn has come.
    pub(super) fn move_held_members(&mut self) {
        for pool in self.members.waiting() {
            self.move_members(&pool);
        }
    }

    fn move_members(&mut self, name: &Name) {
        let config = Arc::clone(&self.config);
        let Some(pool) = config.pool(name.as_str()) else {
            return;
        };
        let (now, fleet) = (self.clock.mono(), &self.fleet);
        let up = |backend: &Name| {
            let found = pool.backend(backend.as_str());
            found.is_none_or(|(index, _)| fleet.is_up(pool, index))
        };
        let Some(moved) = self.members.step(pool, now, up) else {
            return;
        };
        let moves = !moved.text.is_empty();
        if moves {
            tracing::info!(pool = %name, text = moved.text, "members");
            let text = moved.text.clone();
            let (at, kind) = (wall(), "members");
            self.series.mark(Marker { at, kind, text });
            drop(config);
            Arc::make_mut(&mut self.config).set_members(name.as_str(), &moved.found);
            self.checks.update(Arc::clone(&self.config));
        }
        self.step(Event::Members(MembersFact {
            pool: name.clone(),
            found: moved.found,
            held: moved.held,
            next: moved.next,
            error: moved.error,
            failed: moved.failed,
            text: moved.text,
        }));
        if moves {
            self.refresh();
        }
        self.publish();
    }
}
