//! Active checks against real backends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_model::config::{Health, HealthCheck, HttpCheck};
use evenkeel_proxy::check::{CheckOptions, CheckResult, Checker};
use evenkeel_proxy::tls::KeyRing;
use tokio::sync::mpsc;

use crate::support::{Origin, PATIENCE, eventually, header, refused, simple};

fn health(path: &str) -> Health {
    Health {
        check: asks(path, (200, 299)),
        interval: Duration::from_millis(30),
        interval_down: Duration::from_millis(30),
        timeout: Duration::from_millis(300),
        rise: 2,
        fall: 3,
    }
}

fn asks(path: &str, expect_status: (u16, u16)) -> HealthCheck {
    HealthCheck::Http(HttpCheck {
        path: path.to_owned(),
        host: None,
        expect_status,
    })
}

fn next(results: &mut mpsc::Receiver<CheckResult>, backend: &str) -> CheckResult {
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

#[test]
fn each_backend_is_judged_by_what_it_answers() {
    let good = Origin::start(|mut conn| {
        let request = conn.request().unwrap();
        assert!(
            request.starts_with("GET /healthz HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(header(&request, "host").unwrap().starts_with("127.0.0.1:"));
        conn.send("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let bad = Origin::answering("HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown");
    let silent = Origin::start(|mut conn| while conn.request().is_some() {});
    let nonsense = Origin::answering("SSH-2.0-OpenSSH\r\n\r\n");
    let mut config = simple(&[
        good.address,
        bad.address,
        refused(),
        silent.address,
        nonsense.address,
    ]);
    config.pools[0].health = Some(health("/healthz"));
    let (sender, mut results) = mpsc::channel(1_000);
    let options = CheckOptions {
        seed: 1,
        origin: Instant::now(),
        results: sender,
        ring: KeyRing::default(),
    };
    let checker = Checker::start(options, Arc::new(config.clone())).unwrap();
    let first = next(&mut results, "b0");
    assert!(first.ok && first.detail == "status 204", "{first:?}");
    let second = next(&mut results, "b1");
    assert!(!second.ok && second.detail == "status 503", "{second:?}");
    assert_eq!(next(&mut results, "b2").detail, "connection refused");
    assert_eq!(next(&mut results, "b3").detail, "no answer within 300 ms");
    assert!(
        next(&mut results, "b4")
            .detail
            .starts_with("not an acceptable response")
    );
    config.pools[0].backends.truncate(1);
    config.pools[0].health = Some(Health {
        check: asks("/healthz", (200, 200)),
        ..health("/healthz")
    });
    checker.update(Arc::new(config));
    eventually("the new expectation", || !next(&mut results, "b0").ok);
    drop(checker);
    while results.try_recv().is_ok() {}
    assert!(matches!(
        results.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    ));
}

#[test]
fn who_joins_is_checked_at_once_however_long_the_interval_is() {
    let up = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let mut config = simple(&[up.address, up.address, up.address]);
    config.pools[0].health = Some(Health {
        interval: Duration::from_secs(24 * 3_600),
        ..health("/")
    });
    let mut before = config.clone();
    before.pools[0].backends.truncate(1);
    before.pools[0].health = Some(Health {
        interval: Duration::from_millis(10),
        ..health("/")
    });
    let (sender, mut results) = mpsc::channel(1_000);
    let options = CheckOptions {
        seed: 1,
        origin: Instant::now(),
        results: sender,
        ring: KeyRing::default(),
    };
    let checker = Checker::start(options, Arc::new(before)).unwrap();
    eventually("it runs", || results.try_recv().is_ok());
    checker.update(Arc::new(config));
    let (mut first, mut second) = (0, 0);
    eventually("the first checks of both that joined", || {
        while let Ok(result) = results.try_recv() {
            first += u32::from(result.backend == *"b1");
            second += u32::from(result.backend == *"b2");
        }
        first > 0 && second > 0
    });
    assert_eq!((first, second), (1, 1), "the next ones are a day away");
}

#[test]
fn a_check_by_connection_asks_nothing_and_slows_down_while_a_backend_is_down() {
    let (told, asked) = std::sync::mpsc::channel();
    let silent = Origin::start(move |mut conn| {
        // The check ends the connection without a byte.
        assert!(told.send(conn.head()).is_ok());
    });
    let mut config = simple(&[silent.address, refused()]);
    config.pools[0].health = Some(Health {
        check: HealthCheck::Tcp,
        interval_down: Duration::from_secs(3_600),
        ..health("/")
    });
    let (sender, mut results) = mpsc::channel(1_000);
    let options = CheckOptions {
        seed: 1,
        origin: Instant::now(),
        results: sender,
        ring: KeyRing::default(),
    };
    let _checker = Checker::start(options, Arc::new(config)).unwrap();
    let (mut good, mut bad) = (0, 0);
    // Far more than the three that it takes to be down.
    eventually("many checks of the one that is up", || {
        while let Ok(result) = results.try_recv() {
            if result.ok {
                assert_eq!(
                    (result.backend.as_str(), &*result.detail),
                    ("b0", "connected")
                );
                good += 1;
            } else {
                assert_eq!(
                    (result.backend.as_str(), &*result.detail),
                    ("b1", "connection refused")
                );
                bad += 1;
            }
        }
        good >= 20 && bad >= 3
    });
    assert_eq!(bad, 3, "the next one is an hour away");
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), None);
}
