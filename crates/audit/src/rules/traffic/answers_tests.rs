//! TRF-09 and TRF-17 of routes that the balancer answers itself.

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::Setup;

use crate::rules::probe::says;

/// What a rule says of a file with these routes and expectations.
fn found(rule: &str, routes: &[&str], more: &str) -> Vec<Finding> {
    let mut text = "[listener.web]\naddress = '127.0.0.1:8080'\n".to_owned();
    for keys in routes {
        let route = format!("[[route]]\nlistener = 'web'\n{keys}\n");
        text += &route;
    }
    let text = format!("{text}{more}\n[pool.shop.backend.x]\naddress = '127.0.0.1:3'\n");
    let parsed = evenkeel_model::parse::parse(&text, None);
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{routes:?}: {:#?}", parsed.findings));
    says(&Setup::of(&config), rule)
}

const ROUTES: [&str; 4] = [
    "path_prefix = '/old'\nredirect = { replace_prefix = '/new', status = 301 }",
    "path = '/gone'\nrespond = { status = 410 }",
    "path = '/secure'\nredirect = { scheme = 'https', host = 'a.test' }",
    "pool = 'shop'",
];

fn said(expect: &str) -> Vec<String> {
    let found = found("TRF-09", &ROUTES, &format!("[[expect]]\n{expect}"));
    found.into_iter().map(|finding| finding.message).collect()
}

#[test]
fn an_answer_is_held_against_what_is_expected_of_it() {
    for met in [
        "request = 'GET http://a.test/old/x?y'\nredirect = 'http://a.test/new/x?y'",
        "request = 'GET http://a.test/old/x?y'\nredirect = '/new/x?y'\nstatus = 301",
        "request = 'GET /old'\nredirect = '/new'",
        "request = 'GET /old'\nstatus = 301",
        "request = 'GET /gone'\nstatus = 410",
        "request = 'GET http://b.test/secure'\nredirect = 'https://a.test/secure'",
        "request = 'GET /gone/x'\npool = 'shop'",
    ] {
        assert_eq!(said(met), [""; 0], "{met}");
    }
    for (wrong, why) in [
        (
            "request = 'GET http://a.test/old/x'\nredirect = '/new'",
            "`GET http://a.test/old/x` is meant to be redirected to `/new` but is redirected to `/new/x` (301) by the \
             route `route.0`",
        ),
        (
            "request = 'GET /old'\nredirect = '/new'\nstatus = 308",
            "`GET /old` is meant to be redirected to `/new` (308) but is redirected to `/new` (301) by the route \
             `route.0`",
        ),
        (
            "request = 'GET /gone/x'\nstatus = 410",
            "`GET /gone/x` is meant to be answered 410 but goes to pool `shop` by the route `route.3`; the route \
             `route.1` does not take it: it is for path `/gone` only",
        ),
        (
            "request = 'GET /gone'\npool = 'shop'",
            "`GET /gone` is meant for pool `shop` but is answered 410 by the route `route.1`; the route `route.3` takes \
             it too, and comes later",
        ),
        (
            "request = 'GET /x'\nstatus = 451",
            "`GET /x` is meant to be answered 451 but goes to pool `shop` by the route `route.3`; no route of listener \
             `web` answers 451",
        ),
    ] {
        assert_eq!(said(wrong), [why], "{wrong}");
    }
}

#[test]
fn a_redirect_that_leads_back_to_itself_is_found() {
    let alone = |keys: &str| found("TRF-17", &[keys, "pool = 'shop'"], "");
    for (keys, from, to) in [
        ("redirect = { query = '' }", "/", "/"),
        (
            "path_prefix = '/a'\nredirect = { replace_prefix = '/a/b' }",
            "/a/",
            "/a/b/",
        ),
        (
            "path = '/a'\nredirect = { path = '/a', query = 'b' }",
            "/a",
            "/a?b",
        ),
        (
            "path_regex = '/[a-z]+'\nredirect = { path = '/a' }",
            "/a",
            "/a",
        ),
        (
            "host = '*.a.test'\npath_prefix = '/'\nredirect = { host = 'www.a.test' }",
            "any.a.test/",
            "http://www.a.test/",
        ),
        (
            "cookies = { old = 'x' }\nredirect = { path = '/b' }",
            "/",
            "/b",
        ),
        (
            "methods = ['PUT']\nredirect = { port = 8080 }",
            "/",
            "http://host.example:8080/",
        ),
    ] {
        let found = alone(keys);
        let [finding] = &found[..] else {
            panic!("{keys}: {found:#?}")
        };
        let back = format!("`{from}` is redirected to `{to}` and from there back, again and again");
        assert_eq!(
            (finding.message.as_str(), finding.severity),
            (&*back, Severity::Error),
            "{keys}"
        );
        assert_eq!(finding.path, "route.0");
    }
    // Whether another host leads here too is not known.
    let found = alone("redirect = { host = 'www.a.test' }");
    assert_eq!(found[0].severity, Severity::Warning, "{found:#?}");
    // Two that lead to each other.
    let two = [
        "path = '/a'\nredirect = { path = '/b' }",
        "path = '/b'\nredirect = { path = '/a' }",
    ];
    assert_eq!(self::found("TRF-17", &two, "").len(), 2);
}

#[test]
fn a_redirect_that_leads_elsewhere_is_no_loop() {
    for routes in [
        &["redirect = { scheme = 'https' }"][..],
        &["redirect = { port = 8443 }"],
        &[
            "path_prefix = '/a'\nredirect = { replace_prefix = '/' }",
            "pool = 'shop'",
        ],
        &[
            "methods = ['POST']\nredirect = { status = 303, query = '' }",
            "pool = 'shop'",
        ],
        &[
            "host = 'a.test'\nredirect = { host = 'www.a.test' }",
            "pool = 'shop'",
        ],
        &[
            "host = 'www.a.test'\npool = 'shop'",
            "redirect = { host = 'www.a.test' }",
        ],
        &[
            "path = '/a'\nredirect = { path = '/b' }",
            "path = '/b'\nrespond = { status = 404 }",
        ],
        &[
            "query = { a = 'b' }\nredirect = { query = '' }",
            "pool = 'shop'",
        ],
        &["headers = { a = { regex = 'x' } }\nredirect = { query = '' }"],
    ] {
        assert_eq!(found("TRF-17", routes, ""), [], "{routes:?}");
    }
}
