//! TRF-09 of routes that rewrite: what a backend must see of a request.

use evenkeel_model::finding::Finding;
use evenkeel_model::setup::Setup;

use crate::rules::probe::says;

const FILE: &str = "[listener.web]\naddress = '127.0.0.1:8080'\n\
    [[route]]\nlistener = 'web'\npath_prefix = '/api'\npool = 'shop'\n\
    rewrite = { replace_prefix = '/v1', host = 'api.internal' }\n\
    [[route]]\nlistener = 'web'\npath_prefix = '/user'\npool = 'shop'\n\
    rewrite = { regex = '/user/(.*)', to = '/u/$1' }\n\
    [[route]]\nlistener = 'web'\npool = 'shop'\n\
    [pool.shop.backend.x]\naddress = '127.0.0.1:3'\n";

fn found(expect: &str) -> Vec<Finding> {
    let parsed = evenkeel_model::parse::parse(&format!("{FILE}[[expect]]\n{expect}"), None);
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{expect}: {:#?}", parsed.findings));
    says(&Setup::of(&config), "TRF-09")
}

fn said(expect: &str) -> Vec<String> {
    let found = found(expect).into_iter();
    found.map(|finding| finding.message).collect()
}

#[test]
fn what_the_backend_sees_is_held_against_what_it_must_see() {
    for met in [
        "request = 'GET /api/x?y'\npool = 'shop'\npath_sent = '/v1/x'\nhost_sent = 'api.internal'",
        "request = 'GET http://A.test:81/user/me'\npool = 'shop'\npath_sent = '/u/me'\nhost_sent = 'a.test:81'",
        "request = 'GET /other'\npool = 'shop'\npath_sent = '/other'",
        "request = 'GET /api/a/..;/x'\nstatus = 400",
        "request = 'GET /api'\npool = 'shop'",
    ] {
        assert_eq!(said(met), [""; 0], "{met}");
    }
    for (wrong, why) in [
        (
            "request = 'GET /api/x'\npool = 'shop'\npath_sent = '/x'",
            "`GET /api/x` is meant for pool `shop` as `/x` but goes to pool `shop` as `/v1/x` by the route `route.0`",
        ),
        (
            "request = 'GET http://a.test/other'\npool = 'shop'\npath_sent = '/other'\nhost_sent = 'b.test'",
            "`GET http://a.test/other` is meant for pool `shop` as `/other` for host `b.test` but goes to pool `shop` as \
             `/other` for host `a.test` by the route `route.2`",
        ),
        (
            "request = 'GET /user/%2e'\npool = 'shop'",
            "`GET /user/%2e` is meant for pool `shop` but is answered 400: what the route `route.1` makes of its path \
             could be read as another path",
        ),
    ] {
        assert_eq!(said(wrong), [why], "{wrong}");
    }
}

#[test]
fn another_path_is_another_finding() {
    let ids = ["/x", "/y"].map(|path| {
        let expect = format!("request = 'GET /api'\npool = 'shop'\npath_sent = '{path}'");
        found(&expect).remove(0).path
    });
    assert_ne!(ids[0], ids[1]);
}
