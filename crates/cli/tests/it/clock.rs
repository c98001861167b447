//! A wall clock that is set by hours under a running instance. The clock of this machine is left alone: the process
//! gets its wall time through a shim, preloaded, that adds what a file says.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Home, Instance, LOAD_RPS, PATIENCE, addresses, config, heavy, load, pause, run, stubs,
};

/// Adds the seconds that stand in the file `EVENKEEL_TEST_CLOCK` to the wall clock.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME && result == 0) {
        char text[32] = {0};
        int file = open(getenv("EVENKEEL_TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;

/// An instance whose wall clock the test sets.
fn start(home: &Home) -> Instance {
    home.write("shim.c", SHIM);
    home.write("clock", "0");
    let shim: PathBuf = home.dir().join("shim.so");
    run(Command::new("cc")
        .current_dir(home.dir())
        .args(["-shared", "-fPIC", "-O1", "-o", "shim.so", "shim.c", "-ldl"]))
    .expect(0);
    let mut command = home.command(&[]);
    command
        .env("LD_PRELOAD", shim)
        .env("EVENKEEL_TEST_CLOCK", home.dir().join("clock"));
    Instance::start(&mut command, home)
}

/// Sets the clock and waits until the step is noticed.
fn set(home: &Home, instance: &Instance, hours: i64) {
    // In one go: a file that is read while it is written would be a step of its own.
    home.write("clock.new", &(hours * 3_600).to_string());
    std::fs::rename(home.dir().join("clock.new"), home.dir().join("clock")).unwrap();
    instance.when("the step is noticed", PATIENCE, |s| {
        s["hold"].as_str().is_some_and(|why| why.contains("clock"))
    });
}

#[test]
fn a_wall_clock_that_is_set_by_hours_stops_no_traffic_ends_no_drain_and_undoes_no_change() {
    let _alone = heavy();
    let backends = stubs();
    let text =
        config(&addresses(&backends), [1, 1, 1], "").replace("peak_rps = 90", "peak_rps = 45");
    let home = Home::new(&text);
    home.write("next.toml", &text.replace("\"500ms\"", "\"600ms\""));
    let instance = start(&home);
    let traffic = load(instance.front(), LOAD_RPS / 2.0);
    instance.when("the hold of the start is over", PATIENCE, |s| {
        s["hold"].is_null()
    });
    instance.ends(
        "apply next.toml --yes --wait 0s --confirm-within 10m --reason x",
        0,
    );
    instance.ends("drain shop/web-3 --for 10m --reason disk", 0);

    for hours in [7, -7, 0] {
        set(&home, &instance, hours);
        pause(Duration::from_secs(3));
        let status = instance.status();
        assert_eq!(status["revision"], "r2", "{hours} h: {status:#}");
        assert_eq!(
            status["drains"].as_array().unwrap().len(),
            1,
            "{hours} h: {status:#}"
        );
        assert!(status["incident"].is_null(), "{hours} h: {status:#}");
        let left = |key: &str, value: &serde_json::Value| {
            let until: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
            let now: jiff::Timestamp = status["at"].as_str().unwrap().parse().unwrap();
            let left = until.duration_since(now).as_secs();
            assert!((480..=600).contains(&left), "{hours} h: {key} in {left} s");
        };
        left("confirm_by", &status["confirm_by"]);
        left("until", &status["drains"][0]["until"]);
    }
    instance.when("evidence after the hold", Duration::from_secs(60), |s| {
        s["hold"].is_null() && s["verifying"].is_null()
    });
    instance.ends("confirm", 0);
    let seen = traffic.stop().total;
    assert!(
        seen.sent > 300 && seen.failed() + seen.server_error == 0,
        "{seen:?}"
    );
    assert!(instance.stop().success());
}
