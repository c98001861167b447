//! The tables of cases: what they look like, how they are read, and the words in which an outcome is told.
//!
//! A line is `name | clause | what is sent | what must come`, `#` starts a comment. The clause is `RFC-section`. A fifth
//! column says why both nginx and HAProxy may refuse what is taken here. Bytes are written with `\r`, `\n`, `\t`, `\0`,
//! `\xHH` and `\\`; `<<x*3>>` is `xxx`. What is sent starts with the word of a template (see [`request`], [`response`]).
//! Messages that follow each other on one connection are told one after the other, between them ` ;; `.
//!
//! This file is part of two test programs: the room alone, and the binary over sockets (`abuse` of crate `evenkeel`).

/// One line of a table.
#[derive(Debug)]
pub(crate) struct Case {
    /// The table it stands in, and its name there.
    pub(crate) name: String,
    pub(crate) clause: &'static str,
    /// The bytes of the message, and for a response of what kind the request is.
    pub(crate) sent: Vec<u8>,
    pub(crate) to: To,
    /// What must come, message by message.
    pub(crate) want: Vec<Vec<u8>>,
    /// Why this is taken although nginx and HAProxy refuse it.
    pub(crate) laxer: Option<&'static str>,
}

/// The request that a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Get,
    Head,
    /// A GET of HTTP/1.0 that asks to keep the connection.
    Old,
}

/// The tables of requests, by family.
pub(crate) const REQUESTS: [(&str, &str); 8] = [
    ("request line", include_str!("requests/request-line.txt")),
    ("version", include_str!("requests/versions.txt")),
    ("target", include_str!("requests/targets.txt")),
    ("host", include_str!("requests/host.txt")),
    ("field line", include_str!("requests/fields.txt")),
    ("framing", include_str!("requests/framing.txt")),
    ("chunked", include_str!("requests/chunked.txt")),
    ("connection", include_str!("requests/connection.txt")),
];

/// The table of responses.
pub(crate) const RESPONSES: (&str, &str) = ("response", include_str!("responses.txt"));

/// Every case of a request.
pub(crate) fn requests() -> Vec<Case> {
    REQUESTS
        .iter()
        .flat_map(|table| cases(*table, request))
        .collect()
}

/// Every case of a response.
pub(crate) fn responses() -> Vec<Case> {
    cases(RESPONSES, response)
}

fn cases((family, text): (&str, &'static str), sent: fn(&str) -> (To, Vec<u8>)) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&'static str> = line.split(" | ").map(str::trim).collect();
            let (&[name, clause, send, want] | &[name, clause, send, want, _]) = columns.as_slice()
            else {
                panic!("{family}: not four or five columns: {line}");
            };
            let (to, sent) = sent(send);
            Case {
                name: format!("{family}: {name}"),
                clause,
                sent,
                to,
                want: want.split(" ;; ").map(bytes).collect(),
                laxer: columns.get(4).copied(),
            }
        })
        .collect()
}

/// A request: `raw` all of it, `line` its first line, `target` that of a GET, `host` the value of Host, `get`, `old`
/// (HTTP/1.0), `post` (body `hello`) and `coded` (the same in one chunk) further fields, `chunks` a chunked body.
fn request(send: &str) -> (To, Vec<u8>) {
    let (template, rest) = send.split_once(' ').unwrap_or((send, ""));
    let (before, after) = match template {
        "raw" => ("", ""),
        "line" => ("", r"\r\nHost: a\r\n\r\n"),
        "target" => ("GET ", r" HTTP/1.1\r\nHost: a\r\n\r\n"),
        "host" => (r"GET /x HTTP/1.1\r\nHost: ", r"\r\n\r\n"),
        "get" => (r"GET /x HTTP/1.1\r\nHost: a\r\n", r"\r\n\r\n"),
        "old" => (r"GET /x HTTP/1.0\r\nHost: a\r\n", r"\r\n\r\n"),
        "post" => (r"POST /x HTTP/1.1\r\nHost: a\r\n", r"\r\n\r\nhello"),
        "coded" => (
            r"POST /x HTTP/1.1\r\nHost: a\r\n",
            r"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        "chunks" => (
            r"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
        ),
        other => panic!("no template `{other}`"),
    };
    (To::Get, [bytes(before), bytes(rest), bytes(after)].concat())
}

