//! Swaps, listeners that come and go, drain: no request is lost to any of them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evenkeel_model::config::{Address, Config, Target};
use evenkeel_proxy::{Event, Proxy};

use crate::support::{
    Bench, Client, Origin, PATIENCE, config, eventually, listener, local, pool, simple,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Clients that ask as fast as they can until told to stop; counts what is not a 200.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(u64, u64)>>,
    asked: Arc<AtomicU64>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let run = move |stop: Arc<AtomicBool>, asked: Arc<AtomicU64>| {
            let (mut good, mut bad) = (0, 0);
            let mut client = Client::connect(address);
            while !stop.load(Ordering::SeqCst) {
                let response = client.get("/");
                asked.fetch_add(1, Ordering::SeqCst);
                if response.status == 200 {
                    good += 1;
                } else {
                    bad += 1;
                }
                if response.header("connection") == Some("close") {
                    client = Client::connect(address);
                }
            }
            (good, bad)
        };
        let threads = (0..clients)
            .map(|_| (Arc::clone(&stop), Arc::clone(&asked)))
            .map(|(stop, asked)| std::thread::spawn(move || run(stop, asked)))
            .collect();
        Self {
            stop,
            threads,
            asked,
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// (good, bad) over all clients.
    fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        let results = self.threads.into_iter().map(|t| t.join().unwrap());
        results.fold((0, 0), |sum, r| (sum.0 + r.0, sum.1 + r.1))
    }
}

/// Whether nobody listens; a full queue does not make it wait.
fn is_refused(address: SocketAddr) -> bool {
    let connected = TcpStream::connect_timeout(&address, Duration::from_millis(500));
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn hundreds_of_swaps_under_load_lose_no_request() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::answering(OK)).collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(|o| o.address).collect();
    let mut bench = Bench::start_with(simple(&addresses), 2);
    let load = Load::start(bench.address(), 4);
    for n in 0..300 {
        let mut config = simple(addresses.get(..1 + n % 3).unwrap());
        config.pools[0].backends[0].weight = 1 + n as u32 % 5;
        config.pools[0].response_timeout += Duration::from_millis(n as u64);
        bench.swap(config);
        let asked = load.asked();
        eventually("a request", || load.asked() > asked);
    }
    let (good, bad) = load.finish();
    assert_eq!(bad, 0);
    assert!(good >= 300);
}

#[test]
fn responses_are_booked_to_the_epoch_of_their_pick_and_all_counts_add_up() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::answering(OK)).collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(|o| o.address).collect();
    let mut bench = Bench::start_with(simple(&addresses), 2);
    let load = Load::start(bench.address(), 4);
    for n in 0..6 {
        let asked = load.asked();
        eventually("requests", || load.asked() > asked + 50);
        let mut config = simple(&addresses);
        config.pools[0].backends[0].weight = 2 + n;
        bench.swap(config);
    }
    let (good, bad) = load.finish();
    let tallies = bench.finish();
    assert_eq!(bad, 0);
    assert_eq!(tallies.len(), 7, "one entry per epoch");
    let mut picks = 0;
    for (_, cells) in &tallies {
        let free: u64 = cells.iter().map(|c| c.picks_free).sum();
        let ended: u64 = cells.iter().map(|c| c.outcomes.total()).sum();
        assert_eq!(free, ended, "each pick ended in its own epoch");
        picks += free;
    }
    assert_eq!(picks, good);
}

