//! One byte stream, TCP or Unix, for clients and backends alike; for a client also one stream of HTTP/2.
//!
//! An enum and not a trait object: all are known, and the branch costs less than a call through a table.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel_model::config::Address;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http2::Side;
use crate::tls::TlsStream;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Over one of the others; boxed, so that plain connections stay small.
    Tls(Box<TlsStream>),
    /// One request of a client that speaks HTTP/2; boxed, so that the others stay small.
    Http2(Box<Side>),
}

/// Who is at the other end of a client connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Ip(IpAddr),
    /// A client on a Unix socket has no address; all of them count as one client.
    Unix,
}

/// What the `Host` header of a request of our own calls `address`.
pub(crate) fn host_of(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

impl Stream {
    /// Connects to a backend. Bounded by the caller.
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Whether it is one request of a client that speaks HTTP/2.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Reads into `buf`; 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let poll = match self {
            Self::Tls(stream) => return stream.poll_read(cx, buf.initialize_unfilled()),
            Self::Http2(side) => return side.poll_read(cx, buf.initialize_unfilled()),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
        };
        poll.map_ok(|()| buf.filled().len())
    }

    /// Writes as much of `parts` as the socket takes, in one system call. Over TLS what was taken may still have to
    /// leave: see [`Self::poll_flush`].
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The plain call is cheaper in the kernel than the vectored one with a single part.
        match (self, parts) {
            (Self::Tls(stream), _) => stream.poll_write(cx, parts),
            (Self::Http2(side), _) => side.poll_write(cx, parts),
            (Self::Tcp(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Self::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Self::Unix(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Self::Unix(stream), _) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    /// Ready once everything that was written has been handed to the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Http2(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Whether what it carries is encrypted.
    pub(crate) const fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Http2(side) => side.is_tls(),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Says over TLS that the end is meant; without waiting, and without a word where the system takes no byte.
    pub(crate) fn say_end(&mut self) {
        if let Self::Tls(stream) = self {
            stream.say_end();
        }
    }

    /// Writes all of `bytes`. Bounded by the caller.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, &[io::IoSlice::new(rest)])).await?;
            rest = rest.get(written.max(1)..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Tells the other end that nothing more comes; what it still sends can be read.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.say_end();
        match self {
            Self::Tls(stream) => stream.raw.shutdown_write(),
            Self::Tcp(stream) => SockRef::from(&*stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => SockRef::from(&*stream).shutdown(std::net::Shutdown::Write),
            Self::Http2(_) => Ok(()),
        }
    }

    /// Makes the coming close a reset. For a body whose end is the end of the connection this is the only way to say
    /// that it was cut.
    pub(crate) fn reset_on_close(&self) {
        let done = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)),
            Self::Unix(_) | Self::Http2(_) => Ok(()),
            Self::Tls(stream) => {
                stream.raw.reset_on_close();
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::debug!(%error, "cannot turn the close into a reset");
        }
    }
}
