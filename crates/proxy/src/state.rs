//! What one worker knows: its view of the snapshot, its pickers, its counts, its upstream connections.
//!
//! Everything here belongs to one thread (`Rc`, `Cell`). The view is brought up to date at the first request after a
//! swap, and each pool of it at its own first request; the worker catches up with the others pool by pool, with turns for
//! the requests in between (`catch_up`). So a swap of however many pools stops nobody for longer than one pool takes.
//! Pickers, counts and idle connections are carried over by pool name and backend address, so a reload resets nothing.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_balance::Picker;
use evenkeel_balance::hedge::Hedger;
use evenkeel_balance::retry::Budget;
use evenkeel_http1::{RequestHead, ResponseHead};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Backend, Listener};
use evenkeel_model::ids::{Epoch, Name, WorkerId};
use evenkeel_model::rng::Rng;
use evenkeel_model::tally::Tally;
use evenkeel_trace::SpanBuffer;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;

use crate::access::LogBuffer;
use crate::bind::ListenSocket;
use crate::buf::Blocks;
use crate::catch_up::CatchUp;
use crate::counts::{EpochCells, PoolCounts};
use crate::handle::{Published, Shared};
use crate::route_counts::{self, RouteCell};
use crate::snapshot::PoolState;
use crate::upstream::{Origin, Place};

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) blocks: Blocks,
    pub(crate) log: RefCell<Option<LogBuffer>>,
    /// When the drain ends; `None` while traffic is taken.
    pub(crate) drain_by: Cell<Option<Instant>>,
    /// Wakes idle connections to see whether they should end.
    pub(crate) look: Notify,
    /// Wakes the worker when its last connection has ended.
    pub(crate) empty: Notify,
    pub(crate) connections: Cell<u32>,
    #[expect(
        clippy::vec_box,
        reason = "they are lent out as they are; a connection that waits holds a pointer"
    )]
    heads: RefCell<Vec<Box<Heads>>>,
    pub(crate) view: RefCell<Rc<View>>,
    pub(crate) generation: Cell<u64>,
    pub(crate) pools: RefCell<BTreeMap<Name, Rc<WorkerPool>>>,
    pub(crate) origins: RefCell<BTreeMap<Place, Rc<Origin>>>,
    pub(crate) catching_up: RefCell<CatchUp>,
    /// Backends and routes that swaps have made this worker handle so far.
    pub(crate) steps: Cell<u64>,
    /// Those of requests that are told to a collector.
    pub(crate) spans: RefCell<Option<SpanBuffer>>,
    rng: RefCell<Rng>,
    /// What ids of traces and spans are drawn from: no choice of a backend hangs on it.
    pub(crate) ids: RefCell<Rng>,
    requests: Cell<u64>,
    /// What the wall clock said at some instant; set at each beat.
    wall: Cell<(Instant, Wall)>,
}

/// Parsed heads that a worker keeps for reuse.
const HEADS_KEPT: usize = 256;

/// Room for the parsed heads of one request and its response, reused from request to request.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

/// What of a pool outlives a snapshot.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    pub(crate) picker: RefCell<Picker>,
    pub(crate) budget: RefCell<Budget>,
    pub(crate) hedger: RefCell<Hedger>,
    pub(crate) counts: PoolCounts,
    /// Probes under way, and when the last was sent.
    pub(crate) probing: Cell<u32>,
    pub(crate) probed_at: Cell<Option<Instant>>,
    /// The epoch whose members the picker has.
    pub(crate) epoch: Cell<Epoch>,
}

/// A pool of the snapshot with this worker's part of it.
#[derive(Debug)]
pub(crate) struct PoolView {
    pub(crate) state: Arc<PoolState>,
    pub(crate) pool: Rc<WorkerPool>,
    pub(crate) cells: Rc<EpochCells>,
    /// By backend in file order.
    pub(crate) origins: Vec<Rc<Origin>>,
}

/// The snapshot as this worker uses it. A request keeps the one it began with.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) published: Arc<Published>,
    /// In file order, each from its first use on; see [`Worker::pool`].
    pub(crate) pools: Vec<OnceCell<Rc<PoolView>>>,
    /// By route in file order.
    pub(crate) routes: Rc<Vec<Rc<RouteCell>>>,
}

