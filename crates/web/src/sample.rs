//! Made-up presents for tests: one shop of three backends in the states that the page tells apart.

mod incident;

use std::sync::Arc;

use evenkeel_control::{Marker, Point};
use evenkeel_guard::{
    AuditFact, BackendView, DriftFact, GuardView, HealthView, PoolView, Status, Verdict,
    VerifyingView,
};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Algorithm, Config, Intent};
use evenkeel_model::ids::{DeploymentId, Epoch, IncidentId, Name, RevisionId};
use evenkeel_model::parse;
use evenkeel_model::record::{ContentHash, DeploymentRecord, RevisionRecord, RevisionState, Told};

use crate::page::Screen;
pub(crate) use incident::incident_record;

/// 2026-01-01 12:00:00 UTC.
pub(crate) const NOW: Wall = Wall(1_767_268_800_000);

/// The configuration of the shop.
pub(crate) const TEXT: &str = r#"
[listener.web]
address = "127.0.0.1:0"
[[route]]
listener = "web"
pool = "shop"
[pool.shop]
peak_rps = 900
objective = { error_rate = "1%", p99 = "500ms" }
[pool.shop.backend.web-1]
address = "127.0.0.1:8081"
weight = 1
capacity_rps = 600
zone = "a"
version = "v1"
[pool.shop.backend.web-2]
address = "127.0.0.1:8082"
weight = 1
capacity_rps = 600
zone = "b"
version = "v1"
[pool.shop.backend.web-3]
address = "127.0.0.1:8083"
weight = 1
capacity_rps = 600
zone = "c"
version = "v2"
"#;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) const fn ago(seconds: u64) -> Wall {
    Wall(NOW.0 - seconds * 1_000)
}

/// What a screen borrows from.
pub(crate) struct State {
    pub(crate) view: GuardView,
    pub(crate) config: Config,
    pub(crate) points: Vec<Point>,
    pub(crate) markers: Vec<Marker>,
}

impl State {
    pub(crate) fn screen(&self) -> Screen<'_> {
        Screen {
            now: Wall(NOW.0 + 400),
            view: Some(&self.view),
            config: &self.config,
            points: vec![(name("shop"), self.points.iter().collect())],
            markers: self.markers.iter().collect(),
        }
    }
}

fn backend(number: usize, observed: f64, verdict: Verdict, reason: &str) -> BackendView {
    BackendView {
        name: name(&format!("web-{number}")),
        weight: 1,
        capacity_rps: Some(600.0),
        zone: Some(name(["a", "b", "c"][number - 1])),
        version: Some(name(if number == 3 { "v2" } else { "v1" })),
        intended_share: Some(1.0 / 3.0),
        expected_share: Some(1.0 / 3.0),
        observed_share: Some(observed),
        ci_low: Some(observed - 0.013),
        ci_high: Some(observed + 0.013),
        verdict,
        reason: reason.to_owned(),
        rps: Some(observed * 870.0),
        utilisation: Some(observed * 870.0 / 600.0),
        p50_ms: Some(12.3),
        p99_ms: Some(84.0),
        error_rate: Some(0.000_8),
        in_flight: Some(4),
        in_flight_limit: None,
        cpu: Some(0.41),
        memory: Some(0.38),
        health: HealthView::Up,
        health_detail: "200 in 2 ms".to_owned(),
    }
}

fn pool() -> PoolView {
    let why = "weight 1 of 3, all eligible";
    PoolView {
        hot_key: None,
        members: None,
        name: name("shop"),
        algorithm: Algorithm::RoundRobin,
        intent: Intent::Capacity,
        epoch: Some(Epoch(7)),
        rps: Some(870.0),
        refused_rps: 0.0,
        error_rate: Some(0.000_8),
        harmed_rate: Some(0.001_2),
        p50_ms: Some(12.3),
        p99_ms: Some(84.0),
        objective_met: Some(true),
        incident: None,
        backends: vec![
            backend(1, 0.334, Verdict::Ok, why),
            backend(2, 0.331, Verdict::Ok, why),
            backend(3, 0.335, Verdict::Ok, why),
        ],
    }
}

fn revision(id: u64, state: RevisionState, seconds: u64, reason: &str) -> RevisionRecord {
    RevisionRecord {
        id: RevisionId(id),
        parent: (id > 1).then(|| RevisionId(id - 1)),
        hash: ContentHash([id as u8; 32]),
        text: TEXT.into(),
        author: "alice".to_owned(),
        reason: reason.to_owned(),
        state,
        at: ago(seconds),
        forced: false,
        confirm_by: None,
        keep_until: None,
        incident: None,
    }
}

