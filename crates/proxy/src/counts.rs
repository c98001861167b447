//! What one worker counts in one pool. No atomics: only the worker's own thread touches it.
//!
//! Cells belong to an epoch and a request keeps the cells of its pick, so a response that comes after a swap is booked
//! where its pick was. The newest [`EPOCHS_KEPT`] epochs are kept.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::Why;
use evenkeel_model::ids::{Epoch, Name};
use evenkeel_model::sketch::{ClientSketch, Frequent};
use evenkeel_model::tally::{BackendTally, EPOCHS_KEPT, EpochTally, PoolTally, Waits};

/// How a try at a backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A complete response with this status.
    Status(u16),
    ConnectFailed,
    Reset,
    Timeout,
    ClientAbort,
    /// Another backend answered first.
    Cancelled,
}

/// The counts of one epoch, one cell per backend in file order.
#[derive(Debug)]
pub(crate) struct EpochCells {
    epoch: Epoch,
    cells: RefCell<Vec<BackendTally>>,
    changed: Cell<bool>,
}

impl EpochCells {
    fn new(epoch: Epoch, backends: usize) -> Self {
        Self {
            epoch,
            cells: RefCell::new(vec![BackendTally::default(); backends]),
            changed: Cell::new(true),
        }
    }

    fn with(&self, backend: usize, count: impl FnOnce(&mut BackendTally)) {
        self.changed.set(true);
        if let Some(cell) = self.cells.borrow_mut().get_mut(backend) {
            count(cell);
        }
    }

    /// Counts a pick by its reason.
    pub(crate) fn picked(&self, backend: usize, why: Why) {
        self.with(backend, |cell| match why {
            Why::Free => cell.picks_free += 1,
            Why::Forced => cell.picks_forced += 1,
            Why::Retry => cell.picks_retry += 1,
        });
    }

    /// Counts how a try ended.
    pub(crate) fn ended(&self, backend: usize, outcome: Outcome) {
        self.with(backend, |cell| {
            let outcomes = &mut cell.outcomes;
            let count = match outcome {
                Outcome::Status(500..) => &mut outcomes.server_error,
                Outcome::Status(400..) => &mut outcomes.client_error,
                Outcome::Status(_) => &mut outcomes.ok,
                Outcome::ConnectFailed => &mut outcomes.connect_failed,
                Outcome::Reset => &mut outcomes.reset,
                Outcome::Timeout => &mut outcomes.timeout,
                Outcome::ClientAbort => &mut outcomes.client_abort,
                Outcome::Cancelled => &mut outcomes.cancelled,
            };
            *count += 1;
        });
    }

    /// Counts the time to a response head.
    pub(crate) fn answered(&self, backend: usize, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.with(backend, |cell| cell.latency.record(us));
    }

    /// Counts a request that ended beyond the objective here.
    pub(crate) fn harmed(&self, backend: usize, slow: bool) {
        self.with(backend, |cell| {
            cell.harmed += 1;
            cell.slow += u64::from(slow);
        });
    }
}

/// All counts of one worker for one pool.
#[derive(Debug, Default)]
pub(crate) struct PoolCounts {
    epochs: RefCell<VecDeque<Rc<EpochCells>>>,
    clients: RefCell<ClientSketch>,
    frequent: RefCell<Frequent>,
    keys: RefCell<Frequent>,
    unpicked: Cell<u64>,
    waits: Cell<Waits>,
}

impl PoolCounts {
    /// The cells of `epoch`, made and put in order when they are new.
    pub(crate) fn epoch(&self, epoch: Epoch, backends: usize) -> Rc<EpochCells> {
        let mut epochs = self.epochs.borrow_mut();
        let known = epochs
            .iter()
            .find(|cells| cells.epoch == epoch && cells.cells.borrow().len() == backends);
        if let Some(known) = known {
            return Rc::clone(known);
        }
        let cells = Rc::new(EpochCells::new(epoch, backends));
        epochs.push_back(Rc::clone(&cells));
        while epochs.len() > EPOCHS_KEPT {
            epochs.pop_front();
        }
        cells
    }

