//! What a file may decide about the audit: severities, limits and waivers.

use std::time::Duration;

use super::{SHOP, good};
use crate::config::Choices;
use crate::finding::Severity;
use crate::parse::parse;

/// Waivers and policies that are wrong, in the manner of [`WRONG`].
const WRONG_AUDIT: &[(&str, &str, &str)] = &[
    (
        "[pool.shop.audit]\nseverity = { TRF-1 = \"info\" }",
        "CFG-05",
        "did you mean `TRF-01`?",
    ),
    (
        "[pool.shop.audit]\nseverity = { TRF-01 = \"eror\" }",
        "CFG-03",
        "did you mean \"error\"?",
    ),
    (
        "[pool.shop.audit]\nseverity = \"info\"",
        "CFG-03",
        "write a table: `[pool.shop.audit.severity]`",
    ),
    (
        "[pool.shop.audit]\nlimit = { TRF-02 = \"2\" }",
        "CFG-03",
        "write a number without quotes: `TRF-02 = 2`",
    ),
    (
        "[pool.shop.audit]\nlimit = { TRF-02 = -1 }",
        "CFG-06",
        "write a value from 0 to 1000000000",
    ),
    (
        "[pool.shop.audit]\nlimits = {}",
        "CFG-02",
        "did you mean `limit`?",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nuntil = 2027-01-31",
        "CFG-04",
        "add `reason = \"a canary of one backend\"`",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \" \"\nuntil = 2027-01-31",
        "CFG-03",
        "write why the finding is accepted",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"",
        "CFG-04",
        "add `until = \"2027-01-31\"`",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"\nuntil = 2027-02-30",
        "CFG-01",
        "put the text at this place right",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"\nuntil = \"2027-02-29\"",
        "CFG-03",
        "write the last day on which it holds: `until = \"2027-01-31\"`",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"\nuntil = 2027-01-31T10:00:00Z",
        "CFG-03",
        "write the last day on which it holds: `until = \"2027-01-31\"`",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF02\"\nreason = \"x\"\nuntil = 2027-01-31",
        "CFG-05",
        "did you mean `TRF-02`?",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\npool = \"shp\"\nreason = \"x\"\nuntil = 2027-01-31",
        "CFG-05",
        "did you mean \"shop\"?",
    ),
    (
        "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"\nuntil = 2027-01-31\n[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"y\"\nuntil = 2027-01-31",
        "CFG-07",
        "keep one of the two",
    ),
];

#[test]
fn severities_limits_and_waivers_are_checked() {
    for &(text, id, fix) in WRONG_AUDIT {
        let parsed = parse(&format!("{SHOP}{text}\n"), None);
        let first = parsed
            .findings
            .first()
            .unwrap_or_else(|| panic!("{text} is accepted"));
        assert_eq!(
            (first.id, first.fix.as_str()),
            (id, fix),
            "{text}: {}",
            first.message
        );
    }
    let text = format!("{SHOP}[pool.shop.audit]\nlimit = {{ TRF-01 = 1 }}\n");
    let finding = parse(&text, None).findings.remove(0);
    assert_eq!(
        (finding.id, finding.message.as_str()),
        ("CFG-06", "TRF-01 has no limit that can be set")
    );
}

#[test]
fn what_the_audit_is_told_is_kept_and_shows_in_hash_and_difference() {
    let text = format!(
        "{SHOP}[pool.shop.audit]\nseverity = {{ TRF-01 = \"error\", CAP-02 = \"info\" }}\nlimit = {{ TRF-02 = 2.5 }}\n\
         [[audit.waiver]]\nrule = \"TRF-02\"\npool = \"shop\"\nreason = \" a canary \"\nuntil = \"2027-01-31\"\n\
         [[audit.waiver]]\nrule = \"CAP-04\"\nreason = \"measured next month\"\nuntil = 2028-02-29\n"
    );
    let config = good(&text);
    let policy = &config.pools[0].policy;
    assert_eq!(policy.severities.get("TRF-01"), Some(&Severity::Error));
    assert_eq!(
        (policy.limit("TRF-02", 1.5), policy.limit("TRF-03", 10.0)),
        (2.5, 10.0)
    );
    let [first, second] = config.waivers.as_slice() else {
        panic!("{:?}", config.waivers)
    };
    assert_eq!(
        (first.path.as_str(), first.pool.as_deref()),
        ("audit.waiver.0", Some("shop"))
    );
    assert_eq!(
        (first.reason.as_str(), first.until.0),
        ("a canary", 1_801_440_000_000)
    );
    assert_eq!(
        (second.pool.as_deref(), second.until.0),
        (None, 1_835_481_600_000)
    );
    let changes = crate::diff::diff(&good(SHOP), &config);
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "audit.waiver.0.rule",
            "audit.waiver.0.pool",
            "audit.waiver.0.reason",
            "audit.waiver.0.until",
            "audit.waiver.1.rule",
            "audit.waiver.1.reason",
            "audit.waiver.1.until",
            "pool.shop.audit.severity.CAP-02",
            "pool.shop.audit.severity.TRF-01",
            "pool.shop.audit.limit.TRF-02",
        ]
    );
    let setup = crate::setup::Setup::of(&config);
    assert_eq!(
        (&setup.waivers, &setup.pools[0].policy),
        (&config.waivers, policy)
    );
}

