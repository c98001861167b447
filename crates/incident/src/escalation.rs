//! Who is paged when nobody acknowledges.
//!
//! The first level is paged at once, each further one when the level before had its `ack_within` without
//! an acknowledgement. Deadlines are wall clock and stand in the record, so a restart neither loses nor
//! repeats them; one that passed while the process was down fires once and says how late it is, and the
//! level paged late still gets its whole time. Duplicates over misses: the caller journals the record with
//! the page before it sends, and sends again what it cannot prove sent.
//!
//! An acknowledgement, a mitigation (harm stopped: a rollback that worked is news, not a second page) and
//! the end of the incident stop the timers. A clock step moves them along ([`clock_stepped`]), so that
//! none fires early. Information (sev4) pages nobody.

use std::time::Duration;

use evenkeel_model::clock::Wall;
use evenkeel_model::config::EscalationLevel;
use evenkeel_model::ids::Name;
use evenkeel_model::record::{
    EscalationState, EscalationStep, EventSource, IncidentRecord, IncidentSeverity, TimelineEvent,
};

use crate::civil::span;
use crate::lifecycle::{MoveError, event, is_open, source_of};

/// One page to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its level, 1 for the first.
    pub level: usize,
    /// What the level is called.
    pub name: Name,
    /// Who receives it.
    pub receivers: Vec<Name>,
    /// How long after its deadline it fires; zero when in time.
    pub late_by: Duration,
}

/// What became of a page at one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver took it.
    Sent,
    /// The receiver did not take it, and why.
    Failed(String),
    /// It was not sent on purpose, and why.
    Suppressed(String),
}

/// The state of a new incident under `policy`: its first level is due at `at`, unless it is only information.
pub fn snapshot(
    policy: &[EscalationLevel],
    severity: IncidentSeverity,
    at: Wall,
) -> EscalationState {
    let levels: Vec<EscalationStep> = policy
        .iter()
        .map(|level| EscalationStep {
            name: level.name.clone(),
            notify: level.notify.clone(),
            ack_within_ms: u64::try_from(level.ack_within.as_millis()).unwrap_or(u64::MAX),
        })
        .collect();
    let armed = !levels.is_empty() && severity != IncidentSeverity::Sev4;
    EscalationState {
        levels,
        paged: 0,
        next_at: armed.then_some(at),
    }
}

/// The page that is due at `now`, if any; its level counts as paged and the next one is armed.
/// Call it until it gives `None`. A level that names no receiver is passed over at once.
pub fn due(incident: &mut IncidentRecord, now: Wall) -> Option<Page> {
    if !is_open(incident.status) {
        incident.escalation.next_at = None;
    }
    let deadline = incident.escalation.next_at.filter(|at| *at <= now)?;
    page_next(&mut incident.escalation, deadline, now)
}

/// Pages the next level now, whether or not it is due: a person asks, or a rollback did not help.
///
/// Also works after an acknowledgement, which stops the timers but not people.
pub fn escalate(
    incident: &mut IncidentRecord,
    by: &str,
    why: &str,
    now: Wall,
) -> Result<(Page, Vec<TimelineEvent>), EscalateError> {
    if !is_open(incident.status) {
        return Err(EscalateError::Move(MoveError::Over {
            id: incident.id,
            status: incident.status,
        }));
    }
    let mut state = incident.escalation.clone();
    let page =
        page_next(&mut state, now, now).ok_or(EscalateError::NoLevelLeft(state.levels.len()))?;
    if incident.acknowledged_at.is_some() || incident.mitigated_at.is_some() {
        state.next_at = None;
    }
    incident.escalation = state;
    let text = format!("level {} `{}` is paged: {why}", page.level, page.name);
    let source = source_of(by);
    let line = event(incident, now, source, "escalated", by, text);
    Ok((page, vec![line]))
}

/// Why [`escalate`] pages nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EscalateError {
    /// The incident is over.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// Every level was paged already.
    #[error("all {0} levels of the escalation policy were paged already")]
    NoLevelLeft(usize),
}

/// Moves the deadline along with a wall clock that stepped by `by_ms`, so that the time left stays what it was.
pub fn clock_stepped(state: &mut EscalationState, by_ms: i64) {
    if let Some(at) = &mut state.next_at {
        at.0 = at.0.saturating_add_signed(by_ms);
    }
}

