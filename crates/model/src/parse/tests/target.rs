//! What a route answers in place of a pool: read as written, refused with a reason.

use super::{found, shop_with};
use crate::config::{Answer, NewPath, Outcome, Redirect, Respond, Scheme, Target};
use crate::parse::Parsed;

const FROM: &str = "path_prefix = \"/\"\npool = \"shop\"";

/// The shop with a route of these keys in front.
fn with(keys: &str) -> Parsed {
    shop_with(
        "[[route]]\n",
        &format!("[[route]]\nlistener = 'web'\n{keys}\n[[route]]\n"),
    )
}

fn target(keys: &str) -> Target {
    let parsed = with(keys);
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{keys}: {:#?}", parsed.findings));
    config.routes[0].target.clone()
}

#[test]
fn redirects_and_answers_are_read_with_their_defaults() {
    let plain = Redirect {
        status: 302,
        scheme: Some(Scheme::Https),
        host: None,
        port: None,
        path: None,
        query: None,
    };
    let redirect = |redirect| Target::Answer(Answer::Redirect(redirect));
    assert_eq!(
        target("redirect = { scheme = 'https' }"),
        redirect(plain.clone())
    );
    let whole = "path_prefix = '/a'\nredirect = { status = 308, scheme = 'https', host = 'WWW.a.test', port = 8443, \
                 replace_prefix = '/b/', query = '' }";
    let full = Redirect {
        status: 308,
        host: Some("www.a.test".to_owned()),
        port: std::num::NonZeroU16::new(8443),
        path: Some(NewPath::Prefix("/b".to_owned())),
        query: Some(String::new()),
        ..plain
    };
    assert_eq!(target(whole), redirect(full));
    let respond = Respond {
        status: 503,
        body: "soon\n".to_owned(),
        content_type: "text/plain; charset=utf-8".to_owned(),
        headers: vec![("retry-after".to_owned(), "60".to_owned())],
    };
    let read =
        target("respond = { status = 503, body = \"soon\\n\", headers = { Retry-After = '60' } }");
    assert_eq!(read, Target::Answer(Answer::Respond(respond)));
}

/// Keys, the wrong one, the finding, a part of its fix.
const WRONG: [(&str, &str, &str, &str); 24] = [
    ("", "pool", "CFG-04", "redirect = {"),
    (
        "pool = 'shop'\nrespond = { status = 200 }",
        "respond",
        "CFG-07",
        "keep one",
    ),
    (
        "redirect = { scheme = 'https' }\nrespond = { status = 200 }",
        "respond",
        "CFG-07",
        "keep one",
    ),
    (
        "redirect = {}",
        "redirect.host",
        "CFG-04",
        "www.example.com",
    ),
    (
        "redirect = { status = 305, path = '/' }",
        "redirect.status",
        "CFG-03",
        "302",
    ),
    (
        "redirect = { status = 200, path = '/' }",
        "redirect.status",
        "CFG-06",
        "301 to 308",
    ),
    (
        "redirect = { scheme = 'ftp' }",
        "redirect.scheme",
        "CFG-03",
        "did you mean",
    ),
    (
        "redirect = { host = '*.a.test' }",
        "redirect.host",
        "CFG-03",
        "www.example.com",
    ),
    (
        "redirect = { host = 'a.test/b' }",
        "redirect.host",
        "CFG-03",
        "leave scheme",
    ),
    ("redirect = { port = 0 }", "redirect.port", "CFG-06", "1 to"),
    (
        "redirect = { path = '/a?b' }",
        "redirect.path",
        "CFG-03",
        "leave everything",
    ),
    (
        "redirect = { path = \"/a\\r\\nX: y\" }",
        "redirect.path",
        "CFG-03",
        "percent-encode",
    ),
    (
        "redirect = { path = '/a', replace_prefix = '/b' }",
        "redirect.replace_prefix",
        "CFG-07",
        "keep one",
    ),
    (
        "path = '/a'\nredirect = { replace_prefix = '/b' }",
        "redirect.replace_prefix",
        "CFG-07",
        "path_prefix",
    ),
    (
        "redirect = { query = '?a' }",
        "redirect.query",
        "CFG-03",
        "from=old",
    ),
    (
        "redirect = { path = '/' }\nupgrade = []",
        "upgrade",
        "CFG-07",
        "remove",
    ),
    (
        "respond = { body = 'a' }",
        "respond.status",
        "CFG-04",
        "status = 404",
    ),
    (
        "respond = { status = 301 }",
        "respond.status",
        "CFG-03",
        "redirect = {",
    ),
    (
        "respond = { status = 100 }",
        "respond.status",
        "CFG-06",
        "200 to 599",
    ),
    (
        "respond = { status = 204, body = 'a' }",
        "respond.body",
        "CFG-07",
        "remove",
    ),
    (
        "respond = { status = 200, content_type = 'html' }",
        "respond.content_type",
        "CFG-03",
        "text/html",
    ),
    (
        "respond = { status = 200, headers = { Content-Length = '1' } }",
        "respond.headers.Content-Length",
        "CFG-03",
        "remove",
    ),
    (
        "respond = { status = 200, headers = { x = \"a\\nb\" } }",
        "respond.headers.x",
        "CFG-03",
        "as it is sent",
    ),
    (
        "respond = { status = 200, headers = { location = '/' } }",
        "respond.headers.location",
        "CFG-03",
        "redirect",
    ),
];

#[test]
fn a_wrong_answer_is_refused_with_its_place_and_a_fix() {
    for (keys, key, id, part) in WRONG {
        let parsed = with(keys);
        assert!(parsed.config.is_none(), "{keys}");
        let path = format!("route.0.{key}");
        let finding = parsed
            .findings
            .iter()
            .find(|f| (f.path.as_str(), f.id) == (&path, id));
        let finding = finding.unwrap_or_else(|| panic!("{keys}: {:#?}", parsed.findings));
        assert!(finding.fix.contains(part), "{keys}: {finding:#?}");
    }
}

#[test]
fn an_expectation_names_an_answer() {
    let outcome = |keys: &str| {
        let keys = format!("{FROM}\n[[expect]]\nrequest = 'GET /'\n{keys}");
        let parsed = shop_with(FROM, &keys);
        parsed
            .config
            .map(|config| config.expectations[0].outcome.clone())
    };
    let redirect = |to: &str, status| {
        let to = to.to_owned();
        Some(Outcome::Redirect { to, status })
    };
    assert_eq!(outcome("status = 410"), Some(Outcome::Status(410)));
    assert_eq!(outcome("status = 404"), Some(Outcome::NoRoute));
    assert_eq!(outcome("redirect = '/a?b'"), redirect("/a?b", None));
    assert_eq!(
        outcome("redirect = 'https://a.test/'\nstatus = 301"),
        redirect("https://a.test/", Some(301))
    );
    for wrong in [
        "redirect = 'a.test'",
        "redirect = '/'\npool = 'shop'",
        "status = 100",
    ] {
        assert_eq!(outcome(wrong), None, "{wrong}");
    }
    let parsed = shop_with(FROM, "pool = 'shop'");
    assert_eq!(found(&parsed), []);
}

#[test]
fn a_file_whose_every_route_answers_itself_needs_no_pool() {
    let file = |routes: &str| {
        let text = format!("[listener.web]\naddress = '127.0.0.1:80'\n{routes}");
        crate::parse::parse(&text, None)
    };
    let redirect = "[[route]]\nlistener = 'web'\nredirect = { scheme = 'https' }\n";
    assert_eq!(found(&file(redirect)), []);
    let both = format!("{redirect}[[route]]\nlistener = 'web'\npath = '/a'\npool = 'shop'\n");
    for routes in ["", &both] {
        let parsed = file(routes);
        let said: Vec<_> = found(&parsed).into_iter().map(|f| f.3).collect();
        assert!(said.contains(&"pool"), "{said:?}");
    }
}
