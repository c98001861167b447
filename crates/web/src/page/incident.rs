//! An incident: what is known, who has it, what explains it, what was done, minute by minute.

use evenkeel_incident::lifecycle::is_open;
use evenkeel_journal::Recorded;
use evenkeel_model::clock::Wall;
use evenkeel_model::record::{
    ActionRecord, CandidateRecord, DiagnosisRecord, IncidentRecord, TimelineEvent,
};
use maud::{Markup, html};

use super::layout::{below, fact};
use super::words;

/// Candidates shown.
const CANDIDATES_MAX: usize = 8;

/// The page.
pub(super) fn page(
    record: &IncidentRecord,
    timeline: &[Recorded<TimelineEvent>],
    now: Wall,
) -> Markup {
    let tone = if is_open(record.status) {
        "bad"
    } else {
        "mute"
    };
    let body = html! {
        header class={ "top " (tone) } {
            p class={ "state " (tone) } {
                (record.id) " " (record.severity.as_str().to_uppercase())
            }
            h1 class="sentence" { (record.title) }
            p class="running" {
                (record.status.as_str().replace('_', " ")) " · " (record.kind.as_str())
                " · detected " (words::ago(now, record.detected_at))
            }
            p class="fresh" { a href={ "/incidents/" (record.id) "/postmortem" } { "Post-mortem draft" } }
        }
        section { h2 { "Times and impact" } (times(record)) }
        section {
            h2 { "What explains it" }
            @match &record.diagnosis {
                Some(diagnosis) => (explained(diagnosis)),
                None => p class="quiet" { "Not diagnosed." },
            }
        }
        section { h2 { "What was done" } (actions(&record.actions)) }
        section { h2 { "Timeline" } (lines(timeline)) }
        @if is_open(record.status) {
            section {
                h2 { "What you can do" }
                p {
                    code { "evenkeel incident ack " (record.id) } " · "
                    code { "evenkeel incident note " (record.id) " TEXT" } " · "
                    code { "evenkeel incident escalate " (record.id) } " · "
                    code { "evenkeel incident resolve " (record.id) }
                }
            }
        }
    };
    below(&format!("{} · Evenkeel", record.id), &body)
}

fn times(record: &IncidentRecord) -> Markup {
    let since = |at: Option<Wall>| {
        at.map(|at| {
            let after = words::span(at.since(record.detected_at));
            format!("{} ({after} after detection)", words::date(at))
        })
    };
    let onset = record.fault_at.map(|at| match record.fault_between {
        Some((from, to)) => format!(
            "{} (between {} and {})",
            words::date(at),
            words::clock(from),
            words::clock(to)
        ),
        None => words::date(at),
    });
    let acknowledged = since(record.acknowledged_at).map(|at| {
        format!(
            "{at} by {}",
            record.acknowledged_by.as_deref().unwrap_or("somebody")
        )
    });
    let users = record
        .impact_users_share
        .map(|share| words::rate(Some(share)));
    let revisions = record.revision_before.zip(record.revision_after);
    let revisions = revisions.map(|(before, after)| format!("{before}, then {after}"));
    html! {
        dl class="facts" {
            (fact("pool", record.pool.as_ref().map(evenkeel_model::ids::Name::as_str)))
            (fact("began about", onset.as_deref()))
            (fact("detected", Some(&words::date(record.detected_at))))
            (fact("acknowledged", Some(acknowledged.as_deref().unwrap_or("not yet"))))
            (fact("cause known", since(record.identified_at).as_deref()))
            (fact("harm stopped", Some(since(record.mitigated_at).as_deref().unwrap_or("not yet"))))
            (fact("resolved", Some(since(record.resolved_at).as_deref().unwrap_or("not yet"))))
            (fact("closed", since(record.closed_at).as_deref()))
            (fact("requests harmed", Some(&words::count(record.impact_requests))))
            (fact("users harmed", Some(users.as_deref().unwrap_or("not known"))))
            (fact("revision", revisions.as_deref()))
        }
    }
}

fn explained(diagnosis: &DiagnosisRecord) -> Markup {
    html! {
        p class="short" {
            (diagnosis.cause.as_str().replace('_', " "))
            " by " (diagnosis.mechanism.as_str().replace('_', " "))
            @if let Some(subject) = &diagnosis.subject { ": " b { (subject) } }
        }
        ul { @for line in &diagnosis.evidence { li { (line) } } }
        @if !diagnosis.candidates.is_empty() {
            div class="scroll" tabindex="0" role="group" aria-label="candidates" {
                table class="candidates" {
                    thead {
                        tr {
                            th scope="col" { "candidate" }
                            th scope="col" class="n" { "score, nats" }
                            th scope="col" { "for" }
                            th scope="col" { "against" }
                        }
                    }
                    tbody {
                        @for c in diagnosis.candidates.iter().take(CANDIDATES_MAX) { (candidate(c)) }
                    }
                }
            }
            @if diagnosis.candidates.len() > CANDIDATES_MAX {
                p class="quiet" { "and " (diagnosis.candidates.len() - CANDIDATES_MAX) " more in the JSON" }
            }
        }
    }
}

fn candidate(c: &CandidateRecord) -> Markup {
    let score = if c.score.is_finite() {
        format!("{:.1}", c.score)
    } else {
        "vetoed".to_owned()
    };
    html! {
        tr {
            th scope="row" {
                (c.subject) br;
                span class="quiet" {
                    (c.cause.as_str().replace('_', " ")) " by " (c.mechanism.as_str().replace('_', " "))
                }
            }
            td class="n" { (score) }
            td { ul { @for line in &c.evidence_for { li { (line) } } } }
            td { ul { @for line in &c.evidence_against { li { (line) } } } }
        }
    }
}

fn actions(actions: &[ActionRecord]) -> Markup {
    html! {
        @if actions.is_empty() {
            p class="quiet" { "Nothing." }
        } @else {
            ol class="lines" {
                @for action in actions {
                    li {
                        time datetime=(crate::views::time(action.at)) { (words::clock(action.at)) }
                        b { (action.kind) } " " (action.detail)
                        span class="quiet" { " · " (action.outcome) }
                    }
                }
            }
        }
    }
}

fn lines(timeline: &[Recorded<TimelineEvent>]) -> Markup {
    html! {
        @if timeline.is_empty() {
            p class="quiet" { "Nothing on record." }
        } @else {
            ol class="lines" {
                @for Recorded { value: event, .. } in timeline {
                    li {
                        time datetime=(crate::views::time(event.at)) { (words::clock(event.at)) }
                        b { (event.kind) } " " (event.text)
                        span class="quiet" {
                            " · " (event.actor) " (" (event.source.as_str()) ")"
                            @if !event.subject.is_empty() { " · " (event.subject) }
                        }
                    }
                }
            }
        }
    }
}
