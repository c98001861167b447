//! Requests that belong to a backend by a key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Config, HashKey, StickyCookie};

use crate::support::{Bench, Client, Origin, eventually, refused, simple};

const HASHES: [Algorithm; 3] = [
    Algorithm::RingHash,
    Algorithm::Maglev,
    Algorithm::Rendezvous,
];

const BODIES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
];

/// Path and further lines of the request of a user.
type Request = fn(usize) -> (String, String);

fn origins() -> Vec<SocketAddr> {
    BODIES.map(|body| Origin::answering(body).address).to_vec()
}

fn by(algorithm: Algorithm, hash: HashKey, backends: &[SocketAddr]) -> Config {
    let mut config = simple(backends);
    config.pools[0].algorithm = algorithm;
    config.pools[0].affinity.hash = Some(hash);
    config
}

fn header() -> HashKey {
    HashKey::Header("x-user".to_owned())
}

/// Who answers a request with these lines.
fn answer(client: &mut Client, path: &str, lines: &str) -> String {
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200, "{}", response.head);
    response.text().to_owned()
}

/// Who answers each of 40 users, each on a connection of its own.
fn homes(bench: &Bench) -> Vec<String> {
    let home = |n: usize| answer(&mut bench.client(), "/", &format!("X-User: u{n}\r\n"));
    (0..40).map(home).collect()
}

#[test]
fn a_key_has_one_backend_on_every_worker_and_instance_and_across_reloads() {
    let addresses = origins();
    for algorithm in HASHES {
        let config = by(algorithm, header(), &addresses);
        let mut bench = Bench::start_with(config.clone(), 4);
        let first = homes(&bench);
        for backend in ["0", "1", "2"] {
            assert!(first.iter().any(|home| home == backend), "{algorithm:?}");
        }
        for _ in 0..3 {
            assert_eq!(homes(&bench), first, "{algorithm:?}");
        }
        let mut changed = config.clone();
        changed.pools[0].max_in_flight = Some(1_000);
        bench.swap(changed);
        assert_eq!(homes(&bench), first, "{algorithm:?}");
        assert_eq!(homes(&Bench::start_with(config, 1)), first, "{algorithm:?}");
        let tallies = bench.finish();
        for (_, cells) in &tallies {
            assert_eq!(cells.iter().map(|c| c.picks_free).sum::<u64>(), 0);
        }
        let cells = tallies.iter().flat_map(|(_, cells)| cells);
        let all: u64 = cells.map(|cell| cell.picks_forced).sum();
        assert_eq!(all, 5 * 40);
    }
}

#[test]
fn each_kind_of_key_ties_requests_to_a_backend() {
    let addresses = origins();
    let kinds: [(HashKey, Request); 4] = [
        (HashKey::Cookie("sid".to_owned()), |n| {
            ("/".to_owned(), format!("Cookie: a=b; sid=u{n}\r\n"))
        }),
        (HashKey::Query("user".to_owned()), |n| {
            (format!("/?x=1&user=u{n}&userx=2"), String::new())
        }),
        (HashKey::Path, |n| (format!("/p{n}?q={n}"), String::new())),
        (HashKey::ClientAddress, |_| ("/".to_owned(), String::new())),
    ];
    for (kind, request) in kinds {
        let is_address = kind == HashKey::ClientAddress;
        let bench = Bench::start_with(by(Algorithm::Maglev, kind, &addresses), 2);
        let round = || -> Vec<String> {
            let home = |n| {
                let (path, lines) = request(n);
                answer(&mut bench.client(), &path, &lines)
            };
            (0..30).map(home).collect()
        };
        let first = round();
        assert_eq!(round(), first);
        // One client address is one key; thirty of the others are never all of one backend.
        assert_eq!(first.iter().all(|home| *home == first[0]), is_address);
    }
}

#[test]
fn a_request_without_the_key_is_spread_by_weight_as_a_free_pick() {
    let bench = Bench::start(by(Algorithm::RingHash, header(), &origins()));
    let mut client = bench.client();
    for lines in ["", "X-User:\r\n", "X-Other: u1\r\n"] {
        for _ in 0..40 {
            answer(&mut client, "/", lines);
        }
    }
    let tallies = bench.finish();
    let cells = &tallies[0].1;
    assert!(
        cells
            .iter()
            .all(|cell| cell.picks_free >= 15 && cell.picks_forced == 0)
    );
}

#[test]
fn keys_of_a_backend_that_refuses_are_served_by_the_next_in_their_order() {
    let mut addresses = origins();
    addresses[1] = refused();
    for algorithm in HASHES {
        let bench = Bench::start_with(by(algorithm, header(), &addresses), 2);
        let first = homes(&bench);
        assert_eq!(homes(&bench), first, "{algorithm:?}");
        let retries: u64 = bench.finish()[0]
            .1
            .iter()
            .map(|cell| cell.picks_retry)
            .sum();
        assert!(retries > 0);
    }
}

