//! Which requests reach which server at all: answers without one, addresses, tracking, constant keys. What HAProxy does
//! with each of these files was tried on 2.6.12.

use evenkeel_import::Imported;
use evenkeel_model::setup::{Check, HashKey, Pool, Role, Route, Selection, Setup, Touches};

use super::import;

const DEFAULTS: &str =
    "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n";
const SERVERS: &str = " server a 10.0.0.1:80\n server b 10.0.0.2:80\n server c 10.0.0.3:80\n";

fn read(front: &str, back: &str) -> Imported {
    let text =
        format!("{DEFAULTS}frontend f\n bind :80\n{front} default_backend p\nbackend p\n{back}");
    import("reach.cfg", text)
}

fn setup(front: &str, back: &str) -> Setup {
    let imported = read(front, back);
    assert!(imported.setup.is_some(), "{:?}", imported.findings);
    imported.setup.unwrap()
}

fn pool(back: &str) -> Pool {
    setup("", &format!("{back}{SERVERS}")).pools.remove(0)
}

fn told(imported: &Imported, text: &str) -> bool {
    imported
        .findings
        .iter()
        .any(|finding| finding.message.contains(text))
}

/// Listener, prefix, condition and whether it leads to a pool.
fn brief(route: &Route) -> (&str, Option<&str>, Option<&str>, bool) {
    let (prefix, condition) = (route.path_prefix.as_deref(), route.condition.as_deref());
    (
        &route.listener,
        prefix,
        condition,
        !route.targets.is_empty(),
    )
}

#[test]
fn a_server_that_tracks_one_that_is_out_is_out_over_any_chain() {
    let setup = setup(
        "",
        " server a 10.0.0.1:80 track p/c\n server b 10.0.0.2:80 track a\n \
         server c 10.0.0.3:80 check inter 7s disabled\n server d 10.0.0.4:80\n \
         server e 10.0.0.5:80 track q/x\nbackend q\n server x 10.0.0.6:80 check inter 9s\n",
    );
    let backends = &setup.pools[0].backends;
    let roles: Vec<Role> = backends.iter().map(|b| b.role).collect();
    let (on, out) = (Role::Active, Role::Disabled);
    assert_eq!(roles, [out, out, out, on, on]);
    let Check::Own(check) = &backends[4].check else {
        panic!("{:?}", backends[4].check)
    };
    assert_eq!(check.interval.as_secs(), 9, "the check of whom it tracks");
}

#[test]
fn a_server_that_tracks_one_of_a_disabled_backend_is_up_and_unchecked() {
    let setup = setup(
        "",
        " server a 10.0.0.1:80 track q/x\nbackend q\n disabled\n server x 10.0.0.6:80 check\n",
    );
    let a = &setup.pools[0].backends[0];
    assert_eq!((a.role, &a.check), (Role::Active, &Check::Never));
}

#[test]
fn a_circle_of_tracking_is_told_once_for_each_server() {
    let imported = read(
        "",
        " server a 10.0.0.1:80 track b\n server b 10.0.0.2:80 track a\n",
    );
    let circles = imported.findings.iter();
    let circles = circles.filter(|finding| finding.message.contains("circle"));
    assert_eq!(circles.count(), 2);
}

#[test]
fn a_key_that_never_changes_is_a_constant() {
    for (balance, value) in [
        ("hash str(x)", "x"),
        ("hash str(x),lower", "x"),
        ("hash int(3)", "3"),
        ("uri len 1", "/"),
    ] {
        let Selection::Hash(hash) = pool(&format!(" balance {balance}\n")).selection else {
            panic!("{balance}")
        };
        assert_eq!(hash.key, HashKey::Constant(value.to_owned()), "{balance}");
    }
    for balance in [
        "hash src",
        "hash hdr(x)",
        "uri",
        "uri len 10",
        "hash str(x),concat(a,txn.b)",
    ] {
        let Selection::Hash(hash) = pool(&format!(" balance {balance}\n")).selection else {
            panic!("{balance}")
        };
        assert!(!matches!(hash.key, HashKey::Constant(_)), "{balance}");
    }
}

