//! One spread in the words of three balancers: told apart, forecast alike, judged at the line.

use super::{HAPROXY, home, shares};
use crate::support::has_keys;

const FINDING: &str = "id severity message effect fix file line column path waived blocking";
const PLAN: &str =
    "format revision valid refused changes findings confidence gaps routes forecast current verify";
const BACKEND: &str = "name address intended_share expected_share share_low share_high expected_rps utilisation in_flight queue_seconds";

#[test]
fn the_files_of_three_balancers_are_recognised_and_forecast_alike() {
    let home = home();
    for (file, format) in [
        ("haproxy.cfg", "haproxy"),
        ("nginx.conf", "nginx"),
        ("envoy.yaml", "envoy"),
    ] {
        let view = home.offline(&["check", file, "--json"]).json();
        has_keys(&view, PLAN);
        assert_eq!(view["format"], format, "{file}");
        assert_eq!(view["confidence"], "high", "{file}: {:#}", view["gaps"]);
        let wanted = [1.0 / 12.0, 10.0 / 12.0, 1.0 / 12.0];
        let shares = shares(&view);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(shares.iter().zip(&wanted).all(close), "{file}: {shares:?}");
        let pool = &view["forecast"]["pools"][0];
        has_keys(&pool["backends"][0], BACKEND);
        assert_eq!(pool["backends"][0]["address"], "10.0.0.1:8080");
        assert_eq!(view["routes"][0]["targets"][0]["pool"], "app");
    }
}

#[test]
fn a_newcomer_with_only_a_haproxy_cfg_gets_the_typo_at_its_line_in_one_command() {
    let home = home();
    let ran = home.ends("check haproxy.cfg", 0);
    assert!(
        ran.err.contains("warning[TRF-0") && ran.err.contains("haproxy.cfg:12:"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("server web-2 10.0.0.2:8080 check weight 10"),
        "{}",
        ran.err
    );
    assert!(
        ran.out.contains("web-2      33.3 %    83.3 %"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("confidence: high"), "{}", ran.out);
    let last = ran.out.trim_end().lines().last().unwrap();
    assert!(last.contains("HAProxy, 1 pool with 3 backends"), "{last}");
    home.ends("check haproxy.cfg --deny warnings", 78);
}

#[test]
fn a_finding_in_an_included_file_has_its_file_and_line() {
    let home = home();
    let view = home.offline(&["check", "nginx.conf", "--json"]).json();
    let findings = view["findings"].as_array().unwrap();
    let typo = findings
        .iter()
        .find(|f| f["id"] == "TRF-01" || f["id"] == "TRF-02");
    let typo = typo.unwrap_or_else(|| panic!("{findings:#?}"));
    has_keys(typo, FINDING);
    assert!(
        typo["file"].as_str().unwrap().ends_with("conf.d/app.conf"),
        "{typo:#}"
    );
    let ran = home.ends("check nginx.conf", 0);
    assert!(ran.err.contains("conf.d/app.conf:"), "{}", ran.err);
}

#[test]
fn facts_by_flag_and_by_file_turn_shares_into_loads_and_an_overload_into_78() {
    let home = home();
    let load = |line: &str| {
        let view = home.ends(line, 78).json();
        view["forecast"]["pools"][0]["backends"][1]["utilisation"]
            .as_f64()
            .unwrap()
    };
    let flags = "check haproxy.cfg --json --capacity 600 --peak-rps 900";
    assert!((load(flags) - 1.25).abs() < 1e-9);
    home.write(
        "facts.toml",
        "[pool.app]\npeak_rps = 900\n[pool.app.each]\ncapacity_rps = 600\n",
    );
    assert!((load("check haproxy.cfg --json --facts facts.toml") - 1.25).abs() < 1e-9);
    home.write("wrong.toml", "[pool.ap]\npeak_rps = 900\n");
    let wrong = home.ends("check haproxy.cfg --facts wrong.toml", 78);
    assert!(
        wrong.err.contains("CFG-05") && wrong.err.contains("app"),
        "{}",
        wrong.err
    );
    home.ends("check haproxy.cfg --capacity much", 64);
    home.ends("check evenkeel.toml --format evenkeel --capacity 600", 64);
}

#[test]
fn a_backend_asked_to_be_down_leaves_its_share_to_the_others() {
    let home = home();
    let view = home
        .ends("check haproxy.cfg --json --without app/web-2", 0)
        .json();
    let shares = shares(&view);
    assert!(
        (shares[0] - 0.5).abs() < 1e-9 && shares[1].abs() < 1e-9,
        "{shares:?}"
    );
    let wrong = home.ends("check haproxy.cfg --without app/web-9", 64);
    assert!(wrong.err.contains("app/web-1, app/web-2"), "{}", wrong.err);
    home.ends("check haproxy.cfg --without web-9", 64);
    let cases = home.ends("check haproxy.cfg --cases", 0).out;
    assert!(cases.contains("backend:app/web-3 out"), "{cases}");
}

#[test]
fn what_is_not_understood_is_listed_and_lowers_confidence() {
    let home = home();
    home.write(
        "odd.cfg",
        &HAPROXY.replace(
            "    option httpchk",
            "    frobnicate twice\n    option httpchk",
        ),
    );
    let ran = home.ends("check odd.cfg", 0);
    assert!(
        ran.out.contains("not judged (1):") && ran.out.contains("`frobnicate twice`"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("confidence: high"), "{}", ran.out);
    let view = home.ends("check odd.cfg --json", 0).json();
    assert_eq!(view["gaps"][0]["line"], 10, "{:#}", view["gaps"]);
}

#[test]
fn two_files_of_another_balancer_are_compared_share_by_share() {
    let home = home();
    home.write("next.cfg", &HAPROXY.replace("weight 10", "weight 1"));
    let line = "plan next.cfg --offline --current haproxy.cfg";
    let ran = home.ends(line, 0);
    for wanted in [
        "[pool.app.backend.web-2]\n  ~ weight: 10 -> 1",
        "web-2      33.3 %  83.3 %  33.3 %",
        "Risk: medium: web-2 goes from 83.3 % to 33.3 % of `app`",
    ] {
        assert!(ran.out.contains(wanted), "{wanted}\n{}", ran.out);
    }
    home.ends(&format!("{line} --detailed-exitcode"), 2);
    home.ends(
        "plan haproxy.cfg --offline --current haproxy.cfg --detailed-exitcode",
        0,
    );
    home.ends("plan haproxy.cfg", 64);
    home.ends("plan next.cfg --offline --current missing.cfg", 78);
}

#[test]
fn markdown_for_a_request_is_the_same_twice_and_names_no_place_of_this_machine() {
    let home = home();
    let mut seen = Vec::new();
    for line in [
        "check haproxy.cfg --output markdown",
        "plan haproxy.cfg --offline --current haproxy.cfg --output markdown",
    ] {
        let (first, second) = (home.ends(line, 0).out, home.ends(line, 0).out);
        assert_eq!(first, second);
        let here = home.dir().to_string_lossy().into_owned();
        assert!(
            !first.contains(&here) && !first.contains('\u{1b}'),
            "{first}"
        );
        assert!(
            first.contains("<details><summary>Forecast") && first.starts_with("### "),
            "{first}"
        );
        seen.push(first);
    }
    assert!(seen[0].contains("| warning TRF-"), "{}", seen[0]);
}
