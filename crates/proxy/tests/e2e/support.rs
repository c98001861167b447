//! A proxy under test between a raw client and scripted raw origins. Every read is bounded in time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use evenkeel_balance::effective_members;
use evenkeel_model::config::{
    Address, Admin, Affinity, Algorithm, Backend, Choices, Config, Health, Intent, Listener,
    NPlusOne, Objective, Pool, Remedies, Retry, Route, Session, Target,
};
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_model::tally::{BackendTally, Tally};
use evenkeel_model::units::{ByteSize, Ratio};
use evenkeel_proxy::tls::KeyRing;
use evenkeel_proxy::{
    BindError, Event, Gauges, MemorySource, PoolRuntime, Proxy, ProxyOptions, Snapshot, StickyKey,
};
use tokio::sync::mpsc;

/// Longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn local() -> Address {
    Address::Tcp("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn listener(label: &str, address: Address) -> Listener {
    Listener {
        name: name(label),
        address,
        head_timeout: PATIENCE,
        body_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        write_timeout: PATIENCE,
        head_max: ByteSize(16 * 1024),
        body_max: ByteSize(0),
        connections_max: 1_000,
        lifetime: evenkeel_model::config::Lifetime::default(),
        accept_rate: None,
        proxy_protocol: None,
        tls: None,
        protocols: evenkeel_model::config::Protocols::default(),
    }
}

pub(crate) fn pool(label: &str, backends: &[SocketAddr]) -> Pool {
    let backends = backends.iter().enumerate().map(|(n, address)| Backend {
        name: name(&format!("b{n}")),
        address: Address::Tcp(*address),
        weight: 1,
        weight_declared: false,
        capacity_rps: None,
        priority: 0,
        zone: None,
        version: None,
        tls_name: None,
        discovered: false,
    });
    Pool {
        name: name(label),
        algorithm: Algorithm::RoundRobin,
        affinity: Affinity::default(),
        choices: Choices::DEFAULT,
        intent: Intent::Even,
        peak_rps: None,
        headroom: Ratio::from_percent(20),
        tolerance: Ratio::from_percent(20),
        min_healthy: 1,
        n_plus_one: NPlusOne::Warn,
        false_alarm_every: Pool::FALSE_ALARM_EVERY_DEFAULT,
        objective: Objective {
            error_rate: Ratio::from_percent(1),
            p99: Duration::from_secs(1),
        },
        session: Session::ClientAddress,
        health: None::<Health>,
        ejection: None,
        slow_start: None,
        reported: None,
        remedies: Remedies::default(),
        overprovisioning: Pool::OVERPROVISIONING_DEFAULT,
        place: evenkeel_model::config::Place::default(),
        connect_timeout: Duration::from_secs(2),
        response_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        request_timeout: 2 * PATIENCE,
        tunnels: evenkeel_model::config::Tunnels::default(),
        retry: Retry {
            attempts: 1,
            budget: Ratio::from_percent(100),
            on: evenkeel_model::config::RetryOn::default(),
            unsafe_methods: false,
        },
        hedge: None,
        probe: None,
        tls: None,
        keep: evenkeel_model::config::Lifetime::default(),
        max_in_flight: None,
        adaptive: None,
        max_in_flight_total: None,
        queue: None,
        harmed_clients_min: 20,
        policy: evenkeel_model::policy::Policy::default(),
        members: None,
        backends: backends.collect(),
    }
}

pub(crate) fn config(listeners: Vec<Listener>, pools: Vec<Pool>) -> Config {
    let routes = listeners.iter().map(|listener| Route {
        listener: listener.name.clone(),
        host: None,
        matcher: evenkeel_model::config::Matcher::prefix("/"),
        target: Target::Pool(pools[0].name.clone()),
        rate_limit: None,
        priority: evenkeel_model::config::Priority::Normal,
        edits: evenkeel_model::config::Edits::default(),
        upgrades: evenkeel_model::config::Upgrades::default(),
    });
    Config {
        here: evenkeel_model::config::Here::default(),
        workers: None,
        watch: false,
        access_log: None,
        access_log_fields: Vec::new(),
        tracing: None,
        admin: Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            tokens: Vec::new(),
        },
        overload: evenkeel_model::config::Overload::default(),
        audit_every: Duration::from_secs(86_400),
        waivers: Vec::new(),
        drills_allowed: false,
        routes: routes.collect(),
        expectations: Vec::new(),
        listeners,
        certificates: Vec::new(),
        pools,
        receivers: Vec::new(),
        webhooks: Vec::new(),
        escalation: Vec::new(),
    }
}

