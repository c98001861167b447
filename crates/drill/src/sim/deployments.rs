//! Deployments in steps in the simulated world: the version behaves as the scenario says, the guard moves the traffic.

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::{DeployCommand, Event};
use evenkeel_model::ids::Name;

use super::behaviour::release;
use super::world::World;
use crate::command::AUTHOR;
use crate::referee::Referee;
use crate::refusal::{let_in, refused, said, turned_away};
use crate::scenario::DeploySteps;

impl World<'_> {
    /// The backends of `pool` that are `reached` behave like `release` from now on.
    pub(super) fn release(
        &mut self,
        pool: &Name,
        reached: Vec<Name>,
        release: &Fault,
    ) -> Result<(), String> {
        for backend in reached {
            let key = (pool.clone(), backend);
            self.releases.insert(key.clone(), release.clone());
            self.set_fault(&key)?;
        }
        Ok(())
    }

    pub(super) fn deploy_in_steps(
        &mut self,
        deploy: &DeploySteps,
        referee: &mut Referee<'_>,
    ) -> Result<(), String> {
        let pool = Name::new(&deploy.pool).map_err(|e| e.to_string())?;
        let backends = self.config.pool(&deploy.pool).ok_or("no such pool")?;
        let backends = backends.backends.iter();
        let mine = backends.filter(|b| {
            b.version
                .as_ref()
                .is_some_and(|v| *v == deploy.version.as_str())
        });
        let names: Vec<Name> = mine.map(|b| b.name.clone()).collect();
        let effect = release(deploy.slow_factor, deploy.error_rate);
        self.release(&pool, names, &effect)?;
        let request = self.request();
        self.send(Event::Deploy(Box::new(DeployCommand {
            request,
            pool,
            author: AUTHOR.to_owned(),
            reason: deploy.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            verb: deploy.verb()?,
        })));
        let reply = self.replies.remove(&request).ok_or("no answer came")?;
        if let Some(findings) = turned_away(reply)? {
            referee.note_moment(self.wall(), said(&findings));
            return refused(&deploy.refused_by, &findings);
        }
        let_in(&deploy.refused_by, "a deployment")
    }
}
