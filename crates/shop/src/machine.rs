//! One server as a machine: its name, its worker pool, its faults and its self-report, shared by shop and stub.
//!
//! A request is carried out in a task of its own. A worker of a real server does not notice that its client has
//! left, and neither does ours: an abandoned request keeps its place and its slot, without which a retry storm
//! could not feed itself.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep};

use crate::capacity::{Capacity, Overflow, Usage, WorkerPool, hold};
use crate::fault::{Faults, HealthAnswer};
use crate::meter::{CpuSource, Meter};

/// Names the instance that answered.
pub(crate) const INSTANCE_HEADER: HeaderName = HeaderName::from_static("x-shop-instance");
/// Names the version that answered.
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-shop-version");
/// Names the zone of the instance that answered.
pub(crate) const ZONE_HEADER: HeaderName = HeaderName::from_static("x-shop-zone");
/// ORCA load report.
pub(crate) const METRICS_HEADER: HeaderName = HeaderName::from_static("endpoint-load-metrics");

/// Requests held, waiting ones included, for balancers that choose by it.
pub(crate) const IN_FLIGHT_HEADER: HeaderName = HeaderName::from_static("x-prequal-rif");

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue was full.
    Full,
    /// An injected error.
    Failed,
    /// The connection is to be cut.
    Cut,
}

/// Set when the connection it belongs to is to be cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The machine.
pub(crate) struct Machine {
    name: HeaderValue,
    zone: Option<HeaderValue>,
    pool: Arc<WorkerPool>,
    faults: Faults,
    meter: Meter,
    leaving: AtomicBool,
    /// Open connections.
    pub(crate) connections: AtomicU32,
}

impl Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("name", &self.name)
            .field("usage", &self.pool.usage())
            .finish_non_exhaustive()
    }
}

impl Machine {
    pub(crate) fn new(
        identity: &Identity,
        capacity: Capacity,
        source: CpuSource,
    ) -> Result<Arc<Self>, IdentityError> {
        let slots = capacity.workers;
        let zone = identity.zone.as_deref().map(value).transpose()?;
        // The version is checked like the others and then kept as text, because a release replaces it.
        value(&identity.version)?;
        Ok(Arc::new(Self {
            name: value(&identity.name)?,
            zone,
            pool: WorkerPool::new(capacity),
            faults: Faults::new(&identity.version),
            meter: Meter::new(source, slots),
            leaving: AtomicBool::new(false),
            connections: AtomicU32::new(0),
        }))
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn usage(&self) -> Usage {
        self.pool.usage()
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        self.pool.capacity()
    }

    /// From now on `/readyz` fails, so that nobody sends new work.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Carries out `work` in a slot. `work` learns for how long the slot will be held; `factor` multiplies the
    /// service time of this request alone.
    pub(crate) async fn perform<T, W, F>(
        self: &Arc<Self>,
        factor: f64,
        work: W,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        W: FnOnce(Duration) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let effects = self.faults.effects();
        if self.strikes(effects.reset) {
            return Err(Refusal::Cut);
        }
        if self.strikes(effects.fail_fast) {
            return Err(Refusal::Failed);
        }
        let machine = Arc::clone(self);
        tokio::spawn(async move { machine.carry_out(factor, work).await })
            .await
            .unwrap_or(Err(Refusal::Failed))
    }

    async fn carry_out<T, W, F>(&self, factor: f64, work: W) -> Result<T, Refusal>
    where
        W: FnOnce(Duration) -> F,
        F: Future<Output = T>,
    {
        let slot = self.pool.admit().await.map_err(|_full| Refusal::Full)?;
        let began = Instant::now();
        if self.strikes(self.faults.effects().hang) {
            self.faults.wait_until(|e| e.hang <= 0.0).await;
        }
        let effects = self.faults.effects();
        let service = self.pool.draw_service().as_secs_f64() * factor * effects.factor;
        let held = hold(service) + effects.extra;
        if self.strikes(effects.error_rate) {
            slot.finish(held, began.elapsed()).await;
            return Err(Refusal::Failed);
        }
        let value = work(held).await;
        slot.finish(held, began.elapsed()).await;
        Ok(value)
    }

    fn strikes(&self, rate: f64) -> bool {
        rate > 0.0 && self.pool.draw() < rate
    }

    /// The answer to a health check, from outside the pool.
    pub(crate) async fn health(&self) -> StatusCode {
        let effects = self.faults.effects();
        if !effects.health_latency.is_zero() {
            sleep(effects.health_latency).await;
        }
        if effects.health == HealthAnswer::Hang {
            self.faults
                .wait_until(|e| e.health != HealthAnswer::Hang)
                .await;
        }
        match self.faults.effects().health {
            HealthAnswer::Fail => StatusCode::SERVICE_UNAVAILABLE,
            HealthAnswer::Ok | HealthAnswer::Hang => StatusCode::OK,
        }
    }

    /// What the client of a refused request gets.
    pub(crate) fn refuse(&self, refusal: Refusal, cut: &Cut) -> Response {
        let close = refusal == Refusal::Cut
            || (refusal == Refusal::Full && self.capacity().overflow == Overflow::Close);
        if close {
            cut.now();
        }
        match refusal {
            Refusal::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "1")],
                "the queue is full\n",
            )
                .into_response(),
            Refusal::Failed | Refusal::Cut => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response()
            }
        }
    }

    /// Puts name, version, zone and load report on a response, and counts it.
    pub(crate) fn stamp(&self, response: &mut Response<Body>) {
        let error = response.status().is_server_error();
        let metrics = self.meter.count(error, || self.pool.usage());
        let usage = self.pool.usage();
        let headers = response.headers_mut();
        headers.insert(INSTANCE_HEADER, self.name.clone());
        if let Ok(version) = HeaderValue::from_str(&self.faults.running().version) {
            headers.insert(VERSION_HEADER, version);
        }
        if let Some(zone) = &self.zone {
            headers.insert(ZONE_HEADER, zone.clone());
        }
        headers.insert(METRICS_HEADER, metrics);
        headers.insert(IN_FLIGHT_HEADER, (usage.busy + usage.waiting).into());
    }
}

/// Who a server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) zone: Option<String>,
}

/// A name that does not fit into a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name, version or zone must be 1 to 63 printable ASCII characters, got `{0}`")]
pub struct IdentityError(String);

fn value(text: &str) -> Result<HeaderValue, IdentityError> {
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match HeaderValue::from_str(text) {
        Ok(value) if fits => Ok(value),
        _ => Err(IdentityError(text.to_owned())),
    }
}
