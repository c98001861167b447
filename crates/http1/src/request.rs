//! Request heads: parsed into offsets, judged, and ready to be written anew.
//!
//! httparse finds the tokens; everything that two implementations could read differently is
//! decided here (RFC 9112 2-3 and 6, RFC 9110 4, 7 and 10.1.1). The order of the checks is: line,
//! fields, method, target, framing, host, the rest; the first fault found is the one reported.

use std::mem::MaybeUninit;

use crate::body::BodyLength;
use crate::fields::{Fields, Span};
use crate::limits::{FIELDS_MAX, Limits, METHOD_MAX};
use crate::refusal::Refusal;
use crate::scan::{self, Lead, OddVersion, Progress};

mod judge;

/// The protocol version a peer spoke. HTTP/1.2 to 1.9 count as 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// The method as far as a proxy acts on it; the text is [`RequestHead::method_text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`: the response has no body whatever its fields say.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
    /// `OPTIONS`.
    Options,
    /// `PATCH`.
    Patch,
    /// Any other method; neither safe nor idempotent as far as is known here.
    Other,
}

impl Method {
    fn of(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether the same request twice has the effect of one (RFC 9110 9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Patch | Method::Other)
    }

    /// Whether the request asks for no change (RFC 9110 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options)
    }
}

/// One request head as offsets into the buffer it was parsed from.
///
/// Keep one per connection and reuse it: [`parse_request`] overwrites it. All accessors that take
/// `buf` need the slice that was given to the parse that completed (at least its first `consumed`
/// bytes); with another slice they return nonsense or nothing, but never panic.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub(crate) fields: Fields,
    pub(crate) progress: Progress,
    method: Span,
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
    host: Span,
    asterisk: bool,
    /// The method as far as the proxy acts on it.
    pub method_kind: Method,
    /// The version the client spoke.
    pub version: Version,
    /// How the body is framed: `None`, `Fixed` or `Chunked`.
    pub body: BodyLength,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body. Only set when there is one.
    pub expect_continue: bool,
    /// Whether the client asks to change the protocol in a way that may be granted: over HTTP/1.1, without a
    /// body, and `Connection` lists `upgrade`. See [`RequestHead::upgrade_to`].
    pub upgrade: bool,
    /// `Max-Forwards` of an `OPTIONS` request. At `Some(0)` the proxy answers itself (RFC 9110
    /// 7.6.2); otherwise it is written one lower.
    pub max_forwards: Option<u64>,
}

impl RequestHead {
    /// Forgets everything. Needed only when a connection is given up while a head is incomplete
    /// and the value is reused for another one.
    pub fn clear(&mut self) {
        self.progress.reset();
        self.fields.clear();
    }

    /// The method as sent.
    pub fn method_text<'a>(&self, buf: &'a [u8]) -> &'a str {
        self.method.text(buf)
    }

    /// The path as sent, never empty: `/` if an absolute target had none, `*` for `OPTIONS *`.
    /// Not normalised: escapes and dot segments are still in it.
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a str {
        if self.asterisk {
            return "*";
        }
        match self.path.text(buf) {
            "" => "/",
            path => path,
        }
    }

    /// The query without its `?`; `None` if there is no `?`.
    pub fn query<'a>(&self, buf: &'a [u8]) -> Option<&'a str> {
        self.query.map(|q| q.text(buf))
    }

    /// Host and port as the client named them: the target's if it is absolute, else `Host`'s.
    /// `None` only for HTTP/1.0 without either.
    pub fn authority<'a>(&self, buf: &'a [u8]) -> Option<&'a str> {
        self.authority.map(|a| a.text(buf))
    }

    /// The host without its port, in the client's spelling (compare without case); `""` if none.
    pub fn host<'a>(&self, buf: &'a [u8]) -> &'a str {
        self.host.text(buf)
    }

    /// Method, path, query and authority as bytes: the writer need not prove again that they are text.
    pub(crate) fn line_parts<'a>(&self, buf: &'a [u8]) -> LineParts<'a> {
        let path = match self.path.of(buf) {
            _ if self.asterisk => b"*",
            b"" => b"/",
            path => path,
        };
        LineParts {
            method: self.method.of(buf),
            path,
            query: self.query.map(|q| q.of(buf)),
            authority: self.authority.map(|a| a.of(buf)),
        }
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

/// What the writer needs of a request line.
pub(crate) struct LineParts<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) authority: Option<&'a [u8]>,
}

/// Parses a request head at the start of `buf`.
///
/// `Ok(Some(n))`: complete, the first `n` bytes of `buf` are the head (and an empty line before it,
/// if any), the body starts at `n`. `Ok(None)`: call again with the same bytes and more.
///
/// # Errors
/// The reason to refuse it with. The connection must close after the answer.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Refusal> {
    let result = attempt(buf, limits, head);
    if !matches!(result, Ok(None)) {
        head.progress.reset();
    }
    result
}