#[test]
fn a_request_in_flight_survives_the_removal_of_its_backend_and_pool() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let slow = Origin::start(move |mut conn| {
        conn.request();
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
    });
    let other = Origin::answering(OK);
    let mut bench = Bench::start(simple(&[slow.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || slow.connections() == 1);
    let mut next = simple(&[other.address]);
    next.pools[0] = pool("other", &[other.address]);
    next.routes[0].target = Target::Pool(next.pools[0].name.clone());
    bench.swap(next);
    assert_eq!(bench.client().get("/").text(), "ok");
    release.send(()).unwrap();
    assert_eq!(client.response().text(), "slow");
    assert_eq!(
        client.get("/").text(),
        "ok",
        "the same connection sees the new snapshot"
    );
}

#[test]
fn listeners_come_and_go_with_a_swap() {
    let origin = Origin::answering(OK);
    let pools = || vec![pool("shop", &[origin.address])];
    let mut bench = Bench::start(config(vec![listener("a", local())], pools()));
    let first = bench.address();
    let mut kept = Client::connect(first);
    assert_eq!(kept.get("/").text(), "ok");
    bench.swap(config(
        vec![listener("a", local()), listener("b", local())],
        pools(),
    ));
    let addresses = bench.proxy.addresses();
    assert_eq!(
        crate::support::tcp(&addresses[0].1),
        first,
        "an unchanged listener keeps its socket"
    );
    let second = crate::support::tcp(&addresses[1].1);
    assert_eq!(Client::connect(second).get("/").text(), "ok");
    assert_eq!(kept.get("/").text(), "ok");
    bench.swap(config(vec![listener("b", local())], pools()));
    eventually("the end of the first listener", || is_refused(first));
    assert!(kept.closed(), "its idle connections end");
    assert_eq!(Client::connect(second).get("/").text(), "ok");
}

#[test]
fn a_listener_that_cannot_be_bound_leaves_everything_as_it_was() {
    let origin = Origin::answering(OK);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(taken.local_addr().unwrap());
    let bench = Bench::start(simple(&[origin.address]));
    let pools = vec![pool("shop", &[origin.address])];
    let bad = config(
        vec![listener("web", local()), listener("extra", address.clone())],
        pools,
    );
    let error = bench.try_swap(&bad).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("`extra`") && said.contains(&address.to_string()) && said.contains("in use"),
        "{said}"
    );
    assert_eq!(bench.proxy.addresses().len(), 1);
    assert_eq!(bench.client().get("/").text(), "ok");
    assert!(Proxy::bind(&bad).is_err());
}

#[test]
fn unix_sockets_serve_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::answering(OK);
    let inner = dir.path().join("inner.sock");
    let outer = dir.path().join("outer.sock");
    let back = Bench::start(config(
        vec![listener("in", Address::Unix(inner.clone()))],
        vec![pool("shop", &[origin.address])],
    ));
    let mut front_config: Config = simple(&[origin.address]);
    front_config
        .listeners
        .push(listener("unix", Address::Unix(outer.clone())));
    front_config.pools[0].backends[0].address = Address::Unix(inner.clone());
    let front = Bench::start(front_config);
    assert_eq!(front.client().get("/").text(), "ok");
    assert!(UnixStream::connect(&outer).is_ok());
    drop(front);
    drop(back);
    assert!(
        !inner.exists() && !outer.exists(),
        "socket files are removed"
    );
}

#[test]
fn a_drain_finishes_requests_closes_idle_connections_and_refuses_new_ones() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |mut conn| {
        while let Some(request) = conn.request() {
            if request.starts_with("GET /slow") {
                gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            conn.send(OK);
        }
    });
    let mut bench = Bench::start(simple(&[origin.address]));
    let address = bench.address();
    let mut idle = bench.client();
    assert_eq!(idle.get("/").text(), "ok");
    let mut farewell = bench.client();
    assert_eq!(farewell.get("/").text(), "ok");
    let mut slow = bench.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the slow request", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 1
    });
    bench.proxy.drain(PATIENCE);
    eventually("the end of the listener", || is_refused(address));
    let last = farewell.get("/");
    assert_eq!(
        (last.text(), last.header("connection")),
        ("ok", Some("close"))
    );
    assert!(idle.closed());
    release.send(()).unwrap();
    let response = slow.response();
    assert_eq!(
        (response.text(), response.header("connection")),
        ("ok", Some("close"))
    );
    let report = bench.proxy.join();
    assert_eq!(report.cut_off, 0);
    let mut stopped = false;
    while let Ok(event) = bench.events.try_recv() {
        stopped |= matches!(event, Event::WorkerStopped { cut_off: 0, .. });
    }
    assert!(stopped);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let origin = Origin::start(|mut conn| while conn.request().is_some() {});
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 1
    });
    let start = Instant::now();
    bench.proxy.drain(Duration::from_millis(200));
    let report = bench.proxy.join();
    assert_eq!(report.cut_off, 1);
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn connections_are_spread_over_the_workers() {
    let origin = Origin::answering(OK);
    let mut bench = Bench::start_with(simple(&[origin.address]), 2);
    let mut clients: Vec<Client> = (0..40).map(|_| bench.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(bench.proxy.connections(), 40);
    drop(clients);
    bench.proxy.drain(PATIENCE);
    bench.proxy.join();
    let mut by_worker = [0, 0];
    while let Ok(tally) = bench.tallies.try_recv() {
        let cells = &tally.pools[0].epochs[0].backends;
        by_worker[usize::from(tally.worker.0)] = cells[0].picks_free;
    }
    assert_eq!(by_worker[0] + by_worker[1], 40);
    assert!(by_worker.iter().all(|n| *n >= 12), "{by_worker:?}");
}
