//! `--confirm-within` and `--keep`: what a person promised and did or did not do, also across a crash.

use std::time::Duration;

use serde_json::Value;

use crate::incident::{SECRET, receiver};
use crate::support::{Home, Instance, LOAD_RPS, PATIENCE, addresses, config, load, nobody, stubs};

/// Told apart by how often it is audited: no pool is touched, so no traffic is needed to verify it.
fn audited(every: &str) -> String {
    config(
        &nobody(),
        [1, 1, 1],
        &format!("\n[audit]\nevery = \"{every}\"\n"),
    )
}

fn same_content(instance: &Instance, a: &str, b: &str) -> bool {
    instance.ask(&format!("diff {a} {b}"))["changes"]
        .as_array()
        .unwrap()
        .is_empty()
}

fn running(status: &Value) -> &str {
    status["revision"].as_str().unwrap()
}

fn state_of(instance: &Instance, id: &str) -> String {
    let history = instance.ask("history");
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
        .ends(
            "--json apply next.toml --yes --confirm-within 14s --reason try",
            0,
        )
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
        .ends(
            "--json apply next.toml --yes --force --confirm-within 12s --wait 0s --reason again",
            0,
        )
        .json();
    let id = again["revision"].as_str().unwrap().to_owned();
    instance.ends("confirm", 0);
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
            .ends(
                &format!(
                    "--json apply next.toml --yes --confirm-within 16s --wait {wait} --reason try"
                ),
                0,
            )
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
fn keep_pages_at_once_suspends_the_automatic_rollback_and_leaves_it_to_a_person() {
    let (chat, pages) = receiver();
    let backends = stubs();
    let addresses = addresses(&backends);
    let more =
        format!("\n[notify.chat]\nurl = \"http://{chat}/\"\nsecret_file = \"hook.secret\"\n");
    let home = Home::new(&config(&addresses, [1, 1, 1], &more));
    home.write("hook.secret", SECRET);
    home.write("typo.toml", &config(&addresses, [10, 1, 1], &more));
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), LOAD_RPS);
    instance.when("the end of the hold of a start", PATIENCE, |s| {
        s["hold"].is_null()
    });
    let forced = [
        "apply",
        "typo.toml",
        "--yes",
        "--wait",
        "0s",
        "--force",
        "--reason",
        "to see the limit",
        "--keep",
    ];
    let kept = |time: &'static str| [&forced[..], &[time]].concat();
    instance.cli(&kept("5h")).expect(64);
    assert_eq!(instance.status()["revision"], "r1");
    instance.cli(&kept("10m")).expect(0);
    let page = pages.recv_timeout(PATIENCE).unwrap();
    assert!(page.body.contains("r2"), "{page:?}");

    // The typo of the outage test, for six times as long as it takes to be undone there.
    crate::support::pause(Duration::from_secs(12));
    let status = instance.status();
    assert_eq!(running(&status), "r2", "{status:#}");
    assert!(!status["keep_until"].is_null(), "{status:#}");
    let first = &status["pools"][0]["backends"][0];
    assert!(first["observed_share"].as_f64().unwrap() > 0.7, "{first:#}");
    assert_eq!(first["verdict"], "explained", "{first:#}");
    assert!(
        first["reason"].as_str().unwrap().contains("--keep"),
        "{first:#}"
    );

    let back = instance
        .ends("--json rollback --yes --reason 'seen enough'", 0)
        .json();
    assert_eq!(back["parent"], "r2", "{back:#}");
    let after = instance.when("even shares", PATIENCE, |s| {
        let share = s["pools"][0]["backends"][0]["observed_share"].as_f64();
        share.is_some_and(|share| share < 0.35) && s["keep_until"].is_null()
    });
    assert!(same_content(&instance, "r1", running(&after)));
}
