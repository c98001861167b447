//! kill -9 at random points of an apply, with a shop and its traffic behind it: every start finds an intact record and
//! runs what the record says was last verified; the shop sells nothing twice.

use std::process::Stdio;
use std::time::Duration;

use evenkeel_journal::{Read as _, SqliteJournal};
use evenkeel_model::record::{RevisionRecord, RevisionState};
use evenkeel_model::rng::Rng;
use evenkeel_shop::load::{LoadOptions, Mix};
use evenkeel_shop::{Capacity, ServerHandle, ShopOptions};

use crate::support::{
    Home, Instance, PATIENCE, Process, addresses, binary, config, heavy, long, pause,
};

/// Three replicas of one shop.
fn shops(home: &Home) -> Vec<ServerHandle> {
    (1..=3)
        .map(|n| {
            evenkeel_shop::spawn(ShopOptions {
                name: format!("web-{n}"),
                database: home.dir().join("shop.db"),
                capacity: Capacity {
                    service_time: Duration::from_millis(5),
                    ..Capacity::default()
                },
                ..ShopOptions::default()
            })
            .unwrap()
        })
        .collect()
}

/// Opens what the killed process left, walks the whole chain and gives the revisions, newest first.
fn record(home: &Home) -> Vec<RevisionRecord> {
    let journal = SqliteJournal::open(&home.data()).unwrap();
    let reader = journal.reader().unwrap();
    reader.verify().unwrap();
    reader.revisions(1_000).unwrap()
}

fn shopping(instance: &Instance, round: u64) -> evenkeel_shop::load::LoadHandle {
    evenkeel_shop::load::start(LoadOptions {
        target: format!("http://{}", instance.front()),
        rate: 60.0,
        mix: Mix::Shop { products: 60 },
        seed: round,
        sessions: 50,
        timeout: Duration::from_secs(2),
        ..LoadOptions::default()
    })
    .unwrap()
}

/// When to kill: mostly while the apply is under way, now and then while its evidence comes in.
fn delay(rng: &mut Rng, round: u64) -> Duration {
    if round % 10 == 9 {
        Duration::from_millis(9_500 + rng.below(2_500))
    } else {
        Duration::from_micros(rng.below(70_000))
    }
}

/// Starts `apply next.toml` and does not wait for it.
fn begin_apply(home: &Home, instance: &Instance) -> Process {
    Process::start(
        binary()
            .current_dir(home.dir())
            .args(["--admin", &instance.admin.to_string(), "--data", "data"])
            .args([
                "apply",
                "next.toml",
                "--yes",
                "--wait",
                "0s",
                "--reason",
                "round",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

#[test]
fn a_kill_at_any_point_of_an_apply_leaves_an_intact_record_that_says_what_boots() {
    let _alone = heavy();
    let seed = 20_261_122;
    let mut rng = Rng::new(seed);
    let home = Home::new("");
    let shops = shops(&home);
    let addresses = addresses(&shops);
    let text = config(&addresses, [1, 1, 1], "");
    home.write("evenkeel.toml", &text);
    let (mut known, mut journalled) = (1, 0);
    let mut verified_by_then = 0;
    let mut expected = "r1".to_owned();
    let rounds = if long() { 50 } else { 20 };
    for round in 0..rounds {
        let mut instance = home.start(&[]);
        assert_eq!(
            instance.status()["revision"],
            expected.as_str(),
            "round {round}, seed {seed}"
        );
        let traffic = shopping(&instance, round);
        // Each content is new, so that each apply is a change; it touches the pool, so that it needs evidence.
        home.write(
            "next.toml",
            &text.replace("\"500ms\"", &format!("\"{}ms\"", 501 + round)),
        );
        let mut apply = begin_apply(&home, &instance);
        pause(delay(&mut rng, round));
        instance.kill_at_once();
        apply.ended(PATIENCE);
        drop(traffic);
        let revisions = record(&home);
        journalled += u64::from(revisions.len() > known);
        known = revisions.len();
        let last_verified: Vec<&RevisionRecord> = revisions
            .iter()
            .filter(|r| matches!(r.state, RevisionState::Verified | RevisionState::Confirmed))
            .collect();
        assert_eq!(
            last_verified.len(),
            1,
            "one revision is the verified one; round {round}, seed {seed}: {revisions:#?}"
        );
        let now = last_verified[0].id.to_string();
        verified_by_then += u32::from(now != expected);
        expected = now;
    }
    println!(
        "{rounds} kills: {journalled} after the change was journalled, {verified_by_then} after it was verified"
    );
    let instance = home.start(&[]);
    assert_eq!(instance.status()["revision"], expected.as_str());
    assert!(instance.stop().success());
    drop(shops);
    let report = evenkeel_shop::check_invariants(&home.dir().join("shop.db")).unwrap();
    println!("{report:?}");
    assert!(report.holds() && report.orders > 0, "{report:?}");
    assert!(
        journalled >= rounds / 4,
        "the kills came too early: {journalled} of {rounds}"
    );
}
