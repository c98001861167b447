//! Tells people and systems: signed webhooks by the Standard Webhooks specification (2026-08).
//!
//! One thread and one bounded queue per receiver, so that a receiver that hangs never delays another or the control
//! loop. Every attempt has exactly one outcome, which is reported back for the timeline: nobody may believe that a
//! page went out when it did not. A secret never appears in an error, a log or a debug print.
//!
//! Limits: what waits for a retry is lost with the process; the incident's escalation deadline stands in the journal
//! and pages again after a restart. Redirects count as failures, as the specification asks.

mod notifier;
mod sign;
mod wire;

pub use notifier::{Attempt, Notifier, QUEUE_MAX, retry_after};
pub use sign::{Secret, SecretError, TOLERANCE, VerifyError, verify};
