//! Response heads from a backend: parsed into offsets and judged (RFC 9112 6.3, RFC 9110 15).
//!
//! A backend is not an enemy, but a confused one must not make one client read another's answer:
//! what could be framed in two ways is an error (502), except coding beside length, where
//! RFC 9112 6.3 names the winner; the connection is not used again then.

use std::mem::MaybeUninit;

use crate::body::BodyLength;
use crate::fields::{Fields, Span};
use crate::limits::{FIELDS_MAX, Limits};
use crate::names::Known;
use crate::refusal::ResponseError;
use crate::request::{Method, Version};
use crate::scan::Progress;
use crate::syntax;
use crate::upgrade;

/// One response head as offsets into the buffer it was parsed from; reuse and `buf` as for
/// [`RequestHead`](crate::RequestHead).
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub(crate) fields: Fields,
    pub(crate) progress: Progress,
    pub(crate) reason: Span,
    said_upgrade: bool,
    /// 100 to 999; 101 only where an upgrade was asked for, and then [`Self::switched`].
    pub status: u16,
    /// The version the backend spoke.
    pub version: Version,
    /// How the body is framed. `None` for HEAD, 1xx, 204 and 304 whatever the fields say.
    pub body: BodyLength,
    /// The length the fields state, also where no body follows (HEAD, 304).
    pub content_length: Option<u64>,
    /// Whether the upstream connection may be used again once the body is complete.
    pub keep_alive: bool,
    /// Whether this is a 1xx: forward it (not to HTTP/1.0) and parse on for the final response.
    pub informational: bool,
    /// Whether the connection is a tunnel from here on, in the protocol that was asked for.
    pub switched: bool,
}

impl ResponseHead {
    /// Forgets everything. Needed only when a connection is given up while a head is incomplete
    /// and the value is reused for another one.
    pub fn clear(&mut self) {
        self.progress.reset();
        self.fields.clear();
    }

    /// Name and value of every field as received, in order, dropped ones included.
    pub fn fields<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields.pairs(buf)
    }

    /// The first value of a field, its name compared without case.
    pub fn field<'a>(&'a self, buf: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
        self.fields.values(buf, name).next()
    }

    /// Every value of a field, in order, its name compared without case.
    pub fn values<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.values(buf, name)
    }
}