#[test]
fn choices_is_a_number_or_all_and_only_for_least_request() {
    let read = |pool: &str| {
        let text = format!(
            "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n[pool.p]\n{pool}\n\
             [pool.p.backend.b]\naddress = \"127.0.0.1:2\"\n"
        );
        let parsed = parse(&text, None);
        let messages: Vec<String> = parsed.findings.iter().map(|f| f.message.clone()).collect();
        (
            parsed.config.map(|config| config.pools[0].choices),
            messages.join("; "),
        )
    };
    let least = |choices: &str| read(&format!("algorithm = \"least_request\"\n{choices}"));
    assert_eq!(least("").0, Some(Choices::Drawn(2)));
    assert_eq!(least("choices = 5").0, Some(Choices::Drawn(5)));
    assert_eq!(least("choices = \"all\"").0, Some(Choices::All));
    for wrong in [
        "choices = 1",
        "choices = 11",
        "choices = \"some\"",
        "choices = 2.5",
    ] {
        let (choices, messages) = least(wrong);
        assert!(
            choices.is_none() && messages.contains("choices"),
            "{wrong}: {messages}"
        );
    }
    let (choices, messages) = read("choices = 3");
    assert!(
        choices.is_none() && messages.contains("is for `least_request`"),
        "{messages}"
    );
}

#[test]
fn probes_are_for_prequal_and_have_bounds() {
    let read = |algorithm: &str, probe: &str| {
        let text = format!(
            "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n[pool.p]\n\
             algorithm = '{algorithm}'\n[pool.p.backend.b]\naddress = \"127.0.0.1:2\"\n[pool.p.probe]\n{probe}\n"
        );
        let parsed = parse(&text, None);
        let messages: Vec<String> = parsed.findings.iter().map(|f| f.message.clone()).collect();
        (
            parsed
                .config
                .and_then(|config| config.pools[0].probe.clone()),
            messages.join("; "),
        )
    };
    let probe = read("prequal", "path = '/load'").0.unwrap();
    assert_eq!(
        (
            probe.path.as_str(),
            probe.rate,
            probe.timeout,
            probe.idle_interval
        ),
        ("/load", 1.0, Duration::from_millis(50), None)
    );
    let all = "path = '/load'\nrate = 0.5\ntimeout = '5ms'\nidle_interval = '500ms'";
    let probe = read("prequal", all).0.unwrap();
    assert_eq!((probe.rate, probe.timeout), (0.5, Duration::from_millis(5)));
    assert_eq!(probe.idle_interval, Some(Duration::from_millis(500)));
    for (wrong, word) in [
        ("", "path"),
        ("path = 'load'", "path"),
        ("path = '/load'\nrate = 0", "rate"),
        ("path = '/load'\nrate = 9", "rate"),
        ("path = '/load'\ntimeout = '2s'", "timeout"),
        ("path = '/load'\nidle_interval = '1ms'", "idle_interval"),
    ] {
        let (probe, messages) = read("prequal", wrong);
        assert!(
            probe.is_none() && messages.contains(word),
            "{wrong}: {messages}"
        );
    }
    let (probe, messages) = read("least_request", "path = '/load'");
    assert!(
        probe.is_none()
            && messages.contains("is for `prequal`, but the algorithm is `least_request`"),
        "{messages}"
    );
}
