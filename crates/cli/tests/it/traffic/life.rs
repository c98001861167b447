//! The end of an instance and the next one on its data; the demo from start to its own end.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, Instance, PATIENCE, Process, binary, heavy, run, stubs, until};
use crate::wire::{Origin, addresses, config, connect, exchange, get, to_the_end};

/// Answers after a second, or at once for `/fast`.
fn slow_origin() -> Origin {
    Origin::start(|conn| {
        while let Some(head) = conn.request() {
            if !head.starts_with("GET /fast") {
                crate::support::pause(Duration::from_millis(1_500));
            }
            if !conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone") {
                return;
            }
        }
    })
}

#[test]
fn sigterm_finishes_what_is_in_flight_refuses_the_rest_and_ends_with_0() {
    let origin = slow_origin();
    let home = Home::new(&config(&[origin.text()], "", ""));
    let mut instance = home.start(&[]);
    let front = instance.front();
    let mut waiting = connect(front);
    waiting
        .write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut idle = connect(front);
    idle.write_all(b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut some = [0; 16];
    idle.read_exact(&mut some).unwrap();
    until("the slow request is in flight", PATIENCE, || {
        origin
            .heads()
            .iter()
            .any(|h| h.starts_with("GET /slow"))
            .then_some(())
    });
    instance.signal("TERM");
    until("new connections are refused", PATIENCE, || {
        std::net::TcpStream::connect(front).is_err().then_some(())
    });
    let answer = to_the_end(&mut waiting);
    assert_eq!((answer.status(), answer.body()), (200, "done"));
    assert_eq!(answer.field("connection"), Some("close"));
    to_the_end(&mut idle);
    assert_eq!(
        instance.ended(PATIENCE).code(),
        Some(0),
        "{}",
        instance.log()
    );
    // The same data directory serves the next instance.
    let next = home.start(&[]);
    assert_eq!(get(next.front(), "/fast").status(), 200);
    assert_eq!(next.status()["revision"], "r1");
    assert_eq!(next.stop().code(), Some(0));
}

#[test]
fn a_request_that_does_not_end_is_cut_off_at_the_end_of_the_drain() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.hang();
    });
    let home = Home::new(&config(&[origin.text()], "", ""));
    let mut command = binary();
    command.current_dir(home.dir()).args([
        "run",
        "evenkeel.toml",
        "--data",
        "data",
        "--drain",
        "1s",
    ]);
    let mut instance = Instance::start(&mut command, &home);
    let mut waiting = connect(instance.front());
    waiting
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    until("it is in flight", PATIENCE, || {
        (!origin.heads().is_empty()).then_some(())
    });
    instance.signal("TERM");
    assert_eq!(instance.ended(Duration::from_secs(10)).code(), Some(0));
    to_the_end(&mut waiting);
}

#[test]
fn a_second_instance_on_one_data_directory_says_who_holds_it() {
    let stubs = stubs();
    let home = Home::new(&config(&addresses(&stubs), "", ""));
    let instance = home.start(&[]);
    let second = run(&mut home.command(&[])).expect(1);
    let pid = format!("(pid {})", instance.pid());
    assert!(
        second.err.contains("is in use by another evenkeel"),
        "{}",
        second.err
    );
    assert!(second.err.contains(&pid), "{}", second.err);
    assert!(second.err.contains("--data"), "{}", second.err);
    assert_eq!(get(instance.front(), "/").status(), 200);
}

#[test]
fn the_demo_announces_serves_ends_by_itself_and_leaves_nothing() {
    let _alone = heavy();
    let dir = tempfile::tempdir().unwrap();
    let mut child = binary()
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .args([
            "demo",
            "--for",
            "15s",
            "--headless",
            "--json",
            "--rate",
            "100",
        ])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let mut demo = Process(child);
    let mut values = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
    let said = values.next().unwrap().unwrap();
    let address = |key: &str| {
        let url = said[key].as_str().unwrap();
        let text = url.trim_start_matches("http://").trim_end_matches('/');
        text.parse().unwrap()
    };
    let (shop, page) = (address("shop"), address("page"));
    let shown = until("the shop answers", PATIENCE, || {
        Some(get(shop, "/")).filter(|answer| answer.status() == 200)
    });
    assert!(shown.body().contains("Harbour"), "{}", shown.text);
    let admin = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {page}\r\nconnection: close\r\n\r\n");
        exchange(page, head.as_bytes())
    };
    assert_eq!(admin("/").status(), 200);
    let status = admin("/api/status");
    assert_eq!(status.status(), 200);
    let status: Value = serde_json::from_str(status.body()).unwrap();
    assert_eq!(status["pools"][0]["backends"].as_array().unwrap().len(), 3);
    let children = children_of(demo.0.id());
    assert_eq!(children.len(), 3, "three replicas: {children:?}");
    let total = values.next().unwrap().unwrap();
    assert!(total["requests"].as_u64().unwrap() > 1_000, "{total}");
    assert_eq!(total["requests_failed"], 0, "{total}");
    assert_eq!(demo.ended(PATIENCE).code(), Some(0));
    for pid in children {
        assert!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "a shop is left"
        );
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Ends of a demo that nobody could plan for: the replicas must not outlive it.
#[test]
fn a_killed_demo_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = binary()
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .args(["demo", "--headless", "--json", "--rate", "20"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let demo = Process(child);
    let mut values = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
    values.next().unwrap().unwrap();
    let children = children_of(demo.0.id());
    assert_eq!(children.len(), 3);
    drop(demo);
    until("the replicas end", PATIENCE, || {
        let lives = |pid: &u32| {
            // A replica whose parent is gone may wait as a zombie for a reaper that no container has.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        (!children.iter().any(lives)).then_some(())
    });
}

fn children_of(pid: u32) -> Vec<u32> {
    let task = format!("/proc/{pid}/task");
    std::fs::read_dir(task)
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}
