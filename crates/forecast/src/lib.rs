//! Closed forms and the event engine: what share and load each backend will get.
//!
//! [`forecast`] answers a plan: the share, rate and utilisation of each backend at the pool's peak, now, with each
//! single backend or zone out, and on other bad days, for any balancer's [`evenkeel_model::setup::Setup`]. It uses
//! closed forms where the selection has one and never invents a number: what is not known is `None`. The event engine
//! (the only one of the house) simulates clients, workers, backends and faults over the real
//! [`evenkeel_balance::Picker`]; drills in simulation run on it.

pub mod cases;
pub mod engine;
mod estimate;
pub mod facts;
mod failover;
pub mod failures;
mod notes;
pub mod outlook;
mod pool;
mod queueing;
mod routed;
mod shares;

pub use engine::{Engine, UnknownName};
pub use estimate::{ENGINE_BACKENDS_MAX, ENGINE_STEPS_MAX, TABLE_POINTS_MAX};
pub use facts::{BackendFacts, Facts, Keys, PoolFacts, RouteFacts};
pub use outlook::{
    BackendForecast, Case, CaseKind, FAILURES_FULL_MAX, FailureCase, Forecast, Method, Out,
    PoolForecast, WORST_CASES, forecast, forecast_without,
};
