//! A record that cannot be written or read: no room on the disk, a slow disk, a damaged file, a file of a newer version.
//!
//! The full disk is a limit of 0 bytes on every file that the process writes (RLIMIT_FSIZE, set from outside with
//! prlimit): each write fails as it does on a full disk, with EFBIG in place of ENOSPC, and it needs no privilege.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_journal::{Read as _, SqliteJournal};

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, addresses, config, has_keys, heavy, load, pause, run, stubs,
};

/// An instance that is told of a full disk instead of being ended by SIGXFSZ.
pub(crate) fn start(home: &Home) -> Instance {
    let plain = home.command(&[]);
    let mut command = Command::new("sh");
    command
        .current_dir(home.dir())
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args());
    Instance::start(&mut command, home)
}

/// `0`: the disk is full; `unlimited`: there is room.
pub(crate) fn bytes_per_file(instance: &Instance, limit: &str) {
    let pid = instance.pid().to_string();
    run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")])).expect(0);
}

#[test]
fn a_full_disk_refuses_changes_but_not_a_rollback_and_is_made_up_for_when_there_is_room() {
    let backends = stubs();
    let addresses = addresses(&backends);
    let text = config(&addresses, [1, 1, 1], "");
    let home = Home::new(&text);
    let other = |ms: u32| text.replace("\"500ms\"", &format!("\"{ms}ms\""));
    home.write("next.toml", &other(600));
    home.write("third.toml", &other(700));
    let instance = start(&home);
    let traffic = load(instance.front(), LOAD_RPS);
    instance.ends(
        "apply next.toml --yes --wait 0s --reason 'before the disk is full'",
        0,
    );
    assert_eq!(instance.status()["revision"], "r2");

    the_disk_is_full(&instance);
    there_is_room_again(&instance);

    let seen = traffic.stop().total;
    println!(
        "{} requests, {} failed",
        seen.sent,
        seen.failed() + seen.server_error
    );
    assert!(
        seen.sent > 500 && seen.failed() + seen.server_error == 0,
        "{seen:?}"
    );
    assert!(instance.stop().success());
    let reader = SqliteJournal::open(&home.data()).unwrap().reader().unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.revisions(10).unwrap().len(), 3);
    let told = reader.timeline(None, 1_000).unwrap();
    assert!(
        told.iter().any(|line| line.value.text.contains("even so")),
        "{told:#?}"
    );
}

fn the_disk_is_full(instance: &Instance) {
    bytes_per_file(instance, "0");
    // A deployment happened whether it can be written down or not.
    instance.ends("deploy record shop v9", 0);
    let status = instance.when("the journal is degraded", PATIENCE, |s| {
        s["journal"] == "degraded"
    });
    assert_eq!(status["revision"], "r2", "what runs goes on running");
    let back = instance
        .ends("--json rollback --yes --reason 'even so'", 0)
        .json();
    assert_eq!(back["parent"], "r2", "{back:#}");
    assert_eq!(instance.status()["revision"], "r1");
    let refused = instance
        .ends(
            "--json apply third.toml --yes --force --reason 'not now'",
            3,
        )
        .json();
    assert_eq!(refused["findings"][0]["id"], "CHG-06", "{refused:#}");
    pause(Duration::from_secs(3));
    assert_eq!(instance.status()["journal"], "degraded");
}

fn there_is_room_again(instance: &Instance) {
    bytes_per_file(instance, "unlimited");
    instance.when("the journal takes entries again", PATIENCE, |s| {
        s["journal"] == "ok"
    });
    let history = instance.ask("history");
    let state = |n: usize| history["revisions"][n]["state"].as_str();
    assert_eq!(
        (state(0), state(1)),
        (Some("rolled_back"), Some("verifying")),
        "r2 and r1: {history:#}"
    );
    let deployments = instance.ask("deploy status");
    assert_eq!(
        deployments["deployments"][0]["version"], "v9",
        "{deployments:#}"
    );
    instance.when(
        "evidence for what was restored",
        Duration::from_secs(40),
        |s| s["revision_state"] == "verified",
    );
    instance.ends("apply third.toml --yes --wait 0s --reason now", 0);
}

/// A disk that takes up to a second and a half for each write: somebody else holds the journal most of the time.
struct SlowDisk {
    is_over: Arc<AtomicBool>,
    holder: Option<JoinHandle<()>>,
}

impl SlowDisk {
    fn begin(journal: &Path) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, journal) = (Arc::clone(&is_over), journal.to_owned());
        let holder = std::thread::spawn(move || {
            let connection = rusqlite::Connection::open(journal).unwrap();
            connection.busy_timeout(PATIENCE).unwrap();
            while !over.load(Ordering::Relaxed) {
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                pause(Duration::from_millis(1_500));
                connection.execute_batch("ROLLBACK").unwrap();
                pause(Duration::from_millis(300));
            }
        });
        Self {
            is_over,
            holder: Some(holder),
        }
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.holder.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

