//! The handle on a running data plane: start, swap, look, drain, join.
//!
//! Everything here runs on the caller's thread. Workers are told through one atomic (a generation that every request
//! compares) and one wake-up each; they never call back, and no call here waits for one except [`Proxy::join`].

use std::hash::RandomState;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Config};
use evenkeel_model::ids::{Name, WorkerId};
use evenkeel_model::tally::{RouteKey, Tally, Vitals};
use evenkeel_trace::{Exporter, SpanCounts, Target};
use tokio::sync::{Notify, mpsc};

use crate::access::{AccessLog, AccessLogError};
use crate::bind::{self, BindError, Bound, HandedStream, Inherited, ListenSocket};
use crate::descriptors;
use crate::front::{HeaderCounts, RefusedHeaders};
use crate::hedge::Hedges;
use crate::http2::{Http2Cells, Http2Counts};
use crate::pressure::{Governor, MemorySource, OverloadView};
use crate::probe::Probes;
use crate::snapshot::Snapshot;
use crate::tls::{Dials, Handshakes};
use crate::traffic::Routes;
use crate::tunnel::TunnelCounts;
use crate::worker;

/// Old snapshots that wait for their last request; beyond it a worker may have to free one itself.
const RETIRED_MAX: usize = 64;
/// Connections that may wait to be handed from one worker to another: as many as a listener's queue holds.
const HANDED_WAITING: usize = 4_096;

/// What the data plane needs besides a snapshot.
#[derive(Debug)]
pub struct ProxyOptions {
    /// Worker threads. `None`: what the configuration says, else one per core that the process may use.
    pub workers: Option<NonZeroU16>,
    /// Seed of every random choice that is not a secret (first phases, two choices, jitter).
    pub seed: u64,
    /// The instant that [`Mono::ZERO`] is.
    pub origin: Instant,
    /// Where each worker sends its tally once a second. Full: that tally is skipped, counts are cumulative.
    pub tally: mpsc::Sender<Tally>,
    /// Where operational events go. Full: the event is dropped after it was logged.
    pub events: mpsc::Sender<Event>,
    /// Where the access log goes, `-` for standard output. A change needs a restart.
    pub access_log: Option<PathBuf>,
    /// Where the memory is read that `[overload]` bounds: [`crate::resident`].
    pub memory: MemorySource,
}

/// Something that the shell should know besides the tallies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker takes traffic.
    WorkerStarted {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker has ended.
    WorkerStopped {
        /// The worker.
        worker: WorkerId,
        /// Client connections that the drain deadline cut off.
        cut_off: u32,
    },
    /// A worker ended by a fault; its connections are gone, the other workers go on.
    WorkerDied {
        /// The worker.
        worker: WorkerId,
    },
    /// Connections cannot be accepted (too many open files, no memory); tried again with a pause.
    AcceptFailed {
        /// The listener.
        listener: Name,
        /// What the system said.
        error: String,
    },
    /// Lines of the access log that were dropped so far because the writer was behind or the disk full.
    AccessLogLost {
        /// Lines since the start.
        lines: u64,
    },
}

/// Why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// A thread or its runtime.
    #[error("worker {worker} cannot start: {source}")]
    Worker {
        /// The worker.
        worker: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that sends spans.
    #[error("the thread for spans cannot start: {0}")]
    Spans(std::io::Error),
    /// No randomness from the system for the keys of client hashes and request ids.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// What became of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Client connections that had to be cut off at the deadline.
    pub cut_off: u32,
}

/// What is published to the workers: a snapshot with the sockets of its listeners.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) snapshot: Snapshot,
    /// In file order of the listeners.
    pub(crate) sockets: Vec<Arc<ListenSocket>>,
}

/// A connection on its way from the worker that accepted it to one with fewer.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) stream: HandedStream,
    pub(crate) socket: Arc<ListenSocket>,
    pub(crate) slot: bind::OpenSlot,
}

/// How many client connections a worker holds; alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerLoad(pub(crate) AtomicU32);

