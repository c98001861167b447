//! The admin address of a real instance, over real sockets: what a browser, a script and a collector get.

#[cfg(test)]
mod instance;

use instance::{Answer, Instance, keys};
use serde_json::{Value, json};
use std::time::Duration;

const REVISION: &[&str] = &["id", "hash", "parent", "author", "reason", "state", "at"];
const INCIDENT: &[&str] = &[
    "id",
    "kind",
    "severity",
    "status",
    "title",
    "fault_at",
    "detected_at",
    "acknowledged_at",
    "mitigated_at",
    "resolved_at",
    "impact",
    "diagnosis",
    "actions",
];
const CHANGE: &[&str] = &[
    "revision",
    "parent",
    "state",
    "findings",
    "forecast",
    "incident",
    "waited_seconds",
];

#[test]
fn status_tells_the_shares_that_the_clients_saw_and_metrics_count_every_pick() {
    let instance = Instance::start();
    let early = instance.status();
    keys(
        &early,
        &["revision", "state", "incident", "audit", "journal", "pools"],
    );
    let backend = &early["pools"][0]["backends"][0];
    keys(
        backend,
        &[
            "name",
            "intended_share",
            "expected_share",
            "observed_share",
            "ci_low",
            "ci_high",
            "verdict",
            "reason",
            "rps",
            "p50_ms",
            "p99_ms",
            "error_rate",
            "in_flight",
            "cpu",
            "memory",
            "health",
            "version",
        ],
    );
    assert_eq!(
        backend["observed_share"],
        Value::Null,
        "a share without a request"
    );
    assert_eq!(backend["verdict"], "unknown");
    let sent = 120;
    instance.send(sent);
    let seen = instance.until("the shares to be known", |instance| {
        let status = instance.status();
        let share = status["pools"][0]["backends"][0]["observed_share"].as_f64();
        share.map(|share| (share, status))
    });
    let (share, status) = seen;
    assert!((share - 0.5).abs() < 0.05, "{share}");
    assert_eq!(status["revision"], "r1");
    let picks = |instance: &Instance| {
        let text = instance.get("/metrics").text();
        let lines = text
            .lines()
            .filter(|l| l.starts_with("evenkeel_picks_total{"));
        let counts = lines.map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        counts.sum::<u64>()
    };
    instance.until("every pick to be counted", |instance| {
        (picks(instance) == sent as u64).then_some(())
    });
    let scrape = instance.get("/metrics");
    assert!(scrape.head.contains("application/openmetrics-text"));
    assert!(scrape.text().ends_with("# EOF\n"));
    let page = instance.get("/").text();
    assert!(page.contains("class=\"line s0\""), "no line in the chart");
}

