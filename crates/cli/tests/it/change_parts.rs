//! A change that moves much, on the real binary: it comes in by parts, each seen in `status`, and is verified.

use std::time::Duration;

use evenkeel_shop::ServerHandle;
use serde_json::Value;

use crate::support::{Home, PATIENCE, heavy, load, stubs, until};

/// Requests per second.
const RATE: f64 = 300.0;

fn config(stubs: &[ServerHandle], weights: [u32; 2]) -> String {
    let head = r#"[admin]
address = "127.0.0.1:0"
[listener.web]
address = "127.0.0.1:0"
[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"
[pool.shop]
intent = "weight"
harmed_clients_min = 1
[pool.shop.health]
path = "/healthz"
interval = "1s"
"#;
    let backend = |(n, (stub, weight)): (usize, (&ServerHandle, u32))| {
        let (name, address) = (n + 1, stub.address());
        format!("[pool.shop.backend.web-{name}]\naddress = \"{address}\"\nweight = {weight}\n")
    };
    let backends = stubs.iter().zip(weights).enumerate().map(backend);
    head.to_owned() + &backends.collect::<String>()
}

fn of_first(status: &Value, key: &str) -> f64 {
    let backend = &status["pools"][0]["backends"][0];
    backend[key].as_f64().unwrap_or(-1.0)
}

#[test]
fn a_change_that_moves_30_points_comes_in_by_three_parts_and_is_verified() {
    let _alone = heavy();
    let stubs = stubs();
    let stubs = &stubs[..2];
    let home = Home::new(&config(stubs, [1, 1]));
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), RATE);
    instance.when("half of it goes to each", PATIENCE, |s| {
        (of_first(s, "observed_share") - 0.5).abs() < 0.05
    });
    home.write("next.toml", &config(stubs, [4, 1]));
    let applied = instance.ask("apply next.toml --yes --wait 0s --reason 'web-1 has grown'");
    assert_eq!(applied["state"], "verifying", "{applied:#}");
    let mut seen: Vec<f64> = Vec::new();
    let end = until("its verification", Duration::from_secs(90), || {
        let status = instance.status();
        let intended = of_first(&status, "intended_share");
        if seen
            .last()
            .is_none_or(|last| (last - intended).abs() > 1e-6)
        {
            seen.push(intended);
        }
        let history = instance.ask("history");
        (history["revisions"][0]["state"] == "verified").then_some(status)
    });
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (seen, due) in seen.iter().zip([0.6, 0.7, 0.8]) {
        assert!((seen - due).abs() < 1e-3, "{seen} {due}");
    }
    assert!(
        (of_first(&end, "observed_share") - 0.8).abs() < 0.05,
        "{end:#}"
    );
    assert_eq!(end["incident"], Value::Null);

    // Nobody waits for parts who forces a change.
    home.write("back.toml", &config(stubs, [1, 1]));
    instance.ask("apply back.toml --yes --wait 0s --force --reason 'at once, please'");
    let status = instance.status();
    assert!((of_first(&status, "intended_share") - 0.5).abs() < 1e-6);
}
