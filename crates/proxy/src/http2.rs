//! HTTP/2 from clients: one connection, many requests at once, each served like any other.
//!
//! The library `h2` does frames, header compression and flow control. Every stream becomes a [`Connection`] of its own
//! whose byte stream ([`side`]) speaks HTTP/1 to the rest of this room: what routes, picks, retries, limits, waits,
//! counts and logs does not know of HTTP/2, and there is no second way of doing any of it (ADR 0021).
//!
//! What a client may make us do is bounded three ways. The library bounds what it holds: streams at once, header lists,
//! CONTINUATION frames, small frames, resets that nobody has seen yet, resets that it sends itself. [`scan`] bounds what
//! comes too often. Deadlines bound what does not come: the preface, the rest of a header block, a reader, a request.
//!
//! # Limits
//! No server push, no priorities, no CONNECT and so no WebSocket over HTTP/2. The library drops a fragment that stands
//! in `:path` before anybody sees it; what every reader from here on sees is the path without it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evenkeel_http1::{ClientFields, Refusal, parse_request};
use evenkeel_model::config::{Listener, Protocols};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, header};
use tokio::sync::futures::Notified;
use tokio::task::JoinSet;

use crate::age::Age;
use crate::bind::ListenSocket;
use crate::buf::Buf;
use crate::connection::{Connection, FAREWELL, limits};
use crate::exchange;
use crate::fault::Fault;
use crate::state::Worker;
use crate::stream::{Peer, Stream};
use crate::timer::Timer;
use link::{Link, Meter};

mod head;
mod link;
mod reply;
mod scan;
mod side;

pub(crate) use side::Side;

/// What a client may send ahead of its being passed on, per stream and per connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What of a response may wait for the socket; for the client's window nothing waits here.
const SEND_BUFFER: usize = 64 * 1024;
/// Resets that the library may send because of what the client did, in the life of a connection.
const FAULTS_MAX: usize = 256;
/// How long, and for how many bytes, a connection is kept after our last words: closing at once over unread input would
/// reset it, and the client would lose them.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// How long a client that was told to leave may go on to ask for more.
const LEAVING_MAX: Duration = FAREWELL.saturating_mul(10);

/// Clients that speak HTTP/2, counted by all workers.
#[derive(Debug, Default)]
pub(crate) struct Http2Cells {
    open: AtomicU32,
    flood: AtomicU64,
    protocol: AtomicU64,
    timeout: AtomicU64,
    malformed: AtomicU64,
}

/// Clients that speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Http2Counts {
    /// Requests that are open now.
    pub open: u32,
    /// Connections ended because too much came that asks for work and carries nothing.
    pub flood: u64,
    /// Connections ended because what came is no HTTP/2.
    pub protocol: u64,
    /// Connections ended because something did not come or was not taken in time.
    pub timeout: u64,
    /// Requests reset because they are malformed.
    pub malformed: u64,
}

