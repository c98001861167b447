//! A worker: one thread, one single-threaded runtime, its own part of the connections.
//!
//! No work moves between workers once a connection is placed. Placing is the only exception: all workers accept from
//! the same socket, whoever is awake takes what waits, and a worker that then holds clearly more connections than
//! another hands the new one on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_model::config::Address;
use evenkeel_model::ids::{Name, WorkerId};
use evenkeel_trace::SpanBuffer;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::access::LogBuffer;
use crate::bind::{HandedStream, ListenSocket, OpenSlot};
use crate::connection;
use crate::handle::{Event, Handed, Shared, WorkerLoad};
use crate::probe;
use crate::state::Worker;
use crate::stream::{Peer, Stream};

/// Housekeeping: the access log leaves its buffer, the wall clock is read.
const BEAT: Duration = Duration::from_millis(250);
/// Tallies leave every so many beats.
const BEATS_PER_SECOND: u32 = 4;
/// Pause after a failed accept: out of descriptors or memory does not pass within microseconds.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that one worker may hold more than another before it hands a new one on.
const UNEVEN_MAX: u32 = 1;

/// What a worker starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) id: WorkerId,
    pub(crate) seed: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) handed: mpsc::Receiver<Handed>,
    pub(crate) log: Option<LogBuffer>,
    pub(crate) spans: Option<SpanBuffer>,
}

/// Starts the thread. It ends after a drain, with the number of connections that were cut off.
pub(crate) fn spawn(start: Start) -> io::Result<JoinHandle<u32>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name(format!("worker-{}", start.id.0))
        .spawn(move || {
            let _report = ReportDeath(start.id, Arc::clone(&start.shared));
            let local = LocalSet::new();
            local.block_on(&runtime, run(start))
        })
}

/// Tells the shell when a worker's own loop panics. A panic in one connection ends that connection only.
struct ReportDeath(WorkerId, Arc<Shared>);

impl Drop for ReportDeath {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.tell(Event::WorkerDied { worker: self.0 });
        }
    }
}

type Acceptors = BTreeMap<(Name, Address), (Arc<ListenSocket>, AbortHandle)>;

async fn run(start: Start) -> u32 {
    let Start {
        id,
        seed,
        shared,
        mut handed,
        log,
        spans,
    } = start;
    let worker = Rc::new(Worker::new(id, seed, Arc::clone(&shared), log, spans));
    let mut acceptors = Acceptors::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beats = 0u32;
    sync_listeners(&worker, &mut acceptors);
    shared.tell(Event::WorkerStarted { worker: id });
    let never = Instant::now() + Duration::from_secs(86_400 * 365);
    loop {
        let drain_by = worker.drain_by.get();
        if drain_by.is_some() {
            while let Ok(handed) = handed.try_recv() {
                take_handed(&worker, handed);
            }
        }
        if drain_by.is_some_and(|by| worker.connections.get() == 0 || Instant::now() >= by) {
            break;
        }
        let wake = shared.wakes.get(usize::from(id.0));
        tokio::select! {
            () = async { match wake { Some(wake) => wake.notified().await, None => std::future::pending().await } } => {
                drop(worker.view());
                begin_drain(&worker);
                sync_listeners(&worker, &mut acceptors);
            }
            Some(handed) = handed.recv() => take_handed(&worker, handed),
            _ = beat.tick() => {
                beats = beats.wrapping_add(1);
                worker.beat();
                probe::when_idle(&worker);
                if beats.is_multiple_of(BEATS_PER_SECOND) {
                    worker.second();
                }
            }
            () = worker.empty.notified() => {}
            () = tokio::task::yield_now(), if worker.is_behind() => worker.catch_up(),
            () = tokio::time::sleep_until(drain_by.unwrap_or(never).into()) => {}
        }
    }
    let cut_off = worker.connections.get();
    worker.beat();
    worker.send_tally(Instant::now());
    shared.tell(Event::WorkerStopped {
        worker: id,
        cut_off,
    });
    cut_off
}

fn begin_drain(worker: &Worker) {
    let by = worker.shared.drain_by.load(Ordering::Acquire);
    if by != u64::MAX {
        worker
            .drain_by
            .set(Some(worker.shared.origin + Duration::from_nanos(by)));
        worker.look.notify_waiters();
    }
}

