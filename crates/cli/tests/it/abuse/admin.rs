//! The admin address under attack: other origins, wrong tokens, odd ids, huge bodies, many at once.

use std::io::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Home, Instance, PATIENCE, stubs};
use crate::wire::{Answer, Honest, addresses, config, connect, exchange, to_the_end};

struct Target {
    _stubs: Vec<evenkeel_shop::ServerHandle>,
    home: Home,
    instance: Instance,
    text: String,
    token: String,
}

fn target() -> Target {
    let stubs = stubs();
    let text = config(&addresses(&stubs), "", "");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let token = std::fs::read_to_string(home.data().join("admin.token")).unwrap();
    Target {
        _stubs: stubs,
        home,
        instance,
        text,
        token: token.trim().to_owned(),
    }
}

impl Target {
    fn admin(&self) -> SocketAddr {
        self.instance.admin
    }

    fn get(&self, path: &str, fields: &str) -> Answer {
        let host = self.admin();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
        exchange(self.admin(), head.as_bytes())
    }

    fn post(&self, path: &str, fields: &str, body: &str) -> Answer {
        let host = self.admin();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{fields}\r\n{body}",
            body.len()
        );
        exchange(self.admin(), head.as_bytes())
    }

    fn asked(&self, arguments: &[&str]) -> Value {
        self.instance.cli(arguments).expect(0).json()
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.token)
    }

    /// Nothing an attacker did has changed what runs.
    fn unchanged(&self) {
        let history = self.asked(&["--json", "history"]);
        assert_eq!(
            history["revisions"].as_array().unwrap().len(),
            1,
            "{history}"
        );
        assert_eq!(self.instance.status()["revision"], "r1");
        assert_eq!(
            self.asked(&["--json", "incident", "list"])["incidents"],
            json!([])
        );
    }
}

#[test]
fn a_page_of_another_origin_or_a_rebound_name_gets_nothing() {
    let target = target();
    let port = target.admin().port();
    for host in [
        "evil.test",
        "evil.test:7700",
        "127.0.0.1.evil.test",
        "",
        "localhost.evil.test",
    ] {
        let head = format!("GET /api/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(target.admin(), head.as_bytes());
        assert!([400, 421].contains(&answer.status()), "{host}: {answer:?}");
        assert!(!answer.text.contains("revision"), "{host}: {answer:?}");
    }
    let apply = json!({ "text": target.text }).to_string();
    for origin in [
        "http://evil.test",
        "null",
        "http://127.0.0.1:1",
        "https://evil.test",
        "file://",
    ] {
        for (answer, what) in [
            (
                target.get("/api/status", &format!("origin: {origin}\r\n")),
                "read",
            ),
            (
                target.post(
                    "/api/apply",
                    &format!("origin: {origin}\r\n{}", target.bearer()),
                    &apply,
                ),
                "change",
            ),
        ] {
            assert_eq!(answer.status(), 403, "{what} {origin}: {answer:?}");
            assert_eq!(answer.field("access-control-allow-origin"), None);
        }
    }
    let own = format!("origin: http://127.0.0.1:{port}\r\n");
    assert_eq!(target.get("/api/status", &own).status(), 200);
    target.unchanged();
}

#[test]
fn a_change_without_the_right_token_is_401_and_the_token_is_never_shown() {
    let target = target();
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&target.home.data()), 0o700);
    assert_eq!(mode(&target.home.data().join("admin.token")), 0o600);
    let apply = json!({ "text": target.text }).to_string();
    let short = &target.token[..target.token.len() - 1];
    let wrong = [
        String::new(),
        "authorization: Bearer \r\n".to_owned(),
        "authorization: Bearer wrong\r\n".to_owned(),
        format!("authorization: Bearer {short}\r\n"),
        format!("authorization: Bearer {}x\r\n", target.token),
        format!("authorization: Basic {}\r\n", target.token),
        format!("cookie: token={}\r\n", target.token),
    ];
    for path in [
        "apply",
        "rollback",
        "confirm",
        "deployments",
        "incidents",
        "incidents/i1/ack",
    ] {
        for fields in &wrong {
            let answer = target.post(&format!("/api/{path}"), fields, &apply);
            assert_eq!(answer.status(), 401, "{path} {fields}: {answer:?}");
        }
    }
    target.unchanged();
    for path in [
        "/",
        "/metrics",
        "/api/status",
        "/api/history",
        "/api/revisions/r1",
    ] {
        let answer = target.get(path, "");
        assert!(
            !answer.text.contains(&target.token),
            "{path} shows the token"
        );
    }
    assert!(
        !target.instance.log().contains(&target.token),
        "the log shows the token"
    );
}

