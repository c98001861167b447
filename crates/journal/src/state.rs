//! What an instance needs to know at its start, folded from the entries in their order.

use std::collections::BTreeMap;

use evenkeel_model::ids::{DeploymentId, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ContentHash, DeploymentRecord, DrainRecord, Entry, IncidentRecord, IncidentStatus, LastAudit,
    RevisionRecord, RevisionState, RolloutRecord,
};

use crate::way_back::WayBack;

/// The present, as the journal tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Revisions by number, each as it now stands.
    pub revisions: BTreeMap<RevisionId, RevisionRecord>,
    /// Contents that are refused, with the incident that led to it.
    pub quarantine: BTreeMap<ContentHash, Option<IncidentId>>,
    /// Deployments by number.
    pub deployments: BTreeMap<DeploymentId, DeploymentRecord>,
    /// The newest deployment of each pool that was carried out, as it now stands.
    pub rollouts: BTreeMap<Name, RolloutRecord>,
    /// Incidents by number, each as it now stands.
    pub incidents: BTreeMap<IncidentId, IncidentRecord>,
    /// Drains that nobody ended, by pool and backend; their time may be over.
    pub drains: BTreeMap<(Name, Name), DrainRecord>,
    /// The newest audit.
    pub last_audit: Option<LastAudit>,
    /// When the way back was last walked.
    pub way_back: WayBack,
}

impl State {
    /// Takes one entry into account.
    pub fn fold(&mut self, entry: &Entry) {
        self.way_back.fold(entry);
        match entry {
            Entry::Revision(record) => {
                self.revisions.insert(record.id, record.clone());
            }
            Entry::RevisionState {
                id,
                state,
                incident,
                ..
            } => {
                if let Some(record) = self.revisions.get_mut(id) {
                    record.state = *state;
                    record.incident = incident.or(record.incident);
                }
            }
            Entry::ConfirmBy { id, confirm_by } => {
                if let Some(record) = self.revisions.get_mut(id) {
                    record.confirm_by = *confirm_by;
                }
            }
            Entry::Deployment(record) => {
                self.deployments.insert(record.id, record.clone());
            }
            Entry::Rollout(record) => {
                self.rollouts
                    .insert(record.pool.clone(), (**record).clone());
            }
            Entry::Incident(record) => {
                self.incidents.insert(record.id, (**record).clone());
            }
            Entry::Quarantine { hash, incident, .. } => {
                self.quarantine.insert(*hash, *incident);
            }
            Entry::Release { hash, .. } => {
                self.quarantine.remove(hash);
            }
            Entry::Drain(record) => {
                let key = (record.pool.clone(), record.backend.clone());
                self.drains.insert(key, record.clone());
            }
            Entry::DrainEnd { pool, backend, .. } => {
                self.drains.remove(&(pool.clone(), backend.clone()));
            }
            Entry::Audit {
                at,
                errors,
                warnings,
                findings,
                ..
            } => {
                self.last_audit = Some(LastAudit {
                    at: *at,
                    errors: *errors,
                    warnings: *warnings,
                    findings: findings.clone(),
                });
            }
            Entry::Event(_) => {}
        }
    }

    /// The revision to boot: the newest that was verified or confirmed and not undone since.
    pub fn verified(&self) -> Option<&RevisionRecord> {
        self.revisions.values().rev().find(|record| {
            matches!(
                record.state,
                RevisionState::Verified | RevisionState::Confirmed
            )
        })
    }

    /// Incidents that are not over.
    pub fn open_incidents(&self) -> impl Iterator<Item = &IncidentRecord> {
        self.incidents.values().filter(|incident| {
            !matches!(
                incident.status,
                IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::FalseAlarm
            )
        })
    }
}
