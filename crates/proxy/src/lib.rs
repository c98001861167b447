//! The data plane: listeners, workers, upstream pools, timers, tallies.
//!
//! # Life of a request
//! A listener's socket is shared by all workers; each is one thread with one single-threaded runtime. A connection
//! stays where it was placed. When a request head is complete (`http1` judges it), the worker takes the newest
//! [`Snapshot`], finds the pool by listener, host and path, lets `balance` pick a backend, takes an idle connection or
//! opens one, sends the rewritten head, and passes the response and both bodies on as they come, never holding more
//! than one block of each. A failed try is repeated only where `balance::retry` says that it is safe. Every pick and
//! every outcome is counted in the worker's own cells, under the epoch of the pick, and handed to the shell once a
//! second as a `model::tally::Tally`.
//!
//! No lock and no call into the control plane lies on that path, but that of a pool's queue while requests wait in it. What the shell may do is in [`Proxy`]: swap the
//! snapshot, look at the vitals, drain.
//!
//! # Limits
//! HTTP/1.0 and HTTP/1.1 on TCP and Unix sockets, with and without TLS, from clients also HTTP/2. `Upgrade` is passed on where the route
//! allows the protocol, and a 101 that names it makes a tunnel; CONNECT is refused.
//! Request bodies are streamed, never stored, so a request whose body has begun to flow is not repeated.

mod access;
mod age;
mod answer;
mod attempt;
mod bind;
mod buf;
mod catch_up;
pub mod check;
mod connection;
mod counts;
mod descriptors;
mod edits;
mod entry;
mod exchange;
mod fault;
mod front;
mod gate;
mod gauge;
mod handle;
mod hedge;
mod http2;
mod ident;
mod line;
mod local;
mod orca;
mod pace;
mod pressure;
mod probe;
mod pump;
mod rate;
mod record;
mod relay;
mod route_counts;
mod snapshot;
mod state;
mod sticky;
mod stream;
mod timer;
pub mod tls;
mod traced;
mod traffic;
mod tunnel;
mod turnover;
mod upstream;
mod worker;

pub use access::AccessLogError;
pub use bind::{BindError, Bound, Inherited};
pub use evenkeel_trace::SpanCounts;
pub use front::RefusedHeaders;
pub use gauge::{BackendGauge, Gauges, REPORT_FRESH};
pub use handle::{DrainReport, Event, Proxy, ProxyOptions, StartError};
pub use hedge::Hedges;
pub use http2::Http2Counts;
pub use pressure::{MemorySource, OverloadView, ShedBy, resident};
pub use probe::Probes;
pub use snapshot::{PoolRuntime, PoolState, Snapshot, SnapshotError};
pub use sticky::StickyKey;
pub use traffic::{BackendTraffic, CLASSES, RouteTraffic, Traffic};
pub use tunnel::TunnelCounts;