#[test]
fn a_slow_disk_delays_a_change_and_stops_neither_traffic_nor_the_rollback_nor_the_operator() {
    let _alone = heavy();
    let backends = stubs();
    let addresses = addresses(&backends);
    let home = Home::new(&config(&addresses, [1, 1, 1], ""));
    home.write("typo.toml", &config(&addresses, [10, 1, 1], ""));
    let instance = home.start(&[]);
    let traffic = load(instance.front(), LOAD_RPS);
    instance.when(
        "the hold of the start is over and shares are seen",
        PATIENCE,
        |s| {
            let first = &s["pools"][0]["backends"][0];
            s["hold"].is_null() && !first["observed_share"].is_null()
        },
    );

    let disk = SlowDisk::begin(&home.data().join("journal.db"));
    let begun = Instant::now();
    instance.ends("apply typo.toml --yes --force --wait 0s --reason spare", 0);
    let undone = instance.when("it is undone", Duration::from_secs(45), |s| {
        s["revision"] == "r1"
    });
    let took = begun.elapsed();
    // People are answered meanwhile, from memory and from the record.
    let asked = Instant::now();
    instance.ask("history");
    assert_eq!(instance.status()["revision"], "r1");
    println!(
        "undone {:.1} s after the command, asked for {:.1} s",
        took.as_secs_f64(),
        asked.elapsed().as_secs_f64()
    );
    assert!(asked.elapsed() < Duration::from_secs(5));
    let incident = undone["incident"].as_str().unwrap().to_owned();
    drop(disk);

    instance.when("all is written", PATIENCE, |s| s["journal"] == "ok");
    instance.when("the incident is over", Duration::from_secs(60), |s| {
        s["state"] == "ok" && s["incident"].is_null()
    });
    let seen = traffic.stop().total;
    assert!(seen.sent > 500 && seen.failed() == 0, "{seen:?}");
    assert!(instance.stop().success());
    let reader = SqliteJournal::open(&home.data()).unwrap().reader().unwrap();
    reader.verify().unwrap();
    let told = reader.timeline(None, 1_000).unwrap();
    let says = |text: &str| told.iter().any(|line| line.value.text.starts_with(text));
    assert!(
        says("r2 is undone, r1 runs") && says("resolved: "),
        "{incident}: {told:#?}"
    );
    it_can_be_decided_again(&home, &incident);
}

/// The recording of an incident, without its instance.
fn it_can_be_decided_again(home: &Home, incident: &str) {
    let replay = |what: &str| format!("incident replay {what} --data data --json");
    let again = home.ends(&replay(incident), 0).json();
    has_keys(
        &again,
        "file incidents from to events decisions states_compared cut same difference",
    );
    assert_eq!(again["same"], true, "{again:#}");
    assert!(again["difference"].is_null());
    assert!(again["events"].as_u64() > Some(60) && again["decisions"].as_u64() > Some(5));
    assert_eq!(again["incidents"], serde_json::json!([incident]));
    let said = home.ends(&format!("incident replay {incident} --data data"), 0);
    assert!(said.out.contains("the same, bit for bit"), "{}", said.out);

    let refused = home.ends(&replay("i99"), 1);
    assert!(refused.err.contains("no recording of i99"), "{refused:#?}");
    let file = home.data().join(format!("recordings/{incident}.recording"));
    let bytes = fs::read(&file).unwrap();
    fs::write(home.dir().join("cut.recording"), &bytes[..bytes.len() / 2]).unwrap();
    let refused = home.ends(&replay("cut.recording"), 1);
    assert!(refused.err.contains("it is damaged"), "{refused:#?}");
    let refused = home.ends(&replay("evenkeel.toml"), 1);
    assert!(
        refused.err.contains("no recording of Evenkeel"),
        "{refused:#?}"
    );
}

fn used_home() -> Home {
    let nobody = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let home = Home::new(&config(&nobody, [1, 1, 1], ""));
    assert!(home.start(&[]).stop().success());
    home
}

/// A start that fails with 1, says why, and leaves the record as it was.
fn refuses_to_start(home: &Home, words: &[&str]) {
    let file = home.data().join("journal.db");
    let before = fs::read(&file).unwrap();
    let ran = home.ends("run evenkeel.toml --data data", 1);
    for word in words {
        assert!(ran.err.contains(word), "no `{word}` in {ran:#?}");
    }
    assert!(fs::read(&file).unwrap() == before, "the record was changed");
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let home = used_home();
    let file = home.data().join("journal.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    refuses_to_start(&home, &["journal.db", "99", "nothing was changed"]);
}

#[test]
fn a_damaged_journal_is_named_and_left_alone() {
    let home = used_home();
    let file = home.data().join("journal.db");
    let good = fs::read(&file).unwrap();
    // Not a database at all.
    fs::write(
        &file,
        b"these bytes are no record, and they are long enough to be read as a header",
    )
    .unwrap();
    refuses_to_start(&home, &["journal.db"]);
    // A record whose text somebody edited: the chain tells.
    let edited = String::from_utf8_lossy(&good).contains("first start");
    assert!(edited);
    let at = good.windows(11).position(|w| w == b"first start").unwrap();
    let mut bytes = good;
    bytes[at] = b'F';
    fs::write(&file, bytes).unwrap();
    refuses_to_start(&home, &["journal.db"]);
}
