//! What a route changes in heads: what backends and clients see then, and who goes on seeing what the client sent.

use std::sync::mpsc;
use std::time::Duration;

use evenkeel_model::config::{Algorithm, Config, HashKey, Hedge, HedgeAfter, RetryCause, RetryOn};
use evenkeel_model::parse::parse;
use evenkeel_model::units::Ratio;
use http::Request;

use crate::frames::Library;
use crate::http2::speaking;
use crate::support::{Bench, Origin, PATIENCE, Response, header, refused, simple};

/// `config` with these routes, the last of which has no condition.
fn routed(config: Config, routes: &[&str]) -> Config {
    let mut text = "[listener.web]\naddress = '127.0.0.1:0'\n".to_owned();
    for keys in routes {
        let is_answer = keys.contains("respond") || keys.contains("redirect");
        let pool = if is_answer { "" } else { "pool = 'shop'\n" };
        let more = format!("[[route]]\nlistener = 'web'\n{pool}{keys}\n");
        text += &more;
    }
    text += "[pool.shop.backend.b]\naddress = '127.0.0.1:1'\n";
    let read = parse(&text, None);
    let routes = read.config.map(|config| config.routes);
    Config {
        routes: routes.unwrap_or_else(|| panic!("{:#?}", read.findings)),
        ..config
    }
}

/// Answers with the request as it came.
fn echo() -> Origin {
    Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let length = request.len();
            let head = "HTTP/1.1 200 OK\r\nServer: echo\r\nX-Own: 1\r\nSet-Cookie: a=b";
            conn.send(&format!(
                "{head}\r\nContent-Length: {length}\r\n\r\n{request}"
            ));
        }
    })
}

fn asked(bench: &Bench, line: &str, fields: &str) -> Response {
    let mut client = bench.client();
    client.send(&format!(
        "{line} HTTP/1.1\r\nHost: Shop.test:81\r\n{fields}\r\n"
    ));
    client.response_to(line.split(' ').next().unwrap())
}

const REWRITES: [&str; 5] = [
    "path_prefix = '/api'\nrewrite = { strip_prefix = '/api', host = 'api.internal:8080' }",
    "path_prefix = '/old'\nrewrite = { replace_prefix = '/new' }",
    "path_prefix = '/user'\nrewrite = { regex = '/user/([0-9]+)(/.*)?', to = '/people/$1$2' }",
    "path = '/app'\nrewrite = { path = '/index.html' }",
    "",
];

#[test]
fn the_backend_sees_the_path_that_the_route_says_and_the_query_as_it_came() {
    let origin = echo();
    let bench = Bench::start(routed(simple(&[origin.address]), &REWRITES));
    for (line, first) in [
        (
            "GET /api/v1/a%2Fb?c=%2e%2e",
            "GET /v1/a%2Fb?c=%2e%2e HTTP/1.1",
        ),
        ("DELETE /api", "DELETE / HTTP/1.1"),
        ("GET /old/x?", "GET /new/x? HTTP/1.1"),
        ("GET /user/7/cart?id=1", "GET /people/7/cart?id=1 HTTP/1.1"),
        ("GET /user/me", "GET /user/me HTTP/1.1"),
        ("GET /app?x", "GET /index.html?x HTTP/1.1"),
        ("GET http://Shop.test:81/api/x", "GET /x HTTP/1.1"),
        ("GET /apis", "GET /apis HTTP/1.1"),
    ] {
        let response = asked(&bench, line, "");
        assert_eq!(response.text().lines().next(), Some(first), "{line}");
    }
    let head = asked(&bench, "GET /api/x", "");
    for (name, value) in [
        ("host", "api.internal:8080"),
        ("x-forwarded-host", "Shop.test:81"),
        (
            "forwarded",
            "for=127.0.0.1;proto=http;host=\"Shop.test:81\"",
        ),
    ] {
        assert_eq!(header(head.text(), name), Some(value), "{}", head.text());
    }
    let all = Bench::start(routed(
        simple(&[origin.address]),
        &["rewrite = { path = '/x' }"],
    ));
    let options = asked(&all, "OPTIONS *", "");
    assert!(
        options.text().starts_with("OPTIONS * HTTP/1.1\r\n"),
        "{}",
        options.text()
    );
}

