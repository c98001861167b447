//! What is asked for: the shop's journey or a list of requests by weight, drawn without I/O from a seed.
//!
//! The journey's weights are derived from Online Boutique's Locust file (home 1, product 10, add 2, view cart 3,
//! checkout 1; search 2 and orders 1 added, currency dropped). A checkout goes to the session that has waited
//! longest with something in its cart, so that it can succeed; when there is none, something is added instead.
//!
//! Limits: carts are tracked as asked for, not as answered, so that a run replays whatever the server does.

use std::collections::VecDeque;
use std::fmt::Write as _;

use evenkeel_model::rng::Rng;

use super::{LoadError, ensure};

/// Most items of a mix.
pub(super) const ITEMS_MAX: usize = 1_000;
/// Most keys of a key header.
pub(super) const KEYS_MAX: u32 = 1_000_000;
/// Largest body of an item.
pub(super) const BODY_MAX: usize = 1 << 20;
/// Sessions remembered as having something in their cart.
const CARTS_MAX: usize = 1_000;

/// Words that are searched for.
const TERMS: [&str; 8] = [
    "lamp", "mug", "chair", "oak", "blanket", "kettle", "blue", "shelf",
];

/// Home, search, product, add, view cart, checkout, orders.
const JOURNEY: [f64; 7] = [1.0, 2.0, 10.0, 2.0, 3.0, 1.0, 1.0];

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Mix {
    /// The journey through the shop.
    Shop {
        /// Products in the shop; their ids are 1 to this.
        products: u32,
    },
    /// Requests by weight.
    Items(Vec<Item>),
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Relative frequency; 0 or more.
    pub weight: f64,
    /// Body, if any.
    pub body: Option<String>,
    /// Further header lines (name, value).
    pub headers: Vec<(String, String)>,
}

impl Item {
    /// `GET path` with weight 1.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            weight: 1.0,
            body: None,
            headers: Vec::new(),
        }
    }
}

/// A header whose value is one of `keys` keys (`k0`, `k1`, ...), drawn by a Zipf law.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyHeader {
    /// Name of the header.
    pub header: String,
    /// How many keys, 1 to [`KEYS_MAX`].
    pub keys: u32,
    /// Zipf exponent, 0 to 10; 0: all alike, 1: the usual skew, 2: one key takes 60 %.
    pub skew: f64,
}

impl KeyHeader {
    pub(super) fn check(&self) -> Result<(), LoadError> {
        ensure("key.header", &self.header, is_token(&self.header))?;
        ensure("key.keys", &self.keys, (1..=KEYS_MAX).contains(&self.keys))?;
        ensure("key.skew", &self.skew, (0.0..=10.0).contains(&self.skew))
    }
}

impl Mix {
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let items = match self {
            Self::Shop { products } => return ensure("mix.products", products, *products > 0),
            Self::Items(items) => items,
        };
        let fits = (1..=ITEMS_MAX).contains(&items.len());
        ensure("mix", &items.len(), fits)?;
        for item in items {
            ensure("mix.method", &item.method, is_token(&item.method))?;
            let path =
                item.path.starts_with('/') && item.path.bytes().all(|b| b.is_ascii_graphic());
            ensure("mix.path", &item.path, path)?;
            let weight = item.weight >= 0.0 && item.weight.is_finite();
            ensure("mix.weight", &item.weight, weight)?;
            let length = item.body.as_ref().map_or(0, String::len);
            ensure("mix.body", &length, length <= BODY_MAX)?;
            for (name, value) in &item.headers {
                let clean = !value.bytes().any(|b| b.is_ascii_control());
                ensure("mix.headers", name, is_token(name) && clean)?;
            }
        }
        let total: f64 = items.iter().map(|item| item.weight).sum();
        ensure("mix.weight", &total, total > 0.0)
    }
}

fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// A Zipf law over `0..n` by its cumulative weights; uniform without a table.
pub(super) struct Zipf {
    n: u32,
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(n: u32, skew: f64) -> Self {
        let mut cumulative = Vec::new();
        if skew > 0.0 {
            let mut sum = 0.0;
            for rank in 1..=n {
                sum += f64::from(rank).powf(-skew);
                cumulative.push(sum);
            }
        }
        Self { n, cumulative }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> u32 {
        match self.cumulative.last() {
            None => rng.below(u64::from(self.n)) as u32,
            Some(total) => {
                let point = rng.unit() * total;
                let index = self.cumulative.partition_point(|sum| *sum <= point) as u32;
                index.min(self.n.saturating_sub(1))
            }
        }
    }
}

/// One request to send.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) session: u32,
    /// Request line and the headers that do not depend on what was answered before; no blank line.
    pub(super) head: String,
    pub(super) body: String,
    /// Whether it may be sent again over a new connection when an idle one turns out to be closed.
    pub(super) idempotent: bool,
}

