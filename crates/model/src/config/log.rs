//! What a line of the access log says.

use std::borrow::Cow;

/// Before the name of a field of the request.
const REQUEST_HEADER: &str = "request_header.";
/// Before the name of a field of the response.
const RESPONSE_HEADER: &str = "response_header.";

macro_rules! plain {
    ($($variant:ident = $word:literal,)+) => {
        /// One key of a line, and what stands there.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum LogField {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
            /// A header of the request, as it came; in lower case.
            RequestHeader(String),
            /// A header of the response, as the backend sent it; in lower case.
            ResponseHeader(String),
        }

        impl LogField {
            /// The words of all that are no header.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The key in the line, which is the word in the configuration.
            pub fn name(&self) -> Cow<'_, str> {
                match self {
                    $(Self::$variant => Cow::Borrowed($word),)+
                    Self::RequestHeader(name) => Cow::Owned(format!("{REQUEST_HEADER}{name}")),
                    Self::ResponseHeader(name) => Cow::Owned(format!("{RESPONSE_HEADER}{name}")),
                }
            }

            /// The field that is called so; of a header, whose name may be anything.
            pub fn of(name: &str) -> Option<Self> {
                if let Some(header) = name.strip_prefix(REQUEST_HEADER) {
                    return Some(Self::RequestHeader(header.to_owned()));
                }
                if let Some(header) = name.strip_prefix(RESPONSE_HEADER) {
                    return Some(Self::ResponseHeader(header.to_owned()));
                }
                match name {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

plain! {
    Time = "time",
    RequestId = "request_id",
    TraceId = "trace_id",
    Client = "client",
    Listener = "listener",
    Protocol = "protocol",
    Method = "method",
    Path = "path",
    Query = "query",
    Host = "host",
    Status = "status",
    Route = "route",
    Pool = "pool",
    Backend = "backend",
    Epoch = "epoch",
    Revision = "revision",
    Attempts = "attempts",
    Hedge = "hedge",
    DurationMs = "duration_ms",
    UpstreamMs = "upstream_ms",
    QueuedMs = "queued_ms",
    BytesIn = "bytes_in",
    BytesOut = "bytes_out",
    Error = "error",
}

impl LogField {
    /// Without a choice: everything but the query, which may hold what must not be written down, headers and the
    /// trace.
    pub const USUAL: &'static [Self] = &[
        Self::Time,
        Self::RequestId,
        Self::Client,
        Self::Listener,
        Self::Protocol,
        Self::Method,
        Self::Path,
        Self::Host,
        Self::Status,
        Self::Route,
        Self::Pool,
        Self::Backend,
        Self::Epoch,
        Self::Revision,
        Self::Attempts,
        Self::Hedge,
        Self::DurationMs,
        Self::UpstreamMs,
        Self::QueuedMs,
        Self::BytesIn,
        Self::BytesOut,
        Self::Error,
    ];

    /// The header that it shows.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::RequestHeader(name) | Self::ResponseHeader(name) => Some(name),
            _ => None,
        }
    }
}
