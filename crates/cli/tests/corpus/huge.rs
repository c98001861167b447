//! Generated files: ten thousand backends are checked whole; what is enormous, deep or endless is refused with a place
//! or a number, in bounded memory and time ([`crate::run`] sets both).

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Ran, check};

/// Pools and backends of the large configuration.
const POOLS: usize = 20;
const BACKENDS: usize = 500;

/// Longest answer about a refused file, bytes: a file of 100 MB must not come back on the terminal.
const ANSWER_MAX: usize = 1 << 20;

fn address(pool: usize, backend: usize) -> String {
    format!("10.{pool}.{}.{}", backend / 250, backend % 250 + 1)
}

fn evenkeel() -> String {
    let mut text =
        "[listener.web]\naddress = \"127.0.0.1:8080\"\nconnections_max = 1000000\n".to_owned();
    for pool in 0..POOLS {
        writeln!(text, "[[route]]\nlistener = \"web\"\nhost = \"h{pool}.example\"\npool = \"p{pool}\"\n[pool.p{pool}]\npeak_rps = 10000\nmin_healthy = 300\n[pool.p{pool}.health]\npath = \"/healthz\"").unwrap();
        for backend in 0..BACKENDS {
            let address = address(pool, backend);
            writeln!(
                text,
                "[pool.p{pool}.backend.b{backend}]\naddress = \"{address}:8080\"\ncapacity_rps = 40"
            )
            .unwrap();
        }
    }
    text + "[[route]]\nlistener = \"web\"\npool = \"p0\"\n"
}

fn haproxy() -> String {
    let mut text = "defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\nfrontend web\n bind :8080\n".to_owned();
    for pool in 0..POOLS {
        writeln!(
            text,
            " use_backend p{pool} if {{ hdr(host) h{pool}.example }}"
        )
        .unwrap();
    }
    text += " default_backend p0\n";
    let balances = ["roundrobin", "leastconn", "uri", "random(2)"];
    for pool in 0..POOLS {
        writeln!(
            text,
            "backend p{pool}\n balance {}\n option httpchk GET /healthz",
            balances[pool % 4]
        )
        .unwrap();
        for backend in 0..BACKENDS {
            writeln!(
                text,
                " server b{backend} {}:8080 check",
                address(pool, backend)
            )
            .unwrap();
        }
    }
    text
}

fn nginx() -> String {
    let mut text = "worker_processes 2;\nevents {}\nhttp {\nproxy_next_upstream_tries 2;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n".to_owned();
    let methods = [
        "",
        "least_conn;",
        "hash $uri consistent;",
        "random two least_conn;",
    ];
    for pool in 0..POOLS {
        writeln!(
            text,
            "upstream p{pool} {{ zone p{pool} 1m; {}",
            methods[pool % 4]
        )
        .unwrap();
        for backend in 0..BACKENDS {
            writeln!(text, "server {}:8080;", address(pool, backend)).unwrap();
        }
        writeln!(text, "keepalive 32; }}\nserver {{ listen 80; server_name h{pool}.example; location / {{ proxy_pass http://p{pool}; }} }}").unwrap();
    }
    text + "}\n"
}

fn envoy() -> String {
    let mut clusters = Vec::new();
    let mut routes = Vec::new();
    let policies = ["ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "MAGLEV"];
    for pool in 0..POOLS {
        let endpoint = |backend: usize| {
            let address = address(pool, backend);
            format!(
                "{{\"endpoint\":{{\"address\":{{\"socket_address\":{{\"address\":\"{address}\",\"port_value\":8080}}}}}}}}"
            )
        };
        let endpoints: Vec<String> = (0..BACKENDS).map(endpoint).collect();
        clusters.push(format!("{{\"name\":\"p{pool}\",\"type\":\"STATIC\",\"connect_timeout\":\"1s\",\"lb_policy\":\"{}\",\"outlier_detection\":{{}},\"load_assignment\":{{\"cluster_name\":\"p{pool}\",\"endpoints\":[{{\"lb_endpoints\":[{}]}}]}}}}", policies[pool % 4], endpoints.join(",\n")));
        routes.push(format!("{{\"name\":\"v{pool}\",\"domains\":[\"{}\"],\"routes\":[{{\"match\":{{\"prefix\":\"/\"}},\"route\":{{\"cluster\":\"p{pool}\",\"hash_policy\":[{{\"header\":{{\"header_name\":\"x-id\"}}}}]}}}}]}}", if pool == 0 { "*".to_owned() } else { format!("h{pool}.example") }));
    }
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    format!(
        "{{\"static_resources\":{{\"listeners\":[{{\"name\":\"web\",\"address\":{{\"socket_address\":{{\"address\":\"0.0.0.0\",\"port_value\":8080}}}},\"filter_chains\":[{{\"filters\":[{{\"name\":\"envoy.filters.network.http_connection_manager\",\"typed_config\":{{\"@type\":\"{manager}\",\"stat_prefix\":\"web\",\"route_config\":{{\"virtual_hosts\":[{}]}},\"http_filters\":[{{\"name\":\"envoy.filters.http.router\",\"typed_config\":{{\"@type\":\"{router}\"}}}}]}}}}]}}]}}],\"clusters\":[{}]}}}}",
        routes.join(","),
        clusters.join(",")
    )
}

/// The JSON answer about a configuration of ten thousand backends is whole.
fn whole(name: &str, text: &str) {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join(name), text).unwrap();
    let ran = check(home.path(), name, &[]);
    let view = ran.json();
    let errors = view["findings"].as_array().unwrap().iter();
    let errors: Vec<&Value> = errors.filter(|f| f["severity"] == "error").collect();
    assert!(ran.code == 0 && errors.is_empty(), "{name}: {errors:#?}");
    let pools = view["forecast"]["pools"].as_array().unwrap();
    assert_eq!(pools.len(), POOLS);
    for pool in pools {
        let backends = pool["backends"].as_array().unwrap();
        let shares = backends
            .iter()
            .map(|b| b["expected_share"].as_f64().unwrap());
        let sum: f64 = shares.sum();
        assert!(
            backends.len() == BACKENDS && (sum - 1.0).abs() < 1e-6,
            "{name}: {sum}"
        );
    }
    assert!(!view["forecast"]["failures"].as_array().unwrap().is_empty());
}

