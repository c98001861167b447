//! Deployments: steps on evidence, aborted by themselves, refused with the reason, kept over a restart.

use std::time::Duration;

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::{
    Boot, DeployCommand, DeployVerb, Event, Guard, Outcome, Restorable, Settings, StartDeployment,
    Verdict,
};
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Config;
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::parse::parse;
use evenkeel_model::record::{
    ALL_PPM, Entry, RevisionState, RolloutRecord, RolloutState, Strategy,
};

use crate::world::{START, World, boot_of, name, record};

/// Backends of 600 rps: three of v1 with `weights[0]`, then two of v2 with `weights[1]`; empty: no weight is declared.
fn versions(weights: [&str; 2], more: &str) -> Config {
    let backend = |n: usize| {
        let (version, weight) = if n <= 3 {
            ("v1", weights[0])
        } else {
            ("v2", weights[1])
        };
        let port = 8_080 + n;
        let weight = if weight.is_empty() {
            String::new()
        } else {
            format!("weight = {weight}\n")
        };
        format!(
            "[pool.shop.backend.web-{n}]\naddress = \"127.0.0.1:{port}\"\ncapacity_rps = 600\nversion = \"{version}\"\n{weight}"
        )
    };
    let backends: String = (1..=5).map(backend).collect();
    let text = format!(
        "[listener.web]\naddress = \"127.0.0.1:8080\"\n[[route]]\nlistener = \"web\"\npath_prefix = \"/\"\npool = \"shop\"\n\
         [pool.shop]\nalgorithm = \"random\"\npeak_rps = 900\nmin_healthy = 2\n{more}\n{backends}"
    );
    let parsed = parse(&text, None);
    parsed
        .config
        .unwrap_or_else(|| panic!("{:?}", parsed.findings))
}

/// 300 requests/s on v1; v2 waits.
fn waiting(seed: u64) -> World {
    let mut world = World::new(seed, 300.0, versions(["", "0"], ""));
    world.run(20);
    world
}

fn ask(world: &mut World, verb: DeployVerb) -> Outcome {
    let request = world.request();
    world.send(Event::Deploy(Box::new(DeployCommand {
        request,
        pool: name("shop"),
        author: "ann".to_owned(),
        reason: "release 41".to_owned(),
        verb,
    })));
    world.replies.get(&request.0).cloned().expect("an answer")
}

fn start_of(strategy: Strategy, steps: &[u32]) -> StartDeployment {
    StartDeployment {
        version: name("v2"),
        strategy,
        steps: steps.to_vec(),
        step_min: Duration::from_secs(10),
        force: false,
    }
}

fn start(world: &mut World, strategy: Strategy, steps: &[u32]) -> Outcome {
    ask(world, DeployVerb::Start(start_of(strategy, steps)))
}

#[track_caller]
fn refused(outcome: &Outcome) -> &Finding {
    match outcome {
        Outcome::Refused(refusal) => &refusal.findings[0],
        other => panic!("not refused: {other:?}"),
    }
}

fn now(world: &World) -> RolloutRecord {
    world.view().rollouts[0].record.clone()
}

/// What v2 has of the free picks of the last ten seconds.
fn share(world: &World) -> f64 {
    let pool = &world.view().pools[0];
    let of = |n: usize| pool.backends[n].observed_share.unwrap_or(f64::NAN);
    of(3) + of(4)
}

/// The states and shares that the journal has, in their order.
fn journalled(world: &World) -> Vec<(RolloutState, u32)> {
    let entries = world.journal.iter();
    let rollouts = entries.filter_map(|entry| match entry {
        Entry::Rollout(record) => Some((record.state, record.share_ppm)),
        _ => None,
    });
    rollouts.collect()
}

fn failing(rate: f64) -> Fault {
    Fault {
        error_rate: rate,
        ..Fault::default()
    }
}

fn break_version(world: &mut World, fault: &Fault) {
    for backend in ["web-4", "web-5"] {
        world.fault(backend, fault.clone());
    }
}

