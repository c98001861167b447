//! A pool: its figures against its objective, and a row per backend with the reason of its share below.

use evenkeel_guard::{BackendView, PoolView};
use evenkeel_model::config::Pool;
use maud::{Markup, html};

use super::{bars, shapes, words};
use crate::views::MembersView;

/// Columns of the table; the reason spans all but the first.
const COLUMNS: usize = 16;

/// Head and table.
pub(super) fn section(pool: &PoolView, declared: Option<&Pool>) -> Markup {
    let scale = bars::scale(pool);
    let limit = declared.map_or(1.0, |pool| 1.0 - pool.headroom.as_f64());
    html! {
        (head(pool, declared))
        p class="legend quiet" {
            "bar: observed share · ⊢⊣ its 95 % interval · ▼ intended share · dashed: expected by the configuration, where it differs"
        }
        div class="scroll" tabindex="0" role="group" aria-label={ "backends of " (pool.name) } {
            table {
                thead {
                    tr {
                        th scope="col" { "backend" }
                        th scope="col" {
                            "share, 0 to " (words::whole_percent(Some(scale)))
                        }
                        th scope="col" class="n" { "intended %" }
                        th scope="col" class="n" { "expected %" }
                        th scope="col" class="n" { "observed %" }
                        th scope="col" class="n" { "gap, points" }
                        th scope="col" { "verdict" }
                        th scope="col" class="n" { "req/s" }
                        th scope="col" class="n" { "of capacity" }
                        th scope="col" class="n" { "p50" }
                        th scope="col" class="n" { "p99" }
                        th scope="col" class="n" { "errors" }
                        th scope="col" class="n" { "in flight" }
                        th scope="col" class="n" { "CPU" }
                        th scope="col" class="n" { "memory" }
                        th scope="col" { "health" }
                    }
                }
                tbody {
                    @for backend in &pool.backends { (rows(backend, scale, limit)) }
                }
            }
        }
    }
}

fn head(pool: &PoolView, declared: Option<&Pool>) -> Markup {
    let objective = declared.map(|pool| pool.objective);
    html! {
        div class="head" {
            h2 id={ "pool-" (pool.name) } { "pool " b { (pool.name) } }
            p class="quiet" {
                (pool.algorithm.as_str().replace('_', " ")) ", intent " (pool.intent.as_str())
            }
            @if let Some(members) = &pool.members {
                p class="quiet" { "members: " (MembersView::of(members).in_words()) }
            }
            dl class="figures" {
                div { dt { "requests" } dd { (words::per_second(pool.rps)) @if pool.rps.is_some() { " /s" } } }
                div { dt { "p50" } dd { (words::millis(pool.p50_ms)) } }
                div {
                    dt { "p99" }
                    dd {
                        (words::millis(pool.p99_ms))
                        @if let Some(o) = objective {
                            span class="quiet" { " of " (words::millis(Some(o.p99.as_secs_f64() * 1e3))) }
                        }
                    }
                }
                div {
                    dt { "errors" }
                    dd {
                        (words::rate(pool.error_rate))
                        @if let Some(o) = objective {
                            span class="quiet" { " of " (words::rate(Some(o.error_rate.as_f64()))) }
                        }
                    }
                }
                div {
                    dt { "objective" }
                    dd { (met(pool.objective_met)) }
                }
                @if let Some(incident) = pool.incident {
                    div { dt { "incident" } dd { a href={ "/incidents/" (incident) } { (incident) } } }
                }
            }
        }
    }
}

fn met(met: Option<bool>) -> Markup {
    html! {
        @match met {
            Some(true) => span class="tag good" { "met" },
            Some(false) => span class="tag bad" { "missed" },
            None => span class="tag mute" { "too little traffic" },
        }
    }
}

/// Version and zone, as far as they are declared.
fn place(backend: &BackendView) -> String {
    let version = backend.version.as_ref().map(ToString::to_string);
    let zone = backend.zone.as_ref().map(|zone| format!("zone {zone}"));
    let known: Vec<String> = version.into_iter().chain(zone).collect();
    known.join(", ")
}

/// The row of a backend and, below, why it has this share.
fn rows(backend: &BackendView, scale: f64, limit: f64) -> Markup {
    let gap = backend
        .observed_share
        .zip(backend.intended_share)
        .map(|(o, i)| o - i);
    let load = match backend.utilisation {
        Some(load) if load > 1.0 => "n bad",
        Some(load) if load > limit => "n warn",
        _ => "n",
    };
    let in_flight = backend
        .in_flight
        .map_or_else(|| words::UNKNOWN.to_owned(), |n| words::count(n.into()));
    html! {
        tr class="main" {
            th scope="row" rowspan="2" {
                (backend.name)
                div class="quiet" { (place(backend)) }
            }
            td { (bars::bar(backend, scale)) }
            td class="n" { (words::percent(backend.intended_share)) }
            td class="n" { (words::percent(backend.expected_share)) }
            td class="n strong" { (words::percent(backend.observed_share)) }
            td class="n strong" { (words::points(gap)) }
            td { (shapes::verdict(backend.verdict)) }
            td class="n" { (words::per_second(backend.rps)) }
            td class=(load) { (words::whole_percent(backend.utilisation)) }
            td class="n" { (words::millis(backend.p50_ms)) }
            td class="n" { (words::millis(backend.p99_ms)) }
            td class="n" { (words::rate(backend.error_rate)) }
            td class="n" { (in_flight) }
            td class="n" { (words::whole_percent(backend.cpu)) }
            td class="n" { (words::whole_percent(backend.memory)) }
            td { (shapes::health(backend.health, &backend.health_detail)) }
        }
        tr class="why" {
            td colspan=(COLUMNS - 1) { span class="quiet" { "why: " } (backend.reason) }
        }
    }
}
