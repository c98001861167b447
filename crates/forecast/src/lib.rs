//! Closed forms and the event engine: what share and load each backend will get.
//!
//! [`forecast`] answers a plan: the share, rate and utilisation of each backend at the pool's peak, now and with each
//! single backend out. It uses closed forms where the algorithm has one and never invents a number: what is not known
//! is `None`. The event engine (the only one of the house) simulates clients, workers, backends and faults over the
//! real [`evenkeel_balance::Picker`]; drills in simulation run on it.

pub mod engine;
mod estimate;
pub mod outlook;

pub use engine::{Engine, UnknownName};
pub use estimate::ESTIMATES_MAX;
pub use outlook::{
    BackendForecast, FAILURES_FULL_MAX, Facts, FailureCase, Forecast, Out, PoolFacts, PoolForecast,
    WORST_CASES, forecast, forecast_without,
};
