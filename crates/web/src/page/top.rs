//! The top: the state in one word and one sentence, what runs, how fresh it is; and below it what a person must know.

use evenkeel_guard::{GuardView, Status};
use evenkeel_model::clock::Wall;
use maud::{Markup, html};

use super::{shapes, words};

/// State, revision, incident, freshness.
pub(super) fn top(view: &GuardView, now: Wall, title: &str) -> Markup {
    let (word, tone) = shapes::state(view.state);
    let running = view.revisions.iter().find(|r| r.id == view.revision);
    let age_ms = now.since(view.at).as_millis() as u64;
    html! {
        header class={ "top " (tone.class()) } data-title=(title) {
            p class={ "state " (tone.class()) } { (shapes::state_mark(view.state)) (word) }
            p class="sentence" { (sentence(view)) }
            p class="running" {
                a href={ "/revisions/" (view.revision) } { (view.revision) }
                " " span class="quiet" { (view.revision_state.as_str().replace('_', " ")) }
                @if let Some(record) = running {
                    " · " (words::ago(now, record.at)) " by " (record.author)
                    @if !record.reason.is_empty() { " · “" (record.reason) "”" }
                }
            }
            p class="fresh" {
                span id="age" data-age-ms=(age_ms) {
                    "data " (format!("{:.1}", age_ms as f64 / 1_000.0)) " s old"
                }
                @if view.drill { " · " strong { "drill" } }
                " · journal " (if view.journal_ok { "ok" } else { "degraded" })
                " · " (words::clock(view.at)) " UTC"
            }
        }
    }
}

fn sentence(view: &GuardView) -> String {
    match view.state {
        Status::Ok => "Traffic runs as configured; nothing waits for anybody.".to_owned(),
        Status::Drift => "The file and what runs are not the same.".to_owned(),
        Status::Verifying => format!("{} is new; evidence is being gathered.", view.revision),
        Status::Held => format!("{} did not get enough evidence in time.", view.revision),
        Status::RollingBack => "A change is being undone.".to_owned(),
        Status::Incident => {
            let open = view.incidents.iter().find(|i| Some(i.id) == view.incident);
            open.map_or_else(|| "An incident is open.".to_owned(), |i| i.title.clone())
        }
    }
}

/// What is not as it should be beside traffic: drift, an edit, the journal, a hold.
pub(super) fn notes(view: &GuardView) -> Markup {
    let mut notes: Vec<(&str, Markup)> = Vec::new();
    if let Some(drift) = &view.drift {
        let text = html! {
            (drift.detail) "; look with " code { "evenkeel plan" } ", adopt with " code { "evenkeel apply" }
        };
        notes.push(("Drift", text));
    }
    if let Some(edited) = &view.edited {
        notes.push(("Edited", html! { (edited) }));
    }
    for drain in &view.drains {
        let left = drain.until.since(view.at).as_secs();
        let in_flight = drain
            .in_flight
            .map_or_else(|| "not known yet".to_owned(), |n| words::count(n.into()));
        let text = html! {
            b { (drain.pool) "/" (drain.backend) } " until " (words::clock(drain.until)) " UTC, "
            (left.div_ceil(60)) " min left, in flight: " (in_flight) ", by " (drain.author)
            @if !drain.reason.is_empty() { ": “" (drain.reason) "”" }
            "; end it with " code { "evenkeel undrain " (drain.pool) "/" (drain.backend) }
        };
        notes.push(("Drained", text));
    }
    if let Some(hold) = &view.hold {
        notes.push(("Hands off", html! { "no automatic action: " (hold) }));
    }
    if !view.journal_ok {
        let waiting = html! {
            "it takes no entries; changes are refused, traffic goes on; " (view.journal_waiting) " entries wait"
        };
        notes.push(("Journal degraded", waiting));
    }
    if view.journal_dropped > 0 {
        notes.push((
            "Timeline incomplete",
            html! { (words::count(view.journal_dropped)) " lines were lost" },
        ));
    }
    html! {
        @if !notes.is_empty() {
            ul class="notes" {
                @for (what, text) in &notes { li { strong { (what) } " " (text) } }
            }
        }
    }
}