#[test]
fn a_bounded_load_passes_a_hot_key_on_and_takes_it_back() {
    let gate = Arc::new(Mutex::new(()));
    let arrived: Arc<[AtomicU32; 2]> = Arc::default();
    let held = |n: usize| {
        let (gate, arrived) = (Arc::clone(&gate), Arc::clone(&arrived));
        Origin::start(move |mut conn| {
            while conn.request().is_some() {
                arrived[n].fetch_add(1, Ordering::SeqCst);
                drop(gate.lock());
                conn.send(BODIES[n]);
            }
        })
    };
    let addresses = [held(0).address, held(1).address];
    let mut config = by(Algorithm::Rendezvous, header(), &addresses);
    config.pools[0].affinity.bounded_load = Some(1.01);
    let bench = Bench::start_with(config, 2);
    let home: usize = answer(&mut bench.client(), "/", "X-User: hot\r\n")
        .parse()
        .unwrap();
    let other = 1 - home;
    let count = |n: usize| arrived[n].load(Ordering::SeqCst);
    let shut = gate.lock().unwrap();
    let mut clients = Vec::new();
    // Bounds while the n-th comes: ceil(1.01 n / 2) = 1, 2, 2, 3.
    for (n, (home_has, other_has)) in [(1, 0), (2, 0), (2, 1), (3, 1)].into_iter().enumerate() {
        let mut client = bench.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nX-User: hot\r\n\r\n");
        clients.push(client);
        eventually("the request arrives", || {
            count(0) + count(1) == n as u32 + 2
        });
        assert_eq!(
            (count(home) - 1, count(other)),
            (home_has, other_has),
            "request {n}"
        );
    }
    drop(shut);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let idle = || {
        let pools = bench.proxy.vitals();
        pools
            .iter()
            .all(|(_, backends)| backends.iter().all(|(_, v)| v.in_flight == 0))
    };
    eventually("everything is answered", idle);
    let back = answer(&mut bench.client(), "/", "X-User: hot\r\n");
    assert_eq!(back, home.to_string());
}

fn sticky(backends: &[SocketAddr]) -> Config {
    let mut config = simple(backends);
    config.pools[0].affinity.sticky = Some(StickyCookie {
        name: "ek".to_owned(),
        ttl: Duration::from_secs(3_600),
    });
    config
}

/// Who answers a request with this `Cookie`, and the sticky cookie that it sets.
fn visit(bench: &Bench, cookie: &str) -> (String, Option<String>) {
    let mut client = bench.client();
    client.send(&format!(
        "GET / HTTP/1.1\r\nHost: test\r\nCookie: a=1; {cookie}; b=2\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!(response.status, 200, "{}", response.head);
    let set = response.header("set-cookie").map(|set| {
        assert!(
            set.contains("; HttpOnly; SameSite=Lax") && set.contains("Path=/"),
            "{set}"
        );
        set.split(';').next().unwrap().to_owned()
    });
    (response.text().to_owned(), set)
}

#[test]
fn a_client_with_its_cookie_stays_on_every_worker_across_reloads_and_at_weight_0() {
    let config = sticky(&origins());
    let mut bench = Bench::start_with(config.clone(), 4);
    let homes: Vec<_> = (0..3).map(|_| visit(&bench, "c=3")).collect();
    let stay = |bench: &Bench| {
        for (home, cookie) in &homes {
            for _ in 0..10 {
                // Nothing is set anew while nothing has changed.
                assert_eq!(visit(bench, cookie.as_ref().unwrap()), (home.clone(), None));
            }
        }
    };
    stay(&bench);
    let mut drained = config;
    for backend in &mut drained.pools[0].backends[..2] {
        backend.weight = 0;
    }
    bench.swap(drained);
    stay(&bench);
    let (newcomer, _) = visit(&bench, "c=3");
    assert_eq!(newcomer, "2");
    let tallies = bench.finish();
    let cells = tallies.iter().flat_map(|(_, cells)| cells);
    let sums = cells.fold((0, 0), |(free, forced), cell| {
        (free + cell.picks_free, forced + cell.picks_forced)
    });
    assert_eq!(sums, (4, 60));
}

#[test]
fn a_client_whose_backend_refuses_or_whose_cookie_is_forged_is_bound_anew() {
    let addresses = origins();
    let mut bench = Bench::start(sticky(&addresses));
    let (home, cookie) = visit(&bench, "c=3");
    let cookie = cookie.unwrap();
    let forged = format!("{}0", &cookie[..cookie.len() - 1]);
    let forged = if forged == cookie {
        forged.replace("ek=", "ek=1")
    } else {
        forged
    };
    assert!(visit(&bench, &forged).1.is_some());
    let mut gone = addresses;
    gone[home.parse::<usize>().unwrap()] = refused();
    bench.swap(sticky(&gone));
    let (other, moved) = visit(&bench, &cookie);
    assert_ne!(other, home);
    let moved = moved.unwrap();
    assert_eq!(visit(&bench, &moved), (other, None));
    // Another instance has another key unless it is given the same.
    let stranger = Bench::start(sticky(&gone));
    assert!(visit(&stranger, &moved).1.is_some());
}