/// Draws requests.
pub(super) struct Planner {
    rng: Rng,
    sessions: u32,
    session: Zipf,
    mix: Mix,
    weights: Vec<f64>,
    key: Option<(KeyHeader, Zipf)>,
    carts: VecDeque<u32>,
    host: String,
    run: String,
    serial: u64,
}

impl Planner {
    pub(super) fn new(rng: Rng, sessions: u32, host: &str, run: &str) -> Self {
        Self {
            rng,
            sessions,
            session: Zipf::new(sessions, 0.0),
            mix: Mix::Shop { products: 1 },
            weights: JOURNEY.to_vec(),
            key: None,
            carts: VecDeque::new(),
            host: host.to_owned(),
            run: run.to_owned(),
            serial: 0,
        }
    }

    pub(super) fn set(&mut self, mix: Mix, key: Option<KeyHeader>, session_skew: f64) {
        self.session = Zipf::new(self.sessions, session_skew);
        self.weights = match &mix {
            Mix::Shop { .. } => JOURNEY.to_vec(),
            Mix::Items(items) => items.iter().map(|item| item.weight).collect(),
        };
        self.mix = mix;
        self.key = key.map(|key| {
            let zipf = Zipf::new(key.keys, key.skew);
            (key, zipf)
        });
    }

    pub(super) fn plan(&mut self) -> Planned {
        self.serial += 1;
        let session = self.session.draw(&mut self.rng);
        let choice = self.rng.weighted(&self.weights).unwrap_or(0);
        let mut planned = match &self.mix {
            Mix::Shop { products } => {
                let product = 1 + self.rng.below(u64::from(*products));
                self.journey(choice, session, product)
            }
            Mix::Items(items) => items.get(choice).map_or_else(
                || request("GET", "/", session, &self.host),
                |item| from_item(item, session, &self.host),
            ),
        };
        if let Some((key, zipf)) = &self.key {
            let index = zipf.draw(&mut self.rng);
            put(
                &mut planned.head,
                format_args!("{}: k{index}\r\n", key.header),
            );
        }
        planned
    }

    fn journey(&mut self, choice: usize, session: u32, product: u64) -> Planned {
        let get = |path: &str| request("GET", path, session, &self.host);
        match choice {
            0 => get("/"),
            1 => {
                let term = TERMS[(product as usize) % TERMS.len()];
                get(&format!("/search?q={term}"))
            }
            2 => get(&format!("/product/{product}")),
            4 => get("/cart"),
            6 => get("/orders"),
            5 => match self.carts.pop_front() {
                Some(session) => self.checkout(session),
                None => self.add(session, product),
            },
            _ => self.add(session, product),
        }
    }

    fn add(&mut self, session: u32, product: u64) -> Planned {
        if self.carts.len() < CARTS_MAX && !self.carts.contains(&session) {
            self.carts.push_back(session);
        }
        let quantity = 1 + self.rng.below(3);
        let mut planned = request("POST", "/cart", session, &self.host);
        planned.body = format!("product_id={product}&quantity={quantity}");
        planned
            .head
            .push_str("content-type: application/x-www-form-urlencoded\r\n");
        planned
    }

    fn checkout(&mut self, session: u32) -> Planned {
        let mut planned = request("POST", "/checkout", session, &self.host);
        planned.idempotent = true;
        planned.body =
            format!("name=Client+{session}&email=c{session}%40example.com&address=Harbour+Road+1");
        let (run, serial) = (&self.run, self.serial);
        put(
            &mut planned.head,
            format_args!(
                "content-type: application/x-www-form-urlencoded\r\nidempotency-key: {run}-{serial}\r\n"
            ),
        );
        planned
    }
}

fn put(head: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    head.write_fmt(line).ok();
}

fn request(method: &str, path: &str, session: u32, host: &str) -> Planned {
    let mut head = String::with_capacity(192);
    put(
        &mut head,
        format_args!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n"),
    );
    Planned {
        session,
        head,
        body: String::new(),
        idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
    }
}

