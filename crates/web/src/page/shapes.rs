//! Shapes that go with a word and a colour, so that colour alone never carries a meaning.

use evenkeel_guard::{HealthView, Status, Verdict};
use maud::{Markup, html};

/// How a thing is: decides colour and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Under way, or known and legitimate.
    Busy,
    /// Wants a look.
    Warn,
    /// Wrong.
    Bad,
    /// Not known.
    Mute,
}

impl Tone {
    /// The class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Mute => "mute",
        }
    }
}

const TICK: &str = "M2 6.5 5 9.5 10 3";
const UP: &str = "M6 1.5 11 10.5H1Z";
const DOWN: &str = "M6 10.5 1 1.5H11Z";
const DIAMOND: &str = "M6 1 11 6 6 11 1 6Z";
const RING: &str = "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9";
const HALF: &str = "M6 1.5a4.5 4.5 0 1 0 0 9Z";
const CROSS: &str = "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5";
const BACK: &str = "M4.5 2 1.5 5l3 3M1.5 5H8a2.5 2.5 0 0 1 0 5H5";

/// A shape of 12 by 12; `filled` or drawn as a line.
fn shape(path: &str, filled: bool) -> Markup {
    let class = if filled { "shape filled" } else { "shape" };
    html! {
        svg class=(class) viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" { path d=(path) {} }
    }
}

/// A verdict: word, shape, colour.
pub(super) fn verdict(verdict: Verdict) -> Markup {
    let (tone, word, mark) = match verdict {
        Verdict::Ok => (Tone::Good, "ok", shape(TICK, false)),
        Verdict::Over => (Tone::Bad, "over", shape(UP, true)),
        Verdict::Under => (Tone::Bad, "under", shape(DOWN, true)),
        Verdict::Unknown => (Tone::Mute, "not enough data", shape(RING, false)),
        Verdict::Explained => (Tone::Busy, "explained", shape(DIAMOND, true)),
    };
    html! { span class={ "tag " (tone.class()) } { (mark) (word) } }
}

/// Health: word, shape, colour. `detail` is shown on demand.
pub(super) fn health(health: HealthView, detail: &str) -> Markup {
    let (tone, mark) = match health {
        HealthView::Up => (Tone::Good, shape(TICK, false)),
        HealthView::Down => (Tone::Bad, shape(CROSS, false)),
        HealthView::Unknown => (Tone::Mute, shape(RING, false)),
    };
    let title = (!detail.is_empty()).then_some(detail);
    html! { span class={ "tag " (tone.class()) } title=[title] { (mark) (health.as_str()) } }
}

/// The state of the instance: its word for people and its colour.
pub(super) const fn state(state: Status) -> (&'static str, Tone) {
    match state {
        Status::Ok => ("OK", Tone::Good),
        Status::Drift => ("DRIFT", Tone::Warn),
        Status::Verifying => ("VERIFYING", Tone::Busy),
        Status::Held => ("HELD", Tone::Warn),
        Status::RollingBack => ("ROLLING BACK", Tone::Bad),
        Status::Incident => ("INCIDENT", Tone::Bad),
    }
}

/// The shape of a state.
pub(super) fn state_mark(state: Status) -> Markup {
    match state {
        Status::Ok => shape(TICK, false),
        Status::Drift => shape(DIAMOND, true),
        Status::Verifying => html! {
            svg class="shape" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" {
                path d=(RING) {}
                path class="half" d=(HALF) {}
            }
        },
        Status::Held => shape(RING, false),
        Status::RollingBack => shape(BACK, false),
        Status::Incident => shape(UP, true),
    }
}
