//! Evidence as it should not be: lists of other lengths, unknown names, empty windows, moments in the wrong order.

use std::sync::Arc;

use evenkeel_balance::Member;
use evenkeel_diagnose::evidence::{OutFact, OutReason};
use evenkeel_diagnose::{
    BackendWindow, ChangeFact, Drift, EpochFact, Evidence, HotKey, LastTries, Onset, Unlisted,
    Window, diagnose, margin,
};
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Algorithm;
use evenkeel_model::ids::{Epoch, RevisionId};
use evenkeel_model::rng::Rng;
use evenkeel_model::sketch::ClientSketch;
use proptest::prelude::*;

use crate::build::{World, config, name, pool};

fn window(rng: &mut Rng) -> Window {
    let backends = (0..rng.below(6)).map(|_| {
        let mut b = BackendWindow {
            picks_free: rng.below(2_000),
            picks_forced: rng.below(10),
            picks_retry: rng.below(500),
            ..BackendWindow::default()
        };
        b.outcomes.ok = rng.below(2_000);
        b.outcomes.server_error = rng.below(300);
        b.outcomes.timeout = rng.below(300);
        b.outcomes.client_abort = rng.below(30);
        for _ in 0..rng.below(50) {
            b.latency.record(rng.below(20_000_000));
        }
        b
    });
    Window {
        backends: backends.collect(),
        from: Mono::from_secs(rng.below(100)),
        to: Mono::from_secs(rng.below(100)),
        unpicked: rng.below(300),
        elsewhere: rng.below(300),
    }
}

fn out(n: u64, rng: &mut Rng) -> OutFact {
    let reasons = [
        OutReason::Health,
        OutReason::Drain,
        OutReason::Membership,
        OutReason::NeverIn,
    ];
    OutFact {
        backend: name(&format!("web-{n}")),
        reason: reasons[rng.below(4) as usize],
        since: Mono::from_secs(rng.below(100)),
        flips: rng.below(9) as u32,
        last: [
            LastTries::Well,
            LastTries::Refused,
            LastTries::Failed,
            LastTries::Slow,
        ][rng.below(4) as usize],
        detail: String::new(),
    }
}

/// Epochs of anything.
fn epochs(rng: &mut Rng) -> Vec<EpochFact> {
    let members = |rng: &mut Rng| -> Vec<Member> {
        let member = |n: u64| Member {
            name: name(&format!("web-{n}")),
            weight: n as u32 % 3,
            eligible: !n.is_multiple_of(4),
        };
        (0..rng.below(6)).map(member).collect()
    };
    let epochs = (0..rng.below(6)).map(|n| EpochFact {
        epoch: Epoch(n),
        revision: RevisionId(n),
        algorithm: Algorithm::ALL[rng.below(3) as usize],
        from: Mono::from_secs(rng.below(100)),
        members: members(rng),
        declared: (0..rng.below(6)).map(|_| rng.below(100) as u32).collect(),
        comes_in: rng.below(4) == 0,
        picks_free: (0..rng.below(6)).map(|_| rng.below(1_000)).collect(),
    });
    epochs.collect()
}

fn evidence(seed: u64) -> Evidence {
    let mut rng = Rng::new(seed);
    let weights: Vec<u32> = (0..=rng.below(5)).map(|_| rng.below(4) as u32).collect();
    let capacities: Vec<Option<f64>> = weights
        .iter()
        .map(|_| (rng.below(3) > 0).then(|| 1.0 + rng.below(900) as f64))
        .collect();
    let mut world = World::new(seed, pool(&weights, &capacities), 100.0);
    for n in 0..rng.below(4) {
        let algorithm = Algorithm::ALL[rng.below(3) as usize];
        let limit = Some(rng.below(9) as u32);
        world.revise(rng.unit() * 200.0 - 50.0, "algorithm", |p| {
            p.algorithm = algorithm;
            p.max_in_flight = limit;
            p.backends.rotate_left(n as usize % weights.len());
            if n == 2 && p.backends.len() > 1 {
                p.backends.pop();
            }
        });
        world.deploy(
            rng.unit() * 200.0 - 50.0,
            &["web-1", "nobody"][..rng.below(3) as usize],
        );
    }
    let epochs = epochs(&mut rng);
    let out = (0..rng.below(4)).map(|n| out(n, &mut rng)).collect();
    Evidence {
        out,
        before: (rng.below(3) > 0).then(|| window(&mut rng)),
        after: window(&mut rng),
        changes: world.changes,
        deployments: world.deployments,
        epochs,
        revision: RevisionId(1),
        now: Mono::from_secs(rng.below(100)),
        onset: Onset {
            lo: Mono::from_secs(rng.below(4_000)),
            best: Mono::from_secs(rng.below(4_000)),
            hi: Mono::from_secs(rng.below(4_000)),
        },
        clients: ClientSketch::default(),
        hot: (rng.below(2) == 0).then(|| HotKey {
            hash: rng.next_u64(),
            part: rng.unit() * 1.2,
            backend: name(&format!("web-{}", rng.below(5))),
        }),
        left: Vec::new(),
        unlisted: (rng.below(3) == 0).then(|| Unlisted {
            since: Mono::from_secs(rng.below(4_000)),
            why: String::new(),
        }),
        drift: (rng.below(4) == 0).then(|| Drift {
            what: "edited by hand".to_owned(),
            mechanism: Mechanism::None,
            pushed: (rng.below(2) == 0).then_some(RevisionId(3)),
        }),
        pool: world.now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_evidence_scores_are_numbers_in_order_and_the_winner_is_the_first(seed in any::<u64>()) {
        let found = diagnose(&evidence(seed));
        prop_assert!(found.candidates.iter().all(|c| !c.score.is_nan() && c.score < 1e5));
        prop_assert!(found.candidates.windows(2).all(|pair| pair[0].score >= pair[1].score));
        prop_assert!(found.candidates.iter().any(|c| c.cause == Cause::Unknown));
        prop_assert!(margin(&found) >= 0.0);
        if let Some(subject) = &found.subject {
            prop_assert_eq!(subject, &found.candidates[0].subject);
        } else {
            prop_assert_eq!(found.cause, Cause::Unknown);
        }
        prop_assert!(!found.evidence.is_empty() || found.cause != Cause::Unknown);
    }
}

#[test]
fn the_same_evidence_gives_the_same_diagnosis() {
    for seed in 0..200 {
        let evidence = evidence(seed);
        assert_eq!(diagnose(&evidence), diagnose(&evidence.clone()));
    }
}

#[test]
fn a_revision_of_another_pool_is_never_credited() {
    let mut world = World::new(1, pool(&[1, 1, 1], &[Some(600.0); 3]), 600.0);
    world.faults[0].errors = 0.5;
    let mut evidence = world.evidence();
    let mut other = pool(&[1, 1], &[None, None]);
    other.name = name("api");
    let mut before = config(evidence.pool.clone());
    before.pools.push(other.clone());
    let mut after = before.clone();
    after.pools[1].backends[0].weight = 50;
    evidence.changes.push(ChangeFact {
        id: RevisionId(2),
        at: evidence.onset.best,
        before: Arc::new(before),
        after: Arc::new(after),
        paths: Vec::new(),
        automatic_rollback: false,
    });
    let found = diagnose(&evidence);
    assert_eq!(found.cause, Cause::BackendFault);
    let revision = found
        .candidates
        .iter()
        .find(|c| c.cause == Cause::ConfigRevision)
        .unwrap();
    assert!(revision.score <= 0.0);
    assert_eq!(
        revision.evidence_against,
        ["it changed nothing of how pool shop is spread or served"]
    );
}
