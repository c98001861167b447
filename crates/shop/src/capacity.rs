//! The worker pool that gives a server its physical capacity.
//!
//! A request takes one of `workers` slots for its service time, waits in a first-in-first-out queue when none
//! is free, and is turned away when the queue is full: `workers / service_time` requests per second and not one
//! more. Timers fire up to two milliseconds late, which would cost a 20 ms service time 5 to 10 % of its
//! capacity; so a slot that is handed on starts its next request at the instant at which the last one was *due*
//! to end, and lateness never adds up.
//!
//! Limits: one queue, no priorities; durations beyond a day are cut to a day.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_model::rng::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Most slots of one server.
pub const WORKERS_MAX: u32 = 10_000;
/// Longest queue of one server.
pub const QUEUE_MAX: u32 = 100_000;
/// Longest time one request may hold a slot.
pub const HOLD_MAX: Duration = Duration::from_hours(24);

/// How service times are spread around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Every request takes the mean.
    #[default]
    Constant,
    /// Exponential with that mean.
    Exponential,
}

/// What happens to a request that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// 503 with `Retry-After`.
    #[default]
    Reject,
    /// The connection is cut without an answer.
    Close,
}

/// A server that has just started is slower: its service time is multiplied by `factor`, which falls in a
/// straight line to 1 over `duration`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColdStart {
    /// How long it lasts.
    pub duration: Duration,
    /// Multiplier of the service time at the start; 1 or more.
    pub factor: f64,
}

/// What a server can carry: `workers / service_time` requests per second.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// Requests served at the same time; 1 to [`WORKERS_MAX`].
    pub workers: u32,
    /// Mean time for which a request holds its slot.
    pub service_time: Duration,
    /// How service times are spread.
    pub distribution: Distribution,
    /// Requests that may wait; up to [`QUEUE_MAX`].
    pub queue: u32,
    /// What happens beyond the queue.
    pub overflow: Overflow,
    /// Open connections beyond which new ones are closed at once; `None`: no limit.
    pub connections: Option<u32>,
    /// Slowness after the start, if any.
    pub cold_start: Option<ColdStart>,
    /// Seed of the service times and of the faults' draws.
    pub seed: u64,
}

impl Default for Capacity {
    /// The reference backend: 12 workers of 20 ms carry 600 requests per second, 200 may wait.
    fn default() -> Self {
        Self {
            workers: 12,
            service_time: Duration::from_millis(20),
            distribution: Distribution::Constant,
            queue: 200,
            overflow: Overflow::Reject,
            connections: None,
            cold_start: None,
            seed: 1,
        }
    }
}

/// The queue was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What the pool is doing and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Slots taken.
    pub busy: u32,
    /// Requests in the queue.
    pub waiting: u32,
    /// Requests that got a slot, since the start.
    pub admitted: u64,
    /// Requests that found the queue full, since the start.
    pub rejected: u64,
    /// Slot-nanoseconds in use, since the start.
    pub busy_ns: u64,
}

struct Waiter {
    arrived: Instant,
    wake: oneshot::Sender<Slot>,
}

struct State {
    usage: Usage,
    changed: Instant,
    queue: VecDeque<Waiter>,
    rng: Rng,
}

impl State {
    fn account(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.changed).as_nanos() as u64;
        self.usage.busy_ns += elapsed.saturating_mul(u64::from(self.usage.busy));
        self.changed = self.changed.max(now);
    }
}

/// The pool: slots, queue and their counts.
pub(crate) struct WorkerPool {
    capacity: Capacity,
    started: Instant,
    state: Mutex<State>,
}

/// A slot, held until it is dropped.
pub(crate) struct Slot {
    /// `None` once it was given back.
    pool: Option<Arc<WorkerPool>>,
    /// When the service of this request began: not later than the moment at which the slot was received.
    start: Instant,
    /// When it was due to end, once known.
    due: Option<Instant>,
}

