//! Equivalent configurations of the three proxies and of the origin: one worker, keep-alive on both sides, the headers
//! that a proxy in front of a web application adds, no access log.

/// What a browser sends besides Host.
pub(crate) const BROWSER: &[&str] = &[
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

pub(crate) fn evenkeel(port: u16, admin: u16, origin: u16) -> String {
    format!(
        r#"workers = 1
[admin]
address = "127.0.0.1:{admin}"
[listener.web]
address = "127.0.0.1:{port}"
[[route]]
listener = "web"
path_prefix = "/"
pool = "main"
[pool.main]
[pool.main.backend.o-1]
address = "127.0.0.1:{origin}"
[pool.main.backend.o-2]
address = "127.0.0.2:{origin}"
"#
    )
}

pub(crate) fn haproxy(port: u16, origin: u16) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 30s
  timeout http-request 10s
  option forwardfor
  http-reuse always
frontend web
  bind 127.0.0.1:{port}
  http-request set-header X-Forwarded-Proto http
  default_backend main
backend main
  balance roundrobin
  server o-1 127.0.0.1:{origin}
  server o-2 127.0.0.2:{origin}
"
    )
}

pub(crate) fn nginx(port: u16, origin: u16) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream main {{
    server 127.0.0.1:{origin}; server 127.0.0.2:{origin};
    keepalive 64; keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{port};
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

pub(crate) fn origin(port: u16) -> String {
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
