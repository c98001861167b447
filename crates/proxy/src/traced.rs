//! Whose trace a request belongs to, and what a collector is told of it.
//!
//! Without `[tracing]` there is none of it: `traceparent` and `tracestate` pass like any other field.

use std::time::{Duration, SystemTime};

use evenkeel_http1::{Method, RequestHead, Version};
use evenkeel_model::config::Tracing;
use evenkeel_model::rng::Rng;
use evenkeel_trace::{Context, Span, SpanId, TRACEPARENT, TRACESTATE, TraceId, Value};

use crate::entry::Entry;
use crate::fault::Fault;
use crate::record::Hedging;
use crate::stream::Peer;

/// Longest `tracestate` that a span repeats; what backends are sent is as long as it came.
const STATE_MAX: usize = 512;

/// The trace of one request.
#[derive(Debug)]
pub(crate) struct Traced {
    /// What backends are told.
    context: Context,
    /// As the header says it.
    text: String,
    origin: Origin,
}

/// Where the trace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The request begins it.
    Here,
    /// The request came with it, and this is its caller's span.
    Caller(SpanId),
    /// The same, and its caller does not record: it passes as it came.
    Passes,
}

impl Traced {
    /// The trace of a request that has come in now.
    pub(crate) fn begin(tracing: &Tracing, head: &RequestHead, text: &[u8], ids: &mut Rng) -> Self {
        let given = tracing.follow.then(|| given(head, text)).flatten();
        let span = SpanId(id(ids).to_be_bytes());
        let (context, origin) = match given {
            Some(context) if !context.is_sampled => (context, Origin::Passes),
            Some(context) => (Context { span, ..context }, Origin::Caller(context.span)),
            None => {
                let trace = (u128::from(id(ids)) << 64) | u128::from(id(ids));
                let context = Context {
                    trace: TraceId(trace.to_be_bytes()),
                    span,
                    is_sampled: ids.unit() < tracing.sample.as_f64(),
                };
                (context, Origin::Here)
            }
        };
        Self {
            context,
            text: context.to_string(),
            origin,
        }
    }

    /// The trace.
    pub(crate) const fn trace(&self) -> TraceId {
        self.context.trace
    }

    /// Fields of the client's that backends are not to see.
    pub(crate) fn strip(&self) -> &'static [&'static str] {
        match self.origin {
            Origin::Here => &[TRACEPARENT, TRACESTATE],
            Origin::Caller(_) => &[TRACEPARENT],
            Origin::Passes => &[],
        }
    }

    /// What backends see in their place.
    pub(crate) fn extra(&self) -> Option<(&'static str, &str)> {
        (self.origin != Origin::Passes).then_some((TRACEPARENT, self.text.as_str()))
    }

    /// What a collector is told of a request that is over; `None`: nothing.
    pub(crate) fn span(&self, entry: &Entry<'_>) -> Option<Span> {
        if !self.context.is_sampled {
            return None;
        }
        let (parent, state) = match self.origin {
            Origin::Caller(parent) => (Some(parent), state(entry)),
            Origin::Here | Origin::Passes => (None, String::new()),
        };
        let record = entry.record;
        Some(Span {
            context: self.context,
            parent,
            state,
            name: method(entry).unwrap_or("HTTP").to_owned(),
            ended: SystemTime::now(),
            took: entry.now.saturating_duration_since(record.started),
            is_error: record.status >= 500,
            attributes: attributes(entry),
        })
    }
}

/// The context that a request came with: exactly one header, and one that may be believed.
fn given(head: &RequestHead, text: &[u8]) -> Option<Context> {
    let mut given = head.values(text, TRACEPARENT);
    match (given.next(), given.next()) {
        (Some(context), None) => Context::parse(context),
        _ => None,
    }
}

/// Never zero, which would be no id.
fn id(ids: &mut Rng) -> u64 {
    ids.next_u64().max(1)
}

/// `tracestate`, as a span repeats it.
fn state(entry: &Entry<'_>) -> String {
    let values = entry
        .request
        .map(|(head, bytes)| head.values(bytes, TRACESTATE));
    let whole = values.and_then(crate::entry::joined).unwrap_or_default();
    match String::from_utf8(whole) {
        Ok(state) if state.len() <= STATE_MAX => state,
        _ => String::new(),
    }
}

/// The method, where it is one of the known few: names of spans are to be few.
fn method<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    let (head, bytes) = entry.request?;
    (head.method_kind != Method::Other).then(|| head.method_text(bytes))
}

/// By OpenTelemetry's names for HTTP servers, and Evenkeel's own where it has none.
fn attributes(entry: &Entry<'_>) -> Vec<(&'static str, Value)> {
    let record = entry.record;
    let mut told = Told(Vec::with_capacity(24));
    told.request(entry);
    told.number("http.response.status_code", Some(record.status.into()));
    told.text("error.type", error(entry));
    told.text("evenkeel.request_id", Some(entry.request_id));
    told.text(
        "evenkeel.listener",
        Some(entry.connection.socket.listener.as_str()),
    );
    let view = entry.connection.worker.view();
    let keys = &view.published.snapshot.route_keys;
    let key = record.cell.as_ref().and(record.route);
    let key = key.and_then(|route| keys.get(route));
    told.text("evenkeel.route", key.map(|key| key.requests()));
    if let Some(pool) = &record.pool {
        let state = &pool.state;
        told.text("evenkeel.pool", Some(state.pool.name.as_str()));
        let backend = record.backend;
        let backend = backend.and_then(|index| state.pool.backends.get(index));
        told.text("evenkeel.backend", backend.map(|b| b.name.as_str()));
        told.number("evenkeel.epoch", Some(state.epoch.0));
    }
    let revision = record.pool.as_ref().map(|pool| pool.state.revision);
    let revision = revision.or(record.revision);
    told.text("evenkeel.revision", revision.map(|r| r.to_string()));
    told.number("evenkeel.attempts", Some(record.attempts.into()));
    told.text("evenkeel.hedge", record.hedging.map(Hedging::as_str));
    told.time("evenkeel.queued_ms", record.queued);
    told.time("evenkeel.upstream_ms", record.upstream);
    told.number("evenkeel.bytes_in", Some(record.bytes_in));
    told.number("evenkeel.bytes_out", Some(record.bytes_out));
    told.0
}

