//! The handshake of a client: within its time, and counted by what became of it. That with a backend is `dial`.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use rustls::{Connection, Error, HandshakeKind, ServerConnection};

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
    ($(#[doc = $about:literal])+ $name:ident: $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])+ $variant),+ }

        impl $name {
            /// Every result, in the order of the metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As the metrics say it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}
pub(super) use results;

results! {
    /// What became of a handshake.
    Handshake:
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
    let mut stream = Box::new(TlsStream::new(raw, Connection::Server(tls)));
    let mut look = pin!(worker.look.notified());
    let mut farewell = None;
    let result = poll_fn(|cx| {
        if let Poll::Ready(done) = poll_shake(&mut stream, cx) {
            return Poll::Ready(Some(of_client(done)));
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

/// What the end of a handshake is called of a client.
fn of_client(done: Result<bool, Broken>) -> Handshake {
    match done {
        Ok(true) => Handshake::Resumed,
        Ok(false) => Handshake::Full,
        Err(Broken::Closed) => Handshake::Closed,
        Err(Broken::Plain) => Handshake::PlainHttp,
        Err(Broken::Tls(error)) => why(&error),
    }
}

/// What broke a handshake.
pub(super) enum Broken {
    /// The other end left.
    Closed,
    /// The other end speaks plain HTTP.
    Plain,
    /// rustls found something wrong.
    Tls(Error),
}

/// Goes on with a handshake of either side; done: whether it was a resumed one.
pub(super) fn poll_shake(
    stream: &mut TlsStream,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, Broken>> {
    loop {
        match stream.poll_flush(cx) {
            Poll::Ready(Err(_gone)) => return Poll::Ready(Err(Broken::Closed)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if !stream.tls.is_handshaking() {
            // What is left to be sent (tickets, our Finished) goes with what is written next.
            let kind = stream.tls.handshake_kind();
            return Poll::Ready(Ok(kind == Some(HandshakeKind::Resumed)));
        }
        if !matches!(ready!(stream.poll_receive(cx)), Ok(count) if count > 0) {
            return Poll::Ready(Err(Broken::Closed));
        }
        // No record of TLS begins with a letter, and every message of HTTP/1 does.
        if stream.first.is_some_and(|byte| byte.is_ascii_alphabetic()) {
            return Poll::Ready(Err(Broken::Plain));
        }
        if let Err(error) = stream.process(cx) {
            let broken = error.downcast().map_or(Broken::Closed, Broken::Tls);
            return Poll::Ready(Err(broken));
        }
    }
}

fn why(error: &Error) -> Handshake {
    match error {
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Handshake::Incompatible,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
            Handshake::ClientCertificate
        }
        Error::AlertReceived(_) => Handshake::RefusedByClient,
        // That the resolver found nothing has no kind of its own.
        Error::General(_) => Handshake::UnknownName,
        _ => Handshake::Invalid,
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
