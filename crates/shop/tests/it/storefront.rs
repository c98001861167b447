//! The shop as its clients see it, and its invariants with several replicas on one file.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_shop::{Capacity, ServerHandle, ShopOptions, check_invariants, spawn};

use crate::client::{Response, get, send, try_send};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("accept", "application/json");
const BUYER: &str = "name=Ada&email=ada%40example.com&address=Harbour+Road+1";

fn shop(dir: &Path, name: &str) -> ServerHandle {
    spawn(ShopOptions {
        database: dir.join("shop.db"),
        name: name.to_owned(),
        capacity: Capacity {
            service_time: Duration::from_millis(2),
            ..Capacity::default()
        },
        seed_products: 20,
        seed_stock: 400,
        ..ShopOptions::default()
    })
    .unwrap()
}

fn add(to: SocketAddr, cookie: &str, product: u32, quantity: u32) -> Response {
    let body = format!("product_id={product}&quantity={quantity}");
    send(to, "POST /cart", &[FORM, ("cookie", cookie)], &body)
}

fn check_out(to: SocketAddr, cookie: &str, key: &str, body: &str) -> Response {
    let headers = [FORM, JSON, ("cookie", cookie), ("idempotency-key", key)];
    send(to, "POST /checkout", &headers, body)
}

#[test]
fn a_visitor_browses_searches_fills_a_cart_and_buys() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path(), "web-1");
    let to = shop.address();
    let home = get(to, "/");
    assert!(home.status == 200 && home.body.contains("/product/1"));
    assert_eq!(home.header("x-shop-instance"), Some("web-1"));
    assert_eq!(home.header("x-shop-version"), Some("v1"));
    assert!(
        home.header("endpoint-load-metrics")
            .unwrap()
            .starts_with("TEXT ")
    );
    assert_eq!(home.header("x-prequal-rif"), Some("0"));
    let (cookie, _) = home.header("set-cookie").unwrap().split_once(';').unwrap();
    assert!(get(to, "/?page=2").body.contains("/product/13"));
    let found = send(to, "GET /search?q=lAMp", &[JSON], "").json();
    assert!(found["products"].as_array().unwrap().len() >= 2);
    assert!(!get(to, "/search?q=%25").body.contains("/product/"));
    assert!(get(to, "/product/3").body.contains("Add to cart"));
    assert_eq!(get(to, "/product/999").status, 404);
    assert_eq!(get(to, "/product/x").status, 400);

    assert_eq!(add(to, cookie, 3, 2).header("location"), Some("/cart"));
    assert_eq!(add(to, cookie, 999, 1).status, 404);
    assert_eq!(add(to, cookie, 3, 0).status, 400);
    let price = send(to, "GET /product/3", &[JSON], "").json()["price_cents"]
        .as_i64()
        .unwrap();
    let cart = send(to, "GET /cart", &[JSON, ("cookie", cookie)], "").json();
    assert_eq!(cart["total_cents"], 2 * price);
    let form = send(to, "GET /checkout", &[("cookie", cookie)], "");
    assert!(form.body.contains("idempotency_key"));
    let placed = check_out(to, cookie, "k1", BUYER);
    assert_eq!(
        (placed.status, &placed.json()["total_cents"]),
        (201, &(2 * price).into())
    );
    let id = placed.json()["id"].as_i64().unwrap();
    let order = send(to, &format!("GET /orders/{id}"), &[("cookie", cookie)], "");
    assert!(order.body.contains("Thank you, Ada"));
    assert_eq!(
        get(to, &format!("/orders/{id}")).status,
        404,
        "another session"
    );
    let empty = send(to, "GET /cart", &[JSON, ("cookie", cookie)], "").json();
    assert_eq!(empty["total_cents"], 0);
    assert_eq!(
        (get(to, "/healthz").status, get(to, "/readyz").status),
        (200, 200)
    );
}

#[test]
fn the_idempotency_key_is_required_replayed_and_bound_to_its_payload() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path(), "web-1"), shop(dir.path(), "web-2"));
    let cookie = "sid=s1";
    add(one.address(), cookie, 1, 1);
    let missing = send(
        one.address(),
        "POST /checkout",
        &[FORM, ("cookie", cookie)],
        BUYER,
    );
    assert_eq!(missing.status, 400);
    let first = check_out(one.address(), cookie, "k", BUYER);
    let again = check_out(two.address(), cookie, "k", BUYER);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    let changed = check_out(two.address(), cookie, "k", &BUYER.replace("Ada", "Eve"));
    assert_eq!(changed.status, 422);
    assert_eq!(
        check_out(two.address(), cookie, "fresh", BUYER).status,
        409,
        "empty cart"
    );
    // A browser sends the key as a field of the form.
    let field = format!("{BUYER}&idempotency_key=field");
    add(two.address(), cookie, 1, 1);
    let placed = send(
        two.address(),
        "POST /checkout",
        &[FORM, ("cookie", cookie)],
        &field,
    );
    assert_eq!(placed.status, 303);
    assert_eq!(
        check_invariants(&dir.path().join("shop.db"))
            .unwrap()
            .orders,
        2
    );
}

