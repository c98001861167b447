//! Answers of the proxy itself: which status, which code, in one short text.

use evenkeel_http1::{Answer, Version, write_answer};

use crate::fault::Fault;

/// The header that says which of our errors an answer is.
pub(crate) const ERROR_HEADER: &str = "X-Evenkeel-Error";
/// Methods that are passed on, for 405 and `OPTIONS` with no hops left.
const ALLOW: (&str, &str) = ("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");

/// `Retry-After` of a request that was shed, seconds: the memory is read anew by then.
const SHED_WAIT: &str = "1";

/// To whom an answer goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) head_only: bool,
    pub(crate) keep_alive: bool,
    pub(crate) version: Version,
    pub(crate) request_id: &'a str,
}

/// Writes the answer to a fault.
pub(crate) fn write_fault(out: &mut Vec<u8>, fault: Fault, to: To<'_>) {
    let body = format!("{} {}: {}\n", fault.status(), fault.code(), fault.text());
    let error = (ERROR_HEADER, fault.code());
    let wait = match fault {
        Fault::RateLimited(seconds) => seconds.to_string(),
        Fault::Overloaded | Fault::Shed => SHED_WAIT.to_owned(),
        _ => String::new(),
    };
    let extra: &[_] = match fault.status() {
        405 => &[error, ALLOW],
        _ if !wait.is_empty() => &[error, ("Retry-After", &wait)],
        _ => &[error],
    };
    write(out, fault.status(), &body, extra, to);
}

/// Writes the answer to `OPTIONS` with `Max-Forwards: 0` (RFC 9110 section 7.6.2).
pub(crate) fn write_options(out: &mut Vec<u8>, to: To<'_>) {
    write(out, 204, "", &[ALLOW], to);
}

/// Writes the answer to a connection over the listener's limit.
pub(crate) fn write_over_limit(out: &mut Vec<u8>) {
    let to = To {
        head_only: false,
        keep_alive: false,
        version: Version::Http11,
        request_id: "",
    };
    let extra = [(ERROR_HEADER, "too_many_connections")];
    let body = "503 too_many_connections: too many connections are open; try again later\n";
    write(out, 503, body, &extra, to);
}

/// Writes the answer to plain HTTP where TLS is spoken.
pub(crate) fn write_plain_http(out: &mut Vec<u8>) {
    let to = To {
        head_only: false,
        keep_alive: false,
        version: Version::Http11,
        request_id: "",
    };
    let extra = [(ERROR_HEADER, "plain_http")];
    let body = "400 plain_http: TLS is spoken here; use https://\n";
    write(out, 400, body, &extra, to);
}

/// Writes what a route says. `extra`: checked fields.
pub(crate) fn write_local(
    out: &mut Vec<u8>,
    status: u16,
    (content_type, body): (&str, &str),
    extra: &[(&str, &str)],
    to: To<'_>,
) {
    let answer = Answer {
        status,
        content_type,
        body: body.as_bytes(),
        head_only: to.head_only,
        keep_alive: to.keep_alive,
        client_version: to.version,
        request_id: to.request_id,
        extra,
    };
    write_answer(out, &answer);
}

fn write(out: &mut Vec<u8>, status: u16, body: &str, extra: &[(&str, &str)], to: To<'_>) {
    write_local(out, status, ("text/plain; charset=utf-8", body), extra, to);
}