#[test]
fn ten_thousand_backends_of_an_evenkeel_toml_are_checked_whole() {
    whole("evenkeel.toml", &evenkeel());
}

#[test]
fn ten_thousand_servers_of_a_haproxy_cfg_are_checked_whole() {
    whole("haproxy.cfg", &haproxy());
}

#[test]
fn ten_thousand_servers_of_an_nginx_conf_are_checked_whole() {
    whole("nginx.conf", &nginx());
}

#[test]
fn ten_thousand_endpoints_of_an_envoy_bootstrap_are_checked_whole() {
    whole("envoy.json", &envoy());
}

/// Checks the file `name` of `dir`, which must be refused in words and with the code of an invalid file.
fn refused(dir: &Path, name: &str) -> Ran {
    let ran = check(dir, name, &[]);
    let said = ran.out.len() + ran.err.len();
    assert_eq!(ran.code, 78, "{name}: {}", ran.err);
    assert!(said > 0 && said < ANSWER_MAX, "{name}: {said} bytes");
    ran
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_with_the_bound() {
    let home = TempDir::new().unwrap();
    for (name, line) in [
        ("evenkeel.toml", "workers = 2 # 0123456789\n"),
        ("haproxy.cfg", " server a 10.0.0.1:80 weight 1\n"),
        ("nginx.conf", "    server 10.0.0.1:8080;\n"),
        ("envoy.yaml", "- { address: 10.0.0.1 }\n"),
    ] {
        std::fs::write(
            home.path().join(name),
            line.repeat((100 << 20) / line.len()),
        )
        .unwrap();
        let ran = refused(home.path(), name);
        let said = ran.out + &ran.err;
        assert!(
            said.contains("16 MiB") || said.contains("16777216"),
            "{name}: {said}"
        );
        std::fs::remove_file(home.path().join(name)).unwrap();
    }
}

#[test]
fn blocks_a_hundred_thousand_deep_are_refused() {
    let home = TempDir::new().unwrap();
    let deep = 100_000;
    for (name, text) in [
        ("evenkeel.toml", format!("a = {}", "[".repeat(deep))),
        ("evenkeel2.toml", format!("a{} = 1", ".a".repeat(deep))),
        ("haproxy.cfg", format!("global\n{}", ".if 1\n".repeat(deep))),
        (
            "nginx.conf",
            format!(
                "events {{}} http {{ server {{ {}",
                "location / { ".repeat(deep)
            ),
        ),
        (
            "envoy.yaml",
            format!("static_resources: {}", "[".repeat(deep)),
        ),
        (
            "envoy2.yaml",
            format!("static_resources: {}", "{a: ".repeat(deep)),
        ),
        (
            "envoy.json",
            format!("{{\"static_resources\": {}", "[".repeat(deep)),
        ),
    ] {
        std::fs::write(home.path().join(name), text).unwrap();
        refused(home.path(), name);
    }
}

#[test]
fn one_line_of_ten_megabytes_is_refused_and_not_shown_whole() {
    let home = TempDir::new().unwrap();
    let long = "x".repeat(10 << 20);
    for (name, text) in [
        ("evenkeel.toml", format!("{long} = 1")),
        ("haproxy.cfg", format!("backend app\n server {long}")),
        ("nginx.conf", format!("events {{}} http {{ {long}")),
        ("envoy.yaml", format!("static_resources: \"{long}")),
    ] {
        std::fs::write(home.path().join(name), text).unwrap();
        refused(home.path(), name);
    }
}

#[test]
fn a_chain_of_includes_ends_at_the_bound() {
    let home = TempDir::new().unwrap();
    for n in 0..200 {
        let text = format!("include {}.inc;\n", n + 1);
        std::fs::write(home.path().join(format!("{n}.inc")), text).unwrap();
    }
    std::fs::write(home.path().join("200.inc"), "server { listen 80; }").unwrap();
    let text = "events {}\nhttp {\n    include 0.inc;\n}\n";
    std::fs::write(home.path().join("nginx.conf"), text).unwrap();
    let view = refused(home.path(), "nginx.conf").json();
    let finding = &view["findings"][0];
    assert_eq!(finding["id"], "IMP-02", "{view:#}");
    assert!(
        finding["message"].as_str().unwrap().contains("64"),
        "{view:#}"
    );
}
