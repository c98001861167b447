//! The real binary end to end: real processes, sockets, files and signals, everything bounded in time.
//!
//! Longer versions run with EVENKEEL_LONG=1.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod abuse;
mod boot;
mod boot_audit;
mod boot_disk;
mod boot_kill;
mod boot_steps;
mod change_confirm;
mod change_contract;
mod change_outage;
mod change_parts;
mod churn;
mod clock;
mod deploy;
mod drain;
mod expect;
mod foresight;
mod incident;
mod keys;
mod memory;
mod operators;
mod roster;
mod service;
mod support;
mod traffic;
mod webhook;
mod wire;
