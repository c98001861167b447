//! Fenced blocks and tables of the documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One fenced block.
pub(crate) struct Block {
    /// What the comment above it says, without `<!--`; empty: none.
    pub(crate) mark: String,
    pub(crate) text: String,
    /// File and line, for messages.
    pub(crate) place: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README and everything under docs/.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut found = vec![
        root().join("README.md"),
        root().join("ARCHITECTURE.md"),
        root().join("CONTRIBUTING.md"),
    ];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn blocks(document: &Path) -> Vec<Block> {
    let text = read(document);
    let mut found = Vec::new();
    let mut before = "";
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(mut block) = open.take() {
            if line.trim_end() == "```" {
                found.push(block);
            } else {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
        } else if line.starts_with("```") {
            let comment = before
                .strip_prefix("<!--")
                .and_then(|rest| rest.strip_suffix("-->"));
            open = Some(Block {
                mark: comment.unwrap_or_default().trim().to_owned(),
                text: String::new(),
                place: format!("{}:{}", document.display(), number + 1),
            });
        }
        before = line.trim();
    }
    found
}

/// The keys in the first column of the tables between `heading` and the next heading.
pub(crate) fn table_keys(text: &str, heading: &str) -> BTreeSet<String> {
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "there is no heading {heading}");
    lines
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}
