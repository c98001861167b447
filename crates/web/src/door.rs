//! The door of the admin address: a bounded number of connections, and of those the one that was silent longest
//! goes when another comes.
//!
//! The data plane and the admin address share one process and its descriptors. Whoever opens connections here and
//! says nothing must neither use those up nor lock the operator out; a limit alone would do the second.
//!
//! Limits: a connection that waits for a slow answer counts as silent, so under a flood it may be the one that
//! goes. What it asked for is carried out all the same.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use http::{StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::BODY_MAX;
use crate::api::Problem;

/// Most connections to the admin address at once.
const CONNECTIONS_MAX: usize = 128;

/// Accepts connections, at most [`CONNECTIONS_MAX`] at once.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    inside: Vec<Seat>,
    /// Counts reads and writes over all connections: what was heard last has the highest number.
    clock: Arc<AtomicU64>,
}

/// The door's side of a connection.
#[derive(Debug)]
struct Seat {
    heard: Arc<AtomicU64>,
    go: oneshot::Sender<()>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            inside: Vec::new(),
            clock: Arc::default(),
        }
    }

    /// Makes room for one and seats it.
    fn seat(&mut self, stream: TcpStream) -> Guest {
        self.inside.retain(|seat| !seat.go.is_closed());
        while self.inside.len() >= CONNECTIONS_MAX {
            let heard = |seat: &Seat| seat.heard.load(Ordering::Relaxed);
            let silent = (0..self.inside.len()).min_by_key(|n| self.inside.get(*n).map(heard));
            let Some(silent) = silent else { break };
            // Without its sender it is told to go.
            self.inside.swap_remove(silent);
        }
        let (go, told) = oneshot::channel();
        let heard = Arc::new(AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed)));
        self.inside.push(Seat {
            heard: Arc::clone(&heard),
            go,
        });
        Guest {
            stream,
            told,
            heard,
            clock: Arc::clone(&self.clock),
        }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (self.seat(stream), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its seat is needed.
#[derive(Debug)]
pub(crate) struct Guest {
    stream: TcpStream,
    told: oneshot::Receiver<()>,
    heard: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
}

impl Guest {
    /// Passes an attempt on unless the seat is gone, and notes when it moved something.
    fn attempt<T>(
        &mut self,
        cx: &mut Context<'_>,
        with: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if Pin::new(&mut self.told).poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let poll = with(Pin::new(&mut self.stream), cx);
        if poll.is_ready() {
            let now = self.clock.fetch_add(1, Ordering::Relaxed);
            self.heard.store(now, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.attempt(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
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

/// Refuses a body that says itself that it is too large, before it comes.
pub(crate) async fn announced_size(request: Request, next: Next) -> Response {
    let told = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > BODY_MAX as u64) {
        let message = format!("a body of at most {BODY_MAX} bytes is taken");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &message).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::serve::Listener as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::{CONNECTIONS_MAX, Door, Guest};

    async fn pair(door: &mut Door) -> (TcpStream, Guest) {
        let address = door.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        (client, door.accept().await.0)
    }

    #[tokio::test]
    async fn the_connection_that_was_silent_longest_makes_room() {
        let mut door = Door::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut pairs = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            pairs.push(pair(&mut door).await);
        }
        // The oldest one speaks, so the second is the one that was silent longest.
        pairs[0].0.write_all(b"x").await.unwrap();
        assert_eq!(pairs[0].1.read_u8().await.unwrap(), b'x');
        let newcomer = pair(&mut door).await;
        assert_eq!(door.inside.len(), CONNECTIONS_MAX);
        let gone = pairs[1].1.read_u8().await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionAborted);
        pairs[0].0.write_all(b"y").await.unwrap();
        assert_eq!(pairs[0].1.read_u8().await.unwrap(), b'y');
        drop((newcomer, pairs));
        // Seats of connections that ended are free again.
        let _last = pair(&mut door).await;
        assert_eq!(door.inside.len(), 1);
    }
}
