//! The share of one backend as a bar: observed as the bar, its 95 % interval as a whisker, intended as a mark.
//!
//! All bars of a pool have the same scale, so that lengths compare.

use evenkeel_guard::{BackendView, PoolView};
use maud::{Markup, html};

use super::words;

/// Width of the drawing in its own units.
const WIDTH: f64 = 200.0;
/// Room at the right end for a mark at the full scale.
const MARGIN: f64 = 6.0;
/// Difference of expected and intended that is drawn.
const TELLING: f64 = 0.001;

/// The share at the right end of every bar of the pool: the largest one shown, rounded up to a tenth.
pub(super) fn scale(pool: &PoolView) -> f64 {
    let shown = pool.backends.iter().flat_map(|b| {
        let high = b.observed_share.and(b.ci_high);
        [b.intended_share, b.expected_share, b.observed_share, high]
    });
    let largest = shown.flatten().fold(0.1, f64::max);
    ((largest * 10.0).ceil() / 10.0).min(1.0)
}

/// The bar of a backend.
pub(super) fn bar(backend: &BackendView, scale: f64) -> Markup {
    let x = |share: f64| place(share / scale);
    let mark = |share: Option<f64>| share.map(x);
    let interval = backend.ci_low.zip(backend.ci_high);
    let expected = backend.expected_share.filter(|expected| {
        backend
            .intended_share
            .is_none_or(|intended| (expected - intended).abs() > TELLING)
    });
    let tone = match backend.verdict {
        evenkeel_guard::Verdict::Over | evenkeel_guard::Verdict::Under => "off",
        _ => "fine",
    };
    html! {
        svg class={ "bar " (tone) } viewBox="0 0 200 24" width="200" height="24" role="img" {
            title { (describe(backend)) }
            rect class="track" x="0" y="8" width=(WIDTH - MARGIN) height="9" rx="2" {}
            @if let Some(observed) = mark(backend.observed_share) {
                rect class="observed" x="0" y="8" width=(format!("{observed:.1}")) height="9" rx="2" {}
            }
            @if let Some((low, high)) = interval {
                path class="interval" d=(format!("M{0:.1} 12.5H{1:.1}M{0:.1} 9.5v6M{1:.1} 9.5v6", x(low), x(high))) {}
            }
            @if let Some(expected) = mark(expected) {
                path class="expected" d=(format!("M{expected:.1} 5.5V20")) {}
            }
            @if let Some(intended) = mark(backend.intended_share) {
                path class="intended" d=(format!("M{intended:.1} 5V20")) {}
                path class="flag" d=(format!("M{intended:.1} 6.5l-4 -5.5h8z")) {}
            }
        }
    }
}

/// Where a part of the scale lies, in units of the drawing.
fn place(part: f64) -> f64 {
    part.clamp(0.0, 1.0) * (WIDTH - MARGIN)
}

fn describe(backend: &BackendView) -> String {
    let interval = backend.ci_low.zip(backend.ci_high).map_or_else(
        || "no interval yet".to_owned(),
        |(low, high)| {
            let (low, high) = (words::percent(Some(low)), words::percent(Some(high)));
            format!("95 % interval {low} to {high} %")
        },
    );
    format!(
        "{}: intended {} %, expected {} %, observed {} %, {interval}",
        backend.name,
        words::percent(backend.intended_share),
        words::percent(backend.expected_share),
        words::percent(backend.observed_share),
    )
}
