//! Drains: a person takes a backend out of traffic for a while.
//!
//! A drain is runtime state, no revision: it is kept over an apply and a rollback, and the journal brings it back after a
//! restart. It ends by itself at its deadline, so that none is forgotten. Like a change it is judged first: enough
//! backends have to be left (nothing overrides that), and what is left has to carry the peak (`--force` overrides that).
//!
//! Limits: [`crate::DRAINS_MAX`] drains at once, each for at most [`crate::DRAIN_MAX`].

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_incident::lifecycle::GUARD;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::Name;
use evenkeel_model::record::{DrainRecord, Entry, EventSource};

use crate::action::{Action, Outcome};
use crate::event::{DrainCommand, PoolVitals, RequestId, UndrainCommand};
use crate::state::{Gate, Inner};
use crate::view::DrainView;
use crate::{DRAIN_MAX, DRAINS_MAX, refuse};

/// Pool and backend.
type Key = (Name, Name);

/// A drain under way.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Active {
    record: DrainRecord,
    until: Mono,
    /// Requests in flight, sampled since the drain took effect.
    in_flight: Option<u32>,
}

/// A person asked for a drain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Asked {
    /// Who waits for the answer.
    pub(crate) request: RequestId,
    /// `--force`.
    pub(crate) force: bool,
}

/// All drains.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Drains {
    active: BTreeMap<Key, Active>,
    /// The journal has not answered; they count as out for whatever is judged next.
    coming: Vec<Key>,
    /// Grows whenever a drain comes or goes.
    changes: u64,
}

impl Drains {
    /// Those of the journal at a start; the ones whose time is over come back.
    pub(crate) fn new(
        records: Vec<DrainRecord>,
        now: Mono,
        wall: Wall,
    ) -> (Self, Vec<DrainRecord>) {
        let mut drains = Self::default();
        let mut over = Vec::new();
        for record in records {
            if record.until <= wall {
                over.push(record);
                continue;
            }
            let active = Active {
                until: now.plus(record.until.since(wall).min(DRAIN_MAX)),
                in_flight: None,
                record,
            };
            drains.active.insert(key(&active.record), active);
        }
        (drains, over)
    }

    /// Whether the backend is drained, or about to be.
    pub(crate) fn holds(&self, pool: &Name, backend: &Name) -> bool {
        let is = |(p, b): &Key| p == pool && b == backend;
        self.active.keys().any(is) || self.coming.iter().any(is)
    }

    /// Every backend that is drained or about to be.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        let coming = self.coming.iter();
        let coming = coming.filter(|key| !self.active.contains_key(*key));
        self.active.keys().chain(coming)
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn len(&self) -> usize {
        self.keys().count()
    }

    /// By pool and backend.
    pub(crate) fn view(&self) -> Vec<DrainView> {
        let view = |active: &Active| DrainView {
            pool: active.record.pool.clone(),
            backend: active.record.backend.clone(),
            since: active.record.at,
            until: active.record.until,
            author: active.record.author.clone(),
            reason: active.record.reason.clone(),
            in_flight: active.in_flight,
        };
        self.active.values().map(view).collect()
    }
}

fn key(record: &DrainRecord) -> Key {
    (record.pool.clone(), record.backend.clone())
}

impl Inner {
    /// `drain`.
    pub(crate) fn drain_command(&mut self, command: DrainCommand) {
        if let Err(reasons) = self.admits_drain(&command) {
            let (pool, backend) = (&command.pool, &command.backend);
            let said = reasons.iter().map(|f| format!("{}: {}", f.id, f.message));
            let text = format!("{pool}/{backend}: {}", said.collect::<Vec<_>>().join("; "));
            let line = self.drain_line(
                EventSource::Controller,
                "drain.refused",
                &command.author,
                (pool, backend),
                text,
            );
            self.record(vec![line]);
            let mut reasons = reasons.into_iter();
            if let Some(first) = reasons.next() {
                let outcome = refuse::refused(first, reasons.collect(), None);
                self.reply(command.request, outcome);
            }
            return;
        }
        let known = self
            .drains
            .active
            .get(&(command.pool.clone(), command.backend.clone()));
        let lasts = command.lasts.min(DRAIN_MAX);
        let record = DrainRecord {
            at: known.map_or(self.wall, |active| active.record.at),
            until: self.wall.plus(lasts),
            pool: command.pool,
            backend: command.backend,
            author: command.author,
            reason: command.reason,
        };
        let asked = Asked {
            request: command.request,
            force: command.force,
        };
        self.begin_drain(record, lasts, Some(asked));
    }