fn attempt(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Option<usize>, Refusal> {
    let skip = match scan::lead(buf) {
        Lead::Line(skip) => skip,
        Lead::NeedMore => return Ok(None),
        Lead::BareLineEnd => return Err(Refusal::BareLineEnd),
        Lead::BlankLines => return Err(Refusal::BlankLines),
    };
    // All that is judged lies in this window, so that the verdict does not depend on how many
    // bytes a read happened to bring.
    let bound = skip + limits.head_bound();
    let window = buf.get(..bound).unwrap_or(buf);
    let full = window.len() == bound;
    if !head.progress.worth_parsing(window, full) {
        return Ok(None);
    }
    let done = match tokenize(window, skip, limits, head) {
        Err(Tokens::Version) => match scan::odd_version(window, skip) {
            OddVersion::NeedMore => None,
            OddVersion::Major => return Err(Refusal::VersionMajor),
            OddVersion::Malformed => return Err(Refusal::VersionSyntax),
            OddVersion::Minor(at) => as_version_1_1(window, at, skip, limits, head)?,
        },
        Err(Tokens::Refused(refusal)) => return Err(refusal),
        Ok(done) => done,
    };
    if let Some(end) = done {
        judge::judge(window, limits, head)?;
        return Ok(Some(end));
    }
    head.progress.tried(window);
    too_large(window, skip, full, limits).map_or(Ok(None), Err)
}

/// Tokenizes a copy whose minor version is 1: offsets stay the same. Rare enough to allocate.
fn as_version_1_1(
    window: &[u8],
    at: usize,
    skip: usize,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Refusal> {
    let mut copy = window.to_vec();
    if let Some(digit) = copy.get_mut(at) {
        *digit = b'1';
    }
    match tokenize(&copy, skip, limits, head) {
        Ok(done) => Ok(done),
        Err(Tokens::Version) => Err(Refusal::VersionSyntax),
        Err(Tokens::Refused(refusal)) => Err(refusal),
    }
}

/// Which limit an incomplete head has passed, if any.
fn too_large(window: &[u8], skip: usize, full: bool, limits: &Limits) -> Option<Refusal> {
    let line = window.get(skip..).unwrap_or_default();
    let line_open = !line.contains(&b'\n');
    if line_open && line.len() > METHOD_MAX && !line.iter().take(METHOD_MAX + 1).any(|&b| b == b' ')
    {
        return Some(Refusal::MethodTooLong);
    }
    // Method, two blanks, version and CR: what is longer than these has too long a target.
    let line_max = METHOD_MAX + limits.target_max + " HTTP/1.1 \r".len();
    if line_open && (full || line.len() > line_max) {
        return Some(Refusal::TargetTooLong);
    }
    full.then_some(Refusal::HeadTooLarge)
}

enum Tokens {
    Version,
    Refused(Refusal),
}

impl From<Refusal> for Tokens {
    fn from(refusal: Refusal) -> Tokens {
        Tokens::Refused(refusal)
    }
}

fn tokenize(
    src: &[u8],
    skip: usize,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Tokens> {
    let mut rows = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let rows = rows
        .get_mut(..limits.fields_max.min(FIELDS_MAX))
        .unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let line = src.get(skip..).unwrap_or_default();
    let end = match request.parse_with_uninit_headers(line, rows) {
        Ok(httparse::Status::Complete(length)) => skip + length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::Version) => return Err(Tokens::Version),
        Err(error) => return Err(refusal_of(error, line).into()),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Refusal::LineSyntax.into());
    };
    let method_end = skip + method.len();
    let target_end = method_end + 1 + target.len();
    // "SP HTTP/1.x" and then CRLF, which httparse does not insist on.
    let line_end = target_end + " HTTP/1.1".len();
    if src.get(line_end..line_end + 2) != Some(b"\r\n") {
        return Err(Refusal::BareLineEnd.into());
    }
    if head
        .fields
        .fill(request.headers, src, line_end + 2, end)
        .is_err()
    {
        return Err(Refusal::BareLineEnd.into());
    }
    head.method = Span::new(skip, method_end);
    head.path = Span::new(method_end + 1, target_end);
    head.version = if request.version == Some(0) {
        Version::Http10
    } else {
        Version::Http11
    };
    Ok(Some(end))
}

fn refusal_of(error: httparse::Error, line: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::FieldSyntax,
        httparse::Error::NewLine => Refusal::LineSyntax,
        httparse::Error::Version => Refusal::VersionSyntax,
        httparse::Error::Token | httparse::Error::Status => match line.first() {
            Some(b) if b.is_ascii_uppercase() => Refusal::LineSyntax,
            _ => Refusal::MethodSyntax,
        },
    }
}
