//! The data plane end to end: real sockets, scripted raw origins, everything bounded in time.

mod basics;
mod checks;
mod faults;
mod headers;
mod lifecycle;
mod retries;
mod streaming;
mod support;
mod tallies;
