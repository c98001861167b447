//! The five questions of whoever is paged, in their order, each with a short answer and its figures.
//!
//! Are users harmed, is the share as intended, what changed, who is on it, what happens next.

use evenkeel_guard::rollout::overlay::percent;
use evenkeel_guard::{GuardView, RolloutView, Status, Verdict};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Config;
use evenkeel_model::record::{IncidentRecord, RolloutState};
use maud::{Markup, html};

use super::shapes::Tone;
use super::words;

/// Backends named in an answer; the rest is a number.
const NAMED_MAX: usize = 3;
/// Missing evidence shown.
const MISSING_MAX: usize = 3;

/// One answer: how it is, in short, and what it rests on.
struct Answer {
    tone: Tone,
    short: String,
    more: Vec<Markup>,
}

/// The five answers.
pub(super) fn list(view: &GuardView, config: &Config, now: Wall) -> Markup {
    let answers = [
        ("Are users harmed?", harmed(view, config)),
        ("Is the share as intended?", share(view)),
        ("What changed?", changed(view, now)),
        ("Who is on it?", who(view, now)),
        ("What happens next?", next(view, now)),
    ];
    html! {
        section class="answers" aria-label="the five questions" {
            @for (question, answer) in &answers {
                div class={ "answer " (answer.tone.class()) } {
                    h2 { (question) }
                    p class="short" { (answer.short) }
                    @for line in &answer.more { p { (line) } }
                }
            }
        }
    }
}

fn harmed(view: &GuardView, config: &Config) -> Answer {
    let missed = view.pools.iter().any(|p| p.objective_met == Some(false));
    let unknown = view.pools.iter().any(|p| p.objective_met.is_none());
    let (tone, short) = match (missed, unknown) {
        (true, _) => (Tone::Bad, "Yes"),
        (false, true) => (Tone::Mute, "Not known: too little traffic"),
        (false, false) => (Tone::Good, "No"),
    };
    let mut pools: Vec<_> = view.pools.iter().collect();
    pools.sort_by_key(|pool| pool.objective_met.map_or(1, |met| u8::from(met) * 2));
    let lines = pools.into_iter().take(NAMED_MAX).map(|pool| {
        let objective = config.pool(pool.name.as_str()).map(|p| p.objective);
        html! {
            b { (pool.name) } " "
            @if pool.harmed_rate.is_some() {
                (words::rate(pool.harmed_rate)) " beyond the objective"
            } @else {
                "too few requests in 10 s"
            }
            @if let Some(o) = objective {
                span class="quiet" {
                    " (errors ≤ " (words::rate(Some(o.error_rate.as_f64())))
                    ", p99 ≤ " (words::millis(Some(o.p99.as_secs_f64() * 1e3))) ")"
                }
            }
        }
    });
    Answer {
        tone,
        short: short.to_owned(),
        more: lines.collect(),
    }
}

fn share(view: &GuardView) -> Answer {
    let all: Vec<_> = view
        .pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
        .collect();
    let with = |wanted: &[Verdict]| {
        all.iter()
            .filter(|(_, b)| wanted.contains(&b.verdict))
            .count()
    };
    let off = with(&[Verdict::Over, Verdict::Under]);
    let unknown = with(&[Verdict::Unknown]);
    let explained = with(&[Verdict::Explained]);
    let total = all.len();
    let mut more = Vec::new();
    for (pool, backend) in &all {
        if matches!(backend.verdict, Verdict::Over | Verdict::Under) && more.len() < NAMED_MAX {
            let gap = backend
                .observed_share
                .zip(backend.intended_share)
                .map(|(o, i)| o - i);
            more.push(html! {
                b { (pool.name) "/" (backend.name) } " " (backend.verdict.as_str()) " by "
                (words::percent(gap.map(f64::abs))) " points"
            });
        }
    }
    let (tone, short) = if off > 0 {
        (Tone::Bad, "No".to_owned())
    } else if unknown > 0 {
        (Tone::Mute, "Not enough data yet".to_owned())
    } else {
        (Tone::Good, "Yes".to_owned())
    };
    let fine = total - off - unknown;
    more.push(html! {
        (fine) " of " (total) " backends get what they should"
        @if explained > 0 { ", " (explained) " of them for a known reason" }
        @if unknown > 0 { ", " (unknown) " with too few requests to say" }
    });
    Answer { tone, short, more }
}

fn changed(view: &GuardView, now: Wall) -> Answer {
    let revision = view.revisions.iter().find(|r| r.id == view.revision);
    let deployment = view.deployments.iter().max_by_key(|d| d.at);
    let revision_at = revision.map(|r| r.at);
    let newest = revision_at.max(deployment.map(|d| d.at));
    let short = newest.map_or_else(
        || "Nothing on record".to_owned(),
        |at| format!("Last change {}", words::ago(now, at)),
    );
    let mut more = Vec::new();
    if let Some(r) = revision {
        more.push(html! {
            a href={ "/revisions/" (r.id) } { (r.id) } " by " (r.author) ", " (words::ago(now, r.at))
            @if !r.reason.is_empty() { ": " (r.reason) }
        });
    }
    if let Some(d) = deployment {
        more.push(html! {
            "deployed " b { (d.pool) " " (d.version) } " by " (d.author) ", " (words::ago(now, d.at))
        });
    }
    Answer {
        tone: if view.state == Status::Verifying {
            Tone::Busy
        } else {
            Tone::Mute
        },
        short,
        more,
    }
}

