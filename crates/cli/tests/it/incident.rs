//! Incidents as people meet them: paged, acknowledged, noted, resolved, written up; and who may do so.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use evenkeel_model::clock::Wall;
use evenkeel_notify::{Secret, verify};
use serde_json::{Value, json};

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, addresses, config, has_keys, heavy, load, long, nobody,
    pause, request, stubs,
};

pub(crate) const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const INCIDENT: &str = "id kind severity status title fault_at detected_at acknowledged_at mitigated_at resolved_at impact diagnosis actions";

/// A webhook as it arrived.
#[derive(Debug)]
pub(crate) struct Hook {
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Hook {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    /// Checks the signature as a receiver does, and that it is one of this very body.
    fn verified(&self) -> Value {
        let secret = Secret::parse(SECRET).unwrap();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let check = |body: &str| {
            verify(
                &secret,
                self.header("webhook-id"),
                self.header("webhook-timestamp"),
                self.header("webhook-signature"),
                body,
                Wall(u64::try_from(now.as_millis()).unwrap()),
            )
        };
        assert_eq!(check(&self.body), Ok(()), "{self:#?}");
        assert!(check(&format!("{} ", self.body)).is_err());
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver that answers 204 to everything.
pub(crate) fn receiver() -> (SocketAddr, Receiver<Hook>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (to, hooks) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut reader = BufReader::new(stream);
            let mut headers = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some((name, value)) = line.split_once(": ") {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                line.clear();
            }
            let length = headers.iter().find(|(n, _)| n == "content-length");
            let length = length.map_or(0, |(_, value)| value.parse().unwrap());
            let mut body = vec![0; length];
            drop(reader.read_exact(&mut body));
            drop(reader.get_mut().write_all(
                b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ));
            let body = String::from_utf8(body).unwrap();
            if to.send(Hook { headers, body }).is_err() {
                break;
            }
        }
    });
    (address, hooks)
}

fn operator(home: &Home) -> String {
    std::fs::read_to_string(home.data().join("admin.token"))
        .unwrap()
        .trim()
        .to_owned()
}

/// `POST path` with a JSON body: status line and body.
fn post(instance: &Instance, path: &str, token: Option<&str>, body: &Value) -> (u16, String) {
    let (to, body) = (instance.admin, body.to_string());
    let authorization =
        token.map_or_else(String::new, |t| format!("authorization: Bearer {t}\r\n"));
    let (head, answer) = request(
        to,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: {to}\r\n{authorization}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
    );
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// Opens a test of the paging.
fn page(instance: &Instance, home: &Home) -> String {
    let (status, body) = post(
        instance,
        "/api/incidents",
        Some(&operator(home)),
        &json!({ "text": "a test of the paging" }),
    );
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["incident"].as_str().unwrap().to_owned()
}

fn escalation(first: SocketAddr, second: SocketAddr) -> String {
    format!(
        r#"
[notify.chat]
url = "http://{first}/chat"
secret_file = "hook.secret"

[notify.lead]
url = "http://{second}/lead"
secret_file = "hook.secret"

[[escalation]]
name = "on-call"
notify = ["chat"]
ack_within = "3s"

[[escalation]]
name = "lead"
notify = ["lead"]
ack_within = "3s"
"#
    )
}

/// The next page of an escalation level, verified; other news of incidents is passed over.
fn next_page(hooks: &Receiver<Hook>, patience: Duration) -> Option<Value> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let news = hooks.recv_timeout(left).ok()?.verified();
        if !news["data"]["level"].is_null() {
            return Some(news);
        }
    }
}

#[test]
fn a_page_arrives_signed_and_the_next_level_is_paged_unless_somebody_acknowledges() {
    let ((chat, chats), (lead, leads)) = (receiver(), receiver());
    let home = Home::new(&config(&nobody(), [1, 1, 1], &escalation(chat, lead)));
    home.write("hook.secret", &format!("{SECRET}\n"));
    let instance = home.start(&[]);
    let paged = |page: Option<Value>, id: &str, level: u64| {
        let page = page.unwrap();
        assert_eq!(
            (
                page["data"]["incident"].as_str(),
                page["data"]["level"].as_u64()
            ),
            (Some(id), Some(level)),
            "{page:#}"
        );
        let link = format!("http://{}/incidents/{id}", instance.admin);
        assert_eq!(page["data"]["links"][0]["url"], link, "{page:#}");
    };

    let unheard = page(&instance, &home);
    paged(next_page(&chats, PATIENCE), &unheard, 1);
    paged(next_page(&leads, Duration::from_secs(15)), &unheard, 2);
    instance.ends(&format!("incident ack {unheard}"), 0);
    assert_eq!(
        instance.ask(&format!("incident show {unheard}"))["status"],
        "acknowledged"
    );

    let heard = page(&instance, &home);
    paged(next_page(&chats, PATIENCE), &heard, 1);
    instance.ends(&format!("incident ack {heard}"), 0);
    let after = next_page(&leads, Duration::from_secs(6));
    assert!(after.is_none(), "acknowledged, and yet: {after:#?}");
    instance.ends(&format!("incident escalate {heard}"), 0);
    paged(next_page(&leads, PATIENCE), &heard, 2);
}

