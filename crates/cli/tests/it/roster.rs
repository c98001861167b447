//! Who takes traffic when something happens to backends, on the real binary: levels of priority, slow start, ejection.

use std::time::{Duration, Instant};

use evenkeel_shop::capacity::Capacity;
use evenkeel_shop::fault::{Fault, FaultKind, HealthAnswer};
use evenkeel_shop::stub::StubOptions;
use serde_json::Value;

use crate::support::{Home, PATIENCE, heavy, stubs};
use crate::wire::{Honest, addresses, config};

const CHECKED: &str =
    "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"100ms\"\nrise = 1\nfall = 1\n";

fn of<'s>(status: &'s Value, index: usize, key: &str) -> &'s Value {
    &status["pools"][0]["backends"][index][key]
}

fn expected(status: &Value, index: usize) -> f64 {
    of(status, index, "expected_share").as_f64().unwrap_or(-1.0)
}

fn observed(status: &Value, index: usize) -> f64 {
    of(status, index, "observed_share").as_f64().unwrap_or(-1.0)
}

fn reason(status: &Value, index: usize) -> &str {
    of(status, index, "reason").as_str().unwrap_or_default()
}

fn unwell() -> Fault {
    Fault {
        kind: FaultKind::Health {
            answer: HealthAnswer::Fail,
        },
        ttl: Duration::from_secs(60),
    }
}

#[test]
fn the_next_level_joins_in_proportion_when_a_level_is_half_down() {
    let _alone = heavy();
    let stubs = stubs();
    let mut text = config(&addresses(&stubs), "", CHECKED);
    text.push_str("priority = 1\n");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    let status = instance.when("the first level takes all", PATIENCE, |s| {
        observed(s, 0) > 0.45 && observed(s, 1) > 0.45
    });
    assert!(expected(&status, 2).abs() < 1e-9, "{status}");
    assert!(reason(&status, 2).starts_with("standby"), "{status}");
    stubs[0].inject(unwell()).unwrap();
    let status = instance.when("the second level helps", PATIENCE, |s| {
        (observed(s, 1) - 0.7).abs() < 0.08 && (observed(s, 2) - 0.3).abs() < 0.08
    });
    assert!((expected(&status, 2) - 0.3).abs() < 0.01, "{status}");
    assert!(
        reason(&status, 2).contains("this level takes 30 %"),
        "{status}"
    );
    assert_eq!(of(&status, 2, "verdict"), "explained");
    stubs[0].clear_faults();
    instance.when("the second level waits again", PATIENCE, |s| {
        expected(s, 2).abs() < 1e-9 && (observed(s, 0) - 0.5).abs() < 0.08
    });
    traffic.unharmed();
}

#[test]
fn two_instances_prefer_their_zones_and_give_every_backend_its_part() {
    let _alone = heavy();
    let stubs = stubs();
    let places = ["a", "b", "b"];
    let pool = format!("zone_aware = true\n{CHECKED}");
    let instances = ["a", "b"].map(|zone| {
        let mut text = config(&addresses(&stubs), "", &pool);
        for (index, place) in places.iter().enumerate() {
            let header = format!("[pool.shop.backend.web-{}]\n", index + 1);
            text = text.replace(&header, &format!("{header}zone = \"{place}\"\n"));
        }
        Home::new(&format!("zone = \"{zone}\"\n{text}"))
    });
    let [a, b] = instances.each_ref().map(|home| home.start(&[]));
    let traffic = [&a, &b].map(|instance| Honest::start(instance.front(), 150.0));
    let near = |s: &Value, index, share: f64| (observed(s, index) - share).abs() < 0.07;
    // A third of the backends for half of the traffic: zone a keeps two thirds of its own.
    let status = a.when("zone a spills a third", PATIENCE, |s| {
        near(s, 0, 2.0 / 3.0) && near(s, 1, 1.0 / 6.0) && near(s, 2, 1.0 / 6.0)
    });
    assert!((expected(&status, 0) - 2.0 / 3.0).abs() < 0.01, "{status}");
    let said = "zone a: local, takes 67 %";
    assert!(reason(&status, 0).contains(said), "{status}");
    assert!(reason(&status, 1).contains("zone b: takes 33 % of what comes in in zone a"));
    let status = b.when("zone b keeps its own", PATIENCE, |s| {
        near(s, 1, 0.5) && near(s, 2, 0.5)
    });
    assert!(
        reason(&status, 0).starts_with("standby: zone a"),
        "{status}"
    );
    let said = "zone b: local, takes all that comes in there; weight 1 of 2";
    assert!(reason(&status, 1).starts_with(said), "{status}");
    let total: f64 = [(&a, 0), (&b, 0)]
        .map(|(i, n)| observed(&i.status(), n))
        .iter()
        .sum();
    assert!((total / 2.0 - 1.0 / 3.0).abs() < 0.07, "{total}");
    // One of b is gone: both zones are half of what is left, and each keeps its own.
    stubs[1].inject(unwell()).unwrap();
    a.when("zone a keeps its own", PATIENCE, |s| near(s, 0, 1.0));
    b.when("zone b has one backend", PATIENCE, |s| near(s, 2, 1.0));
    // Zone a is gone: its instance serves from zone b.
    stubs[1].clear_faults();
    stubs[0].inject(unwell()).unwrap();
    a.when("zone b serves zone a", PATIENCE, |s| {
        near(s, 1, 0.5) && near(s, 2, 0.5)
    });
    for traffic in traffic {
        traffic.unharmed();
    }
}

