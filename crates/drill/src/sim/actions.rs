//! The steps of a scenario, carried out in the simulated world.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_forecast::engine::spec::{BackendKey, Dependency, Fault, NetworkFault as Network};
use evenkeel_guard::{
    DeploymentReport, EpochFact, Event, Guard, IncidentCommand, Outcome as Reply, Proposal,
    Restorable, RollbackCommand, Settings,
};
use evenkeel_journal::{AppendError, Read as _};
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::parse::parse;
use evenkeel_model::record::{RevisionRecord, Told};

use super::behaviour;
use super::world::{Due, Undo, World, restore};
use crate::command::{AUTHOR, verb};
use crate::dial::Turn;
use crate::edit::edited;
use crate::referee::Referee;
use crate::refusal::{carried_out, let_in, refused, said};
use crate::scenario::{
    Action, Apply, BackendFault, Deploy, NetworkFault, Operator, Span, TrafficStep, USERS,
};

/// Until a restarted balancer is back, where a scenario names no time.
const DOWN_DEFAULT: Span = Span::secs(2);

impl World<'_> {
    /// Carries out step `index` now.
    pub(super) fn carry_out(&mut self, index: usize, referee: &mut Referee<'_>) {
        let scenario = self.scenario;
        let Some(step) = scenario.step.get(index) else {
            return;
        };
        let Some(action) = step.action() else { return };
        let injects = scenario.injected() == Some(index);
        if injects {
            referee.injected(self.wall(), self.counted());
        }
        let note = step
            .note
            .as_deref()
            .map(|n| format!(": {n}"))
            .unwrap_or_default();
        referee.note_moment(
            self.wall(),
            format!("step {} ({}){note}", index + 1, action.word()),
        );
        let result = match action {
            Action::Apply(apply) => self.apply(apply, injects, referee),
            Action::Rollback(rollback) => self.roll_back(
                rollback.to.as_deref(),
                rollback.reason.as_deref(),
                rollback.force,
            ),
            Action::Confirm(_) => self.confirm(),
            Action::Deploy(deploy) => self.deploy(deploy),
            Action::DeploySteps(deploy) => self.deploy_in_steps(deploy, referee),
            Action::BackendFault(fault) => self.fault(fault),
            Action::DependencyFault(fault) => self.depend(
                &fault.pool,
                Dependency {
                    slow_factor: fault.slow_factor,
                    extra_latency: fault.extra_latency.0,
                    error_rate: fault.error_rate.0,
                },
                fault.lasts,
            ),
            Action::NetworkFault(fault) => self.disconnect(fault),
            Action::Traffic(change) => self.change_traffic(change),
            Action::EditOutside(edit) => {
                let text = match &edit.text {
                    Some(text) => Ok(text.clone()),
                    None => edited(&self.plane, &edit.set, &edit.unset).map_err(|e| e.to_string()),
                };
                text.and_then(|text| self.push_past_the_guard(&text))
            }
            Action::StalePush(push) => self.push_old(&push.revision),
            Action::JournalFault(fault) => {
                self.journal.fail_with(Some(AppendError::DiskFull));
                self.later(fault.lasts, Undo::Journal);
                Ok(())
            }
            Action::Restart(restart) => self.restart(restart.down_for.unwrap_or(DOWN_DEFAULT).0),
            Action::Operator(command) => self.command(command),
            Action::Drain(drain) => self.drain(drain, referee),
            Action::Undrain(undrain) => self.undrain(undrain),
            Action::Discovery(change) => self.discover(change),
            Action::Certificate(_) => {
                Err(format!("`{}` is not built in this version", action.word()))
            }
        };
        if let Err(why) = result {
            referee.fail(format!("step {} ({}): {why}", index + 1, action.word()));
        }
    }

    fn apply(
        &mut self,
        apply: &Apply,
        injects: bool,
        referee: &mut Referee<'_>,
    ) -> Result<(), String> {
        let text = match &apply.text {
            Some(text) => text.clone(),
            None => edited(&self.config, &apply.set, &apply.unset).map_err(|e| e.to_string())?,
        };
        let (facts, now) = (self.facts(), self.wall());
        let judged = evenkeel_control::judge::judge(&text, None, Some(&self.config), &facts, now);
        let (Some(config), Some(hash)) = (judged.config.clone(), judged.hash) else {
            return refused(&apply.refused_by, &judged.findings);
        };
        let request = self.request();
        let proposal = Proposal {
            request,
            config,
            text: Arc::clone(&judged.text),
            hash,
            findings: judged.findings,
            blocking: judged.blocking,
            judged_against: self.revision,
            base: None,
            author: AUTHOR.to_owned(),
            reason: apply.reason.clone().unwrap_or_else(|| AUTHOR.to_owned()),
            force: apply.force,
            confirm_within: apply.confirm_within.map(|s| s.0),
            keep: apply.keep.map(|s| s.0),
        };
        self.send(Event::Propose(Box::new(proposal)));
        match self.replies.remove(&request) {
            Some(Reply::Applied { revision, .. }) => {
                referee.applied(revision, self.wall(), injects);
                let_in(&apply.refused_by, &revision.to_string())
            }
            Some(Reply::Refused(refusal)) => {
                referee.note_moment(self.wall(), said(&refusal.findings));
                refused(&apply.refused_by, &refusal.findings)
            }
            Some(other) => Err(format!("{other:?}")),
            None => Err("no answer came".to_owned()),
        }
    }

    fn roll_back(
        &mut self,
        to: Option<&str>,
        reason: Option<&str>,
        force: bool,
    ) -> Result<(), String> {
        let to = match to {
            None => None,
            Some(id) => {
                let record = self.record(id)?;
                Some(restore(&record).ok_or_else(|| format!("{id} is not valid"))?)
            }
        };
        let request = self.request();
        let command = RollbackCommand {
            request,
            to,
            author: AUTHOR.to_owned(),
            reason: reason.unwrap_or(AUTHOR).to_owned(),
            force,
        };
        self.send(Event::Rollback(Box::new(command)));
        self.done(request)
    }

    fn confirm(&mut self) -> Result<(), String> {
        let request = self.request();
        self.send(Event::Confirm {
            request,
            revision: None,
            author: AUTHOR.to_owned(),
        });
        self.done(request)
    }

    fn command(&mut self, command: &Operator) -> Result<(), String> {
        let open = self.view().and_then(|view| view.incident);
        let incident: IncidentId = open.ok_or("no incident is open")?;
        let request = self.request();
        self.send(Event::Incident(IncidentCommand {
            request,
            incident,
            author: AUTHOR.to_owned(),
            verb: verb(command),
        }));
        self.done(request)
    }

    /// The answer to a command that must be carried out.
    pub(super) fn done(&mut self, request: evenkeel_guard::RequestId) -> Result<(), String> {
        let reply = self.replies.remove(&request);
        carried_out(reply.ok_or("no answer came")?)
    }

    fn deploy(&mut self, deploy: &Deploy) -> Result<(), String> {
        let pool = name(&deploy.pool)?;
        let config = Arc::clone(&self.config);
        let all = config.pool(&deploy.pool).ok_or("no such pool")?;
        let reached: Vec<Name> = if deploy.backends.is_empty() {
            all.backends.iter().map(|b| b.name.clone()).collect()
        } else {
            deploy
                .backends
                .iter()
                .map(|b| name(b))
                .collect::<Result<_, _>>()?
        };
        let release = behaviour::release(deploy.slow_factor, deploy.error_rate);
        self.release(&pool, reached, &release)?;
        if !deploy.record {
            return Ok(());
        }
        let request = self.request();
        self.send(Event::DeploymentSeen(Box::new(DeploymentReport {
            request,
            pool,
            version: name(&deploy.version)?,
            backends: deploy
                .backends
                .iter()
                .map(|b| name(b))
                .collect::<Result<_, _>>()?,
            at: None,
            author: AUTHOR.to_owned(),
            note: deploy.note.clone().unwrap_or_default(),
            told: Told::Finished,
            message: None,
        })));
        self.done(request)
    }

    fn fault(&mut self, fault: &BackendFault) -> Result<(), String> {
        let keys = keys(&fault.backends)?;
        let id = self.undo_id();
        for key in &keys {
            self.faults.push((id, key.clone(), behaviour::fault(fault)));
            self.set_fault(key)?;
            if let Some(down) = fault.restarts {
                self.engine
                    .restart_backend(key, down.0)
                    .map_err(|e| e.to_string())?;
            }
        }
        self.later(fault.lasts, Undo::Fault(id, keys));
        Ok(())
    }

    /// A backend is gone: it refuses connections from now on.
    pub(super) fn refuse_for_good(&mut self, key: &BackendKey) -> Result<(), String> {
        let gone = Fault {
            refuses: true,
            ..Fault::default()
        };
        let id = self.undo_id();
        self.faults.push((id, key.clone(), gone));
        self.set_fault(key)
    }

    /// Everything that is wrong with a backend now: its version and the faults that act.
    pub(super) fn set_fault(&mut self, key: &BackendKey) -> Result<(), String> {
        let release = self.releases.get(key).cloned().unwrap_or_default();
        let faults = self.faults.iter().filter(|(_, k, _)| k == key);
        let all = faults.fold(release, |sum: Fault, (_, _, fault)| fault.and(&sum));
        // A member that is not listed yet is what it is when it comes.
        if self.awaits(key) {
            return Ok(());
        }
        self.engine.set_fault(key, all).map_err(|e| e.to_string())
    }

    /// A member that came is as broken as it was before anybody knew it.
    pub(super) fn faults_of(&mut self, pool: &Name) -> Result<(), String> {
        let keys: Vec<BackendKey> = self.faults.iter().map(|(_, key, _)| key.clone()).collect();
        let mut mine = keys.iter().filter(|(of, _)| of == pool);
        mine.try_for_each(|key| self.set_fault(key))
    }

    fn depend(
        &mut self,
        pool: &str,
        dependency: Dependency,
        lasts: Option<Span>,
    ) -> Result<(), String> {
        let pool = name(pool)?;
        self.engine
            .set_dependency(&pool, dependency)
            .map_err(|e| e.to_string())?;
        self.later(lasts, Undo::Dependency(pool));
        Ok(())
    }

    fn disconnect(&mut self, fault: &NetworkFault) -> Result<(), String> {
        let keys = match &fault.zone {
            None => keys(&fault.backends)?,
            Some(zone) => {
                let pools = self.plane.pools.iter();
                let found = pools.flat_map(|pool| {
                    let here = pool
                        .backends
                        .iter()
                        .filter(|b| b.zone.as_ref().is_some_and(|z| z.as_str() == zone));
                    here.map(|b| (pool.name.clone(), b.name.clone()))
                });
                found.collect()
            }
        };
        let network = Network {
            latency: fault.latency.0,
            loss: fault.loss.0,
            refuse: fault.refuses,
        };
        for key in &keys {
            self.engine
                .set_network(key, network)
                .map_err(|e| e.to_string())?;
        }
        self.later(fault.lasts, Undo::Network(keys));
        Ok(())
    }

    fn change_traffic(&mut self, change: &TrafficStep) -> Result<(), String> {
        let stream = name(change.stream.as_deref().unwrap_or(USERS))?;
        let dial = self.dials.get(&stream).copied();
        let dial = dial.ok_or("no such stream")?;
        let turn = Turn::of(change, dial);
        if let Some(to) = turn.rate {
            self.ramp(&stream, self.now(), dial.rate, to, change.over.0);
            self.advance(self.now());
        }
        self.turn(&stream, turn)?;
        self.later(change.lasts, Undo::Traffic(stream, turn.back(dial)));
        Ok(())
    }

    /// Turns everything of a stream but its rate.
    fn turn(&mut self, stream: &Name, turn: Turn) -> Result<(), String> {
        let engine = &mut self.engine;
        if let Some(skew) = turn.skew {
            engine.set_skew(stream, skew).map_err(|e| e.to_string())?;
        }
        if let Some(skew) = turn.key_skew {
            let set = engine.set_key_skew(stream, skew);
            set.map_err(|e| e.to_string())?;
        }
        if let Some(attempts) = turn.retries {
            let traffic = self.traffic(stream).ok_or("no such stream")?;
            let retry = behaviour::retry(traffic, attempts);
            self.engine
                .set_client_retry(stream, retry)
                .map_err(|e| e.to_string())?;
        }
        if let Some(dial) = self.dials.get_mut(stream) {
            dial.take(turn);
        }
        Ok(())
    }

    fn push_old(&mut self, id: &str) -> Result<(), String> {
        let record = self.record(id)?;
        self.plane_revision = record.id;
        self.push_past_the_guard(&record.text)
    }

    fn push_past_the_guard(&mut self, text: &str) -> Result<(), String> {
        let parsed = parse(text, None);
        let first = parsed
            .findings
            .first()
            .map(|f| f.message.clone())
            .unwrap_or_default();
        let mut config = parsed.config.ok_or(first)?;
        config.take_members(&self.plane);
        let config = Arc::new(config);
        for pool in &config.pools {
            for index in 0..pool.backends.len() {
                self.introduce(pool, index);
            }
        }
        self.plane = config;
        self.refresh(true);
        self.schedule_probes();
        Ok(())
    }

    fn record(&self, id: &str) -> Result<RevisionRecord, String> {
        let id: RevisionId = id
            .parse()
            .map_err(|e: evenkeel_model::ids::IdError| e.to_string())?;
        let found = self.journal.revision(id).map_err(|e| e.to_string())?;
        found.ok_or_else(|| format!("there is no revision {id}"))
    }

    fn restart(&mut self, down_for: Duration) -> Result<(), String> {
        let state = self.journal.state().map_err(|e| e.to_string())?;
        let revisions: Vec<RevisionRecord> = state.revisions.values().cloned().collect();
        let id = evenkeel_guard::boot::select(&revisions).ok_or("no revision can boot")?;
        let running = state.revisions.get(&id).and_then(restore);
        let mut running = running.ok_or("no revision can boot")?;
        Arc::make_mut(&mut running.config).take_members(&self.plane);
        self.ward.restart(id);
        for drain in state.drains.values() {
            let left = drain.until.since(self.wall());
            if !left.is_zero() {
                let (whom, until) = ((&drain.pool, &drain.backend), self.now().plus(left));
                self.ward.drain(whom, until, &drain.reason);
            }
        }
        self.config = Arc::clone(&running.config);
        self.plane = Arc::clone(&running.config);
        self.revision = id;
        self.plane_revision = id;
        self.is_down = true;
        let (snapshot, _) = self.ward.snapshot(id, &running.config, true, self.at());
        self.engine.restart_balancer(down_for, &snapshot);
        self.schedule(self.now().plus(down_for), Due::Back);
        Ok(())
    }

    /// The balancer is back: a new guard boots from the journal.
    pub(super) fn back(&mut self) {
        self.is_down = false;
        self.guard = Guard::new(Settings { drill: true });
        let plane = Arc::clone(&self.plane);
        let (snapshot, epochs) = self.ward.snapshot(self.revision, &plane, true, self.at());
        self.engine.swap(&snapshot);
        let record = self.record(&self.revision.to_string());
        if let Some(mut running) = record.ok().as_ref().and_then(restore) {
            Arc::make_mut(&mut running.config).take_members(&plane);
            self.reboot(running, epochs);
        }
    }

    fn reboot(&mut self, running: Restorable, epochs: Vec<EpochFact>) {
        if let Err(why) = self.boot(running, epochs) {
            tracing::error!(why, "the simulated balancer did not boot");
        }
    }

    fn undo_id(&mut self) -> u64 {
        self.request().0
    }

    fn later(&mut self, lasts: Option<Span>, undo: Undo) {
        if let Some(lasts) = lasts {
            let id = self.undo_id();
            self.undo.insert(id, undo);
            self.schedule(self.now().plus(lasts.0), Due::Undo(id));
        }
    }

    pub(super) fn undo_now(&mut self, undo: Undo) {
        let result = match undo {
            Undo::Fault(id, keys) => {
                self.faults.retain(|(other, _, _)| *other != id);
                keys.iter().try_for_each(|key| self.set_fault(key))
            }
            Undo::Dependency(pool) => self
                .engine
                .set_dependency(&pool, Dependency::default())
                .map_err(|e| e.to_string()),
            Undo::Network(keys) => keys.iter().try_for_each(|key| {
                let healed = self.engine.set_network(key, Network::default());
                healed.map_err(|e| e.to_string())
            }),
            Undo::Traffic(stream, turn) => {
                if let Some(rate) = turn.rate {
                    self.schedule(self.now(), Due::Rate(stream.clone(), (rate * 1e3) as u64));
                }
                self.turn(&stream, turn)
            }
            Undo::Journal => {
                self.journal.fail_with(None);
                Ok(())
            }
        };
        if let Err(why) = result {
            tracing::warn!(why, "a fault could not be undone");
        }
    }
}

pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|e| e.to_string())
}

pub(super) fn keys(backends: &[String]) -> Result<Vec<BackendKey>, String> {
    let split = |text: &String| {
        let (pool, backend) = text
            .split_once('/')
            .ok_or_else(|| format!("`{text}` is not POOL/NAME"))?;
        Ok((name(pool)?, name(backend)?))
    };
    backends.iter().map(split).collect()
}