#[test]
fn a_table_keyed_by_a_constant_binds_all_to_one_server() {
    let table = " stick-table type string size 1k expire 1m\n";
    let one = pool(&format!("{table} stick on str(x)\n"));
    assert!(one.sticky.is_some_and(|sticky| sticky.one_key));
    let many = pool(&format!("{table} stick on req.cook(s)\n"));
    assert!(many.sticky.is_some_and(|sticky| !sticky.one_key));
}

#[test]
fn fetches_with_few_values_bound_the_keys() {
    let keys = |balance: &str| pool(&format!(" balance {balance}\n")).keys;
    assert_eq!(keys("hash ssl_fc_protocol"), Some(5));
    assert_eq!(keys("hash method"), Some(9));
    assert_eq!(keys("hash src"), None);
    assert_eq!(keys("roundrobin"), None);
    let sticky = " stick-table type string size 1k expire 1m\n stick on ssl_fc_has_crt\n";
    assert_eq!(pool(sticky).keys, Some(2));
}

#[test]
fn an_answer_without_a_condition_comes_before_every_route() {
    for rule in [
        "tcp-request connection reject",
        "tcp-request session reject",
        "tcp-request content reject",
        "http-request deny",
        "http-request tarpit deny_status 429",
        "http-request silent-drop",
        "http-request return status 200",
        "http-request redirect location /x",
        "redirect location /x",
        "stats uri /",
    ] {
        let front = format!(" use_backend p if {{ path_beg /a }}\n {rule}\n");
        let setup = setup(&front, SERVERS);
        let first = &setup.routes[0];
        assert_eq!(brief(first), ("f", None, None, false), "{rule}");
        assert_eq!(setup.routes.len(), 3, "{rule}");
    }
}

#[test]
fn stats_come_before_a_redirect_and_after_http_request() {
    let setup = setup(
        " redirect location /x\n stats uri /adm\n http-request return status 200 if { path /r }\n",
        SERVERS,
    );
    let prefixes: Vec<Option<&str>> = setup
        .routes
        .iter()
        .map(|route| route.path_prefix.as_deref())
        .collect();
    assert_eq!(prefixes, [Some("/r"), Some("/adm"), None, None]);
}

#[test]
fn what_lets_requests_past_a_denial_makes_it_a_condition() {
    let setup = setup(
        " http-request allow if { path_beg /a }\n http-request deny\n",
        SERVERS,
    );
    assert!(setup.routes.iter().all(|route| !route.targets.is_empty()));
    let setup = self::setup(
        " tcp-request content accept\n tcp-request content reject\n",
        SERVERS,
    );
    assert_eq!(setup.routes.len(), 1);
}

#[test]
fn rules_of_http_are_not_heeded_in_tcp() {
    let setup = setup(
        " mode tcp\n http-request deny\n stats uri /\n",
        &format!(" mode tcp\n{SERVERS}"),
    );
    assert_eq!(setup.routes.len(), 1);
    assert_eq!(setup.routes[0].targets.len(), 1);
}

#[test]
fn a_backend_that_answers_everything_gets_no_route() {
    for rule in [
        "http-request deny",
        "tcp-request content reject",
        "http-request return status 200",
        "redirect location /x",
        "stats uri /",
    ] {
        let setup = setup("", &format!(" {rule}\n{SERVERS}"));
        assert_eq!(setup.pools.len(), 1, "{rule}");
        assert!(setup.routes[0].targets.is_empty(), "{rule}");
    }
    for rule in [
        "http-request deny if { path_beg /a }",
        "stats uri /adm",
        "mode http",
    ] {
        let setup = setup("", &format!(" {rule}\n{SERVERS}"));
        assert_eq!(setup.routes[0].targets.len(), 1, "{rule}");
    }
}

