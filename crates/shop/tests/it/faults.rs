//! Capacity and faults of the stub over real sockets; the shop has the same.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use evenkeel_shop::stub::StubRoute;
use evenkeel_shop::{
    Capacity, ControlAddress, Fault, FaultKind, HealthAnswer, Overflow, Release, ServerHandle,
    StubOptions, spawn_stub,
};

use crate::client::{get, send, try_send, until};

fn stub(change: impl FnOnce(&mut StubOptions)) -> ServerHandle {
    let mut options = StubOptions {
        capacity: Capacity {
            service_time: Duration::from_millis(1),
            ..Capacity::default()
        },
        ..StubOptions::default()
    };
    change(&mut options);
    spawn_stub(options).unwrap()
}

fn inject(stub: &ServerHandle, kind: FaultKind) {
    let ttl = Duration::from_secs(300);
    stub.inject(Fault { kind, ttl }).unwrap();
}

/// Starts `n` requests that nobody waits for.
fn occupy(to: SocketAddr, n: usize) -> Vec<std::thread::JoinHandle<Option<u16>>> {
    let ask = move || try_send(to, "GET /", &[], "").map(|answer| answer.status);
    (0..n).map(|_| std::thread::spawn(ask)).collect()
}

fn full(
    change: impl FnOnce(&mut StubOptions),
) -> (ServerHandle, Vec<std::thread::JoinHandle<Option<u16>>>) {
    let stub = stub(|options| {
        options.capacity.workers = 2;
        options.capacity.queue = 3;
        change(options);
    });
    inject(&stub, FaultKind::Hang { rate: 1.0 });
    let held = occupy(stub.address(), 5);
    until("five requests", || {
        let usage = stub.usage();
        (usage.busy, usage.waiting) == (2, 3)
    });
    (stub, held)
}

#[test]
fn beyond_slots_and_queue_comes_503_while_health_stays_outside_the_pool() {
    let (stub, held) = full(|_| {});
    let answer = get(stub.address(), "/");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(get(stub.address(), "/healthz").status, 200);
    stub.clear_faults();
    for request in held {
        assert_eq!(request.join().unwrap(), Some(200));
    }
    assert_eq!(stub.usage().rejected, 1);
}

#[test]
fn a_health_check_inside_the_pool_is_turned_away_like_any_other_request() {
    let (stub, held) = full(|options| options.health_in_pool = true);
    assert_eq!(get(stub.address(), "/healthz").status, 503);
    stub.clear_faults();
    assert!(held.into_iter().all(|h| h.join().unwrap() == Some(200)));
    assert_eq!(get(stub.address(), "/healthz").status, 200);
}

#[test]
fn a_health_check_takes_the_time_that_is_set_and_a_request_does_not() {
    let stub = stub(|options| options.health_latency = Duration::from_millis(200));
    let took = |path: &str| {
        let asked = Instant::now();
        assert_eq!(get(stub.address(), path).status, 200);
        asked.elapsed()
    };
    assert!(took("/healthz") >= Duration::from_millis(200));
    // Among five, one is not held up by the machine.
    assert!((0..5).any(|_| took("/") < Duration::from_millis(200)));
}

#[test]
fn overflow_may_cut_the_connection_instead() {
    let (stub, held) = full(|options| options.capacity.overflow = Overflow::Close);
    assert!(try_send(stub.address(), "GET /", &[], "").is_none());
    stub.clear_faults();
    assert!(held.into_iter().all(|h| h.join().unwrap() == Some(200)));
}

#[test]
fn errors_resets_and_fail_fast_hit_requests_but_not_health() {
    let stub = stub(|_| {});
    let to = stub.address();
    for kind in [
        FaultKind::Errors { rate: 1.0 },
        FaultKind::FailFast { rate: 1.0 },
    ] {
        inject(&stub, kind);
        assert_eq!(
            (get(to, "/").status, get(to, "/healthz").status),
            (500, 200)
        );
        stub.clear_faults();
    }
    inject(&stub, FaultKind::Reset { rate: 1.0 });
    assert!(try_send(to, "GET /", &[], "").is_none());
    assert_eq!(get(to, "/healthz").status, 200);
    stub.clear_faults();
    assert_eq!(get(to, "/").status, 200);
    // Failing fast takes no slot: that is what makes it a sinkhole.
    assert_eq!(stub.usage().admitted, 2);
}

