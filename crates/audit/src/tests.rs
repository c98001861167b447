//! Each rule where it must speak and where it must be silent, and whole files.

use std::fmt::Write as _;

use evenkeel_forecast::{Facts, Forecast, forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::parse::parse;
use evenkeel_model::setup::{Setup, Wait};
use proptest::prelude::*;

use super::{Running, Subject, Verdict, audit, decided, explain, judge_change, rules, topics};

const EXAMPLES: &[(&str, &str)] = &[
    ("minimal", include_str!("../../../examples/minimal.toml")),
    ("shop", include_str!("../../../examples/shop.toml")),
    ("weighted", include_str!("../../../examples/weighted.toml")),
    ("canary", include_str!("../../../examples/canary.toml")),
    (
        "operations",
        include_str!("../../../examples/operations.toml"),
    ),
];
const MINIMAL: &str = EXAMPLES[0].1;
const SHOP: &str = EXAMPLES[1].1;
const TYPO: &[(&str, &str)] = &[("weight = 1\n", "weight = 10\n")];

fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// The moment of every test.
const NOW: Wall = Wall(1_800_000_000_000);

/// A set-up with what is needed to judge it.
struct Case {
    setup: Setup,
    origin: Origin,
    forecast: Forecast,
    facts: Facts,
}

impl Case {
    fn of(setup: Setup, origin: Origin, facts: Facts) -> Self {
        let forecast = forecast(&setup, &facts);
        Self {
            setup,
            origin,
            forecast,
            facts,
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            setup: &self.setup,
            origin: &self.origin,
            forecast: &self.forecast,
            facts: &self.facts,
            running: None,
            now: NOW,
        }
    }

    fn audit(&self) -> Vec<Finding> {
        audit(&self.subject())
    }

    /// This one in place of `running`.
    fn replacing(&self, running: &Self) -> Verdict {
        judge_change(&Subject {
            running: Some(Running {
                setup: &running.setup,
                forecast: &running.forecast,
            }),
            ..self.subject()
        })
    }
}

fn read(text: &str) -> Case {
    let parsed = parse(text, Some("test.toml"));
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{:#?}", parsed.findings));
    Case::of(Setup::of(&config), parsed.origin, Facts::default())
}

fn judged(text: &str, edits: &[(&str, &str)]) -> Vec<Finding> {
    read(&edited(text, edits)).audit()
}

/// What each rule says by itself, before effects are told with their causes.
fn apart(text: &str, edits: &[(&str, &str)]) -> Vec<Finding> {
    decided(&read(&edited(text, edits)).subject())
}

/// Severity, id and path of what is worse than an info and follows from nothing else.
fn heads(findings: &[Finding]) -> Vec<String> {
    let stands = |f: &&Finding| f.severity > Severity::Info && f.effect_of.is_none();
    let worse = findings.iter().filter(stands);
    worse
        .map(|f| format!("{} {} {}", f.severity, f.id, f.path))
        .collect()
}

fn of<'f>(findings: &'f [Finding], id: &str) -> Vec<&'f Finding> {
    findings.iter().filter(|f| f.id == id).collect()
}

fn change(from: &[(&str, &str)], to: &[(&str, &str)]) -> Verdict {
    read(&edited(SHOP, to)).replacing(&read(&edited(SHOP, from)))
}

fn blocking(verdict: &Verdict) -> Vec<&'static str> {
    verdict
        .blocking
        .iter()
        .map(|i| verdict.findings[*i].id)
        .collect()
}