/// A wave around the intended share; deterministic, so that snapshots stand.
fn history(seconds: u64, share: impl Fn(usize, u64) -> f64) -> Vec<Point> {
    let point = |second: u64| Point {
        at: ago(seconds - 1 - second),
        shares: (0..3)
            .map(|index| {
                let wave = ((second * (7 + index as u64) % 23) as f64 - 11.0) / 1_400.0;
                let of = name(&format!("web-{}", index + 1));
                (of, Some(share(index, second) + wave))
            })
            .collect(),
        rps: Some(870.0),
        p99_ms: Some(84.0),
        harmed_rate: Some(0.001),
    };
    (0..seconds).map(point).collect()
}

fn marker(seconds: u64, kind: &'static str, text: &str) -> Marker {
    Marker {
        at: ago(seconds),
        kind,
        text: text.to_owned(),
    }
}

/// All as it should be.
pub(crate) fn ok() -> State {
    let view = GuardView {
        at: NOW,
        revision: RevisionId(41),
        hash: ContentHash([41; 32]),
        revision_state: RevisionState::Verified,
        state: Status::Ok,
        verified: RevisionId(41),
        incident: None,
        incidents: Vec::new(),
        revisions: vec![
            revision(40, RevisionState::Superseded, 90_000, "first start"),
            revision(
                41,
                RevisionState::Verified,
                7_300,
                "raise peak_rps after the sale",
            ),
        ],
        deployments: vec![DeploymentRecord {
            id: DeploymentId(3),
            pool: name("shop"),
            version: name("v2"),
            backends: vec![name("web-3")],
            at: ago(420),
            recorded_at: ago(418),
            author: "ci".to_owned(),
            note: "one backend first".to_owned(),
            ended_at: None,
            told: Some(Told::Finished),
            revision: Some(RevisionId(41)),
            messages: Vec::new(),
        }],
        verifying: None,
        confirm_by: None,
        keep_until: None,
        next_page: None,
        drift: None,
        edited: None,
        rollouts: Vec::new(),
        drains: Vec::new(),
        drain_changes: 0,
        journal_ok: true,
        journal_waiting: 0,
        journal_dropped: 0,
        hold: None,
        audit: Some(AuditFact {
            at: ago(3_600),
            errors: 0,
            warnings: 1,
        }),
        audit_next: Some(Wall(NOW.0 + 82_800_000)),
        drill: false,
        pools: vec![pool()],
    };
    State {
        view,
        config: parse::parse(TEXT, None).config.unwrap(),
        points: history(840, |_, _| 1.0 / 3.0),
        markers: vec![marker(420, "deploy", "shop v2")],
    }
}

/// A change that gathers its evidence.
pub(crate) fn verifying() -> State {
    let mut state = ok();
    let view = &mut state.view;
    view.state = Status::Verifying;
    view.revision = RevisionId(42);
    view.revision_state = RevisionState::Verifying;
    let mut new = revision(
        42,
        RevisionState::Verifying,
        25,
        "drain web-2 for the kernel update",
    );
    new.confirm_by = Some(Wall(NOW.0 + 252_000));
    view.revisions.push(new);
    view.confirm_by = Some(Wall(NOW.0 + 252_000));
    view.verifying = Some(VerifyingView {
        revision: RevisionId(42),
        since: ago(25),
        until: Wall(NOW.0 + 575_000),
        missing: vec![
            "35 s more of observation".to_owned(),
            "shop: 1,240 of 3,000 free picks".to_owned(),
        ],
    });
    view.pools[0].backends[1].verdict = Verdict::Explained;
    "drained until 13:00 by alice; weight 0 of 2".clone_into(&mut view.pools[0].backends[1].reason);
    state.markers.push(marker(25, "revision", "r42 by alice"));
    state
}