#[test]
fn odd_paths_ids_and_verbs_are_4xx_and_never_a_file() {
    let target = target();
    for path in [
        "/api/revisions/../../etc/passwd",
        "/api/revisions/..%2f..%2fetc%2fpasswd",
        "/api/incidents/..%2f..%2fadmin.token",
        "/api/incidents/%2e%2e/postmortem",
        "/../admin.token",
        "/admin.token",
        "/data/admin.token",
        "/api/revisions/r0",
        "/api/revisions/r-1",
        "/api/revisions/r18446744073709551615",
        "/api/revisions/r18446744073709551616",
        "/api/revisions/r1%00",
        "/api/revisions/1",
        "/api/revisions/r9223372036854775808",
        "/api/incidents/i18446744073709551615",
        "/api/incidents/i1'--",
        "/api/incidents/%ff%fe",
        "/api/history?limit=-1",
        "/api/history?limit=99999999999999999999",
        "/api/nothing",
    ] {
        let answer = target.get(path, "");
        assert!((400..500).contains(&answer.status()), "{path}: {answer:?}");
        assert!(
            !answer.text.contains("root:") && !answer.text.contains(&target.token),
            "{path}"
        );
    }
    assert_eq!(
        target
            .get("/api/history?limit=18446744073709551615", "")
            .status(),
        200
    );
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let host = target.admin();
        let head = format!(
            "{method} /api/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{}\r\n",
            target.bearer()
        );
        let answer = exchange(target.admin(), head.as_bytes());
        assert!(
            (400..500).contains(&answer.status()),
            "{method}: {answer:?}"
        );
    }
    target.unchanged();
}

#[test]
fn bodies_that_are_odd_or_huge_are_4xx_and_leave_the_instance_well() {
    let target = target();
    let honest = Honest::start(target.instance.front(), 50.0);
    let bearer = target.bearer();
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "{\"text\": 1}".to_owned(),
        "{\"text\": \"\", \"unknown\": 1}".to_owned(),
        "[".repeat(200_000),
        format!("{{\"text\": \"\", \"reason\": {}}}", "[".repeat(200_000)),
        "{\"text\": \"\", \"base\": \"rX\"}".to_owned(),
        "{\"text\": \"\", \"force\": true}".to_owned(),
        json!({ "text": "", "reason": "x".repeat(5_000) }).to_string(),
    ];
    for body in &bodies {
        let answer = target.post("/api/apply", &bearer, body);
        let shown = &body[..body.len().min(60)];
        assert!((400..500).contains(&answer.status()), "{shown}: {answer:?}");
    }
    // Announced or sent: more than the limit is not held in memory.
    let host = target.admin();
    let head = format!(
        "POST /api/plan HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 10000000000\r\n\r\n"
    );
    let mut stream = connect(target.admin());
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(to_the_end(&mut stream).status(), 413);
    let large = json!({ "text": "#".repeat(17 << 20) }).to_string();
    let answer = target.post("/api/plan", "", &large);
    let refused = answer.status() == 413 || answer.text.contains("\"error\"");
    assert!(refused, "{}", &answer.text[..answer.text.len().min(500)]);
    honest.unharmed();
    target.unchanged();
}

