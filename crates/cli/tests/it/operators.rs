//! Two operators at once on the real binary: of two changes that exclude each other one is made, and the other is told
//! which. Each pair starts at the same moment, several times over; whoever loses must be able to do it next.

use std::thread;

use serde_json::Value;

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, Ran, addresses, config, heavy, load, stubs, until,
};

/// Pairs of each kind.
const ROUNDS: u32 = 2;

/// Two command lines at the same moment.
fn both(instance: &Instance, lines: [&str; 2]) -> [Ran; 2] {
    thread::scope(|scope| {
        let run = |line| scope.spawn(move || instance.cli(&crate::support::words(line)));
        lines.map(run).map(|ran| ran.join().unwrap())
    })
}

fn running(instance: &Instance) -> String {
    instance.status()["revision"].as_str().unwrap().to_owned()
}

fn revisions(instance: &Instance) -> Vec<Value> {
    let history = instance.ask("history");
    history["revisions"].as_array().unwrap().clone()
}

/// That somebody who lost is told why.
#[track_caller]
fn is_told(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, 3, "{ran:#?}");
    let told = words.iter().any(|word| ran.err.contains(word));
    assert!(told, "none of {words:?}: {ran:#?}");
}

fn settled(instance: &Instance) {
    instance.when("nothing is in flight", PATIENCE, |s| {
        s["revision_state"] == "verified" || s["revision_state"] == "confirmed"
    });
}

/// The file with another objective: a change of the pool that harms nobody.
fn variant(text: &str, ms: u32) -> String {
    text.replace("\"500ms\"", &format!("\"{ms}ms\""))
}

#[test]
fn of_two_changes_at_once_one_is_made_and_the_other_is_told_which() {
    let _alone = heavy();
    let backends = stubs();
    let text = config(&addresses(&backends), [1, 1, 1], "");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let traffic = load(instance.front(), LOAD_RPS);
    settled(&instance);
    for round in 0..ROUNDS {
        // Two applies.
        home.write("a.toml", &variant(&text, 600 + round));
        home.write("b.toml", &variant(&text, 700 + round));
        let before = revisions(&instance).len();
        let lines =
            ["a", "b"].map(|name| format!("apply {name}.toml --yes --wait 0s --reason {name}"));
        let ran = both(&instance, [&lines[0], &lines[1]]);
        let won = usize::from(ran[0].code != 0);
        assert_eq!(ran[won].code, 0, "{ran:#?}");
        is_told(&ran[1 - won], &["CHG-03", "CHG-01"]);
        let made = revisions(&instance);
        assert_eq!(made.len(), before + 1, "{made:#?}");
        assert_eq!(made[0]["reason"], ["a", "b"][won]);
        assert_eq!(made[0]["id"], running(&instance).as_str());
        settled(&instance);

        // An apply and a rollback: one after the other in some order, or one of them not at all.
        home.write("c.toml", &variant(&text, 800 + round));
        let was = running(&instance);
        let ran = both(
            &instance,
            [
                "apply c.toml --yes --wait 0s --reason c",
                "rollback --yes --reason back",
            ],
        );
        match [ran[0].code, ran[1].code] {
            [0, 3] => is_told(&ran[1], &["CHG-03"]),
            [3, 0] => is_told(&ran[0], &["CHG-03", "CHG-01"]),
            // One after the other: the rollback undid the apply, or the apply came on what it restored.
            [0, 0] => {
                let (now, newest) = (running(&instance), revisions(&instance).remove(0));
                assert_eq!(newest["reason"], "c", "{ran:#?}");
                assert!(now == was || newest["id"] == now.as_str(), "{ran:#?}");
            }
            other => panic!("{other:?}: {ran:#?}"),
        }
        settled(&instance);
    }
    let seen = traffic.stop().total;
    assert!(seen.sent > 500 && seen.failed() == 0, "{seen:?}");
    let mut left = revisions(&instance);
    left.retain(|r| r["state"] == "applying" || r["state"] == "rolling_back");
    assert_eq!(left, [Value::Null; 0], "nothing is left half done");
}

