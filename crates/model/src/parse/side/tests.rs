//! What a side file puts on a setup, and what it refuses.

use std::ops::Range;

use proptest::prelude::*;

use super::{Side, side};
use crate::config::Intent;
use crate::finding::{Finding, Origin, Severity};
use crate::setup::{Backend, Balancer, Pool, Role, Route, Setup};

/// Two pools of another balancer, one with a name that needs quotes.
fn setup() -> Setup {
    let backend = |pool: &str, name: &str| {
        Backend::blank(
            name,
            &format!("backend.{pool}.server.{name}"),
            "10.0.0.1:80",
        )
    };
    let pool = |name: &str, members: &[&str]| Pool {
        backends: members.iter().map(|member| backend(name, member)).collect(),
        ..Pool::blank(name, &format!("backend.{name}"))
    };
    let mut setup = Setup::blank(Balancer::Haproxy);
    setup.pools = vec![
        pool("app", &["a1", "a2", "spare"]),
        pool("out|80|", &["10.0.0.7:80"]),
    ];
    setup.pools[0].backends[2].role = Role::Backup;
    setup
}

#[test]
fn a_peak_of_the_whole_brings_a_canary_its_part_of_it() {
    let route = |targets: &[(&str, f64)], condition: Option<&str>| Route {
        path: "frontend.web.default".to_owned(),
        listener: "web".to_owned(),
        host: None,
        path_prefix: None,
        whole_segments: false,
        condition: condition.map(str::to_owned),
        matcher: None,
        answer: None,
        edits: crate::config::Edits::default(),
        targets: targets
            .iter()
            .map(|(n, part)| ((*n).to_owned(), *part))
            .collect(),
    };
    let split = || route(&[("app", 95.0), ("out|80|", 5.0)], None);
    let peaks = |routes: Vec<Route>, peak: &[&str]| {
        let mut setup = Setup { routes, ..setup() };
        let findings = flags(&[], peak).apply(&mut setup, &mut Origin::default());
        assert!(findings.is_empty(), "{findings:?}");
        let peaks: Vec<Option<f64>> = setup.pools.iter().map(|pool| pool.peak_rps).collect();
        peaks
    };
    assert_eq!(peaks(vec![split()], &["1000"]), [Some(950.0), Some(50.0)]);
    // Named, a pool has the peak that was said of it.
    let named = peaks(vec![split()], &["1000", "out|80|=70"]);
    assert_eq!(named, [Some(950.0), Some(70.0)]);
    // How many requests show the header is not known.
    let by_header = route(&[("out|80|", 1.0)], Some("x-canary: 1"));
    let peaks_beside = peaks(vec![by_header.clone(), split()], &["1000"]);
    assert_eq!(peaks_beside, [Some(950.0), None]);
    let whole = route(&[("app", 1.0)], None);
    let apart = peaks(vec![by_header, whole], &["1000"]);
    assert_eq!(apart, [Some(1000.0), Some(1000.0)]);
}

fn put(side: &Side) -> (Setup, Origin, Vec<Finding>) {
    let (mut setup, mut origin) = (
        setup(),
        Origin::of(Some("haproxy.cfg"), "backend app\n", [].into()),
    );
    let findings = side.apply(&mut setup, &mut origin);
    (setup, origin, findings)
}

fn capacities(setup: &Setup) -> Vec<Option<f64>> {
    setup
        .pools
        .iter()
        .flat_map(|pool| &pool.backends)
        .map(|b| b.capacity_rps)
        .collect()
}

fn flags(capacity: &[&str], peak: &[&str]) -> Side {
    let mut side = Side::default();
    for text in capacity {
        side.capacity(text).unwrap();
    }
    for text in peak {
        side.peak_rps(text).unwrap();
    }
    side
}

