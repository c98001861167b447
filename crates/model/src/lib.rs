//! Names, units, clocks as values, the configuration, and the counts that rooms hand to each other.
//!
//! This is the vocabulary of the house: every other room may use it and it uses none of them.
//! It is pure: no file, no socket, no clock, no global randomness. Text comes in as `&str`
//! and time comes in as [`clock::Mono`] or [`clock::Wall`].

pub mod blame;
pub mod canonical;
pub mod clock;
pub mod config;
pub mod day;
pub mod diff;
pub mod finding;
pub mod ids;
pub mod parse;
pub mod policy;
pub mod record;
pub mod recorded;
pub mod rng;
pub mod setup;
pub mod sketch;
pub mod tally;
pub mod units;
