//! TLS to backends: who is believed, who is shown what, what is told and counted, and that nothing is sent to anybody else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_model::config::{
    BackendTls, CertificateFiles, Config, Health, HealthCheck, HttpCheck, Target, TlsVersion,
};
use evenkeel_proxy::check::{CheckOptions, CheckResult, Checker};
use evenkeel_proxy::tls::{Dialled, Role};
use rustls::version::{TLS12, TLS13};
use tokio::sync::mpsc;

use crate::secure::{Authority, BOTH, Files, secure_answering, secure_origin, serving};
use crate::support::{
    Bench, Client, Origin, PATIENCE, config, eventually, header, listener, local, name, pool,
    simple,
};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CLOSING: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const NAME: &str = "shop.internal";

/// Backends are believed that have a certificate of `ca.pem` for [`NAME`].
pub(crate) fn believing() -> BackendTls {
    BackendTls {
        ca: Some(PathBuf::from("ca.pem")),
        name: Some(NAME.to_owned()),
        certificate: None,
        min_version: TlsVersion::V12,
    }
}

pub(crate) fn files(authority: &Authority) -> Files {
    let mut files = Files::new(&[]);
    files.put("ca.pem", &authority.pem, Role::Authorities);
    files
}

/// One pool over `backends`, spoken to by `tls`.
pub(crate) fn over(backends: &[SocketAddr], tls: BackendTls) -> Config {
    let mut config = simple(backends);
    config.pools[0].tls = Some(tls);
    config
}

pub(crate) fn count(bench: &Bench, backend: &str, result: Dialled) -> u64 {
    let dials = bench.proxy.dials();
    let found = dials.iter().find(|(_, name, _)| *name == *backend);
    found.map_or(0, |(_, _, counts)| counts[result as usize])
}

#[test]
fn a_backend_is_asked_for_its_name_and_verified_and_its_connection_is_kept() {
    let authority = Authority::new();
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let server = serving(&authority.signs(&[NAME, "web-1.internal"]), None, versions);
        let origin = secure_origin(&server, |mut conn| {
            while let Some(head) = conn.head() {
                let tls = conn.tls();
                let name = tls.server_name().unwrap_or("none");
                let alpn = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default());
                let scheme = header(&head, "x-forwarded-proto").unwrap_or("-");
                let said = format!("{name} {alpn} {scheme}");
                let length = said.len();
                conn.send(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{said}"
                ));
            }
        });
        let mut config = over(&[origin.address], believing());
        let bench = files(&authority).start_to_backends(config.clone(), 1);
        let mut client = bench.client();
        for _ in 0..3 {
            // What the backend is told of the client is not what it is spoken to by.
            assert_eq!(client.get("/").text(), "shop.internal http/1.1 http");
        }
        assert_eq!(origin.connections(), 1);
        assert_eq!(count(&bench, "b0", Dialled::Full), 1);
        // A name of its own goes before that of the pool.
        config.pools[0].backends[0].tls_name = Some("web-1.internal".to_owned());
        let bench = files(&authority).start_to_backends(config, 1);
        assert_eq!(
            bench.client().get("/").text(),
            "web-1.internal http/1.1 http"
        );
    }
}

#[test]
fn sessions_of_a_backend_are_resumed_on_every_worker_but_never_by_other_settings() {
    let authority = Authority::new();
    let (pem, files) = (authority.signs(&[NAME]), files(&authority));
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let origin = secure_answering(&serving(&pem, None, versions), CLOSING);
        let config = over(&[origin.address], believing());
        let mut bench = files.start_to_backends(config, 2);
        // One after the other, each client on a worker of its own.
        for _ in 0..6 {
            assert_eq!(bench.client().get("/").text(), "ok");
        }
        let counts = [Dialled::Full, Dialled::Resumed].map(|result| count(&bench, "b0", result));
        assert_eq!(counts[0] + counts[1], 6);
        assert!(counts[1] >= 4, "{counts:?}");
        // Who was believed without a name of its own is looked at again under it.
        let mut changed = bench.config.clone();
        changed.pools[0].tls.as_mut().unwrap().name = Some("other.internal".to_owned());
        bench.swap(changed);
        assert_eq!(bench.client().get("/").said(), (502, "tls_wrong_name"));
        // Counts go on over the change.
        assert_eq!(count(&bench, "b0", Dialled::Full), counts[0]);
    }
}

/// A server of plain HTTP, which finds that what comes is no request.
fn speaking_plainly() -> Origin {
    Origin::start(|mut conn| {
        conn.some();
        conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    })
}

/// The answer to a request to `origin` by `tls`, and the bench.
fn answer(files: &Files, origin: SocketAddr, tls: BackendTls) -> (u16, String, Bench) {
    let mut config = over(&[origin], tls);
    config.pools[0].connect_timeout = Duration::from_millis(300);
    let bench = files.start_to_backends(config, 1);
    let answer = bench.client().get("/");
    let (status, code) = answer.said();
    (status, code.to_owned(), bench)
}

