//! Too much at once: memory, connections, new connections a second, requests of several priorities.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use evenkeel_balance::overload::Pressure;
use evenkeel_model::config::{Config, Matcher, Overload, Priority, Queue, Route};
use evenkeel_model::units::ByteSize;
use evenkeel_proxy::ShedBy;

use crate::support::{Bench, Client, Origin, PATIENCE, eventually, simple};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// `/low`, `/high` and everything else by priority.
fn graded(mut config: Config) -> Config {
    let plain = config.routes[0].clone();
    let route = |path: &str, priority| Route {
        matcher: Matcher::prefix(path),
        priority,
        ..plain.clone()
    };
    config.routes = vec![
        route("/low", Priority::Low),
        route("/high", Priority::High),
        route("/", Priority::Normal),
    ];
    config
}

fn bounded(config: Config, memory: u64) -> Config {
    Config {
        overload: Overload {
            memory: Some(ByteSize(memory)),
            connections: None,
        },
        ..config
    }
}

fn under(bench: &Bench, pressure: Pressure) {
    eventually("the pressure", || {
        bench.proxy.overload().pressure == pressure
    });
}

#[test]
fn as_memory_fills_connections_end_and_priorities_are_refused_one_after_the_other() {
    static MEMORY: AtomicU64 = AtomicU64::new(0);
    let set = |percent: u64| MEMORY.store(percent << 20, Ordering::SeqCst);
    let origin = Origin::answering(OK);
    let config = bounded(graded(simple(&[origin.address])), 100 << 20);
    let bench = Bench::start_in(config, 2, || Some(MEMORY.load(Ordering::SeqCst)));
    let said = |path: &str| {
        let response = bench.client().get(path);
        let (status, code) = response.said();
        let is_last = response.header("connection") == Some("close");
        assert_eq!(response.header("retry-after").is_some(), status == 503);
        (status, code.to_owned(), is_last)
    };
    let all = || ["/low", "/", "/high"].map(said);
    let good = |is_last| (200, "-".to_owned(), is_last);
    let refused = || (503, "overloaded".to_owned(), true);
    let mut idle = bench.client();
    assert_eq!(idle.get("/").said(), (200, "-"));
    assert_eq!(all(), [good(false), good(false), good(false)]);
    set(90);
    under(&bench, Pressure::Tight);
    assert_eq!(all(), [good(true), good(true), good(true)]);
    assert!(idle.closed(), "an idle connection is given up");
    set(100);
    under(&bench, Pressure::Over);
    assert_eq!(all(), [refused(), good(true), good(true)]);
    set(105);
    under(&bench, Pressure::Far);
    assert_eq!(all(), [refused(), refused(), good(true)]);
    set(110);
    under(&bench, Pressure::Full);
    assert_eq!(all(), [refused(), refused(), refused()]);
    set(10);
    under(&bench, Pressure::Calm);
    assert_eq!(all(), [good(false), good(false), good(false)]);
    let view = bench.proxy.overload();
    let shed = |priority| {
        let of = view
            .shed
            .iter()
            .find(|s| (s.0, s.1) == (priority, ShedBy::Memory));
        of.unwrap().2
    };
    let counts = Priority::ALL.iter().map(|p| shed(*p)).collect::<Vec<_>>();
    assert_eq!(counts, [3, 2, 1]);
    assert_eq!(view.memory, Some(10 << 20));
}

#[test]
fn the_memory_of_this_very_process_is_what_counts() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(bounded(simple(&[origin.address]), 1 << 20));
    under(&bench, Pressure::Full);
    assert!(bench.proxy.overload().memory.unwrap() > 1 << 20);
    assert_eq!(bench.client().get("/").said(), (503, "overloaded"));
    // Without the limit it is over within a second.
    let mut bench = bench;
    bench.swap(simple(&[origin.address]));
    under(&bench, Pressure::Calm);
    assert_eq!(bench.client().get("/").said(), (200, "-"));
}

/// An origin that answers one request for each message on the channel.
fn held() -> (Origin, Sender<()>) {
    let (go, may): (Sender<()>, Receiver<()>) = channel();
    let may = Mutex::new(may);
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            if may.lock().unwrap().recv_timeout(PATIENCE).is_err() || !conn.send(OK) {
                return;
            }
        }
    });
    (origin, go)
}

