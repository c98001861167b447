//! `--confirm-within` and `--keep`: what a person promised and did or did not do, also across a crash.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, Instance, LOAD_RPS, PATIENCE, config, load, stubs};

/// Backends that nobody needs to reach.
fn nobody() -> [SocketAddr; 3] {
    [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Told apart by how often it is audited: no pool is touched, so no traffic is needed to verify it.
fn audited(every: &str) -> String {
    config(
        &nobody(),
        [1, 1, 1],
        &format!("\n[audit]\nevery = \"{every}\"\n"),
    )
}

fn same_content(instance: &Instance, a: &str, b: &str) -> bool {
    instance.json(&["diff", a, b])["changes"]
        .as_array()
        .unwrap()
        .is_empty()
}

fn running(status: &Value) -> &str {
    status["revision"].as_str().unwrap()
}

fn state_of(instance: &Instance, id: &str) -> String {
    let history = instance.json(&["history"]);
    let revisions = history["revisions"].as_array().unwrap();
    let found = revisions.iter().find(|r| r["id"] == id).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

#[test]
fn an_unconfirmed_change_is_undone_at_its_deadline_and_a_confirmed_one_stays() {
    let home = Home::new(&audited("24h"));
    home.write("next.toml", &audited("12h"));
    let instance = home.start(&[]);
    let done = instance
        .cli(&[
            "--json",
            "apply",
            "next.toml",
            "--yes",
            "--confirm-within",
            "14s",
            "--reason",
            "try",
        ])
        .expect(0)
        .json();
    assert_eq!(done["revision"], "r2");
    assert!(
        !instance.status()["confirm_by"].is_null(),
        "the window is shown"
    );
    let after = instance.when("the deadline", PATIENCE, |s| running(s) != "r2");
    assert!(after["confirm_by"].is_null());
    assert_eq!(state_of(&instance, "r2"), "rolled_back");
    assert!(same_content(&instance, "r1", running(&after)));

    // The same content again, confirmed in time: nothing happens at the deadline.
    let again = instance
        .cli(&[
            "--json",
            "apply",
            "next.toml",
            "--yes",
            "--force",
            "--confirm-within",
            "12s",
            "--wait",
            "0s",
            "--reason",
            "again",
        ])
        .expect(0)
        .json();
    let id = again["revision"].as_str().unwrap().to_owned();
    instance.cli(&["confirm"]).expect(0);
    assert!(instance.status()["confirm_by"].is_null());
    crate::support::pause(Duration::from_secs(14));
    assert_eq!(running(&instance.status()), id);
    assert_eq!(state_of(&instance, &id), "confirmed");
}

#[test]
fn an_unconfirmed_change_does_not_outlive_its_deadline_by_a_kill() {
    for evidence_first in [false, true] {
        let home = Home::new(&audited("24h"));
        home.write("next.toml", &audited("12h"));
        let instance = home.start(&[]);
        let wait = if evidence_first { "30s" } else { "0s" };
        let done = instance
            .cli(&[
                "--json",
                "apply",
                "next.toml",
                "--yes",
                "--confirm-within",
                "16s",
                "--wait",
                wait,
                "--reason",
                "try",
            ])
            .expect(0)
            .json();
        let expected = if evidence_first {
            "verified"
        } else {
            "verifying"
        };
        assert_eq!(done["state"], expected, "{done:#}");
        instance.kill();
        let instance = home.start(&[]);
        let after = instance.when("the deadline after a restart", PATIENCE, |s| {
            s["confirm_by"].is_null() && running(s) != "r2"
        });
        assert!(same_content(&instance, "r1", running(&after)), "{after:#}");
        assert_ne!(
            state_of(&instance, "r2"),
            "verified",
            "no later start runs it"
        );
        assert!(instance.stop().success());
        let instance = home.start(&[]);
        let status = instance.status();
        assert!(
            same_content(&instance, "r1", running(&status)),
            "{status:#}"
        );
    }
}

#[test]
fn keep_suspends_the_automatic_rollback_counts_down_and_leaves_it_to_a_person() {
    let backends = stubs();
    let addresses: Vec<SocketAddr> = backends
        .iter()
        .map(evenkeel_shop::ServerHandle::address)
        .collect();
    let home = Home::new(&config(&addresses, [1, 1, 1], ""));
    home.write("typo.toml", &config(&addresses, [10, 1, 1], ""));
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), LOAD_RPS);
    instance.when("the end of the hold of a start", PATIENCE, |s| {
        s["hold"].is_null()
    });
    instance
        .cli(&[
            "apply",
            "typo.toml",
            "--yes",
            "--wait",
            "0s",
            "--force",
            "--keep",
            "5h",
            "--reason",
            "too long",
        ])
        .expect(64);
    instance
        .cli(&[
            "apply",
            "typo.toml",
            "--yes",
            "--wait",
            "0s",
            "--force",
            "--keep",
            "10m",
            "--reason",
            "a test of the limit",
        ])
        .expect(0);
    let status = instance.when("an incident", PATIENCE, |s| !s["incident"].is_null());
    assert!(!status["keep_until"].is_null(), "{status:#}");
    crate::support::pause(Duration::from_secs(10));
    let status = instance.status();
    assert_eq!(
        (running(&status), status["state"].as_str()),
        ("r2", Some("incident")),
        "{status:#}"
    );
    let id = status["incident"].as_str().unwrap().to_owned();
    let back = instance
        .cli(&["--json", "rollback", "--yes", "--reason", "seen enough"])
        .expect(0)
        .json();
    assert_eq!(back["parent"], "r2", "{back:#}");
    let after = instance.when("recovery", Duration::from_secs(40), |s| {
        s["incident"].is_null()
    });
    assert!(same_content(&instance, "r1", running(&after)));
    let incident = instance.json(&["incident", "show", &id]);
    assert_eq!(
        incident["diagnosis"]["cause"], "config_revision",
        "{incident:#}"
    );
    assert_eq!(incident["status"], "resolved");
}
