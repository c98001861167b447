//! Equivalent configurations of the proxies and of the origin: one worker, keep-alive on both sides, the headers that a
//! proxy in front of a web application adds, TLS with the same certificate, no access log.

use std::path::Path;

/// Where a proxy listens: plain HTTP, TLS, administration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
    pub(super) admin: u16,
}

/// What a browser sends besides Host.
pub(super) const BROWSER: &[&str] = &[
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Cookie: sid=0123456789abcdef0123456789abcdef; theme=dark",
    "Referer: http://shop.example/product/7",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Upgrade-Insecure-Requests: 1",
];

pub(super) fn evenkeel(ports: Ports, origin: u16, pem: &Path) -> String {
    let (Ports { plain, tls, admin }, pem) = (ports, pem.display());
    format!(
        r#"workers = 1
[admin]
address = "127.0.0.1:{admin}"
[listener.web]
address = "127.0.0.1:{plain}"
[listener.secure]
address = "127.0.0.1:{tls}"
protocols = ["http/1.1", "h2"]
[listener.secure.tls]
certificates = ["{pem}"]
[[route]]
listener = "web"
pool = "main"
[[route]]
listener = "secure"
pool = "main"
[pool.main]
[pool.main.backend.o-1]
address = "127.0.0.1:{origin}"
[pool.main.backend.o-2]
address = "127.0.0.2:{origin}"
"#
    )
}

pub(super) fn haproxy(ports: Ports, origin: u16, pem: &Path) -> String {
    let (Ports { plain, tls, .. }, pem) = (ports, pem.display());
    format!(
        "global
  nbthread 1
  maxconn 9900
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 30s
  timeout http-request 10s
  option forwardfor
  http-reuse always
frontend web
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {pem} alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto http
  default_backend main
backend main
  balance roundrobin
  server o-1 127.0.0.1:{origin}
  server o-2 127.0.0.2:{origin}
"
    )
}

pub(super) fn nginx(ports: Ports, origin: u16, pem: &Path) -> String {
    let (Ports { plain, tls, .. }, pem) = (ports, pem.display());
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  ssl_certificate {pem}; ssl_certificate_key {pem};
  upstream main {{
    server 127.0.0.1:{origin}; server 127.0.0.2:{origin};
    keepalive 64; keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl http2;
    location / {{
      proxy_pass http://main;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    )
}

/// Its HTTP connection manager behind two listeners.
pub(super) fn envoy(ports: Ports, origin: u16, pem: &Path) -> String {
    let (Ports { plain, tls, .. }, pem) = (ports, pem.display());
    let manager = r#"    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: main }
"#;
    format!(
        r#"static_resources:
  listeners:
  - name: web
    address:
      socket_address: {{ address: 127.0.0.1, port_value: {plain} }}
    filter_chains:
{manager}  - name: secure
    address:
      socket_address: {{ address: 127.0.0.1, port_value: {tls} }}
    filter_chains:
{manager}      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: ["h2", "http/1.1"]
            tls_certificates:
            - certificate_chain: {{ filename: "{pem}" }}
              private_key: {{ filename: "{pem}" }}
  clusters:
  - name: main
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: main
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.2, port_value: {origin} }} }} }}
"#
    )
}

pub(super) fn origin(port: u16) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  sendfile on;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.2:{port};
    root .;
  }}
}}
"
    )
}
