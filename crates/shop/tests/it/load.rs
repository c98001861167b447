//! The load generator against real servers.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use evenkeel_shop::load::{Item, start};
use evenkeel_shop::{
    Capacity, Fault, FaultKind, LoadOptions, Mix, ServerHandle, ShopOptions, StubOptions,
    check_invariants, spawn, spawn_stub,
};

use crate::client::until;

fn options(to: SocketAddr) -> LoadOptions {
    LoadOptions {
        target: format!("http://{to}"),
        rate: 1_000.0,
        mix: Mix::Items(vec![Item::get("/")]),
        ..LoadOptions::default()
    }
}

fn stub() -> ServerHandle {
    spawn_stub(StubOptions {
        capacity: Capacity {
            workers: 50,
            service_time: Duration::from_millis(1),
            ..Capacity::default()
        },
        ..StubOptions::default()
    })
    .unwrap()
}

#[test]
fn a_stalled_server_does_not_slow_arrivals_and_what_is_not_sent_is_counted() {
    // Accepts (the kernel does) and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let load = start(LoadOptions {
        outstanding: 300,
        connections: 20,
        timeout: Duration::from_secs(60),
        ..options(silent.local_addr().unwrap())
    })
    .unwrap();
    until("arrivals without any answer", || load.total().shed >= 200);
    let report = load.snapshot();
    assert_eq!(
        (report.total.sent, report.total.ended(), report.outstanding),
        (300, 0, 300)
    );
    assert_eq!(report.total.harmed, report.total.shed);
    drop(load);
}

#[test]
fn every_arrival_ends_up_in_exactly_one_count() {
    let stub = stub();
    for (kind, what) in [
        (FaultKind::Slow { factor: 1.0 }, "ok"),
        (FaultKind::Errors { rate: 1.0 }, "server_error"),
        (FaultKind::Reset { rate: 1.0 }, "reset"),
        (FaultKind::Refuse, "connect_failed"),
    ] {
        let ttl = Duration::from_secs(300);
        stub.inject(Fault { kind, ttl }).unwrap();
        if kind == FaultKind::Refuse {
            let refused = || std::net::TcpStream::connect(stub.address()).is_err();
            until("refusal", refused);
        }
        let load = start(LoadOptions {
            duration: Some(Duration::from_millis(300)),
            rate: 400.0,
            ..options(stub.address())
        })
        .unwrap();
        let report = load.wait();
        let total = &report.total;
        assert!(
            total.sent > 60 && report.outstanding == 0,
            "{what}: {total:?}"
        );
        assert_eq!(
            report.to_json()["total"][what],
            total.sent,
            "{what}: {total:?}"
        );
        assert_eq!(
            total.harmed,
            if what == "ok" { total.slow } else { total.sent }
        );
        assert_eq!(
            report.seconds.iter().map(|s| s.sent).sum::<u64>(),
            total.sent
        );
        stub.clear_faults();
    }
}

#[test]
fn answers_beyond_the_objective_are_slow_and_those_beyond_the_timeout_failed() {
    let stub = stub();
    let ttl = Duration::from_secs(300);
    let wait = |ms| {
        let kind = FaultKind::Latency { ms };
        stub.inject(Fault { kind, ttl }).unwrap();
    };
    wait(60);
    let run = |objective, timeout| {
        let load = start(LoadOptions {
            duration: Some(Duration::from_millis(200)),
            rate: 200.0,
            objective: Duration::from_millis(objective),
            timeout: Duration::from_millis(timeout),
            ..options(stub.address())
        });
        load.unwrap().wait().total
    };
    let slow = run(50, 20_000);
    assert_eq!(
        (slow.ok, slow.slow, slow.harmed),
        (slow.sent, slow.sent, slow.sent)
    );
    // So late that no pause of this machine lets an answer overtake the timeout.
    wait(60_000);
    let late = run(50, 20);
    assert_eq!((late.timeout, late.harmed), (late.sent, late.sent));
}