const FACTS: &str = r#"
[pool.app]
peak_rps = 900
headroom = "10%"
tolerance = "5%"
min_healthy = 2
n_plus_one = "refuse"
objective = { p99 = "300ms" }
keys = 500
top_key = "5%"
audit.severity = { TRF-07 = "warning" }
[pool.app.each]
capacity_rps = 600
zone = "a"
[pool.app.backend.a2]
capacity_rps = 300
version = "v2"
[pool."out|80|".backend."10.0.0.7:80"]
zone = "b"
[[audit.waiver]]
rule = "TRF-02"
pool = "out|80|"
reason = "one upstream"
until = 2027-01-31
"#;

#[test]
fn every_fact_lands_where_it_is_named() {
    let facts = side(FACTS, Some("facts.toml"));
    let (setup, origin, findings) = put(&facts);
    assert_eq!(findings, []);
    let app = setup.pool("app").unwrap();
    assert_eq!(
        (app.peak_rps, app.min_healthy, app.keys),
        (Some(900.0), Some(2), Some(500))
    );
    assert_eq!(
        (app.headroom, app.tolerance, app.top_key),
        (0.1, 0.05, Some(0.05))
    );
    assert_eq!(app.objective.map(|o| o.p99.as_millis()), Some(300));
    assert_eq!(
        app.policy.severities.get("TRF-07"),
        Some(&Severity::Warning)
    );
    assert_eq!(
        capacities(&setup),
        [Some(600.0), Some(300.0), Some(600.0), None]
    );
    let (_, a2) = app.backend("a2").unwrap();
    assert_eq!(
        (a2.zone.as_deref(), a2.version.as_deref()),
        (Some("a"), Some("v2"))
    );
    assert_eq!(setup.pools[1].backends[0].zone.as_deref(), Some("b"));
    assert_eq!(setup.waivers.len(), 1);
    let at = |path: &str| {
        let (file, place) = origin.locate(path);
        (
            file,
            place.map(|place| FACTS[Range::clone(&place.span)].to_owned()),
        )
    };
    let here = |text: &str| (Some("facts.toml".to_owned()), Some(text.to_owned()));
    assert_eq!(at("backend.app.peak_rps"), here("900"));
    assert_eq!(at("backend.app.server.a2.capacity_rps"), here("300"));
    assert_eq!(at("audit.waiver.0.reason"), here("\"one upstream\""));
}

#[test]
fn traffic_is_meant_to_follow_capacity_once_every_active_backend_has_one() {
    let intent = |text: &str| put(&side(text, None)).0.pools[0].intent;
    assert_eq!(
        intent("[pool.app.each]\ncapacity_rps = 1"),
        Intent::Capacity
    );
    let both = "[pool.app.backend.a1]\ncapacity_rps = 1\n[pool.app.backend.a2]\ncapacity_rps = 2\n";
    assert_eq!(intent(both), Intent::Capacity, "a backup needs none");
    assert_eq!(
        intent("[pool.app.backend.a1]\ncapacity_rps = 1"),
        Intent::Even
    );
    assert_eq!(
        intent("[pool.app]\nintent = \"weight\"\n[pool.app.each]\ncapacity_rps = 1"),
        Intent::Weight
    );
    assert_eq!(
        put(&flags(&["app=5"], &[])).0.pools[0].intent,
        Intent::Capacity
    );
    let (_, _, findings) = put(&side(
        "[pool.app]\nintent = \"capacity\"\n[pool.app.backend.a1]\ncapacity_rps = 1",
        None,
    ));
    assert_eq!(
        (findings[0].id, findings[0].path.as_str()),
        ("CFG-04", "pool.app.intent")
    );
    assert!(findings[0].message.contains("`a2`"));
}

#[test]
fn flags_are_for_everything_for_a_pool_or_for_a_backend_and_the_later_one_counts() {
    let of = |texts: &[&str]| capacities(&put(&flags(texts, &[])).0);
    assert_eq!(of(&["600"]), [Some(600.0); 4]);
    assert_eq!(
        of(&["app=600", "app/a2=50.5"]),
        [Some(600.0), Some(50.5), Some(600.0), None]
    );
    assert_eq!(
        of(&["out|80|/10.0.0.7:80=7"]),
        [None, None, None, Some(7.0)]
    );
    let (setup, _, _) = put(&flags(&[], &["900", "app=10"]));
    assert_eq!(
        setup.pools.iter().map(|p| p.peak_rps).collect::<Vec<_>>(),
        [Some(10.0), Some(900.0)]
    );
    let mut both = side(FACTS, None);
    both.capacity("app/a1=1").unwrap();
    assert_eq!(
        capacities(&put(&both).0)[0],
        Some(1.0),
        "a flag counts before the file"
    );
}

