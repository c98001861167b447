//! What backends say that they hold, in answers and to probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Config, Probe};
use evenkeel_proxy::Probes;

use crate::support::{Bench, Client, Conn, Origin, PATIENCE, eventually, refused, simple};

/// An origin that knows what it holds, and how its probes are answered.
struct Reporting {
    origin: Origin,
    held: Arc<AtomicU32>,
    /// Requests that were not probes.
    asked: Arc<AtomicU32>,
    probed: Arc<AtomicU32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Probed {
    Answers,
    /// Keeps the connection open and says nothing.
    Never,
    /// Answers without the number.
    Plainly,
}

impl Reporting {
    /// `/wait` is answered once `go` is set.
    fn start(probed_how: Probed, go: &Arc<AtomicBool>) -> Self {
        let [held, asked, probed] = [(); 3].map(|()| Arc::new(AtomicU32::new(0)));
        let cells = (Arc::clone(&held), Arc::clone(&asked), Arc::clone(&probed));
        let go = Arc::clone(go);
        let origin = Origin::start(move |mut conn| {
            let (held, asked, probed) = &cells;
            while let Some(request) = conn.request() {
                let is_answered = if request.starts_with("GET /load ") {
                    probed.fetch_add(1, Ordering::SeqCst);
                    answer_probe(&mut conn, probed_how, held)
                } else {
                    asked.fetch_add(1, Ordering::SeqCst);
                    held.fetch_add(1, Ordering::SeqCst);
                    while request.starts_with("GET /wait ") && !go.load(Ordering::SeqCst) {
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                    let before = held.fetch_sub(1, Ordering::SeqCst);
                    conn.send(&format!(
                        "HTTP/1.1 200 OK\r\nX-Prequal-RIF: {}\r\nX-Prequal-Latency-Us: 10\r\nContent-Length: 0\r\n\r\n",
                        before - 1
                    ))
                };
                if !is_answered {
                    return;
                }
            }
        });
        Self {
            origin,
            held,
            asked,
            probed,
        }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn probed(&self) -> u32 {
        self.probed.load(Ordering::SeqCst)
    }
}

fn answer_probe(conn: &mut Conn, how: Probed, held: &AtomicU32) -> bool {
    match how {
        Probed::Answers => {
            let held = held.load(Ordering::SeqCst);
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nX-Prequal-RIF: {held}\r\nContent-Length: 2\r\n\r\nok"
            ))
        }
        Probed::Plainly => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        Probed::Never => {
            conn.closed();
            false
        }
    }
}

fn prequal(backends: &[SocketAddr], probe: Option<Probe>) -> Config {
    let mut config = simple(backends);
    config.pools[0].algorithm = Algorithm::Prequal;
    config.pools[0].probe = probe;
    config
}

fn probe(rate: f64) -> Probe {
    Probe {
        path: "/load".to_owned(),
        rate,
        timeout: Duration::from_secs(1),
        idle_interval: None,
    }
}

fn probes(bench: &Bench) -> Probes {
    bench.proxy.probes()[0].1
}

fn no_wait() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

#[test]
fn a_balancer_sees_what_another_one_has_sent_to_the_same_backend() {
    let go = Arc::new(AtomicBool::new(false));
    let backends = [(); 3].map(|()| Reporting::start(Probed::Answers, &go));
    let addresses = [0, 1, 2].map(|i: usize| backends[i].origin.address);
    // The other balancer has only the first backend, and its requests stay there.
    let other = Bench::start(prequal(&addresses[..1], None));
    let mut waiting: Vec<Client> = (0..8).map(|_| other.client()).collect();
    for client in &mut waiting {
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("the first is full", || {
        backends[0].held.load(Ordering::SeqCst) == 8
    });
    let bench = Bench::start(prequal(&addresses, Some(probe(2.0))));
    let mut client = bench.client();
    for _ in 0..60 {
        assert_eq!(client.get("/").status, 200);
        // Whatever was asked is heard before the next request: what is shown is who is chosen, not how fast.
        eventually("all probes are answered", || {
            let seen = probes(&bench);
            seen.answered == seen.sent
        });
    }
    let first = backends[0].asked() - 8;
    assert!(first <= 8, "{first} of 60 went to the full one");
    assert_eq!(backends.iter().map(Reporting::asked).sum::<u32>(), 60 + 8);
    let seen = probes(&bench);
    assert_eq!((seen.late, seen.failed, seen.silent), (0, 0, 0), "{seen:?}");
    let probed: u32 = backends.iter().map(Reporting::probed).sum();
    assert_eq!(u64::from(probed), seen.sent);
    go.store(true, Ordering::SeqCst);
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
    // Probes are none of the pool's requests.
    let tally = bench.finish().remove(0).1;
    let picks: u64 = tally.iter().map(|cell| cell.picks_free).sum();
    let ended: u64 = tally.iter().map(|cell| cell.outcomes.total()).sum();
    assert_eq!((picks, ended), (60, 60));
}

#[test]
fn reports_are_for_the_pool_that_goes_by_them_and_reach_no_client() {
    let backend = Reporting::start(Probed::Answers, &no_wait());
    for (algorithm, passes) in [
        (Algorithm::Prequal, None),
        (Algorithm::RoundRobin, Some("0")),
    ] {
        let mut config = prequal(&[backend.origin.address], None);
        config.pools[0].algorithm = algorithm;
        let bench = Bench::start(config);
        let response = bench.client().get("/");
        assert_eq!(response.header("x-prequal-rif"), passes, "{algorithm:?}");
        assert_eq!(
            response.header("x-prequal-latency-us").is_some(),
            passes.is_some()
        );
    }
}

#[test]
fn a_backend_that_never_answers_probes_delays_nobody_and_is_asked_once_at_a_time() {
    let hung = Reporting::start(Probed::Never, &no_wait());
    let good = [(); 2].map(|()| Reporting::start(Probed::Answers, &no_wait()));
    let addresses = [
        hung.origin.address,
        good[0].origin.address,
        good[1].origin.address,
    ];
    let bench = Bench::start(prequal(&addresses, Some(probe(3.0))));
    let mut client = bench.client();
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    // Each request would wait a second if it waited for its probes.
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let in_turn = u32::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!(hung.probed() <= in_turn, "{} in {in_turn} s", hung.probed());
    eventually("the probe is late", || probes(&bench).late >= 1);
    let seen = probes(&bench);
    assert!(seen.answered >= 100, "{seen:?}");
    assert_eq!((seen.failed, seen.silent), (0, 0));
}

#[test]
fn backends_without_reports_or_without_a_listener_are_served_as_if_nobody_probed() {
    let plain = [(); 2].map(|()| Reporting::start(Probed::Plainly, &no_wait()));
    let addresses = [plain[0].origin.address, plain[1].origin.address, refused()];
    let mut config = prequal(&addresses, Some(probe(3.0)));
    config.pools[0].retry.attempts = 2;
    let bench = Bench::start(config);
    let mut client = bench.client();
    for _ in 0..40 {
        assert_eq!(client.get("/").status, 200);
    }
    eventually("each was probed", || {
        let seen = probes(&bench);
        seen.silent >= 40 && seen.failed >= 20 && seen.answered == 0
    });
    for backend in &plain {
        assert!(backend.asked() >= 8, "{} of 40", backend.asked());
    }
}

#[test]
fn an_idle_pool_is_probed_only_where_it_is_declared() {
    let backends = [(); 2].map(|()| Reporting::start(Probed::Answers, &no_wait()));
    let addresses = [backends[0].origin.address, backends[1].origin.address];
    let mut config = prequal(&addresses, Some(probe(1.0)));
    let mut idle = probe(1.0);
    idle.idle_interval = Some(Duration::from_millis(250));
    let quiet = Bench::start(config.clone());
    assert_eq!(quiet.client().get("/").status, 200);
    config.pools[0].probe = Some(idle);
    let bench = Bench::start(config);
    eventually("two probes each time", || probes(&bench).answered >= 8);
    assert_eq!(probes(&quiet).sent, 1);
}