#[test]
fn retries_are_made_and_counted_apart_from_arrivals() {
    let stub = stub();
    let ttl = Duration::from_secs(300);
    stub.inject(Fault {
        kind: FaultKind::Errors { rate: 1.0 },
        ttl,
    })
    .unwrap();
    let load = start(LoadOptions {
        duration: Some(Duration::from_millis(200)),
        rate: 300.0,
        retries: 2,
        retry_backoff: Duration::ZERO,
        ..options(stub.address())
    });
    let total = load.unwrap().wait().total;
    assert_eq!(
        (total.retries, total.server_error),
        (2 * total.sent, total.sent)
    );
    assert_eq!(stub.usage().admitted, 3 * total.sent);
}

#[test]
fn connections_are_as_many_and_last_as_long_as_asked() {
    let stub = stub();
    let run = |requests_per_connection| {
        let load = start(LoadOptions {
            duration: Some(Duration::from_millis(400)),
            rate: 500.0,
            connections: 8,
            connections_max: 0,
            requests_per_connection,
            ..options(stub.address())
        });
        load.unwrap().wait().total
    };
    let kept = run(None);
    assert_eq!((kept.connections, kept.ok), (8, kept.sent));
    let single = run(Some(1));
    assert_eq!((single.connections, single.ok), (single.sent, single.sent));
}

#[test]
fn busy_connections_do_not_throttle_an_overload() {
    let stub = stub();
    let ttl = Duration::from_secs(300);
    let kind = FaultKind::Hang { rate: 1.0 };
    stub.inject(Fault { kind, ttl }).unwrap();
    let load = start(LoadOptions {
        connections: 2,
        connections_max: 300,
        timeout: Duration::from_secs(60),
        ..options(stub.address())
    })
    .unwrap();
    // 50 slots and a queue of 200 fill up although only two connections are kept.
    until("an overflow", || load.total().server_error > 0);
    assert_eq!(stub.usage().waiting, 200);
    load.set_rate(0.0);
    stub.clear_faults();
    let total = load.stop().total;
    assert_eq!(total.ok + total.server_error, total.sent, "{total:?}");
}

#[test]
fn the_rate_may_change_while_it_runs() {
    let stub = stub();
    let load = start(LoadOptions {
        rate: 0.0,
        ..options(stub.address())
    })
    .unwrap();
    assert_eq!(load.total().sent, 0);
    load.set_rate(2_000.0);
    until("arrivals", || load.total().ok > 100);
    let report = load.stop();
    assert_eq!(report.total.ok, report.total.sent);
    assert_eq!(report.total.instances.get("stub"), Some(&report.total.sent));
    assert!(report.sessions_seen > 50 && report.sessions_harmed <= report.total.harmed);
}

#[test]
fn the_journey_buys_in_a_real_shop_without_errors_and_the_store_stays_sound() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("shop.db");
    let replica = |name: &str| {
        spawn(ShopOptions {
            database: database.clone(),
            name: name.to_owned(),
            ..ShopOptions::default()
        })
    };
    let shop = replica("web-1").unwrap();
    let load = start(LoadOptions {
        target: format!("http://{}", shop.address()),
        rate: 200.0,
        duration: Some(Duration::from_secs(3)),
        ..LoadOptions::default()
    });
    let total = load.unwrap().wait().total;
    assert_eq!(
        (total.failed(), total.server_error, total.shed),
        (0, 0, 0),
        "{total:?}"
    );
    // A checkout may overtake the add before it; nothing else is a 4xx.
    assert!(total.client_error * 50 <= total.sent, "{total:?}");
    let report = check_invariants(&database).unwrap();
    assert!(report.holds() && report.orders >= 10, "{report:?}");
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    type Break = fn(&mut LoadOptions);
    let at: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let broken: [(&str, Break); 6] = [
        ("target", |o| o.target = "https://x".to_owned()),
        ("rate", |o| o.rate = f64::NAN),
        ("sessions", |o| o.sessions = 0),
        ("connections", |o| o.connections = 0),
        ("retries", |o| o.retries = 16),
        ("mix", |o| o.mix = Mix::Items(vec![])),
    ];
    for (name, breaks) in broken {
        let mut options = options(at);
        breaks(&mut options);
        let text = start(options).unwrap_err().to_string();
        assert!(text.contains(name), "{text}");
    }
}
