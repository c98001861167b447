//! What a scenario commands, in the words of the guard. The same on both stages.

use evenkeel_guard::IncidentVerb;

use crate::scenario::{Operator, OperatorVerb};

/// The author of what a scenario does.
pub(crate) const AUTHOR: &str = "drill";

/// What the operator does about the open incident.
pub(crate) fn verb(command: &Operator) -> IncidentVerb {
    let text = command.text.clone().unwrap_or_else(|| AUTHOR.to_owned());
    match command.incident {
        OperatorVerb::Ack => IncidentVerb::Ack,
        OperatorVerb::Note => IncidentVerb::Note(text),
        OperatorVerb::Escalate => IncidentVerb::Escalate,
        OperatorVerb::Resolve => IncidentVerb::Resolve(text),
        OperatorVerb::FalseAlarm => IncidentVerb::FalseAlarm(text),
    }
}
