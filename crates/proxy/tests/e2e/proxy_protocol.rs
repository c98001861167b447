//! Who a proxy in front says the client is: believed from whom, understood in which forms, counted where.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use evenkeel_model::config::{Affinity, Config, HashKey, ProxyProtocol, RateLimit};
use evenkeel_proxy::RefusedHeaders;

use crate::support::{
    Bench, Client, Origin, PATIENCE, eventually, header, listener, local, simple,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 192.0.2.2 40000 80\r\n")
}

/// Version 2; `command` 1 is PROXY, 0 is LOCAL.
fn binary(command: u8, client: Ipv4Addr, extensions: &[u8]) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let length = u16::try_from(12 + extensions.len()).unwrap();
    out.extend([0x20 | command, 0x11]);
    out.extend(length.to_be_bytes());
    out.extend(client.octets());
    out.extend([192, 0, 2, 2, 0x9c, 0x40, 0, 80]);
    out.extend(extensions);
    out
}

fn proxied(origin: &Origin, from: &str) -> Config {
    let mut config = simple(&[origin.address]);
    config.listeners[0].proxy_protocol = Some(ProxyProtocol {
        from: vec![from.parse().unwrap()],
    });
    config
}

/// Answers with the `X-Forwarded-For` that it got.
fn told() -> Origin {
    Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let client = header(&head, "x-forwarded-for")
                .unwrap_or("none")
                .to_owned();
            let length = client.len();
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{client}"
            ));
        }
    })
}

fn bytes(client: &mut Client, bytes: &[u8]) {
    client.stream.write_all(bytes).unwrap();
}

fn asks(client: &mut Client) -> String {
    client.send(GET);
    let response = client.response();
    assert_eq!(response.status, 200);
    String::from_utf8(response.body).unwrap()
}

fn refused(source: u64, invalid: u64, timeout: u64) -> RefusedHeaders {
    RefusedHeaders {
        source,
        invalid,
        timeout,
    }
}

