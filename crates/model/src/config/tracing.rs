//! `[tracing]`: which requests are told to a collector of traces.

use crate::units::Ratio;

/// `[tracing]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tracing {
    /// Where spans go by OTLP over HTTP.
    pub endpoint: String,
    /// What Evenkeel is called in them.
    pub service_name: String,
    /// How many of the requests that begin a trace here are told.
    pub sample: Ratio,
    /// Whether a trace that comes with a request goes on; else each begins here.
    pub follow: bool,
}
