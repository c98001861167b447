//! The reference storefront, a plain stub backend, and the load generator that drives both.
//!
//! The shop is the workload of the demo, the drills and the tests: several replicas share one SQLite file,
//! and each has a physical capacity (a worker pool with a service time, a bounded queue, 503 beyond it),
//! so that overload is something that happens and not something that is printed. The stub has the same
//! capacity and the same faults without a store, for drills that model arbitrary backends. Faults are
//! injected in process ([`server::ServerHandle`]) or over a control address, and each undoes itself after
//! its time to live. The load generator is open-model: arrivals never wait for responses.
//!
//! Limits: HTTP/1.1 without TLS on either side; a server runs on one thread; not the data plane.

mod answer;
pub mod capacity;
mod catalog;
mod checkout;
mod control;
mod door;
pub mod fault;
pub mod load;
mod machine;
mod meter;
mod pages;
pub mod server;
pub mod shop;
pub mod store;
pub mod stub;
mod visit;

pub use capacity::{Capacity, ColdStart, Distribution, Overflow};
pub use fault::{Fault, FaultKind, HealthAnswer, Release};
pub use load::{LoadError, LoadHandle, LoadOptions, LoadReport, Mix};
pub use server::{ControlAddress, ServerError, ServerHandle};
pub use shop::{ShopOptions, run, spawn};
pub use store::{Report, StoreError, check_invariants};
pub use stub::{StubOptions, run_stub, spawn_stub};