fn asks(bench: &Bench, path: &str) -> Client {
    let mut client = bench.client();
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn in_flight(bench: &Bench) -> u32 {
    bench.proxy.vitals()[0].1[0].1.in_flight
}

#[test]
fn the_last_places_of_a_pool_are_for_the_higher_priorities() {
    let (origin, go) = held();
    let mut config = graded(simple(&[origin.address]));
    config.pools[0].max_in_flight_total = Some(10);
    config.pools[0].queue = Some(Queue {
        length: 5,
        timeout: PATIENCE,
    });
    let bench = Bench::start_with(config, 2);
    let mut held = Vec::new();
    let mut fill = |path: &str, to: u32| {
        while in_flight(&bench) < to {
            let before = in_flight(&bench);
            held.push(asks(&bench, path));
            eventually("it is in flight", || in_flight(&bench) == before + 1);
        }
    };
    fill("/low", 8);
    let low = bench.client().get("/low");
    assert_eq!(low.said(), (503, "shed"));
    assert_eq!(low.header("retry-after"), Some("1"));
    fill("/", 9);
    assert_eq!(bench.client().get("/").said(), (503, "shed"));
    fill("/high", 10);
    // The highest of them waits, and nobody below takes its turn.
    let mut last = asks(&bench, "/high");
    eventually("it waits", || bench.proxy.waiting()[0].1 == 1);
    assert_eq!(bench.client().get("/low").said(), (503, "shed"));
    for _ in 0..11 {
        go.send(()).unwrap();
    }
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(last.response().status, 200);
    let shed = bench.proxy.overload().shed;
    let by_pool = |priority| {
        shed.iter()
            .find(|s| (s.0, s.1) == (priority, ShedBy::Pool))
            .unwrap()
            .2
    };
    assert_eq!(
        Priority::ALL
            .iter()
            .map(|p| by_pool(*p))
            .collect::<Vec<_>>(),
        [2, 1, 0]
    );
}

#[test]
fn a_pool_to_which_all_come_alike_loses_nothing_of_its_limit() {
    let (origin, go) = held();
    let mut config = graded(simple(&[origin.address]));
    config
        .routes
        .retain(|route| route.priority == Priority::Low);
    config.pools[0].max_in_flight_total = Some(3);
    let bench = Bench::start(config);
    let mut held: Vec<Client> = Vec::new();
    for n in 1..=3 {
        held.push(asks(&bench, "/low"));
        eventually("it is in flight", || in_flight(&bench) == n);
    }
    assert_eq!(bench.client().get("/low").said(), (503, "all_at_limit"));
    // Whose turn it is at the origin is not said: first all may go, then all are read.
    for _ in &held {
        go.send(()).unwrap();
    }
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn connections_are_bounded_over_all_listeners() {
    let origin = Origin::answering(OK);
    let mut config = simple(&[origin.address]);
    config.overload.connections = Some(2);
    let bench = Bench::start(config);
    let mut two = [bench.client(), bench.client()];
    assert!(two.iter_mut().all(|client| client.get("/").status == 200));
    let mut third = bench.client();
    assert_eq!(third.response().said(), (503, "too_many_connections"));
    assert_eq!(bench.proxy.overload().connections_refused, 1);
    drop(two);
    eventually("there is room", || bench.proxy.connections() == 0);
    assert_eq!(bench.client().get("/").status, 200);
}

#[test]
fn new_connections_are_accepted_at_the_rate_and_the_others_wait_without_being_refused() {
    const RATE: u32 = 40;
    const WORKERS: u16 = 2;
    let origin = Origin::answering(OK);
    let mut config = simple(&[origin.address]);
    config.listeners[0].accept_rate = Some(RATE);
    let bench = Bench::start_with(config, WORKERS);
    let begin = Instant::now();
    let mut clients: Vec<Client> = (0..30).map(|_| asks(&bench, "/")).collect();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    // A tenth of a second's worth comes at once, and one for each worker.
    let paced = 30 - RATE / 10 - u32::from(WORKERS);
    let least = Duration::from_secs_f64(f64::from(paced) / f64::from(RATE) - 0.05);
    assert!(
        begin.elapsed() >= least,
        "{:?} of {least:?}",
        begin.elapsed()
    );
    assert_eq!(bench.proxy.overload().connections_refused, 0);
}
