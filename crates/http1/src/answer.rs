//! Answers of the proxy itself: refusals, gateway errors, `OPTIONS` with no hops left, 100.

use crate::body::BodyLength;
use crate::request::Version;
use crate::write::{line, write_connection, write_length};

/// An answer with a small body that the proxy gives on its own account.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status code; 100, 204 and 304 are written without length and body.
    pub status: u16,
    /// `Content-Type`; empty writes none.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the request was HEAD: the length is said, the body is not sent.
    pub head_only: bool,
    /// Whether the client's connection lives on.
    pub keep_alive: bool,
    /// The version the client spoke; HTTP/1.1 if unknown.
    pub client_version: Version,
    /// `X-Request-Id`; empty writes none.
    pub request_id: &'a str,
    /// Fields to add; the caller vouches for their syntax.
    pub extra: &'a [(&'a str, &'a str)],
}

/// Appends the whole answer.
pub fn write_answer(out: &mut Vec<u8>, answer: &Answer<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(answer.status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(answer.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let informational = answer.status < 200;
    let bodiless = informational || matches!(answer.status, 204 | 304);
    if !bodiless {
        if !answer.content_type.is_empty() {
            line(out, "Content-Type", answer.content_type.as_bytes());
        }
        write_length(out, BodyLength::Fixed(answer.body.len() as u64));
    }
    if !informational {
        write_connection(out, answer.keep_alive, answer.client_version);
        if !answer.request_id.is_empty() {
            line(out, "X-Request-Id", answer.request_id.as_bytes());
        }
    }
    for (name, value) in answer.extra {
        line(out, name, value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless && !answer.head_only {
        out.extend_from_slice(answer.body);
    }
}

/// The reason phrase of the registered codes that an answer may have; empty for others.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        _ => "",
    }
}
