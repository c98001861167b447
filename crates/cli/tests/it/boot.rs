//! What a start runs: the journal is the truth, CONFIG a proposal.

use std::time::Duration;

use crate::support::{Home, Instance, PATIENCE, config, nobody, until};

/// A configuration told apart by how often it is audited: no pool is touched, so no traffic is needed to verify it.
fn audited(every: &str) -> String {
    config(
        &nobody(),
        [1, 1, 1],
        &format!("\n[audit]\nevery = \"{every}\"\n"),
    )
}

fn revision(instance: &Instance) -> String {
    instance.status()["revision"].as_str().unwrap().to_owned()
}

#[test]
fn an_empty_journal_takes_config_as_its_verified_baseline() {
    let home = Home::new(&audited("24h"));
    let instance = home.start(&[]);
    let history = instance.ask("history");
    let first = &history["revisions"][0];
    assert_eq!(
        (first["id"].as_str(), first["state"].as_str()),
        (Some("r1"), Some("verified"))
    );
    assert!(first["parent"].is_null() && first["forced"] == false);
    assert!(instance.stop().success());
}

#[test]
fn a_first_config_with_an_audit_error_ends_with_78_unless_forced_with_a_reason() {
    let home = Home::new(&config(&nobody(), [10, 1, 1], ""));
    let run = ["run", "evenkeel.toml", "--data", "data"];
    let refused = home.offline(&run).expect(78);
    assert!(
        refused.err.contains("TRF-02") && refused.err.contains("--force --reason"),
        "{refused:#?}"
    );
    let mut forced = run.to_vec();
    forced.push("--force");
    home.offline(&forced).expect(64);
    let instance = home.start(&["--force", "--reason", "as agreed"]);
    let history = instance.ask("history");
    let first = &history["revisions"][0];
    assert_eq!(
        (first["forced"].as_bool(), first["reason"].as_str()),
        (Some(true), Some("as agreed"))
    );
    assert!(instance.stop().success());
}

#[test]
fn the_verified_revision_boots_whatever_config_says_and_config_runs_only_when_asked() {
    let home = Home::new(&audited("24h"));
    assert!(home.start(&[]).stop().success());

    // Changed: the verified one boots, the difference is shown; SIGHUP applies it without force.
    home.write("evenkeel.toml", &audited("12h"));
    let instance = home.start(&[]);
    let status = instance.status();
    assert_eq!(
        (status["revision"].as_str(), status["state"].as_str()),
        (Some("r1"), Some("drift"))
    );
    let said = status["drift"].as_str().unwrap();
    assert!(
        said.contains("evenkeel plan") && said.contains("evenkeel apply"),
        "{said}"
    );
    assert!(instance.log().contains("drift: "), "{}", instance.log());
    instance.signal("HUP");
    instance.when("SIGHUP applies CONFIG", PATIENCE, |s| {
        s["revision"] == "r2" && s["drift"].is_null()
    });
    let state = |s: &serde_json::Value| s["revision_state"].as_str().unwrap().to_owned();
    instance.when("r2 is verified", PATIENCE, |s| {
        state(s) == "verified" && s["state"] == "ok"
    });
    let author = instance.ask("history")["revisions"][0]["author"].clone();
    assert_eq!(author, "SIGHUP");
    assert!(instance.stop().success());

    // Invalid: the verified one boots, the errors are shown, SIGHUP changes nothing.
    home.write(
        "evenkeel.toml",
        "[listener.web]\naddres = \"127.0.0.1:0\"\n",
    );
    let instance = home.start(&[]);
    let status = instance.status();
    assert_eq!(
        (status["revision"].as_str(), status["state"].as_str()),
        (Some("r2"), Some("drift"))
    );
    assert!(
        status["drift"].as_str().unwrap().contains("addres"),
        "{status:#}"
    );
    instance.signal("HUP");
    until("SIGHUP says why not", PATIENCE, || {
        instance.log().contains("not applied").then_some(())
    });
    assert_eq!(revision(&instance), "r2");
    // Repaired by hand while it runs: the drift goes by itself.
    home.write("evenkeel.toml", &audited("12h"));
    instance.when("no drift", PATIENCE, |s| {
        s["drift"].is_null() && s["state"] == "ok"
    });
    // An apply of something else makes the file drift; an apply of the file makes it go.
    home.write("other.toml", &audited("6h"));
    instance.ends("apply other.toml --yes --reason 'more often'", 0);
    instance.when("the file drifts", PATIENCE, |s| s["state"] == "drift");
    instance.ends("apply evenkeel.toml --yes --wait 0s --reason back", 0);
    instance.when("no drift again", PATIENCE, |s| s["drift"].is_null());
    assert!(instance.stop().success());

    // r4 was not verified yet: r3 boots; --adopt applies the file as a guarded change.
    adopt_runs_the_file_after_boot(&home);
}

fn adopt_runs_the_file_after_boot(home: &Home) {
    let instance = home.start(&["--adopt"]);
    assert!(instance.log().contains("running r3"), "{}", instance.log());
    let adopted = instance.when("--adopt applies CONFIG", PATIENCE, |s| {
        s["revision"] != "r3"
    });
    assert!(
        adopted["drift"].is_null() || adopted["revision_state"] == "verifying",
        "{adopted:#}"
    );
    let diff = instance.ask(&format!("diff r2 {}", revision(&instance)));
    assert_eq!(diff["changes"].as_array().unwrap().len(), 0, "{diff:#}");
    instance.when(
        "the adopted one is verified",
        Duration::from_secs(40),
        |s| s["revision_state"] == "verified",
    );
    assert!(instance.stop().success());
}