/// What the workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) published: ArcSwap<Published>,
    /// Grows with each swap; cheaper to look at than the swap itself.
    pub(crate) generation: AtomicU64,
    pub(crate) origin: Instant,
    /// Keys of the client hashes, the same for all workers, never outside this process.
    pub(crate) client_keys: RandomState,
    /// First half of generated request ids.
    pub(crate) request_id_prefix: u64,
    pub(crate) loads: Vec<WorkerLoad>,
    /// Most client connections of all listeners together, by the descriptors that there are.
    pub(crate) client_room: u32,
    pub(crate) governor: Governor,
    pub(crate) headers: HeaderCounts,
    pub(crate) http2: Http2Cells,
    pub(crate) routes: Routes,
    /// Wakes a worker to look at `generation` and `drain_by` without waiting for a request.
    pub(crate) wakes: Vec<Notify>,
    /// When a drain ends, in nanoseconds since `origin`; [`u64::MAX`]: none is asked for.
    pub(crate) drain_by: AtomicU64,
    pub(crate) handed: Vec<mpsc::Sender<Handed>>,
    pub(crate) tally: mpsc::Sender<Tally>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Shared {
    /// What one worker without sockets needs.
    #[cfg(test)]
    pub(crate) fn of_test(
        snapshot: Snapshot,
        tally: mpsc::Sender<Tally>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            published: ArcSwap::from_pointee(Published {
                snapshot,
                sockets: Vec::new(),
            }),
            generation: AtomicU64::new(1),
            origin: Instant::now(),
            client_keys: RandomState::new(),
            request_id_prefix: 0,
            governor: Governor::new(|| None),
            headers: HeaderCounts::default(),
            http2: Http2Cells::default(),
            routes: Routes::default(),
            loads: vec![WorkerLoad::default()],
            client_room: u32::MAX,
            wakes: vec![Notify::new()],
            drain_by: AtomicU64::new(u64::MAX),
            handed: Vec::new(),
            tally,
            events,
        }
    }

    /// This instant on the clock of the tallies.
    pub(crate) fn mono(&self, now: Instant) -> Mono {
        Mono::ZERO.plus(now.saturating_duration_since(self.origin))
    }

    /// Client connections open now.
    pub(crate) fn connections(&self) -> u32 {
        let loads = self.loads.iter();
        loads.map(|load| load.0.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn load(&self, worker: usize) -> Option<&WorkerLoad> {
        self.loads.get(worker)
    }

    /// Whether `worker` can be given a connection now.
    pub(crate) fn has_room(&self, worker: usize) -> bool {
        self.handed.get(worker).is_some_and(|s| s.capacity() > 0)
    }

    /// Gives a connection to `worker`. It is counted there at once, so that a burst does not all go to the same
    /// worker before that one wakes. Without room (never seen) the connection is closed.
    pub(crate) fn hand(&self, worker: usize, handed: Handed) {
        let (Some(sender), Some(load)) = (self.handed.get(worker), self.load(worker)) else {
            return;
        };
        load.0.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(handed).is_err() {
            load.0.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("a connection was lost between workers");
        }
    }

    /// Tells the shell; never waits.
    pub(crate) fn tell(&self, event: Event) {
        tracing::info!(?event, "data plane");
        if self.events.try_send(event).is_err() {
            tracing::warn!("the shell does not take events; one was dropped");
        }
    }
}

/// Room for clients, and a word when it is less than the configuration promises.
fn client_room(config: &Config) -> u32 {
    let room = descriptors::client_room();
    let promised = config.listeners.iter().map(|l| l.connections_max);
    let promised = promised.fold(0, u32::saturating_add);
    if promised > room {
        tracing::warn!(
            connections_max = promised,
            room,
            "the limit on open files leaves room for fewer clients than `connections_max`; raise it (`ulimit -n`, LimitNOFILE)"
        );
    }
    room
}

/// A running data plane. Dropping it drains with no time left and waits for the workers.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<u32>>,
    retired: Mutex<Vec<Arc<Published>>>,
    access_log: Option<AccessLog>,
    exporter: Exporter,
    inherited: Inherited,
}

impl Proxy {
    /// Binds every listener of `config`, or none.
    pub fn bind(config: &Config) -> Result<Bound, BindError> {
        Self::bind_beside(config, &Inherited::default())
    }

