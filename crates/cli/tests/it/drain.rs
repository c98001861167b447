//! Drains on the real binary: judged, seen, ended, kept over a kill, and kind to bound clients.

use std::sync::mpsc::channel;

use serde_json::Value;

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, addresses, config, has_keys, heavy, request, stubs, until,
};
use crate::wire::{self, Honest, Origin, field};

fn of<'s>(status: &'s Value, index: usize, key: &str) -> &'s Value {
    &status["pools"][0]["backends"][index][key]
}

fn share(status: &Value, index: usize, key: &str) -> f64 {
    of(status, index, key).as_f64().unwrap_or(-1.0)
}

fn is_drained(status: &Value) -> bool {
    status["drains"]
        .as_array()
        .is_some_and(|drains| !drains.is_empty())
}

fn is_refused_with_figures(instance: &Instance) {
    let refused = instance.ends("drain shop/web-1 --reason disk", 3);
    for part in [
        "CAP-01",
        "83.3 % of its capacity of 60 rps",
        "--force --reason",
    ] {
        assert!(refused.err.contains(part), "{part}: {refused:#?}");
    }
    let refused = instance.ends("--json drain shop/web-1", 3).json();
    assert_eq!(refused["state"], "refused");
    assert_eq!(refused["findings"][0]["id"], "CAP-01");
    assert_eq!(refused["forecast"]["backends"][0]["expected_share"], 0.0);
    assert!(!is_drained(&instance.status()));
    instance.ends("drain shop/web-1 --force", 64);
}

fn is_shown_when_forced(instance: &Instance) {
    let view = instance.ask("drain shop/web-1 --for 30m --force --reason 'new disk'");
    has_keys(
        &view,
        "pool backend state until reason author findings forecast message",
    );
    assert_eq!(
        (&view["state"], &view["reason"]),
        (&Value::from("drained"), &Value::from("new disk"))
    );
    let status = instance.status();
    let drain = &status["drains"][0];
    has_keys(
        drain,
        "pool backend since until seconds_left author reason in_flight",
    );
    assert_eq!(drain["backend"], "web-1");
    let left = drain["seconds_left"].as_u64().unwrap();
    assert!((1_700..=1_800).contains(&left), "{left}");
    assert_eq!(of(&status, 0, "verdict"), "explained");
    let reason = of(&status, 0, "reason").as_str().unwrap();
    assert!(
        reason.starts_with("drained until") && reason.contains("new disk"),
        "{reason}"
    );
    assert!((share(&status, 1, "intended_share") - 0.5).abs() < 1e-9);
}

#[test]
fn a_drain_is_judged_with_figures_forced_with_a_reason_shown_and_ended() {
    let stubs = stubs();
    // Two of three carry 83 % of their capacity at this peak; 80 % is the limit.
    let text = config(&addresses(&stubs), [1, 1, 1], "").replace("peak_rps = 90", "peak_rps = 100");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    is_refused_with_figures(&instance);
    is_shown_when_forced(&instance);
    // No force leaves fewer than min_healthy.
    let few = instance.ends("drain shop/web-2 --force --reason x", 3);
    assert!(
        few.err.contains("CHG-04") && few.err.contains("would have 1 live backends, 2 are needed"),
        "{few:#?}"
    );
    let text = instance.ends("status", 0).out;
    assert!(text.contains("drained: shop/web-1 until"), "{text}");
    let (_, page) = request(instance.admin, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(page.contains("evenkeel undrain shop/web-1"), "{page}");

    instance.ends("undrain shop/web-1", 0);
    assert!(!is_drained(&instance.status()));
    let again = instance.ends("undrain shop/web-1", 0);
    assert!(again.out.contains("is not drained"), "{again:#?}");
    let history = instance.ask("history");
    let lines = history["drains"].as_array().unwrap();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "drain.ended",
            "drain.refused",
            "drain.begun",
            "drain.refused",
            "drain.refused"
        ]
    );
    assert_eq!(lines[2]["subject"], "backend:shop/web-1");
    instance.kill();
    home.ends("--admin 127.0.0.1:1 --data data drain shop/web-1", 69);
}

#[test]
fn what_is_not_there_is_a_wrong_argument_and_its_neighbour_is_named() {
    let home = Home::new(&config(&crate::support::nobody(), [1, 1, 1], ""));
    let instance = home.start(&[]);
    for (line, said) in [
        (
            "drain shp/web-1",
            "there is no pool `shp`; did you mean `shop`?",
        ),
        (
            "drain shop/wep-1",
            "pool `shop` has no backend `wep-1`; did you mean `web-1`?",
        ),
        (
            "undrain shop/x",
            "pool `shop` has no backend `x`; there are `web-1`, `web-2`, `web-3`",
        ),
        ("drain shop", "POOL/BACKEND"),
        ("drain shop/web-1 --for 25h", "at most 1d"),
        ("drain shop/web-1 --for 0s", "more than nothing"),
    ] {
        let ran = instance.ends(line, 64);
        assert!(ran.err.contains(said), "{line}: {ran:#?}");
    }
}

