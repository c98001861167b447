//! Deployments on the real binary: steps, the comparison that aborts, kill and resume, refusals.

use std::time::Duration;

use evenkeel_shop::{Fault, FaultKind, ServerHandle, StubOptions};
use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, has_keys, heavy, load, nobody, until};

/// Requests per second.
const RATE: f64 = 200.0;

/// Two backends of v1 and two of v2 that wait.
fn config(addresses: &[String]) -> String {
    let mut text = r#"[admin]
address = "127.0.0.1:0"
[listener.web]
address = "127.0.0.1:0"
[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"
[pool.shop]
peak_rps = 300
harmed_clients_min = 1
[pool.shop.health]
path = "/healthz"
interval = "1s"
"#
    .to_owned();
    for (n, address) in addresses.iter().enumerate() {
        let (name, version) = (n + 1, if n < 2 { "v1" } else { "v2" });
        let weight = if n < 2 { "" } else { "weight = 0\n" };
        let backend = format!(
            "[pool.shop.backend.web-{name}]\naddress = \"{address}\"\ncapacity_rps = 400\nversion = \"{version}\"\n{weight}"
        );
        text.push_str(&backend);
    }
    text
}

fn stubs() -> Vec<ServerHandle> {
    let stub = |n: usize| {
        evenkeel_shop::spawn_stub(StubOptions {
            name: format!("web-{n}"),
            version: if n <= 2 { "v1" } else { "v2" }.to_owned(),
            ..StubOptions::default()
        })
        .unwrap()
    };
    (1..=4).map(stub).collect()
}

fn served(stubs: &[ServerHandle]) -> Home {
    let addresses: Vec<String> = stubs.iter().map(|s| s.address().to_string()).collect();
    Home::new(&config(&addresses))
}

fn rollout(instance: &Instance) -> Value {
    instance.ask("deploy status")["rollouts"][0].clone()
}

/// What v2 has of the traffic, as seen.
fn share(status: &Value) -> f64 {
    let of = |n: usize| status["pools"][0]["backends"][n]["observed_share"].as_f64();
    of(2).unwrap_or(-1.0) + of(3).unwrap_or(-1.0)
}

#[test]
fn a_canary_goes_to_the_end_by_steps_is_kept_over_a_kill_and_can_be_taken_back() {
    let _alone = heavy();
    let stubs = stubs();
    let home = served(&stubs);
    let instance = home.start(&[]);
    let traffic = load(instance.front(), RATE);
    instance.when("v1 has it all", PATIENCE, |s| share(s) == 0.0);
    let view = instance
        .ask("deploy start shop v2 --steps 10%,60%,100% --step-min 8s --reason 'release 41'");
    has_keys(
        &view,
        "pool deployment version state share incident findings waited_seconds message",
    );
    assert_eq!(
        (&view["state"], &view["deployment"]),
        (&Value::from("running"), &Value::from("d1"))
    );
    let status = instance.when("v2 gets a tenth", PATIENCE, |s| {
        (share(s) - 0.1).abs() < 0.05
    });
    let backend = &status["pools"][0]["backends"][2];
    assert_eq!(backend["verdict"], "explained");
    assert_eq!(
        backend["reason"],
        "deployment d1: v2 gets 10 % (canary, step 1 of 3)"
    );
    // Another change of the pool would be mixed up with it.
    let text = std::fs::read_to_string(home.dir().join("evenkeel.toml")).unwrap();
    home.write("next.toml", &text.replace("weight = 0", "weight = 1"));
    let refused = instance.ends("apply next.toml --yes --reason x", 3);
    assert!(refused.err.contains("deployment d1 of v2"), "{refused:#?}");
    let again = instance.ends("deploy start shop v2", 3);
    assert!(again.err.contains("d1 of v2 is under way"), "{again:#?}");
    until("the second step", PATIENCE, || {
        (rollout(&instance)["step"] == 2).then_some(())
    });
    instance.kill();
    drop(traffic);

    let instance = home.start(&[]);
    let resumed = rollout(&instance);
    assert_eq!(
        (&resumed["step"], &resumed["state"]),
        (&Value::from(2), &Value::from("running"))
    );
    let _traffic = load(instance.front(), RATE);
    instance.when("v2 has its share again", PATIENCE, |s| {
        (share(s) - 0.6).abs() < 0.1
    });
    instance.ask("deploy promote shop --reason 'looks good'");
    until("the end", PATIENCE, || {
        (rollout(&instance)["state"] == "done").then_some(())
    });
    let text = instance.ends("deploy status", 0).out;
    assert!(
        text.contains("does not say so yet") && text.contains("comparison:"),
        "{text}"
    );
    instance.when("v2 has it all", PATIENCE, |s| share(s) > 0.99);
    let history = instance.ask("history");
    let told = &history["deployments"][0];
    assert_eq!(
        (&told["state"], &told["revision"]),
        (&Value::from("done"), &Value::from("r1"))
    );

    instance.ends("deploy abort shop --reason 'the old one, please'", 0);
    instance.when("v1 has it all", PATIENCE, |s| share(s) == 0.0);
    until("nothing shapes the traffic", PATIENCE, || {
        rollout(&instance).is_null().then_some(())
    });
    let again = instance.ends("deploy abort shop", 3);
    assert!(again.err.contains("CHG-08"), "{again:#?}");
    assert_eq!(instance.status()["incident"], Value::Null);
}

#[test]
fn a_version_that_fails_is_taken_back_by_itself_and_the_incident_names_it() {
    let _alone = heavy();
    let stubs = stubs();
    for stub in &stubs[2..] {
        stub.inject(Fault {
            kind: FaultKind::Errors { rate: 0.6 },
            ttl: Duration::from_secs(300),
        })
        .unwrap();
    }
    let home = served(&stubs);
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), RATE);
    instance.when("v1 has it all", PATIENCE, |s| share(s) == 0.0);
    let ended = instance.ends(
        "--json deploy start shop v2 --steps 10%,100% --step-min 10s --wait 60s",
        4,
    );
    let view = ended.json();
    assert_eq!(view["state"], "aborted", "{view:#}");
    let incident = view["incident"].as_str().unwrap().to_owned();
    let shown = instance.ask(&format!("incident show {incident}"));
    let diagnosis = &shown["diagnosis"];
    assert_eq!(diagnosis["cause"], "deployment", "{shown:#}");
    assert_eq!(diagnosis["mechanism"], "errors");
    assert_eq!(diagnosis["subject"], "deployment:shop/v2");
    let actions = shown["actions"].as_array().unwrap();
    assert!(actions.iter().any(|a| a["kind"] == "abort"), "{shown:#}");
    instance.when("v1 has it all again", PATIENCE, |s| share(s) == 0.0);
    instance.when("it is over", Duration::from_secs(90), |s| {
        s["incident"].is_null()
    });
}