impl WorkerPool {
    pub(crate) fn new(capacity: Capacity) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            started: now,
            state: Mutex::new(State {
                usage: Usage::default(),
                changed: now,
                queue: VecDeque::new(),
                rng: Rng::new(capacity.seed),
            }),
            capacity,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot, or learns at once that the queue is full.
    pub(crate) async fn admit(self: &Arc<Self>) -> Result<Slot, Full> {
        let receiver = {
            let mut state = self.lock();
            let now = Instant::now();
            if state.usage.busy < self.workers() {
                state.account(now);
                state.usage.busy += 1;
                state.usage.admitted += 1;
                return Ok(Slot {
                    pool: Some(Arc::clone(self)),
                    start: now,
                    due: None,
                });
            }
            if state.usage.waiting >= self.capacity.queue.min(QUEUE_MAX) {
                state.usage.rejected += 1;
                return Err(Full);
            }
            let (wake, receiver) = oneshot::channel();
            state.usage.waiting += 1;
            state.queue.push_back(Waiter { arrived: now, wake });
            receiver
        };
        receiver.await.map_err(|_closed| Full)
    }

    fn workers(&self) -> u32 {
        self.capacity.workers.clamp(1, WORKERS_MAX)
    }

    /// The service time of the next request, before faults.
    pub(crate) fn draw_service(&self) -> Duration {
        let mean = self.capacity.service_time.as_secs_f64();
        let drawn = match self.capacity.distribution {
            Distribution::Constant => mean,
            Distribution::Exponential => self.lock().rng.exponential(mean),
        };
        hold(drawn * self.warmth(Instant::now()))
    }

    /// A draw from `[0, 1)`, for faults with a rate.
    pub(crate) fn draw(&self) -> f64 {
        self.lock().rng.unit()
    }

    fn warmth(&self, now: Instant) -> f64 {
        let Some(cold) = self.capacity.cold_start else {
            return 1.0;
        };
        let age = now.saturating_duration_since(self.started).as_secs_f64();
        let whole = cold.duration.as_secs_f64();
        if whole <= 0.0 || age >= whole {
            return 1.0;
        }
        1.0 + (cold.factor.max(1.0) - 1.0) * (1.0 - age / whole)
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut state = self.lock();
        state.account(Instant::now());
        state.usage
    }

    /// Hands a slot that fell free at `end` to the first waiter that still listens.
    fn release(self: &Arc<Self>, end: Instant) {
        let mut state = self.lock();
        loop {
            let Some(waiter) = state.queue.pop_front() else {
                state.account(Instant::now());
                state.usage.busy = state.usage.busy.saturating_sub(1);
                return;
            };
            state.usage.waiting = state.usage.waiting.saturating_sub(1);
            let slot = Slot {
                pool: Some(Arc::clone(self)),
                start: end.max(waiter.arrived),
                due: None,
            };
            match waiter.wake.send(slot) {
                Ok(()) => {
                    state.usage.admitted += 1;
                    return;
                }
                // Dropping an armed slot here would release it again under the lock.
                Err(mut slot) => slot.pool = None,
            }
        }
    }
}

impl Slot {
    /// Ends the request `held` after it began, or now when the work took longer.
    pub(crate) async fn finish(mut self, held: Duration, worked: Duration) {
        let due = self.start + held.max(worked).min(HOLD_MAX);
        self.due = Some(due);
        sleep_until(due).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.release(self.due.unwrap_or_else(Instant::now));
        }
    }
}

/// A number of seconds as a time for which a slot is held; negative and undefined ones are zero.
pub(crate) fn hold(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or(HOLD_MAX)
        .min(HOLD_MAX)
}

