//! What can go wrong with a request: whose fault it is, what the client is told, under which stable code.

use std::io;

use evenkeel_balance::retry::Failure;
use evenkeel_http1::{BodyError, Refusal, ResponseError};

use crate::counts::Outcome;
use crate::tls::Dialled;

/// A status that no configuration can name as worth a further try.
const NEVER_REPEATED: u16 = 499;

/// Why a request did not end with a backend's complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The head is no acceptable request.
    Refused(Refusal),
    /// The head did not come in time.
    HeadTimeout,
    /// The body stopped coming.
    BodyTimeout,
    /// The body is malformed.
    BodyInvalid(BodyError),
    /// The body is larger than the listener allows.
    BodyTooLarge,
    /// The client left.
    ClientGone,
    /// The client stopped taking the response.
    ClientWriteTimeout,
    /// No byte went through the tunnel for its `tunnel_idle`.
    TunnelIdle,
    /// The tunnel outlived its backend, its listener or this process by its `tunnel_drain` or the drain's time.
    TunnelDrained,
    /// No route matches.
    NoRoute,
    /// The request names no host, and its route redirects to another scheme or port of it.
    NoHost,
    /// Read as other servers read paths, the path would take another route.
    AmbiguousPath,
    /// What its route would make of its path is nothing to send.
    RewrittenPath,
    /// Requests come faster than the route allows; seconds until one would be let through.
    RateLimited(u32),
    /// The listener was removed while the request came in.
    ListenerGone,
    /// The process holds more memory than it may for requests of this priority.
    Overloaded,
    /// The pool has no room left for requests of this priority.
    Shed,
    /// No backend of the pool is eligible.
    NoBackend,
    /// Every eligible backend is at its `max_in_flight`.
    AllAtLimit,
    /// So many requests wait for a backend already.
    QueueFull,
    /// No backend came below its limit in time.
    QueueTimeout,
    /// The backend refused the connection.
    ConnectRefused,
    /// The backend cannot be reached.
    ConnectFailed,
    /// The backend did not accept the connection in time.
    ConnectTimeout,
    /// There is no TLS with the backend.
    BackendTls(Dialled),
    /// The backend broke the connection before its response was complete.
    BackendReset,
    /// The backend closed the connection before its response was complete.
    BackendClosed,
    /// The backend's bytes are no acceptable response.
    InvalidResponse(ResponseError),
    /// The body of the backend's response is malformed.
    InvalidBody(BodyError),
    /// No response head in time.
    ResponseTimeout,
    /// The response body stopped coming, or the request body stopped being taken.
    BackendStalled,
    /// All tries together took too long.
    RequestTimeout,
}

