//! `adaptive`: a limit of requests at once that is found out.

use super::pool::MAX_IN_FLIGHT;
use super::reader::{Reader, Report, Section};
use super::{keys, reference::sub};
use crate::config::Adaptive;

/// `adaptive`: not beside `max_in_flight`, and with room between its bounds.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>) -> Option<Adaptive> {
    let inner = sub(reader, s, "adaptive", &keys::ADAPTIVE)?;
    let default = Adaptive::default();
    let min = inner.integer(reader, "min", &MAX_IN_FLIGHT);
    let max = inner.integer(reader, "max", &MAX_IN_FLIGHT);
    let path = s.child_path("adaptive");
    if s.has("max_in_flight") {
        let report = Report {
            id: "CFG-06",
            message: format!("`{}` has both `max_in_flight` and `adaptive`", s.path),
            effect: "two limits of the same requests: the one declared and the one found out"
                .to_owned(),
            fix: "remove `max_in_flight` and write its value as `max` of `adaptive`, or remove \
                  `adaptive`"
                .to_owned(),
        };
        reader.error(&path, inner.span.clone(), report);
    }
    let bounds = Adaptive {
        // What only one of them says does not contradict the other's default.
        min: min.unwrap_or(default.min.min(max.unwrap_or(default.min))),
        max: max.unwrap_or(default.max.max(min.unwrap_or(default.max))),
    };
    if bounds.min > bounds.max {
        let report = Report {
            id: "CFG-06",
            message: format!(
                "`{path}` has `min` = {}, above `max` = {}",
                bounds.min, bounds.max
            ),
            effect: "no limit could be found between them".to_owned(),
            fix: "lower `min`, or raise `max`".to_owned(),
        };
        reader.error(&path, inner.span.clone(), report);
    }
    Some(bounds)
}