#[test]
fn while_an_order_is_being_placed_its_key_answers_409_also_at_another_replica() {
    let dir = tempfile::tempdir().unwrap();
    let slow = spawn(ShopOptions {
        database: dir.path().join("shop.db"),
        name: "slow".to_owned(),
        capacity: Capacity {
            service_time: Duration::from_secs(3),
            ..Capacity::default()
        },
        ..ShopOptions::default()
    })
    .unwrap();
    let quick = shop(dir.path(), "quick");
    add(quick.address(), "sid=s1", 1, 1);
    let at = slow.address();
    let first = std::thread::spawn(move || check_out(at, "sid=s1", "k", BUYER));
    let database = dir.path().join("shop.db");
    crate::client::until("the claim", || {
        check_invariants(&database).unwrap().running == 1
    });
    let second = check_out(quick.address(), "sid=s1", "k", BUYER);
    assert_eq!(
        (second.status, second.header("retry-after")),
        (409, Some("1"))
    );
    assert_eq!(first.join().unwrap().status, 201);
    assert_eq!(check_out(quick.address(), "sid=s1", "k", BUYER).status, 201);
}

/// Eight clients, each buying under keys that it repeats at both replicas, until the stock is gone.
#[test]
fn concurrent_replicas_sell_each_piece_once_and_place_one_order_for_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let replicas = Arc::new([shop(dir.path(), "web-1"), shop(dir.path(), "web-2")]);
    let clients: Vec<_> = (0..8u32)
        .map(|client| {
            let replicas = Arc::clone(&replicas);
            std::thread::spawn(move || {
                let cookie = format!("sid=c{client}");
                let mut placed = 0;
                for round in 0..15u32 {
                    let at = |n: u32| replicas[((client + round + n) % 2) as usize].address();
                    // 8 clients x 15 rounds x 7 pieces are more than the 400 pieces of product 1.
                    add(at(0), &cookie, 1, 7);
                    add(at(1), &cookie, 2 + round % 5, 1);
                    let key = format!("k{round}");
                    let twice: Vec<_> = (0..2)
                        .map(|n| {
                            let (to, cookie, key) = (at(n), cookie.clone(), key.clone());
                            std::thread::spawn(move || check_out(to, &cookie, &key, BUYER))
                        })
                        .collect();
                    let answers: Vec<_> = twice.into_iter().map(|t| t.join().unwrap()).collect();
                    assert!(answers.iter().all(|a| a.status == 201 || a.status == 409));
                    let ok: Vec<_> = answers.iter().filter(|a| a.status == 201).collect();
                    assert!(
                        ok.windows(2)
                            .all(|w| w[0].json()["id"] == w[1].json()["id"])
                    );
                    placed += u64::from(!ok.is_empty());
                }
                placed
            })
        })
        .collect();
    let placed: u64 = clients.into_iter().map(|c| c.join().unwrap()).sum();
    let report = check_invariants(&dir.path().join("shop.db")).unwrap();
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.orders, report.running), (placed, 0));
    assert!(
        (30..=57).contains(&placed),
        "{placed} orders of 7 or more from 400 pieces"
    );
}

#[test]
fn a_replica_killed_in_the_middle_leaves_a_sound_store() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, other) = (shop(dir.path(), "web-1"), shop(dir.path(), "web-2"));
    let (at, there) = (victim.address(), other.address());
    let buyers: Vec<_> = (0..6u32)
        .map(|client| {
            std::thread::spawn(move || {
                let cookie = format!("sid=c{client}");
                for round in 0..40u32 {
                    let product = 1 + (client + round) % 20;
                    let body = format!("product_id={product}&quantity=1");
                    let headers = [FORM, ("cookie", cookie.as_str())];
                    try_send(at, "POST /cart", &headers, &body);
                    let key = format!("k{round}");
                    let headers = [FORM, JSON, ("cookie", &cookie), ("idempotency-key", &key)];
                    if try_send(at, "POST /checkout", &headers, BUYER).is_none() {
                        // What a client does that got no answer: the same key elsewhere.
                        try_send(there, "POST /checkout", &headers, BUYER);
                    }
                }
            })
        })
        .collect();
    crate::client::until("some orders", || {
        check_invariants(&dir.path().join("shop.db"))
            .unwrap()
            .orders
            >= 20
    });
    victim.kill();
    for buyer in buyers {
        buyer.join().unwrap();
    }
    let report = check_invariants(&dir.path().join("shop.db")).unwrap();
    assert!(report.holds() && report.orders >= 20, "{report:?}");
}

#[test]
fn replicas_may_start_at_the_same_moment_on_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let starts: Vec<_> = (0..6)
        .map(|n| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || shop(&path, &format!("web-{n}")))
        })
        .collect();
    let shops: Vec<_> = starts.into_iter().map(|s| s.join().unwrap()).collect();
    assert!(
        shops
            .iter()
            .all(|shop| get(shop.address(), "/readyz").status == 200)
    );
    assert_eq!(
        check_invariants(&dir.path().join("shop.db"))
            .unwrap()
            .products,
        20
    );
}
