//! How long a connection has lived and what it has carried, so that none pins a worker or a backend for ever.
//!
//! A connection ends at the end of a message, never within one: a client is told by `Connection: close` on its last
//! response, a backend's connection is not kept for another request. Connections that began together do not end
//! together: each has a spread of its own.

use std::time::Instant;

use evenkeel_model::config::Lifetime;

/// The life of one connection so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Age {
    born: Instant,
    served: u32,
    spread: f64,
}

impl Age {
    /// A connection that begins; `spread`, 0 to 1, is its own.
    pub(crate) fn new(born: Instant, spread: f64) -> Self {
        Self {
            born,
            served: 0,
            spread,
        }
    }

    /// Whether it has not carried a request yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.served == 0
    }

    /// One more request.
    pub(crate) fn serve(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// Whether it takes no further request.
    pub(crate) fn is_over(&self, lifetime: &Lifetime) -> bool {
        lifetime.is_over(|| self.born.elapsed(), self.served, self.spread)
    }
}
