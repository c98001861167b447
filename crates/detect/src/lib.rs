//! Always-valid statistics: is the traffic where it should be, are requests harmed, since when.
//!
//! Every test here may be looked at after each tick, for ever, without its error rate growing:
//! the tests are e-detectors (sums of e-values over every possible start, so an old quiet past
//! does not dilute a new fault) and confidence sequences. Fixed-sample tests do not keep their
//! promise under that use, and windows of them are blind at low rates (docs/detector.md).
//!
//! - [`share`]: observed against expected (fidelity) or intended (intent) shares, with a tolerance
//! - [`round_robin`]: the deterministic bound, which sees a fidelity fault within a few cycles
//! - [`load`]: `least_request`, whose shares follow speed on purpose: in-flight over capacity
//! - [`harm`]: the rate of harmed requests against the declared objective
//! - [`shift`]: one backend or version against the rest: slower, or failing more
//! - [`sequence`], [`multinomial`]: confidence sequence of a share, evidence against a share vector
//! - [`onset`]: when a change began, with an interval
//! - [`arl`]: the false-alarm budget that all tests of a pool divide among them
//!
//! Pure: time is passed in, nothing is drawn, logarithms come from one library on every platform.
//! A tick is the caller's sampling interval, one second in the product.

pub mod arl;
pub mod band;
mod bank;
pub mod harm;
mod joint;
pub mod load;
pub mod multinomial;
pub mod onset;
pub mod round_robin;
pub mod sequence;
pub mod share;
pub mod shift;
mod special;
