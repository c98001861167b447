//! One backend: slots with a queue in front, what is wrong with it, and how it answers a health check.
//!
//! It works on what it took even when the balancer no longer waits for it, as servers do that notice a closed
//! connection only when they write: that is what makes an overload last.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::config::{Health, HttpCheck};
use evenkeel_model::rng::Rng;

use super::queue::Ref;
use super::source::exponential;
use super::spec::{
    BackendModel, Dependency, Fault, Flap, HealthFault, NetworkFault, Overflow, Probe, ServiceTime,
};

/// Standard normal quantile of 0.99.
const Z99: f64 = 2.326_347_874_040_841;

#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) model: BackendModel,
    pub(crate) fault: Fault,
    pub(crate) network: NetworkFault,
    /// What the whole pool suffers from.
    pub(crate) dependency: Dependency,
    /// Requests of the balancer waiting for it, over all workers.
    pub(crate) in_flight: u32,
    /// When the present fault was set: the phase of what flaps.
    fault_since: u64,
    down_until: u64,
    /// When it began to warm up.
    cold_since: Option<u64>,
    busy: u32,
    waiting: VecDeque<Ref>,
    /// Slot-nanoseconds worked up to `counted_at`.
    worked: u128,
    counted_at: u64,
    /// The same at the last sample.
    sampled: (u128, u64),
    rng: Rng,
}

/// What a backend does with a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Connection refused.
    Refused,
    /// Taken, and nothing will ever come back.
    Silent,
    /// Answered at once, without a slot.
    Answered(u16),
    /// In a slot; done after so many nanoseconds.
    Started(u64),
    /// Waiting for a slot.
    Queued,
}

impl Station {
    pub(crate) fn new(model: BackendModel, rng: Rng, now: u64) -> Self {
        Self {
            model,
            fault: Fault::default(),
            network: NetworkFault::default(),
            dependency: Dependency::default(),
            in_flight: 0,
            fault_since: now,
            down_until: 0,
            // Warm at the start of the simulation, cold when it joins later.
            cold_since: (now > 0).then_some(now),
            busy: 0,
            waiting: VecDeque::new(),
            worked: 0,
            counted_at: now,
            sampled: (0, now),
            rng,
        }
    }

    pub(crate) fn set_fault(&mut self, fault: Fault, now: u64) {
        self.fault = fault;
        self.fault_since = now;
    }

    /// Stops, dropping all it holds, and comes back cold.
    pub(crate) fn restart(&mut self, now: u64, down_for: u64) {
        self.count(now);
        self.busy = 0;
        self.waiting.clear();
        self.down_until = now.saturating_add(down_for);
        self.cold_since = Some(self.down_until);
    }

    pub(crate) fn admit(&mut self, try_ref: Ref, cost: f64, now: u64) -> Admission {
        let connections = self.busy as usize + self.waiting.len();
        let full = self
            .model
            .connections_max
            .is_some_and(|max| connections >= max as usize);
        if !self.accepts(now) || full {
            return Admission::Refused;
        }
        if self.fault.hangs {
            return Admission::Silent;
        }
        if let Some(status) = self.fault.fails_fast {
            return Admission::Answered(status);
        }
        if self.busy < self.model.slots.max(1) {
            self.count(now);
            self.busy += 1;
            return Admission::Started(self.service_ns(cost, now));
        }
        if self.waiting.len() < self.model.queue_max as usize {
            self.waiting.push_back(try_ref);
            return Admission::Queued;
        }
        match self.model.overflow {
            Overflow::Reject => Admission::Answered(503),
            Overflow::Hang => Admission::Silent,
        }
    }