#[test]
fn times_beyond_reason_are_refused_and_stop_nothing() {
    let target = target();
    for key in ["confirm_within_ms", "keep_ms"] {
        for value in [u64::MAX, u64::MAX / 2, 1 << 53] {
            let body = json!({ "text": target.text.replace("workers = 2", "workers = 2 # x"), "reason": "x", key: value });
            let answer = target.post("/api/apply", &target.bearer(), &body.to_string());
            assert!(
                (200..500).contains(&answer.status()),
                "{key} {value}: {answer:?}"
            );
            assert_eq!(target.get("/api/status", "").status(), 200, "{key} {value}");
        }
    }
    let body = json!({ "pool": "shop", "version": "v2", "at": "9999-12-31T23:59:59Z" });
    let answer = target.post("/api/deployments", &target.bearer(), &body.to_string());
    assert!(
        (400..500).contains(&answer.status()),
        "not yet deployed: {answer:?}"
    );
    assert_eq!(target.get("/api/status", "").status(), 200);
}

#[test]
fn of_concurrent_applies_one_is_made_and_the_others_are_refused() {
    let target = target();
    let honest = Honest::start(target.instance.front(), 50.0);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let target = &target;
        let one = |n: u64| {
            let seconds = 10 + n;
            let text = target.text.replace(
                "[pool.shop]\n",
                &format!("[pool.shop]\nidle_timeout = \"{seconds}s\"\n"),
            );
            let body = json!({ "text": text, "base": "r1", "reason": "race" }).to_string();
            scope.spawn(move || {
                let answer = target.post("/api/apply", &target.bearer(), &body);
                assert_eq!(answer.status(), 200, "{answer:?}");
                serde_json::from_str::<Value>(answer.body()).unwrap()
            })
        };
        let all: Vec<_> = (0..8).map(one).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|a| a["state"] == "verifying").count();
    let refused = answers.iter().filter(|a| a["state"] == "refused").count();
    assert_eq!((made, refused), (1, 7), "{answers:#?}");
    honest.unharmed();
}

#[test]
fn many_idle_connections_to_the_admin_address_do_not_lock_the_operator_out() {
    let target = target();
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", target.instance.pid()))
            .unwrap()
            .count()
    };
    let idle: Vec<_> = (0..600).map(|_| connect(target.admin())).collect();
    let mut slow = connect(target.admin());
    slow.write_all(b"GET /api/status HTTP/1.1\r\nhost: ")
        .unwrap();
    target
        .instance
        .when("the operator sees the status", PATIENCE, |s| {
            s["revision"] == "r1"
        });
    // 600 clients, but the data plane shares these descriptors.
    assert!(files() < 250, "{} open files", files());
    drop(idle);
}

#[test]
fn a_title_with_markup_and_escapes_is_text_everywhere() {
    let target = target();
    let title = "<script>alert(1)</script>\u{1b}[2J\r\nset-cookie: a=b";
    let body = json!({ "text": title }).to_string();
    let answer = target.post("/api/incidents", &target.bearer(), &body);
    assert_eq!(answer.status(), 200, "{answer:?}");
    let page = target.get("/", "");
    assert!(!page.text.contains("<script>alert(1)"), "{page:?}");
    let opened: Value = serde_json::from_str(answer.body()).unwrap();
    let id = opened["incident"].as_str().unwrap();
    let draft = target.get(&format!("/api/incidents/{id}/postmortem"), "");
    assert_eq!(draft.status(), 200, "{draft:?}");
    assert_eq!(
        draft.field("content-type").unwrap(),
        "text/markdown; charset=utf-8"
    );
    assert!(!draft.text.contains("<script>"), "{draft:?}");
    for arguments in [
        &["incident", "list"][..],
        &["incident", "show", id],
        &["status"],
    ] {
        let ran = target.instance.cli(arguments).expect(0);
        assert!(
            !ran.out.contains("\nset-cookie"),
            "one title, one line: {ran:?}"
        );
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{ran:?}"
        );
    }
}
