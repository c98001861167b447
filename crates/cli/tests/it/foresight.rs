//! `check`, `plan`, `apply` of a saved plan and `import` on real files of every balancer, with every exit code.

mod files;
mod hooks;
mod import;
mod live;
mod others;
mod plans;
mod sarif;

use crate::support::Home;

/// A haproxy.cfg that its own checker accepts: one weight is ten times the others.
pub(super) const HAPROXY: &str = "\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    bind :8080
    default_backend app
backend app
    option httpchk GET /healthz
    server web-1 10.0.0.1:8080 check weight 1
    server web-2 10.0.0.2:8080 check weight 10
    server web-3 10.0.0.3:8080 check weight 1
";

/// The same spread in the words of nginx; the upstream stands in a file of its own.
pub(super) const NGINX: &str = "\
events {}
http {
    include conf.d/*.conf;
    server { listen 8080; location / { proxy_pass http://app; } }
}
";
pub(super) const NGINX_UPSTREAM: &str = "\
upstream app {
    zone app 64k;
    server 10.0.0.1:8080 weight=1;
    server 10.0.0.2:8080 weight=10;
    server 10.0.0.3:8080 weight=1;
}
";

/// The same spread in the words of Envoy.
pub(super) fn envoy() -> String {
    let mut text = String::from(
        "static_resources:\n  listeners:\n  - name: web\n    address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }\n    filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: web\n          route_config:\n            virtual_hosts:\n            - name: all\n              domains: [\"*\"]\n              routes:\n              - match: { prefix: \"/\" }\n                route: { cluster: app }\n          http_filters:\n          - name: envoy.filters.http.router\n            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }\n  clusters:\n  - name: app\n    type: STATIC\n    connect_timeout: 1s\n    load_assignment:\n      cluster_name: app\n      endpoints:\n      - lb_endpoints:\n",
    );
    for (n, weight) in [(1, 1), (2, 10), (3, 1)] {
        text.extend([format!(
            "        - endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.{n}, port_value: 8080 }} }} }}\n          load_balancing_weight: {weight}\n"
        )]);
    }
    text
}

/// A directory with all three.
pub(super) fn home() -> Home {
    let home = Home::new("");
    home.write("haproxy.cfg", HAPROXY);
    home.write("nginx.conf", NGINX);
    std::fs::create_dir(home.dir().join("conf.d")).unwrap();
    home.write("conf.d/app.conf", NGINX_UPSTREAM);
    home.write("envoy.yaml", &envoy());
    home
}

/// Expected shares of the first pool called `app` in the JSON of a check.
pub(super) fn shares(view: &serde_json::Value) -> Vec<f64> {
    let pools = view["forecast"]["pools"].as_array().unwrap();
    let app = pools.iter().find(|pool| pool["name"] == "app").unwrap();
    let backends = app["backends"].as_array().unwrap();
    let share = |backend: &serde_json::Value| backend["expected_share"].as_f64().unwrap();
    backends.iter().map(share).collect()
}
