//! One request and its response.
//!
//! Route, pick, try (again where `balance` allows it), pass the response on. Everything that a request knows lives on
//! its connection's task; the snapshot that it began with stays with it to the end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use evenkeel_balance::retry::{Decision, Failure, decide};
use evenkeel_balance::route::{Found, Request};
use evenkeel_balance::{Ask, How};
use evenkeel_http1::{BodyLength, Method, RequestHead, ResponseHead, Version};
use evenkeel_model::config::{Listener, Priority, RetryCause};

use crate::answer::{self, To};
use crate::attempt::{Failed, Upstream};
use crate::connection::{Connection, Next};
use crate::counts::Outcome;
use crate::edits::{Edited, Facts};
use crate::fault::Fault;
use crate::ident::{REQUEST_ID, RequestId, cookie, hash_key, is_sane_id};
use crate::local;
use crate::pressure::ShedBy;
use crate::probe;
use crate::record::{Record, Try};
use crate::state::{Heads, PoolView, View, Worker};
use crate::sticky::Binding;
use crate::traced::Traced;
use crate::tunnel::Tunnel;
use crate::turnover;

/// Tries of one request at most: the first, five retries (the configuration's maximum), and as many fresh
/// connections in place of stale ones.
const TRIES_MAX: usize = 12;
/// Picks that may lose their slot to another worker before a pool counts as full.
const LOOKS_MAX: usize = 8;

/// A request on its way.
pub(crate) struct Exchange<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) head: &'a RequestHead,
    /// The bytes that `head` speaks of.
    pub(crate) text: &'a [u8],
    pub(crate) id: &'a str,
    pub(crate) listener: &'a Listener,
    pub(crate) record: &'a mut Record,
    /// What the pool's hash knows the request by.
    pub(crate) key: Option<u64>,
    /// What a valid sticky cookie of the request says.
    pub(crate) binding: Option<Binding>,
    /// Of its route.
    pub(crate) priority: Priority,
    /// The protocol that the client asks for and the route lets through.
    pub(crate) upgrade: Option<&'a str>,
    /// What its route changes. Boxed: most routes change nothing.
    pub(crate) edited: Option<Box<Edited<'a>>>,
    /// Set once the client is sent an interim response, where somebody asks.
    pub(crate) interim: Option<Rc<Cell<bool>>>,
}

/// A request as routes see it.
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) text: &'a [u8],
}

impl Request for Asked<'_> {
    fn host(&self) -> Option<&str> {
        self.head.authority(self.text)
    }

    fn method(&self) -> &str {
        self.head.method_text(self.text)
    }

    fn path(&self) -> &str {
        self.head.path(self.text)
    }

    fn query(&self) -> Option<&str> {
        self.head.query(self.text)
    }

    fn any_field(&self, name: &str, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.values(self.text, name).any(is)
    }
}

/// What a backend is sought by.
pub(crate) struct Seeking<'a> {
    pub(crate) tried: &'a [usize],
    pub(crate) key: Option<u64>,
    pub(crate) bound: Option<usize>,
    pub(crate) priority: Priority,
}

/// How an exchange ended.
pub(crate) enum End {
    /// A response was passed on whole.
    Passed { keep_alive: bool },
    /// This route gives the answer; nothing was sent yet.
    Answered(usize),
    /// The backend changed the protocol as it was asked to, and the client knows.
    Switched(Box<Tunnel>),
    /// Nothing was sent to the client yet.
    Fault(Fault),
    /// A response was cut in the middle; `silent`: only a reset can tell the client so.
    Cut { fault: Fault, silent: bool },
}

/// Serves the request of `heads.request`; returns what follows and when it was over.
pub(crate) async fn serve(
    connection: &mut Connection,
    heads: &mut Heads,
    text: &[u8],
) -> (Next, Instant) {
    let mut record = Record::new(Instant::now());
    connection.half_closed = None;
    connection.age.serve();
    let head = &heads.request;
    let id = request_id(connection, head, text);
    let id = std::str::from_utf8(id.bytes(text)).unwrap_or_default();
    let view = connection.worker.view();
    if let Some(tracing) = &view.published.snapshot.config.tracing {
        let ids = &mut connection.worker.ids.borrow_mut();
        record.traced = Some(Box::new(Traced::begin(tracing, head, text, ids)));
    }
    let next = if head.max_forwards == Some(0) {
        answer_options(connection, head, id, &mut record).await
    } else {
        let end = exchange(
            connection,
            head,
            &mut heads.response,
            text,
            id,
            &view,
            &mut record,
        )
        .await;
        match end {
            End::Switched(tunnel) => {
                // Hours may pass: the snapshot must not stay for it.
                drop(view);
                record.count_client(connection, Some((head, text)));
                Box::pin(tunnel.run(connection, &mut record)).await
            }
            End::Answered(route) => {
                let to = to_client(connection, head, id);
                let answer = local::Local { head, text, to };
                answer.send(connection, &view, route, &mut record).await
            }
            end => conclude(connection, head, id, end, &mut record).await,
        }
    };
    let now = Instant::now();
    record.finish(connection, Some((head, text)), id, now);
    (next, now)
}

