//! The shell around guard: real clocks, timers, workers, checks, journal and notices.
//!
//! Events come in, [`evenkeel_guard::Guard::step`] decides, actions are carried out in order. This room decides
//! nothing about traffic itself: it starts the data plane from the journal ([`boot`]), keeps runtime facts such as
//! health ([`fleet`]), does off the loop what takes time ([`judge`]), and hands everybody else a [`Handle`].
//!
//! Limits: one control thread; a command waits in a bounded queue; a busy queue refuses rather than grows.

pub mod boot;
pub mod certificates;
mod clock;
mod counters;
mod drains;
mod facts;
mod fleet;
mod handle;
pub mod judge;
mod members;
pub mod recordings;
mod series;
mod service;
mod shell;
pub mod source;
mod token;

pub use boot::{Options, Prepared, StartError};
pub use clock::wall;
pub use counters::{BackendCounters, PoolCounters, WorkerCounters};
pub use drains::{Drain, Drained, JudgedDrain, Undrain, judge_drain};
pub use evenkeel_proxy::SpanCounts;
pub use evenkeel_proxy::tls::{Dialled, Dials, Handshake, Handshakes};
pub use evenkeel_proxy::{
    BackendTraffic, CLASSES, Hedges, Http2Counts, OverloadView, Probes, RefusedHeaders,
    RouteTraffic, ShedBy, Traffic, TunnelCounts,
};
pub use facts::{Leads, RouteCounter, forecast_load};
pub use handle::{
    Applied, Apply, CommandError, DeploymentCommand, Handle, IncidentAction, Published, Reading,
};
pub use judge::Judged;
pub use members::{Looks, step_in_words};
pub use series::{Marker, Point, Series};
pub use shell::{Ended, run};
pub use token::{TokenError, Tokens, Who};
