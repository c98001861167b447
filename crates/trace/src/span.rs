//! One thing that took time, as a collector is told of it.

use std::time::{Duration, SystemTime};

use crate::context::{Context, SpanId};

/// What stands behind a key of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text; what is no UTF-8 is replaced before.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A number, for times in milliseconds.
    Real(f64),
}

/// A span that is over, of the kind `SERVER`: a request that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Whose it is.
    pub context: Context,
    /// The caller's; `None`: the trace begins here.
    pub parent: Option<SpanId>,
    /// `tracestate`, as it came with the request.
    pub state: String,
    /// What is the same for many: the method.
    pub name: String,
    /// When it was over.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it failed.
    pub is_error: bool,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}
