//! The data plane end to end: real sockets, scripted raw origins, everything bounded in time.

mod basics;
mod support;
