//! Routes as a person writes them, and the requests that they take and do not take.

use super::{Example, Found, RouteTable, bare_host};
use evenkeel_model::config::Config;
use evenkeel_model::parse::parse;
use proptest::prelude::*;

/// One listener with these routes, the keys of each as TOML.
fn config(routes: &[&str]) -> Config {
    let mut text = "[listener.web]\naddress = \"127.0.0.1:8080\"\n".to_owned();
    for keys in routes {
        let more = format!("[[route]]\nlistener = \"web\"\npool = \"p\"\n{keys}\n");
        text += &more;
    }
    text += "[pool.p.backend.b]\naddress = \"127.0.0.1:8081\"\n";
    let parsed = parse(&text, None);
    parsed
        .config
        .unwrap_or_else(|| panic!("{:#?}", parsed.findings))
}

fn found(routes: &[&str], asked: &Example<'_>) -> Found {
    RouteTable::new(&config(routes)).find(0, asked)
}

/// The route of a GET.
fn get(routes: &[&str], host: Option<&str>, path: &str) -> Option<usize> {
    let asked = Example::get(host, path);
    match found(routes, &asked) {
        Found::Route { route, pool: 0 } => Some(route),
        Found::Nothing => None,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_prefix_matches_whole_segments() {
    let routes = ["path_prefix = '/cart'", "path_prefix = '/api/'", ""];
    let route = |path| get(&routes, None, path);
    assert_eq!(route("/cart"), Some(0));
    assert_eq!(route("/cart/"), Some(0));
    assert_eq!(route("/cart/x"), Some(0));
    assert_eq!(route("/cartoon"), Some(2));
    assert_eq!(route("/api"), Some(1));
    assert_eq!(route("/API"), Some(2));
    assert_eq!(route("/"), Some(2));
}

#[test]
fn the_first_match_wins_and_no_match_is_nothing() {
    let routes = ["path_prefix = '/a'", "path_prefix = '/a/b'"];
    assert_eq!(get(&routes, None, "/a/b"), Some(0));
    assert_eq!(get(&routes, None, "/c"), None);
    let table = RouteTable::new(&config(&routes));
    assert_eq!(table.find(1, &Example::get(None, "/")), Found::Nothing);
    assert_eq!(
        (table.listener("web"), table.listener("other")),
        (Some(0), None)
    );
}

#[test]
fn a_host_matches_without_case_port_or_final_dot() {
    let routes = [
        "host = 'shop.example.com'",
        "host = '*.example.com'",
        "host = '[::1]'",
    ];
    let route = |host| get(&routes, Some(host), "/");
    assert_eq!(route("Shop.Example.COM:8080"), Some(0));
    assert_eq!(route("shop.example.com."), Some(0));
    assert_eq!(route("a.b.example.com"), Some(1));
    assert_eq!(route("example.com"), None);
    assert_eq!(route(".example.com"), None);
    assert_eq!(route("notexample.com"), None);
    assert_eq!(route("[::1]:80"), Some(2));
    assert_eq!(get(&routes, None, "/"), None, "no host, only host routes");
}

#[test]
fn an_exact_path_and_a_pattern_match_the_whole_path() {
    let routes = ["path = '/login'", "path_regex = '/user/[0-9]+'"];
    assert_eq!(get(&routes, None, "/login"), Some(0));
    assert_eq!(get(&routes, None, "/login/"), None);
    assert_eq!(get(&routes, None, "/login/x"), None);
    assert_eq!(get(&routes, None, "/user/12"), Some(1));
    assert_eq!(get(&routes, None, "/user/12/x"), None);
    assert_eq!(get(&routes, None, "/x/user/12"), None);
}

#[test]
fn every_condition_of_a_route_must_hold() {
    let routes = [
        "methods = ['POST', 'PUT']\nheaders = { X-Canary = '1' }\ncookies = { beta = { prefix = 'y' } }\n\
         query = { v = { regex = '[0-9]+' } }",
    ];
    let fields = [
        ("x-canary", "0"),
        ("x-canary", "1"),
        ("cookie", "a=b; beta=yes"),
    ];
    let asked = |method, query, fields| Example {
        method,
        path: "/",
        query,
        fields,
        host: None,
    };
    let is = |asked: Example<'_>| found(&routes, &asked) != Found::Nothing;
    assert!(is(asked("POST", Some("x&v=12"), &fields)));
    assert!(
        is(asked("PUT", Some("v=a&v=12"), &fields)),
        "one of several is enough"
    );
    assert!(!is(asked("GET", Some("v=12"), &fields)));
    assert!(!is(asked("post", Some("v=12"), &fields)));
    assert!(!is(asked("POST", Some("v=12x"), &fields)));
    assert!(!is(asked("POST", Some("vv=12"), &fields)));
    assert!(!is(asked("POST", None, &fields)));
    assert!(!is(asked("POST", Some("v=12"), &fields[..2])));
    let not_canary = [fields[0], fields[2]];
    assert!(!is(asked("POST", Some("v=12"), &not_canary)));
    let other = [fields[1], ("cookie", "xbeta=yes; beta=no")];
    assert!(!is(asked("POST", Some("v=12"), &other)));
}

#[test]
fn a_value_may_be_asked_to_be_there_or_not() {
    let routes = [
        "headers = { authorization = { present = false } }",
        "query = { debug = { present = true } }",
    ];
    let found = |query, fields| {
        let asked = Example {
            query,
            fields,
            ..Example::get(None, "/")
        };
        match found(&routes, &asked) {
            Found::Route { route, .. } => Some(route),
            _ => None,
        }
    };
    let signed = [("authorization", "x")];
    assert_eq!(found(None, &[]), Some(0));
    assert_eq!(found(None, &signed), None);
    assert_eq!(found(Some("debug"), &signed), Some(1));
    assert_eq!(found(Some("a=1&debug=0"), &signed), Some(1));
    assert_eq!(found(Some("debugging=1"), &signed), None);
}

#[test]
fn a_path_that_another_server_would_read_as_another_route_is_ambiguous() {
    let routes = [
        "path_prefix = '/admin'",
        "path = '/login'",
        "path_prefix = '/'",
    ];
    let at = |path| {
        let asked = Example::get(None, path);
        found(&routes, &asked)
    };
    for path in [
        "/%61dmin",
        "/%2fadmin",
        "//admin/x",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/x/..%2Fadmin",
        "/admin/../x",
        "/admin%2Fx/../../y",
        "/admin;v=1",
        "/x/..;/admin",
        "/;x/admin",
        "/x%3b/../admin",
        "/x\\..\\admin",
        "/login;jsessionid=1",
        "/%6Cogin",
        "/admin%2F",
    ] {
        assert_eq!(at(path), Found::Ambiguous, "{path}");
    }
    // The same route in every reading: nobody is kept away from a name with a slash in it.
    for (path, route) in [
        ("/files/a%2Fb", 2),
        ("/x//y", 2),
        ("/admin/a%2Fb;c=1//d/./e", 0),
        ("/caf%C3%A9", 2),
        ("/caf%c3%a9", 2),
        ("/a%20b", 2),
    ] {
        assert_eq!(at(path), Found::Route { route, pool: 0 }, "{path}");
    }
}

#[test]
fn a_rule_that_is_written_with_escapes_is_met_by_them() {
    let routes = [
        "path = '/a%2Fb'",
        "path_prefix = '/caf%C3%A9'",
        "path_prefix = '/'",
    ];
    let at = |path| {
        let asked = Example::get(None, path);
        found(&routes, &asked)
    };
    assert_eq!(at("/a%2Fb"), Found::Route { route: 0, pool: 0 });
    assert_eq!(at("/caf%C3%A9/x"), Found::Route { route: 1, pool: 0 });
    // Other spellings of the same name do not slip past.
    assert_eq!(at("/caf%c3%a9/x"), Found::Ambiguous);
    assert_eq!(at("/café/x"), Found::Ambiguous);
}

#[test]
fn a_listener_without_paths_takes_any_path() {
    assert_eq!(get(&["host = 'a.test'", ""], None, "/x/..;/%61//"), Some(1));
}

proptest! {
    #[test]
    fn any_text_is_matched_without_a_panic(host in "\\PC{0,20}", path in "\\PC{0,20}", query in "\\PC{0,20}") {
        let routes = [
            "host = '*.e.example'\npath_prefix = '/a'",
            "path_regex = '/x(a|b)*'\nquery = { a = { present = true } }",
            "",
        ];
        let asked = Example {
            path: &path,
            query: Some(&query),
            ..Example::get(Some(&host), "/")
        };
        // The last route takes every path and host.
        prop_assert!(found(&routes, &asked) != Found::Nothing);
        prop_assert!(host.contains(bare_host(&host)));
    }
}