#[test]
fn every_address_is_a_listener_with_its_own_tls() {
    let setup = setup(
        " bind :443,:8443 ssl crt /x.pem\n bind /run/web.sock\n",
        SERVERS,
    );
    let listeners: Vec<(&str, &str, bool)> = setup
        .listeners
        .iter()
        .map(|l| (l.name.as_str(), l.address.as_str(), l.is_tls))
        .collect();
    assert_eq!(
        listeners,
        [
            ("f", ":80", false),
            ("f:443", ":443", true),
            ("f:8443", ":8443", true),
            ("f:/run/web.sock", "/run/web.sock", false),
        ]
    );
    assert_eq!(setup.routes.len(), 4);
    let paths: std::collections::BTreeSet<&str> = setup
        .routes
        .iter()
        .map(|route| route.path.as_str())
        .collect();
    assert_eq!(paths.len(), 1, "one line of the file is one path");
}

#[test]
fn names_of_listeners_are_unique() {
    let text = format!(
        "{DEFAULTS}listen f\n bind 10.0.0.1:80\n bind 10.0.0.2:80\n bind 10.0.0.3:80\n{SERVERS}\
         listen f:80\n bind 10.0.0.4:80\n{SERVERS}"
    );
    let setup = import("names.cfg", text).setup.unwrap();
    let names: std::collections::BTreeSet<&str> =
        setup.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn tests_of_tls_and_port_are_answered_for_each_address() {
    let front = " bind :443 ssl crt /x.pem\n redirect scheme https unless { ssl_fc }\n";
    let redirected = setup(front, SERVERS);
    let routes: Vec<_> = redirected.routes.iter().map(brief).collect();
    assert_eq!(
        routes,
        [
            ("f", None, None, false),
            ("f", None, None, true),
            ("f:443", None, None, true)
        ]
    );
    for condition in [
        "if { dst_port 443 }",
        "if !{ dst_port 80 81 }",
        "unless { dst_port le 100 }",
        "if { dst_port 400:500 } { ssl_fc }",
    ] {
        let front = format!(" bind :443 ssl crt /x.pem\n http-request deny {condition}\n");
        let denied = setup(&front, SERVERS);
        let routes: Vec<_> = denied.routes.iter().map(brief).collect();
        let expected = [
            ("f", None, None, true),
            ("f:443", None, None, false),
            ("f:443", None, None, true),
        ];
        assert_eq!(routes, expected, "{condition}");
    }
}

#[test]
fn a_port_that_the_proxy_protocol_tells_is_no_port_of_the_file() {
    let front = " bind :443 accept-proxy\n use_backend p if { dst_port 443 }\n";
    let setup = setup(front, SERVERS);
    let route = setup
        .routes
        .iter()
        .find(|route| route.listener == "f:443")
        .unwrap();
    assert_eq!(route.condition.as_deref(), Some("{ dst_port 443 }"));
}

#[test]
fn alternatives_of_one_rule_are_one_path() {
    let setup = setup(" acl x path_beg /a /a/b\n use_backend p if x\n", SERVERS);
    assert_eq!(setup.routes.len(), 3);
    assert_eq!(setup.routes[0].path, setup.routes[1].path);
    assert_ne!(setup.routes[1].path, setup.routes[2].path);
}

#[test]
fn a_section_that_only_shows_statistics_answers_all_by_itself() {
    let text = format!("{DEFAULTS}listen stats\n bind :9000\n stats uri /adm\n");
    let setup = import("stats.cfg", text).setup.unwrap();
    let routes: Vec<_> = setup.routes.iter().map(brief).collect();
    assert_eq!(
        routes,
        [
            ("stats", Some("/adm"), None, false),
            ("stats", None, None, false)
        ]
    );
    assert!(setup.pools.is_empty());
}

#[test]
fn servers_that_share_a_cookie_are_told_unless_one_is_a_backup() {
    let two = |more: &str| {
        read(
            "",
            &format!(
                " cookie s insert\n server a 10.0.0.1:80 cookie x\n server b 10.0.0.2:80 cookie x{more}\n"
            ),
        )
    };
    let text = "servers `a` and `b` have the same `cookie` value `x`";
    assert!(told(&two(""), text));
    assert!(!told(&two(" backup"), text));
}

#[test]
fn observe_counts_towards_ejection_as_on_error_says() {
    for (on_error, expected) in [
        (" error-limit 1 on-error mark-down", Some(1)),
        (" error-limit 4 on-error sudden-death", Some(8)),
        (" error-limit 4 fall 2", Some(8)),
        (" error-limit 4 on-error fastinter", None),
    ] {
        let back = format!(
            " server a 10.0.0.1:80 check\n server b 10.0.0.2:80 check observe layer7{on_error}\n"
        );
        let ejection = setup("", &back).pools.remove(0).ejection.unwrap();
        assert_eq!(ejection.consecutive, expected, "{on_error}");
    }
}

#[test]
fn what_the_file_cannot_know_is_not_called_not_understood() {
    for (line, what) in [
        (
            " server s 10.0.0.9:80 check agent-check agent-port 9",
            "agent-check",
        ),
        (" server-template t 2 app.example:80", "server-template"),
        (" server s 10.0.0.9:80 minconn 2 maxconn 9", "minconn"),
        (" server s 10.0.0.9:80 weight \"${WEIGHT}\"", "WEIGHT"),
    ] {
        let imported = read("", &format!("{line}\n{SERVERS}"));
        let mut findings = imported
            .findings
            .iter()
            .filter(|finding| finding.id == "IMP-03");
        let finding = findings.next().unwrap();
        assert!(finding.message.contains(what), "{}", finding.message);
        assert!(
            finding.message.contains("cannot be known from the file"),
            "{}",
            finding.message
        );
        assert!(findings.next().is_none(), "{line}");
        let gaps = imported.setup.unwrap().gaps;
        assert!(
            gaps.iter().any(|gap| gap.touches != Touches::Routing),
            "{line}"
        );
    }
}

#[test]
fn slots_of_a_template_are_known_where_the_address_is() {
    let setup = setup("", " server-template t 0-3 10.0.0.1:80\n");
    let names: Vec<&str> = setup.pools[0]
        .backends
        .iter()
        .map(|b| b.name.as_str())
        .collect();
    assert_eq!(names, ["t0", "t1", "t2", "t3"]);
    assert!(setup.gaps.is_empty());
    let none = read("", " server-template t 0 10.0.0.1:80\n");
    assert!(none.setup.is_none() && !told(&none, "more than 0"));
}

#[test]
fn a_byte_that_is_no_text_only_matters_where_it_decides() {
    let text = |comment: &[u8], name: &[u8]| {
        let mut bytes = DEFAULTS.as_bytes().to_vec();
        bytes.extend_from_slice(b"listen p # ");
        bytes.extend_from_slice(comment);
        bytes.extend_from_slice(b"\n bind :80\n description ");
        bytes.extend_from_slice(comment);
        bytes.extend_from_slice(b"\n server ");
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b" 10.0.0.1:80\n");
        import("latin.cfg", bytes)
    };
    let judged = text(b"caf\xe9", b"a");
    assert!(judged.setup.is_some(), "{:?}", judged.findings);
    let refused = text(b"", b"caf\xe9");
    assert!(refused.setup.is_none());
    assert!(told(&refused, "is not UTF-8"), "{:?}", refused.findings);
}

#[test]
fn a_control_character_is_named_and_not_written() {
    let imported = read("", " server a\\x1bb 10.0.0.1:80\n");
    assert!(told(
        &imported,
        "a control character is not allowed in the name of a server"
    ));
    assert!(
        imported
            .findings
            .iter()
            .all(|finding| !finding.message.contains('\\'))
    );
}
