//! What goes over TLS to backends is the HTTP that goes without: bodies, ends, kept connections, tunnels, second tries.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Hedge, HedgeAfter, Probe, Upgrades};
use evenkeel_model::units::Ratio;
use evenkeel_proxy::tls::Dialled;

use crate::backend_tls::{NAME, OK, believing, count, files, over};
use crate::secure::{Authority, BOTH, SecureConn, secure_answering, secure_origin, serving};
use crate::support::{Bench, Client, Origin, eventually, header};

/// A proxy in front of an origin that runs `script` over TLS.
fn bench(script: impl Fn(SecureConn) + Send + Sync + 'static) -> (Bench, Origin) {
    let authority = Authority::new();
    let origin = secure_origin(&serving(&authority.signs(&[NAME]), None, BOTH), script);
    let config = over(&[origin.address], believing());
    (files(&authority).start_to_backends(config, 1), origin)
}

#[test]
fn bodies_of_any_size_arrive_unchanged_in_both_directions() {
    let (bench, _origin) = bench(|mut conn| {
        while let Some(head) = conn.head() {
            let length = header(&head, "content-length").unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            conn.0.read_exact(&mut body).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            if !conn.send(&head) || !conn.send_bytes(&body) {
                return;
            }
        }
    });
    let mut client = bench.client();
    for size in [0_usize, 1, 16_383, 16_384, 16_385, 65_536, 3_000_003] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n"
        ));
        client.stream.write_all(&body).unwrap();
        assert!(client.response().body == body, "{size}");
    }
}

#[test]
fn a_response_that_ends_with_its_connection_is_whole_only_when_the_backend_says_so() {
    let (bench, _origin) = bench(|mut conn| {
        let Some(head) = conn.head() else { return };
        conn.send("HTTP/1.1 200 OK\r\n\r\nsome of it");
        if head.starts_with("GET /whole ") {
            conn.end();
        }
    });
    let mut client = bench.client();
    client.send("GET /whole HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().text(), "some of it");
    let mut client = bench.client();
    client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a whole response: {rest:?}");
    let cell = &bench.finish()[0].1[0];
    assert_eq!((cell.outcomes.ok, cell.outcomes.reset), (1, 1));
}

#[test]
fn a_kept_connection_that_the_backend_has_ended_is_not_used_again() {
    let (bench, origin) = bench(|mut conn| {
        if conn.head().is_some() && conn.send(OK) {
            conn.end();
        }
    });
    let mut client = bench.client();
    for n in 1..=5 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(origin.connections(), n);
    }
    let cell = &bench.finish()[0].1[0];
    assert_eq!((cell.outcomes.ok, cell.outcomes.total()), (5, 5));
}

#[test]
fn a_tunnel_goes_through_tls_both_ways_to_the_end_that_is_said() {
    let (mut bench, _origin) = bench(|mut conn| {
        let head = conn.head().unwrap();
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let mut bytes = Vec::new();
        // Without its end being said this is an error of rustls.
        conn.0.read_to_end(&mut bytes).unwrap();
        conn.send_bytes(&bytes);
        conn.end();
    });
    let mut config = bench.config.clone();
    config.routes[0].upgrades = Upgrades(vec!["websocket".to_owned()]);
    bench.swap(config);
    let mut client = bench.client();
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read(5), b"hello");
    let sent: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
    client.stream.write_all(&sent).unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.rest() == sent);
}

#[test]
fn a_second_try_and_a_probe_go_over_tls_too() {
    let authority = Authority::new();
    let server = serving(&authority.signs(&[NAME]), None, BOTH);
    let slow = secure_origin(&server, |mut conn| {
        while conn.head().is_some() {
            // Until the other side closes.
            drop(conn.head());
        }
    });
    let quick = secure_answering(&server, OK);
    let mut config = over(&[slow.address, quick.address], believing());
    config.pools[0].hedge = Some(Hedge {
        after: HedgeAfter::Time(Duration::from_millis(30)),
        budget: Ratio::from_percent(100),
    });
    let bench = files(&authority).start_to_backends(config, 1);
    let mut client = bench.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert!(bench.proxy.hedges()[0].1.won > 0);

    let reporting = secure_origin(&server, |mut conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("GET /load ") {
                assert_eq!(header(&head, "host"), Some(NAME));
            }
            conn.send("HTTP/1.1 200 OK\r\nX-Prequal-RIF: 1\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut config = over(&[reporting.address], believing());
    config.pools[0].algorithm = Algorithm::Prequal;
    config.pools[0].probe = Some(Probe {
        path: "/load".to_owned(),
        rate: 1.0,
        timeout: Duration::from_secs(1),
        idle_interval: None,
    });
    let bench = files(&authority).start_to_backends(config, 1);
    let mut client: Client = bench.client();
    eventually("a probe is answered", || {
        assert_eq!(client.get("/").text(), "ok");
        bench.proxy.probes()[0].1.answered > 0
    });
    assert_eq!(count(&bench, "b0", Dialled::Refused), 0);
}
