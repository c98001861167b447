//! Scenario words as values of the event engine.

use std::time::Duration;

use evenkeel_forecast::engine::spec;
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::Name;

use crate::scenario::{
    Backend, BackendFault, Distribution, Flaps, HealthWord, Overflow, Percent, Scenario, Traffic,
};

/// Capacity of a backend of which nothing is known.
pub(crate) const CAPACITY_DEFAULT: f64 = 600.0;
/// Mean service time where a scenario names none.
pub(crate) const SERVICE_DEFAULT: Duration = Duration::from_millis(20);

/// Slots and mean service time of a backend, from what a scenario says and a configuration declares.
pub(crate) fn slots(said: Option<&Backend>, declared: Option<f64>) -> (u32, Duration) {
    let workers = said.and_then(|b| b.workers);
    let service = said.and_then(|b| b.service_time).map(|s| s.0);
    let capacity = said
        .and_then(|b| b.capacity)
        .or(declared)
        .filter(|c| *c > 0.0)
        .unwrap_or(CAPACITY_DEFAULT);
    let stated = said.is_some_and(|b| b.capacity.is_some());
    match (workers, service) {
        (Some(workers), Some(service)) if !stated => (workers.max(1), service),
        (Some(workers), _) => (
            workers.max(1),
            seconds(f64::from(workers.max(1)) / capacity),
        ),
        (None, service) => {
            let service = service.unwrap_or(SERVICE_DEFAULT).as_secs_f64();
            let workers = (capacity * service).round().clamp(1.0, 1e6);
            (workers as u32, seconds(workers / capacity))
        }
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(SERVICE_DEFAULT)
}

/// How a backend of a pool behaves.
pub(crate) fn model(scenario: &Scenario, pool: &Pool, index: usize) -> Option<spec::BackendModel> {
    let backend = pool.backends.get(index)?;
    let said = scenario.behaviour(pool.name.as_str(), backend.name.as_str());
    let (slots, mean) = slots(said, backend.capacity_rps);
    let default = Backend::default();
    let said = said.unwrap_or(&default);
    let service = match said.distribution {
        Distribution::Constant => spec::ServiceTime::Constant(mean),
        Distribution::Exponential => spec::ServiceTime::Exponential(mean),
        Distribution::Lognormal => spec::ServiceTime::Lognormal {
            mean,
            p99: said.p99.map_or(mean * 3, |p99| p99.0),
        },
    };
    Some(spec::BackendModel {
        service,
        slots,
        queue_max: said.queue,
        overflow: match said.overflow {
            Overflow::Reject => spec::Overflow::Reject,
            Overflow::Hang => spec::Overflow::Hang,
        },
        connections_max: said.connections_max,
        health: spec::HealthModel {
            path: said.health.path.clone(),
            latency: said.health.latency.0,
            queued: said.health.queued,
        },
        cold_start: said.cold_start.map(|cold| spec::ColdStart {
            factor: cold.factor,
            over: cold.over.0,
        }),
    })
}

/// A stream of the scenario.
pub(crate) fn stream(name: &Name, traffic: &Traffic, config: &Config) -> Option<spec::Stream> {
    let listener = match &traffic.listener {
        Some(listener) => Name::new(listener).ok()?,
        None => config.listeners.first()?.name.clone(),
    };
    let kinds = traffic.request.iter().map(|request| spec::RequestKind {
        weight: request.weight,
        method: request.method.clone(),
        host: request.host.clone(),
        path: request.path.clone(),
        cost: request.cost,
        answer: request.answer,
    });
    Some(spec::Stream {
        name: name.clone(),
        target: spec::Target::Listener(listener),
        rate_rps: traffic.rate,
        clients: traffic.clients,
        zipf_exponent: traffic.client_skew,
        requests_per_connection: traffic.requests_per_connection,
        kinds: kinds.collect(),
        key: traffic.key.as_ref().map(|key| spec::StreamKey {
            header: key.header.to_ascii_lowercase(),
            keys: key.keys,
            zipf_exponent: key.skew,
        }),
        retry: retry(traffic, traffic.retries),
        patience: traffic.patience.map(|p| p.0),
    })
}

/// What clients of a stream do after a failure when they try `attempts` times more.
pub(crate) fn retry(traffic: &Traffic, attempts: u8) -> spec::ClientRetry {
    spec::ClientRetry {
        attempts,
        delay: traffic.retry_delay.0,
        backoff: traffic.retry_backoff,
    }
}

/// A fault.
pub(crate) fn fault(fault: &BackendFault) -> spec::Fault {
    let flap = |flaps: Flaps| spec::Flap {
        up: flaps.up.0,
        down: flaps.down.0,
    };
    spec::Fault {
        slow_factor: fault.slow_factor,
        extra_latency: fault.extra_latency.0,
        error_rate: fault.error_rate.0,
        fails_fast: fault.fails_fast,
        refuses: fault.refuses,
        hangs: fault.hangs,
        flaps: fault.flaps.map(flap),
        health: match (fault.health_flaps, fault.health) {
            (Some(flaps), _) => spec::HealthFault::Flaps(flap(flaps)),
            (None, HealthWord::AsIs) => spec::HealthFault::AsIs,
            (None, HealthWord::Fails) => spec::HealthFault::Fails,
            (None, HealthWord::Passes) => spec::HealthFault::Passes,
        },
    }
}

/// How a version behaves, as a fault that stays.
pub(crate) fn release(slow_factor: f64, error_rate: Percent) -> spec::Fault {
    spec::Fault {
        slow_factor,
        error_rate: error_rate.0,
        ..spec::Fault::default()
    }
}

#[cfg(test)]
mod tests {
    use super::slots;
    use crate::scenario::{Backend, Span};
    use std::time::Duration;

    #[test]
    fn capacity_is_what_workers_and_service_time_make_unless_it_is_stated() {
        let ms = Duration::from_millis;
        assert_eq!(slots(None, Some(600.0)), (12, ms(20)));
        assert_eq!(slots(None, None), (12, ms(20)));
        let both = Backend {
            workers: Some(10),
            service_time: Some(Span::millis(50)),
            ..Backend::default()
        };
        assert_eq!(slots(Some(&both), Some(600.0)), (10, ms(50)));
        let stated = Backend {
            capacity: Some(100.0),
            ..both.clone()
        };
        assert_eq!(slots(Some(&stated), Some(600.0)), (10, ms(100)));
        let slow = Backend {
            service_time: Some(Span::millis(100)),
            ..Backend::default()
        };
        assert_eq!(slots(Some(&slow), Some(60.0)), (6, ms(100)));
    }
}
