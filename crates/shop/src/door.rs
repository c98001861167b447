//! The listening socket and its connections, with the faults that happen below HTTP.
//!
//! While `refuse` acts the socket is really closed, so that the kernel refuses, and the same address is bound
//! again afterwards. A connection that is to be cut fails its next read or write and is reset.
//!
//! Limits: while `refuse` acts another process could take the port; binding is tried again until it works.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::machine::{Cut, Machine};

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: u32 = 1_024;
/// Pause after a failed accept or bind.
const RETRY_AFTER: Duration = Duration::from_millis(20);

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(crate) struct Door {
    address: SocketAddr,
    listener: Option<TcpListener>,
    machine: Arc<Machine>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, machine: Arc<Machine>) -> io::Result<Self> {
        Ok(Self {
            address: listener.local_addr()?,
            listener: Some(listener),
            machine,
        })
    }

    /// Whether the connection may stay; one beyond the limit is closed at once.
    fn admit(&self, stream: TcpStream) -> Option<Line> {
        let open = self.machine.connections.fetch_add(1, Ordering::Relaxed);
        let line = Line {
            stream,
            cut: Cut::default(),
            machine: Arc::clone(&self.machine),
        };
        match self.machine.capacity().connections {
            Some(limit) if open >= limit => None,
            _ => {
                // Without it small responses wait for the delayed acknowledgement; failing is harmless.
                line.stream.set_nodelay(true).ok();
                Some(line)
            }
        }
    }
}

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let faults = self.machine.faults();
            if faults.effects().refuse {
                self.listener = None;
                faults.wait_until(|e| !e.refuse).await;
            }
            let Some(listener) = &self.listener else {
                match bind(self.address) {
                    Ok(listener) => self.listener = Some(listener),
                    Err(error) => {
                        tracing::warn!(%error, address = %self.address, "binding again failed");
                        sleep(RETRY_AFTER).await;
                    }
                }
                continue;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = faults.wait_until(|e| e.refuse) => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(line) = self.admit(stream) {
                        return (line, peer);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// One connection.
pub(crate) struct Line {
    stream: TcpStream,
    cut: Cut,
    machine: Arc<Machine>,
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if self.cut.is_set() || self.machine.faults().refuses() {
            // A reset is what a crashed peer looks like; should it fail, closing must do.
            self.stream.set_zero_linger().ok();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.machine.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected<IncomingStream<'_, Door>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().cut.clone()
    }
}