    /// The same where some sockets, `inherited`, are bound already, now and after a swap.
    pub fn bind_beside(config: &Config, inherited: &Inherited) -> Result<Bound, BindError> {
        Bound::new(config, &[], inherited)
    }

    /// Starts the workers. `bound` must come from the configuration of `snapshot`.
    pub fn start(
        bound: Bound,
        options: ProxyOptions,
        snapshot: Snapshot,
    ) -> Result<Self, StartError> {
        let workers = worker_count(&options, &snapshot.config);
        let mut access_log = match &options.access_log {
            Some(path) => Some(AccessLog::open(path)?),
            None => None,
        };
        let exporter = Exporter::start().map_err(StartError::Spans)?;
        exporter.aim(target(&snapshot.config));
        bound.commit();
        snapshot.mark_leaving(None);
        let client_room = client_room(&snapshot.config);
        if snapshot.config.overload.memory.is_some() && (options.memory)().is_none() {
            tracing::warn!(
                "the memory of this process cannot be read; `overload.memory` does nothing"
            );
        }
        let (handed, handed_receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(HANDED_WAITING)).unzip();
        let shared = Arc::new(Shared {
            published: ArcSwap::from_pointee(Published {
                snapshot,
                sockets: bound.sockets,
            }),
            generation: AtomicU64::new(1),
            origin: options.origin,
            client_keys: RandomState::new(),
            request_id_prefix: getrandom::u64().map_err(StartError::Random)?,
            loads: (0..workers).map(|_| WorkerLoad::default()).collect(),
            client_room,
            governor: Governor::new(options.memory),
            headers: HeaderCounts::default(),
            http2: Http2Cells::default(),
            routes: Routes::default(),
            wakes: (0..workers).map(|_| Notify::new()).collect(),
            drain_by: AtomicU64::new(u64::MAX),
            handed,
            tally: options.tally,
            events: options.events,
        });
        let mut proxy = Self {
            shared,
            threads: Vec::new(),
            retired: Mutex::new(Vec::new()),
            access_log: None,
            exporter,
            inherited: bound.inherited,
        };
        for (number, receiver) in (0..workers).zip(handed_receivers) {
            let start = worker::Start {
                id: WorkerId(number),
                seed: options.seed,
                shared: Arc::clone(&proxy.shared),
                handed: receiver,
                log: access_log.as_ref().and_then(AccessLog::buffer),
                spans: proxy.exporter.buffer(),
            };
            let thread = worker::spawn(start).map_err(|source| StartError::Worker {
                worker: number,
                source,
            })?;
            proxy.threads.push(thread);
        }
        proxy.access_log = access_log.take();
        Ok(proxy)
    }

    /// Makes `snapshot` what the next request of every worker sees. Listeners that it adds are bound first: on an
    /// error nothing changes. Listeners that it no longer has stop accepting; their connections finish.
    pub fn swap(&self, snapshot: Snapshot) -> Result<(), BindError> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.shared.published.load_full();
        let bound = Bound::new(&snapshot.config, &old.sockets, &self.inherited)?;
        bound.commit();
        snapshot.mark_leaving(Some(&old.snapshot));
        drop(old);
        self.exporter.aim(target(&snapshot.config));
        let stays: Vec<_> = bound.sockets.iter().map(Arc::as_ptr).collect();
        let old = self.shared.published.swap(Arc::new(Published {
            snapshot,
            sockets: bound.sockets,
        }));
        self.shared.generation.fetch_add(1, Ordering::Release);
        for socket in &old.sockets {
            if !stays.contains(&Arc::as_ptr(socket)) {
                self.close(socket);
            }
        }
        // The last reference is dropped here, not on a worker in the middle of a request.
        retired.push(old);
        retired.retain(|published| Arc::strong_count(published) > 1);
        let excess = retired.len().saturating_sub(RETIRED_MAX);
        retired.drain(..excess);
        drop(retired);
        self.wake_workers();
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where each listener really listens, in file order.
    pub fn addresses(&self) -> Vec<(Name, Address)> {
        bind::addresses(&self.shared.published.load().sockets)
    }

    /// Worker threads.
    pub fn workers(&self) -> u16 {
        self.shared.loads.len() as u16
    }

