//! TLS towards clients: who is shown which certificate, who is let in, what is counted, and that HTTP over it is the
//! same as without.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use evenkeel_balance::effective_members;
use evenkeel_model::config::{Config, ProxyProtocol, StickyCookie, TlsVersion};
use evenkeel_model::ids::{Epoch, RevisionId};
use evenkeel_proxy::tls::{Handshake, KeyRing, Role};
use evenkeel_proxy::{Gauges, PoolRuntime, Snapshot, StickyKey};
use rustls::version::{TLS12, TLS13};

use crate::secure::{Authority, BOTH, Files, Secure, certificate, count, trusting};
use crate::support::{Bench, Client, Origin, PATIENCE, eventually, header, simple};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NAME: &str = "shop.example";

/// An authority, and a listener with a certificate of it for [`NAME`].
fn shop() -> (Authority, Files) {
    let authority = Authority::new();
    let files = Files::new(&[&authority.signs(&[NAME])]);
    (authority, files)
}

/// Answers with the scheme that it was told.
fn scheme() -> Origin {
    Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let scheme = header(&head, "x-forwarded-proto").unwrap_or("none");
            let length = scheme.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{scheme}");
            conn.send(&answer);
        }
    })
}

#[test]
fn requests_over_tls_are_served_one_after_the_other_and_the_backend_is_told_https() {
    let (authority, files) = shop();
    let origin = scheme();
    let bench = files.start(&[origin.address]);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let config = trusting(&authority, None, versions);
        let mut client = Secure::new(bench.address(), NAME, &config);
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "https");
        }
        assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        // Sent ahead: answered in order.
        client.send(&GET.repeat(3));
        for _ in 0..3 {
            assert_eq!(client.response().text(), "https");
        }
    }
    assert_eq!(count(&bench, Handshake::Full), 2);
}

#[test]
fn the_name_that_is_asked_for_decides_the_certificate_exactly_before_by_wildcard() {
    let authority = Authority::new();
    let pems = [
        authority.signs(&["first.example"]),
        authority.signs(&["*.shop.example"]),
        authority.signs(&["Pay.shop.example", "shop.example"]),
    ];
    let files = Files::new(&pems.each_ref().map(String::as_str));
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    for (name, n) in [
        ("first.example", 0),
        ("www.shop.example", 1),
        ("pay.shop.example", 2),
        ("PAY.Shop.example", 2),
        ("shop.example", 2),
    ] {
        let mut client = Secure::new(bench.address(), name, &config);
        assert!(client.is_served(), "{name}");
        assert_eq!(client.shown(), certificate(&pems[n]), "{name}");
    }
    // The default is shown, and the client finds that it is for somebody else.
    let mut client = Secure::new(bench.address(), "a.b.shop.example", &config);
    assert!(!client.is_served());
    eventually("the refusal is counted", || {
        count(&bench, Handshake::RefusedByClient) == 1
    });
}

#[test]
fn a_strict_listener_turns_away_who_asks_for_another_name() {
    let (authority, mut files) = shop();
    files.tls.strict_sni = true;
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    assert!(Secure::new(bench.address(), NAME, &config).is_served());
    assert!(!Secure::new(bench.address(), "other.example", &config).is_served());
    // An address is no name: nothing is asked for.
    assert!(!Secure::new(bench.address(), "127.0.0.1", &config).is_served());
    eventually("both are counted", || {
        count(&bench, Handshake::UnknownName) == 2
    });
}

#[test]
fn a_client_of_an_older_version_than_the_oldest_is_turned_away() {
    let (authority, mut files) = shop();
    files.tls.min_version = TlsVersion::V13;
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let of = |version| trusting(&authority, None, &[version]);
    assert!(Secure::new(bench.address(), NAME, &of(&TLS13)).is_served());
    assert!(!Secure::new(bench.address(), NAME, &of(&TLS12)).is_served());
    eventually("it is counted", || {
        count(&bench, Handshake::Incompatible) == 1
    });
}

