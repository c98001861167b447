//! One line of the access log: a JSON object with the fields that were chosen.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use evenkeel_http1::{RequestHead, Version};
use evenkeel_model::config::LogField;

use crate::access::{ms_field, null_field, number_field, rfc3339, text_field};
use crate::connection::Connection;
use crate::fault::Fault;
use crate::record::{Hedging, Record};
use crate::stream::Peer;

/// What a line is written from.
pub(crate) struct Entry<'a> {
    pub(crate) record: &'a Record,
    pub(crate) connection: &'a Connection,
    /// The head and its bytes; none where what came was no request.
    pub(crate) request: Option<(&'a RequestHead, &'a [u8])>,
    pub(crate) request_id: &'a str,
    /// When the request was over.
    pub(crate) now: Instant,
}

/// What stands behind a key.
enum Value<'a> {
    Bytes(Cow<'a, [u8]>),
    Number(u64),
    Time(Duration),
    Null,
}

impl<'a> Value<'a> {
    fn text(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        match text.map(Into::into) {
            Some(Cow::Borrowed(text)) => Self::Bytes(Cow::Borrowed(text.as_bytes())),
            Some(Cow::Owned(text)) => Self::Bytes(Cow::Owned(text.into_bytes())),
            None => Self::Null,
        }
    }

    fn number(number: Option<u64>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }

    fn time(time: Option<Duration>) -> Self {
        time.map_or(Self::Null, Self::Time)
    }

    fn write(&self, out: &mut Vec<u8>, name: &str) {
        match self {
            Self::Bytes(bytes) => text_field(out, name, bytes),
            Self::Number(number) => number_field(out, name, *number),
            Self::Time(time) => ms_field(out, name, *time),
            Self::Null => null_field(out, name),
        }
    }
}

impl Entry<'_> {
    /// The line, without its end.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let view = self.connection.worker.view();
        let chosen = view.published.snapshot.config.access_log_fields.as_slice();
        let fields = match chosen {
            [] => LogField::USUAL,
            chosen => chosen,
        };
        let start = out.len();
        for field in fields {
            self.field(out, field);
        }
        // In the place of the comma before the first.
        if let Some(first) = out.get_mut(start) {
            *first = b'{';
        }
        out.push(b'}');
    }

    fn field(&self, out: &mut Vec<u8>, field: &LogField) {
        let record = self.record;
        let pool = record.pool.as_ref().map(|pool| &pool.state);
        let backends = pool.map(|pool| &pool.pool.backends);
        let backend = record.backend.zip(backends);
        let backend = backend.and_then(|(index, backends)| backends.get(index));
        let value = match field {
            LogField::Time => {
                let time = rfc3339(self.connection.worker.wall(record.started).0);
                Value::text(Some(time))
            }
            LogField::RequestId => Value::text(Some(self.request_id)),
            LogField::Client => match self.connection.peer {
                Peer::Ip(ip) => Value::text(Some(ip.to_string())),
                Peer::Unix => Value::text(Some("unix")),
            },
            LogField::Listener => Value::text(Some(self.connection.socket.listener.as_str())),
            LogField::Protocol => Value::text(protocol(
                self.connection,
                self.request.map(|(head, _)| head),
            )),
            LogField::Method => self.of_request(|head, bytes| Some(head.method_text(bytes))),
            LogField::Path => self.of_request(|head, bytes| Some(head.path(bytes))),
            LogField::Query => self.of_request(|head, bytes| head.query(bytes)),
            LogField::Host => self.of_request(|head, bytes| Some(head.host(bytes))),
            LogField::Status => Value::Number(u64::from(record.status)),
            LogField::Route => Value::number(record.route.map(|route| route as u64)),
            LogField::Pool => Value::text(pool.map(|pool| pool.pool.name.as_str())),
            LogField::Backend => Value::text(backend.map(|backend| backend.name.as_str())),
            LogField::Epoch => Value::number(pool.map(|pool| pool.epoch.0)),
            LogField::Revision => {
                let revision = pool.map(|pool| pool.revision).or(record.revision);
                Value::text(revision.map(|revision| revision.to_string()))
            }
            LogField::Attempts => Value::Number(u64::from(record.attempts)),
            LogField::Hedge => Value::text(record.hedging.map(Hedging::as_str)),
            LogField::DurationMs => Value::Time(self.now.saturating_duration_since(record.started)),
            LogField::UpstreamMs => Value::time(record.upstream),
            LogField::QueuedMs => Value::time(record.queued),
            LogField::BytesIn => Value::Number(record.bytes_in),
            LogField::BytesOut => Value::Number(record.bytes_out),
            LogField::TraceId => {
                let traced = record.traced.as_ref();
                Value::text(traced.map(|traced| traced.trace().to_string()))
            }
            LogField::Error => Value::text(record.fault.map(Fault::code)),
            LogField::RequestHeader(header) => {
                let values = self.request.map(|(head, bytes)| head.values(bytes, header));
                values
                    .and_then(joined)
                    .map_or(Value::Null, |value| Value::Bytes(Cow::Owned(value)))
            }
            LogField::ResponseHeader(header) => {
                let kept = record
                    .response_headers
                    .iter()
                    .find(|(name, _)| name == header);
                kept.and_then(|(_, value)| value.as_deref())
                    .map_or(Value::Null, |value| Value::Bytes(Cow::Borrowed(value)))
            }
        };
        value.write(out, &field.name());
    }

    fn of_request<'a>(
        &'a self,
        part: impl FnOnce(&'a RequestHead, &'a [u8]) -> Option<&'a str>,
    ) -> Value<'a> {
        Value::text(self.request.and_then(|(head, bytes)| part(head, bytes)))
    }
}

/// All values of a header as one, as a recipient may read them (RFC 9110 section 5.3).
pub(crate) fn joined<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    values.map(<[u8]>::to_vec).reduce(|mut all, value| {
        all.extend_from_slice(b", ");
        all.extend_from_slice(&value);
        all
    })
}

/// What the client spoke; over HTTP/1 a head that was refused does not say.
fn protocol(connection: &Connection, head: Option<&RequestHead>) -> Option<&'static str> {
    if connection.stream.is_http2() {
        return Some("HTTP/2.0");
    }
    Some(match head?.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    })
}
