//! Deployments that others tell of: once each, from begin to end, on a clock that nobody can step.

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::{DeploymentReport, Event, Outcome};
use evenkeel_model::blame::Cause;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{CandidateRecord, DeploymentRecord, DiagnosisRecord, Told};

use crate::world::{World, name, shop};

fn diagnosis(world: &World) -> DiagnosisRecord {
    let incidents = world.incidents();
    let incident = incidents.last().expect("an incident");
    incident.diagnosis.clone().expect("a diagnosis")
}

fn quiet() -> World {
    let mut world = World::new(7, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world
}

impl World {
    /// What `argo` says of v2; the number of the deployment, and whether the message came before.
    fn told(&mut self, told: Told, message: &str, backends: &[&str]) -> (u64, bool) {
        self.told_by("argo", told, (message, backends), None)
    }

    fn told_by(
        &mut self,
        author: &str,
        told: Told,
        (message, backends): (&str, &[&str]),
        at: Option<Wall>,
    ) -> (u64, bool) {
        let request = self.request();
        let report = DeploymentReport {
            request,
            pool: name("shop"),
            version: name("v2"),
            backends: backends.iter().map(|b| name(b)).collect(),
            at,
            told,
            author: author.to_owned(),
            note: String::new(),
            message: Some(message.to_owned()),
        };
        self.send(Event::DeploymentSeen(Box::new(report)));
        match self.replies.get(&request.0) {
            Some(Outcome::Recorded {
                deployment,
                repeated,
            }) => (deployment.0, *repeated),
            other => panic!("{other:?}"),
        }
    }

    fn deployments(&self) -> Vec<DeploymentRecord> {
        self.view().deployments
    }
}

#[test]
fn a_message_that_comes_again_is_answered_alike_and_recorded_once() {
    let mut world = quiet();
    assert_eq!(world.told(Told::Finished, "m1", &[]), (1, false));
    let written = world.journal.len();
    assert_eq!(world.told(Told::Finished, "m1", &[]), (1, true));
    assert_eq!(world.journal.len(), written, "nothing is written twice");
    // The name is the sender's own: another one may use it too.
    let other = world.told_by("gitlab", Told::Finished, ("m1", &[]), None);
    assert_eq!(other, (2, false));
    assert_eq!(world.told(Told::Finished, "m2", &[]), (3, false));
    assert_eq!(world.deployments().len(), 3);
}

#[test]
fn an_end_belongs_to_the_begin_that_its_sender_told() {
    let mut world = quiet();
    assert_eq!(world.told(Told::Started, "m1", &[]), (1, false));
    world.run(5);
    // Somebody else's end is a deployment of its own, and so is an end on other backends than those of the begin.
    let other = world.told_by("gitlab", Told::Finished, ("m1", &[]), None);
    assert_eq!(other, (2, false));
    assert_eq!(world.told(Told::Started, "m2", &["web-1"]), (3, false));
    assert_eq!(world.told(Told::Failed, "m3", &["web-1"]), (3, false));
    let all = world.deployments();
    let of = |n: usize| (all[n].told, all[n].ended_at.is_some());
    assert_eq!(of(0), (Some(Told::Failed), true), "it named no backend");
    assert_eq!(of(1), (Some(Told::Finished), false));
    assert_eq!(of(2), (Some(Told::Failed), true));
    assert_eq!(all[0].backends, [name("web-1")]);
    assert_eq!(all[0].messages, ["m1", "m3"]);
    assert_eq!(all[0].revision, Some(RevisionId(1)));
    assert_eq!(
        world.told(Told::Failed, "m3", &["web-1"]),
        (3, true),
        "an end is known again too"
    );
    assert_eq!(world.told(Told::RolledBack, "m4", &[]), (4, false));
}

#[test]
fn a_deployment_is_blamed_while_it_is_under_way_and_not_long_after_its_end() {
    for (told, backends, since_end, blamed) in [
        // Nobody said which backends have it by now.
        (None, &[][..], 0, true),
        (Some(Told::Finished), &["web-3"], 2, true),
        (Some(Told::Failed), &["web-3"], 300, false),
    ] {
        let mut world = quiet();
        world.told(Told::Started, "m1", backends);
        world.run(120);
        if let Some(told) = told {
            world.told(told, "m2", backends);
        }
        world.run(since_end);
        world.fault("web-3", errors());
        world.run(30);
        let found = diagnosis(&world);
        assert_eq!(
            found.cause == Cause::Deployment,
            blamed,
            "{told:?}: {found:#?}"
        );
    }
}

fn errors() -> Fault {
    Fault {
        error_rate: 0.3,
        ..Fault::default()
    }
}

#[test]
fn a_step_of_the_wall_clock_moves_no_deployment() {
    let words = |by_ms| {
        let mut world = quiet();
        world.told(Told::Finished, "m1", &["web-3"]);
        world.run(1);
        world.step_clock(by_ms);
        world.run(15);
        world.fault("web-3", errors());
        world.run(30);
        let found = diagnosis(&world);
        let candidates = found.candidates.into_iter();
        let told = |c: &CandidateRecord| c.cause == Cause::Deployment;
        let all: Vec<_> = candidates.filter(told).collect();
        assert_eq!(all.len(), 1, "{by_ms}");
        (all[0].evidence_for.clone(), all[0].evidence_against.clone())
    };
    let straight = words(0);
    for by_ms in [3_600_000, -3_600_000, 7 * 3_600_000] {
        assert_eq!(words(by_ms), straight, "{by_ms}");
    }
}