    /// Writes a drain that is let in; the journal's yes puts it in place. `asked`: by a person, else the guard ejects.
    pub(crate) fn begin_drain(
        &mut self,
        record: DrainRecord,
        lasts: Duration,
        asked: Option<Asked>,
    ) {
        let (until, key) = (self.now.plus(lasts), key(&record));
        let (source, forced) = match &asked {
            Some(asked) if asked.force => (EventSource::Human, ", forced"),
            Some(_) => (EventSource::Human, ""),
            None => (EventSource::Controller, ""),
        };
        let text = format!(
            "{}/{} is drained for {}{forced}: {}",
            record.pool,
            record.backend,
            evenkeel_model::units::format_duration(lasts),
            record.reason
        );
        let line = self.drain_line(
            source,
            "drain.begun",
            &record.author,
            (&record.pool, &record.backend),
            text,
        );
        self.drains.coming.push(key);
        self.drains.changes += 1;
        let entries = vec![Entry::Drain(record.clone()), line];
        let gate = Gate::Drain {
            request: asked.map(|asked| asked.request),
            record,
            until,
        };
        self.ledger.gate(entries, gate, &mut self.out);
    }

    /// Every rule that lets a drain in or keeps it out; the first finding says why not.
    fn admits_drain(&self, command: &DrainCommand) -> Result<(), Vec<Finding>> {
        let plain = |finding: Box<Finding>| vec![*finding];
        if !self.ledger.is_ok() {
            return Err(plain(refuse::journal("it failed before")));
        }
        let running = self.running.record.id;
        if command.judged_against != running {
            return Err(plain(refuse::base_moved(command.judged_against, running)));
        }
        if command.judged_drains != self.drains.changes {
            return Err(plain(refuse::drains_moved()));
        }
        if command.force && command.reason.trim().is_empty() {
            return Err(plain(refuse::force_without_reason()));
        }
        let carries = self.admits_fewer(&command.pool, &command.backend);
        let carries = carries.map_err(plain)?;
        if carries && !command.force && !command.blocking.is_empty() {
            return Err(command.blocking.clone());
        }
        Ok(())
    }

    /// What no force overrides: who is there, how many may be drained, and how many have to be left. Whether the backend
    /// carries anything that the others would have to take over.
    pub(crate) fn admits_fewer(&self, pool: &Name, backend: &Name) -> Result<bool, Box<Finding>> {
        let declared = self.running.config.pool(pool.as_str());
        let declared = declared.map(|pool| self.effective(pool));
        let found = declared.as_ref();
        let found = found.and_then(|p| Some((p, p.backend(backend.as_str())?.1)));
        let Some((declared, member)) = found else {
            return Err(refuse::no_such_backend(pool, backend));
        };
        if self.drains.holds(pool, backend) {
            return Ok(false); // only its end moves
        }
        if self.drains.len() >= DRAINS_MAX {
            return Err(refuse::too_many_drains());
        }
        let watch = self.pools.get(pool);
        let lives = |name: &Name| {
            !self.drains.holds(pool, name) && watch.is_none_or(|watch| watch.could_help(name))
        };
        if member.weight == 0 || !lives(backend) {
            return Ok(false);
        }
        let others = declared.backends.iter();
        let others = others.filter(|b| b.weight > 0 && b.name != *backend && lives(&b.name));
        let left = others.count();
        if left == 0 || left < declared.min_healthy as usize {
            return Err(refuse::too_few_left(
                pool,
                backend,
                left,
                declared.min_healthy,
            ));
        }
        Ok(true)
    }

    /// The drain is on disk: the data plane is told.
    pub(crate) fn drain_written(&mut self, record: DrainRecord, until: Mono) -> Outcome {
        let key = key(&record);
        self.drain_not_written(&key);
        self.out.push(Action::Drain {
            pool: record.pool.clone(),
            backend: record.backend.clone(),
            until,
            reason: record.reason.clone(),
        });
        let active = Active {
            until,
            in_flight: None,
            record: record.clone(),
        };
        self.drains.active.insert(key, active);
        self.outlook.stale = true;
        Outcome::Drained(Box::new(record))
    }

    /// The drain does not come about.
    pub(crate) fn drain_not_written(&mut self, key: &Key) {
        if let Some(place) = self.drains.coming.iter().position(|k| k == key) {
            self.drains.coming.remove(place);
        }
        self.drains.changes += 1;
    }

