//! Shares of a pool over the last minutes, a line per backend, with the moments at which something changed.
//!
//! Lines differ by dash as well as by colour and carry their name at the right end; a gap in the data is a gap in the
//! line. The same facts stand in words in the description of the drawing.

use evenkeel_control::{Marker, Point};
use evenkeel_guard::PoolView;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::Name;
use maud::{Markup, html};

use super::{bars, words};

/// Spans of the time axis in seconds; the shortest that holds all points is taken.
const SPANS: [u64; 4] = [120, 300, 600, 900];
/// Steps of the time axis.
const STEPS: u64 = 5;
/// Points of a line at most; more are thinned.
const POINTS_MAX: usize = 300;
/// Seconds without a point that break a line.
const GAP_MS: u64 = 5_000;
/// Markers drawn, the newest ones.
const MARKERS_MAX: usize = 24;
/// Dash and colour classes of the style sheet.
const STYLES: usize = 8;
/// Rows for the words of markers that stand close together.
const ROWS: usize = 3;

const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 1_080.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 190.0;
const HEIGHT: f64 = 214.0;
/// Distance of the names at the right end.
const NAME_STEP: f64 = 15.0;
/// Width of a letter of a marker's words, with some air.
const LETTER: f64 = 6.4;

/// Maps time and share to the drawing.
#[derive(Debug, Clone, Copy)]
struct Scale {
    start: Wall,
    end: Wall,
    top: f64,
}

impl Scale {
    fn x(self, at: Wall) -> f64 {
        let part = at.since(self.start).as_secs_f64() / self.end.since(self.start).as_secs_f64();
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn y(self, share: f64) -> f64 {
        BOTTOM - (share / self.top).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }
}

/// The drawing; words instead while there is nothing to draw.
pub(super) fn svg(pool: &PoolView, points: &[&Point], markers: &[&Marker]) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return html! { p class="quiet" { "No history yet." } };
    };
    let held = last.at.since(first.at).as_secs();
    let span = SPANS.into_iter().find(|span| *span >= held).unwrap_or(900);
    let start = Wall(last.at.0.saturating_sub(span * 1_000));
    let largest = points
        .iter()
        .flat_map(|p| p.shares.iter().filter_map(|(_, share)| *share));
    let scale = Scale {
        start,
        end: Wall(start.0 + span * 1_000),
        top: largest.fold(bars::scale(pool), f64::max).min(1.0),
    };
    let shown: Vec<&Marker> = markers
        .iter()
        .filter(|m| m.at >= scale.start && m.at <= scale.end)
        .copied()
        .collect();
    let shown = shown
        .get(shown.len().saturating_sub(MARKERS_MAX)..)
        .unwrap_or_default();
    let names: Vec<&Name> = pool.backends.iter().map(|b| &b.name).collect();
    let id = format!("chart-{}", pool.name);
    html! {
        div class="scroll" tabindex="0" role="group" aria-label={ "history of " (pool.name) } {
            svg class="chart" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                aria-labelledby={ (id) "-title " (id) "-desc" } {
                title id={ (id) "-title" } {
                    "Observed share of each backend of " (pool.name) " over the last " (span / 60) " minutes"
                }
                desc id={ (id) "-desc" } { (describe(pool, shown)) }
                (axes(scale, span))
                (intents(pool, scale))
                @for (index, name) in names.iter().enumerate() {
                    path class={ "line s" (index % STYLES) } d=(line(name, points, scale)) {}
                }
                (ends(&names, points, scale))
                (moments(shown, scale))
            }
        }
    }
}

fn describe(pool: &PoolView, markers: &[&Marker]) -> String {
    let now = pool.backends.iter().map(|b| {
        let (seen, meant) = (
            words::percent(b.observed_share),
            words::percent(b.intended_share),
        );
        format!("{} {seen} % now, {meant} % intended", b.name)
    });
    let moments = markers
        .iter()
        .map(|m| format!("{} {} {}", words::clock(m.at), m.kind, m.text));
    now.chain(moments).collect::<Vec<_>>().join("; ")
}

fn axes(scale: Scale, span: u64) -> Markup {
    let shares = [0.0, scale.top / 2.0, scale.top];
    let times = (0..=STEPS).map(|step| Wall(scale.start.0 + span * 1_000 * step / STEPS));
    html! {
        g class="axes" {
            @for share in shares {
                path d=(format!("M{LEFT} {:.1}H{RIGHT}", scale.y(share))) {}
                text x=(LEFT - 6.0) y=(format!("{:.1}", scale.y(share) + 4.0)) text-anchor="end" {
                    (words::whole_percent(Some(share)))
                }
            }
            @for at in times {
                text x=(format!("{:.1}", scale.x(at))) y=(BOTTOM + 18.0) text-anchor="middle" { (words::clock(at)) }
            }
        }
    }
}

