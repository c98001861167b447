//! What an origin is told about the client, and what a client cannot make it believe.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::support::Home;
use crate::wire::{Origin, config, exchange, field};

#[test]
fn the_origin_learns_the_client_and_not_what_the_client_pretends() {
    let origin = Origin::echoing();
    let home = Home::new(&config(&[origin.text()], "", ""));
    let instance = home.start(&[]);
    let request = "GET /a?b=c HTTP/1.1\r\nhost: shop.test:81\r\nx-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
        x-forwarded-proto: https\r\nx-forwarded-host: evil.test\r\nforwarded: for=6.6.6.6;proto=https\r\n\
        x-real-ip: 6.6.6.6\r\nconnection: close, x-secret\r\nx-secret: hop\r\n\r\n";
    let answer = exchange(instance.front(), request.as_bytes());
    assert_eq!(answer.status(), 200);
    let seen = answer.body();
    assert!(seen.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{seen}");
    assert_eq!(field(seen, "host"), Some("shop.test:81"));
    assert_eq!(field(seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field(seen, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(seen, "x-forwarded-host"), Some("shop.test:81"));
    let forwarded = field(seen, "forwarded").unwrap();
    assert!(forwarded.contains("for=127.0.0.1"), "{forwarded}");
    assert!(forwarded.contains("proto=http"), "{forwarded}");
    assert!(forwarded.contains("shop.test:81"), "{forwarded}");
    assert_eq!(field(seen, "via"), Some("1.1 evenkeel"));
    assert_eq!(field(seen, "x-secret"), None, "hop-by-hop by Connection");
    assert!(!seen.contains("7.7.7.7"), "{seen}");
    assert!(!seen.contains("evil.test"), "{seen}");
    for name in ["x-forwarded-for", "x-forwarded-proto", "forwarded"] {
        let lines = seen.to_ascii_lowercase();
        assert_eq!(lines.matches(&format!("\r\n{name}:")).count(), 1, "{name}");
    }
    assert!(field(seen, "x-request-id").is_some(), "{seen}");
}

#[test]
fn a_client_of_a_unix_listener_is_served() {
    let origin = Origin::echoing();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let listener = format!(
        "[listener.local]\naddress = \"unix:{}\"\n[[route]]\nlistener = \"local\"\npath_prefix = \"/\"\npool = \"shop\"",
        path.display()
    );
    let home = Home::new(&config(&[origin.text()], &listener, ""));
    let instance = home.start(&[]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
        )
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(!text.contains("6.6.6.6"), "{text}");
    assert_eq!(instance.stop().code(), Some(0));
    assert!(!path.exists(), "the socket is removed at the end");
}