#[test]
fn clients_are_let_in_by_a_certificate_of_the_authority_that_is_named() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = ours.signs(&[NAME]);
    let (good, bad) = (ours.signs(&["anna"]), others.signs(&["eve"]));
    let origin = Origin::answering(OK);
    for require in [true, false] {
        let files = Files::new(&[&server]).asking(&ours, require);
        let bench = files.start(&[origin.address]);
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let served = |shows| {
                let config = trusting(&ours, shows, versions);
                Secure::new(bench.address(), NAME, &config).is_served()
            };
            assert!(served(Some(good.as_str())));
            assert_eq!(served(None), !require, "{require}");
            // One that was shown must be good, also where none is asked for by force.
            assert!(!served(Some(bad.as_str())));
        }
        if require {
            eventually("those without are counted", || {
                count(&bench, Handshake::ClientCertificate) >= 4
            });
        }
    }
}

#[test]
fn a_session_is_resumed_on_any_worker_and_after_a_reload_but_not_where_more_is_asked() {
    let (authority, files) = shop();
    let origin = Origin::answering(OK);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let mut bench = files.start_with(simple(&[origin.address]), 2);
        let shown = authority.signs(&["anna"]);
        let config = trusting(&authority, Some(&shown), versions);
        let resumes = |bench: &Bench| {
            let mut client = Secure::new(bench.address(), NAME, &config);
            assert!(client.is_served());
            client.is_resumed()
        };
        assert!(!resumes(&bench));
        // Two workers take turns.
        for _ in 0..4 {
            assert!(resumes(&bench));
        }
        let mut changed = bench.config.clone();
        changed.listeners[0].tls.as_mut().unwrap().handshake_timeout /= 2;
        bench.swap(changed);
        assert!(resumes(&bench));
        assert_eq!(count(&bench, Handshake::Resumed), 5);
        // A ticket that was given to anybody opens no door that asks for a certificate.
        let asking = files.clone().asking(&authority, true);
        bench.swap(asking.of(simple(&[origin.address])));
        assert!(!resumes(&bench));
    }
}

#[test]
fn plain_http_where_tls_is_spoken_is_told_so_and_tls_elsewhere_is_refused_and_counted() {
    let (authority, files) = shop();
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let mut plain = Client::connect(bench.address());
    plain.send(GET);
    let answer = plain.response();
    assert_eq!(answer.said(), (400, "plain_http"));
    assert!(plain.closed());
    assert_eq!(count(&bench, Handshake::PlainHttp), 1);

    let open = Bench::start(simple(&[origin.address]));
    let config = trusting(&authority, None, BOTH);
    let mut client = Secure::new(open.address(), NAME, &config);
    assert!(client.try_send(GET).is_err());
    assert_eq!(count(&open, Handshake::NotTlsHere), 1);
    let mut noise = Client::connect(open.address());
    noise.send("\x16 / HTTP/1.1\r\n\r\n");
    assert_eq!(noise.response().status, 400);
    assert_eq!(count(&open, Handshake::NotTlsHere), 1);
}

#[test]
fn a_handshake_that_takes_too_long_or_breaks_off_or_is_none_ends_the_connection_and_is_counted() {
    let (_, mut files) = shop();
    files.tls.handshake_timeout = Duration::from_millis(60);
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let mut slow = Client::connect(bench.address());
    assert!(slow.closed());
    assert_eq!(count(&bench, Handshake::Timeout), 1);
    let mut half = Client::connect(bench.address());
    half.stream.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    drop(half);
    eventually("who left is counted", || {
        count(&bench, Handshake::Closed) == 1
    });
    let mut noise = Client::connect(bench.address());
    noise.stream.write_all(&[0xff; 64]).unwrap();
    noise.rest();
    eventually("what is no TLS is counted", || {
        count(&bench, Handshake::Invalid) == 1
    });
    // None of them was a request.
    assert!(
        bench.proxy.vitals()[0]
            .1
            .iter()
            .all(|(_, v)| v.in_flight == 0)
    );
    assert_eq!(bench.finish()[0].1[0].picks_free, 0);
}

/// Sends back the body of every request.
fn mirror() -> Origin {
    Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let body = crate::support::body_of(&mut conn, &head);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if !conn.send(&head) || conn.stream.write_all(&body).is_err() {
                return;
            }
        }
    })
}

#[test]
fn bodies_of_any_size_arrive_unchanged_in_both_directions() {
    let (authority, files) = shop();
    let origin = mirror();
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    let mut client = Secure::new(bench.address(), NAME, &config);
    for size in [0_usize, 1, 16_383, 16_384, 16_385, 65_536, 1_000_003] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n"
        ));
        client.0.get_mut().write_all(&body).unwrap();
        client.0.get_mut().flush().unwrap();
        assert!(client.response().body == body, "{size}");
    }
}

