//! The line of the requests that wait for a slot of a pool.
//!
//! One [`Gate`] per pool for all workers, kept by name over reloads. A request that finds a backend below its limit
//! reads one atomic number here; the lock is taken only while somebody waits, for a few steps in memory. Whose turn
//! it is decides `balance::queue`; nobody asks in intervals.
//!
//! A slot is given back before the length of the line is looked at, and the line is joined before the limits are looked
//! at again, both in one total order: one of the two sides always sees the other.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use evenkeel_balance::queue::{Back, Joined, Queue, Ticket};

use crate::traffic::RareTimes;

/// The gate of one pool.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    in_line: AtomicU32,
    line: Mutex<Queue<Waker>>,
    waited: RareTimes,
}

impl Gate {
    /// How long those waited who are out of the line.
    pub(crate) const fn waited(&self) -> &RareTimes {
        &self.waited
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.in_line.load(Ordering::Relaxed)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_line.load(Ordering::SeqCst) == 0
    }

    /// Offers a slot to the first who waits.
    pub(crate) fn offer(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            let woken = self.with(Queue::offer);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Lets those who wait see that limits or backends have changed.
    pub(crate) fn changed(&self) {
        if !self.is_empty() {
            let woken = self.with(Queue::changed);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    fn with<T>(&self, step: impl FnOnce(&mut Queue<Waker>) -> T) -> T {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let out = step(&mut line);
        let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
        self.in_line.store(length, Ordering::SeqCst);
        drop(line);
        fence(Ordering::SeqCst);
        out
    }
}

/// Adds one unless there are `limit`.
pub(crate) fn enter(count: &AtomicU32, limit: Option<u32>) -> bool {
    let Some(limit) = limit else {
        count.fetch_add(1, Ordering::SeqCst);
        return true;
    };
    let more = |n: u32| (n < limit).then_some(n + 1);
    let entered = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    entered.is_ok()
}

/// A place in the line of a pool, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    ticket: Ticket,
    is_left: bool,
}

impl Place {
    /// Joins the line; `None`: it is full.
    pub(crate) fn join(gate: &Arc<Gate>, length_max: u32, waker: &Waker) -> Option<Self> {
        let length_max = usize::try_from(length_max).unwrap_or(usize::MAX);
        let joined = gate.with(|line| line.join(length_max, waker.clone()));
        let ticket = match joined {
            Joined::Called(ticket) | Joined::Waiting(ticket) => ticket,
            Joined::Full => return None,
        };
        Some(Self {
            gate: Arc::clone(gate),
            ticket,
            is_left: false,
        })
    }

    /// Whether it is this one's turn to look; else `waker` is woken when it is.
    pub(crate) fn is_called(&self, waker: &Waker) -> bool {
        self.gate.with(|line| {
            line.rewake(self.ticket, waker.clone());
            line.is_called(self.ticket)
        })
    }

    /// Nothing was found: whether to look again at once.
    pub(crate) fn looks_again(&self, waker: &Waker) -> bool {
        self.gate.with(|line| line.back(self.ticket, waker.clone())) == Back::LookAgain
    }

    /// A backend was found.
    pub(crate) fn served(mut self) {
        self.leave(true);
    }

    fn leave(&mut self, is_served: bool) {
        if !self.is_left {
            self.is_left = true;
            let woken = self.gate.with(|line| line.leave(self.ticket, is_served));
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(false);
    }
}
