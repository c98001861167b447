//! The system packages that the tests use, and only the tests: real peers as backends and clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// A Debian package, the program (or the whole path of a file) that shows it is there, and what the tests do with it.
struct Package {
    name: &'static str,
    program: &'static str,
    purpose: &'static str,
}

const NEEDED: &[Package] = &[
    Package {
        name: "nginx-light",
        program: "nginx",
        purpose: "backends that this project did not write",
    },
    Package {
        name: "haproxy",
        program: "haproxy",
        purpose: "a peer in `cargo xtask bench` and `agreement`",
    },
    Package {
        name: "wrk",
        program: "wrk",
        purpose: "a load client that this project did not write",
    },
    Package {
        name: "curl",
        program: "curl",
        purpose: "a client that this project did not write",
    },
    Package {
        name: "nghttp2-client",
        program: "h2load",
        purpose: "clients of HTTP/2 that this project did not write",
    },
    Package {
        name: "python3",
        program: "python3",
        purpose: "a client and an origin that this project did not write",
    },
    Package {
        name: "python3-websockets",
        program: "/usr/lib/python3/dist-packages/websockets/__init__.py",
        purpose: "a client and a server of web sockets that this project did not write",
    },
    Package {
        name: "nodejs",
        program: "node",
        purpose: "a client and an origin that this project did not write",
    },
    Package {
        name: "util-linux",
        program: "prlimit",
        purpose: "filling the disk of a running instance",
    },
];

/// Installs what is missing when allowed to (root, or `CI=true`), else lists it and goes on:
/// the tests that need a missing program fail by name.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let missing: Vec<&Package> = NEEDED.iter().filter(|p| !present(p.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        crate::say(&format!("missing: {} ({})", package.name, package.purpose));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    if !(is_root() || std::env::var("CI").is_ok_and(|v| v == "true")) {
        crate::say(&format!(
            "install them with: apt-get install {}",
            names.join(" ")
        ));
        return Ok(());
    }
    crate::say(&format!("installing: {}", names.join(" ")));
    let sudo = if is_root() {
        &[][..]
    } else {
        &["sudo", "-n"][..]
    };
    apt(sudo, &["update", "-q"])?;
    let mut install = vec!["install", "-y", "-q", "--no-install-recommends"];
    install.extend(names);
    apt(sudo, &install)
}

fn apt(sudo: &[&str], arguments: &[&str]) -> anyhow::Result<()> {
    let mut words = sudo.to_vec();
    words.push("apt-get");
    words.extend(arguments);
    let (program, rest) = words.split_first().context("no command")?;
    let status = Command::new(program)
        .args(rest)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("`{}` failed", words.join(" "));
    }
    Ok(())
}

fn present(program: &str) -> bool {
    find(program).is_some()
}

/// Where `program` is, looking also where Debian keeps servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|file| file.is_file())
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            s.lines()
                .find_map(|l| l.strip_prefix("Uid:").map(str::to_owned))
        })
        .is_some_and(|uids| uids.split_whitespace().nth(1) == Some("0"))
}
