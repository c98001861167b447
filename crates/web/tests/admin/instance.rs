//! A whole instance in this process, with two backends that answer, and a client that speaks plain HTTP/1.1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_control::boot::{Options, prepare};
use evenkeel_model::config::Address;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::DEADLINE;

/// Asserts that an object has every key, null or not.
pub(crate) fn keys(value: &Value, wanted: &[&str]) {
    let object = value.as_object();
    let object = object.unwrap_or_else(|| panic!("no object: {value}"));
    for key in wanted {
        assert!(object.contains_key(*key), "`{key}` is missing in {value}");
    }
}

/// Longest answer.
const BODY_MAX: usize = 8 << 20;
/// Lines of a live screen within which a fragment comes.
const LINES_MAX: usize = 100;

/// A running instance; ends with the test.
pub(crate) struct Instance {
    pub(crate) token: String,
    admin: SocketAddr,
    web: SocketAddr,
    config: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _dir: TempDir,
}

/// An answer: status line and headers as text, and the body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A backend: 200 to everything, one connection at a time, until the process ends.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(n) if n > 0) {
        if line == "\r\n" {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if reader.get_mut().write_all(answer).is_err() {
                return;
            }
        }
        line.clear();
    }
}

impl Instance {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nlistener = \"web\"\npool = \"shop\"\n[pool.shop]\nintent = \"weight\"\n\
             [pool.shop.backend.web-1]\naddress = \"{}\"\nweight = 1\nversion = \"v1\"\n\
             [pool.shop.backend.web-2]\naddress = \"{}\"\nweight = 1\nversion = \"name-of-the-day\"\n",
            backend(),
            backend()
        );
        let path = dir.path().join("evenkeel.toml");
        std::fs::write(&path, &config).unwrap();
        let data = dir.path().join("data");
        let prepared = prepare(Options {
            config: path,
            data: data.clone(),
            author: "test".to_owned(),
            force: None,
            adopt: false,
            drill: false,
            drain: Duration::from_millis(100),
            seed: 1,
        })
        .unwrap();
        let admin = prepared.admin_address().unwrap();
        let (_, web) = prepared.addresses().remove(0);
        let Address::Tcp(web) = web else {
            panic!("not an IP listener: {web}");
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let stopped = async move {
                drop(stopped.await);
            };
            let ended = evenkeel_control::run(prepared, stopped, evenkeel_web::serve);
            runtime.block_on(ended).unwrap();
        });
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap();
        let instance = Self {
            token: token.trim().to_owned(),
            admin,
            web,
            config,
            stop: Some(stop),
            thread: Some(thread),
            _dir: dir,
        };
        instance.until("the first figures", |instance| {
            (instance.get("/api/status").status == 200).then_some(())
        });
        instance
    }

    /// The text that it runs.
    pub(crate) fn text(&self) -> &str {
        &self.config
    }

    /// Asks again until there is an answer; fails at the deadline.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Sends requests through the balancer, all of which must be answered.
    pub(crate) fn send(&self, requests: usize) {
        let mut stream = connect(self.web);
        for _ in 0..requests {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                .unwrap();
            let (status, _, body) = read(&mut BufReader::new(&stream));
            assert_eq!((status, body.as_slice()), (200, &b"ok"[..]));
        }
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/api/status").json()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(
            &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.admin),
            "",
        )
    }

    pub(crate) fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        let bearer = token.map(|t| format!("Authorization: Bearer {t}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{}",
            self.admin,
            bearer.unwrap_or_default()
        );
        self.ask(&head, &body.to_string())
    }

    /// A change with the operator's token, which must be answered with 200.
    pub(crate) fn change(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, Some(&self.token), body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// One request; `head` ends with the last header line.
    pub(crate) fn ask(&self, head: &str, body: &str) -> Answer {
        let mut stream = connect(self.admin);
        let length = body.len();
        write!(
            stream,
            "{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let (status, head, body) = read(&mut BufReader::new(&stream));
        Answer { status, head, body }
    }

    /// A live screen.
    pub(crate) fn events(&self) -> Events {
        let mut stream = connect(self.admin);
        write!(
            stream,
            "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.admin
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let (status, _) = head(&mut reader);
        Events { status, reader }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    status: u16,
    reader: BufReader<TcpStream>,
}

impl Events {
    pub(crate) const fn is_open(&self) -> bool {
        self.status == 200
    }

    /// The next fragment.
    pub(crate) fn fragment(&mut self) -> String {
        assert!(self.is_open());
        let lines = (&mut self.reader).lines().take(LINES_MAX);
        let found = lines.map(Result::unwrap).find_map(|line| {
            let fragment = line.strip_prefix("data:")?;
            Some(fragment.trim_start().to_owned())
        });
        found.unwrap()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn head<R: std::io::Read>(reader: &mut BufReader<R>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            reader.read_line(&mut head).unwrap() > 0,
            "cut off after {head:?}"
        );
    }
    (head[9..12].parse().unwrap(), head)
}

/// An answer with a length or in chunks.
fn read<R: std::io::Read>(reader: &mut BufReader<R>) -> (u16, String, Vec<u8>) {
    let (status, head) = head(reader);
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let mut body = Vec::new();
    if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
            assert!(body.len() < BODY_MAX, "the answer does not end");
        }
    } else {
        body.resize(length.unwrap_or(0), 0);
        reader.read_exact(&mut body).unwrap();
    }
    (status, head, body)
}