/// One listener `web`, one pool `shop` over `backends`.
pub(crate) fn simple(backends: &[SocketAddr]) -> Config {
    config(vec![listener("web", local())], vec![pool("shop", backends)])
}

pub(crate) struct Bench {
    pub(crate) proxy: Proxy,
    pub(crate) config: Config,
    pub(crate) tallies: mpsc::Receiver<Tally>,
    pub(crate) events: mpsc::Receiver<Event>,
    gauges: Gauges,
    epoch: u64,
}

impl Bench {
    pub(crate) fn start(config: Config) -> Self {
        Self::start_with(config, 1)
    }

    pub(crate) fn start_with(config: Config, workers: u16) -> Self {
        Self::start_in(config, workers, evenkeel_proxy::resident)
    }

    /// With the resident memory that `memory` says.
    pub(crate) fn start_in(config: Config, workers: u16, memory: MemorySource) -> Self {
        Self::start_whole(config, workers, memory, Gauges::default())
    }

    /// With certificates whose bytes `ring` holds.
    pub(crate) fn start_secured(config: Config, workers: u16, ring: KeyRing) -> Self {
        let gauges = Gauges::with_keys(StickyKey::of("test"), ring);
        Self::start_whole(config, workers, evenkeel_proxy::resident, gauges)
    }

    fn start_whole(config: Config, workers: u16, memory: MemorySource, gauges: Gauges) -> Self {
        let bound = Proxy::bind(&config).unwrap();
        let (tally, tallies) = mpsc::channel(10_000);
        let (events, event_receiver) = mpsc::channel(1_000);
        let options = ProxyOptions {
            workers: NonZeroU16::new(workers),
            seed: 1,
            origin: Instant::now(),
            tally,
            events,
            access_log: config.access_log.clone(),
            memory,
        };
        let snapshot = snapshot(&config, 1, &gauges);
        let proxy = Proxy::start(bound, options, snapshot).unwrap();
        Self {
            proxy,
            config,
            tallies,
            events: event_receiver,
            gauges,
            epoch: 1,
        }
    }

    pub(crate) fn try_swap(&self, config: &Config) -> Result<(), BindError> {
        self.proxy
            .swap(snapshot(config, self.epoch + 1, &self.gauges))
    }

    /// Swaps to `config` under the next epoch.
    pub(crate) fn swap(&mut self, config: Config) {
        self.epoch += 1;
        let snapshot = snapshot(&config, self.epoch, &self.gauges);
        self.proxy.swap(snapshot).unwrap();
        self.config = config;
    }

    /// Swaps to `config` with the backends of its first pool drained as given.
    pub(crate) fn swap_drained(&mut self, config: Config, drained: &[bool]) {
        self.epoch += 1;
        let facts = facts(&config, self.epoch, drained);
        let revision = RevisionId(self.epoch);
        let shared = Arc::new(config.clone());
        let snapshot = Snapshot::new(revision, shared, facts, &self.gauges).unwrap();
        self.proxy.swap(snapshot).unwrap();
        self.config = config;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        tcp(&self.proxy.addresses()[0].1)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Ends the proxy and returns the last tally of each worker, summed over workers: (epoch, cells).
    pub(crate) fn finish(mut self) -> Vec<(Epoch, Vec<BackendTally>)> {
        self.proxy.drain(PATIENCE);
        self.proxy.join();
        let mut sums: Vec<(Epoch, u16, Vec<BackendTally>)> = Vec::new();
        while let Ok(tally) = self.tallies.try_recv() {
            for epoch in &tally.pools[0].epochs {
                sums.retain(|(e, w, _)| (*e, *w) != (epoch.epoch, tally.worker.0));
                sums.push((epoch.epoch, tally.worker.0, epoch.backends.clone()));
            }
        }
        let mut out: Vec<(Epoch, Vec<BackendTally>)> = Vec::new();
        for (epoch, _, cells) in sums {
            match out.iter_mut().find(|(e, _)| *e == epoch) {
                None => out.push((epoch, cells)),
                Some((_, sum)) => {
                    for (sum, cell) in sum.iter_mut().zip(&cells) {
                        add(sum, cell);
                    }
                }
            }
        }
        out.sort_by_key(|(epoch, _)| *epoch);
        out
    }
}

fn add(sum: &mut BackendTally, cell: &BackendTally) {
    sum.picks_free += cell.picks_free;
    sum.picks_forced += cell.picks_forced;
    sum.picks_retry += cell.picks_retry;
    sum.harmed += cell.harmed;
    sum.slow += cell.slow;
    sum.latency.add(&cell.latency);
    let (a, b) = (&mut sum.outcomes, &cell.outcomes);
    a.ok += b.ok;
    a.client_error += b.client_error;
    a.server_error += b.server_error;
    a.connect_failed += b.connect_failed;
    a.reset += b.reset;
    a.timeout += b.timeout;
    a.client_abort += b.client_abort;
    a.cancelled += b.cancelled;
}

fn facts(config: &Config, epoch: u64, drained: &[bool]) -> Vec<PoolRuntime> {
    let of_pool = |pool: &Pool| PoolRuntime {
        epoch: Epoch(epoch),
        members: effective_members(pool, |_| true).0,
        drained: drained.to_vec(),
    };
    config.pools.iter().map(of_pool).collect()
}

fn snapshot(config: &Config, epoch: u64, gauges: &Gauges) -> Snapshot {
    let facts = facts(config, epoch, &[]);
    Snapshot::new(RevisionId(epoch), Arc::new(config.clone()), facts, gauges).unwrap()
}

pub(crate) fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        Address::Unix(path) => panic!("{}", path.display()),
    }
}

