//! What a running instance has counted goes into the forecast of a change.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_shop::load::{Item, LoadHandle, LoadOptions, Mix};
use serde_json::Value;

use crate::support::{Home, addresses, pause, stubs, until};

/// Requests per second by each of the two routes; their sum times 1.2 is 54.
const RATES: [(&str, f64); 2] = [("/cart", 20.0), ("/", 25.0)];
/// What a backend carries: more than either pool is asked for now, less than both together.
const CAPACITY_RPS: u32 = 45;

/// `/cart` leads to a pool of its own, or to that of everything else. No pool declares a peak.
fn routes(cart: &str, backends: &[SocketAddr]) -> String {
    let routes = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nlistener = \"web\"\npath_prefix = \"/cart\"\npool = \"{cart}\"\n\
         [[route]]\nlistener = \"web\"\npool = \"shop\"\n"
    );
    let pool = |(pool, address): (&str, &SocketAddr)| {
        format!(
            "[pool.{pool}]\n[pool.{pool}.backend.b]\naddress = \"{address}\"\n\
             capacity_rps = {CAPACITY_RPS}\n"
        )
    };
    let pools = [cart, "shop"].into_iter().zip(backends);
    // A pool that both routes share stands once.
    let pools = pools.take(if cart == "shop" { 1 } else { 2 });
    routes + &pools.map(pool).collect::<String>()
}

fn load(target: SocketAddr, path: &str, rate: f64) -> LoadHandle {
    evenkeel_shop::load::start(LoadOptions {
        target: format!("http://{target}"),
        rate,
        mix: Mix::Items(vec![Item::get(path)]),
        ..LoadOptions::default()
    })
    .unwrap()
}

/// The rate that `pool` is judged at in the JSON of a plan.
fn rps(plan: &Value, pool: &str) -> Option<f64> {
    let pools = plan["forecast"]["pools"].as_array().unwrap();
    pools.iter().find(|p| p["name"] == pool).unwrap()["rps"].as_f64()
}

/// Takes a minute, because the highest minute of each route is what counts.
#[test]
fn a_change_that_sends_two_routes_to_one_pool_is_judged_by_the_sum_of_what_came_by_them() {
    let backends = stubs();
    let addresses = addresses(&backends);
    let home = Home::new(&routes("cart", &addresses));
    let instance = home.start(&[]);
    let _loads = RATES.map(|(path, rate)| load(instance.front(), path, rate));
    home.write(
        "same.toml",
        &(routes("cart", &addresses) + "\n[audit]\nevery = \"12h\"\n"),
    );
    home.write("both.toml", &routes("shop", &addresses[1..]));
    let blind = instance.cli(&["--json", "plan", "both.toml"]).json();
    assert_eq!(rps(&blind, "shop"), None, "{blind:#}");
    let (same, shop) = until("a minute of traffic", Duration::from_secs(120), || {
        pause(Duration::from_secs(2));
        let same = instance.cli(&["--json", "plan", "same.toml"]).json();
        let shop = rps(&same, "shop")?;
        Some((same, shop))
    });
    let cart = rps(&same, "cart").unwrap();
    let both = instance.cli(&["--json", "plan", "both.toml"]);
    let view = both.json();
    let sum = rps(&view, "shop").unwrap();
    // Between the two plans the highest minutes may have grown a little.
    assert!(
        (sum / (shop + cart) - 1.0).abs() < 0.1,
        "{sum} of {shop} and {cart}"
    );
    assert!((sum / 54.0 - 1.0).abs() < 0.25, "{sum}");
    let ids = |view: &Value| view["findings"].to_string();
    assert!(ids(&view).contains("CAP-01") && both.code == 3, "{view:#}");
    assert!(!ids(&same).contains("CAP-01"), "{same:#}");
}
