//! What nginx.conf does to requests besides spreading them is listed, each with its line.

use evenkeel_import::AsideKind::{self, Access, Protocol, Rewrite};

use crate::read;

fn asides(text: &str) -> Vec<(u32, AsideKind, String)> {
    let imported = read(text);
    let line = |path: &str| imported.origin.locate(path).1.map_or(0, |at| at.line);
    let of = |aside: &evenkeel_import::Aside| (line(&aside.path), aside.kind, aside.what.clone());
    let mut asides: Vec<_> = imported.asides.iter().map(of).collect();
    asides.sort();
    asides
}

#[test]
fn access_rewrites_and_protocols_are_listed_with_their_lines() {
    let text = "\
events {}
http {
  gzip on;
  upstream php { server 10.0.0.1:9000; }
  server {
    listen 443 ssl http2;
    ssl_verify_client on;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    auth_basic off;
    location /api/ {
      allow 10.0.0.0/8;
      deny all;
      limit_req zone=one;
      auth_request /auth;
      proxy_pass http://10.0.0.2:80/;
      proxy_set_header Host $host;
      proxy_set_header X-Team shop;
    }
    location /ws { proxy_set_header Upgrade $http_upgrade; proxy_pass http://10.0.0.2:80; }
    location /same/ { proxy_pass http://10.0.0.2:80/same/; }
    location ~ [.]php$ { fastcgi_pass php; }
    location ~ [.]php5$ { fastcgi_pass php; }
    location /old { return 301 /new; }
  }
}
";
    let expected = [
        (3, Rewrite, "gzip on"),
        (4, Protocol, "fastcgi_pass php"),
        (6, Protocol, "listen 443 .. http2"),
        (7, Access, "ssl_verify_client on"),
        (
            8,
            Rewrite,
            "proxy_set_header of Host, Connection or X-Forwarded-..",
        ),
        (12, Access, "allow 10.0.0.0/8"),
        (13, Access, "deny all"),
        (14, Access, "limit_req zone=one"),
        (15, Access, "auth_request /auth"),
        (16, Rewrite, "proxy_pass http://10.0.0.2:80/"),
        (18, Rewrite, "proxy_set_header X-Team shop"),
        (20, Protocol, "proxy_set_header Upgrade $http_upgrade"),
        (24, Rewrite, "return 301 /new"),
    ];
    let expected = expected.map(|(line, kind, what)| (line, kind, what.to_owned()));
    assert_eq!(asides(text), expected);
}

#[test]
fn what_a_pool_speaks_stands_at_the_path_of_the_pool() {
    let imported = read(
        "events {} http { server { listen 80; location / { grpc_pass grpc://10.0.0.1:80; } } }",
    );
    let setup = imported.setup.unwrap();
    assert_eq!(imported.asides[0].path, setup.pools[0].path);
}

#[test]
fn a_flood_of_asides_is_cut_at_the_bound() {
    let many = "deny all;\n".repeat(2 * evenkeel_import::ASIDES_MAX);
    let text = format!("events {{}} http {{ server {{ listen 80; {many} }} }}");
    assert_eq!(asides(&text).len(), evenkeel_import::ASIDES_MAX);
}

#[test]
fn a_line_end_in_a_word_stays_out_of_the_list() {
    let text = "events {} http { server { listen 80; add_header X-A \"b\nc\"; } }";
    assert_eq!(
        asides(text),
        [(1, Rewrite, "add_header X-A b c".to_owned())]
    );
}

#[test]
fn an_aside_of_a_location_has_the_path_of_its_route() {
    let text = "events {} http { upstream a { server b:1; } server { listen 80;
        location /out { deny 10.0.0.1; location /out/in { limit_rate 1k; proxy_pass http://a; } }
        location = /x { limit_rate 1k; proxy_pass http://a; }
        location ~ y { limit_rate 1k; proxy_pass http://a; }
        location ~ y { limit_rate 1k; proxy_pass http://a; } } }";
    let imported = read(text);
    let routes = imported.setup.map(|setup| setup.routes).unwrap_or_default();
    let asides = imported.asides.iter().filter(|a| a.what == "limit_rate 1k");
    let without = |path: &str| path.split(".limit_rate").next().unwrap_or("").to_owned();
    let paths: Vec<String> = asides.map(|aside| without(&aside.path)).collect();
    assert_eq!(paths.len(), 4);
    for path in &paths {
        assert!(routes.iter().any(|route| route.path == *path), "{path}");
    }
    assert!(
        paths.contains(&"server.0.location.\"~ y#2\"".to_owned()),
        "{paths:?}"
    );
}