    /// Requests refused by the rate limit of each route of the running snapshot that has one, since it had it.
    pub fn rate_limited(&self) -> Vec<(Arc<RouteKey>, u64)> {
        let published = self.shared.published.load();
        let snapshot = &published.snapshot;
        let routes = snapshot.route_keys.iter().zip(&snapshot.limits);
        routes
            .filter_map(|(key, limit)| Some((Arc::clone(key), limit.as_ref()?.rates.refused())))
            .collect()
    }

    /// What became of second tries in each pool of the running snapshot that hedges, in file order.
    pub fn hedges(&self) -> Vec<(Name, Hedges)> {
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        pools
            .filter(|state| state.pool.hedge.is_some())
            .map(|state| (state.pool.name.clone(), state.hedges.view()))
            .collect()
    }

    /// What became of probes in each pool of the running snapshot that sends them, in file order.
    pub fn probes(&self) -> Vec<(Name, Probes)> {
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        pools
            .filter(|state| state.pool.probe.is_some())
            .map(|state| (state.pool.name.clone(), state.probes.view()))
            .collect()
    }

    /// What became of handshakes on each listener of the running snapshot that speaks TLS, or was spoken to by it, in
    /// file order.
    pub fn handshakes(&self) -> Vec<(Name, Handshakes)> {
        let published = self.shared.published.load();
        let snapshot = &published.snapshot;
        let listeners = snapshot.listeners.iter().zip(&snapshot.edges);
        listeners
            .map(|(listener, edge)| (listener, edge.handshakes.view()))
            .filter(|(listener, counts)| listener.tls.is_some() || counts.iter().any(|n| *n > 0))
            .map(|(listener, counts)| (listener.name.clone(), counts))
            .collect()
    }

    /// What became of handshakes with each backend of the running snapshot that is spoken to by TLS, in file order.
    pub fn dials(&self) -> Vec<(Name, Name, Dials)> {
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        let backends = pools.flat_map(|state| {
            let dials = state.pool.backends.iter().zip(&state.dials);
            dials
                .map(|(backend, dial)| (state.pool.name.clone(), backend.name.clone(), dial.view()))
        });
        backends.collect()
    }

    /// Tunnels of each backend of the running snapshot that ever had one, in file order.
    pub fn tunnels(&self) -> Vec<(Name, Name, TunnelCounts)> {
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        let backends = pools.flat_map(|state| {
            let gauges = state.pool.backends.iter().zip(&state.gauges);
            gauges.map(|(backend, gauge)| (&state.pool.name, &backend.name, gauge))
        });
        backends
            .map(|(pool, backend, gauge)| (pool.clone(), backend.clone(), gauge.tunnels().view()))
            .filter(|(_, _, counts)| counts.opened > 0)
            .collect()
    }

    /// Connections refused because of how they began; `None`: no listener of the running snapshot or of an earlier one
    /// asked for a header.
    pub fn refused_headers(&self) -> Option<RefusedHeaders> {
        let published = self.shared.published.load();
        let mut listeners = published.snapshot.config.listeners.iter();
        let refused = self.shared.headers.view();
        let is_asked = listeners.any(|listener| listener.proxy_protocol.is_some());
        (is_asked || refused != RefusedHeaders::default()).then_some(refused)
    }

    /// Clients that speak HTTP/2; `None`: no listener of the running snapshot or of an earlier one let them.
    pub fn http2(&self) -> Option<Http2Counts> {
        let published = self.shared.published.load();
        let mut listeners = published.snapshot.config.listeners.iter();
        let counts = self.shared.http2.view();
        let is_spoken = listeners.any(|listener| listener.protocols.http2);
        (is_spoken || counts != Http2Counts::default()).then_some(counts)
    }

    /// What overload protection sees and did.
    pub fn overload(&self) -> OverloadView {
        self.shared.governor.view()
    }

    /// Requests that wait in the queue of each pool of the running snapshot, in file order.
    pub fn waiting(&self) -> Vec<(Name, u32)> {
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        pools
            .map(|state| (state.pool.name.clone(), state.gate.waiting()))
            .collect()
    }

