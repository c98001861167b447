//! From cumulative tallies to what happened in each second: the counts that the tests and the view read.
//!
//! Workers count cumulatively per epoch; the difference to the last tally of the same worker and epoch is what
//! is new. Counts of an epoch that the guard was not told of yet are left alone: the next tally holds them again.
//! Rows are seconds. Row cells are those of the newest epoch; what older epochs still produce (responses to
//! picks made before) is kept as [`Late`], since it harms users but says nothing about the running epoch. Who failed late
//! is kept beside it: a backend that hangs is out by its check long before its tries time out.
//!
//! Limits: rows are bounded by [`CELLS_MAX`] cells per pool, latency by [`LATENCY_ROWS`] seconds and
//! [`CHUNKS_MAX`] chunks, epochs per worker by `EPOCHS_KEPT`, workers by `u16`.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::{Epoch, WorkerId};
use evenkeel_model::sketch::ClientSketch;
use evenkeel_model::tally::{BackendTally, EPOCHS_KEPT, Latency, PoolTally};

/// Cells (backends x seconds) kept per pool.
const CELLS_MAX: usize = 120_000;
/// Fewest and most seconds kept.
const ROWS: (usize, usize) = (60, 600);
/// Seconds with their own latency counts: the window of the view.
pub(crate) const LATENCY_ROWS: usize = 10;
/// Older latency is kept in chunks of [`LATENCY_ROWS`] seconds, so many of them.
const CHUNKS_MAX: usize = 30;
/// Chunks of [`LATENCY_ROWS`] seconds of clients kept.
const CLIENT_CHUNKS_MAX: usize = 29;
/// Seconds of clients kept at least.
pub(crate) const CLIENT_ROWS_MAX: usize = (CLIENT_CHUNKS_MAX + 1) * LATENCY_ROWS;
/// Most latency chunks times backends.
const CHUNK_CELLS_MAX: usize = 6_000;

/// What one backend did in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cell {
    /// Picks by the algorithm alone: the only ones of a share test.
    pub(crate) free: u32,
    /// Picks forced by a key.
    pub(crate) forced: u32,
    /// Picks for a further try.
    pub(crate) retry: u32,
    /// Responses below 400.
    pub(crate) ok: u32,
    /// 4xx.
    pub(crate) client_error: u32,
    /// 5xx.
    pub(crate) server_error: u32,
    /// Not connected.
    pub(crate) connect_failed: u32,
    /// Cut off.
    pub(crate) reset: u32,
    /// No response in time.
    pub(crate) timeout: u32,
    /// Another backend answered first.
    pub(crate) cancelled: u32,
    /// Requests beyond the objective.
    pub(crate) harmed: u32,
    /// Harmed by being slow.
    pub(crate) slow: u32,
    /// In flight at the end of the second; a sum over a window is a sum of samples.
    pub(crate) in_flight: u32,
}

impl Cell {
    /// All picks.
    pub(crate) const fn picks(&self) -> u64 {
        self.free as u64 + self.forced as u64 + self.retry as u64
    }

    /// Tries that failed.
    pub(crate) const fn failed(&self) -> u64 {
        self.server_error as u64
            + self.connect_failed as u64
            + self.reset as u64
            + self.timeout as u64
    }

    /// Tries that ended without the client leaving.
    pub(crate) const fn ended(&self) -> u64 {
        self.ok as u64 + self.client_error as u64 + self.failed()
    }

    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.free, other.free),
            (&mut self.forced, other.forced),
            (&mut self.retry, other.retry),
            (&mut self.ok, other.ok),
            (&mut self.client_error, other.client_error),
            (&mut self.server_error, other.server_error),
            (&mut self.connect_failed, other.connect_failed),
            (&mut self.reset, other.reset),
            (&mut self.timeout, other.timeout),
            (&mut self.cancelled, other.cancelled),
            (&mut self.harmed, other.harmed),
            (&mut self.slow, other.slow),
            (&mut self.in_flight, other.in_flight),
        ];
        for (mine, more) in pairs {
            *mine = mine.saturating_add(more);
        }
    }
}

