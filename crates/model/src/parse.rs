//! Configuration text -> [`Config`], every finding at once.
//!
//! toml gives a document in which each key and value knows its place; a small typed reader walks it and
//! collects findings (`CFG-..`), so that a person sees all of them with line and column, not the first.
//! What comes out is effective: defaults filled in, weights derived, references checked. A file with an
//! error gives no configuration at all. Limits: names are not resolved, no file is opened, and the bounds
//! below hold for every text, hostile ones included (nesting is bounded by toml itself, 80 deep).

use toml::de::DeTable;

use crate::config::Config;
use crate::finding::{Finding, Origin};

mod adaptive;
mod affinity;
mod backend_tls;
mod edge;
mod edits;
mod expect;
mod foreign;
mod health;
pub mod keys;
mod log;
mod members;
mod networks;
mod operations;
mod place;
mod policy;
mod pool;
mod protocols;
mod reader;
mod reference;
mod remedies;
mod reported;
mod route;
mod side;
mod suggest;
mod target;
mod text;
mod tls;
mod tracing;
mod typed;
mod upgrade;
mod weights;

#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
pub(crate) mod tests;

pub use members::{Listed, MEMBERS_MAX, list_of_members};
pub use side::{FlagError, Side, side};
pub use suggest::suggestion;
pub use tls::CERTIFICATES_MAX;
pub(crate) use weights::derive as derive_weights;

use reader::{Reader, Report, clip};

/// Longest text that is read, bytes.
pub const TEXT_MAX: usize = 16 << 20;
/// Most listeners of a file.
pub const LISTENERS_MAX: usize = 1_000;
/// Most routes of a file.
pub const ROUTES_MAX: usize = 10_000;
/// Most expectations of a file.
pub const EXPECTATIONS_MAX: usize = 1_000;
/// Most regular expressions of the routes of a file.
pub const PATTERNS_MAX: usize = 1_000;
/// Most pools of a file.
pub const POOLS_MAX: usize = 10_000;
/// Most backends of a file, over all pools.
pub const BACKENDS_MAX: usize = 100_000;
/// Most waivers of a file.
pub const WAIVERS_MAX: usize = 1_000;
/// Most receivers, webhooks, admin tokens or escalation levels of a file.
pub const OPERATIONS_MAX: usize = 100;

/// What came out of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The configuration; present exactly when no finding is an error.
    pub config: Option<Config>,
    /// The text and the place of every value in it.
    pub origin: Origin,
    /// Everything that is wrong, sorted by position.
    pub findings: Vec<Finding>,
}

/// Reads `text`. `file` is the name that findings carry.
pub fn parse(text: &str, file: Option<&str>) -> Parsed {
    let mut reader = Reader::default();
    let config = if text.len() > TEXT_MAX {
        reader.error("", 0..0, too_long(text.len()));
        None
    } else {
        read(&mut reader, text)
    };
    let is_refused = reader.has_errors();
    let (findings, spans) = reader.into_findings(text, file);
    Parsed {
        config: config.filter(|_| !is_refused),
        origin: Origin::of(file, text, spans),
        findings,
    }
}

fn read(reader: &mut Reader, text: &str) -> Option<Config> {
    let table = document(reader, text)?;
    Some(edge::config(reader, &table))
}

/// The tables of `text`; `None`: after what is wrong with it the rest would be guessed.
fn document<'t>(reader: &mut Reader, text: &'t str) -> Option<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut is_sound = true;
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        // A key written twice leaves the rest readable; after any other error the reader would guess.
        let is_duplicate = error.message().starts_with("duplicate key");
        is_sound &= is_duplicate;
        let report = if is_duplicate {
            duplicate(text.get(span.clone()).unwrap_or(""))
        } else {
            syntax(error.message())
        };
        reader.error("", span, report);
    }
    is_sound.then(|| document.into_inner())
}

fn syntax(message: &str) -> Report {
    Report {
        id: "CFG-01",
        message: format!("not valid TOML: {}", message.replace('\n', " ")),
        effect: "the file cannot be read, so nothing of it is used".to_owned(),
        fix: "put the text at this place right".to_owned(),
    }
}

fn duplicate(key: &str) -> Report {
    Report {
        id: "CFG-07",
        message: format!("`{}` is written twice", clip(key)),
        effect: "one of the two would silently win, so the file is not used".to_owned(),
        fix: "keep one of them".to_owned(),
    }
}

fn too_long(length: usize) -> Report {
    Report {
        id: "CFG-06",
        message: format!("the text must be at most {TEXT_MAX} bytes, got {length}"),
        effect: "the file is not read".to_owned(),
        fix: "split the traffic over several instances".to_owned(),
    }
}

/// The report for more of something than a file may hold.
fn too_many(what: &str, limit: usize, count: usize) -> Report {
    Report {
        id: "CFG-06",
        message: format!("a file holds at most {limit} {what}, got {count}"),
        effect: "the file is not used".to_owned(),
        fix: "split the traffic over several instances".to_owned(),
    }
}