#[test]
fn a_version_that_waits_takes_nothing_and_is_not_missed() {
    let mut world = waiting(1);
    world.run(40);
    let view = world.view();
    assert!(view.incidents.is_empty(), "{:?}", view.incidents);
    let shares: Vec<_> = view.pools[0]
        .backends
        .iter()
        .map(|b| b.intended_share)
        .collect();
    assert_eq!(shares[3..], [Some(0.0), Some(0.0)]);
    assert!((shares[0].unwrap() - 1.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_good_version_gets_its_steps_on_evidence_and_stays_until_the_file_says_the_same() {
    for seed in 0..4 {
        let mut world = waiting(seed);
        let outcome = start(&mut world, Strategy::Canary, &[50_000, 500_000, ALL_PPM]);
        assert!(matches!(outcome, Outcome::Rollout(_)), "{outcome:?}");
        world.run(11);
        assert!(
            (share(&world) - 0.05).abs() < 0.03,
            "{seed}: {}",
            share(&world)
        );
        let view = world.view();
        let backend = &view.pools[0].backends[3];
        assert_eq!(backend.verdict, Verdict::Explained);
        assert_eq!(
            backend.reason,
            "deployment d1: v2 gets 5 % (canary, step 1 of 3)"
        );
        // 15 of 300 requests a second: the time is over, the requests are not there.
        let held = &view.rollouts[0].held;
        assert!(
            held.iter().any(|h| h.starts_with("requests of v2:")),
            "{held:?}"
        );
        let took = world.run_until(120, |w| now(w).state == RolloutState::Done);
        assert!(took.is_some(), "{seed}: {:?}", world.view().rollouts);
        world.run(12);
        assert!(share(&world) > 0.999, "{seed}: {}", share(&world));
        assert!(
            world.incidents().is_empty(),
            "{seed}: {:#?}",
            world.incidents()
        );
        assert_eq!(
            journalled(&world),
            [
                (RolloutState::Running, 50_000),
                (RolloutState::Running, 500_000),
                (RolloutState::Running, ALL_PPM),
                (RolloutState::Done, ALL_PPM)
            ]
        );
        assert!(world.view().rollouts[0].file_differs);
        // A revision that says something else about the pool keeps what the deployment ended in.
        world.apply(versions(["", "0"], "headroom = \"19%\""));
        world.run(30);
        assert!(share(&world) > 0.999, "{seed}: {}", share(&world));
        world.apply(versions(["0", ""], ""));
        assert!(world.view().rollouts.is_empty(), "the file decides again");
        world.run(30);
        assert!(share(&world) > 0.999, "{seed}: {}", share(&world));
        assert!(
            world.incidents().is_empty(),
            "{seed}: {:#?}",
            world.incidents()
        );
        // Back to a revision that says otherwise, the deployment is in force again.
        let before = versions(["", "0"], "headroom = \"19%\"");
        let to = Restorable {
            record: record(2, &before, RevisionState::Superseded),
            config: before.into(),
        };
        world.rollback(Some(to));
        world.run(12);
        assert_eq!(world.revision, RevisionId(2));
        assert!(share(&world) > 0.999, "{seed}: {}", share(&world));
    }
}

#[test]
fn a_version_that_fails_is_aborted_by_itself_and_named() {
    for seed in 0..6 {
        let mut world = waiting(seed);
        break_version(&mut world, &failing(0.5));
        start(&mut world, Strategy::Canary, &[]);
        let took = world.run_until(30, |w| {
            w.view().rollouts.is_empty() || now(w).state == RolloutState::Aborted
        });
        assert!(took.is_some_and(|s| s <= 15), "{seed}: {took:?}");
        world.run(12);
        assert!(share(&world) < 1e-9, "{seed}: {}", share(&world));
        let incidents = world.incidents();
        assert_eq!(incidents.len(), 1, "{seed}: {incidents:#?}");
        let found = incidents[0].diagnosis.as_ref().unwrap();
        assert_eq!(
            (found.cause, found.mechanism),
            (Cause::Deployment, Mechanism::Errors)
        );
        assert_eq!(
            found.subject.as_ref().unwrap().to_string(),
            "deployment:shop/v2"
        );
        assert!(
            incidents[0].actions.iter().any(|a| a.kind == "abort"),
            "{incidents:#?}"
        );
        assert!(world.swaps.is_empty(), "no revision was to blame");
        world.run(80);
        assert!(world.incidents()[0].resolved_at.is_some(), "{seed}");
    }
}

#[test]
fn a_version_that_is_slow_is_aborted_by_itself_and_named() {
    let slow = Fault {
        extra_latency: Duration::from_millis(300),
        ..Fault::default()
    };
    for seed in 0..4 {
        let mut world = waiting(seed);
        break_version(&mut world, &slow);
        start(&mut world, Strategy::Canary, &[]);
        let aborted =
            |e: &Entry| matches!(e, Entry::Rollout(r) if r.state == RolloutState::Aborting);
        let took = world.run_until(60, |w| w.journal.iter().any(aborted));
        assert!(took.is_some_and(|s| s <= 30), "{seed}: {took:?}");
        let incidents = world.incidents();
        let found = incidents[0].diagnosis.as_ref().unwrap();
        assert_eq!(
            (found.cause, found.mechanism),
            (Cause::Deployment, Mechanism::Latency)
        );
    }
}

#[test]
fn what_harms_both_versions_holds_the_step_and_aborts_nothing() {
    let mut world = waiting(3);
    start(&mut world, Strategy::Canary, &[500_000, ALL_PPM]);
    world.run(5);
    for n in 1..=5 {
        world.fault(&format!("web-{n}"), failing(0.05));
    }
    world.run(60);
    let found = world.incidents()[0].diagnosis.clone();
    assert_ne!(found.map(|d| d.cause), Some(Cause::Deployment));
    let record = now(&world);
    assert_eq!((record.state, record.step), (RolloutState::Running, 0));
    let held = &world.view().rollouts[0].held;
    assert!(held.iter().any(|h| h.contains("incident i1")), "{held:?}");
}

#[test]
fn a_start_that_cannot_end_well_is_refused_with_the_reason() {
    let mut world = waiting(4);
    let with = |version: &str, steps: &[u32]| {
        DeployVerb::Start(StartDeployment {
            version: name(version),
            ..start_of(Strategy::Canary, steps)
        })
    };
    let told = |world: &mut World, verb: DeployVerb, id: &str, text: &str| {
        let outcome = ask(world, verb);
        let finding = refused(&outcome);
        assert_eq!(finding.id, id, "{finding:?}");
        assert!(finding.message.contains(text), "{}", finding.message);
    };
    told(
        &mut world,
        with("v9", &[]),
        "CHG-08",
        "no backend of pool `shop` has this version",
    );
    told(
        &mut world,
        with("v1", &[]),
        "CHG-08",
        "has all the traffic already",
    );
    told(
        &mut world,
        with("v2", &[50_000]),
        "CHG-08",
        "the last step must be 100 %",
    );
    told(&mut world, DeployVerb::Abort, "CHG-08", "could be aborted");
    let all = DeployVerb::Promote {
        all: true,
        force: false,
    };
    told(
        &mut world,
        all,
        "CHG-08",
        "no deployment of pool `shop` is under way",
    );
    start(&mut world, Strategy::Canary, &[]);
    told(
        &mut world,
        with("v2", &[]),
        "CHG-08",
        "d1 of v2 is under way",
    );
    let mut change = world.proposal(versions(["", "0"], "tolerance = \"19%\""));
    change.force = false;
    let outcome = world.propose(change);
    assert_eq!(refused(&outcome).id, "CHG-03");
    assert!(
        refused(&outcome).message.contains("deployment d1"),
        "{outcome:?}"
    );
    world.journal_ok = false;
    world.run(12);
    let promote = DeployVerb::Promote {
        all: false,
        force: false,
    };
    told(&mut world, promote, "CHG-06", "journal");
}

#[test]
fn a_change_that_comes_while_a_deployment_is_being_recorded_is_refused_and_so_the_other_way_round()
{
    for deploy_first in [true, false] {
        let mut world = waiting(4);
        let started = world.request();
        let deploy = Event::Deploy(Box::new(DeployCommand {
            request: started,
            pool: name("shop"),
            author: "ann".to_owned(),
            reason: "release 41".to_owned(),
            verb: DeployVerb::Start(start_of(Strategy::Canary, &[ALL_PPM])),
        }));
        let mut change = world.proposal(versions(["", "0"], "tolerance = \"19%\""));
        change.force = false;
        let changed = change.request;
        let change = Event::Propose(Box::new(change));
        if deploy_first {
            world.send_all([deploy, change]);
        } else {
            world.send_all([change, deploy]);
        }
        let lost = if deploy_first { changed } else { started };
        assert_eq!(
            refused(&world.replies[&lost.0]).id,
            "CHG-03",
            "{deploy_first}"
        );
        let (rollouts, swaps) = (world.view().rollouts.len(), world.swaps.len());
        assert_eq!(
            (rollouts, swaps),
            if deploy_first { (1, 0) } else { (0, 1) }
        );
    }
}

#[test]
fn a_step_that_its_backends_cannot_carry_is_refused_unless_it_is_forced() {
    // Two of 600 rps have to carry 1,100 alone.
    let config = versions(["", "0"], "").clone();
    let mut config = config;
    config.pools[0].peak_rps = Some(1_100.0);
    let mut world = World::new(5, 300.0, config);
    world.run(20);
    let outcome = start(&mut world, Strategy::Canary, &[]);
    let finding = refused(&outcome);
    assert_eq!(finding.id, "CAP-01");
    assert!(
        finding.message.contains("at 100 % for v2") && finding.message.contains("91.7 %"),
        "{}",
        finding.message
    );
    let forced = StartDeployment {
        force: true,
        ..start_of(Strategy::Canary, &[])
    };
    let outcome = ask(&mut world, DeployVerb::Start(forced));
    assert!(matches!(outcome, Outcome::Rollout(_)), "{outcome:?}");
    // Fewer than min_healthy: nothing overrides that.
    let mut world = waiting(6);
    world.take_out(&["web-5"]);
    let forced = StartDeployment {
        force: true,
        ..start_of(Strategy::Canary, &[])
    };
    let outcome = ask(&mut world, DeployVerb::Start(forced));
    assert_eq!(refused(&outcome).id, "CHG-04");
}

#[test]
fn an_abort_needs_no_disk_and_leaves_with_the_new_version_what_the_old_one_cannot_carry() {
    let mut world = waiting(7);
    start(&mut world, Strategy::BlueGreen, &[]);
    ask(
        &mut world,
        DeployVerb::Promote {
            all: true,
            force: false,
        },
    );
    world.run(12);
    assert!(share(&world) > 0.999, "{}", share(&world));
    world.journal_ok = false;
    world.take_out(&["web-1", "web-2"]);
    world.engine.set_rate(&name("users"), 900.0).unwrap();
    world.run(12);
    let outcome = ask(&mut world, DeployVerb::Abort);
    assert!(matches!(outcome, Outcome::Rollout(_)), "{outcome:?}");
    world.run(20);
    // One of three old backends lives. At 25 % for v2 it has a quarter of what five would share, half of what
    // three do: 450 of 900, at a limit of 480. At 20 % it would have 514.
    let record = now(&world);
    assert_eq!(
        (record.state, record.share_ppm),
        (RolloutState::Aborting, 250_000)
    );
    let held = &world.view().rollouts[0].held;
    assert!(
        held[0].contains("v1 cannot carry more now, v2 keeps the rest"),
        "{held:?}"
    );
    world.take_out(&[]);
    world.run(10);
    assert!(world.view().rollouts.is_empty(), "the file says the same");
    world.run(12);
    assert!(share(&world) < 1e-9, "{}", share(&world));
}

#[test]
fn backends_come_in_one_after_another_and_old_ones_go() {
    let mut world = waiting(8);
    start(&mut world, Strategy::Rolling, &[]);
    world.run(8);
    let weights = |world: &World| -> Vec<bool> {
        let backends = &world.view().pools[0].backends;
        backends
            .iter()
            .map(|b| b.expected_share > Some(0.0))
            .collect()
    };
    assert_eq!(weights(&world), [false, true, true, true, false]);
    let took = world.run_until(120, |w| now(w).state == RolloutState::Done);
    assert!(took.is_some());
    assert_eq!(weights(&world), [false, false, false, true, true]);
    assert!(world.incidents().is_empty());
}

#[test]
fn a_restart_at_any_transition_resumes_it() {
    let mut world = waiting(9);
    start(&mut world, Strategy::Canary, &[50_000, ALL_PPM]);
    world.run(60);
    ask(&mut world, DeployVerb::Abort);
    world.run(20);
    let records: Vec<RolloutRecord> = world
        .journal
        .iter()
        .filter_map(|entry| match entry {
            Entry::Rollout(record) => Some((**record).clone()),
            _ => None,
        })
        .collect();
    assert!(records.len() >= 6, "{records:#?}");
    for kept in records {
        let running = Restorable {
            record: record(1, &world.config, RevisionState::Verified),
            config: world.config.clone(),
        };
        let boot = Boot {
            rollouts: vec![kept.clone()],
            ..boot_of(running)
        };
        let mut guard = Guard::new(Settings::default());
        guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, START);
        let view = guard.view(Mono::ZERO, START).unwrap();
        let told = view
            .rollouts
            .first()
            .map(|r| (r.record.state, r.record.share_ppm));
        let expected = (kept.lifted_by.is_none()).then_some((kept.state, kept.share_ppm));
        // What says the same as the file already is lifted at once.
        let expected = expected.filter(|(state, _)| *state != RolloutState::Aborted);
        assert_eq!(told, expected);
    }
}
