//! A client connection: requests one after the other, until one of the two ends it.
//!
//! Between requests a connection owns neither a block nor room for heads; it waits with its socket, its timer and its
//! task. A client that ends its side after a complete request gets its answer if that comes within
//! [`HALF_CLOSED_GRACE`]: a half-closed connection cannot be told from a closed one, and work for nobody must end.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use evenkeel_http1::{ClientFields, Limits, Refusal, Scheme, Trust, parse_request};
use evenkeel_model::config::Listener;
use tokio::sync::futures::Notified;

use crate::age::Age;
use crate::answer;
use crate::bind::ListenSocket;
use crate::buf::{BLOCK, Buf};
use crate::exchange;
use crate::fault::Fault;
use crate::front;
use crate::http2;
use crate::state::{Heads, Worker};
use crate::stream::{Peer, Stream};
use crate::timer::Timer;
use crate::tls::{self, Handshake};
use crate::worker::Counted;

/// The name in `Via`.
pub(crate) const PSEUDONYM: &str = "evenkeel";
/// How long a request whose client has ended its side goes on.
pub(crate) const HALF_CLOSED_GRACE: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, a connection with unread input is kept after its last answer: closing at once
/// would reset it, and the client would lose the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// An idle connection is given this long to send one more request when a drain begins or its listener goes.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// A client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) stream: Stream,
    pub(crate) buf: Buf,
    pub(crate) timer: Timer,
    /// The client: the other end of the socket, or who the proxy there says.
    pub(crate) peer: Peer,
    pub(crate) socket: Arc<ListenSocket>,
    pub(crate) fields: Rc<ClientFields>,
    pub(crate) age: Age,
    /// When the client was seen to have ended its side.
    pub(crate) half_closed: Option<Instant>,
    /// When an idle connection ends because of a drain, because memory is scarce or because its listener is gone.
    pub(crate) farewell: Option<Instant>,
}

/// What follows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    KeepAlive,
    Close,
    /// Close, but let the client read the answer first: there may be unread input.
    Linger,
    /// Close, and do not say over TLS that this is the end: the response was cut, as its framing shows.
    Cut,
    /// Close so that the client notices that the response was cut.
    Reset,
}

/// Serves a connection to its end. Most connections wait most of the time, so whatever is not needed for waiting for the
/// next request is boxed for as long as it is.
pub(crate) async fn run(
    worker: Rc<Worker>,
    stream: Stream,
    peer: Peer,
    socket: Arc<ListenSocket>,
    _counted: Counted,
) {
    let connection = Box::pin(open(worker, stream, peer, socket)).await;
    let Some(mut connection) = connection else {
        return;
    };
    let worker = Rc::clone(&connection.worker);
    let mut now = Instant::now();
    let mut look = pin!(worker.look.notified());
    loop {
        let next = match connection.next_request(now, &worker, look.as_mut()).await {
            Ok((heads, _)) if !connection.speaks_http1() => {
                worker.give_heads(heads);
                let fault = Fault::Refused(Refusal::VersionMajor);
                Box::pin(exchange::refuse(&mut connection, fault)).await
            }
            Ok((heads, length)) => {
                let served = Box::pin(connection.serve(heads, length)).await;
                now = served.1;
                served.0
            }
            Err(Some(Fault::Refused(refusal))) if http2::is_begun(&connection, refusal) => {
                return Box::pin(http2::run(connection)).await;
            }
            Err(Some(fault)) => Box::pin(exchange::refuse(&mut connection, fault)).await,
            Err(None) => Next::Close,
        };
        match next {
            Next::KeepAlive => continue,
            Next::Close => connection.stream.say_end(),
            Next::Cut => {}
            Next::Linger => Box::pin(connection.linger()).await,
            Next::Reset => connection.stream.reset_on_close(),
        }
        connection.buf.clear(&worker.blocks);
        return;
    }
}

