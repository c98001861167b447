//! Recent incidents and recent changes, newest first.

use evenkeel_guard::GuardView;
use evenkeel_model::clock::Wall;
use evenkeel_model::record::{DeploymentRecord, RevisionRecord};
use maud::{Markup, html};

use super::words;

/// Rows of each list.
const ROWS_MAX: usize = 8;

enum Changed<'a> {
    Revision(&'a RevisionRecord),
    Deployment(&'a DeploymentRecord),
}

impl Changed<'_> {
    const fn at(&self) -> Wall {
        match self {
            Self::Revision(r) => r.at,
            Self::Deployment(d) => d.at,
        }
    }
}

/// Both lists.
pub(super) fn section(view: &GuardView, now: Wall) -> Markup {
    html! {
        div class="recent" {
            section { h2 { "Incidents" } (incidents(view, now)) }
            section { h2 { "Changes" } (changes(view, now)) }
        }
    }
}

fn incidents(view: &GuardView, now: Wall) -> Markup {
    html! {
        @if view.incidents.is_empty() {
            p class="quiet" { "None on record." }
        } @else {
            ul {
                @for i in view.incidents.iter().take(ROWS_MAX) {
                    li {
                        a href={ "/incidents/" (i.id) } { (i.id) } " " (i.title)
                        span class="quiet" {
                            " · " (i.severity.as_str()) ", " (i.status.as_str().replace('_', " "))
                            ", " (words::ago(now, i.detected_at))
                            @if i.kind != evenkeel_model::record::IncidentKind::Real { ", " (i.kind.as_str()) }
                        }
                    }
                }
            }
        }
    }
}

fn changes(view: &GuardView, now: Wall) -> Markup {
    let revisions = view.revisions.iter().map(Changed::Revision);
    let deployments = view.deployments.iter().map(Changed::Deployment);
    let mut changes: Vec<Changed<'_>> = revisions.chain(deployments).collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.at()));
    html! {
        @if changes.is_empty() {
            p class="quiet" { "None on record." }
        } @else {
            ul {
                @for change in changes.iter().take(ROWS_MAX) {
                    li {
                        @match change {
                            Changed::Revision(r) => {
                                a href={ "/revisions/" (r.id) } { (r.id) } " " (r.reason)
                                span class="quiet" {
                                    " · " (r.author) ", " (r.state.as_str().replace('_', " "))
                                    ", " (words::ago(now, r.at))
                                }
                            }
                            Changed::Deployment(d) => {
                                "deployed " b { (d.pool) " " (d.version) } " " (d.note)
                                span class="quiet" { " · " (d.author) ", " (words::ago(now, d.at)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
