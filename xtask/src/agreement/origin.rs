//! Origins: small HTTP/1.1 servers that count the requests they get. What they count is the measured share.
//!
//! A request to a path that begins with `/healthz` is a check and never counts as traffic.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::corpus::{Mode, OriginPlan};

/// Longest request head.
const HEAD_MAX: usize = 16 << 10;
/// A connection without a byte for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What one origin counted.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) requests: Cell<u64>,
    pub(crate) checks_failed: Cell<u64>,
}

/// One origin of a row.
pub(crate) struct Origin {
    pub(crate) plan: OriginPlan,
    pub(crate) port: u16,
    pub(crate) counter: Rc<Counter>,
    /// Absent when nothing listens; the port stays bound without a backlog meanwhile, so that nobody else gets it.
    server: Option<JoinHandle<()>>,
    _reserved: Option<tokio::net::TcpSocket>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Starts the origins of a row, each on a free port; by the port in the file.
pub(crate) async fn start(
    plans: &BTreeMap<u16, OriginPlan>,
) -> anyhow::Result<BTreeMap<u16, Origin>> {
    let mut origins = BTreeMap::new();
    for (planned, plan) in plans {
        let counter = Rc::new(Counter::default());
        let origin = if plan.mode == Mode::Closed {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            Origin {
                plan: *plan,
                port: socket.local_addr()?.port(),
                counter,
                server: None,
                _reserved: Some(socket),
            }
        } else {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .context("cannot bind an origin")?;
            let port = listener.local_addr()?.port();
            let server = tokio::task::spawn_local(accept(listener, *plan, Rc::clone(&counter)));
            Origin {
                plan: *plan,
                port,
                counter,
                server: Some(server),
                _reserved: None,
            }
        };
        origins.insert(*planned, origin);
    }
    Ok(origins)
}

async fn accept(listener: TcpListener, plan: OriginPlan, counter: Rc<Counter>) {
    // Connections end with the set, and the set with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn_local(serve(stream, plan, Rc::clone(&counter)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection; an error of the other side ends it, which is no concern of the count.
async fn serve(mut stream: TcpStream, plan: OriginPlan, counter: Rc<Counter>) {
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::with_capacity(1024);
    loop {
        let Some(end) = head(&mut stream, &mut buffer).await else {
            return;
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let is_check = path.starts_with("/healthz");
        let failed = match plan.mode {
            Mode::Up => false,
            Mode::Sick => is_check,
            Mode::Broken | Mode::Closed => true,
        };
        if is_check {
            counter
                .checks_failed
                .set(counter.checks_failed.get() + u64::from(failed));
        } else {
            counter.requests.set(counter.requests.get() + 1);
            if !plan.delay.is_zero() {
                tokio::time::sleep(plan.delay).await;
            }
        }
        let lower = head.to_ascii_lowercase();
        let close = lower.contains("\r\nconnection: close")
            || (lower.contains(" http/1.0\r\n") && !lower.contains("\r\nconnection: keep-alive"));
        let status = if failed {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let connection = if close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: 3\r\nconnection: {connection}\r\n\r\nok\n"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || close {
            return;
        }
    }
}

/// Reads up to the end of a head; the length of it. `None`: the other side is gone.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            return Some(at + 4);
        }
        if buffer.len() > HEAD_MAX {
            return None;
        }
        let read = tokio::time::timeout(IDLE_MAX, stream.read_buf(buffer)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return None;
        }
    }
}
