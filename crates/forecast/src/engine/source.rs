//! Clients: when the next request comes, from whom, over which connection.

use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

use super::spec::{CLIENTS_MAX, ClientRetry, IN_FLIGHT_MAX, RequestKind, Stream, Target};

/// The running state of one [`Stream`].
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: Name,
    pub(crate) target: Target,
    pub(crate) kinds: Vec<RequestKind>,
    /// Pool of each kind under the present routes; `None`: no route.
    pub(crate) pools: Vec<Option<u32>>,
    /// Route id of each kind that comes by one.
    pub(crate) routes: Vec<Option<u32>>,
    pub(crate) retry: ClientRetry,
    pub(crate) patience_ns: Option<u64>,
    pub(crate) generation: u32,
    pub(crate) in_flight: u32,
    pub(crate) in_flight_max: u32,
    rate_rps: f64,
    kind_weights: Vec<f64>,
    connections: Vec<Connection>,
    requests_per_connection: u32,
    /// Cumulative weights of the clients; empty: all alike.
    skew: Vec<f64>,
    /// Makes the hashes of this stream's clients its own.
    salt: u64,
    rng: Rng,
}

/// The connection of one client.
#[derive(Debug, Clone, Copy)]
struct Connection {
    worker: u16,
    left: u32,
}

impl Source {
    pub(crate) fn new(stream: Stream, mut rng: Rng) -> Self {
        let clients = stream.clients.clamp(1, CLIENTS_MAX);
        let kinds = if stream.kinds.is_empty() {
            vec![RequestKind::default()]
        } else {
            stream.kinds
        };
        let mut source = Self {
            name: stream.name,
            target: stream.target,
            kind_weights: kinds.iter().map(|kind| kind.weight.max(0.0)).collect(),
            kinds,
            pools: Vec::new(),
            routes: Vec::new(),
            retry: stream.retry,
            patience_ns: stream
                .patience
                .map(|p| u64::try_from(p.as_nanos()).unwrap_or(u64::MAX)),
            generation: 0,
            in_flight: 0,
            in_flight_max: IN_FLIGHT_MAX,
            rate_rps: stream.rate_rps,
            connections: vec![Connection { worker: 0, left: 0 }; clients as usize],
            requests_per_connection: stream.requests_per_connection.max(1),
            skew: Vec::new(),
            salt: rng.next_u64(),
            rng,
        };
        source.set_skew(stream.zipf_exponent);
        source
    }

    pub(crate) fn set_rate(&mut self, rate_rps: f64) {
        self.rate_rps = rate_rps;
        self.generation = self.generation.wrapping_add(1);
    }

    pub(crate) fn set_skew(&mut self, exponent: f64) {
        self.skew.clear();
        if exponent > 0.0 {
            let mut sum = 0.0;
            for n in 1..=self.connections.len() {
                sum += libm::pow(n as f64, -exponent);
                self.skew.push(sum);
            }
        }
    }

    /// Nanoseconds to the next request; `None`: none comes.
    pub(crate) fn gap_ns(&mut self) -> Option<u64> {
        (self.rate_rps > 0.0).then(|| (exponential(&mut self.rng, 1e9 / self.rate_rps)) as u64)
    }

    pub(crate) fn draw_client(&mut self) -> u32 {
        let count = self.connections.len();
        match self.skew.last() {
            None => self.rng.below(count as u64) as u32,
            Some(total) => {
                let point = self.rng.unit() * total;
                self.skew
                    .partition_point(|sum| *sum <= point)
                    .min(count - 1) as u32
            }
        }
    }

    pub(crate) fn draw_kind(&mut self) -> u16 {
        if self.kinds.len() == 1 {
            return 0;
        }
        self.rng.weighted(&self.kind_weights).unwrap_or(0) as u16
    }

    /// The worker that the client's connection is on; a used-up connection is replaced, on any worker.
    pub(crate) fn worker(&mut self, client: u32, workers: u16) -> u16 {
        let connection = &mut self.connections[client as usize];
        if connection.left == 0 || connection.worker >= workers {
            connection.worker = self.rng.below(u64::from(workers)) as u16;
            connection.left = self.requests_per_connection;
        }
        connection.left -= 1;
        connection.worker
    }

    /// The client's connection is gone.
    pub(crate) fn disconnect(&mut self, client: u32) {
        self.connections[client as usize].left = 0;
    }

    pub(crate) fn disconnect_all(&mut self) {
        for connection in &mut self.connections {
            connection.left = 0;
        }
    }

    /// Pause before a client's further attempt (1: the first retry), or `None` when it gives up.
    pub(crate) fn retry_pause_ns(&mut self, attempt: u8) -> Option<u64> {
        if attempt > self.retry.attempts {
            return None;
        }
        let factor = libm::pow(self.retry.backoff.max(1.0), f64::from(attempt) - 1.0);
        let mean = self.retry.delay.as_secs_f64() * 1e9 * factor;
        Some(exponential(&mut self.rng, mean) as u64)
    }

    /// The hash by which a client is known in the sketches (SplitMix64).
    pub(crate) fn client_hash(&self, client: u32) -> u64 {
        let mut z = self
            .salt
            .wrapping_add(u64::from(client).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Exponential with this mean, by the logarithm that has the same bits everywhere.
pub(crate) fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * libm::log(1.0 - rng.unit())
}
