//! The life of a request: arrival, pick, try, answer or failure, retry, end. Each is booked as the proxy books it.

use std::time::Duration;

use evenkeel_balance::retry::{Decision, Failure, GiveUp, decide, is_idempotent};
use evenkeel_balance::{Ask, How, Load, Pick, Why};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::RetryCause;
use evenkeel_model::ids::Epoch;
use evenkeel_model::tally::{BackendTally, Outcomes};

use super::queue::{Event, Ref};
use super::spec::NetworkFault;
use super::station::{Admission, Station};
use super::{Engine, nanos};

/// Time of an answer that needs no work: refused, rejected, failed fast.
const AT_ONCE_NS: u64 = 1_000_000;
/// Tries of one request: the first and at most five retries.
const TRIES_MAX: usize = 6;

/// Requests in flight at the members of a pool, over all workers.
struct PoolLoad<'a> {
    stations: &'a [Station],
    members: &'a [u32],
    workers: u32,
}

impl Load for PoolLoad<'_> {
    fn in_flight(&self, member: usize) -> u32 {
        let station = self.members.get(member);
        let station = station.and_then(|id| self.stations.get(*id as usize));
        station.map_or(0, |station| station.in_flight)
    }

    fn workers(&self) -> u32 {
        self.workers
    }
}

/// One request of a client.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) stream: u32,
    pub(super) client: u32,
    kind: u16,
    /// Which of the keys of its stream it carries.
    key: u32,
    /// 0: new; else the client's n-th retry.
    client_attempt: u8,
    pub(super) worker: u16,
    pub(super) pool: u32,
    pub(super) started: u64,
    retries: u8,
    /// Stations that failed it.
    tried: [u32; TRIES_MAX],
}

/// One try of a request at a backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    /// `None`: the balancer no longer waits for it.
    request: Option<Ref>,
    station: u32,
    pool: u32,
    worker: u16,
    member: u32,
    why: Why,
    epoch: Epoch,
    picked_at: u64,
    cost: f64,
    answer: Option<u16>,
    /// In a slot or in the queue of its station, which will name it again.
    held: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By a backend, with this status.
    Answered(u16),
    /// By the balancer after the last try failed (502, 504).
    Failed,
    /// No backend could be picked (503).
    Unpicked,
    /// The client left.
    Aborted,
    /// No route (404).
    Unrouted,
    /// Beyond the rate limit of its route (429).
    Limited,
    /// The balancer was down or full.
    TurnedAway,
}

