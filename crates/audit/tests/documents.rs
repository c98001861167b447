//! The chapter of the guide about the rules is what the rules say. With EVENKEEL_UPDATE set it is written.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; a failed test is the report"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use evenkeel_audit::{Rule, explain, rules};

const HEAD: &str = "\
# Rules of the audit

Made from the rules themselves; do not edit. `evenkeel explain TRF-02` shows the same text.

Every rule judges effective values, defaults included, of any balancer whose file can be read. An error
refuses an apply when the change brings it or makes it worse; a warning should be put right; an info is
worth knowing. What is not declared is not guessed: rules about load are silent, or say `not judged`,
without a peak and capacities, and rules that need a running instance say nothing without one.

A pool sets the severity of a rule, and its limit where the table names one, under `[pool.NAME.audit]`.
`[[audit.waiver]]` accepts a finding with a reason until a day: up to then it is an info that says so. A
waiver that has run out is AUD-01, one that meets nothing AUD-02.
";

fn family(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

fn title(family: &str) -> &str {
    match family {
        "TRF" => "Traffic",
        "CAP" => "Capacity",
        "SLW" => "Slow start",
        "DRF" => "Drift",
        "RBK" => "Rollback",
        "HC" => "Health checks",
        "TMO" => "Timeouts",
        "RTY" => "Retries",
        "CON" => "Connections",
        "TLS" => "TLS",
        "ADM" => "Administration",
        "AUD" => "Waivers",
        other => other,
    }
}

fn limit(rule: &Rule) -> String {
    rule.limit.map_or_else(String::new, |limit| {
        format!("{}: {}", limit.default, limit.unit)
    })
}

fn chapter() -> String {
    let mut text = HEAD.to_owned();
    text.push_str(
        "\n| Rule | Severity | What it judges | Limit: default and unit |\n|---|---|---|---|\n",
    );
    for rule in rules() {
        let (id, severity, title) = (rule.id, rule.severity, rule.title);
        writeln!(text, "| {id} | {severity} | {title} | {} |", limit(rule)).unwrap();
    }
    let waivers = ["AUD-01", "AUD-02"].map(|id| explain(id).unwrap());
    for about in &waivers {
        let severity = about.severity.unwrap();
        writeln!(text, "| {} | {severity} | {} | |", about.id, about.title).unwrap();
    }
    let mut last = "";
    let of_rules = rules().map(|rule| (rule.id, rule.title, rule.text));
    let of_waivers = waivers
        .iter()
        .map(|about| (about.id, about.title, about.text));
    for (id, what, why) in of_rules.chain(of_waivers) {
        if family(id) != last {
            last = family(id);
            writeln!(text, "\n## {}", title(last)).unwrap();
        }
        writeln!(text, "\n### {id}: {what}\n\n{}", why.trim_end()).unwrap();
    }
    text
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the room itself does no I/O; this test reads and writes the chapter"
)]
fn the_guide_has_every_rule_with_its_severity_and_limit() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/rules.md");
    let wanted = chapter();
    if std::env::var_os("EVENKEEL_UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; run this test with EVENKEEL_UPDATE=1",
        path.display()
    );
}
