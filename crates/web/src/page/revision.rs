//! A revision: who, when, why, what it changed against its parent, and its text.

use evenkeel_model::clock::Wall;
use evenkeel_model::record::RevisionRecord;
use evenkeel_model::{diff, parse};
use maud::{Markup, html};

use super::layout::{below, fact};
use super::words;

/// Digits of the content hash shown; the JSON has all.
const HASH_SHOWN: usize = 16;

/// The page.
pub(super) fn page(record: &RevisionRecord, parent: Option<&RevisionRecord>, now: Wall) -> Markup {
    let hash: String = record.hash.to_string().chars().take(HASH_SHOWN).collect();
    let body = html! {
        header class="top mute" {
            p class="state mute" { (record.id) }
            h1 class="sentence" {
                @if record.reason.is_empty() { "No reason was given." } @else { (record.reason) }
            }
            p class="running" {
                (record.state.as_str().replace('_', " ")) " · " (words::ago(now, record.at)) " by " (record.author)
                @if record.forced { " · " strong { "forced past error findings" } }
            }
            p class="fresh" { a href={ "/api/revisions/" (record.id) } { "JSON" } }
        }
        section {
            h2 { "Facts" }
            dl class="facts" {
                (fact("made", Some(&words::date(record.at))))
                (fact("parent", record.parent.map(|id| id.to_string()).as_deref()))
                (fact("content", Some(&format!("{hash}…"))))
                (fact("to be confirmed by", record.confirm_by.map(words::date).as_deref()))
                (fact("kept against the tests until", record.keep_until.map(words::date).as_deref()))
                (fact("incident", record.incident.map(|id| id.to_string()).as_deref()))
            }
            p {
                @if let Some(id) = record.parent { a href={ "/revisions/" (id) } { "Parent " (id) } " · " }
                @if let Some(id) = record.incident { a href={ "/incidents/" (id) } { "Incident " (id) } " · " }
                "Go back to it with " code { "evenkeel rollback " (record.id) }
            }
        }
        section { h2 { "What it changed" } (changed(record, parent)) }
        section { h2 { "Text" } pre tabindex="0" { code { (record.text) } } }
    };
    below(&format!("{} · Evenkeel", record.id), &body)
}

fn changed(record: &RevisionRecord, parent: Option<&RevisionRecord>) -> Markup {
    let Some(parent) = parent else {
        return html! { p class="quiet" { "It has no parent to compare with." } };
    };
    let config = |record: &RevisionRecord| parse::parse(&record.text, None).config;
    let (Some(before), Some(after)) = (config(parent), config(record)) else {
        return html! {
            p class="quiet" { "One of the two is not a configuration for this version; compare the texts." }
        };
    };
    let changes = diff::diff(&before, &after);
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
    html! {
        @if changes.is_empty() {
            p class="quiet" { "Nothing that has an effect." }
        } @else {
            div class="scroll" tabindex="0" role="group" aria-label="changed values" {
                table class="changes" {
                    thead {
                        tr {
                            th scope="col" { "value" }
                            th scope="col" { "in " (parent.id) }
                            th scope="col" { "in " (record.id) }
                        }
                    }
                    tbody {
                        @for change in &changes {
                            tr {
                                th scope="row" { code { (change.path) } }
                                td { del { (word(&change.before)) } }
                                td { ins { (word(&change.after)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
