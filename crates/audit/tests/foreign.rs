//! Files that other balancers' own checks pass without a word, and what the audit says about them.

#![expect(
    clippy::panic,
    reason = "a file that is not read fails the test, and what the reader said is the report"
)]

use std::fmt::Write as _;

use evenkeel_audit::{Subject, audit};
use evenkeel_forecast::{Facts, forecast};
use evenkeel_import::{File, NoFiles, read};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::Severity;
use evenkeel_model::setup::Balancer;

/// Severity, rule and line of what is worse than an info.
fn said(balancer: Balancer, text: &str) -> Vec<String> {
    let main = File {
        name: "file".to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    let imported = read(balancer, main, &NoFiles);
    let setup = imported
        .setup
        .unwrap_or_else(|| panic!("{:#?}", imported.findings));
    let facts = Facts::default();
    let findings = audit(&Subject {
        setup: &setup,
        origin: &imported.origin,
        forecast: &forecast(&setup, &facts),
        facts: &facts,
        running: None,
        now: Wall(0),
    });
    let worse = findings.iter().filter(|f| f.severity > Severity::Info);
    worse
        .map(|f| {
            let line = f.location.as_ref().map_or(0, |at| at.line);
            format!("{} {} {line}", f.severity, f.id)
        })
        .collect()
}

/// A sound haproxy.cfg whose backend, from line 16 on, is `lines`.
fn haproxy(lines: &[&str]) -> Vec<String> {
    let head = "\
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 15s
    timeout queue 5s
    timeout http-request 5s
    timeout http-keep-alive 10s
    option httpchk GET /healthz
    default-server check inter 2s fall 3 rise 2 maxconn 100

frontend web
    bind :8080
    default_backend app
";
    let text = format!("{head}\nbackend app\n    {}\n", lines.join("\n    "));
    said(Balancer::Haproxy, &text)
}

#[test]
fn a_sound_haproxy_cfg_is_passed_in_silence() {
    let sound = haproxy(&["server a 10.0.0.1:80", "server b 10.0.0.2:80"]);
    assert_eq!(sound, Vec::<String>::new());
}

#[test]
fn what_haproxy_passes_without_a_word_is_one_finding_each() {
    let weight = haproxy(&[
        "server a 10.0.0.1:80 weight 1",
        "server b 10.0.0.2:80 weight 256",
        "server c 10.0.0.3:80 weight 1",
    ]);
    assert_eq!(weight, ["warning TRF-02 18"]);
    let twice = haproxy(&[
        "server a 10.0.0.1:80",
        "server b 10.0.0.1:80",
        "server c 10.0.0.3:80",
    ]);
    assert_eq!(twice, ["error TRF-07 18"]);
    let backups = haproxy(&["server a 10.0.0.1:80 backup", "server b 10.0.0.2:80 backup"]);
    assert_eq!(backups, ["error TRF-05 16"]);
    assert_eq!(haproxy(&["balance roundrobin"]), ["error TRF-05 16"]);
    let drained = haproxy(&[
        "server a 10.0.0.1:80 weight 0",
        "server b 10.0.0.2:80 weight 0",
    ]);
    assert_eq!(drained, ["error TRF-05 16"]);
}

/// A sound nginx.conf whose upstream, from line 4 on, is `lines`.
fn nginx(lines: &[&str]) -> Vec<String> {
    let text = format!(
        "\
worker_processes 4; events {{}}
http {{
    upstream app {{
        {}
        keepalive 32;
    }}
    server {{
        listen 8080;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_next_upstream_tries 2;
            proxy_next_upstream_timeout 10s;
        }}
    }}
}}
",
        lines.join("\n        ")
    );
    said(Balancer::Nginx, &text)
}

#[test]
fn what_nginx_passes_without_a_word_is_one_finding_each() {
    let zone = "zone app 64k;";
    let plain = nginx(&[zone, "server 10.0.0.1:80;", "server 10.0.0.2:80;"]);
    let own = |lines: &[&str]| {
        let mut said = nginx(lines);
        said.retain(|finding| !plain.contains(finding));
        said
    };
    let weight = own(&[
        zone,
        "server 10.0.0.1:80 weight=1000;",
        "server 10.0.0.2:80;",
    ]);
    assert_eq!(weight, ["warning TRF-02 5"]);
    let twice = own(&[zone, "server 10.0.0.1:80;", "server 10.0.0.1:80;"]);
    assert_eq!(twice, ["error TRF-07 6"]);
    let down = own(&[zone, "server 10.0.0.1:80 down;", "server 10.0.0.2:80 down;"]);
    assert!(down.contains(&"error TRF-05 3".to_owned()), "{down:?}");
    let limits = own(&["server 10.0.0.1:80 max_conns=50;", "server 10.0.0.2:80;"]);
    assert_eq!(limits, ["warning TRF-11 4"]);
}

#[test]
fn ten_thousand_backends_with_one_fault_each_are_a_handful_of_findings() {
    let mut pools = String::new();
    for i in 0..10_000_u32 {
        let address = format!("10.0.{}.{}", i % 5_000 / 250, i % 250 + 1);
        let weight = if i % 2 == 0 { 1 } else { 200 };
        writeln!(pools, "    server s{i} {address}:80 weight {weight}").unwrap();
    }
    let said = haproxy(&[pools.trim()]);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("error TRF-07") && said[1].starts_with("warning TRF-02"));
}
