//! One try at one backend: connect, send, and wait for the response head.
//!
//! The request body flows while the head is awaited, and interim responses (1xx) are passed on as they come. A backend
//! that answers before it has taken the whole body is listened to at once: the rest of the body may never be wanted.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use evenkeel_http1::{
    BodyDecoder, BodyLength, Limits, RequestRewrite, ResponseError, ResponseHead, ResponseRewrite,
    Version, parse_upgrade_response, write_request_head, write_response_head,
};

use crate::age::Age;
use crate::buf::{BLOCK, Buf};
use crate::connection::{HALF_CLOSED_GRACE, PSEUDONYM, limits};
use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::pump::{Blocked, Encoding, Pump, PumpError};
use crate::record::Try;
use crate::state::PoolView;
use crate::stream::Stream;
use crate::tls::Refused;

/// Largest response head of a backend.
pub(crate) const RESPONSE_HEAD_MAX: usize = 64 * 1024;
/// A client that waits for a 100 gets one from us when the backend says nothing for this long: many servers ignore
/// `Expect`, and clients wait a second and more on their own.
const EXPECT_WAIT: Duration = Duration::from_millis(500);
/// Interim responses that wait for a slow client; more are dropped, they carry no obligation.
const INTERIM_MAX: usize = BLOCK;

/// A backend that has answered with a response head.
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    pub(crate) age: Age,
    pub(crate) buf: Buf,
    /// The request on its way.
    pub(crate) upload: Pump,
    /// The upload broke; the response may still be good.
    pub(crate) upload_failed: bool,
    /// Length of the response head at the front of `buf`.
    pub(crate) head_length: usize,
    /// When the whole request had been sent, if it was before the head came.
    pub(crate) sent_at: Option<Instant>,
}

/// A try without a response head.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// On a kept-alive connection, before any byte of response.
    pub(crate) stale: bool,
    /// Any byte of the request was written.
    pub(crate) written: bool,
    /// Any byte of the request body is gone.
    pub(crate) touched: bool,
}

/// What is waited for besides the head itself.
struct Waiting {
    /// When a byte last moved in the upload or the interim responses.
    moved_at: Instant,
    moved: u64,
    /// When all tries together must have a head.
    deadline: Instant,
    /// When we answer 100 ourselves.
    expect_by: Option<Instant>,
    interim: Vec<u8>,
    interim_written: usize,
    received: bool,
    /// The connection was kept from an earlier request.
    reused: bool,
    /// Over TLS: the backend refused us in the place of an answer.
    refused: Option<Box<Refused>>,
}

impl Waiting {
    /// What it is that the backend's connection broke while its head was awaited.
    fn broken(&mut self, error: &io::Error) -> Fault {
        let is_first = !self.received && !self.reused;
        let late = Refused::late(error).filter(|_| is_first);
        match late {
            None => Fault::BackendReset,
            Some(late) => {
                let fault = Fault::BackendTls(late.result);
                self.refused = Some(Box::new(late));
                fault
            }
        }
    }
}

