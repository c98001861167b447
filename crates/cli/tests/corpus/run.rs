//! The binary on one file, in the directory of that file, under limits of memory and time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

/// Longest time for one file, huge ones on a busy machine included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Address space that the process may take, KiB: what a file of any kind must be checked in.
const MEMORY_MAX_KIB: u32 = 4 << 20;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        if self.out.is_empty() && self.code == 78 {
            return Value::Null; // no text: the answer is a line on standard error
        }
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `evenkeel check NAME FLAGS --json` in `dir`.
pub(crate) fn check(dir: &Path, name: &str, flags: &[String]) -> Ran {
    let mut all = vec!["--json".to_owned()];
    all.extend_from_slice(flags);
    check_text(dir, name, &all)
}

/// `evenkeel check NAME FLAGS` in `dir`.
pub(crate) fn check_text(dir: &Path, name: &str, flags: &[String]) -> Ran {
    let mut line = vec!["check".to_owned(), name.to_owned()];
    line.extend_from_slice(flags);
    run(dir, &line)
}

/// `evenkeel LINE` in `dir`.
pub(crate) fn run(dir: &Path, line: &[String]) -> Ran {
    let limited = format!("ulimit -v {MEMORY_MAX_KIB} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &limited, env!("CARGO_BIN_EXE_evenkeel")])
        .args(line)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    ended(command.spawn().unwrap(), &line.join(" "))
}

fn ended(child: Child, name: &str) -> Ran {
    let pid = child.id();
    let (done, ended) = channel();
    std::thread::spawn(move || drop(done.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        drop(Command::new("kill").arg(pid.to_string()).status());
        panic!("{name}: not within {PATIENCE:?}");
    };
    let output = output.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
