//! One scenario format, two stages: simulated and live.
//!
//! A scenario is a TOML file ([`scenario`]) that says which world there is, what happens in it and what must hold.
//! [`sim`] runs it on a virtual clock over the event engine with the real guard; [`live`] runs it on an isolated
//! instance with real sockets. Both hand what they see, second by second, to the same referee, so that a drill means
//! the same on both. The JSON Schema is made from the types and decides the shape of a file.

mod command;
mod dial;
mod edit;
pub mod live;
pub mod outcome;
mod referee;
mod refusal;
mod registry;
pub mod scenario;
mod shipped;
pub mod sim;
mod steps;

pub use outcome::{Outcome, Report, Summary};
pub use scenario::{Scenario, Stage};
pub use shipped::{Shipped, shipped};

/// The JSON Schema of the scenario format, as it is printed and shipped.
pub fn schema() -> String {
    let mut text = format!("{:#}", schema_value());
    text.push('\n');
    text
}

pub(crate) fn schema_value() -> serde_json::Value {
    let schema = schemars::schema_for!(Scenario);
    let mut value = schema.to_value();
    if let Some(object) = value.as_object_mut() {
        object.insert(
            "title".to_owned(),
            "Evenkeel drill scenario, version 1".into(),
        );
    }
    value
}
