//! The frame of every page: head, navigation, footer.

use maud::{DOCTYPE, Markup, html};

/// Seconds after which the screen is asked for again where no script runs.
const REFRESH_SECONDS: u32 = 5;

/// Whether a page follows the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// By script, or by refresh without one.
    Live,
    /// It stands.
    Still,
}

/// A whole page around `body`.
pub(super) fn page(title: &str, follow: Follow, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
                @if follow == Follow::Live {
                    noscript { meta http-equiv="refresh" content=(REFRESH_SECONDS); }
                    script src="/live.js" defer {}
                }
            }
            body { (body) }
        }
    }
}

/// A page below the screen, with the way back.
pub(super) fn below(title: &str, body: &Markup) -> Markup {
    let body = html! {
        nav class="back" { a href="/" { "← Evenkeel" } }
        main { (body) }
    };
    page(title, Follow::Still, &body)
}

/// What was asked for is not there.
pub(super) fn lost(why: &str) -> Markup {
    below("Evenkeel", &html! { h1 { "Not here" } p { (why) } })
}

/// A key and its value in a list of facts; nothing when there is no value.
pub(super) fn fact(key: &str, value: Option<&str>) -> Markup {
    html! {
        @if let Some(value) = value {
            div { dt { (key) } dd { (value) } }
        }
    }
}
