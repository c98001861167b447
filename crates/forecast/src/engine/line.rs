//! Requests that wait until a backend of their pool is below its limit: first come, first served, as in the proxy.

use super::flow::End;
use super::queue::{Event, Ref};
use super::{Engine, nanos};

impl Engine {
    /// Takes the first backend that a request can have, waits for one, or ends it.
    pub(super) fn place(&mut self, request_ref: Ref) {
        let Some(pool_id) = self.requests.get(request_ref).map(|r| r.pool as usize) else {
            return;
        };
        let state = &self.pools[pool_id];
        let queue = state.pool.queue;
        // Nobody overtakes those who wait.
        let must_wait = queue.is_some() && !state.line.is_empty();
        let pick = if must_wait {
            None
        } else {
            self.look(request_ref)
        };
        match (pick, queue) {
            (Some(pick), _) => self.send(request_ref, pick),
            (None, Some(_)) if self.anybody(request_ref) => self.join(request_ref),
            (None, _) => self.unpicked(request_ref),
        }
    }

    fn anybody(&self, request_ref: Ref) -> bool {
        let Some(request) = self.requests.get(request_ref) else {
            return false;
        };
        let mine = &self.workers[usize::from(request.worker)].pools[request.pool as usize];
        mine.picker.has_anybody()
    }

    fn join(&mut self, request_ref: Ref) {
        let Some(request) = self.requests.get(request_ref) else {
            return;
        };
        let state = &mut self.pools[request.pool as usize];
        let Some(queue) = state.pool.queue else {
            return;
        };
        let mine = &mut self.workers[usize::from(request.worker)].pools[request.pool as usize];
        if state.line.len() >= queue.length as usize {
            mine.waits.full += 1;
            self.unpicked(request_ref);
            return;
        }
        mine.waits.queued += 1;
        state.line.push_back(request_ref);
        let patience = self.sources[request.stream as usize].patience_ns;
        let ends = [
            self.now.saturating_add(nanos(queue.timeout)),
            request
                .started
                .saturating_add(nanos(state.pool.request_timeout)),
            request.started.saturating_add(patience.unwrap_or(u64::MAX)),
        ];
        let at = ends.into_iter().min().unwrap_or(u64::MAX).max(self.now);
        self.events.add(at, Event::WaitedLong(request_ref));
    }

    /// A slot of `pool` may be free: the first who waits looks. `more`: limits or backends changed, so each who finds
    /// a backend lets the next one look.
    pub(super) fn on_turn(&mut self, pool: u32, more: bool) {
        while let Some(request_ref) = self.pools[pool as usize].line.pop_front() {
            let Some(worker) = self.requests.get(request_ref).map(|r| r.worker) else {
                continue; // The balancer forgot it.
            };
            let Some(pick) = self.look(request_ref) else {
                self.pools[pool as usize].line.push_front(request_ref);
                return;
            };
            self.workers[usize::from(worker)].pools[pool as usize]
                .waits
                .served += 1;
            self.send(request_ref, pick);
            if !more {
                return;
            }
        }
    }

    /// Offers a slot of `pool` to the first who waits.
    pub(super) fn offer(&mut self, pool: u32, more: bool) {
        if !self.pools[pool as usize].line.is_empty() {
            self.events.add(self.now, Event::Turn { pool, more });
        }
    }

    /// The wait of a request is over, or the patience of its client, if it still waits.
    pub(super) fn on_waited_long(&mut self, request_ref: Ref) {
        let Some(request) = self.requests.get(request_ref) else {
            return;
        };
        let (pool, worker, client) = (request.pool as usize, request.worker, request.client);
        let line = &mut self.pools[pool].line;
        let Some(place) = line.iter().position(|other| *other == request_ref) else {
            return;
        };
        line.remove(place);
        let source = &mut self.sources[request.stream as usize];
        let left_at = source
            .patience_ns
            .map(|p| request.started.saturating_add(p));
        let waits = &mut self.workers[usize::from(worker)].pools[pool].waits;
        if left_at.is_some_and(|at| self.now >= at) {
            waits.left += 1;
            source.disconnect(client);
            self.end(request_ref, End::Aborted, None);
        } else {
            waits.timed_out += 1;
            self.unpicked(request_ref);
        }
    }

    /// Ends a request that no backend was found for.
    pub(super) fn unpicked(&mut self, request_ref: Ref) {
        if let Some(request) = self.requests.get(request_ref) {
            let mine = &mut self.workers[usize::from(request.worker)];
            mine.pools[request.pool as usize].unpicked += 1;
        }
        self.end(request_ref, End::Unpicked, None);
    }
}