impl Exchange<'_> {
    pub(crate) async fn attempt(
        &mut self,
        pool: &PoolView,
        attempt: &Try,
        fresh: bool,
        response: &mut ResponseHead,
    ) -> Result<Upstream, Failed> {
        let unsent = |fault| Failed {
            fault,
            stale: false,
            written: false,
            touched: false,
        };
        let (stream, age, reused) = self
            .connect(pool, attempt.backend(), fresh)
            .await
            .map_err(unsent)?;
        let mut upstream = Upstream {
            stream,
            age,
            buf: Buf::default(),
            upload: self.upload(),
            upload_failed: false,
            head_length: 0,
            sent_at: None,
        };
        let config = &pool.state.pool;
        // A kept-alive connection is at hand in no time; the clock is read again only after a connect.
        let now = if reused {
            attempt.picked_at
        } else {
            Instant::now()
        };
        let mut waiting = Waiting {
            moved_at: now,
            moved: 0,
            deadline: self.record.started + config.request_timeout,
            expect_by: self.head.expect_continue.then(|| now + EXPECT_WAIT),
            interim: Vec::new(),
            interim_written: 0,
            received: false,
            reused,
            refused: None,
        };
        response.clear();
        let head = poll_fn(|cx| self.poll_head(cx, pool, &mut upstream, &mut waiting, response));
        let head = head.await;
        if let (Err(Fault::BackendTls(_)), Some(late)) = (&head, &waiting.refused)
            && let Some(dial) = pool.state.dials.get(attempt.backend())
        {
            dial.refused_late(late);
        }
        match head {
            Ok(length) => {
                upstream.head_length = length;
                Ok(upstream)
            }
            Err(fault) => {
                let failed = Failed {
                    fault,
                    stale: reused && !waiting.received,
                    written: upstream.upload.sent > 0,
                    // What the client was told already cannot be taken back.
                    touched: upstream.upload.touched || waiting.received,
                };
                upstream.buf.clear(&self.connection.worker.blocks);
                upstream.upload.finish(&self.connection.worker.blocks);
                Err(failed)
            }
        }
    }

    async fn connect(
        &mut self,
        pool: &PoolView,
        backend: usize,
        fresh: bool,
    ) -> Result<(Stream, Age, bool), Fault> {
        let origin = pool.origins.get(backend).ok_or(Fault::ConnectFailed)?;
        if !fresh {
            let keep = &pool.state.pool.keep;
            let kept = poll_fn(|cx| Poll::Ready(origin.take(keep, cx))).await;
            if let Some((stream, age)) = kept {
                return Ok((stream, age, true));
            }
        }
        let timer = &mut self.connection.timer;
        let since = Instant::now();
        timer.set(since + pool.state.pool.connect_timeout);
        let mut connect = pin!(origin.connect());
        let connected = poll_fn(|cx| match connect.as_mut().poll(cx) {
            Poll::Ready(connected) => Poll::Ready(Some(connected)),
            Poll::Pending => timer.poll(cx).map(|()| None),
        });
        match connected.await {
            Some(Ok(stream)) => {
                let now = Instant::now();
                if let Some(gauge) = pool.state.gauges.get(backend) {
                    let took = now.saturating_duration_since(since);
                    gauge.traffic().connects.record(took);
                }
                let age = Age::new(now, self.connection.worker.spread());
                Ok((stream, age, false))
            }
            Some(Err(fault)) => Err(fault),
            None => Err(Fault::ConnectTimeout),
        }
    }

    /// The head of the request as it goes to the backend.
    pub(crate) fn head_text(&self) -> Vec<u8> {
        let mut out = self.connection.worker.blocks.take_text();
        let traced = self.record.traced.as_ref();
        let context = traced.and_then(|traced| traced.extra());
        let rewrite = RequestRewrite {
            client: &self.connection.fields,
            request_id: self.id,
            host: None,
            path: None,
            expect_continue: self.head.expect_continue,
            upgrade: self.upgrade,
            strip: traced.map_or(&[], |traced| traced.strip()),
            extra: context.as_slice(),
        };
        match &self.edited {
            None => write_request_head(&mut out, self.head, self.text, &rewrite),
            Some(edited) => edited.write_request(&mut out, &self.facts(), &rewrite),
        }
        out
    }

    /// The request as it goes to the backend.
    fn upload(&self) -> Pump {
        let out = self.head_text();
        let encoding = match self.head.body {
            BodyLength::Chunked => Encoding::Chunked,
            _ => Encoding::Plain,
        };
        let decoder = BodyDecoder::new(self.head.body, &limits(Some(self.listener)));
        Pump::new(decoder, encoding, out, self.listener.body_max.0)
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        pool: &PoolView,
        upstream: &mut Upstream,
        waiting: &mut Waiting,
        response: &mut ResponseHead,
    ) -> Poll<Result<usize, Fault>> {
        if let Err(fault) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(fault));
        }
        loop {
            if let Err(fault) = self.poll_interim(cx, waiting) {
                return Poll::Ready(Err(fault));
            }
            match self.parse_head(upstream, waiting, response) {
                Ok(Some(length)) => return Poll::Ready(Ok(length)),
                // Passed on at once: nothing else may ever wake us, and the final head may stand behind it.
                Ok(None) if !waiting.interim.is_empty() => {
                    if let Err(fault) = self.poll_interim(cx, waiting) {
                        return Poll::Ready(Err(fault));
                    }
                    if waiting.interim.is_empty() {
                        continue;
                    }
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
            let blocks = &self.connection.worker.blocks;
            match upstream.buf.poll_fill(cx, &mut upstream.stream, blocks) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::BackendClosed)),
                Poll::Ready(Ok(_)) => waiting.received = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(waiting.broken(&error))),
                Poll::Pending => break,
            }
        }
        if upstream.upload.is_done() {
            self.watch_client(cx)?;
        }
        self.poll_deadlines(cx, pool, upstream, waiting)
    }

    /// Moves the request body on; faults of the client end the try, those of the backend wait for its response.
    pub(crate) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
    ) -> Result<(), Fault> {
        if upstream.upload_failed || upstream.sent_at.is_some() {
            return Ok(());
        }
        let connection = &mut *self.connection;
        let poll = upstream.upload.poll(
            cx,
            &mut connection.stream,
            &mut connection.buf,
            &mut upstream.stream,
            &connection.worker.blocks,
        );
        match poll {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                let streamed = self.head.body != BodyLength::None;
                upstream.sent_at = Some(if streamed {
                    Instant::now()
                } else {
                    self.record.started
                });
            }
            Poll::Ready(Err(PumpError::Sink)) => upstream.upload_failed = true,
            Poll::Ready(Err(PumpError::Source | PumpError::Truncated)) => {
                return Err(Fault::ClientGone);
            }
            Poll::Ready(Err(PumpError::Invalid(error))) => return Err(Fault::BodyInvalid(error)),
            Poll::Ready(Err(PumpError::TooLarge)) => return Err(Fault::BodyTooLarge),
        }
        Ok(())
    }

    /// Passes interim responses on.
    fn poll_interim(&mut self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Result<(), Fault> {
        while let Some(rest @ [_, ..]) = waiting.interim.get(waiting.interim_written..) {
            match self.connection.stream.poll_write(cx, &[IoSlice::new(rest)]) {
                Poll::Ready(Ok(n)) if n > 0 => waiting.interim_written += n,
                Poll::Ready(_) => return Err(Fault::ClientGone),
                Poll::Pending => return Ok(()),
            }
        }
        waiting.interim.clear();
        waiting.interim_written = 0;
        // What was taken over TLS leaves while the backend is waited for.
        match self.connection.stream.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(Fault::ClientGone),
            _ => Ok(()),
        }
    }

    /// The length of the final response head, once it is there and everything interim has been passed on.
    fn parse_head(
        &mut self,
        upstream: &mut Upstream,
        waiting: &mut Waiting,
        response: &mut ResponseHead,
    ) -> Result<Option<usize>, Fault> {
        let limits = Limits {
            head_max: RESPONSE_HEAD_MAX,
            ..Limits::default()
        };
        while !upstream.buf.is_empty() {
            let bytes = upstream.buf.filled();
            let method = self.head.method_kind;
            let parsed = parse_upgrade_response(bytes, method, self.upgrade, &limits, response);
            let Some(length) = parsed.map_err(Fault::InvalidResponse)? else {
                if upstream.buf.is_full() {
                    upstream.buf.grow(RESPONSE_HEAD_MAX + BLOCK);
                }
                return Ok(None);
            };
            if response.switched && !upstream.upload.is_done() {
                // It cannot know yet what it agrees to.
                return Err(Fault::InvalidResponse(ResponseError::Switched));
            }
            if !response.informational {
                // Behind an interim response that the client has not taken, the head waits where it is.
                let may_start = waiting.interim.is_empty();
                return Ok(may_start.then_some(length));
            }
            waiting.expect_by = None;
            if let Some(interim) = &self.interim {
                interim.set(true);
            }
            if waiting.interim.len() < INTERIM_MAX {
                let rewrite = ResponseRewrite {
                    client_version: self.head.version,
                    keep_alive: true,
                    pseudonym: PSEUDONYM,
                    request_id: "",
                    upgrade: None,
                    strip: &[],
                    extra: &[],
                };
                write_response_head(&mut waiting.interim, response, bytes, &rewrite);
            }
            upstream.buf.consume(length);
        }
        Ok(None)
    }

    /// Sees whether the client is still there; what it sends ahead is kept.
    pub(crate) fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let connection = &mut *self.connection;
        while connection.half_closed.is_none() && !connection.buf.is_full() {
            let blocks = &connection.worker.blocks;
            match connection.buf.poll_fill(cx, &mut connection.stream, blocks) {
                Poll::Ready(Ok(0)) => connection.half_closed = Some(Instant::now()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Fault::ClientGone),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn poll_deadlines(
        &mut self,
        cx: &mut Context<'_>,
        pool: &PoolView,
        upstream: &Upstream,
        waiting: &mut Waiting,
    ) -> Poll<Result<usize, Fault>> {
        let moved = upstream.upload.sent + upstream.upload.payload + waiting.interim_written as u64;
        if moved != waiting.moved {
            waiting.moved = moved;
            waiting.moved_at = Instant::now();
        }
        loop {
            let (by, fault) = self.next_deadline(pool, upstream, waiting);
            let expect = waiting.expect_by.filter(|expect| *expect < by);
            self.connection.timer.set(expect.unwrap_or(by));
            if self.connection.timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if expect.is_none() {
                return Poll::Ready(Err(fault));
            }
            waiting.expect_by = None;
            if self.head.version == Version::Http11 {
                waiting
                    .interim
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                if let Err(fault) = self.poll_interim(cx, waiting) {
                    return Poll::Ready(Err(fault));
                }
            }
        }
    }

    fn next_deadline(
        &self,
        pool: &PoolView,
        upstream: &Upstream,
        waiting: &Waiting,
    ) -> (Instant, Fault) {
        let config = &pool.state.pool;
        let streamed = self.head.body != BodyLength::None;
        let first = match (upstream.sent_at, upstream.upload.blocked) {
            _ if !waiting.interim.is_empty() => (
                waiting.moved_at + self.listener.write_timeout,
                Fault::ClientWriteTimeout,
            ),
            (Some(_), _) => (
                waiting.moved_at + config.response_timeout,
                Fault::ResponseTimeout,
            ),
            (None, _) if upstream.upload_failed => (
                waiting.moved_at + config.response_timeout,
                Fault::BackendReset,
            ),
            (None, Blocked::Source) => (
                waiting.moved_at + self.listener.body_timeout,
                Fault::BodyTimeout,
            ),
            (None, Blocked::Sink) => (
                waiting.moved_at + config.idle_timeout,
                Fault::BackendStalled,
            ),
        };
        // Time that the client takes for its body is not the backend's: the whole then runs from its end.
        let whole = match upstream.sent_at {
            Some(sent_at) if streamed => Some(sent_at + config.request_timeout),
            None if streamed => None,
            _ => Some(waiting.deadline),
        };
        let whole = whole.map(|by| (by, Fault::RequestTimeout));
        let gone = self.connection.half_closed;
        let gone = gone.map(|at| (at + HALF_CLOSED_GRACE, Fault::ClientGone));
        let others = whole.into_iter().chain(gone);
        others.fold(first, |a, b| if b.0 < a.0 { b } else { a })
    }
}
