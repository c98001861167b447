//! Raw sockets on both sides of the balancer: origins that do as a script says, clients that send exact bytes, and
//! honest traffic that must not notice any of it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_shop::load::LoadHandle;

use crate::support::{PATIENCE, load, until};

/// A configuration of one listener and one pool on free ports; `listener` and `pool` are further lines.
pub(crate) fn config(backends: &[impl AsRef<str>], listener: &str, pool: &str) -> String {
    let mut text = format!(
        r#"workers = 2
[admin]
address = "127.0.0.1:0"
[listener.web]
address = "127.0.0.1:0"
{listener}
[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"
[pool.shop]
{pool}
"#
    );
    for (n, address) in backends.iter().enumerate() {
        let (n, address) = (n + 1, address.as_ref());
        write!(
            text,
            "[pool.shop.backend.web-{n}]\naddress = \"{address}\"\n"
        )
        .unwrap();
    }
    text
}

/// The addresses of stub backends, as text.
pub(crate) fn addresses(stubs: &[evenkeel_shop::ServerHandle]) -> Vec<String> {
    stubs.iter().map(|s| s.address().to_string()).collect()
}

/// An origin that runs a script on every connection, each on a thread of its own.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    pub(crate) fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(script), Arc::clone(&heads));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, heads) = (Arc::clone(&script), Arc::clone(&kept));
                std::thread::spawn(move || script(&mut Conn::new(stream, heads)));
            }
        });
        Self { address, heads }
    }

    /// Answers every request with its own head as the body.
    pub(crate) fn echoing() -> Self {
        Self::start(|conn| {
            while let Some(head) = conn.request() {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
                if !conn.send(answer.as_bytes()) || !conn.send(head.as_bytes()) {
                    return;
                }
            }
        })
    }

    /// Answers every request with `label`.
    pub(crate) fn saying(label: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{label}",
            label.len()
        );
        Self::start(
            move |conn| {
                while conn.request().is_some() && conn.send(answer.as_bytes()) {}
            },
        )
    }

    /// Every request head so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn text(&self) -> String {
        self.address.to_string()
    }
}

/// The origin's side of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Conn {
    fn new(stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self {
            stream,
            reader,
            heads,
        }
    }

    /// The next request head, its body of a stated length read and dropped; `None` at the end.
    pub(crate) fn request(&mut self) -> Option<String> {
        self.message().map(|(head, _)| head)
    }

    /// The next request head and its body of a stated length; `None` at the end.
    pub(crate) fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = field(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = Vec::new();
        (&mut self.reader)
            .take(length)
            .read_to_end(&mut body)
            .ok()?;
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push(head.clone());
        Some((head, body))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends back what comes, until the other end closes.
    pub(crate) fn echo(&mut self) {
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = self.reader.read(&mut bytes) {
            if self.stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    }

    /// Waits until the other end closes.
    pub(crate) fn hang(&mut self) {
        let mut byte = [0];
        while self.reader.read(&mut byte).is_ok_and(|n| n > 0) {}
    }
}

/// The value of a field in a head.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What came until the other end closed, and how long that took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status: {self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap();
        field(head, name)
    }

    pub(crate) fn body(&self) -> &str {
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }
}

/// Reads until the other end closes. Panics when it does not.
pub(crate) fn to_the_end(stream: &mut TcpStream) -> Answer {
    let started = Instant::now();
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let cut = matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        let text = String::from_utf8_lossy(&bytes);
        assert!(cut, "the connection was not closed: {error} after {text}");
    }
    Answer {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        took: started.elapsed(),
    }
}

/// Sends bytes and reads until the other end closes the connection by itself.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(to);
    // A refusal may come, and the connection go, before everything is sent.
    drop(stream.write_all(bytes));
    to_the_end(&mut stream)
}

/// Sends bytes, ends this side, and reads until the other end closes.
pub(crate) fn exchange_half_closed(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(to);
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    to_the_end(&mut stream)
}

/// `GET path` with `Connection: close`.
pub(crate) fn get(to: SocketAddr, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
    exchange(to, head.as_bytes())
}

/// Ordinary traffic beside whatever a test does.
#[derive(Debug)]
pub(crate) struct Honest(LoadHandle);

impl Honest {
    pub(crate) fn start(to: SocketAddr, rate: f64) -> Self {
        Self(load(to, rate))
    }

    /// The 99th percentile of the response times so far, microseconds.
    pub(crate) fn p99_us(&self) -> u64 {
        self.0.total().latency.quantile_us(0.99).unwrap_or(0)
    }

    /// Ends it: nothing failed, nothing was refused, and enough was answered to say so.
    #[track_caller]
    pub(crate) fn unharmed(self) -> u64 {
        until("honest traffic is answered", PATIENCE, || {
            (self.0.total().ended() >= 20).then_some(())
        });
        let total = self.0.stop().total;
        let bad = (
            total.failed(),
            total.server_error,
            total.client_error,
            total.shed,
        );
        assert_eq!(bad, (0, 0, 0, 0), "{total:?}");
        total.ok
    }
}