/// Makes the accepting tasks those of the newest snapshot; none while draining.
fn sync_listeners(worker: &Rc<Worker>, acceptors: &mut Acceptors) {
    let view = worker.view();
    let wanted: BTreeMap<_, _> = if worker.is_draining() {
        BTreeMap::new()
    } else {
        let sockets = view.published.sockets.iter();
        sockets
            .map(|s| ((s.listener.clone(), s.configured.clone()), s))
            .collect()
    };
    acceptors.retain(|key, (socket, task)| {
        let stays = wanted.get(key).is_some_and(|s| Arc::ptr_eq(s, socket));
        if !stays {
            task.abort();
        }
        stays
    });
    for (key, socket) in wanted {
        acceptors.entry(key).or_insert_with(|| {
            let task = accept(Rc::clone(worker), Arc::clone(socket));
            let handle = tokio::task::spawn_local(task).abort_handle();
            (Arc::clone(socket), handle)
        });
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(socket: &ListenSocket) -> io::Result<Self> {
        let duplicate = socket.socket.try_clone()?;
        match socket.local {
            Address::Tcp(_) => TcpListener::from_std(duplicate.into()).map(Self::Tcp),
            Address::Unix(_) => UnixListener::from_std(duplicate.into()).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // On a socket of both families, clients of IPv4 come with an address of IPv6.
                Ok((Stream::Tcp(stream), Peer::Ip(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

async fn accept(worker: Rc<Worker>, socket: Arc<ListenSocket>) {
    let failed = |error: io::Error| {
        worker.shared.tell(Event::AcceptFailed {
            listener: socket.listener.clone(),
            error: error.to_string(),
        });
    };
    let acceptor = loop {
        match Acceptor::new(&socket) {
            Ok(acceptor) => break acceptor,
            Err(error) => failed(error),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    };
    loop {
        match acceptor.accept().await {
            Ok((stream, peer)) => {
                place(&worker, stream, peer, &socket);
                match rest(&worker, &socket) {
                    Some(rest) => tokio::time::sleep(rest).await,
                    // Let the others take theirs: a burst must not all land here.
                    None => tokio::task::yield_now().await,
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_closed) if socket.is_closed() => return,
            Err(error) => {
                failed(error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How long the listener's rate keeps this worker from the next connection.
fn rest(worker: &Worker, socket: &ListenSocket) -> Option<Duration> {
    let view = worker.view();
    let (_, listener) = view.listener(&socket.listener)?;
    let rest = socket
        .pace
        .book(listener.accept_rate?, worker.mono(Instant::now()));
    (rest > Duration::ZERO).then_some(rest)
}

/// Errors that concern the connection to be accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Serves a new connection here, or hands it to the worker with the fewest.
fn place(worker: &Rc<Worker>, stream: Stream, peer: Peer, socket: &Arc<ListenSocket>) {
    let view = worker.view();
    let listeners = &view.published.snapshot.listeners;
    let listener = listeners.iter().find(|l| l.name == socket.listener);
    let max = listener.map_or(u32::MAX, |listener| listener.connections_max);
    let overload = &view.published.snapshot.config.overload;
    let room = overload.connections.unwrap_or(u32::MAX);
    // Workers that accept at the same moment may each take the last place.
    let is_full = worker.shared.connections() >= room.min(worker.shared.client_room);
    let slot = OpenSlot::take(socket, max).filter(|_| !is_full);
    let Some(slot) = slot else {
        worker.shared.governor.count_refused();
        // A client of TLS could not read the answer.
        if listener.is_none_or(|listener| listener.tls.is_none()) {
            connection::refuse(stream);
        }
        return;
    };
    let loads = &worker.shared.loads;
    let mine = worker.connections.get();
    let least = loads
        .iter()
        .enumerate()
        .map(|(index, load)| (load.0.load(Ordering::Relaxed), index))
        .min();
    let other = least.filter(|(least, index)| {
        *index != usize::from(worker.id.0) && mine + 1 > least + UNEVEN_MAX + least / 8
    });
    let takes_more =
        |(_, index): &(u32, usize)| !worker.is_draining() && worker.shared.has_room(*index);
    let Some((_, other)) = other.filter(takes_more) else {
        let counted = Counted::new(worker, slot, false);
        serve(worker, stream, peer, socket, counted);
        return;
    };
    let raw = match stream {
        Stream::Tcp(stream) => stream.into_std().map(HandedStream::Tcp),
        Stream::Unix(stream) => stream.into_std().map(HandedStream::Unix),
        // Placed before its handshake and its first byte, so that none is here.
        Stream::Tls(_) | Stream::Http2(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    match raw {
        Ok(stream) => {
            let socket = Arc::clone(socket);
            worker.shared.hand(
                other,
                Handed {
                    stream,
                    socket,
                    slot,
                },
            );
        }
        Err(error) => tracing::warn!(%error, "a connection was lost between workers"),
    }
}

fn take_handed(worker: &Rc<Worker>, handed: Handed) {
    let counted = Counted::new(worker, handed.slot, true);
    if let Some((stream, peer)) = adopt(handed.stream) {
        serve(worker, stream, peer, &handed.socket, counted);
    }
}

/// Brings a raw connection under this thread's reactor.
fn adopt(stream: HandedStream) -> Option<(Stream, Peer)> {
    let adopted = match stream {
        HandedStream::Tcp(stream) => {
            let peer = stream.peer_addr().map(|peer| peer.ip());
            let peer = Peer::Ip(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream))
                .map(|stream| (Stream::Tcp(stream), peer))
        }
        HandedStream::Unix(stream) => stream
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(stream))
            .map(|stream| (Stream::Unix(stream), Peer::Unix)),
    };
    match adopted {
        Ok(adopted) => Some(adopted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be registered");
            None
        }
    }
}

fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    peer: Peer,
    socket: &Arc<ListenSocket>,
    counted: Counted,
) {
    let task = connection::run(Rc::clone(worker), stream, peer, Arc::clone(socket), counted);
    drop(tokio::task::spawn_local(task));
}

/// A client connection counted on its worker and its listener, to its end.
#[derive(Debug)]
pub(crate) struct Counted {
    worker: Rc<Worker>,
    _slot: OpenSlot,
}

impl Counted {
    /// `announced`: the worker that handed it over has already added it to this one's load.
    fn new(worker: &Rc<Worker>, slot: OpenSlot, announced: bool) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        let counted = Self {
            worker: Rc::clone(worker),
            _slot: slot,
        };
        if let Some(load) = counted.load().filter(|_| !announced) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    fn load(&self) -> Option<&WorkerLoad> {
        self.worker.shared.loads.get(usize::from(self.worker.id.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.load() {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
        let left = self.worker.connections.get() - 1;
        self.worker.connections.set(left);
        if left == 0 {
            self.worker.empty.notify_one();
        }
    }
}
