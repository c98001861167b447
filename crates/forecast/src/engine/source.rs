//! Clients: when the next request comes, from whom, over which connection.

use evenkeel_balance::digest;
use evenkeel_model::config::HashKey;
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;

use super::spec::{CLIENTS_MAX, ClientRetry, IN_FLIGHT_MAX, KEYS_MAX, RequestKind, Stream, Target};

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
    /// Which client a request comes from.
    clients: Zipf,
    /// The header with the key of a request, and which key that is.
    key: Option<(String, Zipf)>,
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
        Self {
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
            clients: Zipf::new(clients, stream.zipf_exponent),
            key: stream.key.map(|key| {
                let keys = key.keys.clamp(1, KEYS_MAX);
                (key.header, Zipf::new(keys, key.zipf_exponent))
            }),
            salt: rng.next_u64(),
            rng,
        }
    }

    pub(crate) fn set_rate(&mut self, rate_rps: f64) {
        self.rate_rps = rate_rps;
        self.generation = self.generation.wrapping_add(1);
    }

    pub(crate) fn set_skew(&mut self, exponent: f64) {
        self.clients.set(exponent);
    }

    /// The same over the keys, if the requests have any.
    pub(crate) fn set_key_skew(&mut self, exponent: f64) {
        if let Some((_, keys)) = &mut self.key {
            keys.set(exponent);
        }
    }

    /// Nanoseconds to the next request; `None`: none comes.
    pub(crate) fn gap_ns(&mut self) -> Option<u64> {
        (self.rate_rps > 0.0).then(|| (exponential(&mut self.rng, 1e9 / self.rate_rps)) as u64)
    }

    pub(crate) fn draw_client(&mut self) -> u32 {
        self.clients.draw(&mut self.rng)
    }

    /// The key of a request; 0 where there are none.
    pub(crate) fn draw_key(&mut self) -> u32 {
        let keys = self.key.as_ref();
        keys.map_or(0, |(_, keys)| keys.draw(&mut self.rng))
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

    /// The hash of what `by` says of a request. A client is who it is in whatever it is known by, except for the header that
    /// carries the keys of this stream.
    pub(crate) fn hash(&self, by: &HashKey, (client, kind, key): (u32, u16, u32)) -> u64 {
        match by {
            HashKey::Path => {
                let path = &self.kinds[usize::from(kind)].path;
                digest::key(path.split('?').next().unwrap_or(path).as_bytes())
            }
            HashKey::Header(name) if self.key.as_ref().is_some_and(|(own, _)| own == name) => {
                digest::key(format!("k{key}").as_bytes())
            }
            _ => digest::key(&self.client_hash(client).to_le_bytes()),
        }
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

/// Draws one of some, the n-th with weight `n^-exponent`.
#[derive(Debug)]
struct Zipf {
    count: u32,
    /// Cumulative weights; empty: all alike.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: u32, exponent: f64) -> Self {
        let sums = Vec::new();
        let mut new = Self { count, sums };
        new.set(exponent);
        new
    }

    fn set(&mut self, exponent: f64) {
        self.sums.clear();
        if exponent > 0.0 {
            let mut sum = 0.0;
            for n in 1..=self.count {
                sum += libm::pow(f64::from(n), -exponent);
                self.sums.push(sum);
            }
        }
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        match self.sums.last() {
            None => rng.below(u64::from(self.count)) as u32,
            Some(total) => {
                let point = rng.unit() * total;
                let place = self.sums.partition_point(|sum| *sum <= point);
                (place as u32).min(self.count - 1)
            }
        }
    }
}

/// Exponential with this mean, by the logarithm that has the same bits everywhere.
pub(crate) fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * libm::log(1.0 - rng.unit())
}
