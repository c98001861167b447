//! A directory to run the commands of a document in, with or without an instance behind them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");
/// Longest run of one block, in seconds (timeout(1) of coreutils ends it).
const DEADLINE: &str = "90";

/// Processes that end with it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    admin: Option<String>,
    children: Vec<Child>,
}

impl Place {
    pub(crate) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            admin: None,
            children: Vec::new(),
        }
    }

    /// Three stubs, an instance that `evenkeel init` configured, and 100 requests per second.
    pub(crate) fn running() -> Self {
        let mut place = Self::empty();
        let mut init = place.command();
        init.args(["init", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        init.args(["--capacity-rps", "600", "--peak-rps", "300"]);
        for n in 1..=3 {
            let mut stub = place.command();
            stub.args(["shop", "--stub", "--listen", "127.0.0.1:0"]);
            let address = place.start(stub, |line| Some(line.to_owned()));
            init.args(["--backend", &format!("web-{n}={address}")]);
        }
        assert!(init.output().expect("init runs").status.success());
        let mut run = place.command();
        run.arg("run");
        let mut listener = String::new();
        let admin = place.start(run, |line| {
            if let Some(address) = line.strip_prefix("listener web: ") {
                address.clone_into(&mut listener);
            }
            let rest = line.strip_prefix("page, API, metrics: http://")?;
            Some(rest.trim_end_matches('/').to_owned())
        });
        place.admin = Some(admin);
        let mut load = place.command();
        load.args(["load", "--target", &listener])
            .args(["--rate", "100", "--seconds", "300"])
            .stdout(Stdio::null());
        place.children.push(load.spawn().expect("load runs"));
        place
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts a process and reads what it prints until `ready` makes something of a line.
    fn start(
        &mut self,
        mut command: Command,
        mut ready: impl FnMut(&str) -> Option<String>,
    ) -> String {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let twin = writer.try_clone().expect("a second end");
        let child = command.stdout(writer).stderr(twin).spawn();
        self.children.push(child.expect("it starts"));
        // The command holds the writing ends; without them the pipe ends with the process.
        drop(command);
        let mut lines = BufReader::new(reader).lines();
        let found = lines
            .by_ref()
            .find_map(|line| ready(&line.expect("text")))
            .expect("it says that it is ready");
        // A process whose output nobody reads would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        found
    }

    /// Runs a script with the program on the path; its exit code and everything it printed.
    pub(crate) fn sh(&self, script: &str) -> (Option<i32>, String) {
        // In the order in which a person sees it.
        let script = format!("exec 2>&1\n{script}");
        let bin: PathBuf = Path::new(PROGRAM).parent().expect("a folder").to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command
            .args([DEADLINE, "bash", "-euo", "pipefail", "-c", &script])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("NO_COLOR", "1")
            .env_remove("EVENKEEL_TOKEN_FILE")
            .stdin(Stdio::null());
        match &self.admin {
            Some(admin) => command.env("EVENKEEL_ADMIN", admin),
            None => command.env_remove("EVENKEEL_ADMIN"),
        };
        let output = command.output().expect("bash runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
