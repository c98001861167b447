//! All rules in one list, by family.

mod admin;
mod capacity;
mod connections;
mod drift;
mod effects;
mod fold;
mod health;
mod retries;
mod rollback;
mod timeouts;
mod tls;
mod traffic;
mod warm;

use crate::rule::Rule;

pub(crate) use effects::mark;
pub use traffic::STEP_POINTS;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::rules;

    #[test]
    fn the_reader_of_files_knows_exactly_these_rules_and_which_have_a_limit() {
        let known = evenkeel_model::policy::RULES.iter();
        let known: BTreeMap<_, _> = known.map(|rule| (rule.id, rule.limit.is_some())).collect();
        let own: BTreeMap<_, _> = rules()
            .map(|rule| (rule.id, rule.limit.is_some()))
            .collect();
        assert_eq!(own, known);
    }
}
