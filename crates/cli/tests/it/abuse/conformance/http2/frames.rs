//! The frames of a case as its table writes them, and what comes back.
//!
//! Parts are divided by ` & `, words by blanks; bytes are written as in the tables of HTTP/1. Unless the first part is
//! `bare`, the preface and empty settings go in front.
//!
//! - `get N` and `post N`: the head of a request on stream N, for `/x` of `a`; the first is whole. Behind it what differs:
//!   `:path=/y` another value, `-:path` left out, `+name=value` added behind.
//! - `fields N FLAGS name=value ...`: HEADERS with just these fields; `FLAGS` are `e` end of stream, `h` end of headers,
//!   `-` none.
//! - `more N FLAGS name=value ...`: the same in a CONTINUATION.
//! - `cut N PIECES`: the head of `get N` in HEADERS and this many CONTINUATION frames.
//! - `data N FLAGS BYTES`, `rst N CODE`, `window N INCREMENT`, `settings ID=VALUE ...`
//! - `frame KIND FLAGS N BYTES`: anything, kind and flags hexadecimal; `raw BYTES`: what is no frame.
//! - `wait N`: until stream N was answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::super::table::bytes;
use crate::wire::connect;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// One step of a case.
#[derive(Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(u32),
}

/// What a client that speaks HTTP/2 hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The first head of a response.
    Status(u32, u16),
    Reset(u32, u32),
    Pong(Vec<u8>),
    /// With another code than NO_ERROR.
    Goaway(u32),
    /// The end of the connection.
    End,
}

impl Heard {
    pub(super) const fn stream(&self) -> Option<u32> {
        match self {
            Self::Status(stream, _) | Self::Reset(stream, _) => Some(*stream),
            _ => None,
        }
    }

    /// In the words of the tables.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Status(stream, status) => format!("{stream} {status}"),
            Self::Reset(stream, code) => format!("{stream} {}", named(*code)),
            Self::Pong(payload) => format!("pong {}", payload.escape_ascii()),
            Self::Goaway(code) => format!("goaway {}", named(*code)),
            Self::End => "end".to_owned(),
        }
    }
}

fn named(code: u32) -> String {
    let name = CODES.get(code as usize);
    name.map_or_else(|| format!("code {code}"), ToString::to_string)
}

/// The steps that a column of the table stands for.
pub(super) fn steps(text: &str) -> Vec<Step> {
    let mut parts: Vec<&str> = text.split(" & ").collect();
    let mut begun = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    if parts.first() == Some(&"bare") {
        parts.remove(0);
        begun.clear();
    }
    let mut steps = vec![Step::Send(begun)];
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let (verb, rest) = part.split_once(' ').unwrap_or((part, ""));
        match verb {
            "wait" => steps.push(Step::Wait(rest.parse().unwrap())),
            _ => match steps.last_mut() {
                Some(Step::Send(sent)) => sent.extend(sent_by(verb, rest)),
                _ => steps.push(Step::Send(sent_by(verb, rest))),
            },
        }
    }
    steps
}

fn sent_by(verb: &str, rest: &str) -> Vec<u8> {
    let words: Vec<&str> = rest.split(' ').collect();
    let stream = || {
        words[0]
            .parse()
            .unwrap_or_else(|_| panic!("no stream: {verb} {rest}"))
    };
    match verb {
        "get" => frame(HEADERS, 5, stream(), &head("GET", &words[1..])),
        "post" => frame(HEADERS, 4, stream(), &head("POST", &words[1..])),
        "fields" => frame(HEADERS, flags(words[1]), stream(), &listed(&words[2..])),
        "more" => frame(
            CONTINUATION,
            flags(words[1]),
            stream(),
            &listed(&words[2..]),
        ),
        "cut" => cut(stream(), words[1].parse().unwrap()),
        "data" => {
            let text = words.get(2).copied().unwrap_or_default();
            frame(DATA, flags(words[1]), stream(), &bytes(text))
        }
        "rst" => frame(RESET, 0, stream(), &number(words[1])),
        "window" => frame(WINDOW, 0, stream(), &number(words[1])),
        "settings" => frame(SETTINGS, 0, 0, &settings(&words)),
        "frame" => {
            let hex = |word: &str| u8::from_str_radix(word, 16).unwrap();
            let stream = words[2].parse().unwrap();
            let payload = words.get(3).copied().unwrap_or_default();
            frame(hex(words[0]), hex(words[1]), stream, &bytes(payload))
        }
        "raw" => bytes(rest),
        other => panic!("no verb `{other}`"),
    }
}

fn number(text: &str) -> [u8; 4] {
    text.parse::<u32>().unwrap().to_be_bytes()
}

fn settings(words: &[&str]) -> Vec<u8> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    let pair = |(id, value): (&str, &str)| {
        let mut out = id.parse::<u16>().unwrap().to_be_bytes().to_vec();
        out.extend(number(value));
        out
    };
    pairs.flat_map(pair).collect()
}

fn flags(letters: &str) -> u8 {
    let bit = |letter| match letter {
        'e' => 1,
        'h' => 4,
        '-' => 0,
        other => panic!("no flag `{other}`"),
    };
    letters.chars().map(bit).sum()
}