/// What older epochs still produced in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Late {
    /// Tries that ended.
    pub(crate) ended: u32,
    /// Requests beyond the objective.
    pub(crate) harmed: u32,
    /// Harmed by being slow.
    pub(crate) slow: u32,
}

impl Late {
    fn add(&mut self, cell: &Cell) {
        let ended = u32::try_from(cell.ended()).unwrap_or(u32::MAX);
        self.ended = self.ended.saturating_add(ended);
        self.harmed = self.harmed.saturating_add(cell.harmed);
        self.slow = self.slow.saturating_add(cell.slow);
    }
}

/// Tries of an older epoch at one backend of it, that failed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LateFailure {
    pub(crate) epoch: Epoch,
    /// The backend, by its place in that epoch.
    pub(crate) place: usize,
    /// What came of all tries that ended with them; no picks.
    pub(crate) cell: Cell,
}

impl LateFailure {
    fn of(epoch: Epoch, place: usize, cell: &Cell) -> Option<Self> {
        (cell.failed() > 0).then_some(Self {
            epoch,
            place,
            cell: Cell {
                free: 0,
                forced: 0,
                retry: 0,
                ..*cell
            },
        })
    }
}

/// One second of a pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Row {
    /// Its end.
    pub(crate) at: Mono,
    /// Its end for people.
    pub(crate) wall: Wall,
    /// The epoch of its cells.
    pub(crate) epoch: Epoch,
    /// One per backend of the epoch.
    pub(crate) cells: Vec<Cell>,
    /// From older epochs.
    pub(crate) late: Late,
    /// Those of them that failed.
    pub(crate) late_failures: Vec<LateFailure>,
    /// Requests that no backend could be picked for.
    pub(crate) unpicked: u32,
    /// Part of the harm that is that of single clients: (failed, slow).
    pub(crate) single: (u32, u32),
}

impl Row {
    /// Requests whose harm is that of single clients.
    pub(crate) fn spared(&self) -> u64 {
        u64::from(self.single.0) + u64::from(self.single.1)
    }

    /// Like [`Self::harm`], as if the single clients that carry too much of it were not there.
    pub(crate) fn harm_of_many(&self) -> (u64, u64, u64) {
        let (ended, failed, slow) = self.harm();
        (
            ended.saturating_sub(self.spared()),
            failed.saturating_sub(u64::from(self.single.0)),
            slow.saturating_sub(u64::from(self.single.1)),
        )
    }

    /// (ended, harmed by failing, harmed by being slow) of the whole second.
    pub(crate) fn harm(&self) -> (u64, u64, u64) {
        let mut all = (
            u64::from(self.late.ended) + u64::from(self.unpicked),
            u64::from(self.late.harmed.saturating_sub(self.late.slow)) + u64::from(self.unpicked),
            u64::from(self.late.slow),
        );
        for cell in &self.cells {
            all.0 += cell.ended();
            all.1 += u64::from(cell.harmed.saturating_sub(cell.slow));
            all.2 += u64::from(cell.slow);
        }
        all
    }

    /// Free picks of backend `index`.
    pub(crate) fn free_of(&self, index: usize) -> u64 {
        self.cells.get(index).map_or(0, |cell| u64::from(cell.free))
    }

    /// Free picks.
    pub(crate) fn free(&self) -> u64 {
        self.cells.iter().map(|cell| u64::from(cell.free)).sum()
    }
}

/// Latency of some seconds.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Chunk {
    /// After this.
    pub(crate) from: Mono,
    /// Up to this.
    pub(crate) to: Mono,
    /// The epoch.
    pub(crate) epoch: Epoch,
    /// One per backend.
    pub(crate) latency: Vec<Latency>,
}