/// An origin that runs `script` on every connection, each on a thread of its own.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicU32>,
}

impl Origin {
    pub(crate) fn start(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU32::new(0));
        let (script, count) = (Arc::new(script), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, stream) = (Arc::clone(&script), stream.unwrap());
                std::thread::spawn(move || script(Conn::new(stream, number)));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Answers every request with `response`.
    pub(crate) fn answering(response: &'static str) -> Self {
        Self::start(move |mut conn| {
            while conn.request().is_some() {
                if !conn.send(response) {
                    break;
                }
            }
        })
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens.
pub(crate) fn refused() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The body behind a request head that was read by itself.
pub(crate) fn body_of(conn: &mut Conn, head: &str) -> Vec<u8> {
    read_body(&mut conn.reader, head, false)
}

/// The origin's side of a connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// How many connections came before it.
    pub(crate) number: u32,
}

impl Conn {
    fn new(stream: TcpStream, number: u32) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self {
            stream,
            reader,
            number,
        }
    }

    /// The next request head; `None` at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<String> {
        read_head(&mut self.reader)
    }

    /// The next request: head and body in one text.
    pub(crate) fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let body = read_body(&mut self.reader, &head, false);
        Some(head + &String::from_utf8_lossy(&body))
    }

    pub(crate) fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// What has come, or comes next; `None` at the end.
    pub(crate) fn some(&mut self) -> Option<Vec<u8>> {
        let bytes = self.reader.fill_buf().ok()?.to_vec();
        self.reader.consume(bytes.len());
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Whether the other end has closed (or closes within the patience) without sending more.
    pub(crate) fn closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.reader.read(&mut byte), Ok(0)) || is_reset(self.reader.read(&mut byte))
    }

    pub(crate) fn send(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

fn is_reset(result: std::io::Result<usize>) -> bool {
    result.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

/// A raw client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status and error code, `-` without one.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status, self.header("x-evenkeel-error").unwrap_or("-"))
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a GET and reads the response.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// The next response head (interim ones too).
    pub(crate) fn head(&mut self) -> Option<String> {
        read_head(&mut self.reader)
    }

    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        read_response(&mut self.reader, method).expect("a response head")
    }

    pub(crate) fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Whether the proxy ends the connection within the patience, by close or reset, with nothing more sent.
    pub(crate) fn closed(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The next response to a request with `method`; `None`: the connection ends before it.
pub(crate) fn read_response(reader: &mut impl BufRead, method: &str) -> Option<Response> {
    let head = read_head(reader)?;
    let status = status_of(&head);
    let bare = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let body = if bare {
        Vec::new()
    } else {
        read_body(reader, &head, true)
    };
    Some(Response { status, head, body })
}

pub(crate) fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => head.push_str(&line),
        }
        if line == "\r\n" {
            return Some(head);
        }
    }
}

fn read_body(reader: &mut impl BufRead, head: &str, to_end: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if header(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    match header(head, "content-length") {
        Some(length) => {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).unwrap();
        }
        None if to_end => {
            reader.read_to_end(&mut body).unwrap();
        }
        None => {}
    }
    body
}

/// Waits until `done`, within the patience.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let by = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < by, "{what} did not happen in time");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
