//! The client: so many requests over so many connections, each with the key, path or cookies that its number gives.
//!
//! It counts statuses only; who got a request is counted by the origins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::corpus::{KeyPlace, LoadPlan};

/// Longest time for one request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Longest head of a response.
const HEAD_MAX: usize = 64 << 10;

/// What came back.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answers {
    /// By status; 0: the connection broke.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

impl Answers {
    pub(crate) fn good(&self) -> u64 {
        self.statuses.get(&200).copied().unwrap_or(0)
    }
}

struct Work {
    plan: LoadPlan,
    address: SocketAddr,
    requests: u64,
    next: Cell<u64>,
    jars: RefCell<Vec<BTreeMap<String, String>>>,
    answers: RefCell<Answers>,
}

/// Sends `requests` as `plan` says and waits for all answers.
pub(crate) async fn run(plan: &LoadPlan, port: u16, requests: u64) -> anyhow::Result<Answers> {
    let work = Rc::new(Work {
        plan: plan.clone(),
        address: ([127, 0, 0, 1], port).into(),
        requests,
        next: Cell::new(0),
        jars: RefCell::new(vec![BTreeMap::new(); plan.jars.unwrap_or(0)]),
        answers: RefCell::default(),
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..plan.clients.max(1) {
        clients.spawn_local(client(Rc::clone(&work)));
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let answers = work.answers.borrow().clone();
    Ok(answers)
}

async fn client(work: Rc<Work>) -> anyhow::Result<()> {
    let mut kept: Option<TcpStream> = None;
    loop {
        let number = work.next.get();
        if number >= work.requests {
            return Ok(());
        }
        work.next.set(number + 1);
        let one = tokio::time::timeout(REQUEST_MAX, request(&work, number, &mut kept));
        let status = one
            .await
            .with_context(|| format!("request {number} took over {REQUEST_MAX:?}"))??;
        *work
            .answers
            .borrow_mut()
            .statuses
            .entry(status)
            .or_default() += 1;
    }
}

/// One request; its status, 0 when the balancer broke a fresh connection.
async fn request(work: &Work, number: u64, kept: &mut Option<TcpStream>) -> anyhow::Result<u16> {
    let plan = &work.plan;
    let key = plan.keys.as_ref();
    let key = key.map(|(n, place)| (plan.first_key + number % n, place));
    let is_fresh = plan.new_connections();
    let jar = plan.jars.map(|n| number as usize % n);
    let text = head(work, number, key, jar, is_fresh);
    for _ in 0..2 {
        let had = kept.take();
        let was_kept = had.is_some();
        let mut stream = match had {
            Some(stream) => stream,
            None => connect(work.address, key).await?,
        };
        match exchange(&mut stream, text.as_bytes()).await {
            Ok(answer) => {
                if let Some(jar) = jar {
                    remember(work, jar, &answer.head);
                }
                if !is_fresh && !answer.close {
                    *kept = Some(stream);
                }
                return Ok(answer.status);
            }
            // A kept connection may have been closed meanwhile; only then is the request sent again.
            Err(_) if was_kept => {}
            Err(_) => return Ok(0),
        }
    }
    Ok(0)
}

fn head(
    work: &Work,
    number: u64,
    key: Option<(u64, &KeyPlace)>,
    jar: Option<usize>,
    close: bool,
) -> String {
    let paths = &work.plan.paths;
    let path = paths
        .get(number as usize % paths.len().max(1))
        .map_or("/", String::as_str);
    let mut uri = path.to_owned();
    let mut fields = Vec::new();
    let mut cookies = Vec::new();
    match key {
        Some((key, KeyPlace::Header(name))) => fields.push(format!("{name}: key-{key}\r\n")),
        Some((key, KeyPlace::Cookie(name))) => cookies.push(format!("{name}=key-{key}")),
        Some((key, KeyPlace::Uri)) => uri = format!("{}/item-{key}", path.trim_end_matches('/')),
        Some((_, KeyPlace::Source)) | None => {}
    }
    if let Some(jar) = jar.and_then(|jar| work.jars.borrow().get(jar).cloned()) {
        cookies.extend(jar.iter().map(|(name, value)| format!("{name}={value}")));
    }
    if !cookies.is_empty() {
        fields.push(format!("cookie: {}\r\n", cookies.join("; ")));
    }
    if close {
        fields.push("connection: close\r\n".to_owned());
    }
    if work.plan.method != "GET" {
        fields.push("content-length: 0\r\n".to_owned());
    }
    let method = &work.plan.method;
    let fields = fields.concat();
    format!("{method} {uri} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")
}

async fn connect(address: SocketAddr, key: Option<(u64, &KeyPlace)>) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some((key, KeyPlace::Source)) = key {
        // Every address in 127.0.0.0/8 is this machine. Spread over the first three bytes, which is what nginx hashes.
        let [_, a, b, c] = (key as u32).wrapping_mul(2_654_435_761).to_be_bytes();
        let from = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
        socket.bind((from, 0).into())?;
    }
    let stream = socket
        .connect(address)
        .await
        .with_context(|| format!("cannot connect to the balancer at {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Answer {
    status: u16,
    head: String,
    close: bool,
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Answer> {
    stream.write_all(request).await?;
    let mut buffer = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(buffer.len() <= HEAD_MAX, "the head is too long");
        ensure!(
            stream.read_buf(&mut buffer).await? > 0,
            "closed in the head"
        );
    };
    let body: Vec<u8> = buffer.split_off(end);
    let head = String::from_utf8_lossy(&buffer).into_owned();
    let lower = head.to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let close = lower.contains("\r\nconnection: close") || lower.starts_with("http/1.0");
    read_body(stream, body.len(), length, close).await?;
    Ok(Answer {
        status,
        head,
        close: close || length.is_none(),
    })
}

async fn read_body(
    stream: &mut TcpStream,
    mut got: usize,
    length: Option<usize>,
    close: bool,
) -> anyhow::Result<()> {
    if length.is_none() && !close {
        bail!("a response without a length on a kept connection");
    }
    let mut rest = [0; 4096];
    while length.is_none_or(|length| got < length) {
        let read = stream.read(&mut rest).await?;
        if read == 0 {
            ensure!(length.is_none(), "closed in the body");
            break;
        }
        got += read;
    }
    Ok(())
}

fn remember(work: &Work, jar: usize, head: &str) {
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if !name.eq_ignore_ascii_case("set-cookie") {
            continue;
        }
        let pair = value.split(';').next().unwrap_or_default().trim();
        if let (Some((name, value)), Some(jar)) =
            (pair.split_once('='), work.jars.borrow_mut().get_mut(jar))
        {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}
