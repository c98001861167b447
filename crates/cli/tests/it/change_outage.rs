//! The outage that the product exists for, on parts that this project did not write: nginx behind it, wrk before it.
//!
//! nginx answers at once, so nobody is harmed: what triggers is a backend above its planned limit (80 % of 60 requests
//! per second). wrk counts what its clients saw.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, Process, heavy, until};

/// An nginx that answers every request, on a port of its own.
struct Nginx {
    _process: Process,
    address: SocketAddr,
}

impl Nginx {
    fn start(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let path = dir.display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {path}/access.log;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  keepalive_requests 1000000;
  server {{ listen {address}; location / {{ return 200 \"{name}\\n\"; }} }}
}}
"
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let process = Process::start(
            Command::new("nginx")
                .args(["-p", dir.to_str().unwrap(), "-c", "nginx.conf", "-e"])
                .arg(dir.join("error.log"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let nginx = Self {
            _process: process,
            address,
        };
        until("nginx listens", PATIENCE, || {
            std::net::TcpStream::connect(address).ok()
        });
        nginx
    }
}

/// Written by hand as README.md shows it, with what this machine can carry.
fn by_hand(backends: &[Nginx], first_weight: u32) -> String {
    let mut text = "[admin]\naddress = \"127.0.0.1:0\"\n\n[listener.web]\naddress = \"127.0.0.1:0\"\n
[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n
[pool.shop]\nalgorithm = \"round_robin\"\nintent = \"capacity\"\npeak_rps = 90\nheadroom = \"20%\"\ntolerance = \"20%\"
min_healthy = 2\nobjective = { error_rate = \"1%\", p99 = \"500ms\" }\n
[pool.shop.health]\npath = \"/\"\ninterval = \"1s\"\n"
        .to_owned();
    for (n, (backend, zone)) in backends.iter().zip(["a", "b", "c"]).enumerate() {
        let (n, weight) = (n + 1, if n == 0 { first_weight } else { 1 });
        let address = backend.address;
        let backend = format!(
            "\n[pool.shop.backend.web-{n}]\naddress = \"{address}\"\nweight = {weight}\ncapacity_rps = 60\nzone = \"{zone}\"\nversion = \"v1\"\n"
        );
        text.push_str(&backend);
    }
    text
}

/// Some 90 requests per second: nine clients that wait 100 ms after each answer.
fn wrk(home: &Home, target: SocketAddr) -> Process {
    let pace = home.write("pace.lua", "function delay() return 100 end\n");
    let out = fs::File::create(home.dir().join("wrk.txt")).unwrap();
    Process::start(
        Command::new("wrk")
            .args(["-t1", "-c9", "-d600s", "-s", pace.to_str().unwrap()])
            .arg(format!("http://{target}/"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null()),
    )
}

/// Ends wrk and gives its count of requests and of failures.
fn wrk_saw(home: &Home, mut wrk: Process) -> (u64, Vec<String>) {
    crate::support::run(Command::new("kill").args(["-s", "INT", &wrk.0.id().to_string()]))
        .expect(0);
    wrk.ended(PATIENCE);
    let text = fs::read_to_string(home.dir().join("wrk.txt")).unwrap();
    let sent = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .unwrap()
        .0
        .parse()
        .unwrap();
    let bad = |line: &&str| line.contains("Non-2xx") || line.contains("Socket errors");
    (sent, text.lines().filter(bad).map(str::to_owned).collect())
}

fn instant(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn seconds(from: &Value, to: &Value) -> f64 {
    instant(from).duration_until(instant(to)).as_secs_f64()
}

fn shares(instance: &Instance) -> Vec<f64> {
    let status = instance.status();
    let backends = status["pools"][0]["backends"].as_array().unwrap().clone();
    backends
        .iter()
        .filter_map(|b| b["observed_share"].as_f64())
        .collect()
}

/// Whether each of three backends gets a third.
fn even(instance: &Instance) -> bool {
    let shares = shares(instance);
    shares.len() == 3 && shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.03)
}

#[test]
fn a_forced_weight_typo_before_nginx_is_found_explained_undone_and_refused_from_then_on() {
    let _alone = heavy();
    let home = Home::new("");
    let backends: Vec<Nginx> = ["web-1", "web-2", "web-3"]
        .iter()
        .map(|name| Nginx::start(home.dir(), name))
        .collect();
    home.write("evenkeel.toml", &by_hand(&backends, 1));
    home.write("typo.toml", &by_hand(&backends, 10));
    let instance = home.start(&[]);
    let traffic = wrk(&home, instance.front());
    instance.ask("deploy record shop v2 --note 'a decoy'");
    until("even shares", PATIENCE, || even(&instance).then_some(()));

    // Without force it never touches traffic.
    let refused = instance
        .ends("--json apply typo.toml --yes --reason capacity", 3)
        .json();
    assert_eq!(refused["findings"][0]["id"], "TRF-02", "{refused:#}");
    assert_eq!(instance.status()["revision"], "r1");
    assert!(even(&instance));
    until("the end of the hold of a start", PATIENCE, || {
        instance.status()["hold"].is_null().then_some(())
    });

    let undone = instance
        .ends("--json apply typo.toml --yes --force --reason capacity", 4)
        .json();
    assert_eq!(undone["revision"], "r2", "{undone:#}");
    let waited = undone["waited_seconds"].as_f64().unwrap();
    println!("undone {waited:.1} s after the command began");
    assert!(waited < 30.0, "{undone:#}");
    let id = undone["incident"].as_str().unwrap().to_owned();
    let (detected, restored) = the_incident_tells_what_was_when(&instance, &id);
    println!("detected after {detected:.1} s, restored after {restored:.1} s");
    until("even shares again", PATIENCE, || {
        even(&instance).then_some(())
    });
    home.write("evenkeel.toml", &by_hand(&backends, 10));
    the_content_is_in_quarantine(&instance, &id);

    let (sent, bad) = wrk_saw(&home, traffic);
    println!("wrk: {sent} requests, {bad:?}");
    assert!(sent > 1_000 && bad.is_empty(), "{sent} requests, {bad:?}");
    drop(backends);
}

/// Gives the seconds to detection and to recovery.
fn the_incident_tells_what_was_when(instance: &Instance, id: &str) -> (f64, f64) {
    instance.when("harm stopped and resolved", Duration::from_secs(60), |s| {
        s["state"] == "ok" && s["incident"].is_null()
    });
    let incident = instance.ask(&format!("incident show {id}"));
    let applied = instance.ask("history")["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["id"] == "r2")
        .unwrap()
        .clone();
    assert_eq!(applied["state"], "rolled_back");
    assert_eq!(applied["incident"], id);
    let detected = seconds(&applied["at"], &incident["detected_at"]);
    let restored = seconds(&applied["at"], &incident["mitigated_at"]);
    assert!(
        (0.0..=10.0).contains(&detected),
        "detected after {detected} s"
    );
    assert!(
        (0.0..=30.0).contains(&restored),
        "restored after {restored} s"
    );
    let diagnosis = &incident["diagnosis"];
    let blamed = ["cause", "mechanism", "subject"].map(|key| diagnosis[key].as_str().unwrap());
    assert_eq!(
        blamed,
        ["config_revision", "weight", "revision:r2"],
        "{diagnosis:#}"
    );
    let decoy = diagnosis["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["cause"] == "deployment")
        .unwrap_or_else(|| panic!("the decoy was not considered: {diagnosis:#}"));
    assert!(
        !decoy["against"].as_array().unwrap().is_empty(),
        "{decoy:#}"
    );
    (detected, restored)
}

/// The same content is refused to people and to SIGHUP, and the incident is named; a person may force it.
fn the_content_is_in_quarantine(instance: &Instance, id: &str) {
    let again = instance
        .ends("--json apply typo.toml --yes --reason 'once more'", 3)
        .json();
    let named = again["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["id"] == "CHG-02");
    assert!(
        named.unwrap()["message"].as_str().unwrap().contains(id),
        "{again:#}"
    );
    assert_eq!(again["incident"], id);
    let running = instance.status()["revision"].clone();
    instance.signal("HUP");
    until("SIGHUP is refused by CHG-02", PATIENCE, || {
        instance.log().contains("CHG-02").then_some(())
    });
    assert_eq!(instance.status()["revision"], running);
    instance.ends(
        "apply typo.toml --yes --wait 0s --force --reason 'it was right'",
        0,
    );
    assert_ne!(instance.status()["revision"], running);
    instance.ends("rollback --yes --reason 'it was not'", 0);
}
