//! The steps of a scenario, carried out on the isolated instance and its backends.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_control::{
    Apply as Command, DeploymentCommand, Drain as DrainCommand, Handle, Undrain as UndrainCommand,
};
use evenkeel_guard::{DRAIN_DEFAULT, Outcome as Reply};
use evenkeel_model::config::Config;
use evenkeel_model::ids::{IdError, Name, RevisionId};
use evenkeel_model::record::Told;
use evenkeel_shop::fault::TTL_MAX;
use evenkeel_shop::{Fault, FaultKind, HealthAnswer, Release};

use super::Clock;
use super::place::{Back, Place, Ramp};
use crate::command::{AUTHOR, verb};
use crate::dial::Turn;
use crate::edit::edited;
use crate::referee::Referee;
use crate::refusal::{carried_out, let_in, refused, said, turned_away};
use crate::scenario::{
    Action, Apply, BackendFault, DependencyFault, Deploy, DeploySteps, Drain, HealthWord, Operator,
    Rollback, Span, TrafficStep, USERS, Undrain,
};

impl Place<'_> {
    /// Carries out step `index` now.
    pub(super) async fn carry_out(
        &mut self,
        index: usize,
        clock: &Clock,
        referee: &mut Referee<'_>,
    ) {
        let scenario = self.scenario;
        let Some(step) = scenario.step.get(index) else {
            return;
        };
        let Some(action) = step.action() else { return };
        let injects = scenario.injected() == Some(index);
        let at = Clock::wall();
        if injects {
            referee.injected(at, self.counted());
        }
        let note = step
            .note
            .as_deref()
            .map(|n| format!(": {n}"))
            .unwrap_or_default();
        referee.note_moment(at, format!("step {} ({}){note}", index + 1, action.word()));
        let result = match action {
            Action::Apply(apply) => self.apply(apply, injects, referee).await,
            Action::Rollback(rollback) => self.roll_back(rollback).await,
            Action::Confirm(_) => answer(self.handle.confirm(None, AUTHOR.to_owned()).await),
            Action::Deploy(deploy) => self.deploy(deploy).await,
            Action::DeploySteps(deploy) => self.deploy_in_steps(deploy, referee).await,
            Action::BackendFault(fault) => self.fault(fault, referee),
            Action::DependencyFault(fault) => self.depend(fault),
            Action::Traffic(change) => {
                self.change_traffic(change, clock);
                Ok(())
            }
            Action::Operator(command) => self.command(command).await,
            Action::Drain(drain) => self.drain(drain, referee).await,
            Action::Undrain(undrain) => self.undrain(undrain).await,
            Action::Discovery(change) => self.discover(change),
            other => Err(format!("`{}` runs in simulation only", other.word())),
        };
        if let Err(why) = result {
            referee.fail(format!("step {} ({}): {why}", index + 1, action.word()));
        }
        for note in self.notes() {
            referee.note(note);
        }
    }

    async fn apply(
        &mut self,
        apply: &Apply,
        injects: bool,
        referee: &mut Referee<'_>,
    ) -> Result<(), String> {
        let running = self.view().ok_or("the instance is not up")?.revision;
        let base = self
            .meant
            .get(&running)
            .cloned()
            .ok_or("what runs is not known to the drill")?;
        let text = match &apply.text {
            Some(text) => text.clone(),
            None => edited(&base, &apply.set, &apply.unset).map_err(|e| e.to_string())?,
        };
        let meant: Option<Arc<Config>> = evenkeel_model::parse::parse(&text, None)
            .config
            .map(Arc::new);
        let text = match &meant {
            Some(config) => self.localise(config)?,
            None => text,
        };
        let command = Command {
            text,
            file: None,
            base: None,
            author: AUTHOR.to_owned(),
            reason: apply.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            force: apply.force,
            confirm_within: apply.confirm_within.map(|s| s.0),
            keep: apply.keep.map(|s| s.0),
        };
        let applied = self
            .handle
            .apply(command)
            .await
            .map_err(|e| e.to_string())?;
        let at = Clock::wall();
        match applied.outcome {
            Some(Reply::Applied { revision, .. }) => {
                if let Some(config) = meant {
                    self.meant.insert(revision, config);
                }
                referee.applied(revision, at, injects);
                let_in(&apply.refused_by, &revision.to_string())
            }
            Some(Reply::Refused(refusal)) => {
                referee.note_moment(at, said(&refusal.findings));
                refused(&apply.refused_by, &refusal.findings)
            }
            None => refused(&apply.refused_by, &applied.judged.findings),
            Some(other) => Err(format!("{other:?}")),
        }
    }

    async fn roll_back(&mut self, rollback: &Rollback) -> Result<(), String> {
        let to = rollback
            .to
            .as_deref()
            .map(str::parse::<RevisionId>)
            .transpose();
        let to = to.map_err(|e: IdError| e.to_string())?;
        let reason = rollback.reason.clone().unwrap_or_else(|| AUTHOR.to_owned());
        answer(
            self.handle
                .rollback(to, AUTHOR.to_owned(), reason, rollback.force)
                .await,
        )
    }

    async fn command(&mut self, command: &Operator) -> Result<(), String> {
        let open = self
            .view()
            .and_then(|view| view.incident)
            .ok_or("no incident is open")?;
        let verb = verb(command);
        answer(self.handle.incident(open, AUTHOR.to_owned(), verb).await)
    }

    async fn drain(&mut self, drain: &Drain, referee: &mut Referee<'_>) -> Result<(), String> {
        for (pool, backend) in named(&drain.backends) {
            let command = DrainCommand {
                pool,
                backend,
                lasts: drain.lasts.map_or(DRAIN_DEFAULT, |span| span.0),
                author: AUTHOR.to_owned(),
                reason: drain.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
                force: drain.force,
            };
            let drained = self.handle.drain(command).await;
            let reply = drained.map_err(|e| e.to_string())?.outcome;
            if let Some(findings) = turned_away(reply)? {
                referee.note_moment(Clock::wall(), said(&findings));
                return refused(&drain.refused_by, &findings);
            }
        }
        let_in(&drain.refused_by, "a drain")
    }

    async fn undrain(&mut self, undrain: &Undrain) -> Result<(), String> {
        for (pool, backend) in named(&undrain.backends) {
            let command = UndrainCommand {
                pool,
                backend,
                author: AUTHOR.to_owned(),
                reason: undrain.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            };
            answer(self.handle.undrain(command).await)?;
        }
        Ok(())
    }

    async fn deploy(&mut self, deploy: &Deploy) -> Result<(), String> {
        let release = Release {
            version: deploy.version.clone(),
            slow_factor: deploy.slow_factor,
            error_rate: deploy.error_rate.0,
        };
        self.release(&deploy.pool, &release, |name| {
            deploy.backends.is_empty() || deploy.backends.iter().any(|b| *name == b.as_str())
        })?;
        if !deploy.record {
            return Ok(());
        }
        let name = |text: &String| Name::new(text).map_err(|e| e.to_string());
        let command = DeploymentCommand {
            pool: name(&deploy.pool)?,
            version: name(&deploy.version)?,
            backends: deploy.backends.iter().map(name).collect::<Result<_, _>>()?,
            at: None,
            author: AUTHOR.to_owned(),
            note: deploy.note.clone().unwrap_or_default(),
            told: Told::Finished,
            message: None,
        };
        record(&self.handle, command).await
    }

    /// The backends of `of` that are `reached` run `release` from now on.
    fn release(
        &self,
        of: &str,
        release: &Release,
        reached: impl Fn(&Name) -> bool,
    ) -> Result<(), String> {
        for ((pool, backend), stub) in &self.stubs {
            if *pool == of && reached(backend) {
                stub.release(release.clone()).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    async fn deploy_in_steps(
        &mut self,
        deploy: &DeploySteps,
        referee: &mut Referee<'_>,
    ) -> Result<(), String> {
        let running = self.view().ok_or("the instance is not up")?.revision;
        let meant = self.meant.get(&running);
        let meant = meant.ok_or("what runs is not known to the drill")?;
        let of_version = |backend: &Name| {
            let pool = meant.pool(&deploy.pool);
            let found = pool.and_then(|pool| pool.backend(backend.as_str()));
            let version = found.and_then(|(_, backend)| backend.version.as_ref());
            version.is_some_and(|version| *version == deploy.version.as_str())
        };
        let release = Release {
            version: deploy.version.clone(),
            slow_factor: deploy.slow_factor,
            error_rate: deploy.error_rate.0,
        };
        self.release(&deploy.pool, &release, of_version)?;
        let reason = deploy.reason.clone().unwrap_or_else(|| AUTHOR.to_owned());
        let whose = (AUTHOR.to_owned(), reason);
        let started = self
            .handle
            .deploy(&deploy.pool, whose, deploy.verb()?)
            .await;
        let reply = started.map_err(|e| e.to_string())?;
        if let Some(findings) = turned_away(reply)? {
            referee.note_moment(Clock::wall(), said(&findings));
            return refused(&deploy.refused_by, &findings);
        }
        let_in(&deploy.refused_by, "a deployment")
    }

    fn fault(&mut self, fault: &BackendFault, referee: &mut Referee<'_>) -> Result<(), String> {
        let mut kinds = Vec::new();
        let ttl = ttl(fault.lasts);
        load(
            fault.slow_factor,
            fault.extra_latency,
            fault.error_rate.0,
            ttl,
            &mut kinds,
        );
        let mut add = |kind, ttl| kinds.push(Fault { kind, ttl });
        if let Some(status) = fault.fails_fast {
            if status != 500 {
                referee.note(format!("`fails_fast = {status}` is 500 in a live drill"));
            }
            add(FaultKind::FailFast { rate: 1.0 }, ttl);
        }
        if fault.hangs {
            add(FaultKind::Hang { rate: 1.0 }, ttl);
        }
        if fault.refuses {
            add(FaultKind::Refuse, ttl);
        }
        if let Some(down) = fault.restarts {
            add(FaultKind::Refuse, down.0);
        }
        if fault.flaps.is_some() {
            return Err("`flaps` runs in simulation only".to_owned());
        }
        if let Some(flaps) = fault.health_flaps {
            let period = flaps.up.0 + flaps.down.0;
            referee.note("a live health check flaps in equal halves".to_owned());
            add(
                FaultKind::Flap {
                    period_ms: period.as_millis() as u64,
                },
                ttl,
            );
        }
        let health = match (fault.health, fault.hangs) {
            (HealthWord::Fails, _) => Some(HealthAnswer::Fail),
            (HealthWord::AsIs, true) => Some(HealthAnswer::Hang),
            (HealthWord::AsIs | HealthWord::Passes, _) => None,
        };
        if let Some(answer) = health {
            add(FaultKind::Health { answer }, ttl);
        }
        for name in &fault.backends {
            let stub = self
                .stubs
                .iter()
                .find(|((pool, backend), _)| format!("{pool}/{backend}") == *name);
            let (_, stub) = stub.ok_or_else(|| format!("no backend `{name}`"))?;
            for kind in &kinds {
                stub.inject(*kind).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    fn depend(&mut self, fault: &DependencyFault) -> Result<(), String> {
        let mut kinds = Vec::new();
        load(
            fault.slow_factor,
            fault.extra_latency,
            fault.error_rate.0,
            ttl(fault.lasts),
            &mut kinds,
        );
        for ((pool, _), stub) in &self.stubs {
            for kind in kinds.iter().filter(|_| *pool == fault.pool.as_str()) {
                stub.inject(*kind).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    fn change_traffic(&mut self, change: &TrafficStep, clock: &Clock) {
        let stream = change.stream.as_deref().unwrap_or(USERS).to_owned();
        let Some(dial) = self.dials.get(&stream).copied() else {
            return;
        };
        let now = clock.now();
        let turn = Turn::of(change, dial);
        if let Some(to) = turn.rate {
            self.ramps.push(Ramp {
                stream: stream.clone(),
                at: now,
                over: change.over.0,
                from: dial.rate,
                to,
            });
        }
        self.turn(&stream, turn);
        if let Some(lasts) = change.lasts {
            self.backs.push(Back {
                at: now.plus(lasts.0),
                stream,
                turn: turn.back(dial),
            });
        }
    }
}

/// Pool and backend of each `POOL/NAME`.
fn named(backends: &[String]) -> impl Iterator<Item = (String, String)> {
    let halves = backends.iter().filter_map(|name| name.split_once('/'));
    halves.map(|(pool, backend)| (pool.to_owned(), backend.to_owned()))
}

async fn record(handle: &Handle, command: DeploymentCommand) -> Result<(), String> {
    answer(handle.record(command).await)
}

/// A command that must be carried out.
fn answer(reply: Result<Reply, evenkeel_control::CommandError>) -> Result<(), String> {
    carried_out(reply.map_err(|e| e.to_string())?)
}

fn ttl(lasts: Option<Span>) -> Duration {
    lasts.map_or(TTL_MAX, |span| span.0.min(TTL_MAX))
}

/// What makes a server slower or fail.
fn load(factor: f64, extra: Span, error_rate: f64, ttl: Duration, kinds: &mut Vec<Fault>) {
    let mut add = |kind| kinds.push(Fault { kind, ttl });
    if (factor - 1.0).abs() > f64::EPSILON {
        add(FaultKind::Slow { factor });
    }
    if !extra.0.is_zero() {
        add(FaultKind::Latency {
            ms: extra.0.as_millis() as u64,
        });
    }
    if error_rate > 0.0 {
        add(FaultKind::Errors { rate: error_rate });
    }
}