/// One backend gets far too much after a change.
pub(crate) fn incident() -> State {
    let mut state = ok();
    let (record, _) = incident_record();
    let view = &mut state.view;
    view.state = Status::Incident;
    view.revision = RevisionId(42);
    view.revision_state = RevisionState::Verifying;
    view.revisions.push(revision(
        42,
        RevisionState::Verifying,
        38,
        "weights after the benchmark",
    ));
    view.incident = Some(record.id);
    view.next_page = Some((record.id, name("lead"), Wall(NOW.0 + 281_000)));
    view.incidents = vec![record];
    let pool = &mut view.pools[0];
    pool.objective_met = Some(false);
    pool.harmed_rate = Some(0.183);
    pool.error_rate = Some(0.024);
    pool.p99_ms = Some(1_840.0);
    pool.incident = Some(IncidentId(7));
    let over = "10 of 12 weight, 50.0 points above the intent (p < 1e-9)";
    pool.backends = vec![
        backend(1, 0.834, Verdict::Over, over),
        backend(2, 0.083, Verdict::Under, "1 of 12 weight"),
        backend(3, 0.083, Verdict::Under, "1 of 12 weight"),
    ];
    let hot = &mut pool.backends[0];
    hot.expected_share = Some(10.0 / 12.0);
    hot.p99_ms = Some(1_910.0);
    hot.error_rate = Some(0.028);
    hot.cpu = Some(0.97);
    hot.in_flight = Some(1_204);
    for backend in &mut pool.backends[1..] {
        backend.expected_share = Some(1.0 / 12.0);
    }
    state.points = history(840, |index, second| match (index, second) {
        (_, ..803) => 1.0 / 3.0,
        (0, second) => (1.0 / 3.0 + 0.06 * (second - 803) as f64).min(0.834),
        (_, second) => (1.0 / 3.0 - 0.03 * (second - 803) as f64).max(0.083),
    });
    state.markers.push(marker(38, "revision", "r42 by alice"));
    state.markers.push(marker(29, "incident", "i7"));
    state
}

/// A night with hardly a request.
pub(crate) fn quiet() -> State {
    let mut state = ok();
    let pool = &mut state.view.pools[0];
    pool.rps = None;
    pool.error_rate = None;
    pool.harmed_rate = None;
    pool.p50_ms = None;
    pool.p99_ms = None;
    pool.objective_met = None;
    for backend in &mut pool.backends {
        backend.observed_share = None;
        backend.ci_low = None;
        backend.ci_high = None;
        backend.verdict = Verdict::Unknown;
        "weight 1 of 3; 12 picks so far, 30 are needed".clone_into(&mut backend.reason);
        backend.rps = None;
        backend.utilisation = None;
        backend.p50_ms = None;
        backend.p99_ms = None;
        backend.error_rate = None;
        backend.in_flight = None;
        backend.cpu = None;
        backend.memory = None;
        backend.health = HealthView::Unknown;
        backend.health_detail.clear();
    }
    state.points = Vec::new();
    state
}

/// Incident, drift, hold, degraded journal, drill, keep.
pub(crate) fn all_at_once() -> State {
    let mut state = incident();
    let view = &mut state.view;
    view.drift = Some(DriftFact {
        detail: "evenkeel.toml differs from r42 in 2 values".to_owned(),
        errors: 0,
        running: false,
    });
    view.edited = Some("what the data plane runs is not r42".to_owned());
    view.hold = Some("the wall clock was stepped 12 s ago".to_owned());
    view.journal_ok = false;
    view.journal_waiting = 14;
    view.journal_dropped = 2_000;
    view.drill = true;
    view.keep_until = Some(Wall(NOW.0 + 1_500_000));
    view.confirm_by = Some(Wall(NOW.0 + 90_000));
    view.verifying = Some(VerifyingView {
        revision: RevisionId(42),
        since: ago(38),
        until: Wall(NOW.0 + 562_000),
        missing: (1..6).map(|n| format!("condition {n}")).collect(),
    });
    view.pools[0].backends[2].health = HealthView::Down;
    "3 checks failed: connection refused".clone_into(&mut view.pools[0].backends[2].health_detail);
    state.markers.push(marker(12, "health", "shop/web-3 down"));
    state
}

/// A revision with a typo in a weight, and its parent.
pub(crate) fn revisions() -> (RevisionRecord, RevisionRecord) {
    let parent = revision(
        41,
        RevisionState::Verified,
        7_300,
        "raise peak_rps after the sale",
    );
    let mut new = revision(
        42,
        RevisionState::Verifying,
        38,
        "weights after the benchmark",
    );
    new.text = Arc::from(TEXT.replacen("weight = 1\n", "weight = 10\n", 1));
    new.incident = Some(IncidentId(7));
    (new, parent)
}
