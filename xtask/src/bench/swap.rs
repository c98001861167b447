//! `cargo xtask bench swap`: the longest pause of a worker while 10,000 backends in 100 pools are swapped.
//!
//! Runs `crates/proxy/examples/swap.rs`, which says how it measures. That no turn of a worker handles more than four
//! times a pool is a test of room `proxy` (`catch_up`); this is what it comes to in time.

use std::path::Path;
use std::process::Command;

/// The page with the table.
const PAGE: &str = "docs/performance.md";
const MARKS: (&str, &str) = ("<!-- swap:begin -->", "<!-- swap:end -->");

pub(crate) fn run() -> anyhow::Result<()> {
    let binary = super::picks::build("evenkeel-proxy", "swap")?;
    let table = super::picks::output(Command::new(binary))?;
    crate::say(&table);
    crate::page::publish(Path::new(PAGE), MARKS, &table)?;
    crate::say(&format!("the table is in {PAGE}"));
    Ok(())
}