#[test]
fn a_change_is_planned_applied_confirmed_and_undone_over_the_api() {
    let instance = Instance::start();
    let text = instance
        .text()
        .replace("name-of-the-day", "other")
        .replacen("weight = 1", "weight = 2", 1);
    let plan = instance.post("/api/plan", None, &json!({ "text": text }));
    assert_eq!(plan.status, 200);
    let plan = plan.json();
    keys(&plan, &["findings", "forecast"]);
    keys(&plan["forecast"]["pools"][0], &["name", "backends"]);
    keys(
        &plan["forecast"]["pools"][0]["backends"][0],
        &[
            "name",
            "intended_share",
            "expected_share",
            "expected_rps",
            "utilisation",
        ],
    );
    keys(&plan["forecast"]["failures"][0], &["out", "pools"]);
    assert_eq!(plan["changes"].as_array().unwrap().len(), 2);

    let broken = instance.change("/api/apply", &json!({ "text": "pool = 1" }));
    assert_eq!(broken["state"], "invalid");
    keys(
        &broken["findings"][0],
        &[
            "id", "severity", "message", "effect", "fix", "file", "line", "column",
        ],
    );
    assert_eq!(broken["findings"][0]["severity"], "error");

    let applied = instance.change("/api/apply", &json!({ "text": text, "reason": "a <test>" }));
    keys(&applied, CHANGE);
    assert_eq!(applied["revision"], "r2");
    assert_eq!(applied["parent"], "r1");
    let page = instance.get("/revisions/r2").text();
    assert!(page.contains("a &lt;test&gt;"));
    assert!(page.contains(".weight"), "the difference is missing");
    let history = instance.get("/api/history").json();
    let newest = history["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["id"] == "r2");
    keys(newest.unwrap(), REVISION);
    assert_eq!(newest.unwrap()["author"], "admin");
    keys(&instance.get("/api/revisions/r2").json(), &["text", "hash"]);

    let undone = instance.change("/api/rollback", &json!({ "reason": "back" }));
    keys(&undone, CHANGE);
    assert_ne!(undone["state"], "failed", "{undone}");
    let confirmed = instance.change("/api/confirm", &json!({}));
    keys(&confirmed, CHANGE);
}

#[test]
fn a_test_incident_is_listed_shown_noted_and_drafted() {
    let instance = Instance::start();
    let opened = instance.change("/api/incidents", &json!({ "text": "<b>paging</b> test" }));
    let id = opened["incident"].as_str().unwrap().to_owned();
    let listed = instance.until("the incident to be journalled", |instance| {
        let listed = instance.get("/api/incidents?open=true").json();
        let first = listed["incidents"].get(0).cloned();
        first.filter(|i| i["id"] == *id)
    });
    keys(&listed, INCIDENT);
    assert_eq!(listed["kind"], "test");
    keys(&listed["impact"], &["requests", "users_share"]);
    instance.change(&format!("/api/incidents/{id}/ack"), &json!({}));
    instance.change(
        &format!("/api/incidents/{id}/note"),
        &json!({ "text": "seen" }),
    );
    let shown = instance.until("the note to be journalled", |instance| {
        let shown = instance.get(&format!("/api/incidents/{id}")).json();
        let noted = shown["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["text"].as_str().unwrap().contains("seen"));
        noted.then_some(shown)
    });
    keys(&shown, INCIDENT);
    assert_eq!(shown["acknowledged_by"], "admin");
    let page = instance.get(&format!("/incidents/{id}")).text();
    assert!(page.contains("&lt;b&gt;paging&lt;/b&gt; test"));
    for path in [
        format!("/incidents/{id}/postmortem"),
        format!("/api/incidents/{id}/postmortem"),
    ] {
        let draft = instance.get(&path);
        assert_eq!(draft.status, 200);
        assert!(draft.text().contains("paging"));
    }
    let path = format!("/api/incidents/{id}/explode");
    assert_eq!(
        instance
            .post(&path, Some(&instance.token), &json!({}))
            .status,
        404
    );
}

#[test]
fn deployments_are_recorded_and_listed_and_strangers_refused() {
    let instance = Instance::start();
    let recorded = instance.change(
        "/api/deployments",
        &json!({ "pool": "shop", "version": "v2", "backends": ["web-1"], "note": "one first" }),
    );
    assert_eq!(recorded["deployment"], "d1");
    instance.until("the deployment to be journalled", |instance| {
        let listed = instance.get("/api/deployments").json();
        (listed["deployments"].get(0)?["version"] == "v2").then_some(())
    });
    let stranger = json!({ "pool": "shop", "version": "v2", "backends": ["web-9"] });
    let refused = instance.post("/api/deployments", Some(&instance.token), &stranger);
    assert_eq!(refused.status, 404);
    assert!(refused.json()["error"].as_str().unwrap().contains("web-9"));
}

#[test]
fn nothing_changes_without_a_token_and_no_foreign_page_gets_in() {
    let instance = Instance::start();
    let body = json!({ "text": instance.text() });
    for path in [
        "/api/apply",
        "/api/rollback",
        "/api/confirm",
        "/api/deployments",
        "/api/incidents",
    ] {
        assert_eq!(instance.post(path, None, &body).status, 401, "{path}");
        assert_eq!(
            instance.post(path, Some("wrong"), &body).status,
            401,
            "{path}"
        );
    }
    let with = |host: &str, more: &str| -> Answer {
        instance.ask(
            &format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\n{more}"),
            "",
        )
    };
    assert_eq!(with("127.0.0.1", "").status, 200);
    assert_eq!(with("evil.example", "").status, 421);
    assert_eq!(
        with("127.0.0.1", "Origin: http://evil.example\r\n").status,
        403
    );
    assert_eq!(instance.status()["revision"], "r1");
}

#[test]
fn every_answer_carries_the_headers_that_bind_a_browser_and_a_missing_page_is_a_page() {
    let instance = Instance::start();
    for (path, status) in [
        ("/", 200),
        ("/style.css", 200),
        ("/live.js", 200),
        ("/api/status", 200),
        ("/incidents/i99", 404),
        ("/revisions/%3Cscript%3E", 404),
        ("/nowhere", 404),
    ] {
        let answer = instance.get(path);
        assert_eq!(answer.status, status, "{path}");
        let head = answer.head.to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'self';",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
        assert!(!answer.text().contains("<script>"), "{path}");
    }
}

#[test]
fn live_screens_get_fragments_and_one_too_many_is_turned_away() {
    let instance = Instance::start();
    let mut first = instance.events();
    let fragment = first.fragment();
    assert!(
        fragment.contains("data-title=") && !fragment.contains("<html"),
        "{fragment}"
    );
    let mut open: Vec<_> = (1..64).map(|_| instance.events()).collect();
    assert!(!instance.events().is_open(), "one too many got in");
    drop(open.pop());
    instance.until("the place of the one that left", |instance| {
        let again = instance.events();
        again.is_open().then_some(())
    });
    assert!(first.fragment().contains("data-title="));
}

#[test]
fn a_hostile_or_oversized_body_is_an_error_and_not_the_end() {
    let instance = Instance::start();
    let token = &instance.token;
    for body in ["", "{", "[]", "{\"text\": 1}", "{\"texts\": \"\"}"] {
        let head = format!(
            "POST /api/apply HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        );
        let status = instance.ask(&head, body).status;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    let text = "x".repeat(20_000);
    let invalid = instance.change("/api/apply", &json!({ "text": text }));
    assert_eq!(invalid["state"], "invalid");
    assert_eq!(instance.get("/api/history?limit=abc").status, 400);
    assert_eq!(instance.get("/api/history?limit=99999999").status, 200);
    assert_eq!(instance.status()["journal"], "ok");
}

/// Everything here happens within this time or not at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