#[test]
fn what_a_backend_sent_arrives_at_a_slow_client_though_the_backend_falls_silent() {
    const PART: usize = 8 << 20;
    let (authority, files) = shop();
    let origin = Origin::start(|mut conn| {
        if conn.head().is_none() {
            return;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PART + 1);
        if conn.send(&head) && conn.stream.write_all(&vec![b'x'; PART]).is_ok() {
            // Silent until the client has everything.
            conn.closed();
        }
    });
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    for says_the_end in [false, true] {
        let mut client = Secure::new(bench.address(), NAME, &config);
        client.send(GET);
        if says_the_end {
            client.0.get_mut().conn.send_close_notify();
            client.0.get_mut().flush().unwrap();
        }
        client.head();
        let body = client.read(PART);
        assert!(body.iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn a_client_that_has_not_begun_its_handshake_holds_up_no_drain() {
    let (_, files) = shop();
    let origin = Origin::answering(OK);
    let bench = files.start(&[origin.address]);
    let mut silent = Client::connect(bench.address());
    eventually("the client", || bench.proxy.connections() == 1);
    let start = Instant::now();
    bench.proxy.drain(PATIENCE);
    assert_eq!(bench.proxy.join().cut_off, 0);
    assert!(start.elapsed() < PATIENCE / 2);
    assert!(silent.closed());
}

#[test]
fn the_end_of_a_connection_is_said_where_it_is_meant_and_not_where_an_answer_was_cut() {
    let (authority, files) = shop();
    let config = trusting(&authority, None, BOTH);
    let origin = Origin::start(|mut conn| {
        if let Some(head) = conn.request() {
            conn.send(match head.split(' ').nth(1) {
                Some("/cut") => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
                Some("/chunk") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
                _ => OK,
            });
        }
    });
    let mut options = simple(&[origin.address]);
    options.listeners[0].idle_timeout = Duration::from_millis(60);
    let bench = files.start_with(options, 1);
    let client = || Secure::new(bench.address(), NAME, &config);

    let mut asked = client();
    asked.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(asked.response().status, 200);
    assert!(asked.is_told_the_end());

    let mut idle = client();
    assert_eq!(idle.get("/").status, 200);
    assert!(idle.is_told_the_end());

    let mut refused = client();
    refused.send("GET / HTTP/1.1\r\nHost : test\r\n\r\n");
    assert_eq!(refused.response().status, 400);
    assert!(refused.is_told_the_end());

    for path in ["/cut", "/chunk"] {
        let mut cut = client();
        cut.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        cut.head();
        let mut body = Vec::new();
        assert!(cut.0.read_to_end(&mut body).is_err(), "{body:?}");
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let authority = Authority::new();
    let (old, new) = (authority.signs(&[NAME]), authority.signs(&[NAME]));
    let mut files = Files::new(&[&old]);
    let origin = Origin::answering(OK);
    let mut bench = files.start(&[origin.address]);
    // A client of its own each: a resumed session is shown no certificate.
    let shown = |bench: &Bench| {
        let config = trusting(&authority, None, BOTH);
        let mut client = Secure::new(bench.address(), NAME, &config);
        assert!(client.is_served());
        (client.shown(), client)
    };
    let (first, mut open) = shown(&bench);
    assert_eq!(first, certificate(&old));
    let before = bench.config.clone();
    files.put("0.pem", &new, Role::Certificate { key: None });
    bench.swap(files.of(simple(&[origin.address])));
    assert!(open.is_served());
    assert_eq!(shown(&bench).0, certificate(&new));
    // And back: the bytes are still held.
    bench.swap(before);
    assert_eq!(shown(&bench).0, certificate(&old));
    assert!(open.is_served());
}

#[test]
fn without_the_bytes_of_its_certificate_no_snapshot_is_made_and_the_reason_is_told() {
    let (_, files) = shop();
    let origin = Origin::answering(OK);
    let config = files.of(simple(&[origin.address]));
    let make = |ring: KeyRing, config: Config| {
        let facts = config.pools.iter().map(|pool| PoolRuntime {
            epoch: Epoch(1),
            members: effective_members(pool, |_| true).0,
            drained: Vec::new(),
        });
        let facts = facts.collect();
        let gauges = Gauges::with_keys(StickyKey::of("test"), ring);
        let made = Snapshot::new(RevisionId(1), config.into(), facts, &gauges);
        made.unwrap_err().to_string()
    };
    let gone = make(KeyRing::default(), config.clone());
    assert!(
        gone.starts_with("listener `web`: the `0.pem` of this revision"),
        "{gone}"
    );
    let mut unsealed = config;
    unsealed.certificates.clear();
    let unknown = make(files.ring.clone(), unsealed);
    assert_eq!(
        unknown,
        "listener `web`: it is not known which `0.pem` is meant"
    );
}

#[test]
fn a_tunnel_passes_bytes_both_ways_over_tls_until_both_ends_are_done() {
    let (authority, files) = shop();
    let origin = Origin::start(|mut conn| {
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        if conn.head().is_some() && conn.send(switch) {
            while let Some(bytes) = conn.some() {
                if conn.stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            conn.send("bye");
        }
    });
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    let mut client = Secure::new(bench.address(), NAME, &config);
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let sent = vec![b'p'; 300_000];
    client.0.get_mut().write_all(&sent[..16]).unwrap();
    assert_eq!(client.read(16), sent[..16]);
    client.0.get_mut().write_all(&sent).unwrap();
    client.0.get_mut().flush().unwrap();
    assert!(client.read(sent.len()) == sent);
    // The end of the client's side: the backend ends its own with a last word.
    client.0.get_mut().conn.send_close_notify();
    client.0.get_mut().flush().unwrap();
    assert_eq!(client.read(3), b"bye");
    assert!(client.is_told_the_end());
}

#[test]
fn the_header_of_a_proxy_in_front_comes_before_the_handshake() {
    let (authority, files) = shop();
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.head() {
            let client = header(&head, "x-forwarded-for").unwrap_or("none");
            let length = client.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{client}");
            conn.send(&answer);
        }
    });
    let mut options = simple(&[origin.address]);
    let from = vec!["127.0.0.0/8".parse().unwrap()];
    options.listeners[0].proxy_protocol = Some(ProxyProtocol { from });
    let bench = files.start_with(options, 1);
    let mut stream = TcpStream::connect(bench.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"PROXY TCP4 203.0.113.9 192.0.2.2 40000 443\r\n")
        .unwrap();
    let config = trusting(&authority, None, BOTH);
    let mut client = Secure::over(stream, NAME, &config);
    assert_eq!(client.get("/").text(), "203.0.113.9");
}

#[test]
fn a_sticky_cookie_that_is_set_over_tls_goes_back_over_tls_only() {
    let (authority, files) = shop();
    let origin = Origin::answering(OK);
    let mut options = simple(&[origin.address]);
    options.pools[0].affinity.sticky = Some(StickyCookie {
        name: "ek".to_owned(),
        ttl: Duration::from_secs(3_600),
    });
    let bench = files.start_with(options.clone(), 1);
    let config = trusting(&authority, None, BOTH);
    let set = Secure::new(bench.address(), NAME, &config).get("/");
    assert!(set.header("set-cookie").unwrap().ends_with("; Secure"));
    let plain = Bench::start(options).client().get("/");
    assert!(!plain.header("set-cookie").unwrap().contains("Secure"));
}

#[test]
fn a_drain_ends_idle_connections_with_a_word_and_finishes_the_others() {
    let (authority, files) = shop();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let asked = std::sync::Mutex::new(asked);
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request() {
            if head.starts_with("GET /slow") {
                asked.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            conn.send(OK);
        }
    });
    let bench = files.start(&[origin.address]);
    let config = trusting(&authority, None, BOTH);
    let mut idle = Secure::new(bench.address(), NAME, &config);
    assert_eq!(idle.get("/").status, 200);
    let mut busy = Secure::new(bench.address(), NAME, &config);
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it is at the backend", || {
        bench.proxy.vitals()[0].1[0].1.in_flight == 1
    });
    std::thread::scope(|scope| {
        scope.spawn(|| bench.proxy.drain(PATIENCE));
        assert!(idle.is_told_the_end());
        ask.send(()).unwrap();
        assert_eq!(busy.response().status, 200);
        assert!(busy.is_told_the_end());
    });
}