/// Answers a connection whose bytes are no acceptable request.
pub(crate) async fn refuse(connection: &mut Connection, fault: Fault) -> Next {
    let mut record = Record::new(Instant::now());
    let id = own_id(connection);
    let id = std::str::from_utf8(id.bytes(&[])).unwrap_or_default();
    let to = To {
        head_only: false,
        keep_alive: false,
        version: Version::Http11,
        request_id: id,
    };
    let next = send_fault(connection, fault, to, &mut record).await;
    record.finish(connection, None, id, Instant::now());
    next
}

fn own_id(connection: &Connection) -> RequestId {
    let worker = &connection.worker;
    RequestId::own(worker.shared.request_id_prefix, worker.next_request())
}

fn request_id(connection: &Connection, head: &RequestHead, text: &[u8]) -> RequestId {
    let mut given = head.values(text, REQUEST_ID);
    match (given.next(), given.next()) {
        (Some(id), None) if is_sane_id(id) => {
            let start = id.as_ptr().addr() - text.as_ptr().addr();
            RequestId::Given(start..start + id.len())
        }
        _ => own_id(connection),
    }
}

async fn exchange(
    connection: &mut Connection,
    head: &RequestHead,
    response: &mut ResponseHead,
    text: &[u8],
    id: &str,
    view: &View,
    record: &mut Record,
) -> End {
    let Some((index, listener)) = view.listener(&connection.socket.listener) else {
        return End::Fault(Fault::ListenerGone);
    };
    let body_max = listener.body_max.0;
    if matches!(head.body, BodyLength::Fixed(length) if body_max > 0 && length > body_max) {
        return End::Fault(Fault::BodyTooLarge);
    }
    let routes = &view.published.snapshot.routes;
    let (route, pool) = match routes.find(index, &Asked { head, text }) {
        Found::Route { route, pool } => {
            let Some(pool) = connection.worker.pool(view, pool) else {
                return End::Fault(Fault::NoRoute);
            };
            (route, Some(pool))
        }
        Found::Answer { route } => {
            record.revision = Some(view.published.snapshot.revision);
            (route, None)
        }
        Found::Nothing => return End::Fault(Fault::NoRoute),
        Found::Ambiguous => return End::Fault(Fault::AmbiguousPath),
    };
    record.pool.clone_from(&pool);
    record.route = Some(route);
    let priority = view.published.snapshot.priority(route);
    if let Err(fault) = admit(connection, head, text, view, (route, priority), record) {
        return End::Fault(fault);
    }
    let Some(pool) = pool else {
        return End::Answered(route);
    };
    let edits = view.published.snapshot.edits(route);
    let edited = match edits.map(|edits| edits.edited(head, text)).transpose() {
        Ok(edited) => edited.map(Box::new),
        Err(fault) => return End::Fault(fault),
    };
    let hash = pool.state.pool.affinity.hash.as_ref();
    let key = hash.and_then(|hash| hash_key(hash, head, text, connection.peer));
    if let Some(key) = key {
        pool.pool.counts.key(key);
    }
    let sticky = pool.state.sticky.as_ref();
    let binding = sticky.and_then(|sticky| {
        let now = connection.worker.wall(record.started);
        let mut cookies = head.values(text, "cookie");
        cookies.find_map(|header| sticky.read(cookie(header, sticky.cookie().as_bytes())?, now))
    });
    let mut exchange = Exchange {
        connection,
        head,
        text,
        id,
        listener,
        record,
        key,
        binding,
        priority,
        upgrade: head.upgrade_to(text, |protocol| {
            view.published.snapshot.upgrades(route, protocol)
        }),
        edited,
        interim: None,
    };
    match exchange.find_backend(&pool, response).await {
        Ok((pool, upstream, attempt)) => exchange.relay(&pool, upstream, attempt, response).await,
        Err(fault) => End::Fault(fault),
    }
}

