//! Rise and fall of a health check.
//!
//! A backend that was never checked counts as up until `fall` checks in a row failed: a start, a restart
//! or a new backend is then not an outage of its own. The price is at most `fall` intervals of traffic to
//! a backend that was dead from the beginning, which retries cover. Members that discovery adds to a pool that serves
//! already wait for a good check instead (`roster`).

/// What the checks of one backend say so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthState {
    up: bool,
    checked: bool,
    /// Results in a row that speak against `up`.
    against: u32,
}

/// A change of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// `rise` good checks in a row after being down.
    Up,
    /// `fall` failed checks in a row after being up or unknown.
    Down,
}

impl Default for HealthState {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthState {
    /// Never checked: eligible.
    pub const fn new() -> Self {
        Self {
            up: true,
            checked: false,
            against: 0,
        }
    }

    /// Found up by one check, which is enough where no check spoke before.
    pub const fn good() -> Self {
        Self {
            up: true,
            checked: true,
            against: 0,
        }
    }

    /// Whether the backend may take traffic.
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Whether any check result came in yet.
    pub const fn is_known(&self) -> bool {
        self.checked
    }

    /// Takes in one check result; returns the change that it completes. `rise` and `fall` below 1 count as 1;
    /// they may change between two calls (a reload), the row counted so far stays.
    pub fn observe(&mut self, ok: bool, rise: u32, fall: u32) -> Option<Transition> {
        self.checked = true;
        if ok == self.up {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.up { fall } else { rise }.max(1);
        if self.against < needed {
            return None;
        }
        self.up = ok;
        self.against = 0;
        Some(if ok { Transition::Up } else { Transition::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::{HealthState, Transition};
    use proptest::prelude::*;

    #[test]
    fn an_unchecked_backend_takes_traffic_until_fall_checks_failed() {
        let mut state = HealthState::new();
        assert!(state.is_up() && !state.is_known());
        assert_eq!(state.observe(false, 2, 3), None);
        assert_eq!(state.observe(false, 2, 3), None);
        assert!(state.is_up());
        assert_eq!(state.observe(false, 2, 3), Some(Transition::Down));
        assert!(!state.is_up());
    }

    #[test]
    fn one_good_check_breaks_a_row_of_failures() {
        let mut state = HealthState::new();
        for _ in 0..10 {
            assert_eq!(state.observe(false, 2, 3), None);
            assert_eq!(state.observe(false, 2, 3), None);
            assert_eq!(state.observe(true, 2, 3), None);
        }
        assert!(state.is_up());
    }

    proptest! {
        #[test]
        fn health_changes_exactly_when_the_last_row_of_results_is_long_enough(
            results in prop::collection::vec(any::<bool>(), 0..200), rise in 1u32..5, fall in 1u32..5,
        ) {
            let mut state = HealthState::new();
            for end in 1..=results.len() {
                let before = state.is_up();
                let transition = state.observe(results[end - 1], rise, fall);
                let row = results[..end].iter().rev().take_while(|r| **r == results[end - 1]).count() as u32;
                let flips = results[end - 1] != before && row >= if before { fall } else { rise };
                prop_assert_eq!(transition.is_some(), flips);
                prop_assert_eq!(state.is_up(), if flips { !before } else { before });
            }
        }
    }
}
