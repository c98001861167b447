//! Deployments that Evenkeel was told of: one record each, from its begin to its end, for the diagnosis to name or clear.
//!
//! What is told twice is recorded once: a message has a name, and a sender that got no answer sends it again. An end
//! belongs to the begin of the same author, pool and version, on the same backends or where one of them names none; an
//! end without a begin is a deployment that happened at that moment. Moments are kept on this process's clock, so
//! that a step of the wall clock moves no deployment.
//!
//! Limits: the names of messages are known as long as their deployment is among the last [`DEPLOYMENTS_KEPT`].

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::{DeploymentId, Name};
use evenkeel_model::record::{DeploymentRecord, Entry, EventSource, Told};

use crate::DEPLOYMENTS_KEPT;
use crate::action::Outcome;
use crate::event::DeploymentReport;
use crate::state::{Gate, Inner};

/// A deployment whose end is not told is taken to be over after this.
pub(crate) const UNDER_WAY_MAX: Duration = Duration::from_hours(1);

/// A deployment, and when it happened on this process's clock.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Deployed {
    pub(crate) record: DeploymentRecord,
    pub(crate) at: Mono,
    pub(crate) ended_at: Option<Mono>,
}

impl Deployed {
    fn new(record: DeploymentRecord, now: Mono, wall: Wall) -> Self {
        let moment = |at: Wall| now.minus(wall.since(at));
        Self {
            at: moment(record.at),
            ended_at: record.ended_at.map(moment),
            record,
        }
    }

    /// The last moment, at most `now`, at which a backend may have got it.
    pub(crate) fn until(&self, now: Mono) -> Mono {
        match self.ended_at {
            Some(ended) => ended,
            None if self.record.is_under_way() => now.min(self.at.plus(UNDER_WAY_MAX)),
            None => self.at,
        }
    }

    /// Whether `report` tells the end of this one.
    fn ends_with(&self, report: &DeploymentReport) -> bool {
        let of = &self.record;
        of.is_under_way()
            && report.told != Told::Started
            && (&of.author, &of.pool, &of.version)
                == (&report.author, &report.pool, &report.version)
            && (of.backends.is_empty()
                || report.backends.is_empty()
                || of.backends == report.backends)
    }
}

/// The recent ones, oldest first.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Deployments(VecDeque<Deployed>);

impl Deployments {
    pub(crate) fn new(records: Vec<DeploymentRecord>, now: Mono, wall: Wall) -> Self {
        let mut all = Self(VecDeque::new());
        for record in records {
            all.push(Deployed::new(record, now, wall));
        }
        all
    }

    fn push(&mut self, deployed: Deployed) {
        self.0.push_back(deployed);
        while self.0.len() > DEPLOYMENTS_KEPT {
            self.0.pop_front();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn records(&self) -> Vec<DeploymentRecord> {
        self.0.iter().map(|d| d.record.clone()).collect()
    }

    pub(crate) fn of<'a>(
        &'a self,
        pool: &'a Name,
    ) -> impl DoubleEndedIterator<Item = &'a Deployed> {
        self.0.iter().filter(move |d| d.record.pool == *pool)
    }
}

impl Inner {
    pub(crate) fn remember_deployment(&mut self, record: DeploymentRecord) {
        let deployed = Deployed::new(record, self.now, self.wall);
        self.deployments.push(deployed);
    }

    /// Records what was told, once, and answers with the deployment it is about.
    pub(crate) fn deployed(&mut self, report: DeploymentReport) {
        if let Some(known) = self.told_before(&report) {
            let outcome = Outcome::Recorded {
                deployment: known,
                repeated: true,
            };
            return self.reply(report.request, outcome);
        }
        let at = report.at.unwrap_or(self.wall).min(self.wall);
        let line = self.deployment_line(&report);
        let mut records = self.ended(&report, at);
        if records.is_empty() {
            let id = DeploymentId(self.next_deployment);
            self.next_deployment += 1;
            let record = DeploymentRecord {
                id,
                pool: report.pool,
                version: report.version,
                backends: report.backends,
                at,
                ended_at: None,
                told: Some(report.told),
                revision: Some(self.running.record.id),
                recorded_at: self.wall,
                author: report.author,
                note: report.note,
                messages: report.message.into_iter().collect(),
            };
            self.remember_deployment(record.clone());
            records.push(record);
        }
        let newest = records.last().map(|record| record.id);
        let mut entries: Vec<Entry> = records.into_iter().map(Entry::Deployment).collect();
        entries.push(line);
        if let Some(deployment) = newest {
            let outcome = Outcome::Recorded {
                deployment,
                repeated: false,
            };
            let gate = Gate::Reply(report.request, outcome);
            self.ledger.gate(entries, gate, &mut self.out);
        }
    }

    /// The deployment that this very message told of before.
    fn told_before(&self, report: &DeploymentReport) -> Option<DeploymentId> {
        let message = report.message.as_ref()?;
        let is_same =
            |d: &&Deployed| d.record.author == report.author && d.record.messages.contains(message);
        let known = self.deployments.0.iter().rev().find(is_same)?;
        Some(known.record.id)
    }

    /// The deployments that this ends, as they now stand.
    fn ended(&mut self, report: &DeploymentReport, at: Wall) -> Vec<DeploymentRecord> {
        let moment = self.now.minus(self.wall.since(at));
        let all = self.deployments.0.iter_mut();
        all.filter(|d| d.ends_with(report))
            .map(|deployed| {
                deployed.ended_at = Some(moment.max(deployed.at));
                let record = &mut deployed.record;
                record.ended_at = Some(at.max(record.at));
                record.told = Some(report.told);
                if !report.backends.is_empty() {
                    record.backends.clone_from(&report.backends);
                }
                if !report.note.is_empty() {
                    record.note.clone_from(&report.note);
                }
                record.messages.extend(report.message.clone());
                record.clone()
            })
            .collect()
    }

    fn deployment_line(&self, report: &DeploymentReport) -> Entry {
        let DeploymentReport {
            pool,
            version,
            author,
            note,
            ..
        } = report;
        let what = match report.told {
            Told::Started => "is being deployed",
            Told::Finished => "was deployed",
            Told::Failed => "was given up",
            Told::RolledBack => "was taken back",
        };
        let text = format!("{version} of pool `{pool}` {what}: {note}");
        let mut line = self.event(EventSource::Webhook, "deploy.seen", author, text);
        line.subject = format!("deployment:{pool}/{version}");
        Entry::Event(line)
    }
}
