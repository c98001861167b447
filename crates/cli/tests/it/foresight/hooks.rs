//! The hooks and the workflow file that are shipped: run where they can be, read where they cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HAPROXY, NGINX, NGINX_UPSTREAM, home};
use crate::support::{Home, Ran, run};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn git(home: &Home, arguments: &[&str]) -> Ran {
    run(Command::new("git")
        .current_dir(home.dir())
        .env("EVENKEEL", env!("CARGO_BIN_EXE_evenkeel"))
        .env("HOME", home.dir())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments))
}

#[test]
fn the_pre_commit_hook_stops_a_commit_with_an_error_and_judges_what_is_staged() {
    let home = home();
    git(&home, &["init", "-q", "."]).expect(0);
    let hook = home.dir().join(".git/hooks/pre-commit");
    std::fs::copy(shipped("packaging/hooks/pre-commit"), &hook).unwrap();
    std::fs::remove_file(home.dir().join("evenkeel.toml")).unwrap();
    git(&home, &["add", "."]).expect(0);
    let fine = git(&home, &["commit", "-q", "-m", "as it is"]).expect(0);
    assert!((fine.out + &fine.err).contains("haproxy.cfg: no error"));
    home.write(
        "haproxy.cfg",
        &HAPROXY.replace("default_backend app", "default_backend gone"),
    );
    git(&home, &["add", "haproxy.cfg"]).expect(0);
    // The working tree is put right, the index is not: what is committed counts.
    home.write("haproxy.cfg", HAPROXY);
    let stopped = git(&home, &["commit", "-q", "-m", "typo"]).expect(1);
    let said = stopped.out + &stopped.err;
    assert!(
        said.contains("gone") && said.contains("the commit is not made"),
        "{said}"
    );
}

/// A repository with the hook and a first commit of the three files.
fn repository() -> Home {
    let home = home();
    git(&home, &["init", "-q", "."]).expect(0);
    let hook = home.dir().join(".git/hooks/pre-commit");
    std::fs::remove_file(home.dir().join("evenkeel.toml")).unwrap();
    git(&home, &["add", "."]).expect(0);
    git(&home, &["commit", "-q", "-m", "as it is"]).expect(0);
    std::fs::copy(shipped("packaging/hooks/pre-commit"), &hook).unwrap();
    home
}

#[test]
fn a_commit_of_an_include_alone_is_judged_by_what_includes_it_as_it_is_staged() {
    let home = repository();
    let broken = NGINX_UPSTREAM.replace("10.0.0.1:8080 weight=1", "10.0.0.1:8080 weight=x");
    home.write("conf.d/app.conf", &broken);
    git(&home, &["add", "conf.d/app.conf"]).expect(0);
    // The working tree is put right, the index is not: what is committed counts.
    home.write("conf.d/app.conf", NGINX_UPSTREAM);
    let stopped = git(&home, &["commit", "-q", "-m", "include"]).expect(1);
    let said = stopped.out + &stopped.err;
    assert!(
        said.contains("conf.d/app.conf:3") && said.contains("nginx.conf:"),
        "{said}"
    );
    assert!(!said.contains("haproxy.cfg"), "{said}");
    // What no configuration reads is committed without a word, also beside a configuration that is wrong.
    git(&home, &["add", "conf.d/app.conf"]).expect(0);
    home.write("nginx.conf", &NGINX.replace("http://app", "http://$"));
    git(&home, &["add", "nginx.conf"]).expect(0);
    git(&home, &["commit", "-q", "--no-verify", "-m", "wrong"]).expect(0);
    home.write("conf.d/notes.txt", "nothing\n");
    git(&home, &["add", "conf.d/notes.txt"]).expect(0);
    let silent = git(&home, &["commit", "-q", "-m", "notes"]).expect(0);
    assert_eq!(silent.out + &silent.err, "");
}

#[test]
fn a_commit_that_takes_an_include_away_is_judged() {
    let home = repository();
    home.write(
        "nginx.conf",
        &NGINX.replace("conf.d/*.conf", "conf.d/app.conf"),
    );
    git(&home, &["add", "."]).expect(0);
    git(&home, &["commit", "-q", "-m", "by name"]).expect(0);
    git(&home, &["rm", "-q", "conf.d/app.conf"]).expect(0);
    let stopped = git(&home, &["commit", "-q", "-m", "away"]).expect(1);
    let said = stopped.out + &stopped.err;
    assert!(said.contains("conf.d/app.conf"), "{said}");
}

#[test]
fn the_entry_for_pre_commit_com_passes_flags_on_and_ends_with_the_code_of_a_bad_file() {
    let home = home();
    let check = |arguments: &[&str]| {
        run(Command::new(shipped("packaging/hooks/check-files"))
            .current_dir(home.dir())
            .env("EVENKEEL", env!("CARGO_BIN_EXE_evenkeel"))
            .args(arguments))
    };
    check(&["haproxy.cfg", "nginx.conf"]).expect(0);
    check(&["--deny", "warnings", "haproxy.cfg"]).expect(78);
    check(&["haproxy.cfg", "missing.cfg"]).expect(78);
    home.write("it's mine.cfg", HAPROXY);
    check(&[
        "--without",
        "app/web-1",
        "--output",
        "json",
        "it's mine.cfg",
    ])
    .expect(0);
    check(&["--without", "app/no such", "haproxy.cfg"]).expect(64);
    let named = check(&["--files", "haproxy.cfg", "nginx.conf"]).expect(0);
    assert_eq!(named.out.lines().count(), 3, "{named:?}");
    let hooks = std::fs::read_to_string(shipped(".pre-commit-hooks.yaml")).unwrap();
    for entry in ["check-files", "pre-commit"] {
        assert!(hooks.contains(&format!("entry: packaging/hooks/{entry}")));
    }
}

/// The workflow cannot run here; every line of it that calls the program can.
#[test]
fn every_command_of_the_workflow_is_one_that_the_program_takes() {
    let workflow = std::fs::read_to_string(shipped("packaging/ci/evenkeel.yml")).unwrap();
    let calls = workflow
        .lines()
        .filter_map(|line| line.split_once("evenkeel "));
    let calls: Vec<&str> = calls
        .map(|(_, rest)| rest)
        .filter(|rest| {
            ["check", "plan", "apply"]
                .iter()
                .any(|verb| rest.starts_with(&format!("{verb} \"")))
        })
        .collect();
    assert_eq!(calls.len(), 4, "{calls:?}");
    let home = Home::new("");
    for call in calls {
        let plain = call.split(" > ").next().unwrap().replace('"', "");
        let words: Vec<&str> = plain.split_whitespace().collect();
        let ran = home.offline(&words);
        // The file is a variable here, so it is not found (78); a flag that is not known would be 64.
        assert_eq!(ran.code, 78, "{call}: {ran:#?}");
    }
}
