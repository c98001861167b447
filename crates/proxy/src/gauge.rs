//! What every worker must see of a backend at once: requests in flight and the utilisation that it reports.
//!
//! Tallies are per worker because a share needs no more. `least_request`, `max_in_flight` and the page need
//! the sum over workers at this instant, so these few numbers are atomics, alone on their cache lines. They are
//! kept by (pool, backend name) and survive every reload, so a swap never makes a busy backend look idle.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_balance::adaptive::{Limiter, Ticket};
use evenkeel_balance::{How, KeyTable, Member};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Adaptive, Config, HashKey, Listener, Pool};
use evenkeel_model::ids::Name;
use evenkeel_model::tally::{RouteKey, Vitals};

use crate::gate::{self, Gate};
use crate::hedge::HedgeCells;
use crate::orca::Report;
use crate::probe::ProbeCells;
use crate::rate::Rates;
use crate::sticky::StickyKey;
use crate::tls::{Dial, Dialer, HandshakeCells, KeyRing, Terminator, TlsError};
use crate::traffic::BackendCells;
use crate::tunnel::TunnelCells;

/// A reported utilisation older than this is no longer shown: the backend may have stopped reporting.
pub const REPORT_FRESH: Duration = Duration::from_secs(10);

/// Live numbers of one backend over all workers. Two cache lines, because x86 prefetches them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct BackendGauge {
    in_flight: AtomicU32,
    found: Found,
    tunnels: TunnelCells,
    traffic: BackendCells,
    /// Bits of an `f64`; NaN: never reported.
    cpu: AtomicU64,
    memory: AtomicU64,
    application: AtomicU64,
    reported_at_ns: AtomicU64,
}

impl Default for BackendGauge {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            found: Found::default(),
            tunnels: TunnelCells::default(),
            traffic: BackendCells::default(),
            cpu: AtomicU64::new(f64::NAN.to_bits()),
            memory: AtomicU64::new(f64::NAN.to_bits()),
            application: AtomicU64::new(f64::NAN.to_bits()),
            reported_at_ns: AtomicU64::new(0),
        }
    }
}

impl BackendGauge {
    /// Requests in flight over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Books one more request unless there are `limit`; whoever gets `true` calls [`BackendGauge::leave`].
    pub(crate) fn try_enter(&self, limit: Option<u32>) -> bool {
        gate::enter(&self.in_flight, limit)
    }

    /// The limit that is found out.
    pub(crate) const fn found(&self) -> &Found {
        &self.found
    }

    /// Its tunnels.
    pub(crate) const fn tunnels(&self) -> &TunnelCells {
        &self.tunnels
    }

    /// What passed.
    pub(crate) const fn traffic(&self) -> &BackendCells {
        &self.traffic
    }

    /// Ends a booking.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Stores what the backend reported; what it leaves out is unknown from now on.
    pub(crate) fn report(&self, report: &Report, now: Mono) {
        let store = |cell: &AtomicU64, value: Option<f64>| {
            cell.store(value.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
        };
        store(&self.cpu, report.cpu);
        store(&self.memory, report.memory);
        store(&self.application, report.application);
        self.reported_at_ns.store(now.0, Ordering::Relaxed);
    }

    /// The numbers at `now`; a report older than [`REPORT_FRESH`] is unknown.
    pub fn vitals(&self, now: Mono) -> Vitals {
        let age = now.since(Mono(self.reported_at_ns.load(Ordering::Relaxed)));
        let fresh = age <= REPORT_FRESH;
        let value = |cell: &AtomicU64| {
            let value = f64::from_bits(cell.load(Ordering::Relaxed));
            (fresh && !value.is_nan()).then_some(value)
        };
        Vitals {
            in_flight: self.in_flight(),
            limit: None,
            cpu: value(&self.cpu),
            memory: value(&self.memory),
            application: value(&self.application),
            age,
        }
    }
}

/// The limit of a backend that is found out from its response times, one for all workers. Only pools with `adaptive`
/// ask for it; the lock is held for a few steps in memory.
#[derive(Debug)]
pub(crate) struct Found {
    /// What may be in flight now, for who only asks.
    level: AtomicU32,
    limit: AtomicU32,
    limiter: Mutex<Limiter>,
    /// Its time begins here.
    origin: Instant,
}

impl Default for Found {
    fn default() -> Self {
        let limiter = Limiter::default();
        Self {
            level: AtomicU32::new(limiter.level()),
            limit: AtomicU32::new(limiter.limit()),
            limiter: Mutex::new(limiter),
            origin: Instant::now(),
        }
    }
}

impl Found {
    /// What may be in flight now.
    pub(crate) fn level(&self) -> u32 {
        self.level.load(Ordering::SeqCst)
    }