#[test]
fn a_path_that_would_lead_out_of_what_is_meant_reaches_no_backend() {
    let origin = echo();
    let routes = ["rewrite = { regex = '/(.*)', to = '/public/$1' }"];
    let bench = Bench::start(routed(simple(&[origin.address]), &routes));
    for path in [
        "/../admin",
        "/a/%2e%2e/x",
        "/..;/admin",
        "/a/..%2f..%5cx",
        "/./x",
    ] {
        let response = asked(&bench, &format!("GET {path}"), "");
        assert_eq!(response.said(), (400, "rewritten_path"), "{path}");
    }
    assert_eq!(origin.connections(), 0);
    let response = asked(&bench, "GET //evil.test/x", "");
    assert!(
        response.text().starts_with("GET /public//evil.test/x "),
        "{}",
        response.text()
    );
}

const FIELDS: &str = "request_headers = { set = { X-Client = '{client_ip}', x-what = '{method} {scheme}://{host}{path} {{{request_id}}}' }, \
    add = { accept = 'text/plain' }, remove = ['cookie', 'X-Debug'] }\n\
    response_headers = { set = { Server = 'shop', x-frame-options = 'DENY' }, add = { set-cookie = 'c={host}' }, remove = ['x-own'] }";

#[test]
fn fields_of_the_request_are_set_added_and_removed() {
    let origin = echo();
    let bench = Bench::start(routed(simple(&[origin.address]), &[FIELDS]));
    let sent = "x-CLIENT: 9.9.9.9\r\nX-Client: 8.8.8.8\r\nAccept: */*\r\nCookie: a\r\ncookie: b\r\nx-debug: 1\r\nX-Kept: 2\r\n\
                X-Request-Id: req-1\r\nContent-Length: 0\r\n";
    let response = asked(&bench, "POST /a%20b?q=1", sent);
    let head = response.text();
    let all = |name: &str| -> Vec<String> {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mine = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        mine.map(|(_, value)| value.to_owned()).collect()
    };
    assert_eq!(all("x-client"), ["127.0.0.1"]);
    assert_eq!(all("x-what"), ["POST http://Shop.test/a%20b {req-1}"]);
    assert_eq!(all("accept"), ["*/*", "text/plain"]);
    assert_eq!(all("x-kept"), ["2"]);
    assert_eq!(all("content-length"), ["0"]);
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert!(
        all("cookie").is_empty() && all("x-debug").is_empty(),
        "{head}"
    );
}

#[test]
fn fields_of_the_response_are_set_added_and_removed() {
    let origin = echo();
    let bench = Bench::start(routed(simple(&[origin.address]), &[FIELDS]));
    let head = asked(&bench, "GET /", "").head;
    let lines = |text: &str| {
        head.lines()
            .filter(|line| line.eq_ignore_ascii_case(text))
            .count()
    };
    assert_eq!(lines("server: shop"), 1, "{head}");
    assert_eq!((lines("server: echo"), lines("x-own: 1")), (0, 0), "{head}");
    assert_eq!(lines("x-frame-options: DENY"), 1);
    assert_eq!(
        (lines("set-cookie: a=b"), lines("set-cookie: c=Shop.test")),
        (1, 1),
        "{head}"
    );
    assert_eq!(header(&head, "via"), Some("1.1 evenkeel"));
    // An error of the balancer is nobody's page.
    let down = Bench::start(routed(simple(&[refused()]), &[FIELDS]));
    let response = asked(&down, "GET /", "");
    assert_eq!(response.said(), (502, "connect_refused"));
    assert_eq!(response.header("x-frame-options"), None);
}

#[test]
fn answers_of_a_route_have_its_response_fields() {
    let origin = echo();
    let routes = [
        "path = '/robots.txt'\nrespond = { status = 200, headers = { cache-control = 'no-store', x-a = '1' } }\n\
         response_headers = { set = { cache-control = 'max-age=60' }, add = { x-for = '{client_ip}{path}' }, remove = ['x-a'] }",
        "path = '/away'\nredirect = { host = 'a.test' }\nresponse_headers = { set = { cache-control = 'no-cache' } }",
        "",
    ];
    let bench = Bench::start(routed(simple(&[origin.address]), &routes));
    let robots = asked(&bench, "GET /robots.txt", "");
    assert_eq!(
        robots.head.matches("cache-control").count(),
        1,
        "{}",
        robots.head
    );
    assert_eq!(robots.header("cache-control"), Some("max-age=60"));
    assert_eq!(robots.header("x-for"), Some("127.0.0.1/robots.txt"));
    assert_eq!(robots.header("x-a"), None);
    let away = asked(&bench, "GET /away", "");
    assert_eq!(
        (away.status, away.header("location")),
        (302, Some("//a.test/away"))
    );
    assert_eq!(away.header("cache-control"), Some("no-cache"));
}