#[test]
fn a_flag_that_is_no_number_or_has_no_name_is_refused_with_its_forms() {
    for text in [
        "", "many", "app=", "=5", "app=-1", "app=0", "nan", "inf", "1e10",
    ] {
        let error = Side::default().capacity(text).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`--capacity {text}` is not understood")),
            "{error}"
        );
        assert!(error.contains("POOL/BACKEND=600"));
    }
    assert!(Side::default().peak_rps("app=x").is_err());
}

#[test]
fn a_name_that_does_not_exist_is_an_error_and_nothing_is_applied() {
    let cases = [
        (
            side("[pool.ap]\npeak_rps = 9", None),
            "pool.ap",
            "did you mean \"app\"?",
        ),
        (
            side(
                "[pool.app]\npeak_rps = 9\n[pool.app.backend.a3]\ncapacity_rps = 1",
                None,
            ),
            "pool.app.backend.a3",
            "did you mean \"a1\"?",
        ),
        (
            side(
                "[[audit.waiver]]\nrule = \"TRF-01\"\npool = \"apq\"\nreason = \"x\"\nuntil = 2027-01-01",
                None,
            ),
            "audit.waiver.0.pool",
            "did you mean \"app\"?",
        ),
        (flags(&["600", "ap/a1=5"], &[]), "", "did you mean \"app\"?"),
        (
            flags(&["600", "app/zzzzzzz=5"], &[]),
            "",
            "name a backend that exists",
        ),
        (flags(&["600"], &["app/a1=5"]), "", "did you mean \"app\"?"),
    ];
    for (side, path, fix) in cases {
        let (after, _, findings) = put(&side);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(
            (findings[0].id, findings[0].severity),
            ("CFG-05", Severity::Error)
        );
        assert_eq!(
            (findings[0].path.as_str(), findings[0].fix.as_str()),
            (path, fix)
        );
        assert_eq!(after, setup());
    }
}

#[test]
fn a_file_that_is_wrong_in_itself_is_shown_whole_and_not_applied() {
    let wrong = side(
        "[pool.app]\npeak_rsp = 9\nheadroom = 5\n[pool.app.each]\nweight = 3\n[listener.x]\n",
        Some("f"),
    );
    let (after, _, findings) = put(&wrong);
    let ids: Vec<_> = findings.iter().map(|f| (f.id, f.path.as_str())).collect();
    assert_eq!(
        ids,
        [
            ("CFG-02", "pool.app.peak_rsp"),
            ("CFG-03", "pool.app.headroom"),
            ("CFG-02", "pool.app.each.weight"),
            ("CFG-02", "listener"),
        ]
    );
    assert!(
        findings
            .iter()
            .all(|f| f.file.as_deref() == Some("f") && f.location.is_some())
    );
    assert_eq!(after, setup());
}

proptest! {
    #[test]
    fn arbitrary_side_files_never_panic(
        lines in proptest::collection::vec("(\\[{0,2}(pool|audit)(\\.(app|each|backend|waiver|a1)){0,3}\\]{0,2}|(capacity_rps|keys|intent|rule|zone|each|backend|audit)(\\.[a-z]){0,1} = [0-9a-z\"'%{}=.\\[\\]-]{0,8})", 0..12)
    ) {
        let text = lines.join("\n");
        let (after, _, findings) = put(&side(&text, None));
        let is_refused = findings.iter().any(|f| f.severity == Severity::Error);
        prop_assert!(!is_refused || after == setup(), "{}", text);
    }
}
