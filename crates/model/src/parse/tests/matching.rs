//! What a route may ask for: read as written, refused with a reason.

use super::{found, shop_with};
use crate::config::{Expectation, Field, Matcher, Outcome, PathMatch, Pattern, Sent, ValueMatch};
use crate::parse::Parsed;

const FROM: &str = "path_prefix = \"/\"";

fn matcher(keys: &str) -> Matcher {
    let parsed = shop_with(FROM, keys);
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{:#?}", parsed.findings));
    config.routes[0].matcher.clone()
}

#[test]
fn every_form_of_a_matcher_is_read() {
    let field = |name: &str, value: ValueMatch| Field {
        name: name.to_owned(),
        value,
    };
    let read = matcher(
        "path = '/cart/'\nmethods = ['PUT', 'GET']\n\
         headers = { X-B = '1', x-a = { present = false } }\n\
         cookies = { beta = { prefix = 'y' } }\nquery.v = { regex = '[0-9]+' }\nquery.d.present = true",
    );
    let expected = Matcher {
        path: PathMatch::Exact("/cart/".to_owned()),
        methods: vec!["GET".to_owned(), "PUT".to_owned()],
        headers: vec![
            field("x-a", ValueMatch::Absent),
            field("x-b", ValueMatch::Exact("1".to_owned())),
        ],
        cookies: vec![field("beta", ValueMatch::Prefix("y".to_owned()))],
        query: vec![
            field("d", ValueMatch::Present),
            field("v", ValueMatch::Regex(Pattern::new("[0-9]+").unwrap())),
        ],
    };
    assert_eq!(read, expected);
    let regex = Pattern::new("/user/[0-9]+").unwrap();
    assert_eq!(
        matcher("path_regex = '/user/[0-9]+'"),
        Matcher::of(PathMatch::Regex(regex))
    );
    assert_eq!(matcher(""), Matcher::prefix("/"));
}

/// Keys, and the path, the id and a part of the fix of the finding.
const REFUSED: [(&str, &str, &str, &str); 19] = [
    (
        "path = '/a'\npath_prefix = '/b'",
        "route.0.path",
        "CFG-07",
        "keep one of them",
    ),
    (
        "path = '/a'\npath_regex = '/b'",
        "route.0.path_regex",
        "CFG-07",
        "keep one of them",
    ),
    (
        "path = '/a?b'",
        "route.0.path",
        "CFG-03",
        "leave everything from `?` on out",
    ),
    (
        "path_regex = 'a+'",
        "route.0.path_regex",
        "CFG-03",
        "write \"/a+\"",
    ),
    (
        "path_regex = '/a(b'",
        "route.0.path_regex",
        "CFG-03",
        "put it right at character 3",
    ),
    (
        "path_regex = '/([a-z]{100}){1000}'",
        "route.0.path_regex",
        "CFG-03",
        "256 KiB",
    ),
    ("methods = []", "route.0.methods", "CFG-03", "[\"GET\"]"),
    (
        "methods = ['get']",
        "route.0.methods.0",
        "CFG-03",
        "write \"GET\"",
    ),
    (
        "methods = ['GET', 'GET']",
        "route.0.methods.1",
        "CFG-03",
        "remove it",
    ),
    (
        "headers = { 'a b' = '1' }",
        "route.0.headers.\"a b\"",
        "CFG-03",
        "only its name",
    ),
    (
        "headers = { X-A = '1', x-a = '2' }",
        "route.0.headers.x-a",
        "CFG-03",
        "keep one",
    ),
    (
        "headers = { x-a = 1 }",
        "route.0.headers.x-a",
        "CFG-03",
        "in quotes",
    ),
    (
        "headers = { x-a = '' }",
        "route.0.headers.x-a",
        "CFG-03",
        "present = true",
    ),
    (
        "headers = { x-a = ' 1' }",
        "route.0.headers.x-a",
        "CFG-03",
        "as it is sent",
    ),
    (
        "headers = { x-a = {} }",
        "route.0.headers.x-a.present",
        "CFG-04",
        "present = true",
    ),
    (
        "headers = { x-a = { exact = '1' } }",
        "route.0.headers.x-a.exact",
        "CFG-02",
        "`present`",
    ),
    (
        "headers = { x-a = { prefix = '1', regex = '1' } }",
        "route.0.headers.x-a.regex",
        "CFG-07",
        "keep one of them",
    ),
    (
        "cookies = { sid = { regex = '*' } }",
        "route.0.cookies.sid.regex",
        "CFG-03",
        "character 1",
    ),
    (
        "query = { 'a&b' = '1' }",
        "route.0.query.\"a&b\"",
        "CFG-03",
        "only its name",
    ),
];

#[test]
fn what_a_matcher_cannot_be_is_refused_at_its_place_with_a_way_out() {
    for (keys, path, id, part) in REFUSED {
        let parsed = shop_with(FROM, keys);
        assert!(parsed.config.is_none(), "{keys}");
        let finding = parsed
            .findings
            .iter()
            .find(|f| (f.path.as_str(), f.id) == (path, id));
        let finding = finding.unwrap_or_else(|| panic!("{keys}: {:#?}", found(&parsed)));
        assert!(finding.fix.contains(part), "{keys}: {}", finding.fix);
        assert!(
            finding.location.is_some() && !finding.effect.is_empty(),
            "{keys}"
        );
    }
}

#[test]
fn names_and_patterns_are_bounded() {
    let many = |count: usize| {
        let each: Vec<String> = (0..count).map(|n| format!("x-{n} = 'a'")).collect();
        shop_with(FROM, &format!("headers = {{ {} }}", each.join(", ")))
    };
    assert!(many(16).config.is_some());
    assert_eq!(found(&many(17))[0].0, "CFG-06");
    let mut text =
        "[listener.web]\naddress = '127.0.0.1:80'\n[pool.p.backend.b]\naddress = '127.0.0.1:81'\n"
            .to_owned();
    for n in 0..crate::parse::PATTERNS_MAX {
        let more = format!("[[route]]\nlistener = 'web'\npool = 'p'\npath_regex = '/{n}+'\n");
        text += &more;
    }
    assert_eq!(found(&crate::parse::parse(&text, None)), []);
    text += "[[route]]\nlistener = 'web'\npool = 'p'\nquery = { a = { regex = 'b' } }\n";
    let parsed = crate::parse::parse(&text, None);
    assert_eq!(found(&parsed)[0].0, "CFG-06");
}

#[test]
fn two_routes_that_match_the_same_are_a_warning_and_others_are_not() {
    let two = |second: &str| {
        let text = format!(
            "path = '/a'\nmethods = ['GET', 'PUT']\npool = 'shop'\n[[route]]\nlistener = 'web'\n{second}"
        );
        shop_with(FROM, &text)
    };
    let parsed = two("path = '/a'\nmethods = ['PUT', 'GET']");
    assert_eq!(found(&parsed)[0].0, "CFG-07");
    assert!(parsed.config.is_some());
    assert_eq!(found(&two("path = '/a'\nmethods = ['GET']")), []);
}

/// The shop with this expectation.
fn expecting(keys: &str) -> Parsed {
    let keys =
        format!("pool = 'shop'\n[[expect]]\n{keys}\n[[route]]\nlistener = 'web'\nhost = 'x'");
    shop_with(FROM, &keys)
}

#[test]
fn an_expectation_names_a_request_and_where_it_goes() {
    let parsed = expecting(
        "request = 'POST https://a.test/x?y'\nheaders = { X-B = '2', x-a = '1' }\npool = 'shop'",
    );
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{:#?}", parsed.findings));
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = Expectation {
        listener: config.listeners[0].name.clone(),
        method: "POST".to_owned(),
        url: "https://a.test/x?y".to_owned(),
        headers: vec![field("x-a", "1"), field("x-b", "2")],
        outcome: Outcome::Pool(config.pools[0].name.clone()),
        sent: Sent::default(),
    };
    assert_eq!(config.expectations, [expected]);
    let parsed =
        expecting("request = 'GET /'\npool = 'shop'\npath_sent = '/b'\nhost_sent = 'B.test'");
    let sent = parsed
        .config
        .map(|config| config.expectations[0].sent.clone());
    let both = Sent {
        path: Some("/b".to_owned()),
        host: Some("b.test".to_owned()),
    };
    assert_eq!(sent, Some(both));
}

/// Keys of an expectation, the wrong one, the finding, a part of its fix.
const WRONG_EXPECTATIONS: &[(&str, &str, &str, &str)] = &[
    ("pool = 'shop'", "request", "CFG-04", "GET https://"),
    ("request = 'GET /'", "pool", "CFG-04", "pool = \"shop\""),
    (
        "request = 'GET /'\npool = 'shop'\nstatus = 404",
        "status",
        "CFG-07",
        "keep one",
    ),
    (
        "request = 'GET /'\nredirect = 'shop.test'",
        "redirect",
        "CFG-03",
        "https://shop.example",
    ),
    (
        "request = 'GET /'\nstatus = 404\npath_sent = '/'",
        "path_sent",
        "CFG-07",
        "pool",
    ),
    (
        "request = 'GET /'\npool = 'shop'\npath_sent = '/a?b'",
        "path_sent",
        "CFG-03",
        "leave everything",
    ),
    (
        "request = 'GET /'\nstatus = 100",
        "status",
        "CFG-06",
        "200 to 599",
    ),
    (
        "request = 'GET /'\npool = 'none'",
        "pool",
        "CFG-05",
        "[pool.none]",
    ),
    (
        "request = 'GET /'\nlistener = 'wbe'\npool = 'shop'",
        "listener",
        "CFG-05",
        "\"web\"",
    ),
    (
        "request = '/cart'\npool = 'shop'",
        "request",
        "CFG-03",
        "GET /cart",
    ),
    (
        "request = 'get /cart'\npool = 'shop'",
        "request",
        "CFG-03",
        "write \"GET\"",
    ),
    (
        "request = 'GET cart'\npool = 'shop'",
        "request",
        "CFG-03",
        "write \"/cart\"",
    ),
    (
        "request = 'GET http://*.test/'\npool = 'shop'",
        "request",
        "CFG-03",
        "GET https://",
    ),
    (
        "request = 'GET http://a.test?x'\npool = 'shop'",
        "request",
        "CFG-03",
        "http://a.test/?x",
    ),
    (
        "request = 'GET http://u@a.test/'\npool = 'shop'",
        "request",
        "CFG-03",
        "leave scheme",
    ),
    (
        "request = 'GET /'\nheaders = { host = 'a' }\npool = 'shop'",
        "headers.host",
        "CFG-03",
        "into the URL",
    ),
];

#[test]
fn a_wrong_expectation_is_refused_with_its_place_and_a_fix() {
    for &(keys, key, id, part) in WRONG_EXPECTATIONS {
        let parsed = expecting(keys);
        assert!(parsed.config.is_none(), "{keys}");
        let path = format!("expect.0.{key}");
        let finding = parsed
            .findings
            .iter()
            .find(|f| (f.path.as_str(), f.id) == (&path, id));
        let finding = finding.unwrap_or_else(|| panic!("{keys}: {:#?}", parsed.findings));
        assert!(finding.fix.contains(part), "{keys}: {}", finding.fix);
    }
}
