//! Connections to one backend address, kept alive per worker.
//!
//! The newest idle connection is used first, so that the number of them follows the load and the oldest ones age out.
//! A connection that the backend has closed, or on which it sent something nobody asked for, is found out when it is
//! taken (the reactor already knows, no system call is spent on a quiet one) and by the beat once a second.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use evenkeel_model::config::{Address, Lifetime};

use crate::age::Age;
use crate::fault::Fault;
use crate::stream::{Stream, host_of};
use crate::tls::Dial;

/// Idle connections that a worker keeps to one backend.
pub(crate) const IDLE_MAX: usize = 256;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    age: Age,
    since: Instant,
}

/// What connections to one backend have in common: where they go, and which [`Dial`] they were secured by; 0: none.
/// Those of another pool or of other settings are never used in their place.
pub(crate) type Place = (Address, u64);

/// A backend address as one worker sees it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: Address,
    /// How it is spoken to by TLS; `None`: it speaks plain HTTP.
    pub(crate) dial: Option<Arc<Dial>>,
    idle: RefCell<Vec<Idle>>,
    /// No snapshot names it any more: connections are closed when their request ends.
    retired: Cell<bool>,
    /// The newest generation of snapshots that was seen to name it.
    generation: Cell<u64>,
    /// A probe is under way.
    is_probed: Cell<bool>,
}

impl Origin {
    pub(crate) fn new(address: Address, dial: Option<Arc<Dial>>) -> Self {
        Self {
            address,
            dial,
            idle: RefCell::default(),
            retired: Cell::new(false),
            generation: Cell::new(0),
            is_probed: Cell::new(false),
        }
    }

    /// A new connection, over TLS where that is spoken. Bounded by the caller.
    pub(crate) async fn connect(&self) -> Result<Stream, Fault> {
        let stream = Stream::connect(&self.address).await;
        let stream = stream.map_err(|error| Fault::of_connect(&error))?;
        match &self.dial {
            None => Ok(stream),
            // Boxed: plain connections must not wait in a larger task.
            Some(dial) => Box::pin(dial.handshake(stream))
                .await
                .map_err(Fault::BackendTls),
        }
    }

    /// What the `Host` of a request of our own says.
    pub(crate) fn host(&self) -> String {
        let name = self.dial.as_ref().and_then(|dial| dial.host());
        name.unwrap_or_else(|| host_of(&self.address))
    }

    /// An idle connection that is not known to be closed and has not had its time.
    pub(crate) fn take(&self, keep: &Lifetime, cx: &mut Context<'_>) -> Option<(Stream, Age)> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut entry) = idle.pop() {
            if !entry.age.is_over(keep) && is_quiet(&mut entry.stream, cx) {
                return Some((entry.stream, entry.age));
            }
            entry.stream.say_end();
        }
        None
    }

    /// Keeps a connection for the next request. It must be at a message boundary with nothing unread.
    pub(crate) fn give(&self, stream: Stream, age: Age, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_MAX {
            let since = now;
            idle.push(Idle { stream, age, since });
        }
    }

    /// Closes what is too old or was closed by the backend.
    pub(crate) fn sweep(&self, now: Instant, cx: &mut Context<'_>) {
        self.idle.borrow_mut().retain_mut(|entry| {
            let is_kept = now.saturating_duration_since(entry.since)
                < evenkeel_model::config::Pool::KEEP_IDLE
                && is_quiet(&mut entry.stream, cx);
            if !is_kept {
                entry.stream.say_end();
            }
            is_kept
        });
    }

    /// Whether a probe may be sent: none is under way. Whoever gets `true` calls [`Origin::end_probe`].
    pub(crate) fn begin_probe(&self) -> bool {
        !self.is_probed.replace(true)
    }

    pub(crate) fn end_probe(&self) {
        self.is_probed.set(false);
    }

    /// Closes the idle connections, and those in use when they come back.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        for mut entry in self.idle.borrow_mut().drain(..) {
            entry.stream.say_end();
        }
    }

    /// The snapshots of `generation` name it (again).
    pub(crate) fn revive(&self, generation: u64) {
        self.retired.set(false);
        self.generation.set(generation);
    }

    #[cfg(test)]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The newest generation of snapshots that was seen to name it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }
}

/// Whether the backend has neither closed the connection nor sent anything on it.
fn is_quiet(stream: &mut Stream, cx: &mut Context<'_>) -> bool {
    matches!(stream.poll_read(cx, &mut [0]), Poll::Pending)
}
