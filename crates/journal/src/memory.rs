//! The record without a disk, for simulations and tests: same rules, nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{DeploymentId, IncidentId, RevisionId};
use evenkeel_model::record::{
    DeploymentRecord, Entry, IncidentRecord, RevisionRecord, RolloutRecord, TimelineEvent,
};

use crate::{Append, AppendError, Read, ReadError, Recorded, State};

/// A journal in memory. Clones share the same record. Appends can be made to fail, as a full disk would.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<(Wall, Entry)>,
    state: State,
    failing: Option<AppendError>,
}

impl MemoryJournal {
    /// Every further append fails with `error`, until it is lifted with `None`.
    pub fn fail_with(&self, error: Option<AppendError>) {
        self.lock().failing = error;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Append for MemoryJournal {
    fn append(&mut self, entries: &[Entry], recorded_at: Wall) -> Result<(), AppendError> {
        let mut inner = self.lock();
        if let Some(error) = &inner.failing {
            return Err(error.clone());
        }
        for entry in entries {
            inner.state.fold(entry);
            inner.entries.push((recorded_at, entry.clone()));
        }
        Ok(())
    }
}

impl Read for MemoryJournal {
    fn state(&self) -> Result<State, ReadError> {
        Ok(self.lock().state.clone())
    }

    fn revisions(&self, limit: usize) -> Result<Vec<RevisionRecord>, ReadError> {
        Ok(self
            .lock()
            .state
            .revisions
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect())
    }

    fn revision(&self, id: RevisionId) -> Result<Option<RevisionRecord>, ReadError> {
        Ok(self.lock().state.revisions.get(&id).cloned())
    }

    fn incidents(&self, limit: usize) -> Result<Vec<IncidentRecord>, ReadError> {
        Ok(self
            .lock()
            .state
            .incidents
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect())
    }

    fn incident(&self, id: IncidentId) -> Result<Option<IncidentRecord>, ReadError> {
        Ok(self.lock().state.incidents.get(&id).cloned())
    }

    fn rollouts(&self, limit: usize) -> Result<Vec<RolloutRecord>, ReadError> {
        let mut newest: BTreeMap<DeploymentId, RolloutRecord> = BTreeMap::new();
        for (_, entry) in &self.lock().entries {
            if let Entry::Rollout(record) = entry {
                newest.insert(record.id, (**record).clone());
            }
        }
        Ok(newest.into_values().rev().take(limit).collect())
    }

    fn deployments(&self, limit: usize) -> Result<Vec<DeploymentRecord>, ReadError> {
        Ok(self
            .lock()
            .state
            .deployments
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect())
    }

    fn timeline(
        &self,
        incident: Option<IncidentId>,
        limit: usize,
    ) -> Result<Vec<Recorded<TimelineEvent>>, ReadError> {
        let inner = self.lock();
        let events =
            inner
                .entries
                .iter()
                .enumerate()
                .filter_map(|(index, (recorded_at, entry))| {
                    let Entry::Event(event) = entry else {
                        return None;
                    };
                    (incident.is_none() || event.incident == incident).then(|| Recorded {
                        seq: index as u64 + 1,
                        recorded_at: *recorded_at,
                        value: event.clone(),
                    })
                });
        let all: Vec<_> = events.collect();
        let skip = all.len().saturating_sub(limit);
        Ok(all.into_iter().skip(skip).collect())
    }
}
