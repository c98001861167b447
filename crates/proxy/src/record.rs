//! What one request leaves behind: its counts and its line in the access log.

use std::rc::Rc;
use std::time::{Duration, Instant};

use evenkeel_balance::adaptive::Ticket;
use evenkeel_balance::{How, Pick, Why};
use evenkeel_http1::{RequestHead, ResponseHead};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{LogField, Session};
use evenkeel_model::ids::RevisionId;

use crate::connection::Connection;
use crate::counts::Outcome;
use crate::entry::{Entry, joined};
use crate::fault::Fault;
use crate::ident::client_hash;
use crate::route_counts::RouteCell;
use crate::state::PoolView;
use crate::traced::Traced;
use crate::turnover;

/// Facts about one request, gathered on its way.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) started: Instant,
    pub(crate) pool: Option<Rc<PoolView>>,
    pub(crate) route: Option<usize>,
    /// Where the route's requests are counted.
    pub(crate) cell: Option<Rc<RouteCell>>,
    /// Of the route that was answered without a pool; a pool knows its own.
    pub(crate) revision: Option<RevisionId>,
    pub(crate) backend: Option<usize>,
    pub(crate) attempts: u32,
    /// Status sent to the client; 499 when it left first.
    pub(crate) status: u16,
    pub(crate) fault: Option<Fault>,
    /// From the last pick to the end of the response head.
    pub(crate) upstream: Option<Duration>,
    /// Time in the queue of the pool, when it waited there.
    pub(crate) queued: Option<Duration>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Beyond the objective of the pool.
    pub(crate) harmed: bool,
    /// What became of a second try at the same time, if there was one.
    pub(crate) hedging: Option<Hedging>,
    /// Whose trace it belongs to, where traces are told. Boxed: most requests have none.
    pub(crate) traced: Option<Box<Traced>>,
    /// Its client is counted already: it would come late at the end of a tunnel.
    counted: bool,
    /// Of the response: those that the access log shows.
    pub(crate) response_headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What became of a second try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hedging {
    Won,
    Lost,
}

impl Hedging {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

impl Record {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            pool: None,
            route: None,
            cell: None,
            revision: None,
            backend: None,
            attempts: 0,
            status: 0,
            fault: None,
            upstream: None,
            queued: None,
            bytes_in: 0,
            bytes_out: 0,
            harmed: false,
            hedging: None,
            traced: None,
            counted: false,
            response_headers: Vec::new(),
        }
    }

    /// Counts the client of a request that led to a pool; only the first call counts.
    pub(crate) fn count_client(
        &mut self,
        connection: &Connection,
        request: Option<(&RequestHead, &[u8])>,
    ) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        if let (Some(pool), Some((head, bytes))) = (&self.pool, request) {
            let session = &pool.state.pool.session;
            // Looking for cookies costs a pass over the fields; without a session cookie nobody asks.
            let cookies = matches!(session, Session::Cookie(_))
                .then(|| head.values(bytes, "cookie"))
                .into_iter()
                .flatten();
            let keys = &connection.worker.shared.client_keys;
            let hash = client_hash(keys, session, cookies, connection.peer);
            pool.pool.counts.client(hash, self.harmed);
        }
    }

    /// Counts the client and writes the line. `request`: the parsed head and its bytes, if there is one.
    pub(crate) fn finish(
        &mut self,
        connection: &Connection,
        request: Option<(&RequestHead, &[u8])>,
        request_id: &str,
        now: Instant,
    ) {
        self.count_client(connection, request);
        if let Some(cell) = &self.cell {
            let took = now.saturating_duration_since(self.started);
            cell.ended(self.status, took, (self.bytes_in, self.bytes_out));
        }
        let entry = Entry {
            record: self,
            connection,
            request,
            request_id,
            now,
        };
        if let Some(log) = connection.worker.log.borrow_mut().as_mut() {
            log.line(|out| entry.write(out));
        }
        if let Some(span) = self.traced.as_ref().and_then(|traced| traced.span(&entry))
            && let Some(spans) = connection.worker.spans.borrow_mut().as_mut()
        {
            spans.add(span);
        }
    }

    /// Keeps the headers of the response that the access log shows.
    pub(crate) fn keep_headers(
        &mut self,
        fields: &[LogField],
        response: &ResponseHead,
        bytes: &[u8],
    ) {
        self.response_headers.clear();
        for field in fields {
            if let LogField::ResponseHeader(name) = field {
                let value = joined(response.values(bytes, name));
                self.response_headers.push((name.clone(), value));
            }
        }
    }
}

