//! Clients that speak HTTP/2: one by the library, one that writes its frames by hand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Request};
use tokio::runtime::{Builder, Runtime};

use crate::support::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// END_STREAM and END_HEADERS.
pub(crate) const WHOLE: u8 = 5;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection by the library. It moves on only while a method waits.
pub(crate) struct Library {
    runtime: Runtime,
    pub(crate) sender: SendRequest<Bytes>,
}

impl Library {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (sender, connection) = handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Waits within the patience.
    pub(crate) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        let waiting = async { tokio::time::timeout(PATIENCE, what).await };
        self.runtime.block_on(waiting).unwrap()
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("http://test{path}"));
        self.ask(request.body(()).unwrap()).unwrap()
    }

    pub(crate) fn ask(&mut self, request: Request<()>) -> Result<Answer, h2::Error> {
        self.wait(whole(self.sender.clone(), request, Vec::new(), None))
    }

    pub(crate) fn send(
        &mut self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        self.wait(whole(self.sender.clone(), request, body.to_vec(), trailers))
    }
}

/// Sends one request with its body and reads the whole response.
pub(crate) async fn whole(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let bare = body.is_empty() && trailers.is_none();
    let (response, mut stream) = sender.ready().await?.send_request(request, bare)?;
    if !bare {
        stream.send_data(body.into(), trailers.is_none())?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        fields: head.headers,
        body: bytes,
        trailers: body.trailers().await?,
    })
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Fields as literals that are never indexed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            match text.len() {
                short @ ..127 => out.push(short as u8),
                long => {
                    let rest = long - 127;
                    out.extend([127, (rest % 128 + 128) as u8, (rest / 128) as u8]);
                }
            }
            out.extend(text.as_bytes());
        }
    }
    out
}

pub(crate) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "test"),
];

/// A connection by hand.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// Connected, with the preface and empty settings sent.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut raw = Self::silent(address);
        raw.stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        raw.send(SETTINGS, 0, 0, &[]);
        raw
    }

    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.stream
            .write_all(&frame(kind, flags, stream, payload))
            .unwrap();
    }

    /// Sends what may be too much: the other end may close in the middle.
    pub(crate) fn flood(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }

    pub(crate) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags, stream, &block(fields));
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]),
            payload,
        })
    }

    /// The next frame of one of these kinds.
    pub(crate) fn until(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// What becomes of a stream in the end: its status, `reset CODE` or `goaway CODE`.
    pub(crate) fn verdict(&mut self) -> String {
        match self.until(&[HEADERS, RESET, GOAWAY]) {
            Some(frame) if frame.kind == HEADERS => status(&frame.payload).to_string(),
            Some(frame) if frame.kind == RESET => format!("reset {}", frame.code()),
            Some(frame) => format!("goaway {}", frame.code()),
            None => "end".to_owned(),
        }
    }
}

/// The status at the front of a header block: an entry of the static table, or a literal of three digits.
fn status(block: &[u8]) -> u16 {
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
        }
        [_, 3, a, b, c, ..] => [a, b, c]
            .into_iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        // By Huffman: the digits 0, 1 and 2 take five bits, the others six.
        [_, length @ 0x82..=0x83, rest @ ..] => digits(&rest[..usize::from(length - 0x80)]),
        _ => panic!("{block:?}"),
    }
}

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
