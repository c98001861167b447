//! What a route changes in heads: read as written, refused with a reason.

use super::{found, shop_with};
use crate::config::{Edits, FieldEdits, PathEdit, Pattern, Template};
use crate::parse::{Parsed, parse};

/// The shop with a route of these keys in front.
fn with(keys: &str) -> Parsed {
    shop_with(
        "[[route]]\n",
        &format!("[[route]]\nlistener = 'web'\n{keys}\n[[route]]\n"),
    )
}

fn edits(keys: &str) -> Edits {
    let parsed = with(&format!("pool = 'shop'\n{keys}"));
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{keys}: {:#?}", parsed.findings));
    config.routes[0].edits.clone()
}

fn value(text: &str) -> Template {
    Template::new(text).unwrap()
}

#[test]
fn rewrites_are_read() {
    let path = |keys: &str| edits(keys).path.unwrap();
    assert_eq!(
        path("rewrite = { path = '/index.html' }"),
        PathEdit::Whole("/index.html".to_owned())
    );
    assert_eq!(
        path("path_prefix = '/api/v2'\nrewrite = { strip_prefix = '/api/' }"),
        PathEdit::Strip("/api".to_owned())
    );
    assert_eq!(
        path("path_prefix = '/api'\nrewrite = { replace_prefix = '/' }"),
        PathEdit::Replace("/".to_owned())
    );
    assert_eq!(
        path("rewrite = { regex = '/u/([0-9]+)(/.*)?', to = '/p$2/$1/$$' }"),
        PathEdit::Regex {
            pattern: Pattern::new("/u/([0-9]+)(/.*)?").unwrap(),
            to: "/p$2/$1/$$".to_owned(),
        }
    );
    for (text, host) in [
        ("Shop.internal", "shop.internal"),
        ("a.test:8080", "a.test:8080"),
        ("[::1]", "[::1]"),
        ("[::1]:81", "[::1]:81"),
    ] {
        let read = edits(&format!("rewrite = {{ host = '{text}' }}"));
        assert_eq!(read.host.as_deref(), Some(host));
    }
}

#[test]
fn fields_are_read_in_their_order() {
    let read = edits(
        "request_headers = { set = { X-B = '{client_ip}', x-a = '{{1}}' }, remove = ['Cookie', 'accept'] }\n\
         response_headers = { add = { set-cookie = 'a=b; Path=/' } }",
    );
    let request = FieldEdits {
        set: vec![
            ("x-a".to_owned(), value("{{1}}")),
            ("x-b".to_owned(), value("{client_ip}")),
        ],
        add: Vec::new(),
        remove: vec!["accept".to_owned(), "cookie".to_owned()],
    };
    let response = FieldEdits {
        add: vec![("set-cookie".to_owned(), value("a=b; Path=/"))],
        ..FieldEdits::default()
    };
    assert_eq!((read.request, read.response), (request, response));
}

/// Keys, the wrong one, the finding, a part of its fix.
const WRONG: [(&str, &str, &str, &str); 36] = [
    ("rewrite = {}", "rewrite.path", "CFG-04", "path ="),
    (
        "rewrite = { path = 'a' }",
        "rewrite.path",
        "CFG-03",
        "\"/a\"",
    ),
    (
        "rewrite = { path = '/a?b' }",
        "rewrite.path",
        "CFG-03",
        "leave everything",
    ),
    (
        "rewrite = { path = '/a/../b' }",
        "rewrite.path",
        "CFG-03",
        "without `.`",
    ),
    (
        "rewrite = { path = '/%zz' }",
        "rewrite.path",
        "CFG-03",
        "percent-encode",
    ),
    (
        "rewrite = { path = \"/a\\r\\nX: y\" }",
        "rewrite.path",
        "CFG-03",
        "percent-encode",
    ),
    (
        "rewrite = { path = '/a', strip_prefix = '/b' }",
        "rewrite.strip_prefix",
        "CFG-07",
        "keep one",
    ),
    (
        "path_prefix = '/api'\nrewrite = { strip_prefix = '/app' }",
        "rewrite.strip_prefix",
        "CFG-07",
        "begin with",
    ),
    (
        "path = '/a'\nrewrite = { replace_prefix = '/b' }",
        "rewrite.replace_prefix",
        "CFG-07",
        "path_prefix",
    ),
    (
        "path_prefix = '/a'\nrewrite = { replace_prefix = '/b/..' }",
        "rewrite.replace_prefix",
        "CFG-03",
        "without `.`",
    ),
    (
        "rewrite = { regex = '/(a' , to = '/' }",
        "rewrite.regex",
        "CFG-03",
        "put it right",
    ),
    ("rewrite = { regex = '/a' }", "rewrite.to", "CFG-04", "$1"),
    (
        "rewrite = { to = '/a' }",
        "rewrite.regex",
        "CFG-04",
        "regex =",
    ),
    (
        "rewrite = { regex = '/(a)', to = '/$2' }",
        "rewrite.to",
        "CFG-03",
        "parentheses",
    ),
    (
        "rewrite = { regex = '/(a)', to = '/$x' }",
        "rewrite.to",
        "CFG-03",
        "`$$`",
    ),
    (
        "rewrite = { regex = '/(a)', to = '$1' }",
        "rewrite.to",
        "CFG-03",
        "\"/$1\"",
    ),
    (
        "rewrite = { host = '*.a.test' }",
        "rewrite.host",
        "CFG-03",
        "shop.internal",
    ),
    (
        "rewrite = { host = 'a.test:0' }",
        "rewrite.host",
        "CFG-03",
        "shop.internal",
    ),
    (
        "rewrite = { host = 'a/b' }",
        "rewrite.host",
        "CFG-03",
        "shop.internal",
    ),
    ("rewrite = { strip = '/a' }", "rewrite.strip", "CFG-02", ""),
    (
        "request_headers = {}",
        "request_headers.set",
        "CFG-04",
        "set =",
    ),
    (
        "request_headers = { set = { Host = 'a' } }",
        "request_headers.set.Host",
        "CFG-03",
        "rewrite = { host",
    ),
    (
        "request_headers = { set = { X_Forwarded_For = 'a' } }",
        "request_headers.set.X_Forwarded_For",
        "CFG-03",
        "{client_ip}",
    ),
    (
        "request_headers = { remove = ['x-request-id'] }",
        "request_headers.remove.0",
        "CFG-03",
        "another name",
    ),
    (
        "request_headers = { add = { Transfer-Encoding = 'chunked' } }",
        "request_headers.add.Transfer-Encoding",
        "CFG-03",
        "framed",
    ),
    (
        "request_headers = { add = { upgrade = 'a' } }",
        "request_headers.add.upgrade",
        "CFG-03",
        "`upgrade` of the route",
    ),
    (
        "response_headers = { remove = ['Connection'] }",
        "response_headers.remove.0",
        "CFG-03",
        "framed",
    ),
    (
        "response_headers = { set = { x-evenkeel-error = 'a' } }",
        "response_headers.set.x-evenkeel-error",
        "CFG-03",
        "backends",
    ),
    (
        "response_headers = { set = { 'x y' = 'a' } }",
        "response_headers.set.\"x y\"",
        "CFG-03",
        "only its name",
    ),
    (
        "response_headers = { set = { x = \"a\\r\\ny: b\" } }",
        "response_headers.set.x",
        "CFG-03",
        "as it is sent",
    ),
    (
        "response_headers = { set = { x = '' } }",
        "response_headers.set.x",
        "CFG-03",
        "remove",
    ),
    (
        "response_headers = { set = { x = '{client-ip}' } }",
        "response_headers.set.x",
        "CFG-03",
        "`{client_ip}`",
    ),
    (
        "response_headers = { set = { x = '{' } }",
        "response_headers.set.x",
        "CFG-03",
        "`{{`",
    ),
    (
        "response_headers = { set = { x = 'a' }, remove = ['X'] }",
        "response_headers.remove.0",
        "CFG-03",
        "`set` replaces",
    ),
    (
        "response_headers = { remove = 'x' }",
        "response_headers.remove",
        "CFG-03",
        "[",
    ),
    (
        "response_headers = { drop = ['x'] }",
        "response_headers.drop",
        "CFG-02",
        "",
    ),
];

#[test]
fn a_wrong_change_is_refused_with_its_place_and_a_fix() {
    for (keys, key, id, part) in WRONG {
        let parsed = with(&format!("pool = 'shop'\n{keys}"));
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
fn an_answer_of_the_balancers_own_has_only_response_fields() {
    let answer = |keys: &str| {
        with(&format!(
            "path = '/a'\nrespond = {{ status = 200 }}\n{keys}"
        ))
    };
    assert_eq!(
        found(&answer("response_headers = { set = { x = '{host}' } }")),
        []
    );
    for (keys, key, id, part) in [
        ("rewrite = { path = '/' }", "rewrite", "CFG-07", "remove"),
        (
            "request_headers = { remove = ['x'] }",
            "request_headers",
            "CFG-07",
            "remove",
        ),
        (
            "response_headers = { set = { content-type = 'a/b' } }",
            "response_headers.set.content-type",
            "CFG-03",
            "`content_type`",
        ),
        (
            "response_headers = { add = { location = '/' } }",
            "response_headers.add.location",
            "CFG-03",
            "`redirect`",
        ),
    ] {
        let parsed = answer(keys);
        let path = format!("route.0.{key}");
        let finding = parsed
            .findings
            .iter()
            .find(|f| f.path == path && f.id == id);
        let finding = finding.unwrap_or_else(|| panic!("{keys}: {:#?}", parsed.findings));
        assert!(finding.fix.contains(part), "{finding:#?}");
    }
}

#[test]
fn a_change_of_a_head_is_a_difference() {
    let one = with("pool = 'shop'\nrewrite = { path = '/a' }")
        .config
        .unwrap();
    let other = with("pool = 'shop'\nrewrite = { path = '/b' }")
        .config
        .unwrap();
    let text = crate::canonical::to_toml(&one);
    assert_eq!(parse(&text, None).config.as_ref(), Some(&one));
    let changes = crate::diff::diff(&one, &other);
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["route.0.rewrite.path"]);
}