#[test]
fn who_is_not_the_backend_gets_no_request_and_the_client_is_told_why() {
    let (ours, others) = (Authority::new(), Authority::new());
    let of = |pem: &str| {
        let server = serving(pem, None, BOTH);
        secure_origin(&server, |mut conn| {
            assert!(conn.head().is_none(), "a request was sent");
        })
    };
    let silent = Origin::start(|mut conn| while conn.some().is_some() {});
    let gone = Origin::start(drop);
    let plain = speaking_plainly();
    let noise = Origin::start(|mut conn| {
        conn.some();
        conn.send("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}");
    });
    let old = serving(&ours.signs(&[NAME]), None, &[&TLS12]);
    let old = secure_answering(&old, OK);
    let newest = BackendTls {
        min_version: TlsVersion::V13,
        ..believing()
    };
    for (origin, tls, result, said) in [
        (
            of(&ours.signs(&["a.internal"])),
            believing(),
            Dialled::WrongName,
            "tls_wrong_name",
        ),
        (
            of(&others.signs(&[NAME])),
            believing(),
            Dialled::UnknownAuthority,
            "tls_unknown_authority",
        ),
        (
            of(&ours.signs_until(&[NAME], 2_020)),
            believing(),
            Dialled::Expired,
            "tls_expired",
        ),
        (plain, believing(), Dialled::NotTls, "tls_not_spoken"),
        (noise, believing(), Dialled::Invalid, "tls_invalid"),
        (gone, believing(), Dialled::Closed, "tls_closed"),
        (old, newest, Dialled::Refused, "tls_refused"),
        (silent, believing(), Dialled::Timeout, "connect_timeout"),
    ] {
        let (status, code, bench) = answer(&files(&ours), origin.address, tls);
        let expected = if result == Dialled::Timeout { 504 } else { 502 };
        assert_eq!((status, code.as_str()), (expected, said));
        // The first try and the retry, which goes to the same backend: there is no other.
        assert!(count(&bench, "b0", result) >= 1, "{said}");
        let cell = &bench.finish()[0].1[0];
        assert_eq!(
            cell.outcomes.connect_failed,
            cell.outcomes.total(),
            "{said}"
        );
    }
}

#[test]
fn another_backend_takes_the_request_in_the_place_of_one_that_is_not_believed() {
    let (ours, others) = (Authority::new(), Authority::new());
    let bad = secure_answering(&serving(&others.signs(&[NAME]), None, BOTH), OK);
    let good = secure_answering(&serving(&ours.signs(&[NAME]), None, BOTH), OK);
    let config = over(&[bad.address, good.address], believing());
    let bench = files(&ours).start_to_backends(config, 1);
    let mut client = bench.client();
    for _ in 0..4 {
        // Nothing was sent, so it is safe for every method.
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().status, 200);
    }
    let cells = bench.finish().remove(0).1;
    assert_eq!(cells[0].outcomes.connect_failed, 2);
    assert_eq!((cells[1].outcomes.ok, cells[1].picks_retry), (4, 2));
}

#[test]
fn without_verification_whoever_answers_is_believed_and_no_name_is_asked_for() {
    let others = Authority::new();
    let server = serving(&others.signs_until(&["a.b"], 2_020), None, BOTH);
    let origin = secure_origin(&server, |mut conn| {
        while conn.head().is_some() {
            assert_eq!(conn.tls().server_name(), None);
            conn.send(OK);
        }
    });
    let tls = BackendTls {
        ca: None,
        name: None,
        ..believing()
    };
    let bench = files(&others).start_to_backends(over(&[origin.address], tls), 1);
    assert_eq!(bench.client().get("/").text(), "ok");
}

#[test]
fn a_backend_that_asks_for_a_certificate_is_shown_ours() {
    let (ours, others) = (Authority::new(), Authority::new());
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let server = serving(&ours.signs(&[NAME]), Some(&ours), versions);
        let origin = secure_answering(&server, OK);
        for (shows, said) in [
            (Some(ours.signs(&["balancer"])), (200, "-")),
            (Some(others.signs(&["balancer"])), (502, "tls_refused")),
            (None, (502, "tls_refused")),
        ] {
            let mut files = files(&ours);
            let mut tls = believing();
            if let Some(pem) = shows {
                files.put("me.pem", &pem, Role::Certificate { key: None });
                tls.certificate = Some(CertificateFiles {
                    chain: PathBuf::from("me.pem"),
                    key: None,
                });
            }
            let (status, code, bench) = answer(&files, origin.address, tls);
            assert_eq!((status, code.as_str()), said);
            assert_eq!(count(&bench, "b0", Dialled::Refused) > 0, status == 502);
        }
    }
}

