//! The handshake of a client: within its time, and counted by what became of it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use rustls::{Error, HandshakeKind, ServerConnection};

use super::{Terminator, TlsStream};
use crate::answer;
use crate::bind::ListenSocket;
use crate::connection::FAREWELL;
use crate::state::Worker;
use crate::stream::Stream;
use crate::timer::Timer;

/// First byte of a TLS handshake (RFC 8446 section 5.1).
const RECORD_HANDSHAKE: u8 = 0x16;

macro_rules! results {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// What became of a handshake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Handshake { $($(#[doc = $doc])+ $variant),+ }

        impl Handshake {
            /// Every result, in the order of the metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As the metrics say it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

results! {
    /// Done, with new keys.
    Full = "full",
    /// Done, by a ticket of an earlier one.
    Resumed = "resumed",
    /// Not done in time.
    Timeout = "timeout",
    /// The client left in the middle.
    Closed = "closed",
    /// The client spoke plain HTTP.
    PlainHttp = "plain_http",
    /// No version, cipher or protocol in common.
    Incompatible = "incompatible",
    /// No certificate for the name, under `sni = "strict"`.
    UnknownName = "unknown_name",
    /// The client showed no certificate, or one that is not accepted.
    ClientCertificate = "client_certificate",
    /// The client refused, our certificate in most cases.
    RefusedByClient = "refused_by_client",
    /// What came is not TLS as it should be.
    Invalid = "invalid",
    /// TLS, on a listener without.
    NotTlsHere = "not_tls_here",
}

/// How many handshakes of a listener came to what, in the order of [`Handshake::ALL`].
pub type Handshakes = [u64; Handshake::ALL.len()];

/// The counts of one listener over all workers. Kept by name over reloads.
#[derive(Debug, Default)]
pub(crate) struct HandshakeCells([AtomicU64; Handshake::ALL.len()]);

impl HandshakeCells {
    pub(crate) fn count(&self, result: Handshake) {
        if let Some(cell) = self.0.get(result as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn view(&self) -> Handshakes {
        std::array::from_fn(|i| self.0.get(i).map_or(0, |cell| cell.load(Ordering::Relaxed)))
    }
}

/// Whether bytes that are no request are the beginning of TLS.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [RECORD_HANDSHAKE, 3, ..])
}

/// Does the handshake on `raw`, within `patience`. `None`: it failed, and is counted.
pub(crate) async fn accept(
    raw: Stream,
    terminator: &Terminator,
    cells: &HandshakeCells,
    patience: Duration,
    worker: &Worker,
    socket: &ListenSocket,
) -> Option<Stream> {
    let due = Instant::now() + patience;
    let mut timer = Timer::new(due);
    let tls = match ServerConnection::new(Arc::clone(&terminator.config)) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "no handshake could begin");
            return None;
        }
    };
    let mut stream = Box::new(TlsStream::new(raw, tls));
    let mut look = pin!(worker.look.notified());
    let mut farewell = None;
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = poll_handshake(&mut stream, cx) {
            return Poll::Ready(Some(result));
        }
        loop {
            // Whoever has said nothing yet holds up no drain.
            let is_over = stream.first.is_none() && worker.is_over(socket);
            farewell = is_over.then(|| farewell.unwrap_or_else(|| Instant::now() + FAREWELL));
            timer.set(farewell.map_or(due, |by| due.min(by)));
            if timer.poll(cx).is_ready() {
                return Poll::Ready(farewell.is_none().then_some(Handshake::Timeout));
            }
            if look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            look.set(worker.look.notified());
        }
    })
    .await?;
    cells.count(result);
    if result == Handshake::PlainHttp {
        say_plain(&mut stream.raw);
    }
    matches!(result, Handshake::Full | Handshake::Resumed).then_some(Stream::Tls(stream))
}

fn poll_handshake(stream: &mut TlsStream, cx: &mut Context<'_>) -> Poll<Handshake> {
    loop {
        match stream.poll_flush(cx) {
            Poll::Ready(Err(_gone)) => return Poll::Ready(Handshake::Closed),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if !stream.tls.is_handshaking() {
            // What is left to be sent (tickets) goes with the first answer.
            return Poll::Ready(match stream.tls.handshake_kind() {
                Some(HandshakeKind::Resumed) => Handshake::Resumed,
                _ => Handshake::Full,
            });
        }
        if !matches!(ready!(stream.poll_receive(cx)), Ok(count) if count > 0) {
            return Poll::Ready(Handshake::Closed);
        }
        // No record of TLS begins with a letter, and every request does.
        if stream.first.is_some_and(|byte| byte.is_ascii_alphabetic()) {
            return Poll::Ready(Handshake::PlainHttp);
        }
        if let Err(error) = stream.process(cx) {
            return Poll::Ready(why(&error));
        }
    }
}

fn why(error: &io::Error) -> Handshake {
    let inner = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>());
    match inner {
        // The socket's own.
        None => Handshake::Closed,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Handshake::Incompatible,
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
            Handshake::ClientCertificate
        }
        Some(Error::AlertReceived(_)) => Handshake::RefusedByClient,
        // That the resolver found nothing has no kind of its own.
        Some(Error::General(_)) => Handshake::UnknownName,
        Some(_) => Handshake::Invalid,
    }
}

/// Tells a client that spoke plain HTTP what is spoken here. One try, without waiting.
fn say_plain(raw: &mut Stream) {
    let mut out = Vec::new();
    answer::write_plain_http(&mut out);
    let mut cx = Context::from_waker(Waker::noop());
    let sent = raw.poll_write(&mut cx, &[IoSlice::new(&out)]);
    if matches!(sent, Poll::Ready(Ok(_))) && raw.shutdown_write().is_ok() {
        // Unread input would turn the close into a reset, and the answer would be lost.
        drop(raw.poll_read(&mut cx, &mut [0; 1024]));
    }
}