/// What comes before the first request: who the client is, and TLS. `None`: it is over.
async fn open(
    worker: Rc<Worker>,
    mut stream: Stream,
    peer: Peer,
    socket: Arc<ListenSocket>,
) -> Option<Connection> {
    if let Stream::Tcp(tcp) = &stream
        && let Err(error) = tcp.set_nodelay(true)
    {
        tracing::debug!(%error, "a connection was gone before it was served");
        return None;
    }
    let mut timer = Timer::new(Instant::now() + FAREWELL);
    // Before all else: what comes after the header belongs to TLS or to HTTP.
    let peer = front::client(&worker, &mut stream, &socket, peer, &mut timer).await?;
    let ip = match peer {
        Peer::Ip(ip) => Some(ip),
        Peer::Unix => None,
    };
    let stream = secured(&worker, stream, &socket).await?;
    let scheme = if stream.is_tls() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    Some(Connection {
        stream,
        buf: Buf::default(),
        timer,
        peer,
        socket,
        fields: Rc::new(ClientFields::new(ip, scheme, Trust::Replace, PSEUDONYM)),
        age: Age::new(Instant::now(), worker.spread()),
        half_closed: None,
        farewell: None,
        worker,
    })
}

/// The connection as requests come on it: after its handshake, where its listener speaks TLS. `None`: it failed.
async fn secured(worker: &Worker, stream: Stream, socket: &ListenSocket) -> Option<Stream> {
    let view = worker.view();
    let Some((index, listener)) = view.listener(&socket.listener) else {
        return Some(stream);
    };
    let edge = view.published.snapshot.edges.get(index);
    let (Some(edge), Some(tls)) = (edge, &listener.tls) else {
        return Some(stream);
    };
    let terminator = Arc::clone(edge.terminator.as_ref()?);
    let cells = Arc::clone(&edge.handshakes);
    let patience = tls.handshake_timeout;
    // A handshake may take long; it must not keep a configuration alive.
    drop(view);
    tls::accept(stream, &terminator, &cells, patience, worker, socket).await
}

impl Connection {
    /// Serves the request whose head, of `length` bytes, was read; what follows, and when it ended.
    async fn serve(&mut self, mut heads: Box<Heads>, length: usize) -> (Next, Instant) {
        let worker = Rc::clone(&self.worker);
        let mut text = worker.blocks.take_text();
        text.extend_from_slice(self.buf.filled().get(..length).unwrap_or_default());
        self.buf.consume(length);
        let served = exchange::serve(self, &mut heads, &text).await;
        worker.blocks.give_text(text);
        worker.give_heads(heads);
        served
    }

    /// Counts a client whose request is refused because it speaks TLS to a listener without.
    fn note_tls(&self) {
        if self.stream.is_tls() || !tls::is_tls(self.buf.filled()) {
            return;
        }
        let view = self.worker.view();
        let edge = view.listener(&self.socket.listener);
        let edge = edge.and_then(|(index, _)| view.published.snapshot.edges.get(index));
        if let Some(edge) = edge {
            edge.handshakes.count(Handshake::NotTlsHere);
        }
    }

    fn speaks_http1(&self) -> bool {
        let view = self.worker.view();
        let listener = view.listener(&self.socket.listener);
        listener.is_none_or(|(_, listener)| listener.protocols.http1)
    }