    /// Counts a finished request of a client; client aborts and 4xx are seen but not harmed.
    pub(crate) fn client(&self, hash: u64, harmed: bool) {
        self.clients.borrow_mut().record(hash, harmed);
        self.frequent.borrow_mut().record(hash);
    }

    /// Counts a request by its key.
    pub(crate) fn key(&self, hash: u64) {
        self.keys.borrow_mut().record(hash);
    }

    /// Counts a request that no backend could be picked for.
    pub(crate) fn unpicked(&self) {
        self.unpicked.set(self.unpicked.get() + 1);
    }

    /// Counts what becomes of a request that waits.
    pub(crate) fn wait(&self, count: impl FnOnce(&mut Waits)) {
        let mut waits = self.waits.get();
        count(&mut waits);
        self.waits.set(waits);
    }

    /// The tally of this pool; starts the next window of clients.
    pub(crate) fn tally(&self, pool: &Name) -> PoolTally {
        let epochs = self.epochs.borrow();
        let newest = epochs.len().saturating_sub(1);
        let changed = epochs
            .iter()
            .enumerate()
            .filter(|(index, cells)| cells.changed.replace(false) || *index == newest);
        let epochs = changed
            .map(|(_, cells)| EpochTally {
                epoch: cells.epoch,
                backends: cells.cells.borrow().clone(),
            })
            .collect();
        PoolTally {
            pool: pool.clone(),
            epochs,
            clients: self.clients.take(),
            frequent: self.frequent.take(),
            keys: self.keys.take(),
            unpicked: self.unpicked.get(),
            waits: self.waits.get(),
        }
    }

    /// Takes back a tally that could not be handed over, so that its window of clients is not lost.
    pub(crate) fn put_back(&self, tally: &PoolTally) {
        self.clients.borrow_mut().merge(&tally.clients);
        self.frequent.borrow_mut().merge(&tally.frequent);
        self.keys.borrow_mut().merge(&tally.keys);
        for cells in self.epochs.borrow().iter() {
            if tally.epochs.iter().any(|e| e.epoch == cells.epoch) {
                cells.changed.set(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, PoolCounts};
    use evenkeel_balance::Why;
    use evenkeel_model::ids::{Epoch, Name};
    use evenkeel_model::tally::EPOCHS_KEPT;
    use std::time::Duration;

    #[test]
    fn a_late_response_is_booked_to_the_epoch_of_its_pick() {
        let counts = PoolCounts::default();
        let pool = Name::new("shop").unwrap();
        let first = counts.epoch(Epoch(1), 2);
        first.picked(1, Why::Free);
        let second = counts.epoch(Epoch(2), 2);
        second.picked(0, Why::Free);
        first.ended(1, Outcome::Status(200));
        first.answered(1, Duration::from_millis(3));
        let tally = counts.tally(&pool);
        let old = &tally.epochs[0].backends[1];
        assert_eq!((old.picks_free, old.outcomes.ok), (1, 1));
        assert_eq!(old.latency.count(), 1);
        assert_eq!(tally.epochs[1].backends[0].outcomes.total(), 0);
        let again = counts.tally(&pool);
        assert_eq!(
            again.epochs.len(),
            1,
            "only the newest when nothing changed"
        );
        assert_eq!(again.epochs[0].epoch, Epoch(2));
    }

    #[test]
    fn the_newest_epochs_are_kept() {
        let counts = PoolCounts::default();
        for n in 0..20 {
            counts.epoch(Epoch(n), 1).picked(0, Why::Free);
        }
        let tally = counts.tally(&Name::new("x").unwrap());
        assert_eq!(tally.epochs.len(), EPOCHS_KEPT);
        assert_eq!(tally.epochs.last().unwrap().epoch, Epoch(19));
    }

    #[test]
    fn a_tally_that_was_not_handed_over_loses_no_client() {
        let counts = PoolCounts::default();
        let pool = Name::new("x").unwrap();
        counts.epoch(Epoch(1), 1);
        counts.client(7, true);
        let lost = counts.tally(&pool);
        counts.put_back(&lost);
        counts.client(8, true);
        let tally = counts.tally(&pool);
        assert_eq!(tally.clients.harmed_requests, 2);
        assert_eq!(tally.frequent.total(), 2);
    }
}
