//! Proxies in front: who they say the client of a new connection is (PROXY protocol, room `preface`).
//!
//! Exactly the bytes of the header are read, in as many reads as that takes, into a buffer of the worker that the
//! connection gives back: whoever serves the connection from here on, be it TLS or HTTP, finds the socket at the first
//! byte after the header. A connection that does not have to begin with one pays a look at its listener.
//!
//! A connection that is refused is closed without a word: who is not listed must not learn what would be understood,
//! and who is listed and speaks something else would not understand an answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use evenkeel_preface::{Step, Told, read};
use tokio::sync::futures::Notified;

use crate::bind::ListenSocket;
use crate::connection::FAREWELL;
use crate::state::Worker;
use crate::stream::{Peer, Stream};
use crate::timer::Timer;

/// Connections refused because of how they began, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusedHeaders {
    /// From an address that may not say who its client is.
    pub source: u64,
    /// Without a header, with one that is not well formed, or ended within it.
    pub invalid: u64,
    /// No whole header in time.
    pub timeout: u64,
}

/// The same, counted by all workers.
#[derive(Debug, Default)]
pub(crate) struct HeaderCounts {
    source: AtomicU64,
    invalid: AtomicU64,
    timeout: AtomicU64,
}

impl HeaderCounts {
    pub(crate) fn view(&self) -> RefusedHeaders {
        RefusedHeaders {
            source: self.source.load(Ordering::Relaxed),
            invalid: self.invalid.load(Ordering::Relaxed),
            timeout: self.timeout.load(Ordering::Relaxed),
        }
    }
}

/// Why a connection ends before it is served.
enum Over {
    Invalid,
    Timeout,
    /// Nobody's fault: it ended before it said anything, or nobody waits for it any more.
    Idle,
}

/// Who the client of a new connection is: `peer`, or who the proxy at that address says. `None`: it is over.
pub(crate) async fn client(
    worker: &Worker,
    stream: &mut Stream,
    socket: &ListenSocket,
    peer: Peer,
    timer: &mut Timer,
) -> Option<Peer> {
    let view = worker.view();
    let listener = view
        .listener(&socket.listener)
        .map(|(_, listener)| listener);
    let patience = match listener.and_then(|l| Some((l.proxy_protocol.as_ref()?, l.head_timeout))) {
        None => return Some(peer),
        Some((proxied, patience)) => match peer {
            Peer::Ip(ip) if proxied.believes(ip) => patience,
            _ => {
                worker.shared.headers.source.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        },
    };
    drop(view);
    told(worker, stream, socket, peer, timer, patience).await
}

async fn told(
    worker: &Worker,
    stream: &mut Stream,
    socket: &ListenSocket,
    peer: Peer,
    timer: &mut Timer,
    patience: Duration,
) -> Option<Peer> {
    let due = Instant::now() + patience;
    let mut farewell = None;
    let mut header = worker.blocks.take_text();
    let mut look = pin!(worker.look.notified());
    let told = poll_fn(|cx| {
        loop {
            let is_gone = worker.view().listener(&socket.listener).is_none();
            let is_idle = header.is_empty() && (is_gone || worker.is_draining());
            let leave = is_idle
                .then(|| *farewell.get_or_insert_with(|| Instant::now() + FAREWELL))
                .filter(|leave| *leave < due);
            timer.set(leave.unwrap_or(due));
            match poll_header(cx, stream, &mut header, timer) {
                Poll::Ready(Err(Over::Timeout)) if leave.is_some() && header.is_empty() => {
                    return Poll::Ready(Err(Over::Idle));
                }
                Poll::Pending => {}
                ready @ Poll::Ready(_) => return ready,
            }
            if !is_woken(cx, look.as_mut()) {
                return Poll::Pending;
            }
            look.set(worker.look.notified());
        }
    });
    let told = told.await;
    worker.blocks.give_text(header);
    let counts = &worker.shared.headers;
    match told {
        Ok(Told::Client(address)) => return Some(Peer::Ip(address.ip().to_canonical())),
        Ok(Told::Nothing) => return Some(peer),
        Err(Over::Invalid) => counts.invalid.fetch_add(1, Ordering::Relaxed),
        Err(Over::Timeout) => counts.timeout.fetch_add(1, Ordering::Relaxed),
        Err(Over::Idle) => return None,
    };
    None
}

/// Whether the worker asked its connections to look at drain and listener again.
fn is_woken(cx: &mut Context<'_>, look: Pin<&mut Notified<'_>>) -> bool {
    look.poll(cx).is_ready()
}

fn poll_header(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    header: &mut Vec<u8>,
    timer: &mut Timer,
) -> Poll<Result<Told, Over>> {
    loop {
        let missing = match read(header) {
            Ok(Step::Done { told, .. }) => return Poll::Ready(Ok(told)),
            Ok(Step::Need(missing)) => missing,
            Err(refusal) => {
                tracing::debug!(%refusal, "a connection did not begin with a PROXY protocol header");
                return Poll::Ready(Err(Over::Invalid));
            }
        };
        let there = header.len();
        header.resize(there + missing, 0);
        let poll = stream.poll_read(cx, header.get_mut(there..).unwrap_or_default());
        header.truncate(there + if let Poll::Ready(Ok(n)) = poll { n } else { 0 });
        match poll {
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(Ok(_)) if there > 0 => return Poll::Ready(Err(Over::Invalid)),
            // Checks by connection end so, some of them by a reset that overtakes their header.
            Poll::Ready(_) => return Poll::Ready(Err(Over::Idle)),
            Poll::Pending => return timer.poll(cx).map(|()| Err(Over::Timeout)),
        }
    }
}