/// The counts of one pool.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counts {
    epoch: Epoch,
    size: usize,
    workers: BTreeMap<(WorkerId, Epoch), Vec<BackendTally>>,
    unpicked: BTreeMap<WorkerId, u64>,
    cells: Vec<Cell>,
    latency: Vec<Latency>,
    late: Late,
    late_failures: Vec<LateFailure>,
    unpicked_new: u64,
    clients: ClientSketch,
    /// Free picks of each backend in the running epoch.
    totals: Vec<u64>,
    /// Forced picks and retries in the running epoch.
    others: u64,
    /// Free picks of the second by worker: of each backend in the running epoch, and of all in epochs that are over.
    by_worker: BTreeMap<WorkerId, Vec<u64>>,
    stale: BTreeMap<WorkerId, u64>,
    rows: VecDeque<Row>,
    recent: VecDeque<(Mono, Vec<Latency>)>,
    chunks: VecDeque<Chunk>,
    recent_clients: VecDeque<ClientSketch>,
    /// Seconds that are no longer recent, until they fill a chunk.
    filling: (usize, ClientSketch),
    older_clients: VecDeque<ClientSketch>,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Epoch(0),
            size: 0,
            workers: BTreeMap::new(),
            unpicked: BTreeMap::new(),
            cells: Vec::new(),
            latency: Vec::new(),
            late: Late::default(),
            late_failures: Vec::new(),
            unpicked_new: 0,
            clients: ClientSketch::default(),
            totals: Vec::new(),
            others: 0,
            by_worker: BTreeMap::new(),
            stale: BTreeMap::new(),
            rows: VecDeque::new(),
            recent: VecDeque::new(),
            chunks: VecDeque::new(),
            recent_clients: VecDeque::new(),
            filling: (0, ClientSketch::default()),
            older_clients: VecDeque::new(),
        }
    }

    /// A new epoch of `size` backends begins. What the second holds so far of the old one is closed as late.
    pub(crate) fn begin(&mut self, epoch: Epoch, size: usize) {
        for (place, cell) in self.cells.iter().enumerate() {
            self.late.add(cell);
            self.late_failures
                .extend(LateFailure::of(self.epoch, place, cell));
        }
        self.close_chunk();
        self.epoch = epoch;
        self.size = size;
        self.cells = vec![Cell::default(); size];
        self.latency = vec![Latency::default(); size];
        self.totals = vec![0; size];
        self.others = 0;
        self.by_worker.clear();
        self.stale.clear();
        let oldest = epoch.0.saturating_sub(2 * EPOCHS_KEPT as u64);
        self.workers.retain(|(_, e), _| e.0 >= oldest);
    }

    /// Takes what one worker counted.
    pub(crate) fn take(&mut self, worker: WorkerId, tally: &PoolTally) {
        for counted in tally.epochs.iter().filter(|e| e.epoch <= self.epoch) {
            let key = (worker, counted.epoch);
            let before = self.workers.get(&key);
            if counted.epoch == self.epoch {
                if counted.backends.len() != self.size {
                    continue;
                }
                let mine = self.by_worker.entry(worker).or_default();
                mine.resize(self.size, 0);
                for (index, new) in counted.backends.iter().enumerate() {
                    let old = before.and_then(|b| b.get(index));
                    let cell = difference(new, old);
                    if let Some(mine) = mine.get_mut(index) {
                        *mine += u64::from(cell.free);
                    }
                    if let Some(mine) = self.cells.get_mut(index) {
                        mine.add(&cell);
                    }
                    self.others += u64::from(cell.forced) + u64::from(cell.retry);
                    if let Some(total) = self.totals.get_mut(index) {
                        *total += u64::from(cell.free);
                    }
                    if cell.ended() > 0
                        && let Some(mine) = self.latency.get_mut(index)
                    {
                        add_latency(mine, &new.latency, old.map(|o| &o.latency));
                    }
                }
            } else {
                for (index, new) in counted.backends.iter().enumerate() {
                    let cell = difference(new, before.and_then(|b| b.get(index)));
                    self.late.add(&cell);
                    if cell.free > 0 {
                        *self.stale.entry(worker).or_default() += u64::from(cell.free);
                    }
                    self.late_failures
                        .extend(LateFailure::of(counted.epoch, index, &cell));
                }
            }
            self.workers.insert(key, counted.backends.clone());
        }
        let seen = self.unpicked.entry(worker).or_insert(tally.unpicked);
        self.unpicked_new += tally.unpicked.saturating_sub(*seen);
        *seen = tally.unpicked;
        self.clients.merge(&tally.clients);
    }

    /// All picks of the running epoch.
    pub(crate) fn picks(&self) -> u64 {
        self.totals.iter().sum::<u64>() + self.others
    }

    /// Closes the second; `in_flight` are the samples of its end.
    pub(crate) fn tick(&mut self, at: Mono, wall: Wall, in_flight: impl Iterator<Item = u32>) {
        for (cell, sample) in self.cells.iter_mut().zip(in_flight) {
            cell.in_flight = sample;
        }
        let row = Row {
            at,
            wall,
            epoch: self.epoch,
            cells: std::mem::replace(&mut self.cells, vec![Cell::default(); self.size]),
            late: std::mem::take(&mut self.late),
            late_failures: std::mem::take(&mut self.late_failures),
            unpicked: u32::try_from(std::mem::take(&mut self.unpicked_new)).unwrap_or(u32::MAX),
            single: (0, 0),
        };
        self.rows.push_back(row);
        let keep = (CELLS_MAX / self.size.max(1)).clamp(ROWS.0, ROWS.1);
        while self.rows.len() > keep {
            self.rows.pop_front();
        }
        let latency = std::mem::replace(&mut self.latency, vec![Latency::default(); self.size]);
        self.recent.push_back((at, latency));
        if self.recent.len() > 2 * LATENCY_ROWS {
            self.fold(LATENCY_ROWS);
        }
        self.recent_clients
            .push_back(std::mem::take(&mut self.clients));
        if self.recent_clients.len() > LATENCY_ROWS
            && let Some(oldest) = self.recent_clients.pop_front()
        {
            self.filling.0 += 1;
            self.filling.1.merge(&oldest);
            if self.filling.0 == LATENCY_ROWS {
                let (_, chunk) = std::mem::take(&mut self.filling);
                self.older_clients.push_back(chunk);
            }
            if self.older_clients.len() > CLIENT_CHUNKS_MAX {
                self.older_clients.pop_front();
            }
        }
    }

    /// The second closed last.
    pub(crate) fn last(&self) -> Option<&Row> {
        self.rows.back()
    }

    /// Latency of the second closed last, by backend.
    pub(crate) fn last_latency(&self) -> Option<&[Latency]> {
        self.recent.back().map(|(_, latency)| latency.as_slice())
    }

    /// Seconds, oldest first.
    pub(crate) const fn rows(&self) -> &VecDeque<Row> {
        &self.rows
    }

    /// Free picks of each backend in the running epoch.
    pub(crate) fn totals(&self) -> &[u64] {
        &self.totals
    }

    /// Forced picks and retries in the running epoch.
    pub(crate) const fn others(&self) -> u64 {
        self.others
    }

    /// What each worker picked freely in the second: by backend in the running epoch, and in epochs that are over.
    pub(crate) fn take_by_worker(
        &mut self,
    ) -> (BTreeMap<WorkerId, Vec<u64>>, BTreeMap<WorkerId, u64>) {
        let stale = std::mem::take(&mut self.stale);
        (std::mem::take(&mut self.by_worker), stale)
    }

    /// Workers that counted in the running epoch.
    pub(crate) fn workers(&self) -> usize {
        let mine = |key: &&(WorkerId, Epoch)| key.1 == self.epoch;
        self.workers.keys().filter(mine).count()
    }

    /// Clients of the last [`LATENCY_ROWS`] seconds.
    pub(crate) fn recent_clients(&self) -> ClientSketch {
        let mut all = ClientSketch::default();
        for sketch in &self.recent_clients {
            all.merge(sketch);
        }
        all
    }

    /// Clients of at least the newest `seconds`, in whole chunks, as far as they are kept.
    pub(crate) fn clients(&self, seconds: usize) -> ClientSketch {
        let mut all = self.recent_clients();
        let mut covered = LATENCY_ROWS;
        if covered < seconds {
            all.merge(&self.filling.1);
            covered += self.filling.0;
        }
        for chunk in self.older_clients.iter().rev() {
            if covered >= seconds {
                break;
            }
            all.merge(chunk);
            covered += LATENCY_ROWS;
        }
        all
    }

    /// Sets apart what of the second closed last is the harm of single clients: (failed, slow).
    pub(crate) fn set_apart(&mut self, single: (u32, u32)) {
        if let Some(row) = self.rows.back_mut() {
            row.single = single;
        }
    }

    /// Clients of the second closed last.
    pub(crate) fn last_clients(&self) -> Option<&ClientSketch> {
        self.recent_clients.back()
    }

    /// Sums of the newest `seconds` of the running epoch, and how many seconds that was.
    pub(crate) fn window(&self, seconds: usize) -> (Vec<Cell>, usize) {
        let mut sums = vec![Cell::default(); self.size];
        let mut count = 0;
        for row in self.rows.iter().rev().take(seconds) {
            if row.epoch != self.epoch {
                break;
            }
            count += 1;
            for (sum, cell) in sums.iter_mut().zip(&row.cells) {
                sum.add(cell);
            }
        }
        (sums, count)
    }

    /// Latency after `from` up to `to`, by index in an epoch of `size` backends; in whole chunks.
    pub(crate) fn latency_between(&self, from: Mono, to: Mono, size: usize) -> Vec<Latency> {
        let mut sums = vec![Latency::default(); size];
        let mut add = |latency: &[Latency]| {
            for (sum, one) in sums.iter_mut().zip(latency) {
                sum.add(one);
            }
        };
        for chunk in &self.chunks {
            if chunk.from >= from && chunk.to <= to && chunk.latency.len() == size {
                add(&chunk.latency);
            }
        }
        for (at, latency) in &self.recent {
            if *at > from && *at <= to && latency.len() == size {
                add(latency);
            }
        }
        sums
    }

    /// Folds all but the newest `keep` seconds of latency into a chunk.
    fn fold(&mut self, keep: usize) {
        let count = self.recent.len().saturating_sub(keep);
        let mut folded: Option<Chunk> = None;
        for (at, latency) in self.recent.drain(..count) {
            match &mut folded {
                Some(chunk) if chunk.latency.len() == latency.len() => {
                    chunk.to = at;
                    for (sum, one) in chunk.latency.iter_mut().zip(&latency) {
                        sum.add(one);
                    }
                }
                _ => {
                    let from = at.minus(std::time::Duration::from_secs(1));
                    folded = Some(Chunk {
                        from,
                        to: at,
                        epoch: self.epoch,
                        latency,
                    });
                }
            }
        }
        self.chunks.extend(folded);
        let keep = (CHUNK_CELLS_MAX / self.size.max(1)).clamp(3, CHUNKS_MAX);
        while self.chunks.len() > keep {
            self.chunks.pop_front();
        }
    }

    fn close_chunk(&mut self) {
        self.fold(0);
    }
}