    /// The limit, which is above [`Found::level`] while half of it is tried.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Keeps within `bounds` from now on; what was found stays.
    pub(crate) fn bound(&self, bounds: Adaptive) {
        self.with(|limiter| limiter.bound(bounds));
    }

    /// A request begins, with so many in flight.
    pub(crate) fn begun(&self, in_flight: u32) -> Option<Ticket> {
        self.with(|limiter| limiter.begun(in_flight))
    }

    /// A request that began with `ticket` ended. Returns whether more may be in flight than before.
    pub(crate) fn ended(
        &self,
        now: Instant,
        ticket: Option<Ticket>,
        took: Duration,
        how: How,
    ) -> bool {
        let passed = now.saturating_duration_since(self.origin);
        let now = Mono::ZERO.plus(passed);
        self.with(|limiter| match ticket {
            Some(ticket) => limiter.ended(now, ticket, took, how),
            None => limiter.turned(now),
        })
    }

    /// What had ended as an answer broke off after its head.
    pub(crate) fn broke(&self, ticket: Ticket) {
        self.with(|limiter| limiter.broke(ticket));
    }

    fn with<T>(&self, step: impl FnOnce(&mut Limiter) -> T) -> T {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let out = step(&mut limiter);
        self.limit.store(limiter.limit(), Ordering::Relaxed);
        self.level.store(limiter.level(), Ordering::SeqCst);
        out
    }
}

/// Requests in flight in a whole pool over all workers, kept where a bounded load or a limit asks for it at every pick.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct PoolGauge(AtomicU32);

impl PoolGauge {
    pub(crate) fn in_flight(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Books one more unless there are `limit`; whoever gets `true` calls [`PoolGauge::leave`].
    pub(crate) fn try_enter(&self, limit: Option<u32>) -> bool {
        gate::enter(&self.0, limit)
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The gauges of every backend that was ever configured in this process, by (pool, backend).
///
/// With them what else of a pool outlives a snapshot: its sum and its table of keys.
///
/// Cloning gives a further handle to the same gauges. Locked only when a snapshot is built, never by a request.
#[derive(Debug, Clone, Default)]
pub struct Gauges(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    backends: BTreeMap<(Name, Name), Arc<BackendGauge>>,
    pools: BTreeMap<Name, Arc<PoolGauge>>,
    keys: BTreeMap<Name, Arc<KeyTable>>,
    sticky: Option<StickyKey>,
    gates: BTreeMap<Name, Arc<Gate>>,
    hedges: BTreeMap<Name, Arc<HedgeCells>>,
    probes: BTreeMap<Name, Arc<ProbeCells>>,
    rates: BTreeMap<RouteKey, Arc<Rates>>,
    ring: KeyRing,
    terminators: BTreeMap<Name, Arc<Terminator>>,
    handshakes: BTreeMap<Name, Arc<HandshakeCells>>,
    dialers: BTreeMap<Name, Arc<Dialer>>,
    dials: BTreeMap<(Name, Name), Arc<Dial>>,
    /// Dials that were ever made.
    dialled: u64,
}

impl Gauges {
    /// The gauge of `backend` in `pool`, made on first use.
    pub fn get(&self, pool: &Name, backend: &Name) -> Arc<BackendGauge> {
        let mut kept = self.lock();
        let key = (pool.clone(), backend.clone());
        Arc::clone(kept.backends.entry(key).or_default())
    }

    /// Gauges of an instance whose sticky cookies are signed with `key`, and whose certificates `ring` holds.
    pub fn with_keys(key: StickyKey, ring: KeyRing) -> Self {
        let gauges = Self::default();
        let mut kept = gauges.lock();
        kept.sticky = Some(key);
        kept.ring = ring;
        drop(kept);
        gauges
    }

    /// The files that listeners speak TLS with.
    pub fn ring(&self) -> KeyRing {
        self.lock().ring.clone()
    }

    /// What `listener` of `config` speaks TLS with; `None`: it does not.
    pub(crate) fn terminator(
        &self,
        listener: &Listener,
        config: &Config,
    ) -> Result<Option<Arc<Terminator>>, TlsError> {
        let Some(tls) = &listener.tls else {
            return Ok(None);
        };
        let (ring, before) = {
            let kept = self.lock();
            (
                kept.ring.clone(),
                kept.terminators.get(&listener.name).map(Arc::clone),
            )
        };
        let terminator = Terminator::of(listener, tls, config, &ring, before.as_ref())?;
        let mut kept = self.lock();
        kept.terminators
            .insert(listener.name.clone(), Arc::clone(&terminator));
        Ok(Some(terminator))
    }

    /// What became of handshakes on `listener`, made on first use.
    pub(crate) fn handshakes(&self, listener: &Name) -> Arc<HandshakeCells> {
        let mut kept = self.lock();
        Arc::clone(kept.handshakes.entry(listener.clone()).or_default())
    }

    /// How each backend of `pool` is spoken to by TLS, in file order; empty: they speak plain HTTP.
    pub(crate) fn dials(&self, pool: &Pool, config: &Config) -> Result<Vec<Arc<Dial>>, TlsError> {
        let Some(tls) = &pool.tls else {
            return Ok(Vec::new());
        };
        let (ring, before) = {
            let kept = self.lock();
            let before = kept.dialers.get(&pool.name).map(Arc::clone);
            (kept.ring.clone(), before)
        };
        let dialer = Dialer::of((pool, tls), config, &ring, before.as_ref())?;
        let mut kept = self.lock();
        let kept = &mut *kept;
        kept.dialers.insert(pool.name.clone(), Arc::clone(&dialer));
        let dials = pool.backends.iter().map(|backend| {
            let key = (pool.name.clone(), backend.name.clone());
            let before = kept.dials.get(&key);
            let dial = Dial::of(&dialer, (pool, backend), before, || {
                kept.dialled += 1;
                kept.dialled
            })?;
            kept.dials.insert(key, Arc::clone(&dial));
            Ok(dial)
        });
        dials.collect()
    }

    /// The key of sticky cookies: the one given, else one of this process, with which cookies do not outlive it.
    pub(crate) fn sticky_key(&self) -> Result<StickyKey, getrandom::Error> {
        let mut kept = self.lock();
        if let Some(key) = &kept.sticky {
            return Ok(key.clone());
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let key = StickyKey::new(bytes);
        kept.sticky = Some(key.clone());
        Ok(key)
    }

    /// The gauge of all of `pool`, made on first use.
    pub(crate) fn pool(&self, pool: &Name) -> Arc<PoolGauge> {
        Arc::clone(self.lock().pools.entry(pool.clone()).or_default())
    }

    /// What came on `route` by what `by` says: the one there is while it fits, else a new one.
    pub(crate) fn rates(&self, route: &RouteKey, by: Option<&HashKey>) -> Arc<Rates> {
        let mut kept = self.lock();
        let known = kept.rates.get(route).filter(|rates| rates.fits(by));
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let new = Arc::new(Rates::new(by.cloned()));
        kept.rates.insert(route.clone(), Arc::clone(&new));
        new
    }

    /// What became of second tries in `pool`, made on first use.
    pub(crate) fn hedges(&self, pool: &Name) -> Arc<HedgeCells> {
        Arc::clone(self.lock().hedges.entry(pool.clone()).or_default())
    }

    /// What became of probes in `pool`, made on first use.
    pub(crate) fn probes(&self, pool: &Name) -> Arc<ProbeCells> {
        Arc::clone(self.lock().probes.entry(pool.clone()).or_default())
    }

    /// The gate of `pool`, made on first use.
    pub(crate) fn gate(&self, pool: &Name) -> Arc<Gate> {
        Arc::clone(self.lock().gates.entry(pool.clone()).or_default())
    }

    /// The table of keys of `pool` for `members`: the one there is while it fits, else a new one, which costs what
    /// [`KeyTable::of_pool`] says. `None` where the algorithm is no hash.
    pub(crate) fn keys(&self, pool: &Pool, members: &[Member]) -> Option<Arc<KeyTable>> {
        let name = &pool.name;
        let known = self.lock().keys.get(name).map(Arc::clone);
        if let Some(known) = known.filter(|table| table.fits_pool(pool, members)) {
            return Some(known);
        }
        let table = KeyTable::of_pool(pool, members).map(Arc::new);
        match &table {
            Some(table) => self.lock().keys.insert(name.clone(), Arc::clone(table)),
            None => self.lock().keys.remove(name),
        };
        table
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the gauges that no snapshot holds any more and that `keeps` does not name: backends that were found and
    /// are gone would pile up.
    pub fn retain(&self, keeps: impl Fn(&Name, &Name) -> bool) {
        let is_kept = |(pool, backend): &(Name, Name)| keeps(pool, backend);
        let held = |gauge: &Arc<BackendGauge>| Arc::strong_count(gauge) > 1;
        let mut kept = self.lock();
        kept.backends
            .retain(|name, gauge| held(gauge) || is_kept(name));
        kept.dials
            .retain(|name, dial| Arc::strong_count(dial) > 1 || is_kept(name));
    }
}

#[cfg(test)]
mod tests {
    use super::{Gauges, REPORT_FRESH, Report};
    use evenkeel_model::clock::Mono;
    use evenkeel_model::ids::Name;
    use std::time::Duration;

    #[test]
    fn a_gauge_survives_by_name() {
        let gauges = Gauges::default();
        let (pool, backend) = (Name::new("shop").unwrap(), Name::new("web-1").unwrap());
        assert!(gauges.get(&pool, &backend).try_enter(Some(1)));
        assert!(!gauges.get(&pool, &backend).try_enter(Some(1)));
        assert_eq!(gauges.get(&pool, &backend).in_flight(), 1);
        gauges.get(&pool, &backend).leave();
        assert_eq!(gauges.get(&pool, &backend).in_flight(), 0);
    }

    #[test]
    fn an_old_report_is_unknown() {
        let gauges = Gauges::default();
        let name = Name::new("x").unwrap();
        let gauge = gauges.get(&name, &name);
        assert_eq!(gauge.vitals(Mono::ZERO).cpu, None);
        let report = Report {
            cpu: Some(0.5),
            ..Report::default()
        };
        gauge.report(&report, Mono::from_secs(1));
        let vitals = gauge.vitals(Mono::from_secs(2));
        assert_eq!((vitals.cpu, vitals.memory), (Some(0.5), None));
        assert_eq!(vitals.age, Duration::from_secs(1));
        let late = Mono::from_secs(1).plus(REPORT_FRESH + Duration::from_millis(1));
        assert_eq!(gauge.vitals(late).cpu, None);
        gauge.report(&report, Mono::from_secs(30));
        let of_memory = Report {
            memory: Some(0.1),
            ..Report::default()
        };
        gauge.report(&of_memory, Mono::from_secs(60));
        let vitals = gauge.vitals(Mono::from_secs(60));
        assert_eq!((vitals.cpu, vitals.memory), (None, Some(0.1)));
    }
}
