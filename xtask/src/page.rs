//! Pages of docs/ with a part that a command writes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// Puts `text` between the two marks of `page`.
pub(crate) fn publish(page: &Path, (begin, end): (&str, &str), text: &str) -> anyhow::Result<()> {
    let old =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = old
        .split_once(begin)
        .with_context(|| format!("{} has no {begin}", page.display()))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("{} has no {end}", page.display()))?;
    ensure!(!text.contains(end), "the text contains the end mark");
    fs::write(page, format!("{before}{begin}\n\n{text}\n{end}{after}"))?;
    Ok(())
}