/// What was wrong: our code, or the status of a backend that failed.
fn error(entry: &Entry<'_>) -> Option<String> {
    let record = entry.record;
    let fault = record.fault.map(|fault| Fault::code(fault).to_owned());
    fault.or_else(|| (record.status >= 500).then(|| record.status.to_string()))
}

/// What is told so far.
struct Told(Vec<(&'static str, Value)>);

impl Told {
    fn text(&mut self, key: &'static str, text: Option<impl Into<String>>) {
        let text = text.map(|text| (key, Value::Text(text.into())));
        self.0.extend(text);
    }

    fn number(&mut self, key: &'static str, number: Option<u64>) {
        self.0
            .extend(number.map(|number| (key, Value::Number(number))));
    }

    fn time(&mut self, key: &'static str, time: Option<Duration>) {
        let ms = time.map(|time| Value::Real(time.as_secs_f64() * 1_000.0));
        self.0.extend(ms.map(|ms| (key, ms)));
    }

    fn request(&mut self, entry: &Entry<'_>) {
        let connection = entry.connection;
        if let Peer::Ip(ip) = connection.peer {
            self.text("client.address", Some(ip.to_string()));
        }
        self.text("url.scheme", Some(connection.fields.scheme().text()));
        let Some((head, bytes)) = entry.request else {
            return;
        };
        self.text(
            "http.request.method",
            Some(method(entry).unwrap_or("_OTHER")),
        );
        if method(entry).is_none() {
            let original = head.method_text(bytes);
            self.text("http.request.method_original", Some(original));
        }
        self.text("url.path", Some(head.path(bytes)));
        self.text("server.address", Some(head.host(bytes)));
        let version = match head.version {
            _ if connection.stream.is_http2() => "2",
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        self.text("network.protocol.version", Some(version));
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Limits, RequestHead, parse_request};
    use evenkeel_model::config::Tracing;
    use evenkeel_model::rng::Rng;
    use evenkeel_model::units::Ratio;

    use super::Traced;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracing(percent: u32, follow: bool) -> Tracing {
        Tracing {
            endpoint: String::new(),
            service_name: String::new(),
            sample: Ratio::from_percent(percent),
            follow,
        }
    }

    fn begin(tracing: &Tracing, fields: &str) -> Traced {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        parse_request(text.as_bytes(), &Limits::default(), &mut head).unwrap();
        Traced::begin(tracing, &head, text.as_bytes(), &mut Rng::new(1))
    }

    fn sent(traced: &Traced) -> &str {
        traced.extra().map_or("", |(_, text)| text)
    }

    #[test]
    fn a_recorded_trace_goes_on_with_a_span_of_our_own() {
        let field = format!("traceparent: {SAMPLED}\r\n");
        let traced = begin(&tracing(0, true), &field);
        assert!(sent(&traced).starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(sent(&traced).ends_with("-01"));
        assert!(!sent(&traced).contains("00f067aa0ba902b7"));
        assert_eq!(traced.strip(), ["traceparent"]);
    }

    #[test]
    fn a_trace_that_nobody_records_passes_as_it_came() {
        let field = format!("traceparent: {}\r\n", SAMPLED.replace("-01", "-00"));
        let traced = begin(&tracing(100, true), &field);
        assert_eq!((traced.extra(), traced.strip().len()), (None, 0));
        assert_eq!(traced.trace().to_string(), SAMPLED[3..35]);
    }

    #[test]
    fn a_trace_begins_here_where_none_can_be_believed() {
        let twice = format!("traceparent: {SAMPLED}\r\n").repeat(2);
        let alone = format!("traceparent: {SAMPLED}\r\n");
        for (fields, follow) in [
            ("", true),
            ("traceparent: x\r\n", true),
            (&twice, true),
            (&alone, false),
        ] {
            for (percent, flags) in [(0, "-00"), (100, "-01")] {
                let traced = begin(&tracing(percent, follow), fields);
                assert!(sent(&traced).ends_with(flags), "{fields}");
                assert_ne!(traced.trace().to_string(), SAMPLED[3..35]);
                assert_eq!(traced.strip(), ["traceparent", "tracestate"]);
            }
        }
    }

    #[test]
    fn the_part_that_is_told_is_the_part_that_was_asked_for() {
        let tracing = tracing(10, true);
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut head = RequestHead::default();
        parse_request(text, &Limits::default(), &mut head).unwrap();
        let mut ids = Rng::new(7);
        let told = (0..10_000)
            .filter(|_| sent(&Traced::begin(&tracing, &head, text, &mut ids)).ends_with("-01"))
            .count();
        // Six standard deviations of 10,000 draws at 10 %.
        assert!((820..=1_180).contains(&told), "{told}");
    }
}
