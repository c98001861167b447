//! From a configuration as a person writes it to routes and members.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a failed test"
)]

use evenkeel_balance::Standing::{Down, Drained, Up};
use evenkeel_balance::route::{Example, Found, RouteTable};
use evenkeel_balance::{
    FailOpen, Standing, effective_members, effective_members_by_standing, expected_shares,
};
use evenkeel_model::config::Config;

const TEXT: &str = r#"
[listener.web]
address = "127.0.0.1:8080"
[listener.inside]
address = "127.0.0.1:8081"
[[route]]
listener = "web"
host = "*.Example.com"
path_prefix = "/cart"
pool = "cart"
[[route]]
listener = "inside"
pool = "cart"
[[route]]
listener = "web"
pool = "shop"
[pool.shop]
[pool.shop.backend.a]
address = "127.0.0.1:9001"
weight = 3
[pool.shop.backend.b]
address = "127.0.0.1:9002"
weight = 1
[pool.shop.backend.c]
address = "127.0.0.1:9003"
weight = 0
[pool.cart]
[pool.cart.backend.a]
address = "127.0.0.1:9004"
"#;

fn config() -> Config {
    evenkeel_model::parse::parse(TEXT, None).config.unwrap()
}

#[test]
fn routes_are_those_of_the_listener_in_file_order() {
    let config = config();
    let table = RouteTable::new(&config);
    let found = |listener: &str, host: Option<&'static str>, path: &'static str| {
        let listener = table.listener(listener)?;
        match table.find(listener, &Example::get(host, path)) {
            Found::Route { route, pool } => Some((route, config.pools[pool].name.as_str())),
            Found::Answer { .. } | Found::Nothing | Found::Ambiguous => None,
        }
    };
    let pool = |listener, host, path| found(listener, host, path).map(|(_, pool)| pool);
    let host = Some("www.example.com:8080");
    assert_eq!(pool("web", host, "/cart/1"), Some("cart"));
    assert_eq!(pool("web", host, "/carts"), Some("shop"));
    assert_eq!(pool("web", None, "/cart"), Some("shop"));
    assert_eq!(pool("inside", None, "/any"), Some("cart"));
    assert_eq!(found("web", None, "/").map(|(route, _)| route), Some(2));
    assert_eq!(found("none", None, "/"), None);
}

#[test]
fn shares_follow_who_is_left() {
    let config = config();
    let pool = config.pool("shop").unwrap();
    let shares = |standings: [Standing; 3]| {
        let (members, fail_open) = effective_members_by_standing(pool, |i| standings[i]);
        (expected_shares(pool.algorithm, &members), fail_open)
    };
    assert_eq!(
        shares([Up, Up, Up]),
        (Some(vec![0.75, 0.25, 0.0]), FailOpen::No)
    );
    assert_eq!(
        shares([Down, Up, Up]),
        (Some(vec![0.0, 1.0, 0.0]), FailOpen::No)
    );
    assert_eq!(
        shares([Down, Down, Up]),
        (Some(vec![0.75, 0.25, 0.0]), FailOpen::Yes)
    );
    assert_eq!(
        shares([Down, Drained, Up]),
        (Some(vec![1.0, 0.0, 0.0]), FailOpen::Yes)
    );
    assert_eq!(shares([Drained, Drained, Up]), (None, FailOpen::NobodyLeft));
    let (members, fail_open) = effective_members(pool, |_| false);
    assert!(fail_open == FailOpen::Yes && members.iter().all(|m| m.eligible));
}
