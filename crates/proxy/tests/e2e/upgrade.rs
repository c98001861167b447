//! Connections that leave HTTP by an upgrade: who gets one, what passes, what counts, and what ends them.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Config, Hedge, HedgeAfter, Tunnels, Upgrades};
use evenkeel_model::units::Ratio;

use crate::support::{
    Bench, Client, Conn, Origin, PATIENCE, eventually, header, local, name, refused, simple,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Switches for every request and then sends back what comes, to the end.
fn echo() -> Origin {
    Origin::start(|mut conn| {
        if conn.head().is_some() && conn.send(SWITCH) {
            send_back(&mut conn);
        }
    })
}

fn send_back(conn: &mut Conn) {
    while let Some(bytes) = conn.some() {
        if conn.stream.write_all(&bytes).is_err() {
            return;
        }
    }
    // The client may have ended its side already, and the whole connection with it.
    drop(conn.stream.shutdown(Shutdown::Write));
}

fn with_tunnels(origin: &Origin, tunnels: Tunnels) -> Config {
    let mut config = simple(&[origin.address]);
    config.pools[0].tunnels = tunnels;
    config
}

fn lasting(idle: Duration, drain: Duration) -> Tunnels {
    Tunnels { idle, drain }
}

/// A client behind a tunnel.
fn tunnel(bench: &Bench) -> Client {
    let mut client = bench.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

fn ping(client: &mut Client) {
    client.send("ping");
    assert_eq!(client.read(4), b"ping");
}

fn in_flight(bench: &Bench) -> u32 {
    bench.proxy.vitals()[0].1[0].1.in_flight
}

fn open(bench: &Bench) -> u32 {
    let tunnels = bench.proxy.tunnels();
    tunnels.iter().map(|(_, _, counts)| counts.open).sum()
}

#[test]
fn bytes_pass_both_ways_after_the_101_until_both_ends_are_done() {
    let origin = Origin::start(|mut conn| {
        let head = conn.head().unwrap();
        assert_eq!(header(&head, "upgrade"), Some("WebSocket"));
        assert_eq!(header(&head, "connection"), Some("Upgrade"));
        assert_eq!(header(&head, "sec-websocket-key"), Some("k"));
        // What follows the 101 in one write is the tunnel's already.
        assert!(conn.send(&format!("{SWITCH}hello")));
        assert_eq!(conn.read(3), b"abc");
        assert!(conn.some().is_none(), "the client's end");
        assert!(conn.send("and bye"));
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert_eq!(header(&head, "upgrade"), Some("WebSocket"));
    assert_eq!(header(&head, "connection"), Some("Upgrade"));
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s"));
    assert_eq!(client.read(5), b"hello");
    client.send("abc");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"and bye");
    eventually("the end of the tunnel", || in_flight(&bench) == 0);
    let counts = bench.proxy.tunnels()[0].2;
    assert_eq!((counts.open, counts.opened), (0, 1));
    assert_eq!((counts.bytes_in, counts.bytes_out), (3, 12));
    let epochs = bench.finish();
    let cell = &epochs[0].1[0];
    assert_eq!((cell.picks_free, cell.outcomes.ok, cell.harmed), (1, 1, 0));
    assert_eq!(cell.latency.count(), 1);
}

#[test]
fn much_goes_through_in_both_directions_at_once() {
    const SIZE: usize = 8 << 20;
    let origin = echo();
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = tunnel(&bench);
    let mut sender = client.stream.try_clone().unwrap();
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert!(client.rest() == bytes);
    sending.join().unwrap();
    eventually("the bytes", || {
        let counts = bench.proxy.tunnels()[0].2;
        (counts.bytes_in, counts.bytes_out) == (SIZE as u64, SIZE as u64)
    });
}

#[test]
fn what_a_client_sends_ahead_waits_for_the_101() {
    let (told, asks) = std::sync::mpsc::channel::<()>();
    let asks = std::sync::Mutex::new(asks);
    let origin = Origin::start(move |mut conn| {
        conn.head().unwrap();
        conn.stream.set_nonblocking(true).unwrap();
        asks.lock().unwrap().recv().unwrap();
        let early = conn.stream.peek(&mut [0]);
        assert!(early.is_err(), "bytes came before the 101");
        conn.stream.set_nonblocking(false).unwrap();
        assert!(conn.send(SWITCH));
        send_back(&mut conn);
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    client.send(&format!("{ASK}early"));
    eventually("the try", || in_flight(&bench) == 1);
    client.send("more");
    told.send(()).unwrap();
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read(9), b"earlymore");
}

#[test]
fn without_a_101_the_connection_goes_on_as_http() {
    let origin = Origin::start(|mut conn| {
        assert!(header(&conn.head().unwrap(), "upgrade").is_some());
        conn.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno");
        let second = conn.head().unwrap();
        assert!(second.starts_with("GET /second "), "{second}");
        conn.send(OK);
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = bench.client();
    // The second request is one also when it is sent ahead.
    client.send(&format!("{ASK}GET /second HTTP/1.1\r\nHost: test\r\n\r\n"));
    let first = client.response();
    assert_eq!((first.status, first.text()), (426, "no"));
    assert_eq!(first.header("upgrade"), None);
    assert_eq!(client.response().text(), "ok");
    assert!(bench.proxy.tunnels().is_empty());
}

#[test]
fn what_is_not_let_through_reaches_the_backend_as_an_ordinary_request() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request() {
            let asks = ["upgrade", "connection", "http2-settings"];
            let seen = asks.iter().any(|name| header(&head, name).is_some());
            let text = if seen { "yes" } else { "not" };
            conn.send(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{text}"
            ));
        }
    });
    let bench = Bench::start(simple(&[origin.address]));
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (case, request) in [
        ("another protocol", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n".to_owned()),
        ("h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n".to_owned()),
        ("a body", format!("POST / HTTP/1.1\r\nHost: a\r\n{websocket}Content-Length: 2\r\n\r\nhi")),
        ("a chunked body", format!("POST / HTTP/1.1\r\nHost: a\r\n{websocket}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")),
        ("not listed", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_owned()),
        ("HTTP/1.0", format!("GET / HTTP/1.0\r\nHost: a\r\n{websocket}\r\n")),
    ] {
        let mut client = bench.client();
        client.send(&request);
        assert_eq!(client.response().text(), "not", "{case}");
    }
}

#[test]
fn a_route_says_which_protocols_it_lets_through() {
    let origin = Origin::start(|mut conn| {
        let head = conn.head().unwrap();
        let protocol = header(&head, "upgrade").unwrap_or("-").to_owned();
        if protocol == "-" {
            conn.send(OK);
        } else {
            conn.send(&format!(
                "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n{protocol}"
            ));
        }
    });
    let ask = |bench: &Bench, protocols: &str| {
        let mut client = bench.client();
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocols}\r\nContent-Length: 0\r\n\r\n"
        ));
        let head = client.head().unwrap();
        header(&head, "upgrade").map(str::to_owned)
    };
    let mut config = simple(&[origin.address]);
    config.routes[0].upgrades = Upgrades(Vec::new());
    let mut bench = Bench::start(config.clone());
    assert_eq!(ask(&bench, "websocket"), None);
    config.routes[0].upgrades = Upgrades(vec!["spdy/3.1".to_owned(), "tcp".to_owned()]);
    bench.swap(config);
    assert_eq!(ask(&bench, "websocket"), None);
    assert_eq!(
        ask(&bench, "websocket, SPDY/3.1").as_deref(),
        Some("SPDY/3.1")
    );
    assert_eq!(ask(&bench, "tcp").as_deref(), Some("tcp"));
}

