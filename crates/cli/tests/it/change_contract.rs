//! Exit codes and JSON keys of the commands about changes, as the contract lists them.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, Instance, LOAD_RPS, addresses, config, has_keys, load, nobody, stubs};

const FINDING: &str = "id severity message effect fix file line column";
const FORECAST_BACKEND: &str = "name intended_share expected_share expected_rps utilisation";
const CHANGE: &str = "revision parent state findings forecast incident waited_seconds";
const BACKEND: &str = "name intended_share expected_share observed_share ci_low ci_high verdict reason rps p50_ms p99_ms error_rate in_flight cpu memory health version";

fn forecast_has_its_keys(forecast: &Value) {
    has_keys(forecast, "pools failures");
    let pool = &forecast["pools"][0];
    has_keys(pool, "name backends");
    has_keys(&pool["backends"][0], FORECAST_BACKEND);
    let failure = &forecast["failures"][0];
    has_keys(failure, "out pools");
    assert_eq!(failure["out"], "backend:shop/web-1");
}

#[test]
fn check_and_an_offline_plan_end_with_the_codes_and_keys_of_the_contract() {
    let home = Home::new(&config(&nobody(), [1, 1, 1], ""));
    home.write("typo.toml", &config(&nobody(), [10, 1, 1], ""));
    home.write(
        "slower.toml",
        &config(&nobody(), [1, 1, 1], "").replace("\"500ms\"", "\"600ms\""),
    );
    home.write("bad.toml", "[listener.web]\naddres = \"127.0.0.1:0\"\n");
    home.write(
        "warned.toml",
        &config(&nobody(), [1, 1, 1], "").replace("peak_rps = 90", "peak_rps = 130"),
    );
    let codes = [
        ("check evenkeel.toml", 0),
        ("check typo.toml", 78),
        ("check bad.toml", 78),
        ("check missing.toml", 78),
        ("check warned.toml", 0),
        ("check warned.toml --deny warnings", 78),
        ("check evenkeel.toml --deny warnings", 0),
        ("plan slower.toml --offline --current evenkeel.toml", 0),
        (
            "plan slower.toml --offline --current evenkeel.toml --detailed-exitcode",
            2,
        ),
        (
            "plan evenkeel.toml --offline --current evenkeel.toml --detailed-exitcode",
            0,
        ),
        (
            "plan typo.toml --offline --current evenkeel.toml --detailed-exitcode",
            3,
        ),
        ("plan bad.toml --offline --current evenkeel.toml", 78),
        ("plan evenkeel.toml --offline", 64),
        ("check", 64),
        ("no-such-command", 64),
        ("apply typo.toml --force", 64),
    ];
    for (line, code) in codes {
        home.ends(line, code);
    }
    let errors = home.ends("--json check typo.toml", 78).json();
    let finding = errors["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["severity"] == "error")
        .unwrap();
    has_keys(finding, FINDING);
    assert_eq!(finding["id"], "TRF-02", "{finding:#}");
    assert!(finding["line"].as_u64().unwrap() > 0 && finding["column"].as_u64().unwrap() > 0);
    assert!(finding["file"].as_str().unwrap().ends_with("typo.toml"));
    forecast_has_its_keys(&errors["forecast"]);
    let plan = home
        .ends("--json plan typo.toml --offline --current evenkeel.toml", 3)
        .json();
    forecast_has_its_keys(&plan["forecast"]);
    has_keys(&plan["findings"][0], FINDING);
    let worst = plan["forecast"]["pools"][0]["backends"][0]["utilisation"]
        .as_f64()
        .unwrap();
    assert!(
        (worst - 1.25).abs() < 0.01,
        "75 of 60 requests per second, got {worst}"
    );
}

#[test]
fn every_command_that_needs_an_instance_says_so_with_69() {
    let home = Home::new(&config(&nobody(), [1, 1, 1], ""));
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    home.write("token", "0123456789abcdef0123456789abcdef\n");
    let commands = [
        "status",
        "history",
        "diff r1 r2",
        "plan evenkeel.toml",
        "apply evenkeel.toml --yes",
        "rollback --yes",
        "confirm",
        "incident list",
        "incident ack i1",
        "deploy record shop v2",
    ];
    for command in commands {
        let line = format!("--admin {free} --token-file token {command}");
        let ran = home.ends(&line, 69);
        assert!(ran.err.contains(&free) && ran.out.is_empty(), "{ran:#?}");
    }
}

#[test]
fn a_change_is_verified_by_traffic_and_every_command_about_it_has_its_codes_and_keys() {
    let backends = stubs();
    let addresses = addresses(&backends);
    let first = config(&addresses, [1, 1, 1], "");
    let home = Home::new(&first);
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), LOAD_RPS);
    home.write("typo.toml", &config(&addresses, [10, 1, 1], ""));
    home.write("bad.toml", "[listener.web]\naddres = \"127.0.0.1:0\"\n");
    home.write("other.toml", &first.replace("\"500ms\"", "\"600ms\""));
    home.write(
        "next.toml",
        &first.replace("algorithm = \"round_robin\"", "algorithm = \"random\""),
    );
    refusals_change_nothing(&instance);
    changes_are_verified_one_at_a_time(&instance);
    status_and_history_tell_of_them(&instance);
    the_first_revision_comes_back(&instance);
    has_keys(&instance.ask("incident list"), "incidents");
}