impl View {
    /// The listener called `name` and its place in the configuration.
    pub(crate) fn listener(&self, name: &Name) -> Option<(usize, &Listener)> {
        let listeners = &self.published.snapshot.listeners;
        let index = listeners.iter().position(|l| l.name == *name)?;
        listeners.get(index).map(|listener| (index, &**listener))
    }
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        seed: u64,
        shared: Arc<Shared>,
        log: Option<LogBuffer>,
        spans: Option<SpanBuffer>,
    ) -> Self {
        let published = shared.published.load_full();
        let empty = View {
            published,
            pools: Vec::new(),
            routes: Rc::default(),
        };
        let worker = Self {
            id,
            // Workers must not walk their cycles in step: each has a stream of its own.
            rng: RefCell::new(Rng::new(seed).fork(u64::from(id.0) + 1)),
            ids: RefCell::new(Rng::new(shared.request_id_prefix).fork(u64::from(id.0) + 1)),
            spans: RefCell::new(spans),
            shared,
            blocks: Blocks::default(),
            log: RefCell::new(log),
            drain_by: Cell::new(None),
            look: Notify::new(),
            heads: RefCell::default(),
            empty: Notify::new(),
            connections: Cell::new(0),
            view: RefCell::new(Rc::new(empty)),
            generation: Cell::new(0),
            pools: RefCell::default(),
            origins: RefCell::default(),
            catching_up: RefCell::default(),
            steps: Cell::new(0),
            requests: Cell::new(0),
            wall: Cell::new(read_wall()),
        };
        drop(worker.view());
        worker
    }

    /// The newest snapshot as a view of this worker.
    pub(crate) fn view(&self) -> Rc<View> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation.get() {
            self.generation.set(generation);
            self.refresh();
        }
        Rc::clone(&self.view.borrow())
    }

    fn refresh(&self) {
        let published = self.shared.published.load_full();
        let before = Rc::clone(&self.view.borrow());
        let keys = &published.snapshot.route_keys;
        self.step(keys.len());
        let routes = if route_counts::fit(&before.routes, keys) {
            Rc::clone(&before.routes)
        } else {
            Rc::new(route_counts::cells(keys, &before.routes))
        };
        drop(before);
        let pools = vec![OnceCell::new(); published.snapshot.pools.len()];
        let old = self.view.replace(Rc::new(View {
            published,
            pools,
            routes,
        }));
        self.catching_up.borrow_mut().begin(old);
        self.look.notify_waiters();
    }

    /// The pool at a place of `view`, brought up to date when it was not used since the swap. `view` is the newest: it
    /// was asked for in this turn.
    pub(crate) fn pool(&self, view: &View, index: usize) -> Option<Rc<PoolView>> {
        let cell = view.pools.get(index)?;
        let state = view.published.snapshot.pools.get(index)?;
        Some(Rc::clone(cell.get_or_init(|| self.take_over(state))))
    }

    fn take_over(&self, state: &Arc<PoolState>) -> Rc<PoolView> {
        let now = self.mono(Instant::now());
        let name = &state.pool.name;
        let known = self.pools.borrow().get(name).map(Rc::clone);
        let pool = known.unwrap_or_else(|| {
            let new = Rc::new(self.new_pool(state, now));
            self.pools
                .borrow_mut()
                .insert(name.clone(), Rc::clone(&new));
            new
        });
        self.step(state.members.len());
        pool.picker
            .borrow_mut()
            .update(&state.spec(), &state.members);
        // Limits may be wider now, or backends back.
        state.gate.changed();
        pool.epoch.set(state.epoch);
        let mut origins = self.origins.borrow_mut();
        let generation = self.generation.get();
        let origin = |(index, backend): (usize, &Backend)| {
            let dial = state.dials.get(index);
            let place = (backend.address.clone(), dial.map_or(0, |dial| dial.id));
            let new = || Rc::new(Origin::new(backend.address.clone(), dial.map(Arc::clone)));
            let origin = origins.entry(place).or_insert_with(new);
            origin.revive(generation);
            Rc::clone(origin)
        };
        let backends = state.pool.backends.iter().enumerate();
        let origins: Vec<_> = backends.map(origin).collect();
        self.step(origins.len());
        self.step(state.members.len());
        Rc::new(PoolView {
            state: Arc::clone(state),
            cells: pool.counts.epoch(state.epoch, state.members.len()),
            origins,
            pool,
        })
    }

    /// Counts backends or routes that were handled because of a swap.
    pub(crate) fn step(&self, count: usize) {
        self.steps.set(self.steps.get() + count as u64);
    }

    fn new_pool(&self, state: &PoolState, now: Mono) -> WorkerPool {
        let rng = self.rng.borrow_mut().fork(0);
        let picker = Picker::new(state.spec(), &state.members, rng);
        WorkerPool {
            picker: RefCell::new(picker),
            budget: RefCell::new(Budget::new(now)),
            hedger: RefCell::default(),
            counts: PoolCounts::default(),
            probing: Cell::new(0),
            probed_at: Cell::new(None),
            epoch: Cell::new(state.epoch),
        }
    }

    /// What tells one connection's lifetime from another's, 0 to 1.
    pub(crate) fn spread(&self) -> f64 {
        self.rng.borrow_mut().unit()
    }

    /// This instant on the clock of the tallies.
    pub(crate) fn mono(&self, now: Instant) -> Mono {
        self.shared.mono(now)
    }

    /// This instant on the wall clock, without asking the system: exact to what the clock was set by since the
    /// last beat.
    pub(crate) fn wall(&self, now: Instant) -> Wall {
        let (at, wall) = self.wall.get();
        match now.checked_duration_since(at) {
            Some(later) => wall.plus(later),
            None => wall.minus(at.saturating_duration_since(now)),
        }
    }

    /// Second half of the next request id: unique in this process.
    pub(crate) fn next_request(&self) -> u64 {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        (u64::from(self.id.0) << 48) | (number & 0xffff_ffff_ffff)
    }

    /// Room for heads.
    pub(crate) fn take_heads(&self) -> Box<Heads> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes room for heads back.
    pub(crate) fn give_heads(&self, mut heads: Box<Heads>) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < HEADS_KEPT {
            heads.request.clear();
            heads.response.clear();
            kept.push(heads);
        }
    }

    /// Whether a drain has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_by.get().is_some()
    }

    /// Whether memory is so scarce that no connection is kept for another request.
    pub(crate) fn is_tight(&self) -> bool {
        self.shared.governor.pressure().is_tight()
    }

    /// Whether who came by `socket` and asks for nothing now is to leave.
    pub(crate) fn is_over(&self, socket: &ListenSocket) -> bool {
        let is_removed = || self.view().listener(&socket.listener).is_none();
        self.is_draining() || self.is_tight() || is_removed()
    }

    /// Housekeeping several times a second.
    pub(crate) fn beat(&self) {
        self.wall.set(read_wall());
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.hand_over();
        }
        if let Some(spans) = self.spans.borrow_mut().as_mut() {
            spans.hand_over();
        }
    }

    /// Housekeeping once a second: closes old upstream connections and hands the counts over.
    pub(crate) fn second(&self) {
        let view = self.view();
        let now = Instant::now();
        let overload = &view.published.snapshot.config.overload;
        self.shared.governor.second(overload, self.mono(now));
        drop(view);
        if self.is_tight() {
            self.blocks.give_back();
            // Idle connections see that they are to end.
            self.look.notify_waiters();
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for origin in self.origins.borrow().values() {
            origin.sweep(now, &mut cx);
        }
        self.send_tally(now);
    }

    /// Hands the counts over; when the shell is behind they stay for the next second.
    pub(crate) fn send_tally(&self, now: Instant) {
        let view = Rc::clone(&self.view.borrow());
        route_counts::hand_over(&view.routes, &self.shared.routes);
        let pools = self.pools.borrow();
        // A pool that was not taken over yet has counts of before, if any.
        let known = view.published.snapshot.pools.iter();
        let known = known.filter_map(|state| pools.get(&state.pool.name).map(|pool| (state, pool)));
        let tally = Tally {
            worker: self.id,
            at: self.mono(now),
            pools: known
                .map(|(state, pool)| pool.counts.tally(&state.pool.name))
                .collect(),
            routes: route_counts::tally(&view.routes),
        };
        let Err(error) = self.shared.tally.try_send(tally) else {
            return;
        };
        let (TrySendError::Full(tally) | TrySendError::Closed(tally)) = error;
        for tally in &tally.pools {
            if let Some(pool) = pools.get(&tally.pool) {
                pool.counts.put_back(tally);
            }
        }
        route_counts::tell_again(&view.routes);
        tracing::debug!(worker = self.id.0, "a tally was not taken");
    }
}

fn read_wall() -> (Instant, Wall) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or(Duration::ZERO).as_millis();
    (Instant::now(), Wall(u64::try_from(ms).unwrap_or(u64::MAX)))
}