const BOTH: &str = "rewrite = { replace_prefix = '/v2', host = 'in.test' }\nrequest_headers = { set = { x-id = '{path}' } }";

/// An origin that tells each head that it gets, and does `then` with it.
fn telling(then: &'static str) -> (Origin, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.head() {
            tell.lock().unwrap().send(head).unwrap();
            match then {
                // Until the other side closes.
                "" => drop(conn.some()),
                then => drop(conn.send(then)),
            }
        }
    });
    (origin, told)
}

fn is_edited(head: &str) {
    assert!(
        head.starts_with("GET /v2/a?b HTTP/1.1\r\nHost: in.test\r\n"),
        "{head}"
    );
    assert_eq!(header(head, "x-id"), Some("/a"), "{head}");
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_second_try_sends_the_same_head_as_the_first() {
    let (busy, first) = telling(BUSY);
    let (good, second) = telling(OK);
    let mut config = simple(&[busy.address, good.address]);
    config.pools[0].retry.on = RetryOn::default().with(RetryCause::Unavailable);
    let bench = Bench::start(routed(config, &[BOTH]));
    // Round robin asks each of them first once.
    for _ in 0..2 {
        assert_eq!(asked(&bench, "GET /a?b", "").status, 200);
    }
    is_edited(&first.recv_timeout(PATIENCE).unwrap());
    for _ in 0..2 {
        is_edited(&second.recv_timeout(PATIENCE).unwrap());
    }
}

#[test]
fn a_hedge_sends_the_same_head_as_the_first_try() {
    let (one, first) = telling("");
    let (other, second) = telling("");
    let mut config = simple(&[one.address, other.address]);
    config.pools[0].hedge = Some(Hedge {
        after: HedgeAfter::Time(Duration::from_millis(30)),
        budget: Ratio::from_percent(100),
    });
    let bench = Bench::start(routed(config, &[BOTH]));
    let mut client = bench.client();
    client.send("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n");
    is_edited(&first.recv_timeout(PATIENCE).unwrap());
    is_edited(&second.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn an_upgrade_passes_with_the_changes_both_ways() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nServer: echo\r\n\r\n";
    let (origin, told) = telling(switch);
    let keys = format!("{BOTH}\nresponse_headers = {{ set = {{ server = 'shop' }} }}");
    let bench = Bench::start(routed(simple(&[origin.address]), &[&keys]));
    let mut client = bench.client();
    client
        .send("GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "server"), Some("shop"), "{head}");
    let head = told.recv_timeout(PATIENCE).unwrap();
    is_edited(&head);
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
}

#[test]
fn requests_over_http2_are_changed_like_others() {
    let origin = echo();
    let keys = format!("{BOTH}\nresponse_headers = {{ set = {{ Server = 'shop' }} }}");
    let bench = Bench::start(routed(speaking(&[origin.address]), &[&keys]));
    let mut client = Library::connect(bench.address());
    let request = Request::get("http://shop.test/a?b").body(()).unwrap();
    let answer = client.ask(request).unwrap();
    is_edited(answer.text());
    assert_eq!((answer.status, answer.field("server")), (200, Some("shop")));
}

#[test]
fn keys_and_the_access_log_go_by_what_the_client_sent() {
    let (one, other) = (echo(), echo());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let mut config = simple(&[one.address, other.address]);
    config.access_log = Some(path.clone());
    config.pools[0].algorithm = Algorithm::RingHash;
    config.pools[0].affinity.hash = Some(HashKey::Path);
    let bench = Bench::start(routed(config, &["rewrite = { path = '/same' }"]));
    for n in 0..32 {
        let response = asked(&bench, &format!("GET /own/{n}"), "");
        assert!(
            response.text().starts_with("GET /same "),
            "{}",
            response.text()
        );
    }
    assert!(one.connections() > 0 && other.connections() > 0);
    bench.proxy.drain(PATIENCE);
    bench.proxy.join();
    let log = std::fs::read_to_string(path).unwrap();
    assert!(log.contains("/own/31") && !log.contains("/same"), "{log}");
}
