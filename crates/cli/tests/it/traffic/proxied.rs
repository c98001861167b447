//! Behind proxies that this project did not write: HAProxy and curl, both versions of the PROXY protocol.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use crate::support::{Home, Instance, PATIENCE, Process, request, run, until};
use crate::wire::{Origin, config};

const LISTENER: &str = "proxy_protocol = { from = [\"127.0.0.1\"] }";

/// Answers with the `X-Forwarded-For` that it got.
fn origin() -> Origin {
    Origin::start(|conn| {
        while let Some(head) = conn.request() {
            let field = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("x-forwarded-for")
                    .then(|| value.to_owned())
            };
            let client = head.lines().find_map(field).unwrap_or_default();
            let length = client.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{client}");
            if !conn.send(answer.as_bytes()) {
                return;
            }
        }
    })
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// HAProxy in front of `instance`, which it also checks, with clients from other addresses of the loopback network.
fn haproxy(home: &Home, instance: &Instance, option: &str) -> (Process, SocketAddr) {
    let (front, back) = (free(), instance.front());
    let text = format!(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
        listen front\n  bind {front}\n  server evenkeel {back} {option} check check-send-proxy inter 100ms\n"
    );
    let file = home.write("haproxy.cfg", &text);
    let process = Process::start(
        Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    (process, front)
}

fn refused(instance: &Instance, reason: &str) -> u64 {
    let admin = instance.admin;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let name = format!("evenkeel_proxy_headers_refused_total{{reason=\"{reason}\"}} ");
    let text = request(admin, &ask).1;
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix(name.as_str()));
    count.unwrap().parse().unwrap()
}

#[test]
fn the_client_of_haproxy_is_the_client_here_in_both_versions() {
    let origin = origin();
    let home = Home::new(&config(&[origin.address.to_string()], LISTENER, ""));
    let instance = home.start(&[]);
    for option in ["send-proxy", "send-proxy-v2"] {
        let (_haproxy, front) = haproxy(&home, &instance, option);
        let url = format!("http://{front}/");
        // 127.0.0.9 is nobody's: the answer can only come out of the header.
        let told = || {
            let mut curl = Command::new("curl");
            curl.args([
                "-s",
                "--max-time",
                "10",
                "--interface",
                "127.0.0.9",
                &url,
                &url,
            ]);
            let ran = run(&mut curl);
            (ran.code == 0).then_some(ran.out)
        };
        let out = until("an answer through haproxy", PATIENCE, told);
        assert_eq!(out, "127.0.0.9127.0.0.9", "{option}");
    }
    assert_eq!(refused(&instance, "invalid"), 0);
    assert_eq!(refused(&instance, "source"), 0);
}

#[test]
fn curl_sends_a_header_and_without_one_it_gets_nothing() {
    let origin = origin();
    let home = Home::new(&config(&[origin.address.to_string()], LISTENER, ""));
    let instance = home.start(&[]);
    let url = format!("http://{}/", instance.front());
    let ask = |more: &[&str]| {
        let mut curl = Command::new("curl");
        run(curl.args(["-s", "--max-time", "10"]).args(more).arg(&url))
    };
    assert_eq!(ask(&["--haproxy-protocol"]).expect(0).out, "127.0.0.1");
    // 52: an empty reply; 55, 56: a reset while it sends or reads, because the request was not read.
    let without = ask(&[]);
    assert!(matches!(without.code, 52 | 55 | 56), "{without:?}");
    let elsewhere = ask(&["--haproxy-protocol", "--interface", "127.0.0.9"]);
    assert!(matches!(elsewhere.code, 52 | 55 | 56), "{elsewhere:?}");
    until("both are counted", PATIENCE, || {
        let counts = (refused(&instance, "invalid"), refused(&instance, "source"));
        (counts == (1, 1)).then_some(())
    });
}
