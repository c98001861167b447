//! All rules in one list, by family.

mod capacity;
mod drift;
mod operation;
mod rollback;
mod traffic;
mod warm;

use crate::rule::Rule;

/// Every rule, in the order of its id within its family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().copied().flatten()
}

static FAMILIES: &[&[Rule]] = &[
    traffic::RULES,
    capacity::RULES,
    warm::RULES,
    drift::RULES,
    rollback::RULES,
    operation::RULES,
];