#[test]
fn what_cannot_be_deployed_is_told_why() {
    let addresses: Vec<String> = nobody().iter().map(ToString::to_string).collect();
    let four = [addresses.clone(), vec!["127.0.0.1:4".to_owned()]].concat();
    let text = config(&four).replace(
        "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"1s\"\n",
        "",
    );
    let home = Home::new(&text);
    let instance = home.start(&[]);
    for (line, code, said) in [
        ("deploy start shp v2", 64, "did you mean `shop`?"),
        (
            "deploy start shop v2 --strategy fast",
            64,
            "canary, rolling or blue-green",
        ),
        ("deploy start shop v2 --force", 64, "--reason"),
        ("deploy start shop v2 --steps 5%,x", 1, "x"),
        (
            "deploy start shop v2 --step-min 0s",
            1,
            "a step lasts at least 1s",
        ),
        (
            "deploy start shop v3",
            3,
            "no backend of pool `shop` has this version",
        ),
        ("deploy start shop v1", 3, "v1 has all the traffic already"),
        (
            "deploy start shop v2 --steps 5%,50%",
            3,
            "the last step must be 100 %",
        ),
        (
            "deploy promote shop",
            3,
            "no deployment of pool `shop` is under way",
        ),
        ("deploy abort shop", 3, "could be aborted"),
    ] {
        let ran = instance.ends(line, code);
        assert!(ran.err.contains(said), "{line}: {ran:#?}");
    }
    // Two of 250 rps cannot carry this peak alone.
    let weak = "capacity_rps = 250\nversion = \"v2\"";
    let full = text
        .replace("peak_rps = 300", "peak_rps = 500")
        .replace("capacity_rps = 400\nversion = \"v2\"", weak);
    let home = Home::new(&full);
    let instance = home.start(&[]);
    let refused = instance.ends("deploy start shop v2", 3);
    assert!(
        refused.err.contains("CAP-01")
            && refused.err.contains("100.0 % of its capacity of 250 rps"),
        "{refused:#?}"
    );
    let forced = instance.ask("deploy start shop v2 --force --reason 'more come'");
    assert_eq!(forced["state"], "running");
}
