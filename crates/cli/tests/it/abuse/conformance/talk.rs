//! Both ends of the tables over sockets: an origin that writes requests down, one that plays responses back, and a
//! client that reads exact bytes. None of them uses the codec under test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::half_close;
use super::table::{Case, told_request};
use crate::support::PATIENCE;
use crate::wire::connect;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Origin: yes\r\nContent-Length: 2\r\n\r\n";

/// Runs `serve` on every connection to a port of its own.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An origin that answers every complete request and keeps it in the words of the tables.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(super) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let address = listen(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some((told, is_head)) = read_request(&mut reader, &mut stream) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(told);
                let body: &[u8] = if is_head { b"" } else { b"ok" };
                if stream.write_all(&[ANSWER, body].concat()).is_err() {
                    return;
                }
            }
        });
        Self { address, seen }
    }

    /// The oldest request that was not looked at yet.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (!seen.is_empty()).then(|| seen.remove(0))
    }
}

/// A complete request in the words of the tables, and whether it is a HEAD. `None` for anything else.
fn read_request(
    reader: &mut BufReader<TcpStream>,
    stream: &mut TcpStream,
) -> Option<(Vec<u8>, bool)> {
    let head = read_head(reader)?;
    if field(&head, "expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let (body, trailers) = if field(&head, "transfer-encoding").is_some() {
        read_chunks(reader)?
    } else {
        let length = field(&head, "content-length").map_or(Some(0), |v| v.parse().ok())?;
        (read_exactly(reader, length)?, Vec::new())
    };
    Some((
        told_request(&head, &body, &trailers),
        head.starts_with(b"HEAD "),
    ))
}

/// An origin that plays the response of case N to the request for `/N`.
#[derive(Debug)]
pub(super) struct Tapes {
    pub(super) address: SocketAddr,
    asked_again: Arc<Mutex<Vec<String>>>,
}

/// One response to play.
struct Tape {
    name: String,
    bytes: Vec<u8>,
    /// Whether the end of the connection is part of it.
    ends: bool,
    /// Whether another request may come on the same connection.
    reused: bool,
}

impl Tapes {
    pub(super) fn start(cases: &[Case]) -> Self {
        let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
        let tapes: Vec<Tape> = cases
            .iter()
            .map(|case| {
                let last = case.want.last().unwrap();
                let framed = has(&case.sent, b"Content-Length") || has(&case.sent, b"Transfer-");
                Tape {
                    name: case.name.clone(),
                    bytes: case.sent.clone(),
                    ends: last.starts_with(b"cut ") || has(last, b" drop ") && !framed,
                    reused: has(last, b" reuse "),
                }
            })
            .collect();
        let asked_again = Arc::new(Mutex::new(Vec::new()));
        let again = Arc::clone(&asked_again);
        let address = listen(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut spoiled: Option<&Tape> = None;
            while let Some(head) = read_head(&mut reader) {
                if let Some(tape) = spoiled {
                    let text = format!("{}: its connection was used again", tape.name);
                    again
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(text);
                }
                let tape = tape_for(&head, &tapes);
                if stream.write_all(&tape.bytes).is_err() || tape.ends {
                    half_close(&stream);
                    return;
                }
                spoiled = (!tape.reused).then_some(tape);
            }
        });
        Self {
            address,
            asked_again,
        }
    }

    /// Cases after which a connection was used again although it must not be.
    pub(super) fn asked_again(&self) -> Vec<String> {
        let again = self.asked_again.lock();
        again.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tape_for<'t>(head: &[u8], tapes: &'t [Tape]) -> &'t Tape {
    let text = String::from_utf8_lossy(head);
    let target = text.split(' ').nth(1).unwrap();
    &tapes[target.trim_start_matches('/').parse::<usize>().unwrap()]
}

/// A client that counts on nothing it reads.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// Whether bytes came where the last response was looked for, a head or not.
    pub(super) heard: bool,
}

/// A response as it came.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<u8>,
    /// The connection ended before the body did.
    pub(super) is_cut: bool,
}

impl Response {
    pub(super) fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }
}

impl Client {
    pub(super) fn connect(to: SocketAddr, patience: Duration) -> Self {
        let stream = connect(to);
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self {
            stream,
            reader,
            heard: false,
        }
    }

    /// A refusal may come, and the connection go, before everything is sent.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Ends this side.
    pub(super) fn end(&self) {
        half_close(&self.stream);
    }

    /// The next response that is not an interim one.
    pub(super) fn response(&mut self, head_only: bool) -> Option<Response> {
        loop {
            let response = self.any_response(head_only)?;
            if response.status >= 200 {
                return Some(response);
            }
        }
    }

    /// The next response; `None` when there is none, or no head of one.
    pub(super) fn any_response(&mut self, head_only: bool) -> Option<Response> {
        self.heard = false;
        self.heard = !self.reader.fill_buf().ok()?.is_empty();
        let head = read_head(&mut self.reader)?;
        let text = String::from_utf8_lossy(&head);
        let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let no_body = head_only || status < 200 || matches!(status, 204 | 304);
        let read = if no_body {
            Some((Vec::new(), Vec::new()))
        } else if field(&head, "transfer-encoding").is_some() {
            read_chunks(&mut self.reader)
        } else if let Some(length) = field(&head, "content-length") {
            let body = read_exactly(&mut self.reader, length.parse().ok()?);
            body.map(|body| (body, Vec::new()))
        } else {
            let mut body = Vec::new();
            let end = self.reader.read_to_end(&mut body);
            end.ok().map(|_length| (body, Vec::new()))
        };
        let is_cut = read.is_none();
        let (body, trailers) = read.unwrap_or_default();
        Some(Response {
            status,
            head,
            body,
            trailers,
            is_cut,
        })
    }

    /// Whether the other end closes, and says nothing more before that.
    pub(super) fn is_over(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(length) => length == 0,
            // Unread input makes a close a reset.
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Everything up to and including the first empty line.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn read_exactly(reader: &mut BufReader<TcpStream>, length: usize) -> Option<Vec<u8>> {
    // Grows with what comes: what is announced may be more than there is memory.
    let mut body = Vec::new();
    reader.take(length as u64).read_to_end(&mut body).ok()?;
    (body.len() == length).then_some(body)
}

/// Payload and trailers of a chunked body; `None` unless every byte of the coding is right.
fn read_chunks(reader: &mut BufReader<TcpStream>) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut payload = Vec::new();
    loop {
        let size = usize::from_str_radix(&read_line(reader)?, 16).ok()?;
        if size == 0 {
            break;
        }
        payload.extend(read_exactly(reader, size)?);
        if !read_line(reader)?.is_empty() {
            return None;
        }
    }
    let mut trailers = String::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some((payload, trailers.into_bytes()));
        }
        trailers.push_str(&line);
        trailers.push_str("\r\n");
    }
}

/// A line without its end.
fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    String::from_utf8(line.strip_suffix(b"\r\n")?.to_vec()).ok()
}

/// The first value of a field.
fn field(head: &[u8], name: &str) -> Option<String> {
    crate::wire::field(&String::from_utf8_lossy(head), name).map(str::to_owned)
}