/// Parses a response head at the start of `buf`; `method` is that of the request it answers.
///
/// `Ok(Some(n))`: complete, the first `n` bytes are the head. `Ok(None)`: call again with the same
/// bytes and more.
///
/// # Errors
/// Why the response cannot be passed on; the upstream connection is lost.
pub fn parse_response(
    buf: &[u8],
    method: Method,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ResponseError> {
    parse_upgrade_response(buf, method, None, limits, head)
}

/// [`parse_response`] to a request that may have asked for an upgrade to `offered`: a 101 that names just that
/// protocol is no error then.
///
/// # Errors
/// As those of [`parse_response`].
pub fn parse_upgrade_response(
    buf: &[u8],
    method: Method,
    offered: Option<&str>,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ResponseError> {
    let result = attempt(buf, method, offered, limits, head);
    if !matches!(result, Ok(None)) {
        head.progress.reset();
    }
    result
}

fn attempt(
    buf: &[u8],
    method: Method,
    offered: Option<&str>,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ResponseError> {
    // An empty line before a status line has no excuse; httparse would skip it.
    if matches!(buf.first(), Some(b'\r' | b'\n')) {
        return Err(ResponseError::Syntax);
    }
    let bound = limits.head_bound();
    let window = buf.get(..bound).unwrap_or(buf);
    let full = window.len() == bound;
    if !head.progress.worth_parsing(window, full) {
        return Ok(None);
    }
    if let Some(end) = tokenize(window, limits, head)? {
        judge(window, method, head)?;
        judge_switch(window, offered, head)?;
        return Ok(Some(end));
    }
    head.progress.tried(window);
    if full {
        Err(ResponseError::HeadTooLarge)
    } else {
        Ok(None)
    }
}

/// Length of `HTTP/1.x SP ddd`.
const STATUS_END: usize = 12;

fn tokenize(
    src: &[u8],
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ResponseError> {
    let mut rows = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let rows = rows
        .get_mut(..limits.fields_max.min(FIELDS_MAX))
        .unwrap_or_default();
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        src,
        rows,
    );
    let end = match parsed {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(error_of(error)),
    };
    // The reason is found here and not taken from httparse, which drops one with obs-text.
    let line = src.get(STATUS_END..end).unwrap_or_default();
    let newline = line
        .iter()
        .position(|&b| b == b'\n')
        .ok_or(ResponseError::Syntax)?;
    if newline == 0 || line.get(newline - 1) != Some(&b'\r') {
        return Err(ResponseError::BareLineEnd);
    }
    let fields_start = STATUS_END + newline + 1;
    if head
        .fields
        .fill(response.headers, src, fields_start, end)
        .is_err()
    {
        return Err(ResponseError::BareLineEnd);
    }
    head.reason = Span::new(STATUS_END, fields_start - 2);
    head.status = response.code.unwrap_or_default();
    head.version = if response.version == Some(0) {
        Version::Http10
    } else {
        Version::Http11
    };
    Ok(Some(end))
}

fn error_of(error: httparse::Error) -> ResponseError {
    match error {
        httparse::Error::TooManyHeaders => ResponseError::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => ResponseError::FieldSyntax,
        httparse::Error::Version => ResponseError::Version,
        httparse::Error::Status => ResponseError::Status,
        httparse::Error::NewLine | httparse::Error::Token => ResponseError::Syntax,
    }
}

fn judge(buf: &[u8], method: Method, head: &mut ResponseHead) -> Result<(), ResponseError> {
    if head.status < 100 {
        return Err(ResponseError::Status);
    }
    head.switched = head.status == 101;
    head.informational = head.status < 200 && !head.switched;
    let mut length = None;
    let mut coding = None;
    for field in head.fields.iter_mut() {
        let value = field.value.of(buf);
        match field.known {
            // `_` in a name only matters on the way to a backend.
            _ if field.known != Known::Other && field.name.of(buf).contains(&b'_') => continue,
            Known::ContentLength if length.is_some() => return Err(ResponseError::LengthTwice),
            Known::ContentLength => {
                length = Some(syntax::decimal(value).ok_or(ResponseError::LengthSyntax)?);
            }
            Known::TransferEncoding if coding.is_some() => return Err(ResponseError::Coding),
            Known::TransferEncoding => coding = Some(field.value),
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Upgrade
            | Known::XRequestId => {}
            _ => continue,
        }
        field.keep = false;
    }
    let coding = coding.map(|c| c.of(buf));
    if let Some(coding) = coding {
        if head.version == Version::Http10 {
            return Err(ResponseError::CodingVersion);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseError::Coding);
        }
    }
    let bodiless = head.status < 200 || method == Method::Head || matches!(head.status, 204 | 304);
    head.body = match (coding, length) {
        _ if bodiless => BodyLength::None,
        (Some(_), _) => BodyLength::Chunked,
        (None, Some(length)) => BodyLength::Fixed(length),
        (None, None) => BodyLength::UntilClose,
    };
    let ambiguous = coding.is_some() && length.is_some();
    head.content_length = if coding.is_some() { None } else { length };
    let said = head.fields.apply_connection(buf);
    if said.too_many {
        return Err(ResponseError::FieldSyntax);
    }
    head.said_upgrade = said.upgrade;
    head.keep_alive = !ambiguous
        && !head.switched
        && !said.close
        && head.body != BodyLength::UntilClose
        && (head.version == Version::Http11 || said.keep_alive);
    Ok(())
}

/// A backend that changes the protocol unasked, or to another one than was asked for, would make bytes of a tunnel
/// out of what the client means as requests.
fn judge_switch(
    buf: &[u8],
    offered: Option<&str>,
    head: &ResponseHead,
) -> Result<(), ResponseError> {
    if !head.switched {
        return Ok(());
    }
    let Some(offered) = offered else {
        return Err(ResponseError::Switched);
    };
    let named = head.values(buf, "upgrade").flat_map(syntax::members);
    let is_named = upgrade::names_only(named, offered);
    if head.version == Version::Http11 && head.said_upgrade && is_named {
        Ok(())
    } else {
        Err(ResponseError::SwitchedElsewhere)
    }
}