    /// A slot is free; the try that takes it, if one waits.
    pub(crate) fn release(&mut self, now: u64) -> Option<Ref> {
        self.count(now);
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.busy = self.busy.saturating_sub(1);
        }
        next
    }

    /// Draws how long a slot is taken.
    pub(crate) fn service_ns(&mut self, cost: f64, now: u64) -> u64 {
        let factor = cost.max(0.0)
            * self.fault.slow_factor
            * self.dependency.slow_factor
            * self.coldness(now);
        let base = match self.model.service {
            ServiceTime::Constant(mean) => mean.as_secs_f64(),
            ServiceTime::Exponential(mean) => exponential(&mut self.rng, mean.as_secs_f64()),
            ServiceTime::Lognormal { mean, p99 } => {
                lognormal(&mut self.rng, mean.as_secs_f64(), p99.as_secs_f64())
            }
        };
        let extra = self.fault.extra_latency + self.dependency.extra_latency;
        ((base * factor + extra.as_secs_f64()) * 1e9).clamp(0.0, 1e18) as u64
    }

    /// Whether the answer of a finished service is an error.
    pub(crate) fn draws_error(&mut self) -> bool {
        let rate = 1.0 - (1.0 - self.fault.error_rate) * (1.0 - self.dependency.error_rate);
        rate > 0.0 && self.rng.unit() < rate
    }

    pub(crate) fn draws_loss(&mut self) -> bool {
        self.network.loss > 0.0 && self.rng.unit() < self.network.loss
    }

    /// CPU: the part of the slots in use on average since the last sample.
    pub(crate) fn sample_cpu(&mut self, now: u64) -> f64 {
        self.count(now);
        let (worked, since) = self.sampled;
        self.sampled = (self.worked, now);
        let slots = f64::from(self.model.slots.max(1));
        if now > since {
            (self.worked - worked) as f64 / (now - since) as f64 / slots
        } else {
            f64::from(self.busy) / slots
        }
    }

    pub(crate) fn probe(&mut self, health: &Health, now: u64) -> Probe {
        let timeout = health.timeout;
        let late = |detail: &str| Probe {
            ok: false,
            took: timeout,
            detail: detail.to_owned(),
        };
        if self.network.refuse || !self.accepts(now) {
            return Probe {
                ok: false,
                took: self.network.latency.min(timeout),
                detail: "connection refused".to_owned(),
            };
        }
        if self.draws_loss() {
            return late("no connection within the timeout");
        }
        let Some(http) = health.http() else {
            // The system accepts connections for a process that hangs.
            return if self.network.latency >= timeout {
                late("no connection within the timeout")
            } else {
                Probe {
                    ok: true,
                    took: self.network.latency,
                    detail: "connected".to_owned(),
                }
            };
        };
        if self.fault.hangs && self.fault.health != HealthFault::Passes {
            return late("no answer within the timeout");
        }
        let factor = self.fault.slow_factor * self.coldness(now);
        let mut took = self.model.health.latency.as_secs_f64() * factor
            + self.fault.extra_latency.as_secs_f64()
            + self.network.latency.as_secs_f64();
        if self.model.health.queued && self.busy >= self.model.slots.max(1) {
            let mean =
                self.model.service.mean().as_secs_f64() * factor * self.dependency.slow_factor;
            let turn = (self.waiting.len() as f64 + 1.0) / f64::from(self.model.slots.max(1));
            took += turn * mean;
        }
        let took = Duration::from_secs_f64(took.clamp(0.0, 1e9));
        if took >= timeout {
            return late("no answer within the timeout");
        }
        let status = self.health_status(http, now);
        let (low, high) = http.expect_status;
        Probe {
            ok: (low..=high).contains(&status),
            took,
            detail: format!("status {status}"),
        }
    }

    fn health_status(&self, health: &HttpCheck, now: u64) -> u16 {
        let known = self
            .model
            .health
            .path
            .as_ref()
            .is_none_or(|path| *path == health.path);
        let fails = match self.fault.health {
            HealthFault::AsIs | HealthFault::Passes => false,
            HealthFault::Fails => true,
            HealthFault::Flaps(flap) => self.is_flapped(flap, now),
        };
        match (fails, known) {
            (true, _) => 503,
            (false, false) => 404,
            (false, true) => 200,
        }
    }

    /// Whether connections are accepted by the backend itself.
    fn accepts(&self, now: u64) -> bool {
        let flapped = self
            .fault
            .flaps
            .is_some_and(|flap| self.is_flapped(flap, now));
        now >= self.down_until && !self.fault.refuses && !flapped
    }

    fn is_flapped(&self, flap: Flap, now: u64) -> bool {
        let up = flap.up.as_nanos();
        let cycle = (up + flap.down.as_nanos()).max(1);
        u128::from(now.saturating_sub(self.fault_since)) % cycle >= up
    }

    fn coldness(&self, now: u64) -> f64 {
        let (Some(cold), Some(since)) = (self.model.cold_start, self.cold_since) else {
            return 1.0;
        };
        let over = cold.over.as_secs_f64();
        let passed = now.saturating_sub(since) as f64 / 1e9;
        if passed >= over {
            1.0
        } else {
            cold.factor + (1.0 - cold.factor) * passed / over
        }
    }

    fn count(&mut self, now: u64) {
        self.worked += u128::from(now.saturating_sub(self.counted_at)) * u128::from(self.busy);
        self.counted_at = now;
    }
}

/// Lognormal by mean and 99th percentile: `p99 / mean = exp(z s - s^2 / 2)`, solved for the smaller s.
fn lognormal(rng: &mut Rng, mean: f64, p99: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    let ratio = libm::log((p99 / mean).max(1.0)).min(Z99 * Z99 / 2.0);
    let s = Z99 - libm::sqrt((Z99 * Z99 - 2.0 * ratio).max(0.0));
    let mu = libm::log(mean) - s * s / 2.0;
    // Box-Muller; the second number is not kept, so that a draw depends on nothing before it.
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.unit()));
    let normal = radius * libm::cos(2.0 * std::f64::consts::PI * rng.unit());
    libm::exp(mu + s * normal)
}
