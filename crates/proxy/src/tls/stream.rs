//! A byte stream over TLS, on the socket of another stream.
//!
//! What is written is encrypted at once and handed to the system as far as it takes it; the rest, 64 KiB at most, waits
//! for the next write, read or flush.
//!
//! An end of a client's connection without a word of TLS is an end all the same: HTTP says itself where a request ends,
//! and one that was cut is seen there. A response may end with its connection, so there a backend has to say the end, or
//! it is an error: whoever sits in between could else cut it unseen.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::task::{Context, Poll, Waker, ready};

use rustls::Connection;

use crate::stream::Stream;

/// A stream over TLS.
pub(crate) struct TlsStream {
    pub(crate) raw: Stream,
    pub(super) tls: Connection,
    /// The first byte that ever came.
    pub(super) first: Option<u8>,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    /// A stream on `raw` whose handshake is yet to come.
    pub(super) const fn new(raw: Stream, tls: Connection) -> Self {
        Self {
            raw,
            tls,
            first: None,
        }
    }

    /// Reads into `buf`; 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(match self.tls {
                        Connection::Server(_) => Ok(0),
                        Connection::Client(_) => Err(error),
                    });
                }
                done => return Poll::Ready(done),
            }
            // Whoever only reads must not keep back what was written.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_receive(cx))?;
            self.process(cx)?;
        }
    }

    /// Takes one portion from the socket; 0 bytes are its end.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut socket = Socket {
            raw: &mut self.raw,
            cx,
            first: Some(&mut self.first),
        };
        match self.tls.read_tls(&mut socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    /// Lets TLS look at what was received.
    pub(super) fn process(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Err(error) = self.tls.process_new_packets() else {
            return Ok(());
        };
        // The alert that says why; whether it arrives is not waited for.
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            tracing::debug!(%error, "the other end was gone before it was told what is wrong");
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Takes what fits of `parts`.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let count = self.tls.writer().write_vectored(parts)?;
        // What does not leave now leaves with the next call.
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    /// Hands everything that was encrypted to the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut socket = Socket {
                raw: &mut self.raw,
                cx,
                first: None,
            };
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes. One try: nobody waits for who takes no byte any more.
    pub(crate) fn say_end(&mut self) {
        self.tls.send_close_notify();
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = self.poll_flush(&mut cx) {
            tracing::debug!(%error, "the other end was gone before the end was said");
        }
    }
}

/// The socket below as rustls wants it: without waiting.
struct Socket<'a, 'c> {
    raw: &'a mut Stream,
    cx: &'a mut Context<'c>,
    first: Option<&'a mut Option<u8>>,
}

impl Socket<'_, '_> {
    fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
        match poll {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl io::Read for Socket<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = Self::now(self.raw.poll_read(self.cx, buf))?;
        if let Some(first) = self.first.as_deref_mut() {
            *first = first.or_else(|| buf.get(..count)?.first().copied());
        }
        Ok(count)
    }
}

impl io::Write for Socket<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(self.raw.poll_write(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
