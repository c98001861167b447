//! What the guard thinks is to blame, kept calm: a diagnosis runs every second, people read a change of mind.
//!
//! The first answer counts at once. Another winner replaces it only when it leads all others by a margin for several looks in
//! a row, and until then nothing is done about either: the margin counts as none. `unknown` gives way more
//! easily, and is returned to only after long: evidence that fades is no news.
//!
//! A lead too small to act on that lasts is enough to suggest.

use evenkeel_diagnose::{MARGIN_TO_ACT, margin};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::record::DiagnosisRecord;

/// Nats by which another winner must lead.
const LEAD: f64 = 3.0;
/// Looks in a row for which it must lead.
const LOOKS: u32 = 3;
/// Looks in a row after which nothing is named any more.
const LOOKS_UNKNOWN: u32 = 10;
/// Nats from which on a lasting lead is worth a suggestion.
const MARGIN_TO_SUGGEST: f64 = 3.0;

type Winner = (Cause, Mechanism, Option<Subject>);

/// How settled the diagnosis of an incident is.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Opinion {
    rival: Option<(Winner, u32)>,
    /// Looks in a row at which the winner led by [`MARGIN_TO_SUGGEST`].
    leads: u32,
    /// Nats by which the winner leads; none while another challenges it.
    pub(crate) margin: f64,
}

impl Opinion {
    /// Takes a new look; gives the diagnosis to keep, `None` to keep `known`.
    pub(crate) fn take(
        &mut self,
        known: Option<&DiagnosisRecord>,
        found: DiagnosisRecord,
    ) -> Option<DiagnosisRecord> {
        let lead = margin(&found);
        let new = winner(&found);
        if known.is_none_or(|known| winner(known) == new) || self.convinces(known, new, lead) {
            let same = known.is_some_and(|known| winner(known) == winner(&found));
            self.rival = None;
            self.margin = lead;
            self.leads = match (lead >= MARGIN_TO_SUGGEST, same) {
                (true, true) => self.leads.saturating_add(1),
                (true, false) => 1,
                (false, _) => 0,
            };
            return Some(found);
        }
        self.margin = 0.0;
        self.leads = 0;
        None
    }

    /// Whether the guard may act on it.
    pub(crate) fn is_sure(&self) -> bool {
        self.margin >= MARGIN_TO_ACT
    }

    /// Whether it is worth a suggestion.
    pub(crate) fn is_steady(&self) -> bool {
        self.is_sure() || self.leads >= LOOKS
    }

    /// Counts the looks of a challenger.
    fn convinces(&mut self, known: Option<&DiagnosisRecord>, new: Winner, lead: f64) -> bool {
        let none_before = known.is_none_or(|known| known.cause == Cause::Unknown);
        let none_now = new.0 == Cause::Unknown;
        if none_before && lead >= MARGIN_TO_ACT {
            return true;
        }
        if !none_before && !none_now && lead < LEAD {
            self.rival = None;
            return false;
        }
        let looks = match &self.rival {
            Some((rival, looks)) if *rival == new => looks + 1,
            _ => 1,
        };
        self.rival = Some((new, looks));
        looks >= if none_now { LOOKS_UNKNOWN } else { LOOKS }
    }
}

fn winner(diagnosis: &DiagnosisRecord) -> Winner {
    let DiagnosisRecord {
        cause,
        mechanism,
        subject,
        ..
    } = diagnosis;
    (*cause, *mechanism, subject.clone())
}

#[cfg(test)]
mod tests {
    use evenkeel_model::blame::{Cause, Mechanism, Subject};
    use evenkeel_model::ids::Name;
    use evenkeel_model::record::{CandidateRecord, DiagnosisRecord};

    use super::{LOOKS, LOOKS_UNKNOWN, Opinion};

    fn found(cause: Cause, lead: f64) -> DiagnosisRecord {
        let subject = Subject::Pool(Name::new("shop").unwrap());
        let candidate = |cause, score| CandidateRecord {
            cause,
            mechanism: Mechanism::None,
            subject: subject.clone(),
            score,
            evidence_for: Vec::new(),
            evidence_against: Vec::new(),
        };
        DiagnosisRecord {
            cause,
            mechanism: Mechanism::None,
            subject: (cause != Cause::Unknown).then(|| subject.clone()),
            evidence: Vec::new(),
            candidates: vec![
                candidate(cause, 20.0 + lead),
                candidate(Cause::HotKey, 20.0),
            ],
        }
    }

    /// The causes that are kept while `looks` come in.
    fn kept(looks: impl IntoIterator<Item = (Cause, f64)>) -> (Vec<Cause>, Opinion) {
        let mut opinion = Opinion::default();
        let mut known = None;
        let mut causes: Vec<Cause> = Vec::new();
        for (cause, lead) in looks {
            if let Some(new) = opinion.take(known.as_ref(), found(cause, lead)) {
                known = Some(new);
            }
            let cause = known.as_ref().map(|k| k.cause).unwrap();
            if causes.last() != Some(&cause) {
                causes.push(cause);
            }
        }
        (causes, opinion)
    }

    #[test]
    fn a_diagnosis_that_flips_with_the_noise_is_changed_once_and_not_again() {
        let flips = (0..200).map(|i| match i % 4 {
            0 | 1 => (Cause::Dependency, 4.0),
            _ => (Cause::Unknown, 0.0),
        });
        assert_eq!(kept(flips).0, [Cause::Dependency]);
        let flips = (0..200).map(|i| match i % 3 {
            0 => (Cause::Limit, 9.0),
            _ => (Cause::Dependency, 5.0),
        });
        assert_eq!(kept(flips).0, [Cause::Limit]);
    }

    #[test]
    fn a_wrong_answer_is_corrected_by_one_that_leads_for_several_looks_and_nothing_is_done_before()
    {
        let mut looks = vec![(Cause::Limit, 20.0)];
        looks.resize(LOOKS as usize, (Cause::ConfigRevision, 8.0));
        let (causes, opinion) = kept(looks.clone());
        assert_eq!(causes, [Cause::Limit]);
        assert!(!opinion.is_sure() && !opinion.is_steady());
        looks.push((Cause::ConfigRevision, 8.0));
        let (causes, opinion) = kept(looks);
        assert_eq!(causes, [Cause::Limit, Cause::ConfigRevision]);
        assert!(opinion.is_sure());
    }

    #[test]
    fn unknown_gives_way_at_once_to_a_clear_answer_and_comes_back_only_after_long() {
        let mut looks = vec![(Cause::Unknown, 0.0), (Cause::ConfigRevision, 8.0)];
        assert_eq!(kept(looks.clone()).0.len(), 2);
        looks.resize(1 + LOOKS_UNKNOWN as usize, (Cause::Unknown, 0.0));
        assert_eq!(kept(looks.clone()).0.last(), Some(&Cause::ConfigRevision));
        looks.push((Cause::Unknown, 0.0));
        assert_eq!(kept(looks).0.last(), Some(&Cause::Unknown));
    }

    #[test]
    fn a_small_lead_that_lasts_is_enough_to_suggest_and_not_to_act() {
        let (_, opinion) = kept(vec![(Cause::Deployment, 5.0); LOOKS as usize - 1]);
        assert!(!opinion.is_steady());
        let (_, opinion) = kept(vec![(Cause::Deployment, 5.0); LOOKS as usize]);
        assert!(opinion.is_steady() && !opinion.is_sure());
        let (_, opinion) = kept(vec![(Cause::Deployment, 2.0); 20]);
        assert!(!opinion.is_steady());
    }
}