#[test]
fn an_incident_is_listed_shown_noted_resolved_and_written_up() {
    let home = Home::new(&config(&nobody(), [1, 1, 1], ""));
    let instance = home.start(&[]);
    assert!(
        instance.ask("incident list")["incidents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let (first, second) = (page(&instance, &home), page(&instance, &home));
    let list = instance.ask("incident list");
    let ids: Vec<&str> = list["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [second.as_str(), first.as_str()], "newest first");
    for incident in list["incidents"].as_array().unwrap() {
        has_keys(incident, INCIDENT);
        assert!(incident.get("timeline").is_none());
    }
    // A test is no reason to be alarmed.
    assert!(instance.status()["incident"].is_null());

    instance.ends(&format!("incident ack {first}"), 0);
    instance.ends(&format!("incident note {first} 'the cable was loose'"), 0);
    instance.ends(&format!("incident note {first} ' '"), 1);
    instance.ends(
        &format!("incident resolve {first} --reason 'plugged in'"),
        0,
    );
    instance.ends(
        &format!("incident resolve {second} --false-alarm --reason 'a drill of the bell'"),
        0,
    );
    let shown = instance.ask(&format!("incident show {first}"));
    has_keys(&shown, INCIDENT);
    has_keys(&shown, "timeline");
    has_keys(&shown["impact"], "requests users_share");
    assert_eq!(
        (shown["status"].as_str(), shown["kind"].as_str()),
        (Some("resolved"), Some("test"))
    );
    assert!(!shown["acknowledged_at"].is_null() && !shown["resolved_at"].is_null());
    let told = shown["timeline"].to_string();
    assert!(
        told.contains("the cable was loose") && told.contains("plugged in"),
        "{told}"
    );
    assert_eq!(
        instance.ask(&format!("incident show {second}"))["status"],
        "false_alarm"
    );
    assert!(
        instance.ask("incident list --open")["incidents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let draft = instance.ends(&format!("incident postmortem {first}"), 0);
    assert!(
        draft.out.contains("the cable was loose") && draft.out.contains(&first),
        "{}",
        draft.out
    );
    instance.ends("incident postmortem i99", 1);
    instance.ends(&format!("incident ack {first}"), 3);
    what_was_told_outlives_the_process(instance, &home, &first, &told);
}

fn what_was_told_outlives_the_process(instance: Instance, home: &Home, id: &str, told: &str) {
    instance.kill();
    let instance = home.start(&[]);
    assert_eq!(
        instance.ask(&format!("incident show {id}"))["timeline"].to_string(),
        told
    );
}

#[test]
fn a_change_needs_a_token_that_may_operate_and_its_name_is_the_author() {
    let tokens = "\n[admin.token.ci]\nfile = \"ci.token\"\nrole = \"operate\"\n\n[admin.token.eyes]\nfile = \"eyes.token\"\nrole = \"read\"\n";
    let text = config(&nobody(), [1, 1, 1], tokens);
    let home = Home::new(&text);
    home.write("ci.token", "ci-0123456789abcdef0123456789\n");
    home.write("eyes.token", "eyes-0123456789abcdef0123456789\n");
    home.write("next.toml", &text.replace("\"500ms\"", "\"600ms\""));
    let instance = home.start(&[]);
    let body = json!({ "text": "hello" });
    assert_eq!(post(&instance, "/api/incidents", None, &body).0, 401);
    assert_eq!(
        post(
            &instance,
            "/api/incidents",
            Some("nobody-knows-this-token"),
            &body
        )
        .0,
        401
    );
    assert_eq!(
        post(
            &instance,
            "/api/incidents",
            Some("eyes-0123456789abcdef0123456789"),
            &body
        )
        .0,
        403
    );
    let apply = [
        "apply",
        "next.toml",
        "--yes",
        "--wait",
        "0s",
        "--reason",
        "r",
    ];
    let with = |file: &'static str| [&["--token-file", file], &apply[..]].concat();
    instance.cli(&with("eyes.token")).expect(1);
    instance.cli(&with("missing.token")).expect(1);
    assert_eq!(instance.status()["revision"], "r1");
    instance.ends("--token-file eyes.token status", 0);
    instance.ends("--token-file eyes.token plan next.toml", 0);
    instance.cli(&with("ci.token")).expect(0);
    let newest = instance.ask("history")["revisions"][0].clone();
    assert_eq!(
        (newest["id"].as_str(), newest["author"].as_str()),
        (Some("r2"), Some("ci"))
    );
    let secret = home.data().join("admin.token");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&secret), mode(&home.data())), (0o600, 0o700));
    assert!(
        !instance.log().contains(&operator(&home)),
        "a token is never logged"
    );
}

#[test]
fn a_quiet_run_raises_nothing() {
    let _alone = heavy();
    let backends = stubs();
    let addresses = addresses(&backends);
    let home = Home::new(&config(&addresses, [1, 1, 1], ""));
    let instance = home.start(&[]);
    let traffic = load(instance.front(), LOAD_RPS);
    pause(Duration::from_secs(if long() { 600 } else { 20 }));
    let status = instance.status();
    assert_eq!(
        (status["state"].as_str(), status["hold"].is_null()),
        (Some("ok"), true),
        "{status:#}"
    );
    for backend in status["pools"][0]["backends"].as_array().unwrap() {
        assert_eq!(backend["verdict"], "ok", "{backend:#}");
    }
    assert!(
        instance.ask("incident list")["incidents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let seen = traffic.stop().total;
    println!(
        "{} requests, {} failed, {} harmed",
        seen.sent,
        seen.failed(),
        seen.harmed
    );
    assert!(
        seen.sent > 1_000 && seen.failed() + seen.server_error == 0,
        "{seen:?}"
    );
}
