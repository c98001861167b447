//! Drains in the simulated world: judged by the code of the control shell, then asked of the guard.

use evenkeel_control::judge_drain;
use evenkeel_forecast::Facts;
use evenkeel_guard::{DRAIN_DEFAULT, DrainCommand, Event, Outcome as Reply, UndrainCommand};
use evenkeel_model::ids::Name;

use super::actions::keys;
use super::world::World;
use crate::command::AUTHOR;
use crate::referee::Referee;
use crate::refusal::{let_in, refused, said, turned_away};
use crate::scenario::{Drain, Undrain};

impl World<'_> {
    /// What a judgement knows beside the configuration: who is drained.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for (pool, backend) in self.guard.drained() {
            facts.drain(pool.as_str(), backend.as_str());
        }
        facts
    }

    pub(super) fn drain(&mut self, drain: &Drain, referee: &mut Referee<'_>) -> Result<(), String> {
        for (pool, backend) in keys(&drain.backends)? {
            if let Some(findings) = turned_away(self.ask_for(drain, &pool, &backend)?)? {
                referee.note_moment(self.wall(), said(&findings));
                return refused(&drain.refused_by, &findings);
            }
        }
        let_in(&drain.refused_by, "a drain")
    }

    fn ask_for(&mut self, drain: &Drain, pool: &Name, backend: &Name) -> Result<Reply, String> {
        let names = (pool.as_str(), backend.as_str());
        let judged = judge_drain(&self.config, &self.facts(), names, self.wall());
        let view = self.view().ok_or("the balancer is not up")?;
        let request = self.request();
        let blocking = judged.findings.iter().take(judged.blocking).cloned();
        self.send(Event::Drain(Box::new(DrainCommand {
            request,
            pool: pool.clone(),
            backend: backend.clone(),
            lasts: drain.lasts.map_or(DRAIN_DEFAULT, |span| span.0),
            author: AUTHOR.to_owned(),
            reason: drain.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            force: drain.force,
            blocking: blocking.collect(),
            judged_against: view.revision,
            judged_drains: view.drain_changes,
        })));
        let reply = self.replies.remove(&request);
        reply.ok_or_else(|| "no answer came".to_owned())
    }

    pub(super) fn undrain(&mut self, undrain: &Undrain) -> Result<(), String> {
        for (pool, backend) in keys(&undrain.backends)? {
            let request = self.request();
            self.send(Event::Undrain(UndrainCommand {
                request,
                pool,
                backend,
                author: AUTHOR.to_owned(),
                reason: undrain.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            }));
            self.done(request)?;
        }
        Ok(())
    }
}
