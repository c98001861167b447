//! Arbitrary matchers of routes.

use std::num::NonZeroU16;

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

use super::tunnels::upgrades;
use crate::config::{
    Answer, Edits, Expectation, Field, FieldEdits, HashKey, Listener, Matcher, NewPath, Outcome,
    PathEdit, PathMatch, Pattern, Pool, Priority, RateLimit, Redirect, Respond, Route, Scheme,
    Sent, Target, Template, Upgrades, ValueMatch,
};
use crate::ids::Name;

pub(super) fn matcher() -> impl Strategy<Value = Matcher> {
    let prefix = prop_oneof![Just("/".to_owned()), "(/[a-z0-9~%\"']{1,5}){1,3}"];
    let path = prop_oneof![
        3 => prefix.prop_map(PathMatch::Prefix),
        1 => "(/[a-z0-9~%\"']{1,5}){1,3}/?".prop_map(PathMatch::Exact),
        1 => "/[a-z]{1,3}(\\[0-9\\]\\+|\\|b|\\\\d)".prop_map(|text| PathMatch::Regex(pattern(&text))),
    ];
    let methods = btree_set("[A-Z]{1,9}", 0..3);
    (
        path,
        methods,
        fields("[a-z-]{1,9}"),
        fields("[a-zA-Z.]{1,9}"),
        fields("[!\"$%*-;@-~]{1,9}"),
    )
        .prop_map(|(path, methods, headers, cookies, query)| Matcher {
            path,
            methods: methods.into_iter().collect(),
            headers,
            cookies,
            query,
        })
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn fields(name: &'static str) -> impl Strategy<Value = Vec<Field>> {
    let value = prop_oneof![
        "[!-~]{1,9}( [!-~]{1,3})?".prop_map(ValueMatch::Exact),
        "[!-~é]{1,9}".prop_map(ValueMatch::Prefix),
        "[a-z]{1,3}[+*?]".prop_map(|text| ValueMatch::Regex(pattern(&text))),
        any::<bool>().prop_map(|is| if is {
            ValueMatch::Present
        } else {
            ValueMatch::Absent
        }),
    ];
    let field = |(name, value)| Field { name, value };
    btree_map(name, value, 0..3).prop_map(move |all| all.into_iter().map(field).collect())
}

/// One for each route, of every form.
pub(super) fn expectations(routes: &[Route], pools: &[Pool]) -> Vec<Expectation> {
    let each = routes.iter().enumerate();
    each.map(|(n, route)| Expectation {
        listener: route.listener.clone(),
        method: ["GET", "PUT"][n % 2].to_owned(),
        url: ["/a%20b?x=\"", "https://a.b:1/c", "http://[::1]"][n % 3].to_owned(),
        headers: vec![("x-a".to_owned(), "1 \\".to_owned()); n % 2],
        outcome: match n {
            1 => Outcome::NoRoute,
            2 => Outcome::Ambiguous,
            3 => Outcome::Status(503),
            4 => Outcome::Redirect {
                to: "https://a.b/c?d".to_owned(),
                status: None,
            },
            5 => Outcome::Redirect {
                to: "/c".to_owned(),
                status: Some(301),
            },
            _ => Outcome::Pool(pools[n % pools.len()].name.clone()),
        },
        sent: Sent {
            path: (n == 0 || n == 7).then(|| "/a%20b".to_owned()),
            host: (n == 6 || n == 7).then(|| "a.b:81".to_owned()),
        },
    })
    .collect()
}

/// Every second one a pool, the others answers of every form.
fn target(matcher: &Matcher, pool: Name, seed: usize) -> Target {
    let bit = |n: usize| (seed >> n).is_multiple_of(2);
    match seed % 4 {
        0 => Target::Answer(Answer::Redirect(Redirect {
            status: Redirect::STATUSES[seed / 4 % 5],
            scheme: bit(2).then_some(Scheme::ALL[seed / 8 % 2]),
            host: bit(3).then(|| "www.a-b.test".to_owned()),
            port: bit(4).then_some(NonZeroU16::MAX),
            path: match (bit(5), &matcher.path) {
                (true, PathMatch::Prefix(_)) => Some(NewPath::Prefix("/new".to_owned())),
                (true, _) => Some(NewPath::Whole("/a%20\"b".to_owned())),
                _ => None,
            },
            query: Some(["", "a=\"b"][seed / 64 % 2].to_owned()),
        })),
        1 if bit(2) => Target::Answer(Answer::Respond(Respond {
            status: 204,
            body: String::new(),
            content_type: Respond::CONTENT_TYPE_DEFAULT.to_owned(),
            headers: vec![("x-a".to_owned(), "b c \"".to_owned())],
        })),
        1 => Target::Answer(Answer::Respond(Respond {
            status: 503,
            body: ["", "back soon\n\t\"é\""][seed / 8 % 2].to_owned(),
            content_type: "text/html".to_owned(),
            headers: Vec::new(),
        })),
        _ => Target::Pool(pool),
    }
}

/// A route as it was drawn, between some of these.
pub(super) fn route(
    (host, matcher, l, p): (Option<String>, Matcher, usize, usize),
    listeners: &[Listener],
    pools: &[Pool],
) -> Route {
    let target = target(&matcher, pools[p % pools.len()].name.clone(), l ^ p);
    Route {
        listener: listeners[l % listeners.len()].name.clone(),
        host,
        upgrades: match target {
            Target::Pool(_) => upgrades(p),
            Target::Answer(_) => Upgrades::default(),
        },
        edits: edits(&target, &matcher, l ^ p),
        matcher,
        target,
        rate_limit: rate_limit(p, l),
        priority: Priority::ALL[l % 3],
    }
}

/// Every kind of change, and none for half of the routes.
fn edits(target: &Target, matcher: &Matcher, seed: usize) -> Edits {
    if seed % 8 < 4 {
        return Edits::default();
    }
    let bit = |n: usize| (seed >> n).is_multiple_of(2);
    let value = |text: &str| Template::new(text).unwrap();
    let fields = |seed: usize| FieldEdits {
        set: vec![("x-a".to_owned(), value("{host} \"{{1}}\" {client_ip}")); seed % 2],
        add: vec![("x.b".to_owned(), value("1")); seed / 2 % 2],
        remove: ["cookie", "x_c"][..seed / 4 % 3]
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    let response = fields(seed / 8);
    if target.answer().is_some() {
        return Edits {
            response,
            ..Edits::default()
        };
    }
    let path = match (seed / 16 % 5, &matcher.path) {
        (0, _) => None,
        (1, PathMatch::Prefix(_)) => Some(PathEdit::Replace("/new".to_owned())),
        (2, _) => Some(PathEdit::Regex {
            pattern: Pattern::new("/([a-z]+)(/.*)?").unwrap(),
            to: "/$$/$2/$1".to_owned(),
        }),
        (3, PathMatch::Prefix(prefix)) if prefix != "/" => Some(PathEdit::Strip(prefix.clone())),
        _ => Some(PathEdit::Whole("/a%20b\"".to_owned())),
    };
    Edits {
        path,
        host: bit(6).then(|| "a.test:8080".to_owned()),
        request: fields(seed / 32),
        response,
    }
}

/// Of every third route, with each kind of key.
fn rate_limit(number: usize, burst: usize) -> Option<RateLimit> {
    number.is_multiple_of(3).then(|| RateLimit {
        rps: 0.5 + (number % 1_000) as f64,
        burst: 1 + (burst % 1_000) as u32,
        by: match number % 4 {
            0 => None,
            1 => Some(HashKey::ClientAddress),
            2 => Some(HashKey::Path),
            _ => Some(HashKey::Header("x-key".to_owned())),
        },
    })
}
