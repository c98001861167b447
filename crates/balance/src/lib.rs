//! Every decision of the data path as a state machine: choosing a backend, health, retries, routes.
//!
//! The same code serves the proxy, the forecast and the simulation, so a prediction cannot drift from what
//! runs. It is pure: time comes in as [`evenkeel_model::clock::Mono`], chance as [`evenkeel_model::rng::Rng`].
//! One [`Picker`] belongs to one worker and one pool; nothing here is shared and nothing locks.

pub mod adaptive;
mod aware;
pub mod digest;
pub mod hash;
pub mod health;
pub mod hedge;
pub mod levels;
pub mod member;
pub mod membership;
pub mod overload;
pub mod pick;
pub mod queue;
pub mod rate;
pub mod reason;
pub mod redirect;
pub mod retry;
pub mod rewrite;
pub mod roster;
pub mod route;
mod smooth;
pub mod subset;
mod table;
pub mod zones;

pub use aware::{Drawn, FAILED_HOLDS, How, LOOKED_AT_MAX, PROBES_AT_ONCE_MAX};
pub use hash::KeyTable;
pub use member::{
    FailOpen, Member, Standing, effective_members, effective_members_by_standing, expected_shares,
};
pub use pick::{Ask, Load, Pick, Picker, SharedKeys, Spec, Why, round_robin_bound};