/// Counts a request that took a route, and says whether there is room for it.
fn admit(
    connection: &Connection,
    head: &RequestHead,
    text: &[u8],
    view: &View,
    (route, priority): (usize, Priority),
    record: &mut Record,
) -> Result<(), Fault> {
    if let Some(cell) = view.routes.get(route) {
        cell.matched();
        record.cell = Some(Rc::clone(cell));
    }
    let shared = &connection.worker.shared;
    if shared.governor.pressure().refuses(priority) {
        shared.governor.count_shed(priority, ShedBy::Memory);
        if let Some(pool) = &record.pool {
            pool.pool.counts.unpicked();
        }
        record.harmed = true;
        return Err(Fault::Overloaded);
    }
    if let Some(limit) = view.published.snapshot.limit(route)
        && let Err(wait) = limit.admit(connection, head, text, record.started)
    {
        let seconds = wait.as_secs_f64().ceil();
        return Err(Fault::RateLimited(seconds.max(1.0) as u32));
    }
    Ok(())
}

impl Exchange<'_> {
    /// What its route's changes go by.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            head: self.head,
            text: self.text,
            client: &self.connection.fields,
            id: self.id,
        }
    }

    /// Tries backends until one answers with a response head or no repeat is allowed.
    async fn find_backend(
        &mut self,
        pool: &Rc<PoolView>,
        response: &mut ResponseHead,
    ) -> Result<(Rc<PoolView>, Upstream, Try), Fault> {
        let now = self.record.started;
        let mono = self.connection.worker.mono(now);
        let retry = &pool.state.pool.retry;
        pool.pool.budget.borrow_mut().on_request(retry, mono);
        let mut tried = Tried::default();
        let mut retries = 0;
        let (pool, mut attempt) = self.first_pick(pool, now).await?;
        let (pool, retry) = (&pool, &pool.state.pool.retry);
        if attempt.is_free() {
            probe::beside(&self.connection.worker, pool);
        }
        let mut fresh = false;
        for _ in 0..TRIES_MAX {
            self.record.attempts += 1;
            let backend = attempt.backend();
            self.record.backend = Some(backend);
            let asked = self.ask(pool, &mut attempt, fresh, response, &mut tried);
            let failed = match asked.await {
                Ok(upstream) => {
                    self.learn(pool, now);
                    let answer = (&upstream, &mut attempt, response.status);
                    let Some(next) = self.repeat_instead(pool, answer, retries, &mut tried) else {
                        return Ok((Rc::clone(pool), upstream, attempt));
                    };
                    retries += 1;
                    fresh = false;
                    attempt.end(Outcome::Status(response.status));
                    self.discard(upstream);
                    attempt = next;
                    continue;
                }
                Err(failed) => failed,
            };
            let Failed {
                fault,
                stale,
                written,
                touched,
            } = failed;
            let decision = decide(
                self.head.method_kind.is_idempotent(),
                !touched,
                retries,
                retry,
                &mut pool.pool.budget.borrow_mut(),
                fault.failure(stale, written),
            );
            match decision {
                Decision::RetryFresh => fresh = true,
                Decision::Retry => {
                    retries += 1;
                    fresh = false;
                    tried.push(backend);
                    self.tell_failed(fault, &mut attempt);
                    attempt.end(fault.outcome());
                    // A retry takes the place of its failed try under the limits.
                    attempt.let_go();
                    match self.look(pool, &tried, Instant::now()) {
                        Ok(next) => attempt = next,
                        Err(_nobody_left) => return Err(self.failed(fault, attempt)),
                    }
                }
                Decision::GiveUp(_) => return Err(self.failed(fault, attempt)),
            }
        }
        Err(self.failed(Fault::BackendClosed, attempt))
    }

    /// Books a try that stands as the end of the request.
    fn failed(&mut self, fault: Fault, mut attempt: Try) -> Fault {
        self.tell_failed(fault, &mut attempt);
        attempt.end(fault.outcome());
        if fault.is_backends() {
            attempt.harmed(false);
            self.record.harmed = true;
        }
        fault
    }

    /// The picker learns of a failure of the backend; what is the client's says nothing of it.
    pub(crate) fn tell_failed(&self, fault: Fault, attempt: &mut Try) {
        if fault.is_backends() {
            let now = Instant::now();
            let took = now.saturating_duration_since(attempt.picked_at);
            attempt.tell(self.connection.worker.mono(now), took, How::Failed);
        }
    }

    /// The backend of the first try; waits for one where the pool has a queue.
    async fn first_pick(
        &mut self,
        pool: &Rc<PoolView>,
        now: Instant,
    ) -> Result<(Rc<PoolView>, Try), Fault> {
        let queue = pool.state.pool.queue;
        let limit = pool.state.total_limit(self.priority);
        if pool.state.gives_way(self.priority) && !pool.state.has_room(limit) {
            self.unpicked(pool, Fault::Shed);
            return Err(Fault::Shed);
        }
        // Nobody overtakes those who wait.
        let found = if queue.is_some() && !pool.state.gate.is_empty() {
            Err(Fault::AllAtLimit)
        } else {
            self.look(pool, &Tried::default(), now)
        };
        match (found, queue) {
            (Ok(attempt), _) => Ok((Rc::clone(pool), attempt)),
            // Boxed: the few that wait must not make the task of every connection larger.
            (Err(Fault::AllAtLimit), Some(queue)) => Box::pin(self.wait_in_line(pool, queue)).await,
            (Err(fault), _) => {
                self.unpicked(pool, fault);
                Err(fault)
            }
        }
    }

    /// Books a request that got no backend at all, for `fault`.
    pub(crate) fn unpicked(&mut self, pool: &PoolView, fault: Fault) {
        if fault == Fault::Shed {
            let governor = &self.connection.worker.shared.governor;
            governor.count_shed(self.priority, ShedBy::Pool);
        }
        pool.pool.counts.unpicked();
        self.record.harmed = true;
    }

    /// Picks a backend and takes its slot; nothing is booked when there is none.
    pub(crate) fn look(
        &self,
        pool: &Rc<PoolView>,
        tried: &Tried,
        now: Instant,
    ) -> Result<Try, Fault> {
        let seeking = Seeking {
            tried: tried.list(),
            key: self.key,
            bound: self.binding.map(|binding| binding.member),
            priority: self.priority,
        };
        seeking.seek(&self.connection.worker, pool, now)
    }

    /// The pool's hedges go by how long requests without a body take until their head comes.
    fn learn(&self, pool: &PoolView, since: Instant) {
        if pool.state.pool.hedge.is_some() && self.head.body == BodyLength::None {
            let mut hedger = pool.pool.hedger.borrow_mut();
            hedger.answered(since.elapsed());
        }
    }

    /// Another backend for a request that was answered with a status that is worth a further try.
    fn repeat_instead(
        &self,
        pool: &Rc<PoolView>,
        (upstream, attempt, status): (&Upstream, &mut Try, u16),
        retries: u32,
        tried: &mut Tried,
    ) -> Option<Try> {
        let retry = &pool.state.pool.retry;
        RetryCause::of_status(status).filter(|cause| retry.on.has(*cause))?;
        let decision = decide(
            self.head.method_kind.is_idempotent(),
            !upstream.upload.touched,
            retries,
            retry,
            &mut pool.pool.budget.borrow_mut(),
            Failure::Status(status),
        );
        if decision != Decision::Retry {
            return None;
        }
        let now = Instant::now();
        let took = now.saturating_duration_since(attempt.picked_at);
        // The client never sees this answer, the picker must: a backend that fails at once is not idle.
        let mono = self.connection.worker.mono(now);
        attempt.tell(mono, took, How::of_status(status));
        tried.push(attempt.backend());
        // Without another backend the answer at hand is better than none.
        let next = self.look(pool, tried, now).ok()?;
        attempt.answered(took);
        Some(next)
    }

    fn discard(&self, mut upstream: Upstream) {
        upstream.buf.clear(&self.connection.worker.blocks);
        upstream.upload.finish(&self.connection.worker.blocks);
    }
}