#[test]
fn a_drained_backend_gets_nothing_until_its_deadline_and_no_client_notices() {
    let _alone = heavy();
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), [1, 1, 1], ""));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), LOAD_RPS);
    instance.when("all share evenly", PATIENCE, |s| {
        share(s, 1, "observed_share") > 0.3
    });
    let view = instance.ask("drain shop/web-2 --for 14s --wait 10s");
    assert_eq!(view["in_flight"], 0, "{view}");
    let picks = |status: &Value| -> u64 {
        let workers = status["workers"].as_array().unwrap().iter();
        let backends = workers.flat_map(|w| w["backends"].as_array().unwrap());
        let mine = backends.filter(|b| b["backend"] == "web-2");
        mine.map(|b| b["picks"].as_u64().unwrap()).sum()
    };
    let before = instance.when("its last picks are counted", PATIENCE, |s| {
        of(s, 1, "observed_share") == 0.0
    });
    let later = instance.when("more traffic", PATIENCE, |s| {
        share(s, 0, "observed_share") > 0.45
    });
    assert_eq!(picks(&later), picks(&before));
    assert_eq!(of(&later, 1, "verdict"), "explained");
    instance.when("it ends by itself", PATIENCE, |s| !is_drained(s));
    instance.when("it has its share again", PATIENCE, |s| {
        share(s, 1, "observed_share") > 0.3
    });
    let history = instance.ask("history");
    let last = history["drains"][0]["text"].as_str().unwrap();
    assert_eq!(last, "the drain of shop/web-2 reached its deadline");
    traffic.unharmed();
}

#[test]
fn a_drain_outlives_a_kill_an_apply_and_a_rollback() {
    let home = Home::new(&config(&crate::support::nobody(), [1, 1, 1], "").replace(
        "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"1s\"\n",
        "",
    ));
    let instance = home.start(&[]);
    instance.ends("drain shop/web-3 --reason 'new disk'", 0);
    let drained = |instance: &Instance| {
        let status = instance.status();
        assert!(share(&status, 2, "expected_share").abs() < 1e-9, "{status}");
        let reason = of(&status, 2, "reason").as_str().unwrap();
        assert!(reason.contains("new disk"), "{reason}");
        let drain = &status["drains"][0];
        (
            drain["since"].clone(),
            drain["until"].clone(),
            drain["author"].clone(),
        )
    };
    let first = drained(&instance);
    instance.kill();
    let instance = home.start(&[]);
    assert_eq!(drained(&instance), first);
    let text = std::fs::read_to_string(home.dir().join("evenkeel.toml")).unwrap();
    home.write(
        "next.toml",
        &text.replace("headroom = \"20%\"", "headroom = \"19%\""),
    );
    instance.ends("apply next.toml --yes --wait 0s --reason test", 0);
    assert_eq!(drained(&instance), first);
    instance.ends("rollback --yes --reason test", 0);
    assert_eq!(drained(&instance), first);
    instance.ends("undrain shop/web-3", 0);
    instance.kill();
    let instance = home.start(&[]);
    assert!(!is_drained(&instance.status()));
}

#[test]
fn clients_that_a_cookie_binds_stay_and_new_ones_go_elsewhere() {
    let origins = ["1", "2", "3"].map(Origin::saying);
    let backends: Vec<String> = origins.iter().map(Origin::text).collect();
    let home = Home::new(&wire::config(
        &backends,
        "",
        "sticky = { cookie = \"ek\", ttl = \"1h\" }",
    ));
    let instance = home.start(&[]);
    let visit = |cookie: &str| {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: a=1; {cookie}\r\nConnection: close\r\n\r\n"
        );
        let (head, body) = request(instance.front(), &head);
        let set = field(&head, "set-cookie").map(|set| set.split(';').next().unwrap().to_owned());
        (body, set)
    };
    let cookie = until("a client of web-1", PATIENCE, || {
        let (body, set) = visit("b=2");
        set.filter(|_| body == "1")
    });
    instance.ends("drain shop/web-1 --wait", 0);
    for _ in 0..20 {
        assert_eq!(visit(&cookie), ("1".to_owned(), None));
        assert_ne!(visit("b=2").0, "1");
    }
    let status = instance.status();
    let reason = of(&status, 0, "reason").as_str().unwrap();
    assert!(reason.ends_with("clients with cookie ek stay"), "{reason}");
    assert!(share(&status, 0, "intended_share").abs() < 1e-9);
    instance.ends("undrain shop/web-1", 0);
    until("new clients come", PATIENCE, || {
        (visit("b=2").0 == "1").then_some(())
    });
}

#[test]
fn wait_returns_when_the_last_request_is_answered_or_its_time_is_over() {
    let (let_go, held) = channel::<()>();
    let (arrived, arrives) = channel::<()>();
    let shared = std::sync::Mutex::new((held, arrived));
    let slow = Origin::start(move |conn| {
        while conn.request().is_some() {
            let shared = shared.lock().unwrap();
            shared.1.send(()).unwrap();
            shared.0.recv_timeout(PATIENCE).unwrap();
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
        }
    });
    let fast = Origin::saying("fast");
    let home = Home::new(&wire::config(&[slow.text(), fast.text()], "", ""));
    let instance = home.start(&[]);
    let front = instance.front();
    let clients: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || wire::get(front, "/").body().to_owned()))
        .collect();
    arrives.recv_timeout(PATIENCE).unwrap();
    let late = instance.ends("--json drain shop/web-1 --wait 2s", 1).json();
    assert!(late["in_flight"].as_u64().unwrap() >= 1, "{late}");
    assert!(
        late["message"]
            .as_str()
            .unwrap()
            .contains("still requests in flight")
    );
    for _ in 0..4 {
        let_go.send(()).unwrap();
    }
    let empty = instance
        .ends("--json drain shop/web-1 --wait 20s", 0)
        .json();
    assert_eq!(empty["in_flight"], 0);
    for client in clients {
        assert!(["slow", "fast"].contains(&client.join().unwrap().as_str()));
    }
}