impl Fault {
    /// Status to answer with, where an answer is still possible.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyInvalid(_) | Self::AmbiguousPath | Self::RewrittenPath | Self::NoHost => 400,
            Self::BodyTooLarge => 413,
            // Never sent; as nginx, for the log.
            Self::ClientGone
            | Self::ClientWriteTimeout
            | Self::TunnelIdle
            | Self::TunnelDrained => 499,
            Self::NoRoute => 404,
            Self::RateLimited(_) => 429,
            Self::ListenerGone
            | Self::Overloaded
            | Self::Shed
            | Self::NoBackend
            | Self::AllAtLimit
            | Self::QueueFull
            | Self::QueueTimeout => 503,
            Self::ConnectRefused
            | Self::ConnectFailed
            | Self::BackendTls(_)
            | Self::BackendReset
            | Self::BackendClosed
            | Self::InvalidResponse(_)
            | Self::InvalidBody(_) => 502,
            Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::BackendStalled
            | Self::RequestTimeout => 504,
        }
    }

    /// Stable code, in `x-evenkeel-error` and the access log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyInvalid(error) => error.code(),
            Self::BodyTooLarge => "body_too_large",
            Self::ClientGone => "client_gone",
            Self::ClientWriteTimeout => "client_write_timeout",
            Self::TunnelIdle => "tunnel_idle",
            Self::TunnelDrained => "tunnel_drained",
            Self::NoRoute => "no_route",
            Self::NoHost => "no_host",
            Self::AmbiguousPath => "ambiguous_path",
            Self::RewrittenPath => "rewritten_path",
            Self::RateLimited(_) => "rate_limited",
            Self::ListenerGone => "listener_removed",
            Self::Overloaded => "overloaded",
            Self::Shed => "shed",
            Self::NoBackend => "no_backend",
            Self::AllAtLimit => "all_at_limit",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::BackendTls(result) => result.code(),
            Self::BackendReset => "backend_reset",
            Self::BackendClosed => "backend_closed",
            Self::InvalidResponse(error) => error.code(),
            Self::InvalidBody(_) => "response_body",
            Self::ResponseTimeout => "response_timeout",
            Self::BackendStalled => "backend_stalled",
            Self::RequestTimeout => "request_timeout",
        }
    }

    /// One sentence for a person.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Refused(_) => "the request is malformed or not supported",
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::BodyInvalid(_) => "the request body is malformed",
            Self::BodyTooLarge => "the request body is too large",
            Self::ClientGone | Self::ClientWriteTimeout => "the client left",
            Self::TunnelIdle => "nothing went through the tunnel for too long",
            Self::TunnelDrained => "the tunnel outlived its backend or its listener",
            Self::NoRoute => "no route matches this request",
            Self::NoHost => "the request names no host to be redirected on",
            Self::AmbiguousPath => {
                "the path can be read in several ways that take different routes"
            }
            Self::RewrittenPath => "rewritten, the path could be read as another one than it says",
            Self::RateLimited(_) => "too many requests; try again later",
            Self::ListenerGone => "this listener was removed",
            Self::Overloaded => "this instance is short of memory; try again later",
            Self::Shed => "requests of a higher priority need the room; try again later",
            Self::NoBackend => "no backend is available",
            Self::AllAtLimit => "every backend is at its limit",
            Self::QueueFull => "every backend is at its limit and too many requests wait already",
            Self::QueueTimeout => "no backend came below its limit in time",
            Self::ConnectRefused => "the backend refused the connection",
            Self::ConnectFailed => "the backend cannot be reached",
            Self::ConnectTimeout => "the backend did not accept the connection in time",
            Self::BackendTls(_) => "the backend and this balancer do not speak TLS with each other",
            Self::BackendReset => "the backend broke the connection",
            Self::BackendClosed => "the backend closed the connection without a complete response",
            Self::InvalidResponse(_) | Self::InvalidBody(_) => {
                "the backend's response is not acceptable HTTP"
            }
            Self::ResponseTimeout => "the backend did not answer in time",
            Self::BackendStalled => "the backend stopped in the middle of a message",
            Self::RequestTimeout => "the request took too long in all",
        }
    }

    /// What a failed connection attempt is.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::ConnectFailed,
        }
    }

    /// How a try that ended so is counted.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::ConnectRefused
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::BackendTls(_) => Outcome::ConnectFailed,
            Self::BackendReset
            | Self::BackendClosed
            | Self::InvalidResponse(_)
            | Self::InvalidBody(_) => Outcome::Reset,
            Self::ResponseTimeout | Self::BackendStalled | Self::RequestTimeout => Outcome::Timeout,
            _ => Outcome::ClientAbort,
        }
    }

    /// What `balance` judges a repeat by. `stale`: on a kept-alive connection, before any byte of response.
    pub(crate) fn failure(self, stale: bool, bytes_written: bool) -> Failure {
        match self {
            // With a refusal in the handshake the backend has read nothing of the request.
            Self::ConnectRefused
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::BackendTls(_) => Failure::Connect,
            Self::BackendReset | Self::BackendClosed if stale => {
                Failure::StaleConnection { bytes_written }
            }
            Self::BackendReset | Self::BackendClosed => Failure::Reset { bytes_written },
            Self::InvalidResponse(_) => Failure::InvalidResponse,
            Self::ResponseTimeout => Failure::Timeout,
            // The rest is the client's, or has used up the time: not a status that a backend sent.
            _ => Failure::Status(NEVER_REPEATED),
        }
    }

    /// Whether the backend, not the client, is the reason.
    pub(crate) fn is_backends(self) -> bool {
        !matches!(self.outcome(), Outcome::ClientAbort)
    }
}