impl Seeking<'_> {
    /// Picks a backend and takes its slot; nothing is booked when there is none.
    pub(crate) fn seek(
        &self,
        worker: &Worker,
        pool: &Rc<PoolView>,
        now: Instant,
    ) -> Result<Try, Fault> {
        let load = pool.state.load(worker.shared.loads.len());
        let ask = Ask {
            now: worker.mono(now),
            tried: self.tried,
            key: self.key,
            bound: self.bound,
        };
        // Another worker may take the last slot between the pick and the booking; then the next pick sees it.
        let limit = pool.state.total_limit(self.priority);
        for _ in 0..LOOKS_MAX {
            if !pool.state.has_room(limit) {
                // Those who leave some to others never wait for what they may not use.
                return Err(if pool.state.gives_way(self.priority) {
                    Fault::Shed
                } else {
                    Fault::AllAtLimit
                });
            }
            let Some(pick) = turnover::pick(pool, &load, ask) else {
                break;
            };
            if let Some(attempt) = Try::start(pool, pick, now, limit) {
                return Ok(attempt);
            }
        }
        let anybody = pool.state.members.iter().any(|m| m.effective_weight() > 0);
        Err(if anybody {
            Fault::AllAtLimit
        } else {
            Fault::NoBackend
        })
    }
}

