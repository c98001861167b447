//! All rules in one list.

mod capacity;
mod operation;
mod traffic;

use crate::rule::Rule;

/// Every rule, in the order of its id within its family.
pub fn rules() -> &'static [Rule] {
    &RULES
}

static RULES: [Rule; 9] = [
    traffic::SHARE,
    traffic::WEIGHTS,
    traffic::MEMBERS,
    traffic::DUPLICATE,
    capacity::PEAK,
    capacity::LOSS,
    operation::CHECKED,
    operation::TIMEOUTS,
    operation::ADMIN,
];
