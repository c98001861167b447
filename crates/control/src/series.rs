//! The last minutes, second by second, for the chart of the page, and the moments that mark it.
//! Bounded; a reload never resets or splices it.

use std::collections::VecDeque;
use std::sync::Arc;

use evenkeel_guard::GuardView;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::Name;

/// Seconds kept.
pub(crate) const SECONDS_KEPT: usize = 900;
/// Markers kept.
pub(crate) const MARKERS_KEPT: usize = 200;

/// One second of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When.
    pub at: Wall,
    /// Share of each backend by name; absent: no picks.
    pub shares: Vec<(Name, Option<f64>)>,
    /// Requests per second.
    pub rps: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Share of requests beyond the objective.
    pub harmed_rate: Option<f64>,
}

/// A moment worth a line in the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// When.
    pub at: Wall,
    /// `revision`, `rollback`, `deploy`, `incident`, `health`.
    pub kind: &'static str,
    /// In a few words.
    pub text: String,
}

/// Points by pool, and markers.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pools: Vec<(Name, VecDeque<Arc<Point>>)>,
    markers: VecDeque<Marker>,
}

impl Series {
    /// Takes the present of every pool.
    pub(crate) fn take(&mut self, view: &GuardView) {
        self.pools
            .retain(|(name, _)| view.pools.iter().any(|pool| pool.name == *name));
        for pool in &view.pools {
            let point = Arc::new(Point {
                at: view.at,
                shares: pool
                    .backends
                    .iter()
                    .map(|b| (b.name.clone(), b.observed_share))
                    .collect(),
                rps: pool.rps,
                p99_ms: pool.p99_ms,
                harmed_rate: pool.harmed_rate,
            });
            match self.pools.iter_mut().find(|(name, _)| *name == pool.name) {
                Some((_, points)) => {
                    points.push_back(point);
                    let surplus = points.len().saturating_sub(SECONDS_KEPT);
                    points.drain(..surplus);
                }
                None => self
                    .pools
                    .push((pool.name.clone(), VecDeque::from([point]))),
            }
        }
    }

    pub(crate) fn mark(&mut self, marker: Marker) {
        self.markers.push_back(marker);
        let surplus = self.markers.len().saturating_sub(MARKERS_KEPT);
        self.markers.drain(..surplus);
    }

    /// Points of a pool, oldest first.
    pub fn points(&self, pool: &Name) -> impl Iterator<Item = &Point> {
        self.pools
            .iter()
            .filter(move |(name, _)| name == pool)
            .flat_map(|(_, points)| points)
            .map(|point| &**point)
    }

    /// Markers, oldest first.
    pub fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.markers.iter()
    }
}
