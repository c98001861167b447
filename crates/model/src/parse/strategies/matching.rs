//! Arbitrary matchers of routes.

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

use crate::config::{
    Expectation, Field, Matcher, Outcome, PathMatch, Pattern, Pool, Route, ValueMatch,
};

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
            _ => Outcome::Pool(pools[n % pools.len()].name.clone()),
        },
    })
    .collect()
}
