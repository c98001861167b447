//! A notice reaches a real receiver, signed; a bad receiver is reported and never in another's way.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver as Inbox, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_incident::Notice;
use evenkeel_incident::notice::NoticeEvent;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Receiver;
use evenkeel_model::ids::{IncidentId, Name};
use evenkeel_model::record::{IncidentKind, IncidentSeverity, IncidentStatus};
use evenkeel_notify::{Attempt, Notifier, Secret, retry_after, verify};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Headers and body of a request.
type Request = (Vec<(String, String)>, String);

const PATIENCE: Duration = Duration::from_secs(20);

fn notice() -> Notice {
    Notice {
        event: NoticeEvent::IncidentPage,
        at: Wall(1_700_000_000_000),
        incident: Some(IncidentId(3)),
        revision: None,
        kind: IncidentKind::Real,
        severity: IncidentSeverity::Sev2,
        status: Some(IncidentStatus::Detected),
        level: Some(1),
        title: "web-1 gets 83 %".to_owned(),
        lines: vec!["since 22:00".to_owned()],
        links: vec![],
    }
}

/// A receiver that answers each request with the next of `answers` and hands over what it got.
fn receiver(answers: &'static [&'static str]) -> (String, Inbox<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, inbox) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut headers = Vec::new();
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim().split_once(": ") {
                    Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                    None => break,
                }
            }
            let length = headers
                .iter()
                .find(|(n, _)| n == "content-length")
                .unwrap()
                .1
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(
                stream,
                "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            sender
                .send((headers, String::from_utf8(body).unwrap()))
                .unwrap();
        }
    });
    (url, inbox)
}

fn configured(name: &str, url: &str, dir: &std::path::Path) -> Receiver {
    let secret_file = dir.join(format!("{name}.secret"));
    std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
    Receiver {
        name: Name::new(name).unwrap(),
        url: url.to_owned(),
        secret_file,
    }
}

fn start(receivers: &[Receiver]) -> (Notifier, Inbox<Attempt>) {
    let (sender, attempts) = channel();
    let report = move |attempt| sender.send(attempt).unwrap();
    (
        Notifier::start(receivers, "http://127.0.0.1:7700", report),
        attempts,
    )
}

#[test]
fn a_notice_arrives_signed_and_the_outcome_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (url, inbox) = receiver(&["204 No Content"]);
    let hook = configured("hook", &url, dir.path());
    let (notifier, attempts) = start(std::slice::from_ref(&hook));
    notifier.send(&hook.name, &notice());
    let (headers, body) = inbox.recv_timeout(PATIENCE).unwrap();
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).unwrap().1.clone();
    let now = Wall(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64,
    );
    let secret = Secret::parse(SECRET).unwrap();
    verify(
        &secret,
        &header("webhook-id"),
        &header("webhook-timestamp"),
        &header("webhook-signature"),
        &body,
        now,
    )
    .unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["type"], "incident.page");
    assert_eq!(body["timestamp"], "2023-11-14T22:13:20.000Z");
    assert_eq!(body["data"]["incident"], "i3");
    let attempt = attempts.recv_timeout(PATIENCE).unwrap();
    assert!(attempt.ok && attempt.detail == "204", "{attempt:?}");
}

#[test]
fn a_receiver_that_is_gone_gets_nothing_more_and_a_redirect_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (gone_url, _gone) = receiver(&["410 Gone"]);
    let (moved_url, _moved) = receiver(&["302 Found\r\nlocation: http://127.0.0.1:1/"]);
    let gone = configured("gone", &gone_url, dir.path());
    let moved = configured("moved", &moved_url, dir.path());
    let (notifier, attempts) = start(&[gone.clone(), moved.clone()]);
    notifier.send(&gone.name, &notice());
    let first = attempts.recv_timeout(PATIENCE).unwrap();
    notifier.send(&gone.name, &notice());
    let second = attempts.recv_timeout(PATIENCE).unwrap();
    assert!(first.detail.starts_with("410") && second.detail.starts_with("410") && !second.ok);
    notifier.send(&moved.name, &notice());
    let redirected = attempts.recv_timeout(PATIENCE).unwrap();
    assert!(
        redirected
            .detail
            .starts_with("status 302; tried again in 5 s"),
        "{redirected:?}"
    );
}

#[test]
fn a_hanging_receiver_does_not_delay_another_and_a_missing_secret_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = configured(
        "hanging",
        &format!("http://{}/", silent.local_addr().unwrap()),
        dir.path(),
    );
    let (url, _inbox) = receiver(&["200 OK"]);
    let good = configured("good", &url, dir.path());
    let mut unsigned = configured("unsigned", &url, dir.path());
    unsigned.secret_file = dir.path().join("missing");
    let (notifier, attempts) = start(&[hanging.clone(), good.clone(), unsigned.clone()]);
    notifier.send(&hanging.name, &notice());
    notifier.send(&good.name, &notice());
    assert_eq!(attempts.recv_timeout(PATIENCE).unwrap().receiver, good.name);
    notifier.send(&unsigned.name, &notice());
    let attempt = attempts.recv_timeout(PATIENCE).unwrap();
    assert!(
        !attempt.ok && attempt.detail.contains("cannot read the secret file"),
        "{attempt:?}"
    );
    notifier.send(&Name::new("nobody").unwrap(), &notice());
    assert!(
        attempts
            .recv_timeout(PATIENCE)
            .unwrap()
            .detail
            .contains("no such receiver")
    );
}

#[test]
fn retries_grow_end_and_honour_the_receivers_wish() {
    let secs = |n| Some(Duration::from_secs(n));
    assert_eq!(retry_after(1, None), secs(5));
    assert_eq!(retry_after(1, secs(30)), secs(30));
    assert_eq!(retry_after(1, secs(1)), secs(5));
    assert_eq!(retry_after(1, secs(1_000_000)), secs(7_200));
    assert_eq!(retry_after(6, None), None);
}