#[test]
fn the_client_that_a_header_names_is_the_one_that_the_backend_is_told() {
    let origin = told();
    let bench = Bench::start(proxied(&origin, "127.0.0.0/8"));
    let long: Vec<u8> = [&[4, 1, 0][..], &[0; 256]].concat();
    let ip = Ipv4Addr::new(203, 0, 113, 9);
    for (header, expected) in [
        (line("203.0.113.7").into_bytes(), "203.0.113.7"),
        (
            b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(),
            "2001:db8::7",
        ),
        (
            b"PROXY TCP6 ::ffff:203.0.113.8 ::1 1 2\r\n".to_vec(),
            "203.0.113.8",
        ),
        (binary(1, ip, b""), "203.0.113.9"),
        (binary(1, ip, &long), "203.0.113.9"),
        (binary(0, ip, b""), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        let mut client = bench.client();
        bytes(&mut client, &header);
        assert_eq!(asks(&mut client), expected, "{}", header.escape_ascii());
        // It holds for the whole connection.
        assert_eq!(asks(&mut client), expected);
        // With the request in one piece.
        let mut client = bench.client();
        bytes(&mut client, &[&header[..], GET.as_bytes()].concat());
        assert_eq!(client.response().body, expected.as_bytes());
    }
    assert_eq!(bench.proxy.refused_headers(), Some(refused(0, 0, 0)));
}

#[test]
fn a_header_that_comes_byte_by_byte_is_understood() {
    let origin = told();
    let bench = Bench::start(proxied(&origin, "127.0.0.1"));
    for header in [
        line("203.0.113.7").into_bytes(),
        binary(1, Ipv4Addr::new(203, 0, 113, 7), b""),
    ] {
        let mut client = bench.client();
        for byte in header {
            bytes(&mut client, &[byte]);
        }
        assert_eq!(asks(&mut client), "203.0.113.7");
    }
}

#[test]
fn a_connection_from_elsewhere_is_closed_unheard_and_counted() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(proxied(&origin, "10.0.0.0/8"));
    for text in [line("203.0.113.7") + GET, GET.to_owned()] {
        let mut client = bench.client();
        // It may be closed while this is on its way.
        drop(client.stream.write_all(text.as_bytes()));
        assert!(client.closed());
    }
    eventually("both are counted", || {
        bench.proxy.refused_headers() == Some(refused(2, 0, 0))
    });
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_connection_that_does_not_begin_with_a_header_is_closed_and_counted() {
    let origin = Origin::answering(OK);
    let bench = Bench::start(proxied(&origin, "127.0.0.0/8"));
    let mut cut = binary(1, Ipv4Addr::LOCALHOST, &[4, 0, 9]);
    cut.extend(GET.as_bytes());
    let long = format!("PROXY UNKNOWN {}\r\n{GET}", "x".repeat(100)).into_bytes();
    for (number, start) in [GET.as_bytes().to_vec(), cut, long].into_iter().enumerate() {
        let mut client = bench.client();
        drop(client.stream.write_all(&start));
        assert!(client.closed(), "{}", start.escape_ascii());
        let expected = refused(0, number as u64 + 1, 0);
        eventually("it is counted", || {
            bench.proxy.refused_headers() == Some(expected)
        });
    }
    // Ended within the header: that one counts; before it: a check by connection, which does not.
    let mut half = bench.client();
    half.send("PROXY TCP4 1");
    drop(half);
    drop(bench.client());
    eventually("the half is counted", || {
        bench.proxy.refused_headers() == Some(refused(0, 4, 0))
    });
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_header_must_come_within_the_time_for_a_head() {
    let origin = Origin::answering(OK);
    let mut config = proxied(&origin, "127.0.0.0/8");
    config.listeners[0].head_timeout = Duration::from_millis(80);
    let bench = Bench::start(config);
    let mut silent = bench.client();
    let mut slow = bench.client();
    slow.send("PROXY TCP4 1");
    assert!(silent.closed() && slow.closed());
    eventually("both are counted", || {
        bench.proxy.refused_headers() == Some(refused(0, 0, 2))
    });
}

#[test]
fn limits_by_client_and_the_hash_of_an_address_go_by_who_the_header_names() {
    let origins = [Origin::answering(OK), Origin::answering(OK)];
    let mut config = simple(&[origins[0].address, origins[1].address]);
    config.listeners[0].proxy_protocol = Some(ProxyProtocol {
        from: vec!["127.0.0.1".parse().unwrap()],
    });
    config.pools[0].affinity = Affinity {
        hash: Some(HashKey::ClientAddress),
        ..Affinity::default()
    };
    config.pools[0].algorithm = evenkeel_model::config::Algorithm::Maglev;
    config.routes[0].rate_limit = Some(RateLimit {
        rps: 0.001,
        burst: 1,
        by: Some(HashKey::ClientAddress),
    });
    let bench = Bench::start(config);
    let mut statuses = Vec::new();
    for round in 0..2 {
        for n in 1..=40 {
            let mut client = bench.client();
            client.send(&(line(&format!("203.0.113.{n}")) + GET));
            statuses.push((round, client.response().status));
        }
    }
    // Each of 40 clients has one request free and no second one.
    let expected = (0..2).flat_map(|round| vec![(round, [200, 429][round]); 40]);
    assert_eq!(statuses, expected.collect::<Vec<_>>());
    // One address would always lead to one backend.
    assert!(origins.iter().all(|origin| origin.connections() > 0));
}

#[test]
fn a_listener_without_the_key_takes_no_header_and_a_swap_changes_new_connections_only() {
    let origin = told();
    let plain = simple(&[origin.address]);
    let mut bench = Bench::start(plain.clone());
    let mut direct = bench.client();
    assert_eq!(asks(&mut direct), "127.0.0.1");
    let mut client = bench.client();
    client.send(&(line("203.0.113.7") + GET));
    assert_eq!(client.response().status, 400);
    assert_eq!(bench.proxy.refused_headers(), None);
    let mut config = plain;
    config.listeners[0].proxy_protocol = proxied(&origin, "127.0.0.1").listeners[0]
        .proxy_protocol
        .clone();
    bench.swap(config);
    let mut client = bench.client();
    client.send(&line("203.0.113.7"));
    assert_eq!(asks(&mut client), "203.0.113.7");
    assert_eq!(asks(&mut direct), "127.0.0.1");
}

#[test]
fn a_connection_that_has_said_nothing_does_not_hold_up_a_drain() {
    let origin = Origin::answering(OK);
    let mut config = proxied(&origin, "127.0.0.0/8");
    config.listeners.push(listener("other", local()));
    let bench = Bench::start(config);
    let mut silent = bench.client();
    eventually("it is there", || bench.proxy.connections() == 1);
    bench.proxy.drain(100 * PATIENCE);
    assert!(silent.closed());
    assert_eq!(bench.proxy.join().cut_off, 0);
}
