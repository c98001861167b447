//! All rules in one list, by family.

mod capacity;
mod operation;
mod traffic;

use crate::rule::Rule;

/// Every rule, in the order of its id within its family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().copied().flatten()
}

static FAMILIES: &[&[Rule]] = &[traffic::RULES, capacity::RULES, operation::RULES];
