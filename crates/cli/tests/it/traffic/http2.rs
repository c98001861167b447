//! Clients of HTTP/2 that this project did not write: curl, nghttp and h2load of nghttp2, by prior knowledge.

use std::process::Command;

use crate::support::{Home, Instance, PATIENCE, request, run, until};
use crate::wire::{Origin, config};

const LISTENER: &str = "protocols = [\"http/1.1\", \"h2\"]";

/// Answers with the head as it came.
fn echo() -> Origin {
    Origin::start(|conn| {
        while let Some(text) = conn.request() {
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            if !conn.send(answer.as_bytes()) {
                return;
            }
        }
    })
}

fn metrics(instance: &Instance) -> String {
    let admin = instance.admin;
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    request(admin, &ask).1
}

fn count(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.sum::<f64>() as u64
}

#[test]
fn curl_speaks_it_and_the_backend_sees_http_1() {
    let origin = echo();
    let home = Home::new(&config(&[origin.address.to_string()], LISTENER, ""));
    let instance = home.start(&[]);
    let url = format!("http://{}/cart?id=1", instance.front());
    let ask = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "--http2-prior-knowledge"]);
        run(curl.args(more).arg(&url)).expect(0).out
    };
    let text = ask(&["-w", "%{http_version} %{response_code}"]);
    assert!(text.starts_with("GET /cart?id=1 HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("\r\nVia: 2.0 evenkeel\r\n"), "{text}");
    assert!(text.ends_with("2 200"), "{text}");
    let body = "x".repeat(200_000);
    let file = home.write("body", &body);
    let body = format!("@{}", file.display());
    let text = ask(&["--data-binary", &body, "-H", "Expect: 100-continue"]);
    assert!(text.contains("\r\nContent-Length: 200000\r\n"), "{text}");
    let head = ask(&["-I"]);
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    // The same listener still speaks HTTP/1.1.
    let mut curl = Command::new("curl");
    let plain = run(curl.args(["-sS", "--max-time", "10", "--http1.1", &url]));
    assert!(plain.expect(0).out.contains("Via: 1.1 evenkeel"));
}

#[test]
fn nghttp_reads_many_answers_on_one_connection() {
    let origin = echo();
    let home = Home::new(&config(&[origin.address.to_string()], LISTENER, ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["--timeout=10", "--stat", "--null-out"]);
    nghttp.args((0..5).map(|n| format!("http://{front}/{n}")));
    let out = run(&mut nghttp).expect(0).out;
    let answered = out.lines().filter(|line| line.contains(" 200 ")).count();
    assert_eq!(answered, 5, "{out}");
    let metrics = metrics(&instance);
    assert_eq!(count(&metrics, "evenkeel_http2_refused_total"), 0);
}

#[test]
fn requests_of_few_connections_are_spread_and_counted_one_by_one() {
    let origins = [echo(), echo(), echo()];
    let addresses = origins.each_ref().map(|origin| origin.address.to_string());
    let home = Home::new(&config(&addresses, LISTENER, ""));
    let instance = home.start(&[]);
    let mut h2load = Command::new("h2load");
    h2load.args([
        "-n",
        "3000",
        "-c",
        "2",
        "-m",
        "50",
        "--connection-active-timeout=20",
    ]);
    let out = run(h2load.arg(format!("http://{}/", instance.front())));
    let out = out.expect(0).out;
    assert!(out.contains("3000 succeeded, 0 failed"), "{out}");
    // Each worker hands its counts over once a second.
    until("all are counted", PATIENCE, || {
        let metrics = metrics(&instance);
        let picks = |n| {
            count(
                &metrics,
                &format!("evenkeel_picks_total{{pool=\"shop\",backend=\"web-{n}\""),
            )
        };
        let picks = [picks(1), picks(2), picks(3)];
        let total: u64 = picks.iter().sum();
        if total < 3_000 {
            return None;
        }
        assert_eq!(total, 3_000);
        // Two workers at most, each going round.
        assert!(picks.iter().all(|n| (998..=1_002).contains(n)), "{picks:?}");
        (count(&metrics, "evenkeel_http2_streams_open") == 0).then_some(())
    });
}
