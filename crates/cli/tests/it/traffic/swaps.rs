//! Swaps under load: members that come and go, guarded changes, reloads. No request may notice.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_shop::fault::{Fault, FaultKind, HealthAnswer};
use serde_json::Value;

use crate::support::{Home, PATIENCE, heavy, long, stubs};
use crate::wire::{Honest, addresses, config};

const CHECKED: &str = r#"[pool.shop.health]
path = "/healthz"
interval = "100ms"
rise = 1
fall = 1
"#;

fn health_of(status: &Value, index: usize) -> &str {
    status["pools"][0]["backends"][index]["health"]
        .as_str()
        .unwrap()
}

#[test]
fn swaps_under_load_fail_no_request() {
    let _alone = heavy();
    let (flips, applies) = if long() { (200, 10) } else { (50, 2) };
    let stubs = stubs();
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("access.log");
    let text =
        format!("access_log = \"{}\"\n", log.display()) + &config(&addresses(&stubs), "", CHECKED);
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let traffic = Honest::start(instance.front(), 200.0);
    let flapping = &stubs[2];
    for _flip in 0..flips / 2 {
        flapping
            .inject(Fault {
                kind: FaultKind::Health {
                    answer: HealthAnswer::Fail,
                },
                ttl: Duration::from_secs(60),
            })
            .unwrap();
        instance.when("web-3 is out", PATIENCE, |s| health_of(s, 2) == "down");
        flapping.clear_faults();
        instance.when("web-3 is back", PATIENCE, |s| health_of(s, 2) == "up");
    }
    for n in 0..applies {
        // Timeouts change nothing that traffic at this rate could notice.
        let seconds = 10 + n;
        let edited = text.replace(
            "[pool.shop]\n",
            &format!("[pool.shop]\nidle_timeout = \"{seconds}s\"\n"),
        );
        home.write("next.toml", &edited);
        let applied = instance.cli(&["--json", "apply", "next.toml", "--yes", "--wait", "80s"]);
        let applied = applied.expect(0).json();
        assert_eq!(applied["state"], "verified", "{applied}");
    }
    let served = traffic.unharmed();
    assert_eq!(instance.stop().code(), Some(0));
    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines.len() as u64,
        served,
        "one line a request, none lost at the end"
    );
    let epochs: BTreeSet<u64> = lines.iter().filter_map(|l| l["epoch"].as_u64()).collect();
    let revisions: BTreeSet<&str> = lines
        .iter()
        .filter_map(|l| l["revision"].as_str())
        .collect();
    assert!(
        epochs.len() > flips,
        "{} epochs carried traffic",
        epochs.len()
    );
    assert_eq!(revisions.len(), 1 + applies, "{revisions:?}");
}