#[test]
fn an_instance_uses_its_subset_and_replaces_who_is_out() {
    let _alone = heavy();
    let stubs = stubs();
    let pool = format!("subset = {{ size = 2 }}\n{CHECKED}");
    let text = config(&addresses(&stubs), "", &pool);
    let home = Home::new(&format!("instance = \"lb-1\"\n{text}"));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 150.0);
    let outside =
        |s: &Value| (0..3).find(|i| reason(s, *i).starts_with("not in this instance's subset"));
    let half = |s: &Value, index| (observed(s, index) - 0.5).abs() < 0.08;
    let status = instance.when("two of three are used", PATIENCE, |s| {
        outside(s).is_some_and(|out| (0..3).all(|i| i == out || half(s, i)))
    });
    let out = outside(&status).unwrap();
    assert!(expected(&status, out).abs() < 1e-9, "{status}");
    assert!(observed(&status, out).abs() < 0.01, "{status}");
    let gone = (out + 1) % 3;
    stubs[gone].inject(unwell()).unwrap();
    instance.when("the third takes its place", PATIENCE, |s| {
        half(s, out) && expected(s, gone).abs() < 1e-9
    });
    stubs[gone].clear_faults();
    instance.when("and leaves again", PATIENCE, |s| outside(s) == Some(out));
    traffic.unharmed();
}

#[test]
fn a_backend_that_comes_back_gets_more_and_more_and_is_never_starved() {
    let _alone = heavy();
    let stubs = stubs();
    let pool = format!("slow_start = \"8s\"\n{CHECKED}");
    let home = Home::new(&config(&addresses(&stubs), "", &pool));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    let status = instance.when("all share evenly at the start", PATIENCE, |s| {
        observed(s, 2) > 0.3
    });
    assert!(!reason(&status, 2).contains("slow start"), "{status}");
    stubs[2].inject(unwell()).unwrap();
    instance.when("web-3 is out", PATIENCE, |s| of(s, 2, "health") == "down");
    stubs[2].clear_faults();
    instance.when("web-3 starts slowly", PATIENCE, |s| {
        reason(s, 2).contains("slow start")
    });
    let begun = Instant::now();
    let mut last = 0.0;
    while begun.elapsed() < Duration::from_secs(30) {
        let status = instance.status();
        let share = expected(&status, 2);
        assert!(share >= last - 1e-9, "{status}");
        assert!(share > 0.04, "at least a tenth of its weight: {status}");
        last = share;
        if !reason(&status, 2).contains("slow start") {
            break;
        }
        assert_eq!(of(&status, 2, "verdict"), "explained", "{status}");
    }
    assert!((last - 1.0 / 3.0).abs() < 0.01, "{last}");
    assert!(begun.elapsed() > Duration::from_secs(5));
    instance.when("it gets its whole share", PATIENCE, |s| {
        (observed(s, 2) - 1.0 / 3.0).abs() < 0.05
    });
    traffic.unharmed();
}

#[test]
fn a_backend_that_cuts_every_connection_is_ejected_without_any_check() {
    let _alone = heavy();
    let stubs = stubs();
    let pool = "[pool.shop.ejection]\ntime = \"3s\"\n";
    let home = Home::new(&config(&addresses(&stubs), "", pool));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    instance.when("all share evenly", PATIENCE, |s| observed(s, 1) > 0.3);
    let broken = Fault {
        kind: FaultKind::Refuse,
        ttl: Duration::from_secs(60),
    };
    stubs[1].inject(broken).unwrap();
    let status = instance.when("web-2 is ejected", PATIENCE, |s| {
        reason(s, 1).starts_with("ejected until")
    });
    // By the row, or by the comparison where the second in which it broke had answers still.
    let by_rule = ["failures in a row", "of its requests fail"];
    assert!(
        by_rule.iter().any(|rule| reason(&status, 1).contains(rule)),
        "{status}"
    );
    assert!(expected(&status, 1).abs() < 1e-9, "{status}");
    assert!((expected(&status, 0) - 0.5).abs() < 0.01, "{status}");
    stubs[1].clear_faults();
    instance.when("web-2 is back", PATIENCE, |s| {
        of(s, 1, "health") == "up" && (expected(s, 1) - 1.0 / 3.0).abs() < 0.01
    });
    // Every refused connection was tried again elsewhere.
    traffic.unharmed();
}

#[test]
fn backends_that_report_their_load_come_to_be_utilised_alike() {
    let _alone = heavy();
    let stubs = [40, 20, 10].map(|ms| {
        evenkeel_shop::spawn_stub(StubOptions {
            capacity: Capacity {
                workers: 4,
                service_time: Duration::from_millis(ms),
                ..Capacity::default()
            },
            ..StubOptions::default()
        })
        .unwrap()
    });
    let pool = format!("reported = {{ period = \"3s\", signal = \"application\" }}\n{CHECKED}");
    let home = Home::new(&config(&addresses(&stubs), "", &pool));
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 240.0);
    let status = instance.when("the quick one has the most", PATIENCE, |s| {
        observed(s, 2) > 0.45 && observed(s, 0) < 0.25
    });
    for index in 0..3 {
        assert!(
            reason(&status, index).starts_with("reported load: "),
            "{status}"
        );
        assert_eq!(of(&status, index, "verdict"), "explained", "{status}");
        let apart = observed(&status, index) - expected(&status, index);
        assert!(apart.abs() < 0.12, "{status}");
        let intended = of(&status, index, "intended_share").as_f64().unwrap();
        assert!(
            (intended - expected(&status, index)).abs() < 1e-6,
            "{status}"
        );
    }
    assert_eq!(status["pools"][0]["incident"], Value::Null, "{status}");
    traffic.unharmed();
}