/// The intended shares as faint lines across, each value once.
fn intents(pool: &PoolView, scale: Scale) -> Markup {
    let mut heights: Vec<String> = pool
        .backends
        .iter()
        .filter_map(|b| b.intended_share)
        .map(|share| format!("{:.1}", scale.y(share)))
        .collect();
    heights.dedup();
    html! {
        @for y in heights { path class="meant" d=(format!("M{LEFT} {y}H{RIGHT}")) {} }
    }
}

/// The line of one backend: a new stroke after each gap.
fn line(name: &Name, points: &[&Point], scale: Scale) -> String {
    let every = points.len().div_ceil(POINTS_MAX).max(1);
    // Counted from the newest point, so that the line does not tremble as old points leave.
    let newest = points.len().saturating_sub(1);
    let kept = points
        .iter()
        .enumerate()
        .filter(|(index, _)| (newest - index).is_multiple_of(every));
    let mut strokes = Vec::new();
    let mut before: Option<Wall> = None;
    for (_, point) in kept {
        let found = point.shares.iter().find(|(of, _)| of == name);
        let Some(share) = found.and_then(|(_, share)| *share) else {
            before = None;
            continue;
        };
        let near = before.is_some_and(|at| {
            point.at.since(at).as_millis() <= u128::from(GAP_MS.max(every as u64 * 2_000))
        });
        let pen = if near { 'L' } else { 'M' };
        strokes.push(format!(
            "{pen}{:.1} {:.1}",
            scale.x(point.at),
            scale.y(share)
        ));
        before = Some(point.at);
    }
    strokes.concat()
}

/// Names and present shares at the right end, moved apart where they would overlap.
fn ends(names: &[&Name], points: &[&Point], scale: Scale) -> Markup {
    let last = points.last();
    let mut ends: Vec<(f64, usize, f64)> = names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let (_, share) = last?.shares.iter().find(|(of, _)| of == *name)?;
            share.map(|share| (scale.y(share), index, share))
        })
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = TOP - NAME_STEP;
    for end in &mut ends {
        end.0 = end.0.max(lowest + NAME_STEP);
        lowest = end.0;
    }
    let surplus = (lowest - (HEIGHT - 8.0)).max(0.0);
    html! {
        @for (y, index, share) in &ends {
            @let y = y - surplus;
            path class={ "line s" (index % STYLES) } d=(format!("M{:.0} {y:.1}h18", RIGHT + 6.0)) {}
            text class="end" x=(RIGHT + 29.0) y=(format!("{:.1}", y + 4.0)) {
                (short(names.get(*index).map_or("", |n| n.as_str()), 9)) " " (words::percent(Some(*share)))
            }
        }
    }
}

fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(letters - 1).collect();
    out.push('…');
    out
}

/// A line down at each moment, with its words in the first row that has room.
fn moments(markers: &[&Marker], scale: Scale) -> Markup {
    let mut ends = [f64::MIN; ROWS];
    let mut placed = Vec::new();
    for marker in markers {
        let x = scale.x(marker.at);
        let text = short(&format!("{} {}", marker.kind, marker.text), 30);
        let width = text.chars().count() as f64 * LETTER + 12.0;
        // Near the right end the words stand to the left of their line.
        let flipped = x + width > RIGHT + 60.0;
        let from = if flipped { x - width } else { x };
        let row = ends.iter().position(|end| *end < from);
        if let Some(end) = row.and_then(|row| ends.get_mut(row)) {
            *end = from + width;
        }
        placed.push((x, row, flipped, text, marker));
    }
    html! {
        @for (x, row, flipped, text, marker) in &placed {
            g class={ "moment " (marker.kind) } {
                title { (words::clock(marker.at)) " " (marker.kind) " " (marker.text) }
                path d=(format!("M{x:.1} {:.0}V{BOTTOM}", row.map_or(TOP, |row| 6.0 + row as f64 * 13.0))) {}
                @if let Some(row) = row {
                    @let anchor = if *flipped { "end" } else { "start" };
                    @let shift = if *flipped { -5.0 } else { 5.0 };
                    text x=(format!("{:.1}", x + shift)) y=(15.0 + *row as f64 * 13.0) text-anchor=(anchor) { (text) }
                }
            }
        }
    }
}