/// Stops the timers.
pub(crate) fn stop(state: &mut EscalationState) {
    state.next_at = None;
}

/// Arms the next level again: its turn comes `ack_within` of the level paged last after `now`.
pub(crate) fn rearm(state: &mut EscalationState, now: Wall) {
    let wait_ms = state
        .paged
        .checked_sub(1)
        .and_then(|last| state.levels.get(last))
        .map_or(0, |level| level.ack_within_ms);
    state.next_at =
        (state.paged < state.levels.len()).then(|| now.plus(Duration::from_millis(wait_ms)));
}

/// The timeline event of a page that fired.
pub fn page_event(incident: &IncidentRecord, page: &Page, now: Wall) -> TimelineEvent {
    let late = if page.late_by > Duration::ZERO {
        format!(", {} late", span(page.late_by))
    } else {
        String::new()
    };
    let text = format!("level {} `{}` is paged{late}", page.level, page.name);
    event(
        incident,
        now,
        EventSource::Controller,
        "page.due",
        "escalation",
        text,
    )
}

/// The timeline event of what became of a page at `receiver`: `page.sent`, `page.failed` or `page.suppressed`.
pub fn delivery_event(
    incident: &IncidentRecord,
    level: usize,
    receiver: &Name,
    delivery: &Delivery,
    now: Wall,
) -> TimelineEvent {
    let (kind, text) = match delivery {
        Delivery::Sent => ("page.sent", format!("level {level}: `{receiver}` took it")),
        Delivery::Failed(why) => (
            "page.failed",
            format!("level {level}: `{receiver}` did not take it: {why}"),
        ),
        Delivery::Suppressed(why) => (
            "page.suppressed",
            format!("level {level}: not sent to `{receiver}`: {why}"),
        ),
    };
    let actor = receiver.as_str();
    event(incident, now, EventSource::Notifier, kind, actor, text)
}

