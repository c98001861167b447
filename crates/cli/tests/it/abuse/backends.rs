//! Backends that are not there, that hang, that break off, that answer nonsense: what the client is told.

use std::io::Write as _;
use std::time::Duration;

use crate::support::{Home, PATIENCE, stubs, until};
use crate::wire::{Honest, Origin, addresses, config, connect, get, nobody, to_the_end};

/// An instance whose second listener leads to `backend`.
fn beside_honest(backend: &str, pool: &str) -> (Vec<evenkeel_shop::ServerHandle>, Home) {
    let stubs = stubs();
    let mut text = config(&addresses(&stubs), "", "");
    let more = format!(
        "[listener.bad]\naddress = \"127.0.0.1:0\"\n[[route]]\nlistener = \"bad\"\npath_prefix = \"/\"\npool = \"bad\"\n\
         [pool.bad]\n{pool}\n[pool.bad.backend.one]\naddress = \"{backend}\"\n"
    );
    text += &more;
    (stubs, Home::new(&text))
}

#[test]
fn an_unreachable_backend_is_502_with_a_code_also_when_every_check_fails() {
    let (_stubs, home) = beside_honest(&nobody().to_string(), "");
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let bad = instance.listeners[1].1.parse().unwrap();
    let answer = get(bad, "/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("x-evenkeel-error"), Some("connect_refused"));
    honest.unharmed();
    drop(instance);
    let health = "[pool.bad.health]\npath = \"/healthz\"\ninterval = \"100ms\"\nfall = 1";
    let (_stubs, home) = beside_honest(&nobody().to_string(), health);
    let instance = home.start(&[]);
    let bad = instance.listeners[1].1.parse().unwrap();
    instance.when("it is seen to be down", PATIENCE, |s| {
        s["pools"][1]["backends"][0]["health"] == "down"
    });
    // Every check of the pool fails: the checks may be what is wrong, so all backends take traffic.
    let answer = get(bad, "/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("x-evenkeel-error"), Some("connect_refused"));
}

#[test]
fn backends_at_their_limit_are_503_with_a_code() {
    let hanging = Origin::start(|conn| {
        conn.request();
        conn.hang();
    });
    let (_stubs, home) = beside_honest(&hanging.text(), "max_in_flight = 1");
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let bad = instance.listeners[1].1.parse().unwrap();
    let mut first = connect(bad);
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    until("the first is in flight", PATIENCE, || {
        (!hanging.heads().is_empty()).then_some(())
    });
    let answer = get(bad, "/");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("x-evenkeel-error"), Some("all_at_limit"));
    honest.unharmed();
}

#[test]
fn a_backend_that_hangs_is_504() {
    let hanging = Origin::start(|conn| {
        conn.request();
        conn.hang();
    });
    let (_stubs, home) = beside_honest(&hanging.text(), "response_timeout = \"500ms\"");
    let instance = home.start(&[]);
    let honest = Honest::start(instance.front(), 50.0);
    let answer = get(instance.listeners[1].1.parse().unwrap(), "/");
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.field("x-evenkeel-error"), Some("response_timeout"));
    assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
    honest.unharmed();
}

#[test]
fn responses_that_two_parties_could_read_differently_are_502() {
    let responses: [(&str, &str, &str); 7] = [
        ("junk", "hello\r\n\r\n", "response_version"),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "response_length_twice",
        ),
        (
            "length junk",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab",
            "response_length_syntax",
        ),
        (
            "coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
            "response_coding",
        ),
        (
            "bare LF",
            "HTTP/1.1 200 OK\ncontent-length: 1\n\na",
            "response_bare_line_end",
        ),
        (
            "version",
            "HTTP/3.0 200 OK\r\ncontent-length: 1\r\n\r\na",
            "response_version",
        ),
        (
            "switch",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            "response_switched",
        ),
    ];
    for (what, response, code) in responses {
        let origin = Origin::start(move |conn| {
            conn.request();
            conn.send(response.as_bytes());
        });
        let (_stubs, home) = beside_honest(&origin.text(), "retry = { attempts = 0 }");
        let instance = home.start(&[]);
        let answer = get(instance.listeners[1].1.parse().unwrap(), "/");
        assert_eq!(answer.status(), 502, "{what}: {answer:?}");
        assert_eq!(answer.field("x-evenkeel-error"), Some(code), "{what}");
    }
}

#[test]
fn a_response_cut_in_the_middle_does_not_look_complete() {
    let origin = Origin::start(|conn| {
        if conn
            .request()
            .is_some_and(|head| head.starts_with("GET /length"))
        {
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
        } else {
            conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }
    });
    let (_stubs, home) = beside_honest(&origin.text(), "");
    let instance = home.start(&[]);
    let bad = instance.listeners[1].1.parse().unwrap();
    let length = get(bad, "/length");
    assert!(length.body().len() < 100, "{length:?}");
    let chunked = get(bad, "/chunked");
    assert!(!chunked.text.contains("0\r\n\r\n"), "{chunked:?}");
}

#[test]
fn a_post_to_a_backend_that_breaks_off_is_never_sent_twice() {
    let origin = Origin::start(|conn| {
        conn.request();
    });
    let (_stubs, home) = beside_honest(
        &origin.text(),
        "retry = { attempts = 3, budget = \"100%\" }",
    );
    let instance = home.start(&[]);
    let bad = instance.listeners[1].1.parse().unwrap();
    let mut stream = connect(bad);
    stream
        .write_all(
            b"POST /pay HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab",
        )
        .unwrap();
    assert_eq!(to_the_end(&mut stream).status(), 502);
    let posts = origin
        .heads()
        .iter()
        .filter(|h| h.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}
