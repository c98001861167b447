//! Deployments told by signed messages, on the real binary: what is believed, what is refused and why, and that the
//! diagnosis takes them as it takes those of `deploy record`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_notify::Secret;
use evenkeel_shop::{Fault, FaultKind, ServerHandle};
use serde_json::{Value, json};

use crate::boot_disk::{bytes_per_file, start};
use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, addresses, config, heavy, load, request, stubs, until,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WEBHOOK: &str = "[webhook.argo]\nsecret_file = \"argo.secret\"\n";

/// A message and how it is sent.
struct Message<'a> {
    to: &'a str,
    id: &'a str,
    body: String,
    /// Seconds from now.
    age: i64,
    secret: &'a str,
}

fn about(kind: &str, data: &Value) -> String {
    json!({ "type": format!("deployment.{kind}"), "data": data }).to_string()
}

fn of_v2(kind: &str) -> String {
    about(kind, &json!({ "pool": "shop", "version": "v2" }))
}

fn message(id: &str, body: String) -> Message<'_> {
    Message {
        to: "argo",
        id,
        body,
        age: 0,
        secret: SECRET,
    }
}

/// Status and JSON of the answer.
fn send(instance: &Instance, message: &Message<'_>) -> (u16, Value) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let timestamp = now.as_secs().saturating_add_signed(-message.age);
    let secret = Secret::parse(message.secret).unwrap();
    let signature = secret.sign(message.id, timestamp, &message.body);
    let Message { to, id, body, .. } = message;
    let (admin, length) = (instance.admin, body.len());
    let (head, answer) = request(
        instance.admin,
        &format!(
            "POST /api/webhooks/{to} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nwebhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n\
             webhook-signature: v1,other {signature}\r\n\r\n{body}"
        ),
    );
    let status = head[9..12].parse().unwrap_or_else(|_| panic!("{head}"));
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

fn served(backends: &[ServerHandle]) -> Home {
    let text = config(&addresses(backends), [1, 1, 1], WEBHOOK);
    let home = Home::new(&text);
    home.write("argo.secret", &format!("{SECRET}\n"));
    home
}

fn deployments(instance: &Instance) -> Vec<Value> {
    let history = instance.ask("history");
    history["deployments"].as_array().unwrap().clone()
}

#[test]
fn a_signed_message_is_recorded_once_and_its_end_with_it_over_a_kill_and_a_full_disk() {
    let backends = stubs();
    let home = served(&backends);
    let instance = home.start(&[]);
    let first = json!({ "deployment": "d1", "repeated": false });
    let again = json!({ "deployment": "d1", "repeated": true });
    let started = message("msg_1", of_v2("started"));
    assert_eq!(send(&instance, &started), (200, first.clone()));
    assert_eq!(send(&instance, &started), (200, again.clone()));
    instance.kill();

    let instance = start(&home);
    assert_eq!(
        send(&instance, &started),
        (200, again),
        "known over a restart"
    );
    let finished = message("msg_2", of_v2("finished"));
    assert_eq!(send(&instance, &finished), (200, first));
    let all = deployments(&instance);
    assert_eq!(all.len(), 1, "{all:#?}");
    let told = ["author", "told", "revision"].map(|key| all[0][key].as_str().unwrap());
    assert_eq!(told, ["argo", "finished", "r1"]);
    assert!(all[0]["ended_at"].is_string(), "{all:#?}");
    let text = instance.ends("deploy status", 0).out;
    assert!(text.contains("recorded: finished"), "{text}");

    // A deployment happened whether it can be written down or not.
    bytes_per_file(&instance, "0");
    let (status, answer) = send(&instance, &message("msg_3", of_v2("rolled_back")));
    assert_eq!((status, &answer["deployment"]), (200, &json!("d2")));
    instance.when("the journal is degraded", PATIENCE, |s| {
        s["journal"] == "degraded"
    });
    bytes_per_file(&instance, "unlimited");
    instance.when("the journal takes entries again", PATIENCE, |s| {
        s["journal"] == "ok"
    });
    until("what waited is written", PATIENCE, || {
        (deployments(&instance).len() == 2).then_some(())
    });
    assert_eq!(deployments(&instance)[0]["told"], "rolled_back");
}

/// Messages that are refused: status, and what the error says.
fn refused() -> Vec<(Message<'static>, u16, &'static str)> {
    let good = || message("msg_1", of_v2("finished"));
    let unknown = |data: Value| message("msg_1", about("finished", &data));
    let (v2, stranger) = (json!("v2"), json!(["web-9"]));
    let (mut forged, mut old, mut early, mut nobody) = (good(), good(), good(), good());
    forged.secret = OTHER;
    old.age = 301;
    early.age = -330;
    nobody.to = "nobody";
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    let wrong_pool = unknown(json!({ "pool": "shp", "version": v2 }));
    let wrong_backend = unknown(json!({ "pool": "shop", "version": v2, "backends": stranger }));
    let wrong_version = unknown(json!({ "pool": "shop", "version": "v 2" }));
    vec![
        (forged, 401, "no signature"),
        (old, 401, "webhook-timestamp"),
        (early, 401, "webhook-timestamp"),
        (message("", of_v2("finished")), 401, "webhook-id"),
        (nobody, 404, "[webhook.nobody]"),
        (message("msg_1", large), 413, "65536 bytes"),
        (wrong_pool, 422, "there is `shop`"),
        (wrong_backend, 422, "it has `web-1`, `web-2`, `web-3`"),
        (wrong_version, 422, "v 2"),
        (
            message("msg_1", of_v2("begun")),
            422,
            "`deployment.started`",
        ),
        (
            message("msg_1", "{}".to_owned()),
            422,
            "{type, timestamp, data",
        ),
    ]
}

#[test]
fn what_is_not_believed_or_not_understood_is_refused_with_its_reason_and_counted() {
    let backends = stubs();
    let home = served(&backends);
    let instance = home.start(&[]);
    for (message, status, why) in refused() {
        let (got, answer) = send(&instance, &message);
        let error = answer["error"].as_str().unwrap_or_default();
        assert_eq!(got, status, "{}: {answer}", message.body);
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(deployments(&instance), [Value::Null; 0]);
    // A token is no signature.
    let admin = instance.admin;
    let token = std::fs::read_to_string(home.data().join("admin.token")).unwrap();
    let head = format!(
        "POST /api/webhooks/argo HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: 2\r\n\
         Authorization: Bearer {}\r\n\r\n{{}}",
        token.trim()
    );
    assert!(request(admin, &head).0.starts_with("HTTP/1.1 401"));
    // A secret that is gone is no reason to believe anybody; a new one counts at once.
    let mut message = message("msg_1", of_v2("finished"));
    std::fs::remove_file(home.dir().join("argo.secret")).unwrap();
    assert_eq!(send(&instance, &message).0, 503);
    home.write("argo.secret", OTHER);
    assert_eq!(send(&instance, &message).0, 401);
    message.secret = OTHER;
    assert_eq!(send(&instance, &message).0, 200);
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let (_, scrape) = request(admin, &get);
    let counts = [
        ("not_signed", 6),
        ("refused", 6),
        ("failed", 1),
        ("recorded", 1),
    ];
    for (outcome, count) in counts {
        let line = format!("outcome=\"{outcome}\"}} {count}");
        assert!(scrape.contains(&line), "{line}: {scrape}");
    }
    assert!(!scrape.contains("nobody"), "a stranger's word is no label");
    let log = instance.log();
    let is_silent = !log.contains("whsec_");
    assert!(log.contains("message not taken") && is_silent, "{log}");
}

#[test]
fn a_deployment_that_was_told_by_a_message_is_blamed_for_what_it_broke() {
    let _alone = heavy();
    let backends = stubs();
    let home = served(&backends);
    let instance = home.start(&[]);
    let _traffic = load(instance.front(), LOAD_RPS);
    instance.when("the end of the hold of a start", PATIENCE, |s| {
        s["hold"].is_null() && s["pools"][0]["backends"][2]["observed_share"].is_number()
    });
    let on_third = json!({ "pool": "shop", "version": "v2", "backends": ["web-3"] });
    for (id, kind) in [("msg_1", "started"), ("msg_2", "finished")] {
        let (status, answer) = send(&instance, &message(id, about(kind, &on_third)));
        assert_eq!((status, &answer["deployment"]), (200, &json!("d1")));
    }
    backends[2]
        .inject(Fault {
            kind: FaultKind::Errors { rate: 0.6 },
            ttl: Duration::from_secs(300),
        })
        .unwrap();
    let status = instance.when("an incident", PATIENCE, |s| s["incident"].is_string());
    let incident = status["incident"].as_str().unwrap();
    let diagnosis = until("a diagnosis that names it", PATIENCE, || {
        let shown = instance.ask(&format!("incident show {incident}"));
        let diagnosis = shown["diagnosis"].clone();
        (diagnosis["subject"] == "deployment:shop/v2").then_some(diagnosis)
    });
    assert_eq!(diagnosis["cause"], "deployment", "{diagnosis:#}");
    let told = &deployments(&instance)[0];
    assert_eq!(
        (&told["incident"], &told["incidents"], &told["revision"]),
        (&json!(incident), &json!([incident]), &json!("r1")),
        "{told:#}"
    );
}