/// A response, to `head`, to `old` (HTTP/1.0) or else to GET: `raw` all of it, `ok` (body `hello`) and `coded` (the same
/// in one chunk) the fields of a 200.
fn response(send: &str) -> (To, Vec<u8>) {
    let (first, rest) = send.split_once(' ').unwrap_or((send, ""));
    match first {
        "head" => (To::Head, response(rest).1),
        "old" => (To::Old, response(rest).1),
        "raw" => (To::Get, bytes(rest)),
        "ok" => {
            let all = format!(r"HTTP/1.1 200 OK\r\n{rest}\r\n\r\nhello");
            (To::Get, bytes(&all))
        }
        "coded" => {
            let all = format!(r"HTTP/1.1 200 OK\r\n{rest}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            (To::Get, bytes(&all))
        }
        other => panic!("no template `{other}`"),
    }
}

/// The bytes that a text of a table stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, repeated)) = rest.split_once("<<") {
        let (inside, after) = repeated
            .split_once(">>")
            .unwrap_or_else(|| panic!("no end of a repetition: {text}"));
        let (unit, times) = inside
            .rsplit_once('*')
            .unwrap_or_else(|| panic!("no number of a repetition: {text}"));
        let times = times
            .parse()
            .unwrap_or_else(|_error| panic!("no number of a repetition: {text}"));
        unescape(before, &mut out);
        (0..times).for_each(|_| unescape(unit, &mut out));
        rest = after;
    }
    unescape(rest, &mut out);
    out
}

fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((&byte, mut after)) = rest.split_first() {
        let mut value = byte;
        if byte == b'\\' {
            let (&letter, behind) = after
                .split_first()
                .unwrap_or_else(|| panic!("an escape without its letter: {text}"));
            after = behind;
            value = match letter {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digit = |at: usize| {
                        let digit = behind.get(at).and_then(|&d| char::from(d).to_digit(16));
                        digit.unwrap_or_else(|| panic!("an escape without its digits: {text}"))
                    };
                    after = &behind[2..];
                    (digit(0) * 16 + digit(1)) as u8
                }
                _ => panic!("an unknown escape: {text}"),
            };
        }
        out.push(value);
        rest = after;
    }
}

/// The fields that the proxy adds to a request; the last line of each is its own.
const OWN: [&[u8]; 6] = [
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"forwarded",
    b"via",
    b"x-request-id",
];

/// A request as a backend gets it, in the words of the tables: first line without its version, `Host` if it is not
/// `a`, the lines that are not the proxy's own, the body in quotes, trailers.
pub(crate) fn told_request(head: &[u8], body: &[u8], trailers: &[u8]) -> Vec<u8> {
    let mut lines = lines(head);
    for own in OWN {
        if let Some(at) = lines.iter().rposition(|line| is_named(line, own)) {
            lines.remove(at);
        }
    }
    lines.retain(|line| *line != b"Host: a");
    let first = lines.first().copied().unwrap_or_default();
    // Another version than our own stays in the words, and they differ then.
    let first = first.strip_suffix(b" HTTP/1.1").unwrap_or(first).to_vec();
    told(first, lines.get(1..).unwrap_or_default(), body, trailers)
}

/// A response as a client gets it, in the words of the tables: status and reason, the lines that are not about the
/// connection or the proxy's own, the body in quotes, trailers.
pub(crate) fn told_response(head: &[u8], body: &[u8], trailers: &[u8]) -> Vec<u8> {
    let mut lines = lines(head);
    lines.retain(|line| {
        !is_named(line, b"via")
            && !is_named(line, b"x-request-id")
            && !is_named(line, b"connection")
    });
    let first = lines.first().copied().unwrap_or_default();
    let first = first.strip_prefix(b"HTTP/1.1 ").unwrap_or(first).to_vec();
    told(first, lines.get(1..).unwrap_or_default(), body, trailers)
}

/// Whether a response says that the connection ends with it.
pub(crate) fn says_close(head: &[u8]) -> bool {
    lines(head).contains(&b"Connection: close".as_slice())
}

fn told(mut out: Vec<u8>, fields: &[&[u8]], body: &[u8], trailers: &[u8]) -> Vec<u8> {
    for line in fields {
        out.extend_from_slice(b" ; ");
        out.extend_from_slice(line);
    }
    if !body.is_empty() {
        out.extend_from_slice(b" ; \"");
        out.extend_from_slice(body);
        out.push(b'"');
    }
    for line in lines(trailers) {
        out.extend_from_slice(b" ; trailer ");
        out.extend_from_slice(line);
    }
    out
}

fn is_named(line: &[u8], name: &[u8]) -> bool {
    let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
    line.get(..colon)
        .is_some_and(|n| n.eq_ignore_ascii_case(name))
}

/// The lines of a head or of trailers, without their ends; a bare CR or LF stays in its line.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let (line, after) = rest.split_at(end);
        if !line.is_empty() {
            lines.push(line);
        }
        rest = &after[2..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// What a table wants or what came, to be read by people.
pub(crate) fn shown(messages: &[Vec<u8>]) -> String {
    let texts: Vec<String> = messages
        .iter()
        .map(|message| {
            let text = message.escape_ascii().to_string();
            let cut: String = text.chars().take(200).collect();
            if cut.len() < text.len() {
                cut + ".."
            } else {
                cut
            }
        })
        .collect();
    texts.join(" ;; ")
}

/// Fails with every case that went wrong, not only the first.
#[track_caller]
pub(crate) fn none_wrong(wrong: &[String], of: usize) {
    assert!(
        wrong.is_empty(),
        "{} of {of} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
