//! Keys that hardly change, and requests that no pool ever sees. Each claim was tried on nginx 1.22.1.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

use evenkeel_import::Imported;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{HashKey, Pool, Route, Selection, Setup, Touches};

use crate::read;

fn imported(http: &str) -> Imported {
    read(&format!("events {{}} http {{ {http} }}"))
}

fn setup(http: &str) -> Setup {
    let imported = imported(http);
    imported
        .setup
        .unwrap_or_else(|| panic!("{:?}", imported.findings))
}

/// The pool of a file with this method, with `http` before it and `server` in the server that passes to it.
fn pool(method: &str, http: &str, server: &str) -> Pool {
    let text = format!(
        "upstream a {{ {method} server b:1; server c:1; }} {http}
         server {{ listen 80; {server} location / {{ proxy_pass http://a; }} }}"
    );
    setup(&text).pools.into_iter().next().unwrap()
}

fn key(method: &str, http: &str, server: &str) -> HashKey {
    match pool(method, http, server).selection {
        Selection::Hash(hash) => hash.key,
        other => panic!("{other:?}"),
    }
}

fn said(http: &str, text: &str) -> Finding {
    let findings = imported(http).findings;
    let found = findings.iter().find(|f| f.message.contains(text));
    found.cloned().unwrap_or_else(|| panic!("{findings:?}"))
}

fn routes(server: &str) -> Vec<Route> {
    let text = format!("upstream a {{ server b:1; server c:1; }} server {{ listen 80; {server} }}");
    setup(&text).routes
}

fn reaches_always(routes: &[Route]) -> bool {
    let mut some = routes.iter();
    some.any(|route| route.condition.is_none() && !route.targets.is_empty())
}

#[test]
fn a_key_that_never_changes_is_known_with_its_value() {
    let constant = |text: &str| HashKey::Constant(text.to_owned());
    assert_eq!(key("hash x;", "", ""), constant("x"));
    assert_eq!(key("hash x consistent;", "", ""), constant("x"));
    let map = "map $uri $k { default foo; }";
    assert_eq!(key("hash a-$k;", map, ""), constant("a-foo"));
    assert_eq!(key("hash ${k}b;", "", "set $k abc;"), constant("abcb"));
    // One port for all servers.
    assert_eq!(key("hash $server_port;", "", ""), constant("80"));
    assert_eq!(key("hash $scheme;", "", ""), constant("http"));
    let named = "server_name Shop other;";
    assert_eq!(key("hash $server_name;", "", named), constant("shop"));
    let at = "listen 127.0.0.1:80;";
    let only = |listen: &str| {
        let text = format!(
            "upstream a {{ hash $server_addr; server b:1; server c:1; }} server {{ {listen} location / {{ proxy_pass http://a; }} }}"
        );
        setup(&text).pools.remove(0)
    };
    let Selection::Hash(hash) = only(at).selection else {
        panic!("no hash");
    };
    assert_eq!(hash.key, constant("127.0.0.1"));
    for open in ["listen 80;", "listen 127.0.0.1:80; listen [::]:80;", ""] {
        assert!(
            matches!(only(open).selection, Selection::Hash(h) if h.key == HashKey::Other("$server_addr".to_owned())),
            "{open}"
        );
        assert_eq!(only(open).keys, None, "{open}");
    }
    assert_eq!(
        only("listen 127.0.0.1:80; listen 127.0.0.2:80;").keys,
        Some(2)
    );
}

#[test]
fn a_constant_whose_value_is_not_in_the_file_is_one_key_without_a_winner() {
    for (method, server) in [
        ("hash $hostname;", ""),
        ("hash $hostname consistent;", ""),
        ("hash $scheme$proxy_host;", ""),
        ("hash $server_name;", "server_name *.example.com;"),
    ] {
        let pool = pool(method, "", server);
        let Selection::Hash(hash) = pool.selection else {
            panic!("{method}");
        };
        assert!(matches!(hash.key, HashKey::Other(_)), "{method}");
        assert_eq!(pool.keys, Some(1), "{method}");
    }
    // Where another protocol leaves the variable empty it has two values.
    let other = "location /f { fastcgi_pass a; }";
    assert_eq!(pool("hash $proxy_host;", "", other).keys, None);
    // Plain and by TLS.
    let tls = "listen 443 ssl; ssl_certificate c; ssl_certificate_key k;";
    assert_eq!(pool("hash $scheme;", "", tls).keys, Some(2));
}

#[test]
fn combinations_of_few_values_are_told_as_a_bound_and_not_as_a_number() {
    let text =
        "upstream a { hash $request_method$server_protocol; server 10.0.0.1:1; server 10.0.0.2:1; }
                server { listen 80; location / { proxy_pass http://a; } }";
    let finding = said(text, "its key has at most 28 values");
    assert_eq!(finding.severity, Severity::Warning);
    let setup = setup(text);
    assert_eq!(setup.pools[0].keys, None);
    assert_eq!(setup.gaps.len(), 1);
}

#[test]
fn names_of_servers_cannot_be_known_as_their_addresses_count() {
    let text = |one: &str| {
        format!(
            "upstream a {{ server {one}:1; server 10.0.0.2:1; }} server {{ listen 80; location / {{ proxy_pass http://a; }} }}"
        )
    };
    let gaps = |one: &str| setup(&text(one)).gaps;
    assert_eq!(
        gaps("app.internal")[0].touches,
        Touches::Pool("a".to_owned())
    );
    assert_eq!(gaps("10.0.0.1"), []);
}

#[test]
fn a_split_without_a_rest_keeps_its_parts_and_says_what_is_refused() {
    let text = |rest: &str, last: &str| {
        format!(
            "split_clients $remote_addr $g {{ 10% a; 20% b; {rest} }} upstream a {{ server 10.0.0.1:1; }} \
             upstream b {{ server 10.0.0.2:1; }} server {{ listen 80; location / {{ proxy_pass http://$g{last}; }} }}"
        )
    };
    for rest in ["", "* \"\";"] {
        let text = text(rest, "");
        let setup = setup(&text);
        let route = setup.routes.iter().find(|r| !r.targets.is_empty()).unwrap();
        let parts: Vec<f64> = route.parts().map(|(_, part)| part).collect();
        assert_eq!(parts, [0.1, 0.2], "{rest}");
        assert!((route.rest() - 0.7).abs() < 1e-9, "{rest}");
        let finding = said(&text, "names no target for 70 % of the requests");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.effect.contains("500 to 70 %"), "{}", finding.effect);
    }
    let whole = imported(&text("* a;", ""));
    assert!(
        whole
            .findings
            .iter()
            .all(|f| !f.message.contains("names no target"))
    );
    let routes = whole.setup.unwrap().routes;
    let route = routes.iter().find(|r| !r.targets.is_empty()).unwrap();
    assert!(route.rest() < f64::EPSILON);
}

#[test]
fn a_return_of_the_server_over_locations_that_pass_on_is_told() {
    let text = |server: &str| {
        format!("upstream a {{ server 10.0.0.1:1; }} server {{ listen 80; {server} }}")
    };
    let pass = "location / { proxy_pass http://a; }";
    let finding = said(
        &text(&format!("return 301 https://$host; {pass}")),
        "before its locations",
    );
    assert_eq!(
        (finding.severity, finding.id),
        (Severity::Warning, "IMP-06")
    );
    for fine in [
        "return 301 https://$host;",
        "location / { return 404; }",
        pass,
    ] {
        let findings = imported(&text(fine)).findings;
        assert!(
            findings
                .iter()
                .all(|f| !f.message.contains("before its locations")),
            "{fine}"
        );
    }
}

#[test]
fn a_key_that_changes_is_not_taken_for_a_constant() {
    for method in [
        "hash $uri;",
        "hash x$arg_id;",
        "hash $k;",
        "hash $remote_addr;",
    ] {
        let pool = pool(method, "", "");
        let Selection::Hash(hash) = pool.selection else {
            panic!("{method}");
        };
        assert!(!matches!(hash.key, HashKey::Constant(_)), "{method}");
        assert_eq!(pool.keys, None, "{method}");
    }
}

#[test]
fn an_empty_key_is_no_key_and_requests_are_served_in_turn() {
    for method in ["hash \"\";", "hash \"\" consistent;"] {
        let pool = pool(method, "", "");
        assert_eq!(pool.selection, Selection::ByWeight, "{method}");
        assert!(pool.fallback.unwrap().reason.contains("always empty"));
    }
}

#[test]
fn a_key_with_few_values_bounds_the_number_of_keys() {
    let keys = |method: &str, http: &str, server: &str| pool(method, http, server).keys;
    assert_eq!(keys("hash $scheme$request_method;", "", ""), Some(7));
    let map = "map $uri $k { ~^/a a; ~^/b b; ~^/c b; default z; }";
    assert_eq!(keys("hash $k;", map, ""), Some(3));
    assert_eq!(keys("hash $server_port;", "", "listen 81;"), Some(2));
    let two = "server { listen 82; set $k one; }";
    assert_eq!(keys("hash $k;", two, "set $k two;"), Some(2));
    assert_eq!(keys("hash $scheme$uri;", "", ""), None);
    // The method that is in effect has no key.
    assert_eq!(keys("hash $scheme; least_conn;", "", ""), None);
}

#[test]
fn nobody_gets_past_deny_all() {
    for server in [
        "deny all; location / { proxy_pass http://a; }",
        "location / { deny all; proxy_pass http://a; }",
        "location / { deny all; allow 127.0.0.1; proxy_pass http://a; }",
        "location / { deny all; if ($arg_x) { proxy_pass http://a; } proxy_pass http://a; }",
    ] {
        let routes = routes(server);
        assert!(
            routes.iter().all(|route| route.targets.is_empty()),
            "{server}"
        );
    }
    let stream = "events {} stream { upstream a { server b:1; } server { listen 1; deny all; proxy_pass a; } }";
    let setup = read(stream).setup.unwrap();
    assert!(setup.routes.iter().all(|route| route.targets.is_empty()));
}

#[test]
fn rules_that_let_some_in_are_a_condition() {
    let condition = |server: &str| {
        let routes = routes(server);
        assert!(reaches_always(&routes), "{server}: {routes:?}");
        let refused = routes.iter().find(|route| route.condition.is_some());
        refused.and_then(|route| route.condition.clone())
    };
    let pass = "proxy_pass http://a;";
    let given = |rules: &str| condition(&format!("location / {{ {rules} {pass} }}"));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        given("allow 10.0.0.0/8; deny all;"),
        some("the client is not 10.0.0.0/8")
    );
    assert_eq!(given("deny 1.2.3.4;"), some("the client is 1.2.3.4"));
    assert_eq!(given("allow all; deny all;"), None);
    assert_eq!(
        given("limit_except GET { deny all; }"),
        some("the method is none of GET")
    );
    let proof = "satisfy any; deny all; auth_basic x; auth_basic_user_file f;";
    assert_eq!(given(proof), some("the client does not show who it is"));
    // An inner rule puts aside those around it.
    let inner = format!("deny all; location / {{ allow all; {pass} }}");
    assert_eq!(condition(&inner), None);
}

#[test]
fn one_bucket_for_all_clients_is_told() {
    let text = |key: &str| {
        format!(
            "limit_req_zone {key} zone=z:1m rate=2r/s; upstream a {{ server b:1; }}
             server {{ location / {{ limit_req zone=z burst=5; proxy_pass http://a; }} }}"
        )
    };
    let total = said(&text("x"), "one limit for all clients");
    assert_eq!(total.severity, Severity::Info);
    assert!(total.effect.contains("2r/s in total"), "{}", total.effect);
    let none = said(&text("\"\""), "limits nothing");
    assert_eq!(none.severity, Severity::Warning);
    let usual = imported(&text("$binary_remote_addr")).findings;
    assert!(usual.is_empty(), "{usual:?}");
}

#[test]
fn an_upgrade_by_http_1_0_is_told_once() {
    let text = |http: &str| {
        format!(
            "upstream a {{ server b:1; }} server {{ {http} proxy_set_header Upgrade $http_upgrade;
             location / {{ proxy_pass http://a; }} location /b {{ proxy_pass http://a; }} }}"
        )
    };
    let told = imported(&text("")).findings;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].id, told[0].severity),
        ("IMP-06", Severity::Warning)
    );
    let sound = imported(&text("proxy_http_version 1.1;")).findings;
    assert!(sound.is_empty(), "{sound:?}");
}

#[test]
fn a_target_made_of_a_request_cannot_be_known_from_the_file() {
    let text = "server { location / { proxy_pass http://$http_x_target/; } }";
    let told = said(text, "cannot be known from the file");
    assert_eq!((told.id, told.severity), ("IMP-03", Severity::Warning));
    assert!(
        told.message.contains("`$http_x_target`"),
        "{}",
        told.message
    );
    let literal = "server { location / { proxy_pass http://10.0.0.1:80; } }";
    assert!(imported(literal).findings.is_empty());
}
