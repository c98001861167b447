//! What people and the world outside say about incidents: commands, receipts of notices, health flips.
//!
//! A command moves the record at once and is answered when it is journalled; a journal that is down delays the
//! record, not the answer: taking an incident at night must not wait for a disk.

use evenkeel_incident::escalation::{Delivery, delivery_event, escalate};
use evenkeel_incident::lifecycle::{self, is_open};
use evenkeel_incident::notice::{NoticeEvent, of_incident, page};
use evenkeel_model::ids::{IncidentId, Name};
use evenkeel_model::record::{Entry, EventSource, IncidentRecord, IncidentSeverity, TimelineEvent};

use crate::action::Outcome;
use crate::event::{HealthFact, IncidentCommand, IncidentVerb, RequestId};
use crate::state::{Gate, Inner};

impl Inner {
    /// A person does something about an incident.
    pub(crate) fn incident_command(&mut self, command: IncidentCommand) {
        let IncidentCommand {
            request,
            incident,
            author,
            verb,
        } = command;
        let wall = self.wall;
        if let IncidentVerb::Open { kind, title } = verb {
            let level = IncidentSeverity::Sev3;
            let id = self.open_without_pool(kind, level, title, &format!("opened by {author}"));
            self.check_pages();
            if let Some(record) = self.desk.record(id).cloned() {
                self.command_done(request, &record, Vec::new());
            }
            return;
        }
        let Some(case) = self.desk.case_mut(incident) else {
            let why = format!("there is no incident {incident} in memory");
            self.reply(request, Outcome::Failed { why });
            return;
        };
        let mut news = None;
        let record = &mut case.record;
        let moved = match &verb {
            IncidentVerb::Open { .. } => Ok(Vec::new()),
            IncidentVerb::Ack => {
                news = Some(NoticeEvent::IncidentAcknowledged);
                lifecycle::acknowledge(record, &author, wall)
            }
            IncidentVerb::Note(text) => lifecycle::note(record, &author, text, wall),
            IncidentVerb::Escalate => {
                self.escalate_command(request, incident, &author);
                return;
            }
            IncidentVerb::Resolve(why) => {
                news = Some(NoticeEvent::IncidentResolved);
                lifecycle::resolve(record, &author, why, wall)
            }
            IncidentVerb::FalseAlarm(why) => {
                news = Some(NoticeEvent::IncidentResolved);
                lifecycle::false_alarm(record, &author, why, wall)
            }
            IncidentVerb::Close => lifecycle::close(record, &author, wall),
        };
        match moved {
            Ok(lines) => {
                let record = case.record.clone();
                if let Some(event) = news {
                    self.notify_all(of_incident(event, &record, wall));
                }
                self.retest_after(&record);
                self.command_done(request, &record, lines);
            }
            Err(error) => {
                let why = error.to_string();
                self.reply(request, Outcome::Failed { why });
            }
        }
    }

    /// A person ended it: the tests start afresh, or the same alarm opens it again at once.
    fn retest_after(&mut self, record: &IncidentRecord) {
        if is_open(record.status) {
            return;
        }
        let (now, kept) = (self.now, self.keep_until.is_some());
        if let Some(watch) = record.pool.as_ref().and_then(|p| self.pools.get_mut(p)) {
            watch.retest(kept, now);
        }
    }

    fn escalate_command(&mut self, request: RequestId, incident: IncidentId, author: &str) {
        let wall = self.wall;
        let Some(case) = self.desk.case_mut(incident) else {
            return;
        };
        match escalate(&mut case.record, author, "asked for", wall) {
            Ok((next, lines)) => {
                let notice = page(&case.record, &next, wall);
                let record = case.record.clone();
                self.notify(next.receivers, notice);
                self.command_done(request, &record, lines);
            }
            Err(error) => {
                let why = error.to_string();
                self.reply(request, Outcome::Failed { why });
            }
        }
    }

    fn command_done(
        &mut self,
        request: RequestId,
        record: &IncidentRecord,
        lines: Vec<TimelineEvent>,
    ) {
        let outcome = Outcome::Incident {
            incident: record.id,
            status: record.status,
            taken_by: record.acknowledged_by.clone(),
        };
        let mut entries = vec![Entry::Incident(Box::new(record.clone()))];
        entries.extend(lines.into_iter().map(Entry::Event));
        let gate = Gate::Reply(request, outcome);
        self.ledger.gate(entries, gate, &mut self.out);
    }

    /// What became of a notice.
    pub(crate) fn notice_sent(
        &mut self,
        incident: Option<IncidentId>,
        level: Option<usize>,
        receiver: &Name,
        ok: bool,
        detail: String,
    ) {
        let wall = self.wall;
        let Some(case) = incident.and_then(|id| self.desk.case_mut(id)) else {
            return;
        };
        let delivery = if ok {
            Delivery::Sent
        } else {
            Delivery::Failed(detail)
        };
        if let Some(level) = level {
            let line = delivery_event(&case.record, level, receiver, &delivery, wall);
            case.tell(Ok(vec![line]));
            self.save_incidents();
        }
    }

    /// A health flip belongs on the timeline of the pool's incident.
    pub(crate) fn health_flipped(&mut self, fact: &HealthFact) {
        let state = if fact.up { "up" } else { "down" };
        let text = format!(
            "{} of pool `{}` is {state}: {}",
            fact.backend, fact.pool, fact.detail
        );
        let mut line = self.event(EventSource::Proxy, "health.flipped", "health check", text);
        line.subject = format!("backend:{}/{}", fact.pool, fact.backend);
        line.incident = self.desk.open_of(&fact.pool).map(|c| c.record.id);
        self.record(vec![Entry::Event(line)]);
    }
}
