//! A saved plan is applied exactly as it was planned, or refused in words.

use std::fs;

use crate::support::{Home, config, nobody};

/// Told apart by how often it is audited: no pool is touched, so no traffic is needed to verify it.
fn audited(every: &str) -> String {
    config(
        &nobody(),
        [1, 1, 1],
        &format!("\n[audit]\nevery = \"{every}\"\n"),
    )
}

#[test]
fn a_saved_plan_applies_what_was_planned_whatever_the_file_says_by_then_and_only_once() {
    let home = Home::new(&audited("24h"));
    let instance = home.start(&[]);
    home.write("next.toml", &audited("12h"));
    instance.ends("plan next.toml --out plan.json --detailed-exitcode", 2);
    // The file moves on; the plan does not.
    home.write("next.toml", &audited("1h"));
    let shown = instance.ends("apply plan.json --yes --wait 0", 0);
    assert!(shown.out.contains("r2"), "{shown:#?}");
    let text = instance.ask("history")["revisions"][0]["id"].clone();
    assert_eq!(text, "r2");
    let diff = instance.ask("diff r1 r2");
    assert_eq!(diff["changes"][0]["after"], "\"12h\"", "{diff:#}");
    let again = instance.ends("apply plan.json --yes --wait 0", 3);
    assert!(
        again.err.contains("CHG-01") || again.out.contains("refused"),
        "{again:#?}"
    );
}

#[test]
fn a_changed_newer_damaged_or_foreign_plan_is_refused_with_3_and_changes_nothing() {
    let home = Home::new(&audited("24h"));
    let instance = home.start(&[]);
    home.write("next.toml", &audited("12h"));
    instance.ends("plan next.toml --out plan.json", 0);
    let plan = fs::read_to_string(home.dir().join("plan.json")).unwrap();
    for (name, text, word) in [
        (
            "changed",
            plan.replace("12h", "13h"),
            "was changed after it was saved",
        ),
        (
            "newer",
            plan.replace("\"evenkeel_plan\": 1", "\"evenkeel_plan\": 2"),
            "has format 2",
        ),
        ("cut", plan[..plan.len() / 2].to_owned(), "damaged"),
    ] {
        home.write(name, &text);
        let ran = instance.ends(&format!("apply {name} --yes"), 3);
        assert!(ran.err.contains(word), "{name}: {}", ran.err);
    }
    let other = Home::new(&audited("6h"));
    let elsewhere = other.start(&[]);
    other.write("plan.json", &plan);
    let ran = elsewhere.ends("apply plan.json --yes", 3);
    assert!(ran.err.contains("another instance"), "{}", ran.err);
    for instance in [&instance, &elsewhere] {
        assert_eq!(instance.status()["revision"], "r1");
    }
}

#[test]
fn a_plan_that_would_be_refused_is_not_saved_and_no_other_file_is_overwritten() {
    let home = Home::new(&audited("24h"));
    let instance = home.start(&[]);
    home.write("typo.toml", &config(&nobody(), [10, 1, 1], ""));
    instance.ends("plan typo.toml --out plan.json", 3);
    assert!(!home.dir().join("plan.json").exists());
    home.write("next.toml", &audited("12h"));
    let ran = instance.ends("plan next.toml --out next.toml", 1);
    assert!(ran.err.contains("is no saved plan"), "{}", ran.err);
    assert!(
        fs::read_to_string(home.dir().join("next.toml"))
            .unwrap()
            .contains("12h")
    );
    instance.ends("plan next.toml --out plan.json --base r1", 64);
}

#[test]
fn a_plan_says_what_moves_the_risk_and_what_verification_and_rollback_will_do() {
    let home = Home::new(&config(&nobody(), [1, 1, 1], ""));
    let instance = home.start(&[]);
    home.write(
        "next.toml",
        &config(&nobody(), [1, 1, 1], "").replace("tolerance = \"20%\"", "tolerance = \"25%\""),
    );
    let shown = instance.ends("plan next.toml", 0).out;
    for wanted in [
        "[pool.shop]\n  ~ tolerance: \"20%\" -> \"25%\"",
        "Plan: 0 to add, 1 to change, 0 to remove. Against r1.",
        "Risk: ",
        "no share moves, highest load 50.0 %",
        "Verification: at least 10 s, and each share of `shop` within 25.0 %",
        "r1, the last verified revision, is restored, with at least 2 of 3 in `shop` live.",
    ] {
        assert!(shown.contains(wanted), "{wanted}\n{shown}");
    }
    let comment = instance.ends("plan next.toml --output markdown", 0).out;
    assert!(
        comment.contains("**Risk: ") && comment.contains("- Verification:"),
        "{comment}"
    );
    home.write("typo.toml", &config(&nobody(), [10, 1, 1], ""));
    let refused = instance.ends("plan typo.toml", 3).out;
    assert!(
        refused.contains("Risk: high: an apply would be refused (TRF-02)"),
        "{refused}"
    );
}
