//! The order of the rooms, checked against `cargo metadata`: a room uses only rooms above it,
//! and a pure room depends on nothing that could reach a clock, a socket or a file.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Rooms from top to bottom; ARCHITECTURE.md shows the same list.
const ROOMS: &[&str] = &[
    "model", "import", "balance", "detect", "http1", "preface", "trace", "incident", "forecast",
    "audit", "diagnose", "guard", "proxy", "shop", "journal", "notify", "control", "drill", "web",
    "cli",
];

/// Rooms without I/O, clock, threads, global randomness or JSON.
const PURE: &[&str] = &[
    "model", "import", "balance", "detect", "http1", "preface", "incident", "forecast", "audit",
    "diagnose", "guard",
];

/// Libraries that a pure room may use.
const PURE_MAY_USE: &[&str] = &[
    "bytes",
    "httparse",
    "libm",
    "postcard",
    "rand_core",
    "rand_pcg",
    "regex",
    "regex-syntax",
    "saphyr-parser",
    "serde",
    "serde_spanned",
    "sha2",
    "strsim",
    "thiserror",
    "toml",
];

/// Only these rooms speak JSON.
const JSON: &[&str] = &["proxy", "shop", "journal", "notify", "web", "drill", "cli"];

pub(crate) fn check() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot read cargo metadata")?;
    let order: BTreeMap<&str, usize> = ROOMS.iter().enumerate().map(|(i, r)| (*r, i)).collect();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let room = room_of(package.name.as_str());
        let Some(place) = order.get(room) else {
            if room != "xtask" {
                faults.push(format!("`{room}` is not in the list of rooms"));
            }
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let name = dependency.name.as_str();
            if let Some(used) = name.strip_prefix("evenkeel-") {
                if order.get(used).is_none_or(|other| other >= place) {
                    faults.push(format!("`{room}` uses `{used}`, which is not above it"));
                }
                if PURE.contains(&room) && !PURE.contains(&used) {
                    faults.push(format!(
                        "pure room `{room}` uses `{used}`, which is not pure"
                    ));
                }
            } else if PURE.contains(&room) && !PURE_MAY_USE.contains(&name) {
                faults.push(format!("pure room `{room}` depends on `{name}`"));
            } else if name == "serde_json" && !JSON.contains(&room) {
                faults.push(format!("`{room}` speaks JSON; only {JSON:?} do"));
            } else if name == "anyhow" && room != "cli" {
                faults.push(format!("`{room}` uses anyhow; only cli does"));
            }
        }
    }
    faults.extend(unguarded_pure_rooms());
    faults.extend(undocumented_order());
    if !faults.is_empty() {
        bail!("the rooms are out of order:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn room_of(package: &str) -> &str {
    if package == "evenkeel" {
        "cli"
    } else {
        package.strip_prefix("evenkeel-").unwrap_or(package)
    }
}

/// Every pure room carries the clippy bans (clippy reads the nearest file only).
fn unguarded_pure_rooms() -> Vec<String> {
    let bans = |room: &str| {
        std::fs::read_to_string(format!("crates/{room}/clippy.toml")).unwrap_or_default()
    };
    PURE.iter()
        .filter(|room| {
            let text = bans(room);
            !(text.contains("std::time::Instant::now")
                && text.contains("std::collections::HashMap"))
        })
        .map(|room| format!("pure room `{room}` lacks the bans in crates/{room}/clippy.toml"))
        .collect()
}

/// ARCHITECTURE.md names the rooms in this order.
fn undocumented_order() -> Vec<String> {
    let text = std::fs::read_to_string("ARCHITECTURE.md").unwrap_or_default();
    let mut from = 0;
    let mut faults = Vec::new();
    for room in ROOMS {
        let needle = format!("\n| `{room}` |");
        match text.get(from..).and_then(|rest| rest.find(&needle)) {
            Some(at) => from += at + 1,
            None => faults.push(format!(
                "ARCHITECTURE.md does not list `{room}` in its place"
            )),
        }
    }
    faults
}