#[test]
fn a_101_that_nobody_asked_for_or_to_another_protocol_is_a_fault() {
    for (answer, code) in [
        (
            "Connection: upgrade\r\nUpgrade: h2c",
            "response_switched_elsewhere",
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket, h2c",
            "response_switched_elsewhere",
        ),
        ("Upgrade: websocket", "response_switched_elsewhere"),
        ("Connection: upgrade", "response_switched_elsewhere"),
    ] {
        let text: &'static str = format!("HTTP/1.1 101 x\r\n{answer}\r\n\r\nGET /").leak();
        let origin = Origin::answering(text);
        let bench = Bench::start(simple(&[origin.address]));
        let mut client = bench.client();
        client.send(ASK);
        assert_eq!(client.response().said(), (502, code), "{answer}");
        assert_eq!(
            client.get("/").said(),
            (502, "response_switched"),
            "{answer}"
        );
        assert!(bench.proxy.tunnels().is_empty());
    }
}

#[test]
fn a_try_that_fails_before_the_101_is_repeated_elsewhere_and_counted() {
    let origin = echo();
    let bench = Bench::start(simple(&[refused(), origin.address]));
    for _ in 0..2 {
        ping(&mut tunnel(&bench));
    }
    let epochs = bench.finish();
    let cells = &epochs[0].1;
    let first = &cells[0];
    assert!(first.outcomes.connect_failed >= 1 && first.outcomes.ok == 0);
    assert_eq!(cells[1].outcomes.ok, 2);
    assert_eq!(cells[1].picks_retry, first.outcomes.connect_failed);
}

#[test]
fn a_tunnel_stays_in_flight_for_least_request_and_for_limits() {
    let origins = [echo(), echo()];
    let mut config = simple(&[origins[0].address, origins[1].address]);
    config.pools[0].algorithm = Algorithm::LeastRequest;
    config.pools[0].max_in_flight = Some(2);
    let bench = Bench::start(config);
    let held: Vec<Client> = (0..4).map(|_| tunnel(&bench)).collect();
    assert_eq!([origins[0].connections(), origins[1].connections()], [2, 2]);
    let mut more = bench.client();
    more.send(ASK);
    assert_eq!(more.response().said(), (503, "all_at_limit"));
    assert_eq!(open(&bench), 4);
    drop(held);
    eventually("room", || {
        let backends = &bench.proxy.vitals()[0].1;
        backends.iter().all(|(_, vitals)| vitals.in_flight == 0)
    });
    ping(&mut tunnel(&bench));
}