impl Http2Cells {
    pub(crate) fn view(&self) -> Http2Counts {
        Http2Counts {
            open: self.open.load(Ordering::Relaxed),
            flood: self.flood.load(Ordering::Relaxed),
            protocol: self.protocol.load(Ordering::Relaxed),
            timeout: self.timeout.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }
}

/// A request as the library gives it, and where its response goes.
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A request that is counted as open while it lives.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.shared.http2.open.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.http2.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a connection whose first line was refused speaks HTTP/2 where it may.
pub(crate) fn is_begun(connection: &Connection, refusal: Refusal) -> bool {
    let view = connection.worker.view();
    let listener = view.listener(&connection.socket.listener);
    refusal == Refusal::VersionMajor
        && connection.age.is_new()
        && connection.buf.filled().starts_with(b"PRI * HTTP/2.0\r\n")
        && listener.is_some_and(|(_, listener)| listener.protocols.http2)
}

/// Serves a connection that speaks HTTP/2 to its end. What of it was read stands in its buffer.
pub(crate) async fn run(connection: Connection) {
    let Connection {
        worker,
        stream,
        mut buf,
        mut timer,
        peer,
        socket,
        fields,
        age,
        ..
    } = connection;
    let is_tls = stream.is_tls();
    let meter = Rc::new(Meter::new());
    let link = Link::new(stream, buf.filled().to_vec(), Rc::clone(&meter));
    buf.clear(&worker.blocks);
    let view = worker.view();
    let listener = view
        .listener(&socket.listener)
        .map(|(_, listener)| listener);
    let patience = listener.map_or(FAREWELL, |listener| listener.head_timeout);
    let builder = builder(listener);
    drop(view);
    timer.set(Instant::now() + patience);
    let mut handshake = pin!(builder.handshake::<Link, Bytes>(link));
    let shaken = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    });
    let counts = &worker.shared.http2;
    let h2 = match shaken.await {
        Some(Ok(h2)) => h2,
        Some(Err(error)) => {
            tracing::debug!(%error, "a connection began like HTTP/2 and was none");
            counts.protocol.fetch_add(1, Ordering::Relaxed);
            return;
        }
        None => {
            counts.timeout.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    let mut driver = Driver {
        h2,
        meter,
        jobs: JoinSet::new(),
        place: Place {
            worker: Rc::clone(&worker),
            peer,
            socket,
            fields: Rc::new(ClientFields::clone(&fields).over_http2()),
            is_tls,
        },
        age,
        timer,
        idle_since: Instant::now(),
        leaving: None,
        closing: None,
    };
    let mut look = pin!(worker.look.notified());
    poll_fn(|cx| driver.poll(cx, &worker, look.as_mut())).await;
    driver.part().await;
}

fn builder(listener: Option<&Listener>) -> server::Builder {
    let limits = limits(listener);
    let protocols = listener.map_or_else(Protocols::default, |listener| listener.protocols);
    let list_max = u32::try_from(limits.head_max).unwrap_or(u32::MAX);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(protocols.streams_max)
        .max_header_list_size(list_max)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(usize::try_from(protocols.streams_max).unwrap_or(0))
        .max_local_error_reset_streams(Some(FAULTS_MAX));
    builder
}

/// What all requests of a connection share.
struct Place {
    worker: Rc<Worker>,
    peer: Peer,
    socket: Arc<ListenSocket>,
    fields: Rc<ClientFields>,
    is_tls: bool,
}

/// One connection.
struct Driver {
    h2: server::Connection<Link, Bytes>,
    meter: Rc<Meter>,
    /// The requests; a task each, so that none waits for another.
    jobs: JoinSet<()>,
    place: Place,
    age: Age,
    timer: Timer,
    /// When the last request ended.
    idle_since: Instant,
    /// When the client was told to open no more requests.
    leaving: Option<Instant>,
    /// When it was told that this is the end.
    closing: Option<Instant>,
}

/// What a deadline is about.
#[derive(Debug, Clone, Copy)]
enum Late {
    /// The client does not end a connection that is over.
    Close,
    /// The socket takes nothing.
    Write,
    /// A header block does not end.
    Block,
    /// Nobody asks for anything.
    Idle,
}

impl Driver {
    /// Ready when the connection is over.
    fn poll<'w>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &'w Worker,
        mut look: Pin<&mut Notified<'w>>,
    ) -> Poll<()> {
        loop {
            while let Poll::Ready(Some(ended)) = self.jobs.poll_join_next(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a request ended without an end");
                }
                self.idle_since = Instant::now();
            }
            match self.poll_next(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.open(request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if let (Some(reason), None) = (self.meter.refused(), self.closing) {
                self.book(reason);
                self.close(reason);
                continue;
            }
            match self.poll_late(cx) {
                Poll::Ready(true) => return Poll::Ready(()),
                Poll::Ready(false) => continue,
                Poll::Pending => {}
            }
            // Woken to look: register for the next time, then look at drain and listener again.
            match look.as_mut().poll(cx) {
                Poll::Ready(()) => look.set(worker.look.notified()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next request. While too many that were taken back are still being let go, none is taken.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Asked, h2::Error>>> {
        let room = self.h2.max_concurrent_recv_streams().saturating_mul(2);
        if self.jobs.len() < room && !self.has_outstayed() {
            return self.h2.poll_accept(cx);
        }
        let closed = self.h2.poll_closed(cx);
        closed.map(|closed| closed.err().map(Err))
    }

    /// Whether the client was told to leave so long ago that it is asking for more in spite of it.
    fn has_outstayed(&self) -> bool {
        self.leaving.is_some_and(|at| at.elapsed() > LEAVING_MAX)
    }

    fn open(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let worker = &self.place.worker;
        self.age.serve();
        let (parts, body) = request.into_parts();
        let is_whole = body.is_end_stream();
        let mut text = worker.blocks.take_text();
        if head::write(&mut text, &parts, is_whole).is_none() {
            worker.blocks.give_text(text);
            respond.send_reset(Reason::PROTOCOL_ERROR);
            self.count(|counts| &counts.malformed);
            self.meter.scanner.borrow_mut().reset(Instant::now());
            return;
        }
        let chunked = !parts.headers.contains_key(header::CONTENT_LENGTH);
        let side = Side::new(
            body,
            respond,
            chunked,
            parts.method == Method::HEAD,
            self.place.is_tls,
        );
        let now = Instant::now();
        let connection = Connection {
            worker: Rc::clone(worker),
            stream: Stream::Http2(Box::new(side)),
            buf: Buf::default(),
            timer: Timer::new(now + FAREWELL),
            peer: self.place.peer,
            socket: Arc::clone(&self.place.socket),
            fields: Rc::clone(&self.place.fields),
            age: Age::new(now, 0.0),
            half_closed: None,
            farewell: None,
        };
        self.jobs
            .spawn_local(serve(connection, text, Open::new(worker)));
    }

    /// Says that this is the end; requests that are open are lost.
    fn close(&mut self, reason: Reason) {
        self.closing = Some(Instant::now());
        self.h2.abrupt_shutdown(reason);
    }

    /// Ready(true): the time of the connection is up. Ready(false): something was said to the client.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let view = self.place.worker.view();
        let listener = view.listener(&self.place.socket.listener);
        let listener = listener.map(|(_, listener)| listener);
        if self.leaving.is_none() && self.closing.is_none() && self.is_to_leave(listener) {
            self.leaving = Some(Instant::now());
            self.h2.graceful_shutdown();
            return Poll::Ready(false);
        }
        let Some((by, late)) = self.next_deadline(listener) else {
            return Poll::Pending;
        };
        self.timer.set(by);
        if self.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        match late {
            Late::Close => return Poll::Ready(true),
            Late::Write => {
                self.count(|counts| &counts.timeout);
                return Poll::Ready(true);
            }
            Late::Block => {
                self.count(|counts| &counts.timeout);
                self.close(Reason::ENHANCE_YOUR_CALM);
            }
            Late::Idle => self.close(Reason::NO_ERROR),
        }
        Poll::Ready(false)
    }

    /// Whether the client is to open no more requests here.
    fn is_to_leave(&self, listener: Option<&Listener>) -> bool {
        let worker = &self.place.worker;
        worker.is_draining()
            || worker.is_tight()
            || listener.is_none_or(|listener| self.age.is_over(&listener.lifetime))
    }

    fn next_deadline(&self, listener: Option<&Listener>) -> Option<(Instant, Late)> {
        let patience = |of: fn(&Listener) -> Duration| listener.map_or(FAREWELL, of);
        let close = self.closing.map(|at| (at + LINGER, Late::Close));
        let write = self.meter.blocked_since.get();
        let write = write.map(|at| (at + patience(|l| l.write_timeout), Late::Write));
        let block = self.meter.scanner.borrow().block_since;
        let block = block.map(|at| (at + patience(|l| l.head_timeout), Late::Block));
        let idle = self.idle_since + patience(|l| l.idle_timeout);
        let idle = self.leaving.map_or(idle, |at| {
            let farewell = self.idle_since.max(at) + FAREWELL;
            idle.min(farewell).min(at + LEAVING_MAX)
        });
        let idle = self.jobs.is_empty().then_some((idle, Late::Idle));
        let open = [block, idle].into_iter().flatten();
        let open = open.filter(|_| self.closing.is_none());
        let all = open.chain(close).chain(write);
        all.min_by_key(|(by, _)| *by)
    }

    fn failed(&self, error: &h2::Error) {
        tracing::debug!(%error, "a connection of HTTP/2 failed");
        // What the client or the system ended is nobody's fault; what was counted before is counted.
        if self.closing.is_some() || !error.is_library() {
            return;
        }
        self.book(error.reason().unwrap_or(Reason::PROTOCOL_ERROR));
    }

    /// Counts a connection that ends for this.
    fn book(&self, reason: Reason) {
        match reason {
            Reason::ENHANCE_YOUR_CALM => self.count(|counts| &counts.flood),
            _ => self.count(|counts| &counts.protocol),
        }
    }

    fn count(&self, which: fn(&Http2Cells) -> &AtomicU64) {
        which(&self.place.worker.shared.http2).fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the requests see that their client is gone, so that they are booked as what they are.
    async fn part(self) {
        let Self {
            h2,
            mut jobs,
            meter,
            timer,
            ..
        } = self;
        drop(h2);
        if let Some(stream) = meter.rest.take() {
            linger(stream, timer).await;
        }
        // Each ends by itself: its reads and writes fail from now on, and what it waits for has a deadline.
        while jobs.join_next().await.is_some() {}
    }
}

/// Reads and forgets until the client ends its side, within bounds.
async fn linger(mut stream: Stream, mut timer: Timer) {
    timer.set(Instant::now() + LINGER);
    let mut left = LINGER_BYTES;
    let mut forgotten = [0; 1_024];
    poll_fn(|cx| {
        loop {
            match stream.poll_read(cx, &mut forgotten) {
                Poll::Ready(Ok(n)) if n > 0 && n <= left => left -= n,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(cx),
            }
        }
    })
    .await;
}

/// Serves one request.
async fn serve(mut connection: Connection, text: Vec<u8>, _open: Open) {
    let worker = Rc::clone(&connection.worker);
    let mut heads = worker.take_heads();
    let limits = {
        let view = worker.view();
        let listener = view.listener(&connection.socket.listener);
        limits(listener.map(|(_, listener)| listener))
    };
    match parse_request(&text, &limits, &mut heads.request) {
        Ok(Some(_)) => {
            exchange::serve(&mut connection, &mut heads, &text).await;
        }
        Ok(None) => {
            exchange::refuse(&mut connection, Fault::Refused(Refusal::HeadTooLarge)).await;
        }
        Err(refusal) => {
            exchange::refuse(&mut connection, Fault::Refused(refusal)).await;
        }
    }
    worker.blocks.give_text(text);
    worker.give_heads(heads);
    connection.buf.clear(&worker.blocks);
    if let Stream::Http2(side) = &mut connection.stream {
        side.finish();
    }
}
