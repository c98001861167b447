//! What haproxy.cfg does to requests besides spreading them is listed, each with its line.

use evenkeel_import::AsideKind::{self, Access, Protocol, Rewrite};

fn asides(text: &str) -> Vec<(u32, AsideKind, String)> {
    let imported = crate::import("haproxy.cfg", text);
    let line = |path: &str| imported.origin.locate(path).1.map_or(0, |at| at.line);
    let of = |aside: &evenkeel_import::Aside| (line(&aside.path), aside.kind, aside.what.clone());
    imported.asides.iter().map(of).collect()
}

#[test]
fn access_rewrites_and_protocols_are_listed_with_their_lines() {
    let text = "\
userlist staff
  user ann insecure-password x
defaults
  mode http
  option forwardfor
frontend web
  bind :80 accept-proxy
  bind :443 ssl crt /x.pem verify required alpn h2,http/1.1
  acl is_ws hdr(Upgrade) -i websocket
  tcp-request connection reject if { src 10.9.0.0/16 }
  http-request track-sc0 src
  http-request deny if { src 10.8.0.0/16 }
  http-request auth unless { http_auth(staff) }
  http-request set-header X-Proto https
  redirect scheme https unless { ssl_fc }
  no option forwardfor
  default_backend app
backend app
  http-response del-header Server
  http-request replace-path /old/(.*) /\\1
  compression algo gzip
  server a1 10.0.0.1:80 send-proxy-v2 proto h2
  server a2 10.0.0.2:80 send-proxy-v2 proto h2
backend php
  use-fcgi-app php
  server b1 10.0.0.3:9000
";
    let expected = [
        (1, Access, "userlist staff"),
        (5, Rewrite, "option forwardfor"),
        (7, Protocol, "bind :80 .. accept-proxy"),
        (8, Access, "bind :443 .. verify required"),
        (8, Protocol, "bind :443 .. alpn h2,http/1.1"),
        (9, Protocol, "acl is_ws hdr(Upgrade) -i websocket"),
        (
            10,
            Access,
            "tcp-request connection reject if { src 10.9.0.0/16 }",
        ),
        (11, Access, "http-request track-sc0 src"),
        (12, Access, "http-request deny if { src 10.8.0.0/16 }"),
        (13, Access, "http-request auth unless { http_auth(staff) }"),
        (14, Rewrite, "http-request set-header X-Proto https"),
        (15, Rewrite, "redirect scheme https unless { ssl_fc }"),
        (19, Rewrite, "http-response del-header Server"),
        (20, Rewrite, "http-request replace-path /old/(.*) /\\1"),
        (21, Rewrite, "compression algo gzip"),
        (18, Protocol, "server .. send-proxy-v2"),
        (18, Protocol, "server .. proto h2"),
        (24, Protocol, "use-fcgi-app php"),
    ];
    let expected = expected.map(|(line, kind, what)| (line, kind, what.to_owned()));
    assert_eq!(asides(text), expected);
}

#[test]
fn what_a_pool_speaks_stands_at_the_path_of_the_pool() {
    let text = "backend app\n  mode http\n  server a 10.0.0.1:80 proto h2\n";
    let imported = crate::import("haproxy.cfg", text);
    let setup = imported.setup.unwrap();
    assert_eq!(imported.asides[0].path, setup.pools[0].path);
}

#[test]
fn a_flood_of_asides_is_cut_at_the_bound() {
    let mut text = "frontend web\n  bind :80\n".to_owned();
    for _ in 0..2 * evenkeel_import::ASIDES_MAX {
        text.push_str("  http-request set-header A b\n");
    }
    assert_eq!(asides(&text).len(), evenkeel_import::ASIDES_MAX);
}