/// What `new` counts beyond `old`.
fn difference(new: &BackendTally, old: Option<&BackendTally>) -> Cell {
    let part = |pick: fn(&BackendTally) -> u64| {
        let before = old.map_or(0, pick);
        u32::try_from(pick(new).saturating_sub(before)).unwrap_or(u32::MAX)
    };
    Cell {
        free: part(|t| t.picks_free),
        forced: part(|t| t.picks_forced),
        retry: part(|t| t.picks_retry),
        ok: part(|t| t.outcomes.ok),
        client_error: part(|t| t.outcomes.client_error),
        server_error: part(|t| t.outcomes.server_error),
        connect_failed: part(|t| t.outcomes.connect_failed),
        reset: part(|t| t.outcomes.reset),
        timeout: part(|t| t.outcomes.timeout),
        cancelled: part(|t| t.outcomes.cancelled),
        harmed: part(|t| t.harmed),
        slow: part(|t| t.slow),
        in_flight: 0,
    }
}

/// Adds to `sum` what `new` counts beyond `old`.
fn add_latency(sum: &mut Latency, new: &Latency, old: Option<&Latency>) {
    for (index, (mine, now)) in sum.buckets.iter_mut().zip(&new.buckets).enumerate() {
        let before = old.and_then(|o| o.buckets.get(index)).copied().unwrap_or(0);
        *mine = mine.saturating_add(now.saturating_sub(before));
    }
}
