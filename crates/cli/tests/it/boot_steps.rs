//! kill -9 at each step of a change, one after the other: accepted, journalled, watched, verified, rolling back, rolled
//! back. Every start serves at once, runs what had evidence, and its record says what became of the rest.
//!
//! A step is seen in the record itself, read from outside while the instance writes it, and the kill follows within a
//! millisecond or two: it falls before or after what the entry lets happen, and both must be right.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_journal::{Read as _, SqliteJournal};
use evenkeel_model::record::{RevisionRecord, RevisionState};
use rusqlite::Connection;

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, Process, addresses, binary, config, heavy, load, pause,
    request, stubs,
};

/// A command that nobody waits for.
fn begin(home: &Home, instance: &Instance, line: &str) -> Process {
    Process::start(
        binary()
            .current_dir(home.dir())
            .args(["--admin", &instance.admin.to_string(), "--data", "data"])
            .args(crate::support::words(line))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

fn journal(home: &Home) -> Connection {
    let connection = Connection::open(home.data().join("journal.db")).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
}

/// Waits, without a pause, for the first entry of this kind that says `word` after `seq`.
fn written(home: &Home, seq: i64, kind: &str, word: &str) {
    let connection = journal(home);
    let sql = "SELECT count(*) FROM entry WHERE seq > ?1 AND kind = ?2 AND body LIKE ?3";
    let begun = Instant::now();
    loop {
        let found: i64 = connection
            .query_row(sql, (seq, kind, format!("%\"state\":\"{word}\"%")), |row| {
                row.get(0)
            })
            .unwrap();
        if found > 0 {
            return;
        }
        assert!(begun.elapsed() < 2 * PATIENCE, "no {kind} {word}");
        thread::yield_now();
    }
}

fn newest(home: &Home) -> i64 {
    let sql = "SELECT coalesce(max(seq), 0) FROM entry";
    journal(home).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The whole record, checked, newest revision first.
fn record(home: &Home) -> Vec<RevisionRecord> {
    let reader = SqliteJournal::open(&home.data()).unwrap().reader().unwrap();
    reader.verify().unwrap();
    reader.revisions(1_000).unwrap()
}

/// Starts, serves, and runs `expected`.
fn start(home: &Home, step: &str, expected: &str) -> Instance {
    let instance = home.start(&[]);
    let (head, _) = request(
        instance.front(),
        "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 200"), "{step}: {head}");
    assert_eq!(instance.status()["revision"], expected, "{step}");
    let history = instance.ask("history");
    let left = history["revisions"].as_array().unwrap().clone();
    let is_left = |r: &&serde_json::Value| r["state"] == "applying" || r["state"] == "rolling_back";
    assert_eq!(left.iter().find(is_left), None, "{step}: half done");
    instance
}

#[test]
fn a_kill_at_each_step_of_a_change_leaves_what_had_evidence_to_be_run() {
    let _alone = heavy();
    let backends = stubs();
    let text = config(&addresses(&backends), [1, 1, 1], "");
    let home = Home::new(&text);
    let next = |ms: u32| {
        let text = text.replace("\"500ms\"", &format!("\"{ms}ms\""));
        home.write("next.toml", &text);
        "apply next.toml --yes --wait 0s --reason step"
    };

    // Accepted: judged and handed in, while the disk takes nothing.
    let mut instance = start(&home, "the first", "r1");
    let held = journal(&home);
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut apply = begin(&home, &instance, next(501));
    pause(Duration::from_millis(900));
    instance.kill_at_once();
    apply.ended(PATIENCE);
    drop(held);
    assert_eq!(record(&home).len(), 1, "what was not written was not made");

    // Journalled, about to be swapped in.
    let mut instance = start(&home, "accepted", "r1");
    let seq = newest(&home);
    let mut apply = begin(&home, &instance, next(502));
    written(&home, seq, "revision", "applying");
    instance.kill_at_once();
    apply.ended(PATIENCE);
    assert_eq!(record(&home).len(), 2);

    // Watched: it runs, and its evidence comes in.
    let mut instance = start(&home, "journalled", "r1");
    let traffic = load(instance.front(), LOAD_RPS);
    let seq = newest(&home);
    let mut apply = begin(&home, &instance, next(503));
    written(&home, seq, "revision_state", "verifying");
    apply.ended(PATIENCE);
    assert_eq!(instance.status()["revision"], "r3");
    pause(Duration::from_secs(3));
    let seen = traffic.stop().total;
    assert_eq!(seen.failed() + seen.server_error, 0, "{seen:?}");
    instance.kill_at_once();

    // Verified: from here on it is what boots.
    let mut instance = start(&home, "watched", "r1");
    let traffic = load(instance.front(), LOAD_RPS);
    let seq = newest(&home);
    let mut apply = begin(&home, &instance, next(504));
    written(&home, seq, "revision_state", "verified");
    instance.kill_at_once();
    drop((traffic, apply.ended(PATIENCE)));
    undone(&home);
}

/// The second half: a rollback by a person of what was verified (r4), and one that comes by itself.
fn undone(home: &Home) {
    // Rolling back: written, about to be carried out. It is carried out by the start.
    let mut instance = start(home, "verified", "r4");
    let seq = newest(home);
    let mut back = begin(home, &instance, "rollback --yes --reason step");
    written(home, seq, "revision_state", "rolling_back");
    instance.kill_at_once();
    back.ended(PATIENCE);

    // By itself: a weight typo, killed as soon as its rollback is on record.
    let mut instance = start(home, "rolling back", "r1");
    let traffic = load(instance.front(), LOAD_RPS);
    instance.when("the hold of the start is over", PATIENCE, |s| {
        s["hold"].is_null() && s["revision_state"] == "verified"
    });
    let text = std::fs::read_to_string(home.dir().join("evenkeel.toml")).unwrap();
    home.write("typo.toml", &text.replacen("weight = 1", "weight = 10", 1));
    let seq = newest(home);
    let apply = "apply typo.toml --yes --force --wait 0s --reason step";
    let mut apply = begin(home, &instance, apply);
    written(home, seq, "revision_state", "rolling_back");
    instance.kill_at_once();
    drop((traffic, apply.ended(PATIENCE)));

    // Rolled back, by a person.
    let mut instance = start(home, "rolling back by itself", "r1");
    instance.ends("apply typo.toml --yes --reason again", 3);
    home.write("other.toml", &text.replace("\"500ms\"", "\"507ms\""));
    instance.ends("apply other.toml --yes --wait 0s --reason step", 0);
    let seq = newest(home);
    let mut back = begin(home, &instance, "rollback --yes --reason step");
    written(home, seq, "revision_state", "rolled_back");
    instance.kill_at_once();
    back.ended(PATIENCE);
    let instance = start(home, "rolled back", "r1");
    assert!(instance.stop().success());
    let states: Vec<RevisionState> = record(home).iter().map(|r| r.state).rev().collect();
    let gone = |state: &RevisionState| *state == RevisionState::RolledBack;
    assert!(states[1..].iter().all(gone), "{states:?}");
}
