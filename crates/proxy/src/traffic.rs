//! What passed, for whoever watches: by route status classes, times and bytes; by backend bytes and times of connects; by
//! pool times in its queue.
//!
//! Nothing here is evidence: what the control loop judges by is in the tallies. Workers count routes on their own and
//! hand over once a second; what is rarer, or stands beside numbers that all workers write anyway, is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_model::ids::Name;
use evenkeel_model::tally::{LatencyTotal, RouteKey};

use crate::handle::Proxy;

/// Names of the classes in [`RouteTraffic::classes`]; the last are clients that left before they had their answer.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "left"];
/// The status of a client that left.
const LEFT: u16 = 499;
/// The answer before a tunnel, whose time is not that of a request.
const SWITCHED: u16 = 101;

/// What passed by one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTraffic {
    /// Requests by the class of their status, as [`CLASSES`] names them.
    pub classes: [u64; CLASSES.len()],
    /// From the head of the request to the end of the response; without tunnels.
    pub took: LatencyTotal,
    /// Of bodies of requests.
    pub bytes_in: u64,
    /// Of responses, with their heads.
    pub bytes_out: u64,
}

impl RouteTraffic {
    /// Counts a request that is over.
    pub(crate) fn ended(&mut self, status: u16, took: Duration, bytes: (u64, u64)) {
        let class = match status {
            LEFT => CLASSES.len() - 1,
            status => usize::from(status / 100).saturating_sub(1),
        };
        if let Some(count) = self.classes.get_mut(class) {
            *count += 1;
        }
        if status != SWITCHED {
            self.took.record(micros(took));
        }
        self.bytes_in += bytes.0;
        self.bytes_out += bytes.1;
    }

    /// Adds what `other` counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            *mine += theirs;
        }
        self.took.add(&other.took);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What passed by every route, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<BTreeMap<Arc<RouteKey>, RouteTraffic>>);

impl Routes {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<RouteKey>, RouteTraffic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times that few requests bring, counted by all workers.
#[derive(Debug, Default)]
pub(crate) struct RareTimes(Mutex<LatencyTotal>);

impl RareTimes {
    pub(crate) fn record(&self, time: Duration) {
        self.lock().record(micros(time));
    }

    pub(crate) fn view(&self) -> LatencyTotal {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LatencyTotal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What passed to and from one backend.
#[derive(Debug, Default)]
pub(crate) struct BackendCells {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pub(crate) connects: RareTimes,
}

impl BackendCells {
    /// Counts a response that was passed on, whole or not.
    pub(crate) fn passed(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }

    fn view(&self) -> BackendTraffic {
        BackendTraffic {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            connects: self.connects.view(),
        }
    }
}

/// What passed to and from one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendTraffic {
    /// Of bodies of requests.
    pub bytes_in: u64,
    /// Of responses as they went to clients, with their heads.
    pub bytes_out: u64,
    /// How long connections took to be there; those that failed are not among them.
    pub connects: LatencyTotal,
}

/// What passed since the start of the process, of what the running snapshot has, in file order.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// By route; a route that is twice in the file is here once.
    pub routes: Vec<(Arc<RouteKey>, RouteTraffic)>,
    /// By pool and backend.
    pub backends: Vec<(Name, Name, BackendTraffic)>,
    /// How long requests waited, by pool; pools without a queue are left out.
    pub queues: Vec<(Name, LatencyTotal)>,
}

impl Proxy {
    /// What passed. At most a second of what workers know of routes is missing.
    pub fn traffic(&self) -> Traffic {
        let shared = self.shared();
        let published = shared.published.load();
        let snapshot = &published.snapshot;
        let mut known = shared.routes.lock();
        if known.len() > snapshot.route_keys.len() {
            // A route that is gone begins anew when it comes back.
            let keys: BTreeSet<_> = snapshot.route_keys.iter().collect();
            known.retain(|key, _| keys.contains(key));
        }
        let routes = known.iter();
        let routes = routes.map(|(key, traffic)| (Arc::clone(key), traffic.clone()));
        let routes = routes.collect();
        drop(known);
        let backends = snapshot.pools.iter().flat_map(|state| {
            let gauges = state.pool.backends.iter().zip(&state.gauges);
            gauges.map(|(backend, gauge)| {
                let traffic = gauge.traffic().view();
                (state.pool.name.clone(), backend.name.clone(), traffic)
            })
        });
        let queued = snapshot.pools.iter();
        let queued = queued.filter(|state| state.pool.queue.is_some());
        let queues = queued.map(|state| (state.pool.name.clone(), state.gate.waited().view()));
        Traffic {
            routes,
            backends: backends.collect(),
            queues: queues.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CLASSES, RouteTraffic};

    #[test]
    fn a_request_counts_in_the_class_of_its_status_and_a_tunnel_has_no_time() {
        let mut traffic = RouteTraffic::default();
        for status in [101, 200, 204, 302, 404, 499, 503, 999, 0] {
            traffic.ended(status, Duration::from_millis(1), (1, 2));
        }
        let counts: Vec<_> = CLASSES.into_iter().zip(traffic.classes).collect();
        // Statuses that are none fall where they come nearest, or nowhere; no request has one.
        assert_eq!(
            counts,
            [
                ("1xx", 2),
                ("2xx", 2),
                ("3xx", 1),
                ("4xx", 1),
                ("5xx", 1),
                ("left", 1)
            ]
        );
        assert_eq!(traffic.took.count(), 8);
        assert_eq!((traffic.bytes_in, traffic.bytes_out), (9, 18));
        let mut twice = traffic.clone();
        twice.add(&traffic);
        assert_eq!(twice.took.count(), 16);
        assert_eq!(twice.classes[1], 4);
    }
}