/// Takes the next level that names a receiver; `None` and no further deadline when none is left.
fn page_next(state: &mut EscalationState, deadline: Wall, now: Wall) -> Option<Page> {
    state.next_at = None;
    loop {
        let level = state.levels.get(state.paged)?;
        let page = Page {
            level: state.paged + 1,
            name: level.name.clone(),
            receivers: level.notify.clone(),
            late_by: now.since(deadline),
        };
        let wait = Duration::from_millis(level.ack_within_ms);
        state.paged += 1;
        if !page.receivers.is_empty() {
            let more = state.paged < state.levels.len();
            state.next_at = more.then(|| now.plus(wait));
            return Some(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_model::clock::Wall;
    use evenkeel_model::record::{IncidentRecord, IncidentSeverity};
    use proptest::prelude::*;

    use super::{EscalateError, clock_stepped, due, escalate, page_event, snapshot};
    use crate::lifecycle::tests::{incident, policy};
    use crate::lifecycle::{acknowledge, mitigated, relapsed};

    /// (moment, level) of every page when `due` is asked at each of `moments`.
    fn pages(
        incident: &mut IncidentRecord,
        moments: impl Iterator<Item = u64>,
    ) -> Vec<(u64, usize)> {
        let mut out = Vec::new();
        for now in moments {
            while let Some(page) = due(incident, Wall(now)) {
                out.push((now, page.level));
            }
        }
        out
    }

    #[test]
    fn levels_are_paged_one_after_the_other_while_nobody_acknowledges() {
        let mut incident = incident(1_000_000);
        let seen = pages(&mut incident, (1_000_000..3_000_000).step_by(1_000));
        assert_eq!(seen, [(1_000_000, 1), (1_300_000, 2), (1_900_000, 3)]);
        assert_eq!(incident.escalation.next_at, None);
    }

    #[test]
    fn an_acknowledgement_stops_the_timers() {
        let mut incident = incident(1_000_000);
        assert!(due(&mut incident, Wall(1_000_000)).is_some());
        acknowledge(&mut incident, "ann", Wall(1_299_999)).unwrap();
        assert_eq!(
            pages(&mut incident, (1_299_999..9_000_000).step_by(1_000)),
            []
        );
    }

    #[test]
    fn harm_that_stopped_pages_nobody_further_and_a_relapse_does() {
        let mut incident = incident(1_000_000);
        assert!(due(&mut incident, Wall(1_000_000)).is_some());
        mitigated(&mut incident, Wall(1_030_000), Wall(1_035_000)).unwrap();
        assert_eq!(
            pages(&mut incident, (1_035_000..2_000_000).step_by(1_000)),
            []
        );
        relapsed(&mut incident, Wall(2_000_000)).unwrap();
        let seen = pages(&mut incident, (2_000_000..2_400_000).step_by(1_000));
        assert_eq!(seen, [(2_300_000, 2)]);
    }

    #[test]
    fn a_deadline_missed_during_a_restart_fires_once_and_says_how_late() {
        let mut incident = incident(1_000_000);
        assert!(due(&mut incident, Wall(1_000_000)).is_some());
        let mut restored = incident.clone();
        let late = due(&mut restored, Wall(9_000_000)).unwrap();
        assert_eq!((late.level, late.late_by), (2, Duration::from_secs(7_700)));
        assert!(
            page_event(&restored, &late, Wall(9_000_000))
                .text
                .ends_with("2 h 8 min late")
        );
        assert_eq!(due(&mut restored, Wall(9_000_000)), None);
        assert_eq!(restored.escalation.next_at, Some(Wall(9_600_000)));
    }

    #[test]
    fn a_clock_step_fires_nothing_early_and_delays_nothing() {
        for by in [3_600_000i64, -600_000] {
            let mut incident = incident(1_000_000);
            assert!(due(&mut incident, Wall(1_000_000)).is_some());
            clock_stepped(&mut incident.escalation, by);
            let stepped = |ms: u64| ms.saturating_add_signed(by);
            assert_eq!(due(&mut incident, Wall(stepped(1_299_999))), None);
            assert_eq!(
                due(&mut incident, Wall(stepped(1_300_000))).unwrap().level,
                2
            );
        }
    }

    #[test]
    fn a_level_without_receivers_is_passed_over_and_information_pages_nobody() {
        let mut levels = policy();
        levels[0].notify.clear();
        let mut state = incident(0);
        state.escalation = snapshot(&levels, IncidentSeverity::Sev2, Wall(5));
        assert_eq!(due(&mut state, Wall(5)).unwrap().level, 2);
        assert_eq!(
            snapshot(&policy(), IncidentSeverity::Sev4, Wall(5)).next_at,
            None
        );
        assert_eq!(snapshot(&[], IncidentSeverity::Sev1, Wall(5)).next_at, None);
    }

    #[test]
    fn a_person_can_escalate_after_an_acknowledgement_until_no_level_is_left() {
        let mut incident = incident(1_000_000);
        assert!(due(&mut incident, Wall(1_000_000)).is_some());
        acknowledge(&mut incident, "ann", Wall(1_100_000)).unwrap();
        let (page, events) = escalate(&mut incident, "ann", "need help", Wall(1_200_000)).unwrap();
        assert_eq!((page.level, incident.escalation.next_at), (2, None));
        assert_eq!((events.len(), events[0].kind.as_str()), (1, "escalated"));
        assert!(escalate(&mut incident, "ann", "more", Wall(1_200_000)).is_ok());
        let error = escalate(&mut incident, "ann", "more", Wall(1_200_000)).unwrap_err();
        assert_eq!(error, EscalateError::NoLevelLeft(3));
    }

    proptest! {
        #[test]
        fn whatever_the_ticks_each_level_is_paged_at_most_once_in_order_and_never_early(
            gaps in prop::collection::vec(0u64..400_000, 1..60),
        ) {
            let mut incident = incident(1_000_000);
            let mut now = 1_000_000;
            let mut moments = Vec::new();
            for gap in gaps {
                now += gap;
                moments.push(now);
            }
            let seen = pages(&mut incident, moments.into_iter());
            for (place, pair) in seen.windows(2).enumerate() {
                prop_assert_eq!(pair[1].1, pair[0].1 + 1);
                prop_assert!(pair[1].0 - pair[0].0 >= policy()[place].ack_within.as_millis() as u64);
            }
            prop_assert!(seen.len() <= 3);
        }
    }
}