/// Two backends of v1 and one of v2 that waits.
fn with_versions(text: &str) -> String {
    let third = text.rfind("version = \"v1\"").unwrap();
    let (head, tail) = text.split_at(third);
    let head = match head.rfind("weight = 1") {
        Some(at) => format!(
            "{}weight = 0{}",
            &head[..at],
            &head[at + "weight = 1".len()..]
        ),
        None => panic!("{text}"),
    };
    let tail = tail.replacen("version = \"v1\"", "version = \"v2\"", 1);
    format!("{head}{tail}").replace("peak_rps = 90\n", "peak_rps = 30\n")
}

#[test]
fn an_apply_and_the_start_of_a_deployment_at_once_do_not_mix() {
    let _alone = heavy();
    let backends = stubs();
    let text = with_versions(&config(&addresses(&backends), [1, 1, 1], ""))
        .replace("min_healthy = 2", "min_healthy = 1");
    let home = Home::new(&text);
    let instance = home.start(&[]);
    let traffic = load(instance.front(), 30.0);
    settled(&instance);
    for round in 0..ROUNDS {
        // A change of the pool's traffic; one of its objective alone may go beside a deployment.
        let percent = 21 + round;
        let with = format!("tolerance = \"{percent}%\"");
        home.write("a.toml", &text.replace("tolerance = \"20%\"", &with));
        let ran = both(
            &instance,
            [
                "apply a.toml --yes --wait 0s --reason a",
                "deploy start shop v2 --steps 10%,100% --step-min 60s --reason d",
            ],
        );
        match [ran[0].code, ran[1].code] {
            [0, 3] => {
                is_told(&ran[1], &["CHG-03"]);
                settled(&instance);
            }
            [3, 0] => {
                is_told(&ran[0], &["CHG-03"]);
                instance.ends("deploy abort shop --reason next", 0);
                until("it is over", PATIENCE, || {
                    let status = instance.ask("deploy status");
                    let open = |r: &Value| r["state"] == "running" || r["state"] == "aborting";
                    let rollouts = status["rollouts"].as_array().unwrap().clone();
                    (!rollouts.iter().any(open)).then_some(())
                });
            }
            other => panic!("{other:?}: {ran:#?}"),
        }
    }
    let seen = traffic.stop().total;
    assert!(seen.sent > 0 && seen.failed() == 0, "{seen:?}");
}

#[test]
fn of_two_who_take_an_incident_the_first_has_it_and_the_second_is_told_who() {
    let backends = stubs();
    let more = "\n[admin.token.ben]\nfile = \"ben.token\"\nrole = \"operate\"\n";
    let home = Home::new(&config(&addresses(&backends), [1, 1, 1], more));
    home.write("ben.token", "0123456789abcdef-ben");
    let instance = home.start(&[]);
    for round in 1..=ROUNDS {
        let token = std::fs::read_to_string(home.data().join("admin.token")).unwrap();
        let admin = instance.admin;
        let body = "{\"text\":\"paging\"}";
        let (head, _) = crate::support::request(
            admin,
            &format!(
                "POST /api/incidents HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
                token.trim(),
                body.len()
            ),
        );
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let id = format!("i{round}");
        let ack = format!("--json incident ack {id}");
        let by_ben = format!("--json incident ack {id} --token-file ben.token");
        let ran = both(&instance, [&ack, &by_ben]);
        let told = ran.each_ref().map(|r| {
            assert_eq!(r.code, 0, "{ran:#?}");
            r.json()["acknowledged_by"].as_str().unwrap().to_owned()
        });
        assert_eq!(told[0], told[1], "both are told who has it");
        let shown = until("both are in the timeline", PATIENCE, || {
            let shown = instance.ask(&format!("incident show {id}"));
            let timeline = shown["timeline"].as_array().unwrap();
            let acks = timeline.iter().filter(|e| e["kind"] == "acked");
            (acks.count() == 2).then_some(shown)
        });
        assert_eq!(shown["acknowledged_by"], told[0].as_str());
    }
}
