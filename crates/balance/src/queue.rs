//! Who waits for a backend below its limit, and whose turn it is.
//!
//! A [`Queue`] is one line for a whole pool: first come, first served, whichever worker a request came in on. Nobody
//! asks again and again; whoever frees a slot offers it ([`Queue::offer`]) and the first in line is called. Who is
//! called tries to pick and either has its backend ([`Queue::leave`]) or goes back to its old place
//! ([`Queue::back`]).
//!
//! Between a look at the limits and the next step of this queue anything may happen on other workers. So an offer that
//! nobody could take is kept while somebody who was called is still looking, and given to the next who asks: **a slot
//! is never free while somebody waits uncalled.** An offer may also be for nothing (another request was faster); that
//! costs one look.
//!
//! Every step costs O(log n) for n waiting.

use std::collections::BTreeMap;

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a request is told that wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Look for a backend now; it is your turn.
    Called(Ticket),
    /// Others are before you: wait until you are called.
    Waiting(Ticket),
    /// The queue is full.
    Full,
}

/// What somebody is told who was called and found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// Wait until you are called again.
    Wait,
    /// A slot was freed meanwhile: look again.
    LookAgain,
}

/// The line of one pool. `W` wakes the one who waits.
#[derive(Debug)]
pub struct Queue<W> {
    waiting: BTreeMap<Ticket, W>,
    /// Who is looking.
    called: BTreeMap<Ticket, Looking>,
    /// Offers that nobody could take; none once nobody is looking.
    kept: usize,
    next: u64,
}

/// What is known of somebody who is looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looking {
    /// There may be more free slots than were offered: who leaves calls the next.
    is_more: bool,
    /// Its look may have come before there was something to find: it looks once more before it goes back.
    again: bool,
}

impl Looking {
    /// Looks from now on.
    const fn from_now(is_more: bool) -> Self {
        Self {
            is_more,
            again: false,
        }
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            called: BTreeMap::new(),
            kept: 0,
            next: 0,
        }
    }
}

impl<W> Queue<W> {
    /// Everybody in the line, those included who are looking now.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.called.len()
    }

    /// Whether nobody is in the line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place at the end, unless `length_max` are in the line. `wake` is dropped when it is not needed.
    pub fn join(&mut self, length_max: usize, wake: W) -> Joined {
        if self.len() >= length_max {
            return Joined::Full;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        if self.is_empty() {
            // Slots that were freed since the limits were looked at have been offered to nobody.
            self.called.insert(ticket, Looking::from_now(true));
            return Joined::Called(ticket);
        }
        if self.kept > 0 {
            self.kept -= 1;
            self.called.insert(ticket, Looking::from_now(false));
            return Joined::Called(ticket);
        }
        self.waiting.insert(ticket, wake);
        Joined::Waiting(ticket)
    }

    /// Whether it is the turn of `ticket`.
    pub fn is_called(&self, ticket: Ticket) -> bool {
        self.called.contains_key(&ticket)
    }

    /// Replaces what wakes `ticket` while it waits.
    pub fn rewake(&mut self, ticket: Ticket, wake: W) {
        if let Some(old) = self.waiting.get_mut(&ticket) {
            *old = wake;
        }
    }

    /// A slot may be free: calls the first who waits. Whoever calls this wakes what it returns.
    #[must_use = "who is called must be woken"]
    pub fn offer(&mut self) -> Option<W> {
        let called = self.call(false);
        if called.is_none() && !self.called.is_empty() {
            self.kept += 1;
        }
        called
    }

    /// Limits or backends changed: calls the first who waits, and each who leaves the line calls the next as long as
    /// there is something to find. Whoever calls this wakes what it returns.
    #[must_use = "who is called must be woken"]
    pub fn changed(&mut self) -> Option<W> {
        let called = self.call(true);
        if called.is_none() {
            self.mark();
        }
        called
    }

    /// Goes back to the old place: nothing was free.
    pub fn back(&mut self, ticket: Ticket, wake: W) -> Back {
        let Some(looking) = self.called.get_mut(&ticket) else {
            return Back::Wait;
        };
        if std::mem::take(&mut looking.again) {
            return Back::LookAgain;
        }
        if self.kept > 0 {
            self.kept -= 1;
            return Back::LookAgain;
        }
        self.called.remove(&ticket);
        self.waiting.insert(ticket, wake);
        Back::Wait
    }

    /// Leaves the line, with a backend (`is_served`) or without. Whoever calls this wakes what it returns.
    #[must_use = "who is called must be woken"]
    pub fn leave(&mut self, ticket: Ticket, is_served: bool) -> Vec<W> {
        self.waiting.remove(&ticket);
        let mut woken = Vec::new();
        match self.called.remove(&ticket) {
            Some(Looking { is_more: true, .. }) => match self.call(true) {
                Some(wake) => woken.push(wake),
                None => self.mark(),
            },
            Some(_) if !is_served => self.kept += 1,
            Some(_) | None => {}
        }
        while self.kept > 0
            && let Some(wake) = self.call(false)
        {
            self.kept -= 1;
            woken.push(wake);
        }
        if self.called.is_empty() {
            self.kept = 0;
        }
        woken
    }

    fn call(&mut self, is_more: bool) -> Option<W> {
        let (ticket, wake) = self.waiting.pop_first()?;
        self.called.insert(ticket, Looking::from_now(is_more));
        Some(wake)
    }

    /// Nobody waits, so somebody who is looking calls whoever comes later, and looks once more itself: it may have looked
    /// already.
    fn mark(&mut self) {
        if let Some(mut last) = self.called.last_entry() {
            last.insert(Looking {
                is_more: true,
                again: true,
            });
        }
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
