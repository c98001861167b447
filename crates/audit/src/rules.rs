//! All rules in one list, by family.

mod admin;
mod capacity;
mod connections;
mod drift;
mod fold;
mod health;
mod retries;
mod rollback;
mod timeouts;
mod tls;
mod traffic;
mod warm;

use crate::rule::Rule;

#[cfg(test)]
mod probe;

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
    health::RULES,
    timeouts::RULES,
    retries::RULES,
    connections::RULES,
    tls::RULES,
    admin::RULES,
];