/// One try at a backend: counted in flight while it lives, and counted as ended exactly once. Dropped without an
/// end (the connection's task was cut off) it counts as left by the client.
#[derive(Debug)]
pub(crate) struct Try {
    pool: Rc<PoolView>,
    backend: usize,
    why: Why,
    pub(crate) picked_at: Instant,
    ended: bool,
    /// The picker knows how it went.
    told: bool,
    /// What the limit of the backend learns from it, and whether it did.
    learns: Option<Ticket>,
    learned: bool,
    /// Its slots are given back.
    free: bool,
    /// What it counts as when it is dropped without an end.
    dropped: Outcome,
}

impl Try {
    /// Takes a slot of the pool and one of the backend; `None`: another worker has taken the last.
    /// `limit`: what the request may use of the pool's.
    pub(crate) fn start(
        pool: &Rc<PoolView>,
        pick: Pick,
        now: Instant,
        limit: Option<u32>,
    ) -> Option<Self> {
        let backend = pick.member;
        let state = &pool.state;
        if state
            .total
            .as_ref()
            .is_some_and(|total| !total.try_enter(limit))
        {
            return None;
        }
        let adaptive = state.pool.adaptive;
        let entered = state.gauges.get(backend).filter(|gauge| {
            let found = adaptive.map(|_| gauge.found().level());
            gauge.try_enter(found.or(state.pool.max_in_flight))
        });
        let Some(gauge) = entered else {
            if let Some(total) = &state.total {
                total.leave();
                state.gate.offer();
            }
            return None;
        };
        pool.cells.picked(backend, pick.why);
        Some(Self {
            learns: adaptive.and_then(|_| gauge.found().begun(gauge.in_flight())),
            pool: Rc::clone(pool),
            backend,
            why: pick.why,
            picked_at: now,
            ended: false,
            told: false,
            learned: false,
            free: false,
            dropped: Outcome::ClientAbort,
        })
    }

    /// It is the second of two that run at once: without an end of its own the other one was first.
    pub(crate) const fn is_spare(&mut self) {
        self.dropped = Outcome::Cancelled;
    }

    /// Gives the slots back, to whoever waits for one; only the first call counts.
    pub(crate) fn let_go(&mut self) {
        if self.free {
            return;
        }
        self.free = true;
        if let Some(gauge) = self.pool.state.gauges.get(self.backend) {
            gauge.leave();
        }
        if let Some(total) = &self.pool.state.total {
            total.leave();
        }
        self.pool.state.gate.offer();
    }

    /// Whether the algorithm alone chose it.
    pub(crate) const fn is_free(&self) -> bool {
        matches!(self.why, Why::Free)
    }

    pub(crate) fn backend(&self) -> usize {
        self.backend
    }

    /// Books how it ended; only the first call counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if !self.ended {
            self.ended = true;
            self.pool.cells.ended(self.backend, outcome);
        }
    }

    /// Books the time to a response head.
    pub(crate) fn answered(&self, took: Duration) {
        self.pool.cells.answered(self.backend, took);
    }

    /// Tells the picker how the try went, once it is over: the time to the head or to the failure. A pick that the request
    /// forced is not told, so that no client steers the others by it.
    pub(crate) fn tell(&mut self, now: Mono, took: Duration, how: How) {
        self.learn(took, how);
        let is_told = std::mem::replace(&mut self.told, true);
        if !is_told && matches!(self.why, Why::Free | Why::Retry) {
            let mut picker = self.pool.pool.picker.borrow_mut();
            // After a swap it may have another place, or none.
            if let Some(place) = turnover::place_now(&self.pool, &picker, self.backend) {
                picker.answered(place, now, took, how);
            }
        }
    }

    /// Lets the limit of the backend learn how it went, once: at the head, because a body may take as long as it likes.
    pub(crate) fn learn(&mut self, took: Duration, how: How) {
        if !std::mem::replace(&mut self.learned, true) {
            self.adapt(took, how);
        }
    }

    /// What the limit learned at the head was no answer: the response broke off in the body.
    pub(crate) fn broke(&mut self) {
        if let Some(ticket) = self.learns.take()
            && let Some(gauge) = self.pool.state.gauges.get(self.backend)
        {
            gauge.found().broke(ticket);
        }
    }

    /// The limit of the backend learns from it, where it is found out.
    fn adapt(&self, took: Duration, how: How) {
        let state = &self.pool.state;
        let gauge = state.gauges.get(self.backend);
        if let Some(gauge) = gauge.filter(|_| state.pool.adaptive.is_some())
            && gauge
                .found()
                .ended(self.picked_at + took, self.learns, took, how)
        {
            state.gate.changed();
        }
    }

    /// Books the request as beyond the objective.
    pub(crate) fn harmed(&self, slow: bool) {
        self.pool.cells.harmed(self.backend, slow);
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if self.learns.is_some() {
            self.learn(self.picked_at.elapsed(), How::Aborted);
        }
        self.end(self.dropped);
        self.let_go();
    }
}
