//! A request that waits until a backend is below its limit.
//!
//! It waits with its connection, holds nothing of any backend, and leaves when its client does. Whoever frees a slot
//! wakes the first in line, on whichever worker it is. Configuration and backends may change meanwhile, so whose turn
//! it is looks at the newest snapshot and goes on with that one.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use evenkeel_model::config::Queue;

use crate::connection::HALF_CLOSED_GRACE;
use crate::exchange::{Exchange, Tried};
use crate::fault::Fault;
use crate::gate::Place;
use crate::record::Try;
use crate::state::PoolView;

impl Exchange<'_> {
    /// Waits in the line of `pool` for a slot. On success the pool as it is then.
    pub(crate) async fn wait_in_line(
        &mut self,
        pool: &Rc<PoolView>,
        queue: Queue,
    ) -> Result<(Rc<PoolView>, Try), Fault> {
        let since = Instant::now();
        let mut by = since + queue.timeout;
        by = by.min(self.record.started + pool.state.pool.request_timeout);
        let mut place = None;
        let counts = &pool.pool.counts;
        let found = poll_fn(|cx| {
            if place.is_none() {
                let length = pool.state.line_limit(queue.length, self.priority);
                place = Place::join(&pool.state.gate, length, cx.waker());
                if place.is_none() {
                    let fault = if length < queue.length {
                        Fault::Shed
                    } else {
                        Fault::QueueFull
                    };
                    return Poll::Ready(Err(fault));
                }
                counts.wait(|waits| waits.queued += 1);
            }
            match &place {
                Some(place) => self.poll_turn(cx, pool, place, by),
                None => Poll::Ready(Err(Fault::QueueFull)),
            }
        });
        let found = found.await;
        let waited = since.elapsed();
        self.record.queued = Some(waited);
        if place.is_some() {
            pool.state.gate.waited().record(waited);
        }
        counts.wait(|waits| match &found {
            Ok(_) => waits.served += 1,
            Err(Fault::QueueFull) => waits.full += 1,
            // Refused before it waited, and after.
            Err(Fault::Shed) if place.is_none() => {}
            Err(Fault::Shed) => waits.shed += 1,
            Err(Fault::ClientGone) => waits.left += 1,
            Err(_) => waits.timed_out += 1,
        });
        match (&found, place) {
            (Ok(_), Some(place)) => place.served(),
            (_, place) => drop(place),
        }
        if let Err(fault) = &found
            && *fault != Fault::ClientGone
        {
            self.unpicked(pool, *fault);
        }
        found
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        pool: &Rc<PoolView>,
        place: &Place,
        by: Instant,
    ) -> Poll<Result<(Rc<PoolView>, Try), Fault>> {
        if place.is_called(cx.waker()) {
            loop {
                let Some(newest) = self.newest(pool) else {
                    return Poll::Ready(Err(Fault::NoBackend));
                };
                self.rebind(pool, &newest);
                match self.look(&newest, &Tried::default(), Instant::now()) {
                    Ok(attempt) => return Poll::Ready(Ok((newest, attempt))),
                    Err(Fault::AllAtLimit) => {}
                    Err(fault) => return Poll::Ready(Err(fault)),
                }
                if !place.looks_again(cx.waker()) {
                    break;
                }
            }
        }
        self.watch_client(cx)?;
        let gone = self.connection.half_closed.map(|at| at + HALF_CLOSED_GRACE);
        let gone = gone.filter(|gone| *gone < by);
        self.connection.timer.set(gone.unwrap_or(by));
        let fault = if gone.is_some() {
            Fault::ClientGone
        } else {
            Fault::QueueTimeout
        };
        self.connection.timer.poll(cx).map(|()| Err(fault))
    }

    /// A binding names a backend by its place; it says nothing where another backend stands there now.
    fn rebind(&mut self, before: &PoolView, now: &PoolView) {
        let stays = |place: usize| {
            let old = before.state.pool.backends.get(place);
            let new = now.state.pool.backends.get(place);
            old.map(|backend| &backend.name) == new.map(|backend| &backend.name)
        };
        if self
            .binding
            .as_ref()
            .is_some_and(|bound| !stays(bound.member))
        {
            self.binding = None;
        }
    }

    /// The pool as the newest snapshot has it; `None`: it has none of this name.
    fn newest(&self, pool: &Rc<PoolView>) -> Option<Rc<PoolView>> {
        let worker = &self.connection.worker;
        let view = worker.view();
        let name = &pool.state.pool.name;
        let mut pools = view.published.snapshot.pools.iter();
        let place = pools.position(|state| state.pool.name == *name)?;
        worker.pool(&view, place)
    }
}