/// Backends that already failed this request.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    list: [usize; TRIES_MAX],
    length: usize,
}

impl Tried {
    pub(crate) fn push(&mut self, backend: usize) {
        if let Some(place) = self.list.get_mut(self.length) {
            *place = backend;
            self.length += 1;
        }
    }

    pub(crate) fn list(&self) -> &[usize] {
        self.list.get(..self.length).unwrap_or_default()
    }
}

/// Answers what has to be answered and says what becomes of the connection.
async fn conclude(
    connection: &mut Connection,
    head: &RequestHead,
    id: &str,
    end: End,
    record: &mut Record,
) -> Next {
    match end {
        End::Passed { keep_alive: true } => Next::KeepAlive,
        End::Passed { keep_alive: false } => Next::Linger,
        // Never come here; what is left of them closes.
        End::Switched(_) | End::Answered(_) => Next::Close,
        End::Cut { fault, silent } => {
            record.fault = Some(fault);
            if silent { Next::Reset } else { Next::Cut }
        }
        End::Fault(fault) => {
            let to = to_client(connection, head, id);
            send_fault(connection, fault, to, record).await
        }
    }
}

/// To whom an answer goes that no backend gives.
fn to_client<'a>(connection: &Connection, head: &RequestHead, id: &'a str) -> To<'a> {
    To {
        head_only: head.method_kind == Method::Head,
        // A body that was not read leaves the connection out of step.
        keep_alive: may_go_on(connection, head) && head.body == BodyLength::None,
        version: head.version,
        request_id: id,
    }
}

/// Whether another request may come on this connection.
pub(crate) fn may_go_on(connection: &Connection, head: &RequestHead) -> bool {
    let worker = &connection.worker;
    head.keep_alive
        // Requests that were sent ahead of the end are still answered.
        && (connection.half_closed.is_none() || !connection.buf.is_empty())
        && !worker.is_draining()
        && !worker.is_tight()
        && worker
            .view()
            .listener(&connection.socket.listener)
            .is_some_and(|(_, listener)| !connection.age.is_over(&listener.lifetime))
}

pub(crate) async fn send_fault(
    connection: &mut Connection,
    fault: Fault,
    to: To<'_>,
    record: &mut Record,
) -> Next {
    record.status = fault.status();
    record.fault = Some(fault);
    if matches!(fault, Fault::ClientGone | Fault::ClientWriteTimeout) {
        return Next::Close;
    }
    let mut out = connection.worker.blocks.take_text();
    answer::write_fault(&mut out, fault, to);
    send(connection, out, to.keep_alive, record).await
}

async fn answer_options(
    connection: &mut Connection,
    head: &RequestHead,
    id: &str,
    record: &mut Record,
) -> Next {
    let to = To {
        head_only: false,
        keep_alive: may_go_on(connection, head) && head.body == BodyLength::None,
        version: head.version,
        request_id: id,
    };
    record.status = 204;
    let mut out = connection.worker.blocks.take_text();
    answer::write_options(&mut out, to);
    send(connection, out, to.keep_alive, record).await
}

pub(crate) async fn send(
    connection: &mut Connection,
    out: Vec<u8>,
    keep_alive: bool,
    record: &mut Record,
) -> Next {
    let view = connection.worker.view();
    let patience = match view.listener(&connection.socket.listener) {
        Some((_, listener)) => listener.write_timeout,
        None => crate::connection::HALF_CLOSED_GRACE,
    };
    drop(view);
    let sent = connection.write_all(&out, patience).await;
    record.bytes_out = out.len() as u64;
    connection.worker.blocks.give_text(out);
    match (sent, keep_alive) {
        (false, _) => Next::Close,
        (true, true) => Next::KeepAlive,
        (true, false) => Next::Linger,
    }
}
