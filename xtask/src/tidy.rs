//! House rules that no lint knows: each file says what it is, no file grows without end,
//! nothing is left half done, and pages do not name what is not there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Lines after which a file is no longer one idea.
const LINES_MAX: usize = 800;

/// Text that must not stand in a Rust file, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    (
        concat!("todo", "!("),
        "finish it or name the gap in an issue",
    ),
    (
        concat!("unimplemented", "!("),
        "finish it or name the gap in an issue",
    ),
    (concat!("#[should", "_panic"), "assert on the error instead"),
    (
        concat!("#[ign", "ore]"),
        "give the reason: ignore = \"...\"",
    ),
    (
        concat!("thread::", "sleep("),
        "wait on a condition with a deadline",
    ),
    (concat!("FIX", "ME"), "fix it or name the gap in an issue"),
    (concat!("use super", "::*"), "name what is used"),
];

pub(crate) fn check() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for file in tracked()? {
        let is_rust = file.extension().is_some_and(|e| e == "rs");
        if file.ends_with("mod.rs") {
            faults.push(format!("{}: use `name.rs` beside `name/`", file.display()));
        }
        if is_rust && !file.starts_with("fuzz") {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            faults.extend(judge(&file, &text));
        }
    }
    if !faults.is_empty() {
        bail!("not tidy:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn judge(file: &Path, text: &str) -> Vec<String> {
    let name = file.display();
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{name}: does not start with `//!` (what it is, why this way, its limits)"
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{name}: {lines} lines, the end is {LINES_MAX}"));
    }
    for (number, line) in text.lines().enumerate() {
        for (banned, instead) in BANNED {
            if line.contains(banned) {
                faults.push(format!("{name}:{}: `{banned}`: {instead}", number + 1));
            }
        }
    }
    faults
}

/// The Rust files that git tracks.
fn tracked() -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "*.rs"])
        .output()
        .context("cannot start git")?;
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(text
        .split('\0')
        .filter(|n| !n.is_empty())
        .map(PathBuf::from)
        .filter(|p| p.exists())
        .collect())
}
