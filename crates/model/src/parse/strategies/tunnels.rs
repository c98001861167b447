//! Tunnels and what leads to them, for the property tests.

use std::time::Duration;

use crate::config::{Tunnels, Upgrades};

pub(super) fn tunnels(idle: Duration) -> Tunnels {
    let idle = idle.max(Duration::from_millis(100));
    let drain = if idle.as_nanos().is_multiple_of(2) {
        Tunnels::default().drain
    } else {
        idle * 2
    };
    Tunnels { idle, drain }
}

/// None, the default, or several.
pub(super) fn upgrades(which: usize) -> Upgrades {
    let names = ["a/1", "b", Upgrades::DEFAULT].iter().skip(which % 4);
    Upgrades(names.map(|name| (*name).to_owned()).collect())
}
