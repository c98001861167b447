//! One fault's story: status machine, timeline, escalation timers, severity, notices, post-mortem draft.
//!
//! The records themselves live in `model::record`; this room holds the rules by which they move.
//! Every function takes the record and the moment and gives back the timeline events that the caller
//! journals together with the record, so that a story can never say something that the record does not.
//! Nothing here reads a clock, sends anything or keeps state of its own: an incident survives a restart
//! because everything it needs, escalation deadlines included, stands in its record.
//!
//! Limits: one escalation policy per incident, taken as a snapshot when it opens; no repeat of the
//! policy once its last level was paged.

pub mod civil;
pub mod escalation;
pub mod lifecycle;
pub mod notice;
pub mod postmortem;
pub mod severity;

pub use escalation::{Page, due};
pub use lifecycle::{MoveError, Opening, open};
pub use notice::Notice;
pub use postmortem::{Draft, draft};