    /// `undrain`.
    pub(crate) fn undrain_command(&mut self, command: UndrainCommand) {
        let UndrainCommand {
            request,
            pool,
            backend,
            author,
            reason,
        } = command;
        if !self.drains.holds(&pool, &backend) {
            let outcome = Outcome::Undrained {
                pool,
                backend,
                was_drained: false,
            };
            self.reply(request, outcome);
            return;
        }
        if !self.ledger.is_ok() {
            let reason =
                refuse::journal("it failed before; a drain ends by itself at its deadline");
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        let why = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        let text = format!("the drain of {pool}/{backend} is ended by {author}{why}");
        let entries = self.drain_ends(EventSource::Human, &author, (&pool, &backend), text);
        let gate = Gate::Undrain {
            request,
            pool,
            backend,
        };
        self.ledger.gate(entries, gate, &mut self.out);
    }

    /// The end of a drain is on disk.
    pub(crate) fn undrain_written(&mut self, pool: Name, backend: Name) -> Outcome {
        self.forget_drain(&pool, &backend);
        Outcome::Undrained {
            pool,
            backend,
            was_drained: true,
        }
    }

    fn forget_drain(&mut self, pool: &Name, backend: &Name) {
        let key = (pool.clone(), backend.clone());
        if self.drains.active.remove(&key).is_some() {
            self.drains.changes += 1;
            self.outlook.stale = true;
            let (pool, backend) = key;
            self.out.push(Action::Undrain { pool, backend });
        }
    }

    /// Once a tick: drains whose deadline has come.
    pub(crate) fn check_drains(&mut self) {
        let active = self.drains.active.values();
        let over = active.filter(|active| active.until <= self.now);
        let over: Vec<DrainRecord> = over.map(|active| active.record.clone()).collect();
        for record in over {
            let (pool, backend) = (&record.pool, &record.backend);
            let text = format!("the drain of {pool}/{backend} reached its deadline");
            self.drain_over(&record, text);
            self.forget_drain(pool, backend);
        }
    }

    /// Drains that ended while nothing ran.
    pub(crate) fn drains_over_at_start(&mut self, over: Vec<DrainRecord>) {
        for record in over {
            let (pool, backend) = (&record.pool, &record.backend);
            let text = format!("the drain of {pool}/{backend} ended while evenkeel was down");
            self.drain_over(&record, text);
        }
    }

    fn drain_over(&mut self, record: &DrainRecord, text: String) {
        let whom = (&record.pool, &record.backend);
        let entries = self.drain_ends(EventSource::Controller, GUARD, whom, text);
        self.record(entries);
    }

    fn drain_ends(
        &self,
        source: EventSource,
        actor: &str,
        (pool, backend): (&Name, &Name),
        text: String,
    ) -> Vec<Entry> {
        let end = Entry::DrainEnd {
            pool: pool.clone(),
            backend: backend.clone(),
            at: self.wall,
        };
        vec![
            end,
            self.drain_line(source, "drain.ended", actor, (pool, backend), text),
        ]
    }

    fn drain_line(
        &self,
        source: EventSource,
        kind: &str,
        actor: &str,
        (pool, backend): (&Name, &Name),
        text: String,
    ) -> Entry {
        let mut line = self.event(source, kind, actor, text);
        line.subject = format!("backend:{pool}/{backend}");
        line.incident = self.desk.open_of(pool).map(|case| case.record.id);
        Entry::Event(line)
    }

    /// Takes in what drained backends hold. A sample counts only once the pool runs with the drain.
    pub(crate) fn drained_hold(&mut self, told: &PoolVitals) {
        let Some(watch) = self.pools.get(&told.pool) else {
            return;
        };
        let Some(epoch) = watch.epoch() else { return };
        if epoch.fact.members.len() != told.backends.len() {
            return;
        }
        for (member, vitals) in epoch.fact.members.iter().zip(&told.backends) {
            let key = (told.pool.clone(), member.name.clone());
            if let Some(active) = self.drains.active.get_mut(&key).filter(|_| member.drained) {
                active.in_flight = Some(vitals.in_flight);
            }
        }
    }

    /// The wall clock was stepped: the time left stays what it was, and the record says the new moment.
    pub(crate) fn drains_stepped(&mut self) -> Vec<Entry> {
        let (now, wall) = (self.now, self.wall);
        let entry = |active: &mut Active| {
            let left: Duration = active.until.since(now);
            active.record.until = wall.plus(left);
            Entry::Drain(active.record.clone())
        };
        self.drains.active.values_mut().map(entry).collect()
    }
}