impl Engine {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Arrival { stream, generation } => {
                let source = &mut self.sources[stream as usize];
                if source.generation == generation {
                    let (client, kind) = (source.draw_client(), source.draw_kind());
                    let asked = (client, kind, source.draw_key());
                    self.schedule_arrival(stream);
                    self.start(stream, asked, 0);
                }
            }
            Event::ClientRetry {
                stream,
                client,
                kind,
                key,
                attempt,
            } => self.start(stream, (client, kind, key), attempt),
            Event::Done(try_ref) => self.on_done(try_ref),
            Event::Answer(try_ref, status) => self.on_answer(try_ref, status),
            Event::NoConnection(try_ref) => self.on_failure(try_ref, Failure::Connect),
            Event::Turn { pool, more } => self.on_turn(pool, more),
            Event::WaitedLong(request_ref) => self.on_waited_long(request_ref),
        }
    }

    /// A try took too long, the whole request did, or the client lost patience: whichever the deadline was.
    pub(super) fn on_deadline(&mut self, try_ref: Ref) {
        let Some((request_ref, started, stream)) = self.tries.get(try_ref).and_then(|t| {
            let request = self.requests.get(t.request?)?;
            Some((t.request?, request.started, request.stream))
        }) else {
            return;
        };
        let patience = self.sources[stream as usize].patience_ns;
        if patience.is_some_and(|p| self.now >= started.saturating_add(p)) {
            self.close_try(try_ref, |outcomes| outcomes.client_abort += 1);
            self.sources[stream as usize]
                .disconnect(self.requests.get(request_ref).map_or(0, |r| r.client));
            self.end(request_ref, End::Aborted, None);
        } else {
            self.on_failure(try_ref, Failure::Timeout);
        }
    }

    /// A client sends a request. `asked`: client, kind and key.
    fn start(&mut self, stream: u32, asked: (u32, u16, u32), client_attempt: u8) {
        let (client, kind, key) = asked;
        self.totals.requests += 1;
        self.totals.client_retries += u64::from(client_attempt > 0);
        self.totals.in_flight += 1;
        let workers = self.workers.len() as u16;
        let source = &mut self.sources[stream as usize];
        source.in_flight += 1;
        let full = source.in_flight > source.in_flight_max;
        let worker = source.worker(client, workers);
        let pool = source.pools.get(usize::from(kind)).copied().flatten();
        let route = source.routes.get(usize::from(kind)).copied().flatten();
        let request = self.requests.insert(Request {
            stream,
            client,
            kind,
            key,
            client_attempt,
            worker,
            pool: pool.unwrap_or(u32::MAX),
            started: self.now,
            retries: 0,
            tried: [u32::MAX; TRIES_MAX],
        });
        if full || self.now < self.down_until {
            self.end(request, End::TurnedAway, None);
        } else if route.is_some_and(|route| self.is_limited(route, stream, asked)) {
            self.end(request, End::Limited, None);
        } else if let Some(pool) = pool {
            let retry = self.pools[pool as usize].pool.retry;
            let key = self
                .requests
                .get(request)
                .and_then(|this| self.ties(this).0);
            let mine = &mut self.workers[usize::from(worker)];
            if let Some(route) = route {
                mine.matched(route);
            }
            let mine = &mut mine.pools[pool as usize];
            mine.budget.on_request(&retry, Mono(self.now));
            if let Some(key) = key {
                mine.keys.record(key);
            }
            self.place(request);
        } else {
            self.end(request, End::Unrouted, None);
        }
    }

    /// Picks a backend for the next try; nothing is booked when there is none.
    pub(super) fn look(&mut self, request_ref: Ref) -> Option<Pick> {
        let request = self.requests.get(request_ref)?;
        let (key, bound) = self.ties(request);
        let pool_id = request.pool as usize;
        let state = &self.pools[pool_id];
        let worker_count = self.workers.len() as u16;
        let total = state.pool.max_in_flight_total;
        if total.is_some_and(|limit| state.in_flight >= limit) {
            return None;
        }
        let mine = &mut self.workers[usize::from(request.worker)].pools[pool_id];
        let stations = &self.stations;
        let load = PoolLoad {
            stations,
            members: &state.stations,
            workers: u32::from(worker_count),
        };
        // What failed this request, as indices into the members of now.
        let mut tried = [0usize; TRIES_MAX];
        let mut tried_len = 0;
        for failed in request.tried.iter().take(usize::from(request.retries)) {
            if let Some(member) = state.stations.iter().position(|id| id == failed) {
                tried[tried_len] = member;
                tried_len += 1;
            }
        }
        let ask = Ask {
            now: Mono(self.now),
            tried: &tried[..tried_len],
            key,
            bound,
        };
        let picked = mine.picker.pick(&load, ask);
        picked.filter(|pick| pick.member < state.stations.len())
    }

    /// Sends a try to the backend that was picked.
    pub(super) fn send(&mut self, request_ref: Ref, pick: Pick) {
        let Some(request) = self.requests.get(request_ref) else {
            return;
        };
        let pool_id = request.pool as usize;
        let state = &self.pools[pool_id];
        let mine = &mut self.workers[usize::from(request.worker)].pools[pool_id];
        mine.picked(state.epoch, pick);
        let member = pick.member;
        let source = &self.sources[request.stream as usize];
        let kind = &source.kinds[usize::from(request.kind)];
        let ends = [
            self.now.saturating_add(nanos(state.pool.response_timeout)),
            request
                .started
                .saturating_add(nanos(state.pool.request_timeout)),
            request
                .started
                .saturating_add(source.patience_ns.unwrap_or(u64::MAX)),
        ];
        let deadline = ends.into_iter().min().unwrap_or(u64::MAX).max(self.now);
        let station = state.stations[member];
        let try_ref = self.tries.insert(Try {
            request: Some(request_ref),
            station,
            pool: request.pool,
            worker: request.worker,
            member: member as u32,
            why: pick.why,
            epoch: state.epoch,
            picked_at: self.now,
            cost: kind.cost,
            answer: kind.answer,
            held: false,
        });
        self.stations[station as usize].in_flight += 1;
        self.pools[pool_id].in_flight += 1;
        self.pools[pool_id].deadlines.add(deadline, try_ref);
        self.deliver(try_ref);
    }

    /// What ties a request to a backend: the hash of its key, and the member that its client is bound to.
    fn ties(&self, request: &Request) -> (Option<u64>, Option<usize>) {
        let state = &self.pools[request.pool as usize];
        let source = &self.sources[request.stream as usize];
        let asked = (request.client, request.kind, request.key);
        let hash = state.pool.affinity.hash.as_ref();
        let key = hash.map(|by| source.hash(by, asked));
        let binding = (request.pool, request.stream, request.client);
        let bound = self
            .bindings
            .get(&binding)
            .filter(|(_, until)| self.now < *until);
        let bound = bound.and_then(|(to, _)| state.stations.iter().position(|id| id == to));
        (key, bound)
    }

    /// A try reaches its backend, or does not.
    fn deliver(&mut self, try_ref: Ref) {
        let Some(this) = self.tries.get_mut(try_ref) else {
            return;
        };
        let state = &self.pools[this.pool as usize];
        let station = &mut self.stations[this.station as usize];
        let NetworkFault { refuse, .. } = station.network;
        let now = self.now;
        if refuse {
            self.events
                .add(now + AT_ONCE_NS, Event::NoConnection(try_ref));
            return;
        }
        if station.draws_loss() {
            let at = now.saturating_add(nanos(state.pool.connect_timeout));
            self.events.add(at, Event::NoConnection(try_ref));
            return;
        }
        match station.admit(try_ref, this.cost, now) {
            Admission::Refused => {
                self.events
                    .add(now + AT_ONCE_NS, Event::NoConnection(try_ref));
            }
            Admission::Silent => {}
            Admission::Answered(status) => {
                let at = now + AT_ONCE_NS + nanos(station.network.latency);
                self.events.add(at, Event::Answer(try_ref, status));
            }
            Admission::Started(service) => {
                this.held = true;
                self.events
                    .add(now.saturating_add(service), Event::Done(try_ref));
            }
            Admission::Queued => this.held = true,
        }
    }

    /// A slot finished a try: the next one starts, the answer goes back.
    fn on_done(&mut self, try_ref: Ref) {
        let Some(this) = self.tries.get_mut(try_ref) else {
            return;
        };
        this.held = false;
        let this = *this;
        let station = &mut self.stations[this.station as usize];
        if let Some(next) = station.release(self.now) {
            let cost = self.tries.get(next).map_or(1.0, |t| t.cost);
            let service = station.service_ns(cost, self.now);
            self.events
                .add(self.now.saturating_add(service), Event::Done(next));
        }
        if this.request.is_none() {
            self.tries.remove(try_ref);
            return;
        }
        let status = match this.answer {
            Some(status) => status,
            None if station.draws_error() => 500,
            None => 200,
        };
        let latency = nanos(station.network.latency);
        if latency > 0 {
            let at = self.now.saturating_add(latency);
            self.events.add(at, Event::Answer(try_ref, status));
        } else {
            self.on_answer(try_ref, status);
        }
    }

    fn on_answer(&mut self, try_ref: Ref, status: u16) {
        let Some(this) = self.tries.get(try_ref).copied() else {
            return;
        };
        let us = (self.now - this.picked_at) / 1_000;
        self.tell(&this, How::of_status(status));
        let next = this
            .request
            .and_then(|request| self.instead_of(request, &this, status));
        self.close_try(try_ref, |outcomes| match status {
            0..400 => outcomes.ok += 1,
            400..500 => outcomes.client_error += 1,
            _ => outcomes.server_error += 1,
        });
        if let Some(cell) = self.cell(&this) {
            cell.latency.record(us);
        }
        match (this.request, next) {
            (Some(request), Some(pick)) => self.send(request, pick),
            (Some(request), None) => {
                if status < 500 {
                    self.bind(request, &this);
                }
                self.end(request, End::Answered(status), Some(&this));
            }
            (None, _) => {}
        }
    }

    /// Another backend for a request that was answered with a status that is worth a further try.
    fn instead_of(&mut self, request_ref: Ref, this: &Try, status: u16) -> Option<Pick> {
        let retry = self.pools[this.pool as usize].pool.retry;
        RetryCause::of_status(status).filter(|cause| retry.on.has(*cause))?;
        if self.decide_on(request_ref, Failure::Status(status)) != Decision::Retry {
            return None;
        }
        let request = self.requests.get_mut(request_ref)?;
        request.tried[usize::from(request.retries)] = this.station;
        request.retries += 1;
        self.look(request_ref)
    }

    /// Whether a failure of a try is worth a further one.
    fn decide_on(&mut self, request_ref: Ref, failure: Failure) -> Decision {
        let given_up = Decision::GiveUp(GiveUp::Attempts);
        let Some(request) = self.requests.get(request_ref) else {
            return given_up;
        };
        let state = &self.pools[request.pool as usize];
        let source = &self.sources[request.stream as usize];
        let idempotent = is_idempotent(&source.kinds[usize::from(request.kind)].method);
        let mine = &mut self.workers[usize::from(request.worker)].pools[request.pool as usize];
        let deadline = request
            .started
            .saturating_add(nanos(state.pool.request_timeout));
        if self.now >= deadline || usize::from(request.retries) + 1 >= TRIES_MAX {
            return given_up;
        }
        let made = u32::from(request.retries);
        let retry = &state.pool.retry;
        decide(idempotent, true, made, retry, &mut mine.budget, failure)
    }

    /// The client of a request takes the sticky cookie that came with the answer, if one did.
    fn bind(&mut self, request_ref: Ref, this: &Try) {
        let sticky = self.pools[this.pool as usize].pool.affinity.sticky.as_ref();
        let (Some(cookie), Some(request)) = (sticky, self.requests.get(request_ref)) else {
            return;
        };
        let ttl = nanos(cookie.ttl);
        let binding = (request.pool, request.stream, request.client);
        let (to, until) = self.bindings.get(&binding).copied().unwrap_or_default();
        // As the proxy does it: a cookie is written anew when half of its time is over.
        if to != this.station || until < self.now.saturating_add(ttl / 2) {
            let until = self.now.saturating_add(ttl);
            self.bindings.insert(binding, (this.station, until));
        }
    }

    /// A try failed without a response.
    fn on_failure(&mut self, try_ref: Ref, failure: Failure) {
        let Some(this) = self.tries.get(try_ref).copied() else {
            return;
        };
        self.tell(&this, How::Failed);
        self.close_try(try_ref, |outcomes| match failure {
            Failure::Connect => outcomes.connect_failed += 1,
            Failure::Timeout => outcomes.timeout += 1,
            _ => outcomes.reset += 1,
        });
        let Some(request_ref) = this.request else {
            return;
        };
        match self.decide_on(request_ref, failure) {
            Decision::Retry | Decision::RetryFresh => {
                if let Some(request) = self.requests.get_mut(request_ref) {
                    request.tried[usize::from(request.retries)] = this.station;
                    request.retries += 1;
                }
                match self.look(request_ref) {
                    Some(pick) => self.send(request_ref, pick),
                    // As in the proxy: it had a backend, which failed.
                    None => self.end(request_ref, End::Failed, Some(&this)),
                }
            }
            Decision::GiveUp(_) => self.end(request_ref, End::Failed, Some(&this)),
        }
    }

    /// The balancer stops waiting for a try and books its outcome. The backend goes on with what it holds.
    fn close_try(&mut self, try_ref: Ref, book: impl FnOnce(&mut Outcomes)) {
        let Some(this) = self.tries.get_mut(try_ref) else {
            return;
        };
        let copy = *this;
        if this.held {
            this.request = None;
        } else {
            self.tries.remove(try_ref);
        }
        let station = &mut self.stations[copy.station as usize];
        station.in_flight = station.in_flight.saturating_sub(1);
        let state = &mut self.pools[copy.pool as usize];
        state.in_flight = state.in_flight.saturating_sub(1);
        self.offer(copy.pool, false);
        if let Some(cell) = self.cell(&copy) {
            book(&mut cell.outcomes);
        }
    }

    /// The picker of the try learns how it ended. A backend that moved in the file meanwhile is left out.
    fn tell(&mut self, this: &Try, how: How) {
        let state = &self.pools[this.pool as usize];
        let took = Duration::from_nanos(self.now - this.picked_at);
        let member = this.member as usize;
        // What a key forced is not told, so that no client steers the others by it.
        let by_algorithm = matches!(this.why, Why::Free | Why::Retry);
        if by_algorithm && state.stations.get(member) == Some(&this.station) {
            let mine = self.workers.get_mut(usize::from(this.worker));
            if let Some(mine) = mine.and_then(|w| w.pools.get_mut(this.pool as usize)) {
                mine.picker.answered(member, Mono(self.now), took, how);
            }
        }
    }

    fn cell(&mut self, this: &Try) -> Option<&mut BackendTally> {
        self.workers
            .get_mut(usize::from(this.worker))?
            .pools
            .get_mut(this.pool as usize)?
            .cell(this.epoch, this.member as usize)
    }

    /// A request is over; `at`: the try that it ended with.
    pub(super) fn end(&mut self, request_ref: Ref, end: End, at: Option<&Try>) {
        let Some(request) = self.requests.remove(request_ref) else {
            return;
        };
        let source = &mut self.sources[request.stream as usize];
        source.in_flight -= 1;
        let hash = source.client_hash(request.client);
        let took = Duration::from_nanos(self.now - request.started);
        let pool = self.pools.get(request.pool as usize);
        let p99 = pool.map_or(Duration::MAX, |state| state.pool.objective.p99);
        let (mut failed, mut slow) = (false, false);
        let totals = &mut self.totals;
        totals.in_flight -= 1;
        match end {
            End::Answered(0..400) => {
                totals.ok += 1;
                slow = took > p99;
                totals.slow += u64::from(slow);
            }
            End::Answered(400..500) | End::Unrouted | End::Limited => totals.client_error += 1,
            End::Aborted => totals.aborted += 1,
            End::Answered(_) | End::Failed | End::Unpicked | End::TurnedAway => {
                failed = true;
                totals.failed += 1;
                totals.unpicked += u64::from(end == End::Unpicked);
                totals.turned_away += u64::from(end == End::TurnedAway);
                slow = matches!(end, End::Answered(_)) && took > p99;
            }
        }
        if let Some(cell) = at.and_then(|at| self.cell(at)) {
            cell.harmed += u64::from(failed || slow);
            cell.slow += u64::from(slow);
        }
        let mine = self.workers.get_mut(usize::from(request.worker));
        if let Some(mine) = mine.and_then(|w| w.pools.get_mut(request.pool as usize))
            && end != End::TurnedAway
        {
            mine.clients.record(hash, failed || slow);
            mine.frequent.record(hash);
        }
        if failed || end == End::Aborted {
            self.retry_by_client(&request);
        }
    }

    fn retry_by_client(&mut self, request: &Request) {
        let attempt = request.client_attempt.saturating_add(1);
        let source = &mut self.sources[request.stream as usize];
        if let Some(pause) = source.retry_pause_ns(attempt) {
            let event = Event::ClientRetry {
                stream: request.stream,
                client: request.client,
                kind: request.kind,
                key: request.key,
                attempt,
            };
            self.events.add(self.now.saturating_add(pause), event);
        }
    }

    /// A backend dropped everything it held.
    pub(super) fn reset_tries_at(&mut self, station: u32) {
        for try_ref in self.tries.refs() {
            let Some(this) = self.tries.get_mut(try_ref).filter(|t| t.station == station) else {
                continue;
            };
            this.held = false;
            if this.request.is_none() {
                self.tries.remove(try_ref);
            } else {
                let bytes_written = true;
                self.on_failure(try_ref, Failure::Reset { bytes_written });
            }
        }
    }

    /// The balancer died: every client sees its request fail. Backends go on with what they hold.
    pub(super) fn drop_all_requests(&mut self) {
        for state in &mut self.pools {
            state.line.clear();
        }
        for try_ref in self.tries.refs() {
            self.close_try(try_ref, |_| {});
        }
        for source in &mut self.sources {
            source.disconnect_all();
        }
        for request_ref in self.requests.refs() {
            self.end(request_ref, End::TurnedAway, None);
        }
    }
}
