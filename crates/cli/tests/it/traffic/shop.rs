//! The reference shop behind the balancer: three replicas on one store, a visitor who browses, buys and looks back.

use evenkeel_shop::{ServerHandle, ShopOptions};

use crate::support::{Home, long, run};
use crate::wire::{Answer, Honest, addresses, config, exchange, get};

fn replicas(dir: &std::path::Path) -> Vec<ServerHandle> {
    let start = |n: u32| {
        evenkeel_shop::spawn(ShopOptions {
            database: dir.join("shop.db"),
            name: format!("web-{n}"),
            ..ShopOptions::default()
        })
        .unwrap()
    };
    (1..=3).map(start).collect()
}

struct Visitor {
    at: std::net::SocketAddr,
    cookie: String,
}

impl Visitor {
    fn get(&self, path: &str) -> Answer {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: shop.test\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            self.cookie
        );
        exchange(self.at, head.as_bytes())
    }

    fn post(&self, path: &str, key: Option<&str>, form: &str) -> Answer {
        let key = key.map_or(String::new(), |key| format!("idempotency-key: {key}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: shop.test\r\ncookie: {}\r\nconnection: close\r\n{key}\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.cookie,
            form.len()
        );
        exchange(self.at, head.as_bytes())
    }
}

/// Where the shop sends a visitor on to.
fn onward(answer: &Answer) -> String {
    assert_eq!(answer.status(), 303, "{answer:?}");
    answer.field("location").unwrap().to_owned()
}

#[test]
fn a_visitor_browses_buys_once_and_finds_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let shops = replicas(dir.path());
    let home = Home::new(&config(
        &addresses(&shops),
        "",
        "session = { cookie = \"sid\" }",
    ));
    let instance = home.start(&[]);
    let others = Honest::start(instance.front(), if long() { 200.0 } else { 50.0 });
    let front = get(instance.front(), "/");
    assert_eq!(front.status(), 200);
    let cookie = front.field("set-cookie").unwrap();
    assert!(cookie.starts_with("sid="), "{cookie}");
    let visitor = Visitor {
        at: instance.front(),
        cookie: cookie.split(';').next().unwrap().to_owned(),
    };
    assert_eq!(visitor.get("/search?q=a").status(), 200);
    assert_eq!(visitor.get("/product/7").status(), 200);
    let added = visitor.post("/cart", None, "product_id=7&quantity=2");
    assert!([200, 303].contains(&added.status()), "{added:?}");
    // Each request may land on another replica: what one wrote the next one reads.
    for _replica in 0..3 {
        let cart = visitor.get("/cart");
        assert!(cart.body().contains("/product/7"), "{cart:?}");
    }
    let form = "name=Ada&email=ada%40shop.test&address=1+Quay";
    let order = onward(&visitor.post("/checkout", Some("key-1"), form));
    for _repeat in 0..3 {
        let again = onward(&visitor.post("/checkout", Some("key-1"), form));
        assert_eq!(again, order, "a repeat is the same order");
    }
    assert_eq!(visitor.get(&order).status(), 200);
    let orders = visitor.get("/orders");
    assert_eq!(orders.body().matches(&order).count(), 1, "{}", orders.text);
    let served = others.unharmed();
    assert!(served > 0);
    let instances: std::collections::BTreeSet<String> = (0..6)
        .filter_map(|_| {
            get(instance.front(), "/")
                .field("x-shop-instance")
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(instances.len(), 3, "{instances:?}");
    drop(shops);
    let report = evenkeel_shop::check_invariants(&dir.path().join("shop.db")).unwrap();
    assert!(report.holds() && report.orders == 1, "{report:?}");
}

#[test]
fn the_load_command_reports_what_it_sent() {
    let dir = tempfile::tempdir().unwrap();
    let shops = replicas(dir.path());
    let home = Home::new(&config(&addresses(&shops), "", ""));
    let instance = home.start(&[]);
    let target = instance.front().to_string();
    let ran = run(crate::support::binary().args([
        "--json",
        "load",
        "--target",
        &target,
        "--rate",
        "100",
        "--seconds",
        "3",
    ]))
    .expect(0)
    .json();
    assert!(ran["sent"].as_u64().unwrap() > 200, "{ran}");
    assert_eq!(ran["failed"], 0, "{ran}");
    assert_eq!(ran["server_error"], 0, "{ran}");
}
