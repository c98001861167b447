//! What finding the route of a request costs, by the number of routes and by what they look at.
//! `cargo run --release -p evenkeel-balance --example route_cost`. Prints CPU times, so that what else the machine does
//! counts little; asserts none. The request takes the last route, so every one before it is compared.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement: it asks the system and prints"
)]

use std::hint::black_box;

use evenkeel_balance::route::{Example, Found, RouteTable};
use evenkeel_model::parse::parse;

const LOOKS: u32 = 500_000;

/// An ordinary number of them.
const FIELDS: [(&str, &str); 6] = [
    ("host", "shop.example"),
    ("user-agent", "curl/8.5.0"),
    ("accept", "*/*"),
    ("cookie", "sid=0123456789abcdef; theme=dark"),
    ("x-request-id", "5f1d7a1c"),
    ("x-tenant", "none"),
];

fn main() {
    let kinds: [(&str, &dyn Fn(usize) -> String); 7] = [
        ("path_prefix", &|n| format!("path_prefix = '/service-{n}'")),
        ("path", &|n| format!("path = '/service-{n}'")),
        ("host", &|n| format!("host = 'service-{n}.example'")),
        ("headers", &|n| format!("headers = {{ x-tenant = '{n}' }}")),
        ("cookies", &|n| format!("cookies = {{ theme = '{n}' }}")),
        ("query", &|n| format!("query = {{ page = '{}' }}", n + 10)),
        ("path_regex", &|n| {
            format!("path_regex = '/service-{n}/[0-9]+'")
        }),
    ];
    println!("ns per request that takes the last route");
    println!("what the others ask for    1 route  10 routes  100 routes");
    for (kind, keys) in kinds {
        println!("{kind:<24} {}", line(keys, "/products/shoes/12345"));
    }
    println!(
        "{:<24} {}",
        "path_prefix, read twice",
        line(kinds[0].1, "/products/a%2Fb")
    );
}

/// A cell for each number of routes.
fn line(keys: &dyn Fn(usize) -> String, path: &'static str) -> String {
    let cell = |routes: usize| format!("{:>10.1}", cost(routes, keys, path));
    [1, 10, 100].map(cell).join(" ")
}

fn cost(routes: usize, keys: &dyn Fn(usize) -> String, path: &'static str) -> f64 {
    let mut text = "[listener.web]\naddress = '127.0.0.1:8080'\n".to_owned();
    for n in 1..routes {
        let more = format!("[[route]]\nlistener = 'web'\npool = 'p'\n{}\n", keys(n));
        text += &more;
    }
    text +=
        "[[route]]\nlistener = 'web'\npool = 'p'\n[pool.p.backend.b]\naddress = '127.0.0.1:8081'\n";
    let table = RouteTable::new(&parse(&text, None).config.unwrap());
    let expected = Found::Route {
        route: routes - 1,
        pool: 0,
    };
    let asked = Example {
        query: Some("page=2&sort=price"),
        fields: &FIELDS,
        ..Example::get(Some("shop.example"), path)
    };
    let from = cpu_ns();
    for _ in 0..LOOKS {
        assert_eq!(table.find(0, black_box(&asked)), expected);
    }
    (cpu_ns() - from) as f64 / f64::from(LOOKS)
}

/// CPU time of this process as the kernel books it.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
