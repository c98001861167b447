//! When the way back was last walked to its end, folded from the entries in their order.
//!
//! A rollback ended well when what it restored was verified or confirmed before another revision came. A revision that
//! a crash left half done is marked as rolled back as well, but nothing is restored for it, so it does not count.

use evenkeel_model::clock::Wall;
use evenkeel_model::record::{Entry, RevisionState};

/// What is known of rollbacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayBack {
    /// When the newest rollback was made that ended well, in earnest or in a drill; `None`: there is none.
    pub walked_at: Option<Wall>,
    /// When the first revision was recorded; `None`: there is none.
    pub since: Option<Wall>,
    under_way: Option<UnderWay>,
}

/// A rollback whose end is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    Undone(Wall),
    Restored(Wall),
}

impl WayBack {
    /// Takes one entry into account.
    pub fn fold(&mut self, entry: &Entry) {
        match entry {
            Entry::Revision(record) => {
                self.since.get_or_insert(record.at);
                if record.state != RevisionState::Refused {
                    self.under_way = None;
                }
            }
            Entry::RevisionState { state, at, .. } => self.moved_on(*state, *at),
            _ => {}
        }
    }

    fn moved_on(&mut self, state: RevisionState, at: Wall) {
        match (state, self.under_way) {
            (RevisionState::RolledBack, _) => self.under_way = Some(UnderWay::Undone(at)),
            (RevisionState::Verifying, Some(UnderWay::Undone(at))) => {
                self.under_way = Some(UnderWay::Restored(at));
            }
            (RevisionState::Verified | RevisionState::Confirmed, Some(UnderWay::Restored(at))) => {
                self.walked_at = Some(at);
                self.under_way = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evenkeel_model::clock::Wall;
    use evenkeel_model::ids::RevisionId;
    use evenkeel_model::record::{ContentHash, Entry, RevisionRecord, RevisionState};

    use super::WayBack;

    fn applied(number: u64, at: u64) -> Entry {
        Entry::Revision(RevisionRecord {
            id: RevisionId(number),
            parent: None,
            hash: ContentHash([0; 32]),
            text: Arc::from(""),
            author: String::new(),
            reason: String::new(),
            state: RevisionState::Applying,
            at: Wall(at),
            forced: false,
            confirm_by: None,
            keep_until: None,
            incident: None,
        })
    }

    fn moves(number: u64, state: RevisionState, at: u64) -> Entry {
        Entry::RevisionState {
            id: RevisionId(number),
            state,
            at: Wall(at),
            why: String::new(),
            incident: None,
        }
    }

    fn walked(entries: &[Entry]) -> Option<Wall> {
        let mut way_back = WayBack::default();
        for entry in entries {
            way_back.fold(entry);
        }
        way_back.walked_at
    }

    #[test]
    fn a_rollback_counts_from_when_it_was_made_once_what_it_restored_is_verified() {
        use RevisionState::{RolledBack, RollingBack, Verified, Verifying};
        let mut entries = vec![applied(1, 1), moves(1, Verified, 2), applied(2, 3)];
        entries.extend([moves(2, Verifying, 4), moves(2, RollingBack, 5)]);
        entries.extend([moves(2, RolledBack, 6), moves(1, Verifying, 6)]);
        assert_eq!(walked(&entries), None);
        entries.push(moves(1, Verified, 9));
        assert_eq!(walked(&entries), Some(Wall(6)));
        // A newer one that did not end well leaves the older one standing.
        entries.extend([
            applied(3, 20),
            moves(3, RolledBack, 21),
            moves(1, Verifying, 21),
        ]);
        entries.extend([
            applied(4, 22),
            moves(4, Verifying, 23),
            moves(4, Verified, 24),
        ]);
        assert_eq!(walked(&entries), Some(Wall(6)));
    }

    #[test]
    fn what_a_crash_left_half_done_is_no_rehearsal() {
        use RevisionState::{RolledBack, Verified, Verifying};
        let mut entries = vec![applied(1, 1), applied(2, 3), moves(2, RolledBack, 6)];
        entries.push(moves(1, Verified, 9));
        assert_eq!(walked(&entries), None);
        entries.extend([
            applied(3, 20),
            moves(3, Verifying, 21),
            moves(3, Verified, 24),
        ]);
        assert_eq!(walked(&entries), None);
    }
}