    /// Waits for a complete request head, from `since` on: the head and its length. `Err(None)`: the connection is over.
    async fn next_request<'w>(
        &mut self,
        since: Instant,
        worker: &'w Worker,
        mut look: Pin<&mut Notified<'w>>,
    ) -> Result<(Box<Heads>, usize), Option<Fault>> {
        let mut heads: Option<Box<Heads>> = None;
        let mut due = None;
        let arrival = poll_fn(|cx| {
            let view = worker.view();
            let Some((_, listener)) = view.listener(&self.socket.listener) else {
                // Removed. What has arrived of a request is answered, then the connection ends.
                return self.poll_request(cx, None, &mut heads, &mut due, since);
            };
            loop {
                let poll = self.poll_request(cx, Some(listener), &mut heads, &mut due, since);
                if poll.is_ready() || look.as_mut().poll(cx).is_pending() {
                    return poll;
                }
                // Woken to look: register for the next time, then look at drain and listener again.
                look.set(worker.look.notified());
            }
        })
        .await;
        match (arrival, heads) {
            (Ok(length), Some(heads)) => Ok((heads, length)),
            (arrival, heads) => {
                if let Some(heads) = heads {
                    worker.give_heads(heads);
                }
                Err(arrival.err().flatten())
            }
        }
    }

    /// `Ok`: the length of a complete head. `Err(None)`: the connection is over.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        listener: Option<&Listener>,
        heads: &mut Option<Box<Heads>>,
        due: &mut Option<Instant>,
        since: Instant,
    ) -> Poll<Result<usize, Option<Fault>>> {
        let limits = limits(listener);
        loop {
            if !self.buf.is_empty() {
                let room = heads.get_or_insert_with(|| self.worker.take_heads());
                match parse_request(self.buf.filled(), &limits, &mut room.request) {
                    Ok(Some(length)) => return Poll::Ready(Ok(length)),
                    Ok(None) if self.buf.is_full() => self.buf.grow(limits.head_max + BLOCK),
                    Ok(None) => {}
                    Err(refusal) => {
                        self.note_tls();
                        return Poll::Ready(Err(Some(Fault::Refused(refusal))));
                    }
                }
                if due.is_none() {
                    let timeout = listener.map_or(FAREWELL, |l| l.head_timeout);
                    let by = Instant::now() + timeout;
                    *due = Some(by);
                    self.timer.set(by);
                }
            }
            match self
                .buf
                .poll_fill(cx, &mut self.stream, &self.worker.blocks)
            {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(None)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return self.poll_waiting(cx, listener, *due, since),
            }
        }
    }

    /// Nothing to read: whether the time is up.
    fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        listener: Option<&Listener>,
        due: Option<Instant>,
        since: Instant,
    ) -> Poll<Result<usize, Option<Fault>>> {
        if due.is_none() {
            let patience = listener.map_or(FAREWELL, |l| l.idle_timeout);
            let mut by = since + patience;
            if self.worker.is_draining() || self.worker.is_tight() || listener.is_none() {
                let farewell = self
                    .farewell
                    .get_or_insert_with(|| Instant::now() + FAREWELL);
                by = by.min(*farewell);
            } else {
                self.farewell = None;
            }
            self.timer.set(by);
        }
        match self.timer.poll(cx) {
            Poll::Ready(()) if due.is_some() => Poll::Ready(Err(Some(Fault::HeadTimeout))),
            Poll::Ready(()) => Poll::Ready(Err(None)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes all of `bytes`, within `patience` per piece that the client takes.
    pub(crate) async fn write_all(&mut self, bytes: &[u8], patience: Duration) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.timer.set(Instant::now() + patience);
            let written = poll_fn(
                |cx| match self.stream.poll_write(cx, &[IoSlice::new(rest)]) {
                    Poll::Ready(Ok(written)) => Poll::Ready(written),
                    Poll::Ready(Err(_)) => Poll::Ready(0),
                    Poll::Pending => self.timer.poll(cx).map(|()| 0),
                },
            )
            .await;
            if written == 0 {
                return false;
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        self.timer.set(Instant::now() + patience);
        poll_fn(|cx| match self.stream.poll_flush(cx) {
            Poll::Ready(done) => Poll::Ready(done.is_ok()),
            Poll::Pending => self.timer.poll(cx).map(|()| false),
        })
        .await
    }

    /// Ends our side, then reads and forgets until the client ends its own, within bounds.
    async fn linger(&mut self) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        self.buf.clear(&self.worker.blocks);
        self.timer.set(Instant::now() + LINGER);
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            loop {
                match self
                    .buf
                    .poll_fill(cx, &mut self.stream, &self.worker.blocks)
                {
                    Poll::Ready(Ok(n)) if n > 0 && n <= left => {
                        left -= n;
                        self.buf.consume(n);
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(cx),
                }
            }
        })
        .await;
    }
}

/// What the codec accepts on a listener.
pub(crate) fn limits(listener: Option<&Listener>) -> Limits {
    let default = Limits::default();
    let head_max = listener.map(|l| usize::try_from(l.head_max.0).unwrap_or(usize::MAX));
    let head_max = head_max.unwrap_or(default.head_max);
    Limits {
        head_max,
        target_max: head_max.min(default.target_max),
        ..default
    }
}

/// Answers a connection that is over the listener's limit, without waiting for anything.
pub(crate) fn refuse(mut stream: Stream) {
    let mut out = Vec::new();
    answer::write_over_limit(&mut out);
    let mut cx = Context::from_waker(Waker::noop());
    // One try each: who is turned away because there is no room must not take up any.
    if matches!(
        stream.poll_write(&mut cx, &[IoSlice::new(&out)]),
        Poll::Ready(Ok(_))
    ) && stream.shutdown_write().is_ok()
    {
        // Unread input would turn the close into a reset, and the answer would be lost.
        drop(stream.poll_read(&mut cx, &mut [0; 1024]));
    }
}
