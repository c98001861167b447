//! The byte stream under HTTP/2: what was read before it was known to be HTTP/2, then the socket, watched.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::scan::Scanner;
use crate::stream::Stream;

/// What is known of the link by whoever does not own it.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) scanner: RefCell<Scanner>,
    /// Since when the socket takes nothing.
    pub(super) blocked_since: Cell<Option<Instant>>,
    /// The stream, once nothing more is to be written.
    pub(super) rest: RefCell<Option<Stream>>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            scanner: RefCell::new(Scanner::new()),
            blocked_since: Cell::new(None),
            rest: RefCell::new(None),
        }
    }

    /// Why the connection is to end, by what its frames are.
    pub(super) fn refused(&self) -> Option<Reason> {
        self.scanner.borrow().refused
    }
}

/// The stream as the library reads and writes it.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` once our side has ended.
    stream: Option<Stream>,
    ahead: Vec<u8>,
    meter: Rc<Meter>,
}

impl Link {
    /// `ahead` was read from `stream` already.
    pub(super) fn new(stream: Stream, ahead: Vec<u8>, meter: Rc<Meter>) -> Self {
        Self {
            stream: Some(stream),
            ahead,
            meter,
        }
    }

    fn wrote(&self, is_blocked: bool) {
        let since = &self.meter.blocked_since;
        since.set(is_blocked.then(|| since.get().unwrap_or_else(Instant::now)));
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        if link.meter.refused().is_some() {
            // Whoever drives the connection ends it next.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if link.ahead.is_empty() {
            let Some(stream) = &mut link.stream else {
                return Poll::Ready(Ok(()));
            };
            let read = ready!(stream.poll_read(cx, buf.initialize_unfilled()))?;
            buf.advance(read);
        } else {
            let length = link.ahead.len().min(buf.remaining());
            buf.put_slice(link.ahead.get(..length).unwrap_or_default());
            link.ahead.drain(..length);
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        let mut scanner = link.meter.scanner.borrow_mut();
        scanner.scan(new, Instant::now());
        if scanner.refused.is_some() {
            // Nothing of it counts.
            buf.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        let Some(stream) = &mut link.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let poll = stream.poll_write(cx, parts);
        link.wrote(poll.is_pending());
        poll
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        let Some(stream) = &mut link.stream else {
            return Poll::Ready(Ok(()));
        };
        let poll = stream.poll_flush(cx);
        link.wrote(poll.is_pending());
        poll
    }

    /// Ends our side. What the client still sends is read by whoever drives the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        if let Some(mut stream) = link.stream.take() {
            let ended = stream.shutdown_write();
            *link.meter.rest.borrow_mut() = Some(stream);
            ended?;
        }
        Poll::Ready(Ok(()))
    }
}
