//! `cargo xtask`: what developers and CI run. One command per need, no other script has logic of its own.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

mod agreement;
mod bench;
mod layers;
mod packages;
mod page;
mod tidy;

#[derive(Parser)]
#[command(about = "Developer tasks of Evenkeel", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything CI runs: packages, format, lints, layers, tidy, documentation, every test.
    Test {
        /// Also the long sweeps: more seeds, live drills, the ten-minute quiet run.
        #[arg(long)]
        long: bool,
    },
    /// Which room may use which, and that pure rooms are pure.
    Layers,
    /// File sizes, module docs, banned words.
    Tidy,
    /// CPU per request beside HAProxy and nginx, interleaved; with a word, another measurement.
    Bench(bench::Options),
    /// Forecast beside the shares that real balancers give; writes the tables of docs/forecast.md.
    Agreement(agreement::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test { long } => test(long),
        Task::Layers => layers::check(),
        Task::Tidy => tidy::check(),
        Task::Bench(options) => bench::run(&options),
        Task::Agreement(options) => agreement::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs every check in the order in which a failure is cheapest to learn.
fn test(long: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    packages::ensure()?;
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("layers", layers::check)?;
    step("tidy", tidy::check)?;
    step("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("documentation", || {
        cargo_env(
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ],
            &[(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private-intra-doc-links",
            )],
        )
    })?;
    step("build", || {
        cargo(&["build", "--workspace", "--all-targets", "--locked"])
    })?;
    // The normal run draws the same cases each time, so that a commit is green or red and never both; the long one
    // looks for new cases.
    let environment = if long {
        ("EVENKEEL_LONG", "1")
    } else {
        ("PROPTEST_RNG_SEED", "1")
    };
    step("tests", || {
        cargo_env(
            &["test", "--workspace", "--locked", "--no-fail-fast"],
            &[environment],
        )
    })?;
    say(&format!(
        "all checks passed in {} s",
        started.elapsed().as_secs()
    ));
    Ok(())
}

/// Runs one step and says how long it took.
fn step(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    say(&format!("== {name}"));
    let started = Instant::now();
    run().with_context(|| format!("step `{name}` failed"))?;
    say(&format!("== {name}: ok, {} s", started.elapsed().as_secs()));
    Ok(())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    cargo_env(arguments, &[])
}

fn cargo_env(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

/// The one place that writes to the terminal.
#[expect(
    clippy::print_stderr,
    reason = "a developer tool talks on standard error"
)]
fn say(line: &str) {
    eprintln!("{line}");
}