#[test]
fn every_example_is_silent() {
    for (name, text) in EXAMPLES {
        let parsed = parse(text, Some(name));
        assert_eq!(parsed.findings, [], "{name}");
        assert_eq!(heads(&judged(text, &[])), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_weight_of_10_instead_of_1_is_one_finding_that_tells_share_overload_and_loss() {
    let one = judged(SHOP, TYPO);
    assert_eq!(heads(&one), ["error TRF-02 pool.shop"]);
    for effect in [
        "125 % of its capacity",
        "with `web-2` out",
        "should get 33.3 %",
    ] {
        assert!(one[0].effect.contains(effect), "{}", one[0].effect);
    }
    assert_eq!(
        heads(&apart(SHOP, TYPO)),
        [
            "error CAP-01 pool.shop.backend.web-1",
            "error TRF-02 pool.shop",
            "warning CAP-02 pool.shop",
            "warning TRF-01 pool.shop",
        ]
    );
}

#[test]
fn findings_of_the_typo_read_as_follows() {
    let mut text = String::new();
    for f in judged(SHOP, TYPO) {
        let at = f
            .location
            .map(|l| format!("{}:{}", l.line, l.column))
            .unwrap_or_default();
        writeln!(
            text,
            "{} {} at {at}: {}\n  effect: {}\n  fix: {}",
            f.severity, f.id, f.message, f.effect, f.fix
        )
        .unwrap();
    }
    insta::assert_snapshot!("typo", text);
}

#[test]
fn trf_01_speaks_beyond_the_tolerance_and_not_within_it() {
    // 1.2 / 3.2 is 12.5 % above a third; 1.5 / 3.5 is 28.6 % above.
    let weights = |w: &'static str| {
        [
            ("weight = 1\n", w),
            ("weight = 1\n", "weight = 10\n"),
            ("weight = 1\n", "weight = 10\n"),
        ]
    };
    assert!(of(&judged(SHOP, &weights("weight = 12\n")), "TRF-01").is_empty());
    let findings = apart(SHOP, &weights("weight = 15\n"));
    let found = of(&findings, "TRF-01");
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
    assert_eq!(found[0].magnitude_ppm, 285_714);
    assert_eq!(found[0].location.as_ref().map(|l| l.line), Some(36));
}

#[test]
fn trf_01_names_the_drained_backend_and_leaves_declared_weights_alone() {
    let findings = judged(SHOP, &[("weight = 1\n", "weight = 0\n")]);
    assert!(
        of(&findings, "TRF-01")[0].message.starts_with(
            "`web-1` of pool `shop` should get 33.3 % of the requests but will get 0 %"
        )
    );
    let findings = judged(
        SHOP,
        &[TYPO[0], ("intent = \"capacity\" ", "intent = \"weight\" ")],
    );
    assert!(of(&findings, "TRF-01").is_empty());
}

#[test]
fn trf_02_is_an_error_with_capacities_a_warning_without_and_silent_where_weights_are_the_intent() {
    let severity = |findings: &[Finding]| of(findings, "TRF-02").first().map(|f| f.severity);
    assert_eq!(severity(&judged(SHOP, TYPO)), Some(Severity::Error));
    let weights = [(
        "address = \"127.0.0.1:8081\"\n",
        "address = \"127.0.0.1:8081\"\nweight = 2\n",
    )];
    assert_eq!(
        severity(&judged(MINIMAL, &weights)),
        Some(Severity::Warning)
    );
    let meant = [
        weights[0],
        (
            "[pool.site.health]",
            "[pool.site]\nintent = \"weight\"\n[pool.site.health]",
        ),
    ];
    assert_eq!(severity(&judged(MINIMAL, &meant)), None);
    let capacity = [TYPO[0], ("capacity_rps = 600", "capacity_rps = 6000")];
    assert_eq!(severity(&judged(SHOP, &capacity)), None);
    let within = [
        ("weight = 1\n", "weight = 3\n"),
        ("weight = 1\n", "weight = 2\n"),
        ("weight = 1\n", "weight = 2\n"),
    ];
    assert_eq!(severity(&judged(SHOP, &within)), None);
    assert_eq!(
        severity(&judged(SHOP, &[("weight = 1\n", "weight = 0\n")])),
        None
    );
}

#[test]
fn trf_02_under_intent_weight_is_an_error_only_where_a_backend_is_planned_beyond_its_limit() {
    let meant = ("intent = \"capacity\" ", "intent = \"weight\" ");
    let severity = |edits: &[(&str, &str)]| {
        let findings = apart(SHOP, edits);
        of(&findings, "TRF-02").first().map(|f| f.severity)
    };
    assert_eq!(severity(&[TYPO[0], meant]), Some(Severity::Error));
    // 83.3 % of 500 rps are 416 rps, 69 % of 600.
    let quiet = ("peak_rps = 900", "peak_rps = 500");
    assert_eq!(severity(&[TYPO[0], meant, quiet]), Some(Severity::Info));
    assert_eq!(severity(&[TYPO[0], quiet]), Some(Severity::Error));
    // A pool that no spread could carry is the matter of CAP-01.
    let full = ("peak_rps = 900", "peak_rps = 1700");
    assert_eq!(severity(&[TYPO[0], meant, full]), Some(Severity::Info));
}

#[test]
fn an_effect_is_told_by_itself_where_its_cause_does_not_stand_for_it() {
    // No spread carries this peak: that is no effect of the weights.
    let full = judged(SHOP, &[TYPO[0], ("peak_rps = 900", "peak_rps = 1700")]);
    assert!(heads(&full).contains(&"error CAP-01 pool.shop".to_owned()));
    // With one backend out no spread carries 1,000 rps.
    let loss = judged(SHOP, &[TYPO[0], ("peak_rps = 900", "peak_rps = 1000")]);
    assert_eq!(
        heads(&loss),
        ["error TRF-02 pool.shop", "warning CAP-02 pool.shop"]
    );
    let milder = "[pool.shop.audit]\nseverity = { TRF-02 = \"warning\" }\n[pool.shop.health]";
    let found = judged(SHOP, &[TYPO[0], ("[pool.shop.health]", milder)]);
    assert_eq!(
        heads(&found),
        [
            "error CAP-01 pool.shop.backend.web-1",
            "warning TRF-02 pool.shop"
        ]
    );
    let waiver = "[[audit.waiver]]\nrule = \"TRF-02\"\nreason = \"x\"\nuntil = 2027-06-01\n[pool.shop.health]";
    let waived = judged(SHOP, &[TYPO[0], ("[pool.shop.health]", waiver)]);
    assert_eq!(
        heads(&waived),
        [
            "error CAP-01 pool.shop.backend.web-1",
            "warning CAP-02 pool.shop",
            "warning TRF-01 pool.shop"
        ]
    );
}

#[test]
fn trf_02_points_at_the_odd_weight_also_when_it_is_the_small_one() {
    let edits = [
        ("weight = 1\n", "weight = 10\n"),
        ("weight = 1\n", "weight = 10\n"),
    ];
    let findings = judged(SHOP, &edits);
    assert!(
        of(&findings, "TRF-02")[0]
            .effect
            .starts_with("`web-3` with weight 1")
    );
}

#[test]
fn trf_05_is_an_error_without_members_and_a_warning_with_one() {
    let zero = ("weight = 1\n", "weight = 0\n");
    let heads_of = |edits: &[(&str, &str)]| {
        of(&judged(SHOP, edits), "TRF-05")
            .iter()
            .map(|f| f.severity)
            .collect::<Vec<_>>()
    };
    assert_eq!(heads_of(&[zero, zero, zero]), [Severity::Error]);
    assert_eq!(heads_of(&[zero, zero]), [Severity::Warning]);
    assert_eq!(heads_of(&[zero]), []);
}

#[test]
fn trf_07_finds_an_address_twice_in_one_pool_and_allows_it_in_two() {
    let findings = judged(SHOP, &[("127.0.0.1:8082", "127.0.0.1:8081")]);
    let found = of(&findings, "TRF-07");
    assert_eq!((found.len(), found[0].severity), (1, Severity::Error));
    assert_eq!(found[0].path, "pool.shop");
    assert_eq!(found[0].location.as_ref().map(|l| l.line), Some(42));
    assert_eq!(
        found[0].effect,
        "one server gets 66.7 % of the weight of the pool under 2 names"
    );
    let other = "[pool.b.backend.x]\naddress = \"127.0.0.1:8081\"\n[pool.shop]";
    assert!(of(&judged(SHOP, &[("[pool.shop]", other)]), "TRF-07").is_empty());
}

#[test]
fn cap_01_allows_load_up_to_the_limit_and_refuses_a_little_more() {
    assert!(
        of(
            &judged(SHOP, &[("peak_rps = 900", "peak_rps = 1440")]),
            "CAP-01"
        )
        .is_empty()
    );
    let findings = judged(SHOP, &[("peak_rps = 900", "peak_rps = 1441")]);
    let found = of(&findings, "CAP-01");
    assert_eq!(
        (found.len(), found[0].severity, found[0].magnitude_ppm),
        (1, Severity::Error, 800_556)
    );
    assert_eq!(found[0].path, "pool.shop");
}

#[test]
fn what_runs_is_not_said_to_be_without_traffic_before_its_first_minute() {
    let text = edited(SHOP, &[("peak_rps = 900", "")]);
    for (recorded_since, part) in [
        (None, "no traffic was seen"),
        (Some(Wall(0)), "no whole minute"),
    ] {
        let mut case = read(&text);
        case.facts.recorded_since = recorded_since;
        let findings = case.audit();
        let found = of(&findings, "CAP-01");
        assert!(found[0].message.contains(part), "{}", found[0].message);
    }
}

#[test]
fn least_request_is_judged_as_a_whole_and_its_estimates_with_a_margin() {
    let least = ("\"round_robin\"", "\"least_request\"");
    assert_eq!(heads(&judged(SHOP, &[least])), Vec::<String>::new());
    let findings = judged(SHOP, &[least, ("peak_rps = 900", "peak_rps = 1500")]);
    assert_eq!(
        heads(&findings),
        ["error CAP-01 pool.shop", "warning CAP-02 pool.shop"]
    );
    assert!(of(&findings, "CAP-02")[0].magnitude_ppm >= 1_250_000);
    let typo = apart(SHOP, &[least, TYPO[0]]);
    assert!(heads(&typo).contains(&"error CAP-01 pool.shop.backend.web-1".to_owned()));
}

#[test]
fn what_is_not_known_is_said_as_info_and_not_judged() {
    for (text, edits) in [
        (MINIMAL, vec![]),
        (SHOP, vec![("peak_rps = 900", "")]),
        (
            SHOP,
            vec![("capacity_rps = 600", ""), ("intent = \"capacity\" ", "")],
        ),
    ] {
        let findings = judged(text, &edits);
        let found = of(&findings, "CAP-01");
        assert_eq!(
            (found.len(), found[0].severity),
            (1, Severity::Info),
            "{edits:?}"
        );
        assert!(found[0].message.contains("not judged"));
        assert!(of(&findings, "CAP-02").is_empty(), "said twice");
    }
}

#[test]
fn cap_02_names_the_worst_loss_and_is_an_error_only_on_request() {
    let peak = ("peak_rps = 900", "peak_rps = 1000");
    let findings = judged(SHOP, &[peak]);
    assert_eq!(heads(&findings), ["warning CAP-02 pool.shop"]);
    assert_eq!(of(&findings, "CAP-02")[0].magnitude_ppm, 833_333);
    let refuse = ("peak_rps = 900", "n_plus_one = \"refuse\"\npeak_rps = 1000");
    assert_eq!(heads(&judged(SHOP, &[refuse])), ["error CAP-02 pool.shop"]);
    assert!(of(&judged(SHOP, &[]), "CAP-02").is_empty());
}

#[test]
fn hc_01_misses_a_check_only_where_there_is_somewhere_else_to_go() {
    let unchecked = ("[pool.site.health]\npath = \"/healthz\"\n", "");
    assert_eq!(
        heads(&judged(MINIMAL, &[unchecked])),
        ["warning HC-01 pool.site"]
    );
    let single = (
        "[pool.site.backend.web-2]\naddress = \"127.0.0.1:8082\"\n",
        "",
    );
    assert_eq!(
        heads(&judged(MINIMAL, &[unchecked, single])),
        ["warning TRF-05 pool.site"]
    );
}

#[test]
fn tmo_01_holds_for_configurations_that_no_file_made() {
    let mut case = read(SHOP);
    assert!(of(&case.audit(), "TMO-01").is_empty());
    let zero = Wait::For(std::time::Duration::ZERO);
    case.setup.pools[0].timeouts.response = zero;
    case.setup.listeners[0].head_timeout = zero;
    let findings = case.audit();
    let paths: Vec<_> = of(&findings, "TMO-01")
        .iter()
        .map(|f| f.path.clone())
        .collect();
    assert_eq!(
        paths,
        ["listener.web.head_timeout", "pool.shop.response_timeout"]
    );
    let parsed = parse(
        &edited(SHOP, &[("peak_rps = 900", "idle_timeout = \"0s\"")]),
        None,
    );
    assert_eq!(parsed.findings[0].id, "TMO-01");
}

#[test]
fn adm_01_wants_loopback() {
    for (address, expected) in [
        ("0.0.0.0", 1),
        ("10.0.0.1", 1),
        ("[::]", 1),
        ("127.0.0.9", 0),
        ("[::1]", 0),
        ("[::ffff:127.0.0.1]", 0),
    ] {
        let findings = judged(SHOP, &[("127.0.0.1:7700", &format!("{address}:7700"))]);
        assert_eq!(of(&findings, "ADM-01").len(), expected, "{address}");
    }
}

#[test]
fn a_change_is_blocked_by_the_errors_it_introduces() {
    assert_eq!(blocking(&change(&[], TYPO)), ["TRF-02", "CAP-01"]);
    assert_eq!(blocking(&change(&[], &[])), Vec::<&str>::new());
    assert_eq!(
        blocking(&change(&[], &[("peak_rps = 900", "peak_rps = 1000")])),
        Vec::<&str>::new()
    );
}

#[test]
fn what_runs_already_never_blocks_its_repair() {
    let unrelated = [TYPO[0], ("interval = \"1s\"", "interval = \"2s\"")];
    let verdict = change(TYPO, &unrelated);
    assert_eq!(
        (
            verdict.blocking.len(),
            of(&verdict.findings, "TRF-02").len()
        ),
        (0, 1)
    );
    assert_eq!(
        blocking(&change(TYPO, &[("weight = 1\n", "weight = 5\n")])),
        Vec::<&str>::new()
    );
    assert_eq!(
        blocking(&change(TYPO, &[("weight = 1\n", "weight = 11\n")])),
        ["TRF-02", "CAP-01"]
    );
    // The weights run already, and the peak that they cannot carry is new: it is not hidden behind them.
    let more = [TYPO[0], ("peak_rps = 900", "peak_rps = 1000")];
    assert_eq!(blocking(&change(TYPO, &more)), ["CAP-01"]);
    let moved = [
        ("weight = 1\n", "weight = 10\n"),
        ("weight = 1\n", "weight = 10\n"),
    ];
    assert_eq!(blocking(&change(TYPO, &moved)), Vec::<&str>::new());
    let another = [TYPO[0], ("127.0.0.1:8083", "127.0.0.1:8082")];
    assert_eq!(blocking(&change(TYPO, &another)), ["TRF-07"]);
}

#[test]
fn with_nothing_running_every_error_blocks() {
    let verdict = judge_change(&read(&edited(SHOP, TYPO)).subject());
    assert_eq!(blocking(&verdict), ["TRF-02", "CAP-01"]);
}

#[test]
fn findings_stand_the_worst_first_then_in_the_order_of_the_file() {
    let findings = apart(
        SHOP,
        &[
            TYPO[0],
            ("127.0.0.1:8083", "127.0.0.1:8082"),
            ("127.0.0.1:7700", "0.0.0.0:7700"),
        ],
    );
    let ids: Vec<_> = findings.iter().map(|f| f.id).collect();
    assert_eq!(
        ids,
        ["ADM-01", "CAP-01", "TRF-02", "TRF-07", "CAP-02", "TRF-01"]
    );
    assert!(
        findings
            .iter()
            .all(|f| f.location.is_some() && f.file.as_deref() == Some("test.toml"))
    );
}

#[test]
fn every_rule_and_every_other_id_can_be_explained() {
    for rule in rules() {
        assert_eq!(explain(rule.id).map(|e| e.title), Some(rule.title));
    }
    for id in [
        "trf-01",
        "CFG-01",
        "cfg-07",
        "CHG-06",
        "CHG-08",
        "algorithms",
        " intent ",
        "zones",
        "reported",
        "subset",
        "members",
        "drain",
        "hedging",
        "slow_start",
        "probe",
        "adaptive",
    ] {
        assert!(explain(id).is_some_and(|e| !e.text.is_empty()), "{id}");
    }
    assert_eq!(explain("TRF-99"), None);
    let mut ids: Vec<_> = topics().map(|e| e.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(topics().all(|e| e.text.lines().all(|line| line.chars().count() <= 110)));
}

/// A file of one pool with these (weight, capacity) and this peak.
fn pool_file(backends: &[(Option<u32>, u32)], peak_rps: u32) -> String {
    let mut text = format!(
        "[listener.web]\naddress = '127.0.0.1:80'\n[[route]]\nlistener = 'web'\npool = 'p'\n[pool.p]\npeak_rps = {peak_rps}\n"
    );
    for (i, (weight, capacity)) in backends.iter().enumerate() {
        let weight = weight
            .map(|w| format!("weight = {w}\n"))
            .unwrap_or_default();
        writeln!(
            text,
            "[pool.p.backend.b{i}]\naddress = '10.0.0.1:{}'\n{weight}capacity_rps = {capacity}",
            i + 1
        )
        .unwrap();
    }
    text
}

proptest! {
    #[test]
    fn cap_01_speaks_exactly_where_share_times_peak_is_above_the_limit(
        backends in proptest::collection::vec((0u32..=65_535, 1u32..5_000), 1..6),
        peak_rps in 1u32..10_000,
    ) {
        let total: f64 = backends.iter().map(|(w, _)| f64::from(*w)).sum();
        let declared: Vec<_> = backends.iter().map(|(w, c)| (Some(*w), *c)).collect();
        let findings = apart(&pool_file(&declared, peak_rps), &[]);
        let spoken = of(&findings, "CAP-01");
        let whole: u32 = backends.iter().filter(|(w, _)| *w > 0).map(|(_, c)| *c).sum();
        let whole = f64::from(peak_rps) / f64::from(whole);
        if total == 0.0 || (whole - 0.8).abs() < 1e-6 {
            return Ok(());
        }
        prop_assert_eq!(spoken.iter().any(|f| f.path == "pool.p"), whole > 0.8);
        for (i, (weight, capacity)) in backends.iter().enumerate() {
            let load = f64::from(*weight) / total * f64::from(peak_rps);
            let used = load / f64::from(*capacity);
            if (used - 0.8).abs() > 1e-6 {
                let path = format!("pool.p.backend.b{i}");
                prop_assert_eq!(spoken.iter().any(|f| f.path == path), used > 0.8 && whole <= 0.8);
            }
        }
    }

    #[test]
    fn weights_left_out_are_never_found_fault_with(
        capacities in proptest::collection::vec(1u32..5_000, 2..6),
    ) {
        let omitted: Vec<_> = capacities.iter().map(|c| (None, *c)).collect();
        let findings = judged(&pool_file(&omitted, 1), &[]);
        prop_assert!(of(&findings, "TRF-01").is_empty() && of(&findings, "TRF-02").is_empty());
    }

    #[test]
    fn no_change_is_never_blocked_and_a_return_to_what_was_good_never_is(
        backends in proptest::collection::vec((option_weight(), 1u32..5_000), 1..6),
        peak_rps in 1u32..10_000,
    ) {
        let bad = read(&pool_file(&backends, peak_rps));
        prop_assert!(bad.replacing(&bad).blocking.is_empty());
        prop_assert!(read(SHOP).replacing(&bad).blocking.is_empty());
    }
}

fn option_weight() -> impl Strategy<Value = Option<u32>> {
    proptest::option::of(0u32..=65_535)
}

#[test]
fn an_expectation_that_fails_already_never_blocks_wherever_it_stands_and_another_one_does() {
    let with = |expect: &str| read(&format!("{SHOP}\n{expect}"));
    let wrong = "[[expect]]\nrequest = 'GET /cart'\nstatus = 404\n";
    let other = "[[expect]]\nrequest = 'GET /other'\nstatus = 404\n";
    let fine = "[[expect]]\nrequest = 'GET /'\npool = 'shop'\n";
    let blocks = |next: &str| blocking(&with(next).replacing(&with(wrong))).len();
    assert_eq!(blocks(wrong), 0);
    assert_eq!(blocks(&format!("{fine}{wrong}")), 0);
    assert_eq!(blocks(other), 1);
    assert_eq!(blocks(&format!("{wrong}{other}")), 1);
}
