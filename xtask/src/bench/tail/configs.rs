//! The same pool for each balancer: one worker, connections kept on both sides, no limit on a backend, no access log, no
//! checks, everything else as it comes.

use crate::agreement::corpus::Peer;

/// A balancer with an algorithm of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contender {
    pub(super) peer: Peer,
    /// As its configuration says it.
    pub(super) algorithm: &'static str,
}

const fn contender(peer: Peer, algorithm: &'static str) -> Contender {
    Contender { peer, algorithm }
}

pub(super) const CONTENDERS: &[Contender] = &[
    contender(Peer::Evenkeel, "round_robin"),
    contender(Peer::Evenkeel, "least_request"),
    contender(Peer::Evenkeel, "peak_ewma"),
    contender(Peer::Evenkeel, "prequal"),
    contender(Peer::Haproxy, "leastconn"),
    contender(Peer::Haproxy, "random(2)"),
    contender(Peer::Nginx, "least_conn"),
    contender(Peer::Nginx, "random two least_conn"),
    contender(Peer::Envoy, "LEAST_REQUEST"),
];

impl Contender {
    /// The configuration, and what its file is called.
    pub(super) fn config(
        &self,
        listen: u16,
        admin: u16,
        origins: &[u16],
    ) -> (String, &'static str) {
        let algorithm = self.algorithm;
        match self.peer {
            Peer::Evenkeel => (evenkeel(algorithm, listen, admin, origins), "evenkeel.toml"),
            Peer::Haproxy => (haproxy(algorithm, listen, origins), "haproxy.cfg"),
            Peer::Nginx => (nginx(algorithm, listen, origins), "nginx.conf"),
            Peer::Envoy => (envoy(algorithm, listen, origins), "envoy.yaml"),
        }
    }
}

/// One piece of text per origin.
fn each(origins: &[u16], piece: impl Fn(usize, u16) -> String) -> String {
    let mut text = String::new();
    for (index, port) in origins.iter().enumerate() {
        text.push_str(&piece(index, *port));
    }
    text
}

fn evenkeel(algorithm: &str, listen: u16, admin: u16, origins: &[u16]) -> String {
    let backends = each(origins, |index, port| {
        format!("[pool.main.backend.o-{index}]\naddress = \"127.0.0.1:{port}\"\n")
    });
    format!(
        r#"workers = 1
[admin]
address = "127.0.0.1:{admin}"
[listener.web]
address = "127.0.0.1:{listen}"
[[route]]
listener = "web"
path_prefix = "/"
pool = "main"
[pool.main]
algorithm = "{algorithm}"
{backends}"#
    )
}

fn haproxy(algorithm: &str, listen: u16, origins: &[u16]) -> String {
    let servers = each(origins, |index, port| {
        format!("  server o-{index} 127.0.0.1:{port}\n")
    });
    format!(
        "global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 30s
  http-reuse always
frontend web
  bind 127.0.0.1:{listen}
  default_backend main
backend main
  balance {algorithm}
{servers}"
    )
}

fn nginx(algorithm: &str, listen: u16, origins: &[u16]) -> String {
    let servers = each(origins, |_, port| format!("    server 127.0.0.1:{port};\n"));
    format!(
        "worker_processes 1;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  upstream main {{
    {algorithm};
{servers}    keepalive 512;
    keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{listen} backlog=4096;
    location / {{
      proxy_pass http://main;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
    }}
  }}
}}
"
    )
}

fn envoy(algorithm: &str, listen: u16, origins: &[u16]) -> String {
    let endpoints = each(origins, |_, port| {
        format!(
            "            - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
        )
    });
    format!(
        r#"static_resources:
  listeners:
  - name: web
    address:
      socket_address: {{ address: 127.0.0.1, port_value: {listen} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: main }}
  clusters:
  - name: main
    type: STATIC
    connect_timeout: 1s
    lb_policy: {algorithm}
    circuit_breakers:
      thresholds:
      - {{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }}
    load_assignment:
      cluster_name: main
      endpoints:
      - lb_endpoints:
{endpoints}"#
    )
}