#[test]
fn connections_of_a_pool_that_believes_anybody_never_serve_one_that_does_not() {
    let (ours, others) = (Authority::new(), Authority::new());
    let origin = secure_answering(&serving(&others.signs(&[NAME]), None, BOTH), OK);
    let mut pools = ["lax", "strict"].map(|label| pool(label, &[origin.address]));
    pools[0].tls = Some(BackendTls {
        ca: None,
        ..believing()
    });
    pools[1].tls = Some(believing());
    let listeners = ["lax", "strict"].map(|label| listener(label, local()));
    let mut config = config(listeners.to_vec(), pools.to_vec());
    config.routes[1].target = Target::Pool(name("strict"));
    let bench = files(&ours).start_to_backends(config, 1);
    let at = |n: usize| crate::support::tcp(&bench.proxy.addresses()[n].1);
    let (mut lax, mut strict) = (Client::connect(at(0)), Client::connect(at(1)));
    for _ in 0..3 {
        assert_eq!(lax.get("/").text(), "ok");
        assert_eq!(strict.get("/").said(), (502, "tls_unknown_authority"));
    }
}

#[test]
fn a_renewed_authority_counts_from_the_next_connection_on_and_no_request_is_lost() {
    let (old, new) = (Authority::new(), Authority::new());
    let [before, after] = [&old, &new]
        .map(|authority| secure_answering(&serving(&authority.signs(&[NAME]), None, BOTH), OK));
    let mut files = files(&old);
    let mut bench = files.start_to_backends(over(&[before.address], believing()), 2);
    let mut client = bench.client();
    assert_eq!(client.get("/").text(), "ok");
    // The backend has a certificate of the new authority, then the file has both, then only the new one.
    files.put(
        "ca.pem",
        &format!("{}{}", old.pem, new.pem),
        Role::Authorities,
    );
    let both = files.sealed(over(&[before.address, after.address], believing()));
    bench.swap(both.clone());
    for _ in 0..8 {
        assert_eq!(client.get("/").text(), "ok");
    }
    files.put("ca.pem", &new.pem, Role::Authorities);
    let mut only = files.sealed(both);
    only.pools[0].backends.remove(1);
    // Also the connection that is open and was verified by the old one is used no more.
    bench.swap(only);
    assert_eq!(client.get("/").said(), (502, "tls_unknown_authority"));
}

/// The next result of the check of `backend`.
fn checked(results: &mut mpsc::Receiver<CheckResult>, backend: &str) -> CheckResult {
    let mut found = None;
    eventually("a check result", || {
        while let Ok(result) = results.try_recv() {
            if result.backend == *backend {
                found = Some(result);
            }
        }
        found.is_some()
    });
    found.unwrap()
}

fn health() -> Health {
    Health {
        check: HealthCheck::Http(HttpCheck {
            path: "/healthz".to_owned(),
            host: None,
            expect_status: (200, 299),
        }),
        interval: Duration::from_millis(30),
        interval_down: Duration::from_millis(30),
        timeout: PATIENCE,
        rise: 2,
        fall: 3,
    }
}

#[test]
fn checks_speak_tls_as_requests_do_and_say_what_is_wrong() {
    let (ours, others) = (Authority::new(), Authority::new());
    let of = |pem: &str, asks| secure_answering(&serving(pem, asks, BOTH), OK);
    let named = serving(&ours.signs(&[NAME]), None, BOTH);
    let good = secure_origin(&named, |mut conn| {
        while let Some(head) = conn.head() {
            assert_eq!(header(&head, "host"), Some(NAME));
            conn.send(OK);
        }
    });
    let origins = [
        good,
        of(&ours.signs(&["a.internal", "b.internal"]), None),
        of(&others.signs(&[NAME]), None),
        of(&ours.signs_until(&[NAME], 2_020), None),
        of(&ours.signs(&[NAME]), Some(&ours)),
        speaking_plainly(),
    ];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let files = files(&ours);
    let mut config = files.sealed(over(&addresses, believing()));
    let health = health();
    config.pools[0].health = Some(health.clone());
    let (sender, mut results) = mpsc::channel(1_000);
    let options = CheckOptions {
        seed: 1,
        origin: Instant::now(),
        results: sender,
        ring: files.ring.clone(),
    };
    let checker = Checker::start(options, Arc::new(config.clone())).unwrap();
    assert_eq!(checked(&mut results, "b0").detail, "status 200");
    for (backend, detail) in [
        (
            "b1",
            "its certificate is for `a.internal`, `b.internal`, not for `shop.internal`",
        ),
        (
            "b2",
            "its certificate comes from none of the authorities in `ca.pem`",
        ),
        ("b3", "its certificate ended at 2020-01-01T"),
        (
            "b4",
            "it refused the TLS handshake: CertificateRequired; it may ask for a certificate",
        ),
        ("b5", "it speaks plain HTTP, not TLS"),
    ] {
        let result = checked(&mut results, backend);
        assert!(
            !result.ok && result.detail.starts_with(detail),
            "{result:?}"
        );
    }
    // A check by connection is one by TLS as well; and plain checks come to nothing here.
    config.pools[0].health = Some(Health {
        check: HealthCheck::Tcp,
        ..health
    });
    checker.update(Arc::new(config.clone()));
    eventually("a connection", || {
        checked(&mut results, "b0").detail == "connected"
    });
    assert!(!checked(&mut results, "b1").ok);
    config.pools[0].tls = None;
    checker.update(Arc::new(config));
    eventually("a plain connection", || checked(&mut results, "b1").ok);
}