fn from_item(item: &Item, session: u32, host: &str) -> Planned {
    let mut planned = request(&item.method, &item.path, session, host);
    for (name, value) in &item.headers {
        put(&mut planned.head, format_args!("{name}: {value}\r\n"));
    }
    if let Some(body) = &item.body {
        planned.body.clone_from(body);
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::{Item, KeyHeader, Mix, Planner, Zipf};
    use evenkeel_model::rng::Rng;
    use std::collections::BTreeSet;

    fn planner(seed: u64, mix: Mix) -> Planner {
        let mut planner = Planner::new(Rng::new(seed), 500, "shop", "run");
        planner.set(mix, None, 0.5);
        planner
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let mix = Mix::Shop { products: 20 };
        let (mut a, mut b) = (planner(1, mix.clone()), planner(1, mix.clone()));
        assert!((0..5_000).all(|_| a.plan() == b.plan()));
        let mut c = planner(2, mix);
        assert!((0..50).any(|_| a.plan() != c.plan()));
    }

    #[test]
    fn the_journey_keeps_its_weights_and_checks_out_filled_carts_under_fresh_keys() {
        let mut planner = planner(3, Mix::Shop { products: 20 });
        let (mut filled, mut keys) = (BTreeSet::new(), BTreeSet::new());
        let (mut products, mut checkouts) = (0, 0);
        for _ in 0..20_000 {
            let planned = planner.plan();
            if planned.head.starts_with("POST /cart ") {
                filled.insert(planned.session);
            } else if planned.head.starts_with("POST /checkout ") {
                assert!(filled.remove(&planned.session), "empty cart");
                let (_, key) = planned.head.split_once("idempotency-key: ").unwrap();
                assert!(keys.insert(key.to_owned()), "key used twice");
                checkouts += 1;
            } else if planned.head.starts_with("GET /product/") {
                products += 1;
            }
        }
        assert!((9_700..10_300).contains(&products), "{products}");
        assert!((880..1_120).contains(&checkouts), "{checkouts}");
    }

    #[test]
    fn skew_draws_the_first_most_and_zero_draws_all_alike() {
        let mut rng = Rng::new(4);
        let share = |skew: f64, rng: &mut Rng| {
            let zipf = Zipf::new(100, skew);
            (0..20_000).filter(|_| zipf.draw(rng) == 0).count() as f64 / 20_000.0
        };
        assert!((share(0.0, &mut rng) - 0.01).abs() < 0.004);
        assert!((share(2.0, &mut rng) - 0.61).abs() < 0.03);
    }

    #[test]
    fn items_come_by_weight_with_their_headers_and_the_key() {
        let mut planner = planner(
            5,
            Mix::Items(vec![
                Item {
                    weight: 3.0,
                    ..Item::get("/a")
                },
                Item {
                    method: "POST".into(),
                    path: "/b".into(),
                    weight: 1.0,
                    body: Some("x".into()),
                    headers: vec![("x-tenant".into(), "t1".into())],
                },
            ]),
        );
        planner.key = Some((
            KeyHeader {
                header: "x-key".into(),
                keys: 4,
                skew: 0.0,
            },
            Zipf::new(4, 0.0),
        ));
        let all: Vec<_> = (0..4_000).map(|_| planner.plan()).collect();
        let posts: Vec<_> = all
            .iter()
            .filter(|p| p.head.starts_with("POST /b "))
            .collect();
        assert!((880..1_120).contains(&posts.len()), "{}", posts.len());
        assert!(
            posts
                .iter()
                .all(|p| p.body == "x" && p.head.contains("x-tenant: t1\r\n"))
        );
        assert!(all.iter().all(|p| p.head.contains("x-key: k")));
    }

    #[test]
    fn a_mix_that_could_break_the_framing_is_refused() {
        let bad = Item {
            path: "/a b\r\nx: y".into(),
            ..Item::get("/")
        };
        assert!(Mix::Items(vec![bad]).check().is_err());
        assert!(Mix::Items(vec![]).check().is_err());
        assert!(
            Mix::Items(vec![Item {
                weight: 0.0,
                ..Item::get("/")
            }])
            .check()
            .is_err()
        );
        assert!(Mix::Items(vec![Item::get("/")]).check().is_ok());
    }
}