fn refusals_change_nothing(instance: &Instance) {
    instance.ends("plan evenkeel.toml --detailed-exitcode", 0);
    instance.ends("plan other.toml --detailed-exitcode", 2);
    instance.ends("plan other.toml", 0);
    instance.ends("plan typo.toml", 3);
    instance.ends("plan bad.toml", 78);
    instance.ends("apply bad.toml --yes", 78);
    let refused = instance
        .ends("--json apply typo.toml --yes --reason typo", 3)
        .json();
    has_keys(&refused, CHANGE);
    assert_eq!(refused["state"], "refused");
    has_keys(&refused["findings"][0], FINDING);
    forecast_has_its_keys(&refused["forecast"]);
    let moved = instance
        .ends("--json apply other.toml --yes --base r7", 3)
        .json();
    assert_eq!(moved["findings"][0]["id"], "CHG-01", "{moved:#}");
    instance.ends("apply other.toml --yes --base seven", 1);
    instance.ends("incident show i99", 1);
    instance.ends("incident ack i99", 1);
    instance.ends("diff r1 r99", 1);
    instance.ends("rollback r99 --yes", 1);
    // Nothing of all this touched the traffic or the record.
    assert_eq!(instance.status()["revision"], "r1");
    assert_eq!(
        instance.ask("history")["revisions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

fn changes_are_verified_one_at_a_time(instance: &Instance) {
    let now = instance
        .ends(
            "--json apply next.toml --yes --wait 0s --base r1 --reason 'spread by chance'",
            0,
        )
        .json();
    assert_eq!(
        (&now["revision"], &now["parent"]),
        (&Value::from("r2"), &Value::from("r1")),
        "{now:#}"
    );
    let busy = instance
        .ends("--json apply other.toml --yes --reason 'too early'", 3)
        .json();
    assert_eq!(busy["findings"][0]["id"], "CHG-03", "{busy:#}");
    instance.when("evidence for r2", Duration::from_secs(60), |s| {
        s["revision_state"] == "verified"
    });
    let done = instance
        .ends("--json apply other.toml --yes --reason 'more time'", 0)
        .json();
    has_keys(&done, CHANGE);
    assert_eq!(done["state"], "verified", "{done:#}");
    assert!(
        done["waited_seconds"].as_f64().unwrap() >= 10.0,
        "evidence takes at least 10 s: {done:#}"
    );
    assert_eq!(done["revision"], "r3");
}

fn status_and_history_tell_of_them(instance: &Instance) {
    let status = instance.status();
    has_keys(&status, "revision state incident audit journal pools");
    has_keys(&status["audit"], "at errors warnings next");
    assert_eq!(status["journal"], "ok");
    for backend in status["pools"][0]["backends"].as_array().unwrap() {
        has_keys(backend, BACKEND);
        let share = backend["observed_share"].as_f64().unwrap();
        assert!((share - 1.0 / 3.0).abs() < 0.02, "{backend:#}");
        assert_eq!(backend["verdict"], "ok", "{backend:#}");
    }
    let history = instance.ask("history");
    let states: Vec<&str> = history["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["state"].as_str().unwrap())
        .collect();
    for revision in history["revisions"].as_array().unwrap() {
        has_keys(revision, "id hash parent author reason state at");
    }
    assert_eq!(
        states,
        ["verified", "superseded", "superseded"],
        "{history:#}"
    );
}

fn the_first_revision_comes_back(instance: &Instance) {
    instance.ends("confirm r1", 3);
    let back = instance
        .ends("--json rollback r1 --yes --reason 'as it was'", 0)
        .json();
    has_keys(&back, CHANGE);
    let content = |id: &str| {
        instance.ask(&format!("diff r1 {id}"))["changes"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(content(instance.status()["revision"].as_str().unwrap()), 0);
    assert_ne!(content("r3"), 0);
}
