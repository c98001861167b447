//! `cargo xtask bench picks`: what one pick costs, by algorithm and size of the pool.
//!
//! Each cell is a run of `crates/balance/examples/picks.rs`: once as it is, for nanoseconds (the fastest of many short
//! rounds, because what else the machine does only adds), and once under callgrind, for instructions, which repeat
//! exactly and count only the function that picks. Without valgrind the table has no instructions, and it says so.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

/// The page with the table.
const PAGE: &str = "docs/performance.md";
const MARKS: (&str, &str) = ("<!-- picks:begin -->", "<!-- picks:end -->");
const SIZES: [u32; 3] = [3, 100, 10_000];
/// Picks of a round, and rounds: a round is over before the system takes the core away.
const PICKS: &str = "10000";
const ROUNDS: &str = "200";
/// Picks under callgrind.
const COUNTED: u64 = 20_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Only rows whose name contains this; the page is left alone
    #[arg(long, default_value = "")]
    name: String,
    /// Nanoseconds only; the page is left alone
    #[arg(long)]
    no_instructions: bool,
}

/// One cell.
struct Cost {
    ns: f64,
    instructions: Option<f64>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let binary = build("evenkeel-balance", "picks")?;
    let valgrind = if options.no_instructions {
        None
    } else {
        let found = crate::packages::find("valgrind");
        if found.is_none() {
            crate::say(
                "valgrind is missing: apt-get install valgrind; instructions are not measured",
            );
        }
        found
    };
    let names = output(Command::new(&binary))?;
    let mut table = header();
    for name in names.lines().filter(|name| name.contains(&options.name)) {
        let (algorithm, with) = name.split_once('-').unwrap_or((name, ""));
        write!(table, "| `{algorithm}` {with} |")?;
        for size in SIZES {
            let cost = cost(&binary, valgrind.as_deref(), name, size)?;
            let instructions = cost
                .instructions
                .map_or_else(|| "not measured".to_owned(), |n| format!("{n:.0}"));
            write!(table, " {:.0} ns, {instructions} |", cost.ns)?;
            crate::say(&format!("{name} {size}: {:.1} ns, {instructions}", cost.ns));
        }
        table.push('\n');
    }
    crate::say(&table);
    if options.name.is_empty() && valgrind.is_some() {
        crate::page::publish(Path::new(PAGE), MARKS, &table)?;
        crate::say(&format!("the table is in {PAGE}"));
    }
    Ok(())
}

/// Builds an example with symbols that callgrind can read; its binary.
pub(crate) fn build(package: &str, example: &str) -> anyhow::Result<PathBuf> {
    let arguments = [
        "--release",
        "--locked",
        "--package",
        package,
        "--example",
        example,
    ];
    crate::cargo(&[&["build"], &arguments[..]].concat())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(PathBuf::from(target).join("release/examples").join(example))
}

fn header() -> String {
    let sizes = SIZES.map(|size| format!(" {size} backends |")).concat();
    format!(
        "| algorithm |{sizes}\n|---|{}\n",
        "---|".repeat(SIZES.len())
    )
}

fn cost(binary: &Path, valgrind: Option<&Path>, name: &str, size: u32) -> anyhow::Result<Cost> {
    let size = size.to_string();
    let mut plain = Command::new(binary);
    plain.args([name, &size, PICKS, ROUNDS]);
    let text = output(plain)?;
    let ns = text
        .trim()
        .parse()
        .with_context(|| format!("{name} said {text}"))?;
    let Some(valgrind) = valgrind else {
        let instructions = None;
        return Ok(Cost { ns, instructions });
    };
    let mut counted = Command::new(valgrind);
    counted
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*measured*",
        ])
        .arg("--callgrind-out-file=/dev/null")
        .arg(binary)
        .args([name, &size, &COUNTED.to_string(), "1"]);
    let output = counted.output().context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let all: f64 = text
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .with_context(|| format!("callgrind said {text}"))?;
    ensure!(all > 0.0, "callgrind did not find the function that picks");
    let instructions = Some(all / COUNTED as f64);
    Ok(Cost { ns, instructions })
}

pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start the example")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