    /// Live numbers of every backend of the running snapshot, pools and backends in file order.
    pub fn vitals(&self) -> Vec<(Name, Vec<(Name, Vitals)>)> {
        let now = self.shared.mono(Instant::now());
        let published = self.shared.published.load();
        let pools = published.snapshot.pools.iter();
        pools
            .map(|state| {
                let names = state.pool.backends.iter().map(|b| b.name.clone());
                let vitals = state.gauges.iter().map(|gauge| Vitals {
                    limit: state.pool.adaptive.map(|_| gauge.found().limit()),
                    ..gauge.vitals(now)
                });
                (state.pool.name.clone(), names.zip(vitals).collect())
            })
            .collect()
    }

    /// Client connections open now.
    pub fn connections(&self) -> u32 {
        self.shared.connections()
    }

    /// Lines of the access log that were dropped so far.
    pub fn access_log_lost(&self) -> u64 {
        self.access_log.as_ref().map_or(0, AccessLog::lost)
    }

    /// What became of spans; `None`: none were ever asked for.
    pub fn spans(&self) -> Option<SpanCounts> {
        let counts = self.exporter.counts();
        let published = self.shared.published.load();
        let is_asked = published.snapshot.config.tracing.is_some();
        (is_asked || counts != SpanCounts::default()).then_some(counts)
    }

    /// Has the access log opened anew, after its file was renamed.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Stops accepting, answers requests in flight with `Connection: close`, closes idle connections, and cuts off
    /// what is left after `within`. Returns at once; [`Proxy::join`] waits.
    pub fn drain(&self, within: Duration) {
        for socket in &self.shared.published.load().sockets {
            self.close(socket);
        }
        let by = self.shared.mono(Instant::now() + within);
        self.shared.drain_by.fetch_min(by.0, Ordering::Release);
        self.wake_workers();
    }

    /// Stops a listener. To their clients the connections that wait on it are established, so they go to a worker.
    fn close(&self, socket: &Arc<ListenSocket>) {
        if socket.is_handed_over() {
            return;
        }
        self.take_waiting(socket);
        socket.close();
        // On a Unix socket some may have come in between; on TCP there is nothing left to take.
        self.take_waiting(socket);
    }

    fn take_waiting(&self, socket: &Arc<ListenSocket>) {
        while let Some(stream) = socket.accept_waiting() {
            let Some(slot) = bind::OpenSlot::take(socket, u32::MAX) else {
                return;
            };
            let handed = Handed {
                stream,
                socket: Arc::clone(socket),
                slot,
            };
            let least = (0..self.shared.loads.len()).min_by_key(|index| {
                self.shared
                    .load(*index)
                    .map(|l| l.0.load(Ordering::Relaxed))
            });
            self.shared.hand(least.unwrap_or(0), handed);
        }
    }

    fn wake_workers(&self) {
        for wake in &self.shared.wakes {
            wake.notify_one();
        }
    }

    /// Waits until every worker has ended (after [`Proxy::drain`]) and the access log is written.
    pub fn join(mut self) -> DrainReport {
        self.finish()
    }

    fn finish(&mut self) -> DrainReport {
        let mut report = DrainReport::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(cut_off) => report.cut_off += cut_off,
                Err(_panic) => tracing::error!("a worker had died"),
            }
        }
        self.exporter.close();
        if let Some(mut log) = self.access_log.take() {
            log.close();
            if log.lost() > 0 {
                self.shared.tell(Event::AccessLogLost { lines: log.lost() });
            }
        }
        report
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.drain(Duration::ZERO);
            self.finish();
        }
    }
}

/// Where the spans of a configuration go.
fn target(config: &Config) -> Option<Target> {
    let instance = config.here.instance.as_ref().map(Name::as_str);
    let tracing = config.tracing.as_ref()?;
    Some(Target::new(tracing, instance, env!("CARGO_PKG_VERSION")))
}

fn worker_count(options: &ProxyOptions, config: &Config) -> u16 {
    let cores = || {
        std::thread::available_parallelism()
            .ok()
            .and_then(|n| u16::try_from(n.get()).ok())
    };
    let asked = options.workers.or(config.workers).map(NonZeroU16::get);
    asked.or_else(cores).unwrap_or(1).max(1)
}