#[test]
fn a_tunnel_without_a_byte_is_closed_and_one_byte_keeps_it() {
    let idle = Duration::from_millis(600);
    let origin = echo();
    let bench = Bench::start(with_tunnels(&origin, lasting(idle, PATIENCE)));
    let mut client = tunnel(&bench);
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * idle {
        ping(&mut client);
        std::thread::park_timeout(idle / 10);
    }
    let last = std::time::Instant::now();
    assert!(client.closed());
    assert!(last.elapsed() >= idle / 2);
    eventually("the end", || (open(&bench), in_flight(&bench)) == (0, 0));
}

#[test]
fn who_breaks_a_tunnel_is_not_mistaken_for_who_ends_it() {
    let origin = Origin::start(|mut conn| {
        conn.head().unwrap();
        conn.send(SWITCH);
        conn.read(4);
        conn.reset();
    });
    let bench = Bench::start(simple(&[origin.address]));
    let mut client = tunnel(&bench);
    client.send("ping");
    let mut byte = [0];
    let end = std::io::Read::read(&mut client.stream, &mut byte);
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::ConnectionReset)
    );
    let cell = bench.finish()[0].1[0].clone();
    assert_eq!((cell.outcomes.ok, cell.outcomes.reset), (1, 0));
}

#[test]
fn a_reload_keeps_tunnels_and_what_is_drained_or_removed_ends_them_in_time() {
    let origin = echo();
    let drain = Duration::from_millis(300);
    let config = with_tunnels(&origin, lasting(PATIENCE, drain));
    let mut bench = Bench::start(config.clone());
    let mut client = tunnel(&bench);
    // Other weights, other routes, the backend unhealthy: nothing of that is the tunnel's.
    let mut other = config.clone();
    other.pools[0].backends[0].weight = 7;
    other.routes[0].upgrades = Upgrades(Vec::new());
    bench.swap(other);
    for _ in 0..3 {
        std::thread::park_timeout(drain / 2);
        ping(&mut client);
    }
    bench.swap_drained(config.clone(), &[true]);
    ping(&mut client);
    assert!(client.closed());

    // A drain that ends in time leaves it alone.
    bench.swap(config.clone());
    let mut client = tunnel(&bench);
    bench.swap_drained(config.clone(), &[true]);
    ping(&mut client);
    bench.swap(config.clone());
    for _ in 0..3 {
        std::thread::park_timeout(drain / 2);
        ping(&mut client);
    }

    // The backend removed.
    let mut gone = config.clone();
    gone.pools[0].backends[0].name = name("other");
    bench.swap(gone);
    ping(&mut client);
    assert!(client.closed());

    // The listener removed.
    bench.swap(config.clone());
    let mut client = tunnel(&bench);
    let mut moved = config;
    moved.listeners[0] = crate::support::listener("elsewhere", local());
    moved.routes[0].listener = name("elsewhere");
    bench.swap(moved);
    ping(&mut client);
    assert!(client.closed());
    eventually("the end", || open(&bench) == 0);
}

#[test]
fn a_process_that_stops_lets_tunnels_live_until_its_time_is_over() {
    let origin = echo();
    let mut config = simple(&[origin.address]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    config.access_log = Some(path.clone());
    let bench = Bench::start(config);
    let mut client = tunnel(&bench);
    ping(&mut client);
    bench.proxy.drain(Duration::from_millis(700));
    for _ in 0..4 {
        std::thread::park_timeout(Duration::from_millis(50));
        ping(&mut client);
    }
    assert!(client.closed());
    let report = bench.proxy.join();
    assert_eq!(report.cut_off, 0, "its line could be written");
    let line = std::fs::read_to_string(path).unwrap();
    for part in [
        "\"status\":101",
        "\"error\":\"tunnel_drained\"",
        "\"bytes_in\":20",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_request_for_an_upgrade_is_never_hedged() {
    let origins = [echo(), echo()];
    let slow = Origin::start(|mut conn| {
        conn.head().unwrap();
        std::thread::park_timeout(Duration::from_millis(200));
        conn.send(SWITCH);
        send_back(&mut conn);
    });
    let mut config = simple(&[slow.address, origins[0].address]);
    config.pools[0].hedge = Some(Hedge {
        after: HedgeAfter::Time(Duration::from_millis(1)),
        budget: Ratio::from_percent(100),
    });
    let bench = Bench::start(config);
    for _ in 0..4 {
        ping(&mut tunnel(&bench));
    }
    assert_eq!(bench.proxy.hedges()[0].1.made, 0);
    assert_eq!(slow.connections(), 2);
}
