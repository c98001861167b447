//! Distributed traces: whose trace a request belongs to (W3C Trace Context), and what Evenkeel adds to it, sent to a
//! collector by OTLP over HTTP.
//!
//! Who makes spans hands them over whole and never waits. One thread sends them; where the collector is slow or gone,
//! a bounded number waits, and the others are dropped and counted. What a route, a pool or a backend is, is not known
//! here: a span is a name, two times and what its maker says about it.

mod context;
mod exporter;
mod queue;
mod span;
mod wire;

pub use context::{Context, SpanId, TRACEPARENT, TRACESTATE, TraceId};
pub use exporter::{Exporter, SpanBuffer, SpanCounts, Target};
pub use span::{Span, Value};
