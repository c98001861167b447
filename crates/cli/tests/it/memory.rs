//! A limit on memory with a real allocator: what a crowd took is given back, and service with it.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use crate::support::{Home, Instance, PATIENCE, addresses, config, heavy, request, stubs, until};

/// Connections of the crowd, and bytes of the unfinished request of each.
const CROWD: usize = 700;
const HEAD: usize = 15 * 1024;
/// Above what the instance holds before the crowd.
const ROOM: u64 = 3 << 20;

fn resident(instance: &Instance) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().next());
    kib.unwrap().parse::<u64>().unwrap() * 1_024
}

fn answer(instance: &Instance) -> String {
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    request(instance.front(), get).0
}

#[test]
fn memory_that_a_crowd_took_is_given_back_when_it_is_gone() {
    let _alone = heavy();
    let backends = stubs();
    let text = config(&addresses(&backends), [1, 1, 1], "");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    assert!(answer(&instance).starts_with("HTTP/1.1 200"));
    let limit = resident(&instance) + ROOM;
    let limited = format!("[overload]\nmemory = \"{}KiB\"\n\n{text}", limit / 1_024);
    home.write("limited.toml", &limited);
    instance.ends("apply limited.toml --yes --wait 0s --reason limit", 0);

    let unfinished = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HEAD));
    let crowd = (0..CROWD).map(|_| {
        let mut stream = TcpStream::connect(instance.front()).unwrap();
        drop(stream.write_all(unfinished.as_bytes()));
        stream
    });
    let crowd: Vec<_> = crowd.collect();
    until("a refusal", PATIENCE, || {
        answer(&instance).starts_with("HTTP/1.1 503").then_some(())
    });
    let held = resident(&instance);
    drop(crowd);
    until("service as before", PATIENCE, || {
        answer(&instance).starts_with("HTTP/1.1 200").then_some(())
    });
    println!("limit {limit}, held {held}, then {}", resident(&instance));
    assert!(held > limit);
    assert!(instance.stop().success());
}