fn open(view: &GuardView) -> Option<&IncidentRecord> {
    view.incidents.iter().find(|i| Some(i.id) == view.incident)
}

fn who(view: &GuardView, now: Wall) -> Answer {
    let Some(incident) = open(view) else {
        return Answer {
            tone: Tone::Mute,
            short: "No open incident".to_owned(),
            more: Vec::new(),
        };
    };
    let link = html! {
        a href={ "/incidents/" (incident.id) } { (incident.id) } " "
        (incident.severity.as_str()) ", " (incident.status.as_str().replace('_', " "))
        ", since " (words::span(now.since(incident.detected_at)))
    };
    let mut more = vec![link];
    let Some(by) = &incident.acknowledged_by else {
        more.push(html! {
            (incident.escalation.paged) " of " (incident.escalation.levels.len()) " levels paged; take it with "
            code { "evenkeel incident ack " (incident.id) }
        });
        return Answer {
            tone: Tone::Bad,
            short: "Nobody yet".to_owned(),
            more,
        };
    };
    if let Some(at) = incident.acknowledged_at {
        more.push(html! { "acknowledged " (words::ago(now, at)) });
    }
    Answer {
        tone: Tone::Busy,
        short: format!("{by} has it"),
        more,
    }
}

/// What the system will do by itself, the most pressing first.
fn next(view: &GuardView, now: Wall) -> Answer {
    let mut steps: Vec<(Tone, String, Markup)> = Vec::new();
    if view.state == Status::RollingBack {
        let text = html! { (view.verified) " takes its place, the last one with evidence" };
        steps.push((Tone::Bad, "Undoes the change".to_owned(), text));
    }
    if let Some(at) = view.confirm_by {
        let text = html! { "unless somebody types " code { "evenkeel confirm" } };
        steps.push((
            Tone::Warn,
            format!("Rolls {} back in {}", view.revision, words::until(now, at)),
            text,
        ));
    }
    if let Some((incident, level, at)) = &view.next_page {
        let text = html! { "for " a href={ "/incidents/" (incident) } { (incident) } " unless it is acknowledged" };
        steps.push((
            Tone::Warn,
            format!("Pages {level} in {}", words::until(now, *at)),
            text,
        ));
    }
    if let Some(verifying) = &view.verifying {
        steps.push(verifying_step(view, verifying, now));
    }
    let moving = view.rollouts.iter().filter(|r| r.record.is_open());
    steps.extend(moving.map(rollout_step));
    if let Some(at) = view.keep_until {
        let text = html! { "kept against the tests; pages still go out" };
        steps.push((
            Tone::Warn,
            format!("No automatic rollback for {}", words::until(now, at)),
            text,
        ));
    }
    let mut steps = steps.into_iter();
    let (tone, short, first) = steps
        .next()
        .unwrap_or_else(|| (Tone::Mute, "Nothing is pending".to_owned(), calm(view)));
    let mut more = vec![first];
    more.extend(steps.map(|(_, short, text)| html! { b { (short) } " " (text) }));
    if let Some(at) = view.audit_next {
        more.push(html! { span class="quiet" { "next audit in " (words::span(at.since(now))) } });
    }
    Answer { tone, short, more }
}

fn verifying_step(
    view: &GuardView,
    verifying: &evenkeel_guard::VerifyingView,
    now: Wall,
) -> (Tone, String, Markup) {
    let held = view.state == Status::Held;
    let short = if held {
        format!("Waits for evidence for {}", verifying.revision)
    } else {
        let left = words::until(now, verifying.until);
        format!("Verifies {}, {left} left", verifying.revision)
    };
    let text = html! {
        @if verifying.missing.is_empty() {
            "everything is there; verified at once"
        } @else {
            "still missing: "
            (verifying.missing.iter().take(MISSING_MAX).cloned().collect::<Vec<_>>().join("; "))
            @if verifying.missing.len() > MISSING_MAX {
                " and " (verifying.missing.len() - MISSING_MAX) " more"
            }
        }
    };
    (if held { Tone::Warn } else { Tone::Busy }, short, text)
}

fn rollout_step(rollout: &RolloutView) -> (Tone, String, Markup) {
    let record = &rollout.record;
    let (version, stable) = (&record.version, &record.stable);
    let (tone, short) = match record.state {
        RolloutState::Aborting => (Tone::Warn, format!("Takes {version} back")),
        _ => (Tone::Busy, format!("Moves traffic to {version}")),
    };
    let held = rollout.held.iter().take(MISSING_MAX).cloned();
    let held: Vec<String> = held.collect();
    let text = html! {
        "pool " b { (record.pool) } ": " (version) " in place of " (stable) ", "
        (percent(record.share_ppm)) "; " (rollout.reason)
        @if !held.is_empty() { "; waits for: " (held.join("; ")) }
        ". Take it back with " code { "evenkeel deploy abort " (record.pool) }
    };
    (tone, short, text)
}

fn calm(view: &GuardView) -> Markup {
    html! {
        @if view.verified == view.revision {
            "A change that harms users is undone: back to " (view.revision)
        } @else {
            "Last revision with evidence: " a href={ "/revisions/" (view.verified) } { (view.verified) }
        }
    }
}
