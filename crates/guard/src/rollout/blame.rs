//! A deployment that was aborted by evidence is an incident: opened or joined, with the comparison as its diagnosis.

use evenkeel_detect::onset::Onset;
use evenkeel_incident::lifecycle;
use evenkeel_incident::severity::severity;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::IncidentId;
use evenkeel_model::record::{CandidateRecord, DiagnosisRecord, RolloutRecord};

use super::overlay::percent;
use crate::desk::facts;
use crate::state::Inner;

impl Inner {
    /// Opens or joins the incident of the pool, names the deployment and keeps other remedies away; `since`: when the
    /// share began that showed it.
    pub(super) fn blame_deployment(
        &mut self,
        record: &RolloutRecord,
        (mechanism, words): (Mechanism, &str),
        since: Mono,
    ) -> Option<IncidentId> {
        let pool = &record.pool;
        let RolloutRecord {
            id: deployment,
            version,
            stable,
            ..
        } = record;
        let open = self.desk.open_of(pool).map(|case| case.record.id);
        let id = if let Some(id) = open {
            id
        } else {
            let level = severity(&facts(self.pools.get(pool)?, None));
            let title = format!("{version} of pool `{pool}` is worse than {stable}");
            let onset = Onset {
                lo: since,
                best: since,
                hi: self.now,
            };
            self.open_case(pool, (level, title, words.to_owned()), onset)
        };
        let wall = self.wall;
        let share = percent(record.share_ppm);
        let subject = Subject::Deployment {
            id: *deployment,
            pool: pool.clone(),
            version: version.clone(),
        };
        let evidence = vec![
            words.to_owned(),
            format!(
                "{version} had {share} of the traffic since {}",
                evenkeel_incident::civil::rfc3339(self.wall_of(since))
            ),
        ];
        let diagnosis = DiagnosisRecord {
            cause: Cause::Deployment,
            mechanism,
            subject: Some(subject.clone()),
            evidence: evidence.clone(),
            candidates: vec![CandidateRecord {
                cause: Cause::Deployment,
                mechanism,
                subject,
                score: evenkeel_diagnose::MARGIN_TO_ACT,
                evidence_for: evidence,
                evidence_against: Vec::new(),
            }],
        };
        let case = self.desk.case_mut(id)?;
        // A rollback that is under way has its own diagnosis.
        if !case.begun {
            case.begun = true;
            let moved = lifecycle::diagnosed(&mut case.record, diagnosis, true, wall);
            case.tell(moved);
        }
        let detail =
            format!("deployment {deployment}: traffic goes back from {version} to {stable}");
        self.acted(id, "abort", detail, "done", None);
        self.save_incidents();
        Some(id)
    }
}