#[test]
fn while_refusing_the_port_is_closed_and_afterwards_it_is_the_same_again() {
    let stub = stub(|_| {});
    let to = stub.address();
    inject(&stub, FaultKind::Refuse);
    until("refusal", || std::net::TcpStream::connect(to).is_err());
    stub.clear_faults();
    until("the port", || try_send(to, "GET /", &[], "").is_some());
}

#[test]
fn health_answers_what_it_is_told() {
    let stub = stub(|options| options.health_path = "/up".to_owned());
    let to = stub.address();
    let answer = HealthAnswer::Fail;
    inject(&stub, FaultKind::Health { answer });
    assert_eq!((get(to, "/up").status, get(to, "/").status), (503, 200));
    let ttl = Duration::from_millis(300);
    let kind = FaultKind::Health {
        answer: HealthAnswer::Hang,
    };
    stub.inject(Fault { kind, ttl }).unwrap();
    assert_eq!(
        get(to, "/up").status,
        200,
        "answered when the fault had ended"
    );
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let stub = stub(|options| options.capacity.connections = Some(1));
    let kept = std::net::TcpStream::connect(stub.address()).unwrap();
    until("the limit", || {
        try_send(stub.address(), "GET /", &[], "").is_none()
    });
    drop(kept);
    until("room", || {
        try_send(stub.address(), "GET /", &[], "").is_some()
    });
}

#[test]
fn paths_may_have_a_status_and_a_body_of_their_own() {
    let stub = stub(|options| {
        options.routes = vec![StubRoute {
            path_prefix: "/poison".to_owned(),
            status: 500,
            cost: 2.0,
            body_bytes: 5,
        }];
    });
    let answer = get(stub.address(), "/poison/1");
    assert_eq!((answer.status, answer.body.len()), (500, 5));
    assert_eq!(get(stub.address(), "/fine").body.len(), 64);
}

#[test]
fn the_control_address_injects_clears_and_releases() {
    let stub = stub(|options| {
        options.control = Some("127.0.0.1:0".parse().unwrap());
        options.zone = Some("a".to_owned());
    });
    let Some(ControlAddress::Tcp(control)) = stub.control() else {
        panic!("no control address")
    };
    let json = [("content-type", "application/json")];
    let post = |path: &str, body: &str| send(*control, &format!("POST {path}"), &json, body);
    let answer = post(
        "/fault",
        r#"{"kind": "errors", "rate": 1.0, "ttl_ms": 60000}"#,
    );
    assert_eq!(
        (answer.status, &answer.json()["faults"][0]["kind"]),
        (200, &"errors".into())
    );
    assert_eq!(get(stub.address(), "/").status, 500);
    for bad in [
        r#"{"kind": "errors", "rate": 1.0}"#,
        r#"{"kind": "errors", "rate": 2.0, "ttl_ms": 5}"#,
        r#"{"kind": "eroors", "rate": 1.0, "ttl_ms": 5}"#,
    ] {
        let answer = post("/fault", bad);
        assert!(
            answer.status == 400 && answer.json()["error"].is_string(),
            "{bad}"
        );
    }
    assert_eq!(send(*control, "DELETE /fault", &[], "").status, 200);
    assert_eq!(get(stub.address(), "/").status, 200);
    post("/release", r#"{"version": "v2"}"#);
    let answer = get(stub.address(), "/");
    assert_eq!(answer.header("x-shop-version"), Some("v2"));
    assert_eq!(answer.header("x-shop-zone"), Some("a"));
    stub.release(Release {
        error_rate: 1.0,
        ..Release::named("v3")
    })
    .unwrap();
    assert_eq!(get(stub.address(), "/").status, 500);
}

#[test]
fn a_unix_socket_takes_control_requests_too() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let _stub = stub(|options| options.control = Some(ControlAddress::Unix(path.clone())));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\"release\""));
}

#[test]
fn an_abandoned_request_keeps_its_slot() {
    let stub = stub(|_| {});
    inject(&stub, FaultKind::Hang { rate: 1.0 });
    let mut client = std::net::TcpStream::connect(stub.address()).unwrap();
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    until("the request", || stub.usage().busy == 1);
    drop(client);
    assert_eq!(get(stub.address(), "/healthz").status, 200);
    assert_eq!(stub.usage().busy, 1);
}

#[test]
fn a_graceful_stop_answers_what_is_under_way() {
    let stub = stub(|_| {});
    inject(&stub, FaultKind::Latency { ms: 300 });
    let held = occupy(stub.address(), 3);
    until("the requests", || stub.usage().busy == 3);
    stub.stop();
    assert!(held.into_iter().all(|h| h.join().unwrap() == Some(200)));
}