#[cfg(test)]
mod tests {
    use super::{Capacity, ColdStart, Distribution, Full, WorkerPool};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    /// Offers `rate` requests per second, evenly, for `seconds` of virtual time; gives the counts at the end.
    async fn offer(capacity: Capacity, rate: u64, seconds: u64) -> (u64, u64) {
        let pool = WorkerPool::new(capacity);
        let start = Instant::now();
        for n in 0..rate * seconds {
            tokio::time::sleep_until(start + Duration::from_nanos(n * 1_000_000_000 / rate)).await;
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                if let Ok(slot) = pool.admit().await {
                    let held = pool.draw_service();
                    slot.finish(held, Duration::ZERO).await;
                }
            });
            tokio::task::yield_now().await;
        }
        tokio::time::sleep_until(start + Duration::from_secs(seconds)).await;
        let usage = pool.usage();
        (usage.admitted, usage.rejected)
    }

    #[tokio::test(start_paused = true)]
    async fn twelve_workers_of_twenty_ms_carry_600_per_second_and_no_more() {
        for rate in [900, 2_000] {
            let (admitted, rejected) = offer(Capacity::default(), rate, 10).await;
            // 6,000 in ten seconds, and those that had just got a slot at the end.
            assert!((5_980..=6_020).contains(&admitted), "{rate}: {admitted}");
            assert!(
                (rate * 10 - admitted - rejected) <= 201,
                "{rate}: {rejected}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn below_its_capacity_nothing_is_turned_away() {
        let (admitted, rejected) = offer(Capacity::default(), 590, 10).await;
        assert_eq!((admitted, rejected), (5_900, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn timers_that_fire_late_cost_no_capacity() {
        // 1.3 ms is no multiple of the timer's millisecond: each sleep ends late.
        let capacity = Capacity {
            workers: 1,
            service_time: Duration::from_micros(1_300),
            ..Capacity::default()
        };
        let (admitted, _) = offer(capacity, 1_500, 10).await;
        assert!((7_680..=7_700).contains(&admitted), "{admitted}");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_slots_and_queue_a_request_is_turned_away_at_once() {
        let pool = WorkerPool::new(Capacity::default());
        for _ in 0..212 {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let slot = pool.admit().await.ok();
                sleep(Duration::from_secs(60)).await;
                drop(slot);
            });
        }
        sleep(Duration::from_millis(1)).await;
        let before = pool.usage();
        assert_eq!((before.busy, before.waiting), (12, 200));
        assert!(matches!(pool.admit().await, Err(Full)));
        assert_eq!(pool.usage().rejected, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_served_in_the_order_of_arrival() {
        let pool = WorkerPool::new(Capacity {
            workers: 1,
            ..Capacity::default()
        });
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for n in 0..50 {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            tokio::spawn(async move {
                let Ok(slot) = pool.admit().await else { return };
                order.lock().unwrap().push(n);
                slot.finish(Duration::from_millis(1), Duration::ZERO).await;
            });
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gave_up_does_not_keep_the_slot() {
        let pool = WorkerPool::new(Capacity {
            workers: 1,
            ..Capacity::default()
        });
        let slot = pool.admit().await;
        let waiting = Arc::clone(&pool);
        let gone = tokio::spawn(async move { waiting.admit().await.map(drop) });
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(slot);
        assert_eq!((pool.usage().busy, pool.usage().waiting), (0, 0));
        assert!(pool.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn exponential_service_times_keep_their_mean_and_a_cold_start_wears_off() {
        let pool = WorkerPool::new(Capacity {
            distribution: Distribution::Exponential,
            ..Capacity::default()
        });
        let sum: f64 = (0..20_000).map(|_| pool.draw_service().as_secs_f64()).sum();
        assert!((sum / 20_000.0 - 0.02).abs() < 0.001, "{sum}");
        let cold = WorkerPool::new(Capacity {
            cold_start: Some(ColdStart {
                duration: Duration::from_secs(10),
                factor: 5.0,
            }),
            ..Capacity::default()
        });
        assert_eq!(cold.draw_service(), Duration::from_millis(100));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cold.draw_service(), Duration::from_millis(60));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cold.draw_service(), Duration::from_millis(20));
    }
}
