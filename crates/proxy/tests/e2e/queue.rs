//! Requests that find every backend at its limit wait, in order, and only as long as they may.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_model::config::{Config, Queue};

use crate::support::{Bench, Client, Origin, PATIENCE, eventually, simple};

/// An origin that answers with the path, one request for each message on the channel.
fn held() -> (Origin, Sender<()>, Arc<AtomicU32>) {
    let (go, may): (Sender<()>, Receiver<()>) = channel();
    let may = Mutex::new(may);
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let origin = Origin::start(move |mut conn| {
        while let Some(request) = conn.request() {
            count.fetch_add(1, Ordering::SeqCst);
            if may.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let length = path.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
            if !conn.send(&answer) {
                return;
            }
        }
    });
    (origin, go, seen)
}

fn limited(backends: &[&Origin], length: u32, timeout: Duration) -> Config {
    let addresses: Vec<_> = backends.iter().map(|origin| origin.address).collect();
    let mut config = simple(&addresses);
    config.pools[0].max_in_flight = Some(1);
    config.pools[0].queue = Some(Queue { length, timeout });
    config
}

fn asks(bench: &Bench, path: &str) -> Client {
    let mut client = bench.client();
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

/// Waits until `n` requests wait in the pool's queue.
fn waiting(bench: &Bench, n: u32) {
    eventually("the queue", || bench.proxy.waiting()[0].1 == n);
}

#[test]
fn who_waits_is_served_in_the_order_of_arrival_as_slots_are_freed() {
    let (origin, go, seen) = held();
    let bench = Bench::start_with(limited(&[&origin], 10, PATIENCE), 2);
    let mut first = asks(&bench, "/first");
    eventually("the first", || seen.load(Ordering::SeqCst) == 1);
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..5 {
        clients.push(asks(&bench, &format!("/{n}")));
        waiting(&bench, n + 1);
    }
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/first");
    for (n, client) in clients.iter_mut().enumerate() {
        eventually("the next", || seen.load(Ordering::SeqCst) as usize == n + 2);
        assert_eq!(bench.proxy.waiting()[0].1 as usize, 4 - n, "one at a time");
        go.send(()).unwrap();
        assert_eq!(client.response().text(), format!("/{n}"));
    }
}

#[test]
fn a_wait_that_is_too_long_is_503_and_harm_and_a_full_queue_refuses_at_once() {
    let (origin, _go, seen) = held();
    let config = limited(&[&origin], 1, Duration::from_millis(300));
    let mut bench = Bench::start(config);
    let _first = asks(&bench, "/");
    eventually("the first", || seen.load(Ordering::SeqCst) == 1);
    let mut second = asks(&bench, "/");
    waiting(&bench, 1);
    assert_eq!(bench.client().get("/").said(), (503, "queue_full"));
    assert_eq!(second.response().said(), (503, "queue_timeout"));
    waiting(&bench, 0);
    bench.proxy.drain(Duration::ZERO);
    bench.proxy.join();
    let mut last = None;
    while let Ok(tally) = bench.tallies.try_recv() {
        last = Some(tally);
    }
    let pool = last.unwrap().pools.remove(0);
    let waits = pool.waits;
    assert_eq!(
        (waits.queued, waits.served, waits.timed_out, waits.full),
        (1, 0, 1, 1)
    );
    assert_eq!(pool.unpicked, 2);
    let harmed = pool.clients.harmed_requests;
    assert!(harmed <= 2, "{harmed}");
}

#[test]
fn a_client_that_leaves_gives_its_place_up() {
    let (origin, go, seen) = held();
    let bench = Bench::start(limited(&[&origin], 1, PATIENCE));
    let mut first = asks(&bench, "/first");
    eventually("the first", || seen.load(Ordering::SeqCst) == 1);
    let second = asks(&bench, "/second");
    waiting(&bench, 1);
    let linger = socket2::SockRef::from(&second.stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(second);
    waiting(&bench, 0);
    let mut third = asks(&bench, "/third");
    waiting(&bench, 1);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/first");
    assert_eq!(third.response().text(), "/third");
    assert_eq!(
        seen.load(Ordering::SeqCst),
        2,
        "nobody asked for the one who left"
    );
}

#[test]
fn a_wider_limit_lets_everybody_in_who_waits() {
    let (origin, go, seen) = held();
    let config = limited(&[&origin], 10, PATIENCE);
    let mut bench = Bench::start_with(config.clone(), 2);
    let mut clients: Vec<Client> = (0..4).map(|_| asks(&bench, "/")).collect();
    waiting(&bench, 3);
    let mut wider = config;
    wider.pools[0].max_in_flight = Some(4);
    bench.swap(wider);
    waiting(&bench, 0);
    for _ in 0..4 {
        go.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[test]
fn no_limit_is_ever_passed_whatever_the_number_of_workers() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let origin = Origin::start(move |mut conn| {
        while conn.request().is_some() {
            let mine = inside.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(mine, Ordering::SeqCst);
            std::thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            if !conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                return;
            }
        }
    });
    let mut config = limited(&[&origin, &origin], 100, PATIENCE);
    config.pools[0].max_in_flight = Some(2);
    config.pools[0].max_in_flight_total = Some(3);
    let bench = Bench::start_with(config, 4);
    let address = bench.address();
    let clients = (0..12).map(|_| {
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            (0..50).all(|_| client.get("/").status == 200)
        })
    });
    let clients: Vec<_> = clients.collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(bench.proxy.waiting()[0].1, 0);
    let ok: u64 = bench.finish()[0]
        .1
        .iter()
        .map(|cell| cell.outcomes.ok)
        .sum();
    assert_eq!(ok, 600);
}

#[test]
fn a_retry_takes_the_place_of_its_failed_try_under_the_limits() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut config = simple(&[crate::support::refused(), origin.address]);
    config.pools[0].max_in_flight_total = Some(1);
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
}
