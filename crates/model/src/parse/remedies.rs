//! `[pool.NAME.remedies]`: what Evenkeel may do by itself about an incident of the pool.

use super::keys;
use super::reader::{Reader, Section};
use super::reference::sub;
use crate::config::{Leave, Remedies, Remedy};

/// Reads the table of the pool `s`.
pub(super) fn read(reader: &mut Reader, s: &Section<'_>) -> Remedies {
    let mut remedies = Remedies::default();
    let Some(table) = sub(reader, s, "remedies", &keys::REMEDIES) else {
        return remedies;
    };
    let words = Leave::ALL.map(|leave| (leave.as_str(), leave));
    for remedy in Remedy::ALL {
        if let Some(leave) = table.choice(reader, remedy.as_str(), &words) {
            remedies = remedies.with(remedy, leave);
        }
    }
    remedies
}
