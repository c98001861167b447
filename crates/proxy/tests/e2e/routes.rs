//! Which backend a request reaches by what it asks for, and which paths are refused because they can be read in two
//! ways.

use std::net::SocketAddr;

use evenkeel_model::config::{Config, Route};
use evenkeel_model::parse::parse;

use crate::support::{Bench, Client, Origin, config, listener, local, pool};

/// A pool for each of these routes, the keys of each as TOML.
fn routed(routes: &[&str], origins: &[SocketAddr]) -> Config {
    let mut text = "[listener.web]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (n, keys) in routes.iter().enumerate() {
        let more = format!("[[route]]\nlistener = \"web\"\npool = \"p{n}\"\n{keys}\n");
        text += &more;
    }
    for n in 0..routes.len() {
        let more = format!("[pool.p{n}.backend.b]\naddress = \"127.0.0.1:1\"\n");
        text += &more;
    }
    let read = parse(&text, None);
    let pools = (0..routes.len()).map(|n| pool(&format!("p{n}"), &origins[n..=n]));
    let plain = config(vec![listener("web", local())], pools.collect());
    let routes: Vec<Route> = read.config.unwrap().routes;
    Config { routes, ..plain }
}

fn origins() -> [Origin; 3] {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
    ]
    .map(Origin::answering)
}

fn asked(client: &mut Client, line: &str, fields: &str) -> String {
    client.send(&format!(
        "{line} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"
    ));
    let response = client.response();
    match response.header("x-evenkeel-error") {
        Some(code) => format!("{} {code}", response.status),
        None => response.text().to_owned(),
    }
}

#[test]
fn a_request_takes_the_first_route_whose_every_condition_it_meets() {
    let origins = origins();
    let routes = [
        "methods = ['GET']\npath_regex = '/user/[0-9]+'\nheaders = { X-Canary = '1' }",
        "path = '/user/7'\ncookies = { beta = { present = true } }\nquery = { v = { prefix = '2' } }",
        "headers = { authorization = { present = false } }",
    ];
    let bench = Bench::start(routed(&routes, &origins.each_ref().map(|o| o.address)));
    let mut client = bench.client();
    for (line, fields, expected) in [
        ("GET /user/7", "x-canary: 1\r\n", "0"),
        ("GET /user/7?x=1", "x-canary: 0\r\nX-CANARY:  1 \r\n", "0"),
        ("GET /user/x", "x-canary: 1\r\n", "2"),
        ("GET /user/7", "x-canary: 2\r\n", "2"),
        ("DELETE /user/7", "x-canary: 1\r\n", "2"),
        ("GET /user/7?v=2.1", "cookie: a=1; beta=\r\n", "1"),
        ("GET /user/7/?v=2.1", "cookie: beta=x\r\n", "2"),
        ("GET /user/7?v=1", "cookie: beta=x\r\n", "2"),
        ("GET /user/7?v=1", "authorization: x\r\n", "404 no_route"),
    ] {
        assert_eq!(
            asked(&mut client, line, fields),
            expected,
            "{line} {fields}"
        );
    }
}

#[test]
fn requests_are_counted_by_route_where_two_share_a_prefix() {
    let origins = origins();
    let routes = ["headers = { x-canary = '1' }", "methods = ['POST']", ""];
    let mut bench = Bench::start(routed(&routes, &origins.each_ref().map(|o| o.address)));
    let mut client = bench.client();
    for (line, fields) in [
        ("GET /", "x-canary: 1\r\n"),
        ("GET /", ""),
        ("GET /a", ""),
        ("POST /", "content-length: 0\r\n"),
    ] {
        asked(&mut client, line, fields);
    }
    drop(client);
    bench.proxy.drain(crate::support::PATIENCE);
    bench.proxy.join();
    let mut told: Vec<(Option<String>, u64)> = Vec::new();
    while let Ok(tally) = bench.tallies.try_recv() {
        for route in tally.routes {
            told.retain(|(condition, _)| *condition != route.route.condition);
            told.push((route.route.condition.clone(), route.requests));
        }
    }
    told.sort();
    let condition = |text: &str| Some(text.to_owned());
    let expected = [
        (None, 2),
        (condition("headers = { x-canary = \"1\" }"), 1),
        (condition("methods = [\"POST\"]"), 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_path_that_a_backend_could_read_as_that_of_another_route_is_refused() {
    let origins = origins();
    let routes = ["path_prefix = '/admin'", "path = '/login'", ""];
    let bench = Bench::start(routed(&routes, &origins.each_ref().map(|o| o.address)));
    let mut client = bench.client();
    for path in [
        "/%61dmin",
        "//admin",
        "/x/..%2fadmin",
        "/x/..;/admin",
        "/login;v=1",
        "/admin/../x",
    ] {
        let said = asked(&mut client, &format!("GET {path}?q=1"), "");
        assert_eq!(said, "400 ambiguous_path", "{path}");
    }
    // The connection goes on: the request was whole, only its path was not acceptable.
    for (path, expected) in [
        ("/files/a%2Fb//c;d", "2"),
        ("/admin/a%2Fb", "0"),
        ("/a%20b", "2"),
    ] {
        assert_eq!(
            asked(&mut client, &format!("GET {path}"), ""),
            expected,
            "{path}"
        );
    }
    let reached: u32 = origins.iter().map(Origin::connections).sum();
    assert_eq!(reached, 2, "no refused path reached a backend");
}