/// One frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Another request's block, on the stream that shows that the connection lives on.
pub(super) fn probe(stream: u32) -> Vec<u8> {
    frame(HEADERS, 5, stream, &head("GET", &[":path=/probe"]))
}

fn head(method: &str, changes: &[&str]) -> Vec<u8> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = [
        (":method", method),
        (":scheme", "http"),
        (":path", "/x"),
        (":authority", "a"),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    for change in changes {
        if let Some(name) = change.strip_prefix('-') {
            fields.retain(|(known, _)| known != name.as_bytes());
        } else if let Some(added) = change.strip_prefix('+') {
            fields.push(pair(added));
        } else {
            let (name, value) = pair(change);
            let field = fields.iter_mut().find(|(known, _)| *known == name);
            field
                .unwrap_or_else(|| panic!("nothing to change: {change}"))
                .1 = value;
        }
    }
    block(&fields)
}

fn listed(words: &[&str]) -> Vec<u8> {
    let fields: Vec<_> = words.iter().map(|word| pair(word)).collect();
    block(&fields)
}

/// The name ends at the first `=`.
fn pair(text: &str) -> (Vec<u8>, Vec<u8>) {
    let (name, value) = text
        .split_once('=')
        .unwrap_or_else(|| panic!("no field: {text}"));
    (bytes(name), bytes(value))
}

/// Fields as literals that are never indexed, as they are.
fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            match text.len() {
                short @ ..127 => out.push(short as u8),
                long => {
                    out.push(127);
                    let mut rest = long - 127;
                    while rest >= 128 {
                        out.push((rest % 128 + 128) as u8);
                        rest /= 128;
                    }
                    out.push(rest as u8);
                }
            }
            out.extend(text);
        }
    }
    out
}

fn cut(stream: u32, pieces: usize) -> Vec<u8> {
    let block = head("GET", &[]);
    let size = block.len().div_ceil(pieces + 1);
    let last = block.len().div_ceil(size) - 1;
    let frames = block.chunks(size).enumerate().map(|(at, piece)| {
        let end = if at == last { 4 } else { 0 };
        match at {
            0 => frame(HEADERS, 1 | end, stream, piece),
            _ => frame(CONTINUATION, end, stream, piece),
        }
    });
    frames.collect::<Vec<_>>().concat()
}

/// A client that says exactly what it is told to.
#[derive(Debug)]
pub(super) struct Speaker(TcpStream);

impl Speaker {
    pub(super) fn connect(to: SocketAddr, patience: Duration) -> Self {
        let stream = connect(to);
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// A refusal may come, and the connection go, before everything is sent.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes));
    }

    /// The next thing that a case speaks of; `None`: nothing in time.
    pub(super) fn hear(&mut self) -> Option<Heard> {
        loop {
            let mut head = [0; 9];
            match self.read(&mut head) {
                Ok(()) => {}
                Err(true) => return None,
                Err(false) => return Some(Heard::End),
            }
            let [a, b, c, kind, flags, d, e, f, g] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if self.read(&mut payload).is_err() {
                return Some(Heard::End);
            }
            let stream = u32::from_be_bytes([d, e, f, g]);
            let code = |at: usize| {
                let code = payload
                    .get(at..at + 4)
                    .and_then(|code| code.try_into().ok());
                u32::from_be_bytes(code.unwrap_or([0xff; 4]))
            };
            let heard = match kind {
                HEADERS => status(&payload).map(|status| Heard::Status(stream, status)),
                RESET => Some(Heard::Reset(stream, code(0))),
                PING if flags & ACK != 0 => Some(Heard::Pong(payload.clone())),
                GOAWAY if code(4) != 0 => Some(Heard::Goaway(code(4))),
                _ => None,
            };
            if heard.is_some() {
                return heard;
            }
        }
    }

    /// `Err(true)`: nothing came in time.
    fn read(&mut self, into: &mut [u8]) -> Result<(), bool> {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let read = self.0.read_exact(into);
        read.map_err(|error| matches!(error.kind(), TimedOut | WouldBlock))
    }
}

/// The status at the front of a header block, an entry of the static table or a literal; `None`: trailers. An update of
/// the table may stand before it.
fn status(block: &[u8]) -> Option<u16> {
    match block {
        [update, rest @ ..] if update & 0xe0 == 0x20 => status(rest),
        [indexed @ 0x88..=0x8e, ..] => {
            Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)])
        }
        // A literal by the name of entry 8, where one is, in each of its three forms.
        [0x48 | 0x08 | 0x18, length, rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            Some(if length & 0x80 == 0 {
                std::str::from_utf8(text).ok()?.parse().ok()?
            } else {
                digits(text)
            })
        }
        _ => None,
    }
}

/// Three digits by Huffman: 0, 1 and 2 take five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let digit = if five < 3 {
            at += 5;
            five
        } else {
            at += 6;
            u16::from_str_radix(&bits[at - 6..at], 2).unwrap() - 0x19 + 3
        };
        status = status * 10 + digit;
    }
    status
}
