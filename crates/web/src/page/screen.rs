//! The one screen: what is published, put in the order in which a person asks.

use evenkeel_control::{Marker, Point, Published};
use evenkeel_guard::GuardView;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Config;
use evenkeel_model::ids::Name;
use maud::{Markup, html};

use super::layout::{self, Follow};
use super::{answers, chart, pool, recent, shapes, top};

/// What the screen is drawn from.
#[derive(Debug)]
pub(crate) struct Screen<'a> {
    /// When it is drawn; the data may be older.
    pub(crate) now: Wall,
    /// `None` until the instance booted.
    pub(crate) view: Option<&'a GuardView>,
    /// What runs.
    pub(crate) config: &'a Config,
    /// The last minutes of each pool, oldest first.
    pub(crate) points: Vec<(Name, Vec<&'a Point>)>,
    /// Moments that mark the chart, oldest first.
    pub(crate) markers: Vec<&'a Marker>,
}

impl<'a> Screen<'a> {
    /// Of the present.
    pub(super) fn of(published: &'a Published, now: Wall) -> Self {
        let pools = published.config.pools.iter();
        Self {
            now,
            view: published.view.as_ref(),
            config: &published.config,
            points: pools
                .map(|pool| {
                    let points = published.series.points(&pool.name);
                    (pool.name.clone(), points.collect())
                })
                .collect(),
            markers: published.series.markers().collect(),
        }
    }

    /// The whole page.
    pub(super) fn page(&self) -> Markup {
        let body = html! { main id="live" { (self.fragment()) } };
        layout::page(&self.title(), Follow::Live, &body)
    }

    /// The title: the state comes first, so that a narrow tab tells it.
    fn title(&self) -> String {
        let word = self
            .view
            .map_or("STARTING", |view| shapes::state(view.state).0);
        format!("{word} · Evenkeel")
    }

    /// What changes from second to second.
    pub(super) fn fragment(&self) -> Markup {
        let Some(view) = self.view else {
            return html! {
                header class="top" data-title=(self.title()) {
                    p class="state mute" { "STARTING" }
                    p { "The instance is starting; the first figures come within a second." }
                }
            };
        };
        html! {
            (top::top(view, self.now, &self.title()))
            (top::notes(view))
            (answers::list(view, self.config, self.now))
            @for shown in &view.pools {
                section class="pool" aria-labelledby={ "pool-" (shown.name) } {
                    (pool::section(shown, self.config.pool(shown.name.as_str())))
                    (self.chart(shown))
                }
            }
            (recent::section(view, self.now))
            footer {
                p {
                    "Read only. Changes are commands: "
                    code { "evenkeel plan" } ", " code { "evenkeel apply" } ", " code { "evenkeel rollback" }
                    ", " code { "evenkeel incident ack" } ". Same figures: "
                    a href="/api/status" { "JSON" } ", " a href="/metrics" { "metrics" } "."
                }
            }
        }
    }

    fn chart(&self, shown: &evenkeel_guard::PoolView) -> Markup {
        let found = self.points.iter().find(|(name, _)| *name == shown.name);
        let points = found
            .map(|(_, points)| points.as_slice())
            .unwrap_or_default();
        chart::svg(shown, points, &self.markers)
    }
}
